//! The comparison: each row's service is started, loaded, watched and stopped, one after another.

use std::io::IsTerminal;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use pool_cpu::lag::{Lag, LagMonitor};

use crate::bystander::Bystander;
use crate::cli::CompareArgs;
use crate::client::PATIENCE;
use crate::errors::Errors;
use crate::failure::Failure;
use crate::load::{Load, Outcome};
use crate::pooled;
use crate::runtime::{self, ServiceRuntime};
use crate::service;
use crate::settings::Settings;
use crate::target::{ROWS, Row};
use crate::way::{Path, Way};
use crate::window::Window;

/// All rows, and what they were measured with.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) rows: Vec<Measured>,
    /// Threads of the service's runtime.
    pub(crate) workers: usize,
    /// How long each row was measured.
    pub(crate) seconds: Duration,
    /// Which database was asked.
    pub(crate) database: String,
    /// How long it all took.
    pub(crate) took: Duration,
}

/// One row, measured. A percentile of nothing (no good answer came) is none.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) path: Path,
    pub(crate) way: Way,
    /// Good answers a second.
    pub(crate) rps: f64,
    pub(crate) p50: Option<Duration>,
    pub(crate) p99: Option<Duration>,
    pub(crate) p999: Option<Duration>,
    /// Connections opened, or threads started, from the row's start to its end.
    pub(crate) opens: u64,
    /// The most connections open, or threads at work, at the same time.
    pub(crate) peak: u64,
    pub(crate) errors: Errors,
    pub(crate) lag_p99: Duration,
    pub(crate) bystander_p99: Option<Duration>,
}

/// Measures all rows that were asked for.
///
/// # Errors
/// When the port is in use, the database cannot be reached, or the system has no threads for it. A row that has
/// errors in it is measured all the same.
pub(crate) fn compare(args: &CompareArgs) -> Result<Comparison, Failure> {
    let started = Instant::now();
    let settings = Settings::read(args.data_dir.as_deref())?;
    let listener = service::listen(args.port)?;
    let runtime = ServiceRuntime::start()?;
    runtime.tokio().block_on(settings.database.prepare())?;
    runtime.shut_down();
    let rows: Vec<Row> = ROWS
        .into_iter()
        .filter(|row| args.only.contains(&row.path))
        .collect();
    let bar = progress_bar(rows.len(), args);
    let mut measured = Vec::new();
    for row in rows {
        bar.set_message(format!("{} {}", row.path, row.way));
        measured.push(measure(row, &settings, &listener, args.seconds, &bar)?);
    }
    bar.finish_and_clear();
    Ok(Comparison {
        rows: measured,
        workers: runtime::workers(),
        seconds: args.seconds,
        database: settings.database.to_string(),
        took: started.elapsed(),
    })
}

fn measure(
    row: Row,
    settings: &Settings,
    listener: &TcpListener,
    length: Duration,
    bar: &ProgressBar,
) -> Result<Measured, Failure> {
    // A runtime for each row: what one way leaves behind in it is not the next one's burden.
    let runtime = ServiceRuntime::start()?;
    let on_runtime = runtime.tokio().enter();
    let address = listener
        .local_addr()
        .map_err(|error| Failure::run("the listening port is gone", &error))?;
    let target = (row.start)(settings, &runtime)?;
    let server = service::serve(listener, target.router.clone(), std::future::pending())?;

    let window = Window::after(length.mul_f64(WARM_UP), length);
    let lag = pooled::built(LagMonitor::start(runtime.tokio().handle(), TIMER))?;
    drop(on_runtime);
    let bystander = Bystander::start(address, window)?;
    let load = Load::start(address, row.path, clients(row.path), window)?;
    watch(window.start, bar, || {});
    lag.reset();
    let mut peak = 0;
    watch(window.end, bar, || peak = target.peak().max(peak));
    // The bystander has questions open; the load goes on until they are answered.
    let mut waits = bystander.join()?;
    let Outcome {
        mut answers,
        errors,
    } = load.stop()?;
    let lag = after_next_tick(&lag);
    let opens = target.opens();
    server.abort();
    runtime.tokio().block_on(target.close());
    runtime.shut_down();

    Ok(Measured {
        path: row.path,
        way: row.way,
        rps: answers.len() as f64 / length.as_secs_f64(),
        p50: answers.per_mille(500),
        p99: answers.per_mille(990),
        p999: answers.per_mille(999),
        opens,
        peak,
        errors,
        lag_p99: lag.p99(),
        bystander_p99: waits.per_mille(990),
    })
}

/// Waits until `end`, a tick of the bar at a time.
fn watch(end: Instant, bar: &ProgressBar, mut look: impl FnMut()) {
    loop {
        look();
        match end.saturating_duration_since(Instant::now()) {
            Duration::ZERO => return,
            left => thread::sleep(TICK.min(left)),
        }
        bar.inc(1);
    }
}

/// What the monitor has once its timer has fired again: a stall is only counted when it is over. Without load that is
/// soon; if not, what is there has to do.
fn after_next_tick(monitor: &LagMonitor) -> Lag {
    let (begin, before) = (Instant::now(), monitor.snapshot().count());
    loop {
        let lag = monitor.snapshot();
        if lag.count() > before || begin.elapsed() > PATIENCE {
            return lag;
        }
        thread::sleep(TIMER);
    }
}

/// How many clients ask at once: the same for every way of a path.
pub(crate) fn clients(path: Path) -> u64 {
    match path {
        Path::Db | Path::Http => 64,
        Path::Cpu => 32,
    }
}

fn progress_bar(rows: usize, args: &CompareArgs) -> ProgressBar {
    if args.json || args.quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let ticks = args
        .seconds
        .mul_f64(1.0 + WARM_UP)
        .div_duration_f64(TICK)
        .ceil() as u64
        * rows as u64;
    let style =
        ProgressStyle::with_template("{msg:20} {wide_bar} {elapsed:>4} of about {duration:>4}");
    ProgressBar::new(ticks).with_style(style.expect("the template is valid"))
}

/// The warm-up, as a part of what is measured.
const WARM_UP: f64 = 1.0 / 6.0;
/// How often the progress bar moves.
const TICK: Duration = Duration::from_millis(100);
/// The timer whose lateness is the lag.
const TIMER: Duration = Duration::from_millis(1);

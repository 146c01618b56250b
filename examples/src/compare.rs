//! The comparison: the ways of each path by turns, one path after another.

use std::io::IsTerminal;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::CompareArgs;
use crate::contender::{Contender, Measured, TICK, WARM_UP};
use crate::failure::Failure;
use crate::runtime::{self, ServiceRuntime};
use crate::service;
use crate::settings::Settings;
use crate::target::ROWS;
use crate::way::Path;

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

    let paths = [Path::Db, Path::Http, Path::Cpu]
        .into_iter()
        .filter(|path| args.only.contains(path));
    let bar = progress_bar(args);
    let mut rows = Vec::new();
    for path in paths {
        rows.extend(measure(path, &settings, &listener, args.seconds, &bar)?);
    }
    bar.finish_and_clear();
    Ok(Comparison {
        rows,
        workers: runtime::workers(),
        seconds: args.seconds,
        database: settings.database.to_string(),
        took: started.elapsed(),
    })
}

/// Measures the ways of a path by turns: what else the machine does meanwhile hits all of them.
fn measure(
    path: Path,
    settings: &Settings,
    listener: &TcpListener,
    length: Duration,
    bar: &ProgressBar,
) -> Result<Vec<Measured>, Failure> {
    let rows = ROWS.into_iter().filter(|row| row.path == path);
    let mut contenders = rows
        .map(|row| Contender::start(row, settings))
        .collect::<Result<Vec<_>, _>>()?;
    let turns = turns(length);
    for _ in 0..turns {
        for contender in &mut contenders {
            bar.set_message(contender.to_string());
            contender.take_turn(listener, length / turns, || bar.inc(1))?;
        }
    }
    Ok(contenders.into_iter().map(Contender::finish).collect())
}

/// Two, unless they were too short for slow answers to come.
fn turns(length: Duration) -> u32 {
    if length >= Duration::from_secs(3) {
        2
    } else {
        1
    }
}

fn progress_bar(args: &CompareArgs) -> ProgressBar {
    if args.json || args.quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let rows = ROWS
        .iter()
        .filter(|row| args.only.contains(&row.path))
        .count() as u32;
    let time = args.seconds.mul_f64(1.0 + WARM_UP) * rows;
    let style =
        ProgressStyle::with_template("{msg:20} {wide_bar} {elapsed:>4} of about {duration:>4}");
    ProgressBar::new(time.div_duration_f64(TICK) as u64)
        .with_style(style.expect("the template is valid"))
}

//! One row of the comparison while it is measured: a service of its own, loaded and watched a turn at a time.

use std::fmt;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::bystander::Bystander;
use crate::client::PATIENCE;
use crate::errors::Errors;
use crate::failure::Failure;
use crate::lag;
use crate::load::Load;
use crate::runtime::ServiceRuntime;
use crate::samples::Samples;
use crate::service;
use crate::settings::Settings;
use crate::target::{Row, Target};
use crate::way::{Path, Way};
use crate::window::Window;

/// A service that waits for its turn, and what was seen of it so far.
#[derive(Debug)]
pub(crate) struct Contender {
    row: Row,
    /// Its own: what one way leaves behind on a runtime is not the next one's burden.
    runtime: ServiceRuntime,
    target: Target,
    measured_for: Duration,
    answers: Samples,
    waits: Samples,
    lag: Samples,
    errors: Errors,
    peak: u64,
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
    /// Connections opened, or threads started, from the first turn's start to the last one's end.
    pub(crate) opens: u64,
    /// The most connections open, or threads at work, at the same time.
    pub(crate) peak: u64,
    pub(crate) errors: Errors,
    pub(crate) lag_p99: Option<Duration>,
    pub(crate) bystander_p99: Option<Duration>,
}

impl Contender {
    /// Starts the row's service. Nobody can reach it until it is its turn.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(row: Row, settings: &Settings) -> Result<Self, Failure> {
        let runtime = ServiceRuntime::start()?;
        let on_runtime = runtime.tokio().enter();
        let target = (row.start)(settings, &runtime)?;
        drop(on_runtime);
        Ok(Self {
            row,
            runtime,
            target,
            measured_for: Duration::ZERO,
            answers: Samples::default(),
            waits: Samples::default(),
            lag: Samples::default(),
            errors: Errors::default(),
            peak: 0,
        })
    }

    /// Serves and is loaded: for the warm-up, and then for `length`, of which everything counts. Calls `tick` some
    /// ten times a second.
    ///
    /// # Errors
    /// When it cannot be served or loaded. What goes wrong with single requests is no error of this.
    pub(crate) fn take_turn(
        &mut self,
        listener: &TcpListener,
        length: Duration,
        mut tick: impl FnMut(),
    ) -> Result<(), Failure> {
        let (runtime, path) = (self.runtime.tokio(), self.row.path);
        let address = service::address(listener)?;
        let on_runtime = runtime.enter();
        let router = self.target.router.clone();
        let server = service::serve(listener, router, std::future::pending())?;
        drop(on_runtime);

        let window = Window::after(length.mul_f64(WARM_UP), length);
        let lag = runtime.spawn(lag::measure(window));
        let bystander = Bystander::start(address, window)?;
        let load = Load::start(address, path, CLIENTS, window)?;
        watch(window.end, || {
            self.peak = self.target.peak().max(self.peak);
            tick();
        });
        // The bystander still has questions open; the load goes on until they are answered.
        self.waits.append(bystander.join()?);
        let seen = load.stop()?;
        let lag = runtime.block_on(async { timeout(PATIENCE, lag).await });
        self.answers.append(seen.answers);
        self.errors.append(seen.errors);
        match lag {
            Ok(Ok(lag)) => self.lag.append(lag),
            Ok(Err(error)) => {
                return Err(Failure::run("the measurement of the lag failed", &error));
            }
            Err(_) => {
                return Err(Failure::Run(format!(
                    "{self}: no timer fired within {PATIENCE:?}, without load"
                )));
            }
        }
        self.measured_for += length;

        // Only when its listener is closed is the next one the only one that listens.
        server.abort();
        runtime.block_on(server).ok();
        Ok(())
    }

    /// Stops the service and says what was seen of it.
    pub(crate) fn finish(mut self) -> Measured {
        let opens = self.target.opens();
        self.runtime.tokio().block_on(self.target.close());
        self.runtime.shut_down();
        Measured {
            path: self.row.path,
            way: self.row.way,
            rps: self.answers.len() as f64 / self.measured_for.as_secs_f64(),
            p50: self.answers.per_mille(500),
            p99: self.answers.per_mille(990),
            p999: self.answers.per_mille(999),
            opens,
            peak: self.peak,
            errors: self.errors,
            lag_p99: self.lag.per_mille(990),
            bystander_p99: self.waits.per_mille(990),
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.row.path, self.row.way)
    }
}

/// Waits until `end`.
fn watch(end: Instant, mut tick: impl FnMut()) {
    loop {
        match end.saturating_duration_since(Instant::now()) {
            Duration::ZERO => return,
            left => thread::sleep(TICK.min(left)),
        }
        tick();
    }
}

/// How many clients ask at once, whatever they ask and whoever answers.
pub(crate) const CLIENTS: u64 = 64;
/// The warm-up, as a part of what is measured.
pub(crate) const WARM_UP: f64 = 1.0 / 5.0;
/// How often somebody looks.
pub(crate) const TICK: Duration = Duration::from_millis(100);

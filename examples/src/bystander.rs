//! The bystander: somebody who wants nothing but `GET /healthz`, at a steady rate, and is made to wait by what
//! the service does for others.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::runtime::{self, Runtime};
use tokio::task::JoinSet;

use crate::client::{self, Client};
use crate::failure::Failure;
use crate::samples::Samples;
use crate::window::Window;

/// A bystander on a thread of its own.
#[derive(Debug)]
pub(crate) struct Bystander {
    thread: thread::JoinHandle<Samples>,
}

/// How often it asks.
pub(crate) const INTERVAL: Duration = Duration::from_millis(10);

impl Bystander {
    /// Starts to ask, now; what is due in the window counts.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub(crate) fn start(address: SocketAddr, window: Window) -> Result<Self, Failure> {
        let failed = |error| Failure::run("cannot start the bystander", &error);
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(failed)?;
        let thread = thread::Builder::new()
            .name("bystander".into())
            .spawn(move || {
                let asked = ask_steadily(&runtime, address, window);
                let outcome = runtime.block_on(collect(asked));
                runtime.shutdown_background();
                outcome
            })
            .map_err(failed)?;
        Ok(Self { thread })
    }

    /// Waits for the last answer, and returns how long after it was due each question was answered.
    ///
    /// # Errors
    /// When it could not be run.
    pub(crate) fn join(self) -> Result<Samples, Failure> {
        self.thread
            .join()
            .map_err(|_| Failure::Run("the bystander panicked".into()))
    }
}

/// Asks whenever a question is due, however many have no answer yet: one that waited for the one before it would
/// ask less the longer it has to wait, and so see less of it.
fn ask_steadily(runtime: &Runtime, address: SocketAddr, window: Window) -> JoinSet<Duration> {
    let mut asked = JoinSet::new();
    let idle = Arc::new(Mutex::new(Vec::new()));
    let mut due = Instant::now();
    while due < window.end {
        // A thread's sleep, because a tokio timer would be up to a millisecond late by itself.
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let answer = ask(Arc::clone(&idle), address, due);
        if window.contains(due) {
            asked.spawn_on(answer, runtime.handle());
        } else {
            runtime.spawn(answer);
        }
        due += INTERVAL;
    }
    asked
}

/// Asks over a connection that is idle, or a new one. A question that gets no good answer counts as one that was
/// waited for as long as anybody would.
async fn ask(idle: Arc<Mutex<Vec<Client>>>, address: SocketAddr, due: Instant) -> Duration {
    let client = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut client = client.unwrap_or_else(|| Client::new(address));
    let answer = client.ask(client::get("/healthz")).await;
    let waited = due.elapsed();
    idle.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(client);
    match answer {
        Ok((StatusCode::OK, _)) => waited,
        _ => waited.max(client::PATIENCE),
    }
}

async fn collect(asked: JoinSet<Duration>) -> Samples {
    let mut samples = Samples::default();
    asked
        .join_all()
        .await
        .into_iter()
        .for_each(|waited| samples.record(waited));
    samples
}

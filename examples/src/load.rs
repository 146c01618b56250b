//! The load: clients that each ask, wait for the answer, and ask again.
//!
//! It runs on a thread and a runtime of its own, so that it shares nothing with the service but the machine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use tokio::runtime;
use tokio::task::JoinSet;

use crate::client::{self, Client};
use crate::data;
use crate::errors::Errors;
use crate::failure::Failure;
use crate::samples::Samples;
use crate::service;
use crate::way::Path;
use crate::window::Window;

/// A load that runs.
#[derive(Debug)]
pub(crate) struct Load {
    thread: thread::JoinHandle<Result<Outcome, Failure>>,
    stop: Arc<AtomicBool>,
}

/// What the clients saw in the window.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// How long each good answer took.
    pub(crate) answers: Samples,
    pub(crate) errors: Errors,
}

/// What a client asks, and how a right answer begins.
struct Question {
    request: Request<Full<Bytes>>,
    expected: String,
}

impl Load {
    /// Starts `clients` clients. They go on when the window is over, until [`stop`](Self::stop), because
    /// the others' last measurements are still to be made under load.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub(crate) fn start(
        address: SocketAddr,
        path: Path,
        clients: u64,
        window: Window,
    ) -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("load".into())
            .spawn(move || {
                let runtime = runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .map_err(|error| Failure::run("cannot start the load", &error))?;
                Ok(runtime.block_on(run(address, path, clients, window, stopped)))
            })
            .map_err(|error| Failure::run("cannot start the load", &error))?;
        Ok(Self { thread, stop })
    }

    /// Stops the clients and returns what they saw. Takes no longer than one answer may.
    ///
    /// # Errors
    /// When the load could not be run.
    pub(crate) fn stop(self) -> Result<Outcome, Failure> {
        // Ordering: Relaxed. The flag says nothing about other memory; `join` publishes the outcome.
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .unwrap_or_else(|_| Err(Failure::Run("the load panicked".into())))
    }
}

async fn run(
    address: SocketAddr,
    path: Path,
    clients: u64,
    window: Window,
    stop: Arc<AtomicBool>,
) -> Outcome {
    let mut running = JoinSet::new();
    for client in 0..clients {
        let stop = Arc::clone(&stop);
        running.spawn(async move { be_client(address, path, client, window, &stop).await });
    }
    let mut all = Outcome::default();
    for outcome in running.join_all().await {
        all.answers.append(outcome.answers);
        all.errors.append(outcome.errors);
    }
    all
}

async fn be_client(
    address: SocketAddr,
    path: Path,
    seed: u64,
    window: Window,
    stop: &AtomicBool,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut client = Client::new(address);
    while !stop.load(Ordering::Relaxed) {
        let question = Question::about(path, random.i64(1..=data::USERS));
        let asked = Instant::now();
        let answer = client.ask(question.request).await;
        let answered = Instant::now();
        let verdict = answer.and_then(|(status, body)| judge(status, &body, &question.expected));
        if window.contains(answered) {
            match &verdict {
                Ok(()) => outcome.answers.record(answered - asked),
                Err(error) => outcome.errors.record(error, answered - asked),
            }
        }
        if verdict.is_err() {
            // As a polite client would: not again at once.
            tokio::time::sleep(AFTER_AN_ERROR).await;
        }
    }
    outcome
}

fn judge(status: StatusCode, body: &[u8], expected: &str) -> Result<(), String> {
    if status != StatusCode::OK {
        Err(format!(
            "{status}: {}",
            String::from_utf8_lossy(body).trim()
        ))
    } else if !body.starts_with(expected.as_bytes()) {
        Err(format!("a wrong answer: {}", String::from_utf8_lossy(body)))
    } else {
        Ok(())
    }
}

impl Question {
    fn about(path: Path, id: i64) -> Self {
        match path {
            Path::Db => Self {
                request: client::get(&format!("/users/{id}")),
                expected: format!("{{\"id\":{id},\"name\""),
            },
            Path::Http => Self {
                request: client::get(&format!("/quote/{id}")),
                expected: format!("{{\"id\":{id},\"price\""),
            },
            Path::Cpu => Self {
                request: client::post("/login", service::RIGHT_LOGIN),
                expected: "{\"welcome\"".into(),
            },
        }
    }
}

const AFTER_AN_ERROR: Duration = Duration::from_millis(10);

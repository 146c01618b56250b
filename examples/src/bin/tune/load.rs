//! The load: a closed loop of callers on a pool of one size.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use pool_db::{Error, Pool};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::failure::reason;
use crate::level::{Tally, Window};
use crate::target::Target;
use crate::values::Values;

/// What is done at each size.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// How many callers there are.
    pub(crate) tasks: u32,
    /// How long a caller pauses after an answer, without a connection.
    pub(crate) think: Duration,
    /// How long a window is.
    pub(crate) seconds: Duration,
    pub(crate) values: Arc<Values>,
}

impl Load {
    /// Opens all connections of the pool, lets the callers warm up, and measures them.
    ///
    /// # Errors
    /// When the pool cannot open as many connections as it has room for.
    ///
    /// # Cancel safety
    /// A dropped future ends the callers. The pool stays open.
    pub(crate) async fn on<T: Target>(
        &self,
        target: &T,
        pool: &Pool<T::Driver>,
    ) -> Result<Window, Error> {
        let gets = (0..pool.status().max_size).map(|_| async { pool.get().timeout(OPEN).await });
        drop(try_join_all(gets).await?);

        let measuring = Arc::new(AtomicBool::new(false));
        let mut callers = JoinSet::new();
        let tallies: Vec<_> = (0..self.tasks)
            .map(|_| {
                let tally = Arc::new(Mutex::new(Tally::default()));
                let caller = Caller {
                    load: self.clone(),
                    target: target.clone(),
                    pool: pool.clone(),
                    measuring: Arc::clone(&measuring),
                    tally: Arc::clone(&tally),
                };
                callers.spawn(caller.run());
                tally
            })
            .collect();
        sleep(self.seconds.mul_f64(WARM_UP)).await;
        measuring.store(true, Ordering::Relaxed);
        let began = Instant::now();
        sleep(self.seconds).await;
        measuring.store(false, Ordering::Relaxed);
        let lasted = began.elapsed();
        callers.shutdown().await;

        let mut tally = Tally::default();
        for part in tallies {
            tally.add(&part.lock().unwrap_or_else(PoisonError::into_inner));
        }
        Ok(Window { lasted, tally })
    }

    /// Runs the query once, with the first of the parameters.
    ///
    /// # Errors
    /// What is wrong with the database or the query.
    pub(crate) async fn try_once<T: Target>(&self, target: &T) -> Result<(), TryError> {
        let pool = target
            .pool(1, 1)
            .map_err(|error| TryError::Reach(error.into()))?;
        let mut connection = pool.get().timeout(OPEN).await.map_err(TryError::Reach)?;
        let ran = target.run(&mut connection, self.values.first()).await;
        drop(connection);
        // What is still open after that ends with the program.
        drop(pool.drain(CLOSE).await);
        ran.map_err(TryError::Query)
    }
}

/// What has failed before anything was measured.
#[derive(Debug)]
pub(crate) enum TryError {
    Reach(Error),
    Query(Error),
}

/// One of the tasks.
struct Caller<T: Target> {
    load: Load,
    target: T,
    pool: Pool<T::Driver>,
    measuring: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
}

impl<T: Target> Caller<T> {
    /// Calls until it is aborted.
    async fn run(self) {
        loop {
            let began = Instant::now();
            let mut got = began;
            let outcome = async {
                let mut connection = self.pool.get().await?;
                got = Instant::now();
                let values = self.load.values.any();
                self.target.run(&mut connection, values).await
            };
            let outcome = outcome.await;
            let ended = Instant::now();
            if self.measuring.load(Ordering::Relaxed) {
                let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
                match &outcome {
                    Ok(()) => {
                        tally.call.record(ended - began);
                        tally.wait.record(got - began);
                        tally.query.record(ended - got);
                        tally.runs += 1;
                    }
                    Err(error) => {
                        tally.errors += 1;
                        tally.error.get_or_insert_with(|| reason(error));
                    }
                }
            }
            if outcome.is_err() {
                sleep(AFTER_ERROR).await;
            } else if !self.load.think.is_zero() {
                sleep(self.load.think).await;
            } else {
                // A query that is answered without a wait leaves the others their turn.
                tokio::task::consume_budget().await;
            }
        }
    }
}

/// The part of a window that callers run before it.
const WARM_UP: f64 = 0.25;
/// How long all connections of a pool may take to open.
const OPEN: Duration = Duration::from_secs(10);
/// How long a pool may take to close them.
pub(crate) const CLOSE: Duration = Duration::from_secs(5);
/// A caller whose call failed does not ask again at once.
const AFTER_ERROR: Duration = Duration::from_millis(20);

//! One writer and many readers: [`Pool::write`] and [`Pool::read`].
//!
//! SQLite has one writer at a time. So writes have a connection of their own, in a pool of one: they wait in order of arrival on the
//! async side, not for SQLite's lock on worker threads. Reads take one of the `max_size` connections, and never wait for a write.
//!
//! A write puts its closure into a queue, and gets in line for the writer. The first in line runs the closures of those behind it
//! too, up to `group_commit` of them, in one transaction ([`group`]). Whoever was answered leaves the line.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use pool_core::{Lease, Status};
use rusqlite::Transaction;
use tokio::{
    sync::oneshot::{self, error::TryRecvError},
    time::timeout,
};

use super::{
    Manager, Pool,
    group::{self, Failed, Failure, Interest, Job, Write},
    residue::Mode,
};
use crate::{Error, bounded::bounded, operation::Verb};

/// The connection for writes. `None` in a pool that only reads.
#[derive(Clone)]
pub struct Writer {
    pool: Vec<pool_core::Pool<Manager>>,
    queue: Arc<Queue>,
}

/// The writes that were not begun, in order of arrival.
struct Queue {
    /// How many writes may be in one transaction.
    most: usize,
    /// A leaf lock: nothing is called under it.
    waiting: Mutex<VecDeque<Box<dyn Write>>>,
}

/// A write in the queue. Its drop gives the write up.
struct Ticket<'q> {
    queue: &'q Queue,
    interest: Arc<Interest>,
}

impl Writer {
    pub(super) fn new(pool: Option<pool_core::Pool<Manager>>, most: usize) -> Self {
        Self {
            pool: pool.into_iter().collect(),
            queue: Arc::new(Queue {
                most,
                waiting: Mutex::default(),
            }),
        }
    }

    pub(super) fn pools(&self) -> &[pool_core::Pool<Manager>] {
        &self.pool
    }

    async fn write<T, E, F>(&self, f: F) -> Result<T, Failed<E>>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let [pool] = &*self.pool else {
            return Err(Failed::Pool(Error::only_reads()));
        };
        let (to, answer) = oneshot::channel();
        let operation = pool.manager().operations.queued(Verb::Write);
        let ticket = self.queue.push(Box::new(Job::new(f, to, operation)));
        let result = self.answered(pool, &ticket, pin!(answer)).await;
        if let Some(mut operation) = ticket.interest.operation.take() {
            match &result {
                Ok(_) => operation.ended(),
                Err(Failed::Own(error)) => operation.failed_by(error),
                Err(Failed::Pool(error)) => operation.failed(error),
            }
        }
        result
    }

    /// Waits for the answer of a write in the queue, or for its turn to run those that wait.
    async fn answered<T, E>(
        &self,
        pool: &pool_core::Pool<Manager>,
        ticket: &Ticket<'_>,
        mut answer: Pin<&mut oneshot::Receiver<Result<T, Failed<E>>>>,
    ) -> Result<T, Failed<E>> {
        loop {
            let mut get = pin!(pool.get());
            // Whatever comes first: the turn, or the answer by a write that had its turn before.
            let turn = poll_fn(|cx| {
                if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                    return Poll::Ready(Err(answer));
                }
                get.as_mut().poll(cx).map(Ok)
            });
            match turn.await {
                Err(Ok(answer)) => return answer,
                Err(Err(_)) => return Err(Failed::Pool(Error::abandoned())),
                Ok(Ok(lease)) => {
                    if let Err(error) = self.lead(lease).await {
                        return Err(Failed::Pool(error));
                    }
                    match answer.try_recv() {
                        Ok(answer) => return answer,
                        Err(TryRecvError::Closed) => return Err(Failed::Pool(Error::abandoned())),
                        // The connection must be reset or opened again before it is this write's turn.
                        Err(TryRecvError::Empty) => {}
                    }
                }
                Ok(Err(error)) => {
                    let limit = pool.manager().query_timeout;
                    let ends = async {
                        // It may run, or be put back into the queue.
                        while !ticket.withdraw() {
                            if let Ok(answer) = timeout(PATIENCE, answer.as_mut()).await {
                                return answer
                                    .unwrap_or_else(|_| Err(Failed::Pool(Error::abandoned())));
                            }
                        }
                        Err(Failed::Pool(error.into()))
                    };
                    return bounded(limit, ends).await.map_err(Failed::Pool)?;
                }
            }
        }
    }

    /// Runs the writes that wait on the connection.
    async fn lead(&self, mut lease: Lease<Manager>) -> Result<(), Error> {
        let manager = Lease::manager(&lease);
        let (workers, limit) = (manager.workers.clone(), manager.query_timeout);
        let queue = Arc::clone(&self.queue);
        // The job owns the lease. It goes on if this future is dropped: it may have writes of others.
        let job = workers.run(move || queue.run(&mut lease));
        Ok(bounded(limit, job).await??)
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("pool", &self.pool.first())
            .finish_non_exhaustive()
    }
}

impl Queue {
    fn push(&self, write: Box<dyn Write>) -> Ticket<'_> {
        let interest = Arc::clone(write.interest());
        self.waiting().push_back(write);
        Ticket {
            queue: self,
            interest,
        }
    }

    /// Runs the first writes. On a worker.
    fn run(&self, lease: &mut Lease<Manager>) {
        let mut writes: VecDeque<_> = {
            let mut waiting = self.waiting();
            let most = self.most.min(waiting.len());
            waiting.drain(..most).collect()
        };
        for write in &writes {
            write.interest().operation.begin();
        }
        let Some(open) = lease.open.as_mut() else {
            return;
        };
        // Several callers may want the writes, so none of them alone stops the connection.
        open.stop.begin().ended();
        if let Err(error) = open.write(|open| group::run(open, &mut writes)) {
            let failure = Failure::of(&error);
            for write in writes.drain(..) {
                write.answer(Err(failure.error()));
            }
        }
        if !writes.is_empty() {
            let mut waiting = self.waiting();
            while let Some(write) = writes.pop_back() {
                waiting.push_front(write);
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Box<dyn Write>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket<'_> {
    /// Takes the write out of the queue. Returns whether it was there: then it never runs.
    fn withdraw(&self) -> bool {
        let write = {
            let mut waiting = self.queue.waiting();
            let at = waiting
                .iter()
                .position(|write| Arc::ptr_eq(write.interest(), &self.interest));
            at.and_then(|at| waiting.remove(at))
        };
        // The closure is dropped here, outside of the lock.
        write.is_some()
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.interest.give_up();
        self.withdraw();
        if let Some(mut operation) = self.interest.operation.take() {
            operation.cancelled();
        }
    }
}

impl Pool {
    /// Runs `f` in a transaction on the pool's connection for writes: `BEGIN IMMEDIATE`, `f`, `COMMIT`. If `f` returns an error or
    /// panics, the transaction is rolled back.
    ///
    /// Writes run in order of arrival, and wait on the async side, so they never fail each other with `SQLITE_BUSY`. Their connection
    /// is one more than `max_size`; it is opened by the first write, and has the settings of the pool. [`writer_status`](Self::writer_status)
    /// shows it. With [`Builder::group_commit`](super::Builder::group_commit), writes that wait together share one commit.
    ///
    /// `f` cannot begin or end the transaction itself; savepoints of other names than the pool's own are allowed. Connections of
    /// `run` and `get` may write too, and other processes: then the transactions wait for each other for up to `busy_timeout`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pool_db::Error> {
    /// # let folder = tempfile::tempdir().expect("a folder");
    /// # let path = folder.path().join("app.db");
    /// let pool = pool_db::sqlite::Pool::builder().path(path).max_size(4).build()?;
    /// pool.write(|tx| tx.execute_batch("CREATE TABLE users (name TEXT)")).await?;
    /// pool.write(|tx| tx.execute("INSERT INTO users VALUES (?1)", ["Ada"])).await?;
    /// let users: i64 = pool.read(|db| db.query_row("SELECT count(*) FROM users", [], |row| row.get(0))).await?;
    /// assert_eq!(users, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - The error that `f` returned, and those of SQLite.
    /// - [`Error::is_timeout`] after `acquire_timeout` in the line, or after `query_timeout` for the writes of the group.
    /// - [`Error::is_overloaded`] when the line is full, and [`Error::is_closed`] when the pool is closed.
    /// - [`Error::is_connect`] when the database cannot be opened.
    /// - [`Error::is_panic`] when `f` panicked.
    /// - An error in a pool that is read-only.
    ///
    /// After an error nothing of the write was kept, but for a timeout by `query_timeout`, after which it may or may not have been
    /// committed.
    ///
    /// # Cancel safety
    /// If the future is dropped before `f` has begun, `f` never runs. If it is dropped while `f` runs, the transaction is rolled back.
    /// Only if it is dropped after `f` has returned `Ok` and before the answer has arrived, the write may have been committed.
    /// SQLite is interrupted in the middle of a statement; in a group, after a second if other writes would be lost.
    ///
    /// # Panics
    /// Panics outside a tokio runtime if a `query_timeout` is set.
    pub async fn write<T, F>(&self, f: F) -> Result<T, Error>
    where
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.beside().write(f).await.map_err(|failed| match failed {
            Failed::Own(error) => error.into(),
            Failed::Pool(error) => error,
        })
    }

    /// Like [`write`](Self::write), with an error type of the application, as for [`call`](Self::call).
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    ///
    /// # Cancel safety
    /// As for [`write`](Self::write).
    ///
    /// # Panics
    /// As for [`write`](Self::write).
    pub async fn call_write<T, E, F>(&self, f: F) -> Result<T, E>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.beside().write(f).await.map_err(|failed| match failed {
            Failed::Own(error) => error,
            Failed::Pool(error) => error.into(),
        })
    }

    /// Gets one of the `max_size` connections, and runs `f` with it on a worker thread. `f` cannot write.
    ///
    /// With a write-ahead log (the default for a file) a read never waits for a write, and a write never waits for a read. The
    /// statements of `f` each see what is committed when they begin; in a transaction all of them see the same. A database in memory
    /// has no such log: there a read waits for a write, for up to `busy_timeout`, and a write for the reads.
    ///
    /// # Errors
    /// As for [`run`](Self::run). A statement that writes fails with `SQLITE_READONLY`.
    ///
    /// # Cancel safety
    /// As for [`run`](Self::run).
    ///
    /// # Panics
    /// As for [`run`](Self::run).
    pub async fn read<T, F>(&self, f: F) -> Result<T, Error>
    where
        F: FnOnce(&mut rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        Ok(self.get().await?.on_worker(Mode::Read, f).await??)
    }

    /// Like [`read`](Self::read), with an error type of the application, as for [`call`](Self::call).
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    ///
    /// # Cancel safety
    /// As for [`run`](Self::run).
    ///
    /// # Panics
    /// As for [`run`](Self::run).
    pub async fn call_read<T, E, F>(&self, f: F) -> Result<T, E>
    where
        F: FnOnce(&mut rusqlite::Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.get().await?.on_worker(Mode::Read, f).await?
    }

    /// The pool of the connection for writes. `None` in a pool that only reads.
    pub(crate) fn writer(&self) -> Option<&pool_core::Pool<Manager>> {
        self.beside().pools().first()
    }

    /// Returns the status of the connection for writes, a pool of one. `None` in a pool that only reads.
    pub fn writer_status(&self) -> Option<Status> {
        Some(self.writer()?.status())
    }
}

/// How often a write without a turn looks whether it was put back into the queue.
const PATIENCE: Duration = Duration::from_millis(50);

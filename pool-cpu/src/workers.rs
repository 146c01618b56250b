//! The handle of a pool.

use std::{fmt, thread, time::Duration};

use crate::{
    ConfigError, Ctx, Drained, Error, JobBuilder, JobHandle, Rejected, Report, Run, Shutdown,
    engine::Core,
    run::Options,
    shutdown,
    sync::{Arc, torn_down},
};

/// The methods that [`CpuPool`](crate::CpuPool) and [`BlockingPool`](crate::BlockingPool) share. Both pools dereference to
/// `Workers`.
///
/// A `Workers` is a cheap handle: clones share one pool. When the last handle is dropped, the waiting jobs still run, and then the
/// threads end.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pool_cpu::Error> {
/// let cpu = pool_cpu::CpuPool::builder().threads(2).build().expect("two threads");
/// let digest = cpu.run(|| (1..=20_u64).product::<u64>()).await?;
/// assert_eq!(digest, 2_432_902_008_176_640_000);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Workers {
    owner: Arc<Owner>,
}

/// Closes the pool when the last handle is dropped.
struct Owner {
    core: Arc<Core>,
}

impl Workers {
    /// Starts the keeper. The workers are started later. If a worker cannot be started, the drop of the returned handle ends the
    /// threads that were started.
    pub(crate) fn start(core: &Arc<Core>) -> Result<Self, ConfigError> {
        let keeper = Arc::clone(core);
        let name = core.name();
        thread::Builder::new()
            .name(format!("{name}-keeper"))
            .spawn(move || keeper.keeper().keep(|now| keeper.look(now)))
            .map_err(|error| {
                let expected = format!("a thread that the system can start ({error})");
                ConfigError::new("the keeper of the pool", format!("{name}-keeper"), expected)
            })?;
        Ok(Self::new(Arc::clone(core)))
    }

    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self {
            owner: Arc::new(Owner { core }),
        }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.owner.core
    }

    /// Runs `f` on a worker. Waits in order of arrival for a place while the queue is full.
    ///
    /// # Errors
    /// - [`Error::is_panic`] when `f` panicked.
    /// - [`Error::is_queue_timeout`] when no worker took the job within the pool's `queue_timeout`.
    /// - [`Error::is_overloaded`] when the queue is full and `max_waiters` jobs already wait for a place.
    /// - [`Error::is_closed`] after a shutdown.
    /// - [`Error::is_self_wait`] when a job of this pool awaits the future.
    /// - [`Error::is_invalid`] when a timeout or budget of the job is zero.
    ///
    /// # Cancel safety
    /// Dropping the future while the job waits drops `f` without running it, and frees its place at once. A running job keeps its
    /// place until it ends.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let cpu = pool_cpu::CpuPool::builder().threads(1).build()?;
    /// let (go, gate) = std::sync::mpsc::channel::<()>();
    /// let busy = cpu.try_run(move || gate.recv().ok())?;
    /// // The job does not get a worker in time: the future is dropped, and the job with it.
    /// let late = tokio::time::timeout(Duration::from_millis(5), cpu.run(|| unreachable!()));
    /// assert!(late.await.map(|answer: Result<(), _>| answer).is_err());
    /// let status = cpu.status();
    /// assert_eq!((status.cancelled, status.queued), (1, 0));
    /// drop(go);
    /// busy.await?;
    /// // A job must not wait for another job of its own pool: if every worker did so, no job would ever run.
    /// let inner = cpu.clone();
    /// let error = cpu.run(move || inner.run_sync(|| ())).await?.unwrap_err();
    /// assert!(error.is_self_wait());
    /// # Ok(())
    /// # }
    /// ```
    pub fn run<T, F>(&self, f: F) -> Run<'_, impl FnOnce(&Ctx<'_>) -> T + Send + 'static, T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.job("").run(f)
    }

    /// Submits `f` at once if there is a place.
    ///
    /// # Errors
    /// [`Rejected`] returns `f` when there is no place, and after a shutdown.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cpu = pool_cpu::CpuPool::builder().threads(1).queue(0).build()?;
    /// let (go, gate) = std::sync::mpsc::channel::<()>();
    /// let busy = cpu.try_run(move || gate.recv().ok())?;
    /// let rejected = cpu.try_run(|| 6 * 7).unwrap_err();
    /// assert!(rejected.error().is_overloaded());
    /// let here = (rejected.into_closure())(); // run it on this thread, keep it for later, or drop it
    /// assert_eq!(here, 42);
    /// drop(go);
    /// busy.await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_run<T, F>(&self, f: F) -> Result<JobHandle<T>, Rejected<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.job("").try_run(f)
    }

    /// Runs `f` on a worker and blocks this thread until `f` has ended. Call it on plain threads only, because it would block an
    /// executor thread.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    ///
    /// ```
    /// # let cpu = pool_cpu::CpuPool::builder().threads(1).build().expect("one thread");
    /// assert_eq!(cpu.run_sync(|| 6 * 7)?, 42);
    /// # Ok::<(), pool_cpu::Error>(())
    /// ```
    pub fn run_sync<T, F>(&self, f: F) -> Result<T, Error>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.job("").run_sync(f)
    }

    /// Begins a job with its own settings and a label for statistics, errors and reports. The label may be empty.
    pub fn job(&self, label: &'static str) -> JobBuilder<'_> {
        JobBuilder::new(
            self,
            Options {
                label,
                ..self.options()
            },
        )
    }

    /// Closes the pool as every pool of this toolkit is closed. The pool accepts no more jobs. The call waits until the accepted
    /// jobs have run, but no longer than `within`. It returns how many threads are left then. [`Drained::is_complete`] says whether
    /// none is left.
    ///
    /// After `within`, the jobs that still wait are dropped, and [`Ctx::is_cancelled`] returns true in the jobs that still run. A
    /// job has no lease, so [`Drained::leased`] is empty. The [`Report`] of a [`shutdown`](Self::shutdown) lists the jobs that did
    /// not end, also if it is called after this.
    ///
    /// # Cancel safety
    /// If the future is dropped, the pool stays closed, and the waiting jobs run.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let cpu = pool_cpu::CpuPool::builder().threads(1).build()?;
    /// let last = cpu.try_run(|| 7)?;
    /// let drained = cpu.drain(Duration::from_secs(10)).await;
    /// assert!(drained.is_complete() && last.is_finished());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn drain(&self, within: Duration) -> Drained {
        self.shutdown(Shutdown::Drain, within).await.into()
    }

    /// Closes the pool, and lets the caller choose what happens to the waiting jobs. In this it differs from
    /// [`drain`](Self::drain). Only pools of jobs have it.
    ///
    /// The pool accepts no more jobs, runs or drops the jobs in the queue, and waits for the running jobs, but no longer than
    /// `within`. After `within`, the jobs that still wait are dropped. [`Ctx::is_cancelled`] returns true in the jobs that still
    /// run, and the report lists them. Jobs that wait for a place were not accepted. They fail with [`Error::is_closed`], as later
    /// jobs do.
    ///
    /// A job of the pool may call this too, without a deadlock, however long `within` is. The call waits for all other jobs, and
    /// the report lists the calling job as running. The jobs that then still wait, without a worker that could run them, are
    /// dropped. One case takes all of `within`: a piece of parallel work counts as the job of the worker that runs the piece, so if
    /// a piece shuts the pool down while the job that waits for the piece is on another worker, the call waits for that job.
    ///
    /// # Cancel safety
    /// If the future is dropped, the pool stays closed, and the waiting jobs are run or dropped as `how` says.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use pool_cpu::Shutdown;
    ///
    /// # let cpu = pool_cpu::CpuPool::builder().threads(1).build()?;
    /// let (go, gate) = std::sync::mpsc::channel::<()>();
    /// let (started, begun) = tokio::sync::oneshot::channel();
    /// let stuck = cpu.job("stuck").enqueue(move || (started.send(()), gate.recv().ok())).await?;
    /// begun.await?;
    /// let queued = cpu.try_run(|| 1)?;
    /// let report = cpu.shutdown(Shutdown::DropQueued, Duration::from_millis(10)).await;
    /// assert_eq!((report.dropped, report.still_running[0].label), (1, "stuck"));
    /// assert!(queued.await.unwrap_err().is_closed());
    /// assert!(cpu.run(|| 2).await.unwrap_err().is_closed());
    /// # drop(go);
    /// # stuck.detach();
    /// # Ok(())
    /// # }
    /// ```
    pub async fn shutdown(&self, how: Shutdown, within: Duration) -> Report {
        shutdown::shutdown(self.core(), how, within).await
    }

    /// Like [`shutdown`](Self::shutdown), for plain threads. Blocks this thread.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pool_cpu::Shutdown;
    ///
    /// # let cpu = pool_cpu::CpuPool::builder().threads(1).build().expect("one thread");
    /// let last = cpu.try_run(|| 7).expect("there is room");
    /// let report = cpu.shutdown_sync(Shutdown::Drain, Duration::from_secs(10));
    /// assert!(report.is_clean() && last.is_finished());
    /// ```
    pub fn shutdown_sync(&self, how: Shutdown, within: Duration) -> Report {
        crate::block_on::block_on(self.shutdown(how, within))
    }

    /// Whether the pool was shut down.
    pub fn is_closed(&self) -> bool {
        self.core().is_closed()
    }

    /// Returns the name of the pool.
    pub fn name(&self) -> &str {
        self.core().name()
    }

    fn options(&self) -> Options {
        Options {
            label: "",
            background: false,
            tenant: None,
            queue_timeout: self.core().plan().queue_timeout,
            budget: None,
        }
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers")
            .field("core", self.core())
            .finish()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if !torn_down() {
            self.core.close();
        }
    }
}

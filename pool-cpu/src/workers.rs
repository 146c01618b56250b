//! The face of a pool.

use std::{fmt, thread, time::Duration};

use crate::{
    ConfigError, Ctx, Drained, Error, JobBuilder, JobHandle, Rejected, Report, Run, Shutdown,
    engine::Core,
    run::Options,
    shutdown,
    sync::{Arc, torn_down},
};

/// What [`CpuPool`](crate::CpuPool) and [`BlockingPool`](crate::BlockingPool) have in common: both are this, over other threads.
///
/// A cheap handle: clone it wherever it is needed. When the last one is dropped, the jobs that wait still run, and then the
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

/// Shuts the pool down when the last handle goes.
struct Owner {
    core: Arc<Core>,
}

impl Workers {
    /// Starts the keeper. The workers come after: when one of them cannot be started, dropping this
    /// ends what is there.
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

    /// Runs `f` on a worker. Waits in FIFO order for a place while the queue is full.
    ///
    /// # Errors
    /// [`Error::is_panic`] when `f` panicked; [`Error::is_queue_timeout`] when no worker took it within the pool's
    /// `queue_timeout`; [`Error::is_closed`] after a shutdown; [`Error::is_self_wait`] when it is called from a job of this pool;
    /// [`Error::is_invalid`] when the job was given a time of zero.
    ///
    /// # Cancel safety
    /// Dropping the future while the job waits drops `f` unrun and frees its place at once. A job that runs keeps its place
    /// until it ends.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let cpu = pool_cpu::CpuPool::builder().threads(1).build()?;
    /// let (go, gate) = std::sync::mpsc::channel::<()>();
    /// let busy = cpu.try_run(move || gate.recv().ok())?;
    /// // It does not get its turn in time: the future is dropped, and the job with it.
    /// let late = tokio::time::timeout(Duration::from_millis(5), cpu.run(|| unreachable!()));
    /// assert!(late.await.map(|answer: Result<(), _>| answer).is_err());
    /// let status = cpu.status();
    /// assert_eq!((status.cancelled, status.queued), (1, 0));
    /// drop(go);
    /// busy.await?;
    /// // A job must not wait for another of its own pool: with every worker doing so, none would ever run.
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
    /// [`Rejected`] gives `f` back: when there is no place, and after a shutdown.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cpu = pool_cpu::CpuPool::builder().threads(1).queue(0).build()?;
    /// let (go, gate) = std::sync::mpsc::channel::<()>();
    /// let busy = cpu.try_run(move || gate.recv().ok())?;
    /// let rejected = cpu.try_run(|| 6 * 7).unwrap_err();
    /// assert!(rejected.error().is_overloaded());
    /// let here = (rejected.into_closure())(); // run it on this thread, keep it for later, or give up
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

    /// Runs `f` on a worker and blocks this thread until it is done. For plain threads: it would stall an executor.
    ///
    /// # Errors
    /// As [`run`](Self::run).
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

    /// A job with a label (for statistics, errors and reports; may be empty) and settings of its own.
    pub fn job(&self, label: &'static str) -> JobBuilder<'_> {
        JobBuilder::new(
            self,
            Options {
                label,
                ..self.options()
            },
        )
    }

    /// Ends the pool as every pool of this toolkit ends: takes no more jobs, and waits until those that were taken have run, but no longer
    /// than `within`. Says how many threads are left then; none, when all is done ([`Drained::is_complete`]).
    ///
    /// What still waits when the time is over is dropped, and what still runs is told ([`Ctx::is_cancelled`]). A job has no lease, so
    /// [`Drained::leased`] is empty: the [`Report`] of a [`shutdown`](Self::shutdown) says which jobs did not end, also after this.
    ///
    /// # Cancel safety
    /// The pool stays closed; what waits is run.
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

    /// Ends the pool, and says what becomes of the jobs that wait: the one exception to [`drain`](Self::drain), for pools of jobs only.
    ///
    /// It takes no more jobs, runs or drops those in the queue, and waits for those that run, but no longer than
    /// `within`. After that what still waits is dropped, what still runs is told ([`Ctx::is_cancelled`]) and reported. Jobs that are in
    /// line for a place have not been taken: they get [`Error::is_closed`], as those do that come later.
    ///
    /// Called from a job of the pool itself it does not hang either, however long `within` is: it waits for all others, and that job is
    /// one of those that still run. (A piece of parallel work is the job of the worker that runs it: one that shuts the pool down while the
    /// job that waits for that piece is on another worker takes all of `within`.) What then waits, with no worker left to run it, is dropped.
    ///
    /// # Cancel safety
    /// The pool stays closed; what waits is run or dropped as asked for.
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

    /// [`shutdown`](Self::shutdown) for plain threads.
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

    /// Was the pool shut down?
    pub fn is_closed(&self) -> bool {
        self.core().is_closed()
    }

    /// The name of the pool.
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

//! The builder of a job.

use std::{fmt, future::Future, hash::Hash, time::Duration};

use crate::{
    Ctx, Error, JobHandle, Run, Spawned, Workers, block_on::block_on, clock, errand::Errand,
    error::Kind, job, run::Options, sync::Arc, trace::Caller,
};

/// Builds a job: first its settings, then the method that runs it. [`Workers::job`] returns it.
///
/// ```
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pool_cpu::Error> {
/// # let cpu = pool_cpu::CpuPool::builder().threads(1).build().expect("one thread");
/// let thumbnail = cpu
///     .job("thumbnail")
///     .background()
///     .queue_timeout(Duration::from_secs(2))
///     .run(|| vec![0_u8; 64])
///     .await?;
/// assert_eq!(thumbnail.len(), 64);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct JobBuilder<'p> {
    workers: &'p Workers,
    options: Options,
}

/// A job that was rejected: the error, and the closure.
pub struct Rejected<F> {
    closure: F,
    error: Error,
}

impl<'p> JobBuilder<'p> {
    pub(crate) const fn new(workers: &'p Workers, options: Options) -> Self {
        Self { workers, options }
    }

    /// # Errors
    /// A setting is invalid, so the job could not run.
    fn check(&self) -> Result<(), Error> {
        self.options.check(self.workers.core())
    }

    pub(crate) fn error(&self, kind: Kind) -> Error {
        self.workers.core().error(self.options.label, kind)
    }

    /// Runs the job after the normal jobs: when no normal job waits, or once the job has waited for the pool's `background_age`.
    /// Aged jobs take one turn in four, so that neither kind starves. Background jobs have their own places, as many as normal
    /// jobs.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cpu = pool_cpu::CpuPool::builder().threads(1).build()?;
    /// let (go, gate) = std::sync::mpsc::channel::<()>();
    /// let busy = cpu.try_run(move || gate.recv().ok())?;
    /// let (send, order) = std::sync::mpsc::channel();
    /// let other = send.clone();
    /// let report = cpu.job("report").background().try_run(move || send.send("report"))?;
    /// let login = cpu.try_run(move || other.send("login"))?;
    /// drop(go);
    /// (busy.await?, report.await??, login.await??);
    /// assert_eq!(order.iter().collect::<Vec<_>>(), ["login", "report"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// In this example a job has aged as soon as it waits, so reports take one turn in four:
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// let cpu = pool_cpu::CpuPool::builder().threads(1).background_age(Duration::ZERO).build()?;
    /// let (go, gate) = std::sync::mpsc::channel::<()>();
    /// let (started, begun) = tokio::sync::oneshot::channel();
    /// cpu.job("").spawn(move || (started.send(()), gate.recv()));
    /// begun.await?; // the only worker is busy, so the following jobs wait
    /// let (send, order) = std::sync::mpsc::channel();
    /// let say = |what: &'static str, send: &std::sync::mpsc::Sender<_>| {
    ///     let send = send.clone();
    ///     move || send.send(what).unwrap()
    /// };
    /// for _ in 0..2 {
    ///     cpu.job("report").background().spawn(say("report", &send));
    /// }
    /// for _ in 0..4 {
    ///     cpu.job("login").spawn(say("login", &send));
    /// }
    /// drop((go, send));
    /// let order: Vec<_> = order.iter().collect();
    /// assert_eq!(order, ["report", "login", "login", "login", "report", "login"]);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn background(mut self) -> Self {
        self.options.background = true;
        self
    }

    /// Sets the tenant of the job. While the queue is full, tenants take turns at its places. A tenant with a thousand waiting jobs
    /// delays another tenant by one job, not by a thousand. Jobs without a tenant take turns as if they were one more tenant.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cpu = pool_cpu::CpuPool::builder().threads(1).queue(0).build()?;
    /// let (go, gate) = std::sync::mpsc::channel::<()>();
    /// let busy = cpu.try_run(move || gate.recv().ok())?; // the following jobs wait for a place
    /// let (send, order) = std::sync::mpsc::channel();
    /// for tenant in ["acme", "acme", "acme", "bolt"] {
    ///     let send = send.clone();
    ///     cpu.job("invoice").tenant(tenant).spawn(move || send.send(tenant).unwrap());
    /// }
    /// drop((go, send));
    /// busy.await?;
    /// assert_eq!(order.iter().collect::<Vec<_>>(), ["acme", "bolt", "acme", "acme"]);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn tenant(mut self, tenant: impl Hash) -> Self {
        self.options.tenant = Some(self.workers.core().hash(tenant));
        self
    }

    /// Sets how long the job may wait for a place and a worker. After that time the job never runs. Not zero: use
    /// [`try_run`](Self::try_run) for a job that may not wait for a place. Default: the pool's `queue_timeout`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # let cpu = pool_cpu::CpuPool::builder().threads(1).build()?;
    /// let (go, gate) = std::sync::mpsc::channel::<()>();
    /// let busy = cpu.try_run(move || gate.recv().ok())?;
    /// let late = cpu.job("late").queue_timeout(Duration::from_millis(5)).run(|| ());
    /// assert!(late.await.unwrap_err().is_queue_timeout());
    /// drop(go);
    /// busy.await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn queue_timeout(mut self, timeout: Duration) -> Self {
        self.options.queue_timeout = Some(timeout);
        self
    }

    /// Sets how long the job may run, counted from its start, before its caller gets an error. [`Ctx::is_cancelled`] then returns
    /// true in the job, which keeps its place until it ends. Not zero. Default: no limit.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # let cpu = pool_cpu::CpuPool::builder().threads(1).build()?;
    /// let endless = cpu.job("endless").budget(Duration::from_millis(5)).run_with(|ctx| {
    ///     while !ctx.is_cancelled() {
    ///         std::thread::yield_now();
    ///     }
    /// });
    /// assert!(endless.await.unwrap_err().is_run_timeout());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn budget(mut self, budget: Duration) -> Self {
        self.options.budget = Some(budget);
        self
    }

    /// Like [`Workers::run`].
    pub fn run<T, F>(self, f: F) -> Run<'p, impl FnOnce(&Ctx<'_>) -> T + Send + 'static, T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.run_with(move |_: &Ctx<'_>| f())
    }

    /// Like [`Workers::run`], but passes a [`Ctx`] to the job. With it the job can check for cancellation, and use the other
    /// workers.
    pub fn run_with<T, F>(self, f: F) -> Run<'p, impl FnOnce(&Ctx<'_>) -> T + Send + 'static, T>
    where
        F: FnOnce(&Ctx<'_>) -> T + Send + 'static,
        T: Send + 'static,
    {
        self.run_as(Caller::here(), f)
    }

    /// Like `run_with`, for a caller that was recorded before.
    pub(crate) fn run_as<T, F>(
        self,
        caller: Caller,
        f: F,
    ) -> Run<'p, impl FnOnce(&Ctx<'_>) -> T + Send + 'static, T>
    where
        F: FnOnce(&Ctx<'_>) -> T + Send + 'static,
        T: Send + 'static,
    {
        Run::new(self.workers.core(), self.options, caller.carry(f))
    }

    /// Waits for a place, and returns when the job is in the queue.
    ///
    /// # Errors
    /// As for [`Workers::run`], except for panics.
    ///
    /// # Cancel safety
    /// Dropping the future drops `f` without running it.
    pub fn enqueue<T, F>(
        self,
        f: F,
    ) -> impl Future<Output = Result<JobHandle<T>, Error>> + use<'p, T, F>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.enqueue_with(move |_: &Ctx<'_>| f())
    }

    /// Like [`enqueue`](Self::enqueue), but passes a [`Ctx`] to the job. With it the job can check for cancellation, and use the
    /// other workers.
    ///
    /// # Errors
    /// As for [`enqueue`](Self::enqueue).
    ///
    /// # Cancel safety
    /// As for [`enqueue`](Self::enqueue).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// use pool_cpu::Shutdown;
    ///
    /// # let cpu = pool_cpu::CpuPool::builder().threads(1).build()?;
    /// let (started, begun) = tokio::sync::oneshot::channel();
    /// let (say, seen) = tokio::sync::oneshot::channel();
    /// let job = cpu.job("index").enqueue_with(move |ctx| {
    ///     started.send(()).ok();
    ///     while !ctx.is_cancelled() {
    ///         std::thread::yield_now(); // a step
    ///     }
    ///     say.send("left").ok();
    /// });
    /// job.await?.detach(); // no caller waits for the job, but the shutdown cancels it
    /// begun.await?;
    /// cpu.shutdown(Shutdown::Drain, Duration::from_millis(5)).await;
    /// assert_eq!(seen.await?, "left");
    /// # Ok(())
    /// # }
    /// ```
    pub fn enqueue_with<T, F>(
        self,
        f: F,
    ) -> impl Future<Output = Result<JobHandle<T>, Error>> + use<'p, T, F>
    where
        F: FnOnce(&Ctx<'_>) -> T + Send + 'static,
        T: Send + 'static,
    {
        let f = Caller::here().carry(f);
        async move {
            self.check()?;
            match self.offer(f, |f| f) {
                // The job has no waker yet, because no caller awaits its result so far.
                Ok(job) => Ok(job),
                Err(f) => {
                    let run = Run::new(self.workers.core(), self.options, f);
                    run.submitted().await
                }
            }
        }
    }

    /// Like [`Workers::try_run`].
    ///
    /// # Errors
    /// [`Rejected`] returns `f` when there is no place, and after a shutdown.
    pub fn try_run<T, F>(self, f: F) -> Result<JobHandle<T>, Rejected<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.try_as(f, |f| move |_: &Ctx<'_>| f())
    }

    /// Like [`Workers::try_run`], but passes a [`Ctx`] to the job. With it the job can check for cancellation, and use the other
    /// workers.
    ///
    /// # Errors
    /// [`Rejected`] returns `f` when there is no place, and after a shutdown.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cpu = pool_cpu::CpuPool::builder().threads(1).build()?;
    /// let (started, begun) = tokio::sync::oneshot::channel();
    /// let search = cpu.job("search").try_run_with(move |ctx| {
    ///     started.send(()).ok();
    ///     while !ctx.is_cancelled() {
    ///         std::thread::yield_now(); // a step of the search
    ///     }
    /// })?;
    /// begun.await?;
    /// search.abort(); // the job runs, so it sees the cancellation and ends soon
    /// assert!(search.await.unwrap_err().is_cancelled());
    /// assert_eq!(cpu.run(|| 7).await?, 7); // its worker is free again
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_run_with<T, F>(self, f: F) -> Result<JobHandle<T>, Rejected<F>>
    where
        F: FnOnce(&Ctx<'_>) -> T + Send + 'static,
        T: Send + 'static,
    {
        self.try_as(f, |f| f)
    }

    /// Submits `job(f)` at once, or returns `f`.
    fn try_as<T, F, J>(self, f: F, job: impl FnOnce(F) -> J) -> Result<JobHandle<T>, Rejected<F>>
    where
        J: FnOnce(&Ctx<'_>) -> T + Send + 'static,
        T: Send + 'static,
    {
        let core = self.workers.core();
        let label = self.options.label;
        if let Err(error) = self.check() {
            return Err(Rejected { closure: f, error });
        }
        if core.is_closed() {
            return Err(Rejected {
                closure: f,
                error: core.closed(label),
            });
        }
        let carried = |f| Caller::here().carry(job(f));
        self.offer(f, carried).map_err(|closure| Rejected {
            closure,
            error: if core.is_closed() {
                core.closed(label)
            } else {
                core.overloaded(label)
            },
        })
    }

    /// Like `try_as`, but does not count a rejection, and does not record the caller's span.
    pub(crate) fn offer<T, F, J>(self, f: F, job: impl FnOnce(F) -> J) -> Result<JobHandle<T>, F>
    where
        J: FnOnce(&Ctx<'_>) -> T + Send + 'static,
        T: Send + 'static,
    {
        let core = self.workers.core();
        let Some(place) = core.places(self.options.background).try_take() else {
            return Err(f);
        };
        let head = self.options.head(std::time::Instant::now());
        let job = job::submit(core, head, job(f), place, None, None);
        let is_seen = clock::hold_for(&*job);
        Ok(JobHandle::new(Arc::clone(core), job, is_seen))
    }

    /// Submits `f`. The job continues when the handle is dropped. While there is no place, the job waits for a place, whether the
    /// handle is polled or not. If `max_waiters` jobs already wait, the job does not run, and the handle returns an error at once
    /// ([`Error::is_overloaded`]).
    ///
    /// Use it for work that must be done even if no caller waits for it. A job may spawn jobs on its own pool too, but must not
    /// await them.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cpu = pool_cpu::CpuPool::builder().threads(1).queue(0).build()?;
    /// let (go, gate) = std::sync::mpsc::channel::<()>();
    /// let busy = cpu.try_run(move || gate.recv().ok())?; // now all places are taken
    /// let (send, receive) = tokio::sync::oneshot::channel();
    /// drop(cpu.job("audit").spawn(move || send.send("written")));
    /// drop(go);
    /// busy.await?;
    /// assert_eq!(receive.await?, "written");
    /// # Ok(())
    /// # }
    /// ```
    pub fn spawn<T, F>(self, f: F) -> Spawned<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_with(move |_: &Ctx<'_>| f())
    }

    /// Like [`spawn`](Self::spawn), but passes a [`Ctx`] to the job. With it the job can check for cancellation, and use the other
    /// workers.
    pub fn spawn_with<T, F>(self, f: F) -> Spawned<T>
    where
        F: FnOnce(&Ctx<'_>) -> T + Send + 'static,
        T: Send + 'static,
    {
        let core = self.workers.core();
        if let Err(error) = self.check() {
            return Spawned::refused(core.name(), error);
        }
        let f = match self.offer(Caller::here().carry(f), |f| f) {
            Ok(job) => return Spawned::submitted(core.name(), job),
            Err(f) => f,
        };
        // The clone keeps the pool open: waiting jobs still run when the last other handle is dropped.
        let (workers, options) = (self.workers.clone(), self.options);
        let way = async move { Run::new(workers.core(), options, f).sent().await };
        let errand = Errand::start(core, options.label, Box::pin(way));
        Spawned::in_line(core.name(), errand)
    }

    /// Like [`Workers::run_sync`].
    ///
    /// # Errors
    /// As for [`Workers::run`].
    pub fn run_sync<T, F>(self, f: F) -> Result<T, Error>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        block_on(self.run(f))
    }

    /// Like [`Workers::run_sync`], but passes a [`Ctx`] to the job. With it the job can check for cancellation, and use the other
    /// workers.
    ///
    /// # Errors
    /// As for [`Workers::run`].
    pub fn run_sync_with<T, F>(self, f: F) -> Result<T, Error>
    where
        F: FnOnce(&Ctx<'_>) -> T + Send + 'static,
        T: Send + 'static,
    {
        block_on(self.run_with(f))
    }
}

impl<F> Rejected<F> {
    /// Returns the closure, so that it can run on this thread, later, or elsewhere.
    pub fn into_closure(self) -> F {
        self.closure
    }

    /// Returns the error without the closure.
    pub fn into_error(self) -> Error {
        self.error
    }

    /// Returns why the job was rejected: [`Error::is_overloaded`], [`Error::is_closed`] or [`Error::is_invalid`].
    pub const fn error(&self) -> &Error {
        &self.error
    }
}

impl<F> fmt::Debug for Rejected<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<F> fmt::Display for Rejected<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<F> std::error::Error for Rejected<F> {}

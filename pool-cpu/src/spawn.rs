//! Free functions on a pool that is made when it is first used.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::OnceLock,
    task::{Context, Poll},
};

use crate::{ConfigError, CpuPool, Ctx, Error, JobHandle, error::Kind, sync::Arc, trace::Caller};

/// What became of the pool that nobody made by hand.
static POOL: OnceLock<Result<CpuPool, ConfigError>> = OnceLock::new();

/// The pool behind [`spawn`]: the one that [`set_default_pool`] gave, or one that is made as the
/// environment says when it is first asked for.
///
/// # Errors
/// A bad value or an unknown name in the environment; a thread that the system does not start.
/// Nothing is tried again: the answer stays the same.
///
/// ```
/// let waiting = pool_cpu::default_pool()?.stats().queued;
/// assert_eq!(waiting, 0);
/// # Ok::<(), pool_cpu::ConfigError>(())
/// ```
pub fn default_pool() -> Result<&'static CpuPool, ConfigError> {
    POOL.get_or_init(CpuPool::from_env)
        .as_ref()
        .map_err(Clone::clone)
}

/// Makes `pool` the one behind [`spawn`]. To be called before it is first used.
///
/// # Errors
/// Gives `pool` back when there is one already.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = pool_cpu::CpuPool::builder().name("default").threads(1).build()?;
/// pool_cpu::set_default_pool(pool).expect("nothing was spawned so far");
/// let name = pool_cpu::spawn(|| std::thread::current().name().map(str::to_owned)).await?;
/// assert_eq!(name.as_deref(), Some("default-0"));
/// # Ok(())
/// # }
/// ```
pub fn set_default_pool(pool: CpuPool) -> Result<(), CpuPool> {
    let mut pool = Some(pool);
    POOL.get_or_init(|| pool.take().map_or_else(CpuPool::from_env, Ok))
        .as_ref()
        .ok();
    pool.map_or(Ok(()), Err)
}

/// Runs `f` on the [default pool](default_pool): `tokio::task::spawn_blocking`, bounded.
///
/// As there, the job begins without being awaited, and dropping the handle lets it go on. Unlike
/// there the queue is bounded: while it is full, the job waits in the handle, in line for a place,
/// and dropping the handle then drops the job, which counts as cancelled. [`Workers::run`](crate::Workers::run), which drops
/// every job that nobody waits for, is the better choice where a service can be changed.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pool_cpu::Error> {
/// let sum = pool_cpu::spawn(|| (1..=100).sum::<u32>()).await?;
/// assert_eq!(sum, 5050);
/// # Ok(())
/// # }
/// ```
pub fn spawn<T, F>(f: F) -> Spawned<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let pool = match default_pool() {
        Ok(pool) => pool,
        Err(error) => {
            let error = Error::new(&Arc::from("cpu"), "", Kind::Invalid(error));
            return Spawned(Stage::Refused(Some(error)));
        }
    };
    match pool
        .job("")
        .offer(f, |f| Caller::here().carry(move |_: &Ctx<'_>| f()))
    {
        Ok(job) => Spawned(Stage::Submitted(job)),
        // In line, or told that the pool is closed.
        Err(f) => Spawned(Stage::Waiting(Box::pin(pool.job("").enqueue(f)))),
    }
}

/// A job of [`spawn`]. Dropping it lets the job go on, if it has its place.
#[derive(Debug)]
pub struct Spawned<T>(Stage<T>);

enum Stage<T> {
    Waiting(Pin<Box<dyn Future<Output = Result<JobHandle<T>, Error>> + Send>>),
    Submitted(JobHandle<T>),
    Detached,
    Refused(Option<Error>),
}

impl<T> Spawned<T> {
    /// Gives up the job: if it waits it is dropped unrun, if it runs it is told.
    pub fn abort(&mut self) {
        match &self.0 {
            Stage::Submitted(job) => {
                job.abort();
            }
            Stage::Waiting(_) => self.0 = Stage::Detached,
            Stage::Detached | Stage::Refused(_) => {}
        }
    }

    /// Is there a result?
    pub fn is_finished(&self) -> bool {
        match &self.0 {
            Stage::Submitted(job) => job.is_finished(),
            Stage::Waiting(_) => false,
            Stage::Detached | Stage::Refused(_) => true,
        }
    }
}

impl<T> Future for Spawned<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.0 {
                Stage::Waiting(place) => match place.as_mut().poll(cx) {
                    Poll::Ready(Ok(job)) => self.0 = Stage::Submitted(job),
                    Poll::Ready(Err(error)) => self.0 = Stage::Refused(Some(error)),
                    Poll::Pending => return Poll::Pending,
                },
                Stage::Submitted(job) => return Pin::new(job).poll(cx),
                Stage::Refused(error) => {
                    let again = || Error::new(&Arc::from("cpu"), "", Kind::Cancelled);
                    return Poll::Ready(Err(error.take().unwrap_or_else(again)));
                }
                Stage::Detached => self.0 = Stage::Refused(None),
            }
        }
    }
}

impl<T> Drop for Spawned<T> {
    fn drop(&mut self) {
        if let Stage::Submitted(job) = std::mem::replace(&mut self.0, Stage::Detached) {
            job.detach();
        }
    }
}

impl<T> fmt::Debug for Stage<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting(_) => "Waiting",
            Self::Submitted(_) => "Submitted",
            Self::Detached => "Detached",
            Self::Refused(_) => "Refused",
        })
    }
}

//! Free functions on pools that are made when they are first used.

use std::sync::OnceLock;

use crate::{BlockingPool, ConfigError, CpuPool, Error, Spawned, Workers, error::Kind, sync::Arc};

/// What became of the pools that nobody made by hand.
static CPU: OnceLock<Result<CpuPool, ConfigError>> = OnceLock::new();
static BLOCKING: OnceLock<Result<BlockingPool, ConfigError>> = OnceLock::new();

/// The pool behind [`spawn`]: the one that [`set_default_pool`] gave, or one that is made as the
/// environment says when it is first asked for.
///
/// # Errors
/// A bad value or an unknown name in the environment; a thread that the system does not start.
/// Nothing is tried again: the answer stays the same.
///
/// ```
/// let waiting = pool_cpu::default_pool()?.status().queued;
/// assert_eq!(waiting, 0);
/// # Ok::<(), pool_cpu::ConfigError>(())
/// ```
pub fn default_pool() -> Result<&'static CpuPool, ConfigError> {
    default_of(&CPU, CpuPool::from_env)
}

/// The pool behind [`spawn_blocking`]: as [`default_pool`], for calls that wait.
///
/// # Errors
/// As there.
///
/// ```
/// assert_eq!(pool_cpu::default_blocking_pool()?.status().workers, 0); // no thread before the first job
/// # Ok::<(), pool_cpu::ConfigError>(())
/// ```
pub fn default_blocking_pool() -> Result<&'static BlockingPool, ConfigError> {
    default_of(&BLOCKING, BlockingPool::from_env)
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
    set_default_of(&CPU, pool, CpuPool::from_env)
}

/// Makes `pool` the one behind [`spawn_blocking`]. To be called before it is first used.
///
/// # Errors
/// Gives `pool` back when there is one already.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = pool_cpu::BlockingPool::builder().name("files").max_threads(32).build()?;
/// pool_cpu::set_default_blocking_pool(pool).expect("nothing was spawned so far");
/// let name = pool_cpu::spawn_blocking(|| std::thread::current().name().map(str::to_owned)).await?;
/// assert_eq!(name.as_deref(), Some("files-0"));
/// # Ok(())
/// # }
/// ```
pub fn set_default_blocking_pool(pool: BlockingPool) -> Result<(), BlockingPool> {
    set_default_of(&BLOCKING, pool, BlockingPool::from_env)
}

/// Runs `f`, which computes, on the [default pool](default_pool): `tokio::task::spawn_blocking`, bounded.
///
/// As there, the job begins without being awaited, and dropping the handle lets it go on. Unlike there the queue is bounded. While it
/// is full the job waits in line for a place, awaited or not, for `queue_timeout` at most; when the line is full as well (`max_waiters`)
/// it does not run, and the handle says so at once ([`Error::is_overloaded`]). [`Workers::run`](crate::Workers::run), which drops
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
    spawn_on(default_pool().map(|pool| &**pool), "cpu", f)
}

/// Runs `f`, which waits, on the [default pool for that](default_blocking_pool): `tokio::task::spawn_blocking`, bounded.
///
/// As [`spawn`], on threads that come and go: a call that waits would hold a worker that could compute.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let text = pool_cpu::spawn_blocking(|| std::fs::read_to_string("Cargo.toml")).await??;
/// assert!(text.contains("[package]"));
/// # Ok(())
/// # }
/// ```
pub fn spawn_blocking<T, F>(f: F) -> Spawned<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let pool = default_blocking_pool();
    spawn_on(pool.map(|pool| &**pool), "blocking", f)
}

fn spawn_on<T, F>(pool: Result<&Workers, ConfigError>, name: &str, f: F) -> Spawned<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    match pool {
        Ok(pool) => pool.job("").spawn(f),
        Err(error) => {
            let name = Arc::from(name);
            Spawned::refused(&name, Error::new(&name, "", Kind::Invalid(error)))
        }
    }
}

fn default_of<P>(
    slot: &OnceLock<Result<P, ConfigError>>,
    make: impl FnOnce() -> Result<P, ConfigError>,
) -> Result<&P, ConfigError> {
    slot.get_or_init(make).as_ref().map_err(Clone::clone)
}

fn set_default_of<P>(
    slot: &OnceLock<Result<P, ConfigError>>,
    pool: P,
    make: impl FnOnce() -> Result<P, ConfigError>,
) -> Result<(), P> {
    let mut pool = Some(pool);
    slot.get_or_init(|| pool.take().map_or_else(make, Ok))
        .as_ref()
        .ok();
    pool.map_or(Ok(()), Err)
}

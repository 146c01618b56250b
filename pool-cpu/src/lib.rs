//! Bounded worker pools that take blocking work off the async executor.
//!
//! If a task computes for long, or makes a blocking call, its executor thread cannot poll any other task. This crate runs such work
//! on worker threads. Its pools are bounded, so a load spike waits in a queue and does not overload the machine. Jobs can be
//! cancelled, so no worker computes for a caller that has disconnected. Statistics show which jobs wait, and for how long.
//!
//! ```
//! use std::time::Duration;
//! use pool_cpu::CpuPool;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cpu = CpuPool::builder().threads(2).queue(256).nice(5).build()?;
//! let job = cpu.job("hash").queue_timeout(Duration::from_secs(1)).run(|| (1..=20_u64).product::<u64>());
//! assert_eq!(job.await?, 2_432_902_008_176_640_000);
//! # Ok(())
//! # }
//! ```
//!
//! | for | use |
//! |---|---|
//! | computing | [`CpuPool`]: as many workers as cores; `par_iter` inside a job uses the pool's workers |
//! | blocking calls | [`BlockingPool`]: threads that are started and ended as needed |
//! | a long loop that must stay on its task | [`coop`]: yields to the executor, by time |
//! | large JSON, and any number of rows of it | `json` (a feature) |
//! | finding runtime workers that a task blocks, and measuring how late timers are | [`lag`] |
//! | code that calls `spawn_blocking` | [`spawn_blocking`] and [`spawn`], and [how to migrate](_from_spawn_blocking); also [from Node](_from_piscina) |
//!
//! Both pools dereference to [`Workers`], which has the methods that run jobs. Their futures run on any executor. The
//! [guide](_guide) explains which pool to use, how large it should be, what each error means and what to monitor.
//!
//! # Guarantees
//! - A job runs once or not at all, and its caller learns which.
//! - Dropping the future of a waiting job drops the job, and frees its place at once. A running job keeps its place until it ends.
//! - A panic ends only its job.
//! - Every wait has a limit, and so has a shutdown.
//!
//! A model checker explores every interleaving of the job slot, the queue and the shutdown. Each model is shown to fail with a
//! seeded bug.
//!
//! # Features
//! `lag` (on by default), `json`, `serde` (the settings), `tracing` (jobs run in the caller's span) and `metrics` (the facade). No
//! feature changes how a pool runs jobs.

#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[doc = include_str!("../docs/piscina.md")]
pub mod _from_piscina {}
#[doc = include_str!("../docs/spawn_blocking.md")]
pub mod _from_spawn_blocking {}
#[doc = include_str!("../docs/guide.md")]
pub mod _guide {}

mod abort;
mod block_on;
mod blocking;
mod chunked;
mod clock;
mod config;
pub mod coop;
mod cpu;
mod crew;
mod ctx;
mod engine;
mod errand;
mod error;
mod handle;
mod hooks;
mod idle;
mod job;
mod job_builder;
#[cfg(feature = "json")]
pub mod json;
mod keeper;
#[cfg(feature = "lag")]
pub mod lag;
#[cfg(feature = "metrics")]
mod meters;
mod mutation;
mod nice;
mod patience;
mod places;
mod queue;
mod quiet;
mod run;
mod shutdown;
mod spawn;
mod spawned;
mod state;
mod status;
mod sync;
mod trace;
mod worker;
mod workers;

pub use self::{
    abort::AbortHandle,
    blocking::{BlockingBuilder, BlockingPool},
    config::{BlockingConfig, CpuConfig},
    cpu::{CpuBuilder, CpuPool},
    ctx::Ctx,
    error::Error,
    handle::JobHandle,
    job_builder::{JobBuilder, Rejected},
    run::Run,
    shutdown::{Report, Shutdown, StillRunning},
    spawn::{
        default_blocking_pool, default_pool, set_default_blocking_pool, set_default_pool, spawn,
        spawn_blocking,
    },
    spawned::Spawned,
    state::WithState,
    status::{JobStatus, Status},
    workers::Workers,
};
pub use pool_core::{ConfigError, Drained, Env};

/// Compiles and runs the example of the README. The front page of the documentation is the text above.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

//! Bounded worker pools that take blocking work off the async executor.
//!
//! An executor's thread that computes, or waits in a call that is not async, holds up every task behind it. This crate is where
//! such work goes: bounded, so that a spike queues instead of taking the machine down; cancellable, so that nobody computes for a
//! caller who has hung up; observable, so that one sees which work waits and for how long.
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
//! | for | there is |
//! |---|---|
//! | computing | [`CpuPool`]: as many workers as cores; `par_iter` inside a job stays in the pool |
//! | calls that wait | [`BlockingPool`]: threads that come and go |
//! | a long loop that must stay on its task | [`coop`]: gives the executor its turn, by time |
//! | large JSON, and any number of rows of it | `json` (a feature) |
//! | seeing who blocks the executor, and how late timers are | [`lag`] |
//! | code that calls `spawn_blocking` | [`spawn_blocking`] and [`spawn`], and [the way here](_from_spawn_blocking); also [from Node](_from_piscina) |
//!
//! Both pools are a [`Workers`], which says what a job can do. Their futures run on any executor. The [guide](_guide) says which pool,
//! how large, what each error means and what to watch.
//!
//! What it promises: a job runs once or not at all, and its caller hears which; a future that is dropped drops its job while that
//! waits, and frees its place at once; the place of a job that runs is its own until it ends; a panic costs nothing but the job; every
//! wait has an end, a shutdown's too. The job slot, the queue and the shutdown are explored in every interleaving by a model checker,
//! and each model is shown to fail with a seeded bug.
//!
//! Features: `lag` (on by default), `json`, `serde` (the settings), `tracing` (spans that go along into the job), `metrics` (its
//! facade). None of them changes what a pool does.

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

/// The example of the README, compiled and run. The front page of the documentation is the text above.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

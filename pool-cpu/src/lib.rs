//! Bounded worker pools that take blocking work off the async executor.
//!
//! [`CpuPool`] is for computing: as many workers as cores, and a bounded queue before them.

#![deny(unsafe_code)]

mod block_on;
mod blocking;
mod chunked;
mod config;
pub mod coop;
mod cpu;
mod crew;
mod ctx;
mod engine;
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
mod state;
mod stats;
mod sync;
mod trace;
mod worker;
mod workers;

pub use self::{
    blocking::{BlockingBuilder, BlockingPool},
    config::{BlockingConfig, CpuConfig},
    cpu::{CpuBuilder, CpuPool},
    ctx::Ctx,
    error::Error,
    handle::JobHandle,
    job_builder::{JobBuilder, Rejected},
    run::Run,
    shutdown::{Report, Shutdown, StillRunning},
    spawn::{Spawned, default_pool, set_default_pool, spawn},
    state::WithState,
    stats::{JobStats, Stats},
    workers::Workers,
};
pub use pool_core::{ConfigError, Env};

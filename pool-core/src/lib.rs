//! A bounded, fair, cancel-safe async resource pool whose kernel is checked by a model checker.
//!
//! Three things make an async service slow long before its CPU is busy: connections that are opened again and again, queues that
//! nobody bounds, and blocking work on the threads that should be polling. This crate is the cure for the first two, for any
//! resource that is dear to open; `pool-db` and `pool-http` put it to work.
//!
//! ```
//! use pool_core::{Pool, manager_fn};
//!
//! async fn connect() -> std::io::Result<String> { Ok("connected".into()) }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = Pool::builder(manager_fn(connect)).max_size(16).env("SESSIONS")?.build()?; // reads SESSIONS_MAX_SIZE and the rest
//! let connection = pool.get().await?; // given back when dropped
//! # Ok(())
//! # }
//! ```
//!
//! The pool never has more than `max_size` open, serves first come, first served, and ends every wait. A future that is dropped, a manager
//! that fails, panics or hangs, and a runtime that ends cost no capacity. A [`Manager`] of your own checks, cleans and closes as well;
//! with [`Calls`] a call that was dropped half-way never reaches the next user.
//!
//! The [guide](_guide) says how large a pool should be, what its timeouts and errors mean, and how to come here from other pools.
//! What stands [beside the pool](_beside) is for the rest: limits, fan-outs, flights, connections that many share, pools by key; that page
//! says which to take when.
//!
//! # Features
//!
//! None is on by default, and none changes what a pool does.
//!
//! - `serde`: [`Config`] and the other settings from any format; durations are strings (`"30s"`).
//! - `tracing`: the spans `pool.get` (of a get that waits) and `pool.connect`, and warnings of slow gets, leaks and outages.
//! - `metrics`: OpenTelemetry's `db.client.connection.*` through the `metrics` facade.
//! - `deadpool`, `bb8`: their managers on this engine, in `adapt`.
#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

#[doc = include_str!("../docs/guide.md")]
pub mod _guide {}
#[doc = include_str!("../docs/beside.md")]
pub mod _beside {}
#[cfg(any(feature = "deadpool", feature = "bb8"))]
pub mod adapt;
mod config;
mod engine;
pub mod fan_out;
mod flight;
mod host;
mod keyed;
mod limiter;
mod moment;
pub mod observe;
mod pool;
mod rt;
mod shared;
mod sync;

#[cfg(feature = "serde")]
#[doc(hidden)]
pub use config::__Shown;
#[doc(hidden)]
pub use config::{__Sources, __default_max_size};
pub use config::{Config, ConfigError, Env, FromEnv, IdleOrder};
pub use fan_out::fan_out;
pub use flight::{Flight, FlightBuilder, FlightConfig, FlightError, FlightStatus, Run};
#[doc(hidden)]
pub use host::__name_for;
pub use host::{BoxError, Calls, Drained, Error, OpenError, Usage};
pub use keyed::{
    GetKeyed, KeyLimits, KeyedBuilder, KeyedConfig, KeyedLease, KeyedManager, KeyedPool,
};
pub use limiter::{
    Acquire, LimitError, Limiter, LimiterBuilder, LimiterConfig, LimiterStatus, Permit,
};
pub use observe::Status;
pub use pool::{Builder, Get, Lease, Manager, ManagerFn, Pool, keyed_manager_fn, manager_fn};
pub use shared::{
    ConnectionDied, Gauge, GetShare, Share, SharedBuilder, SharedConfig, SharedManager, SharedPool,
    SharedStatus,
};

/// What values settings may have, for the crates of this workspace.
#[doc(hidden)]
pub mod __checks {
    pub use crate::config::checks::{NotZero, at_least_one, auto_waiters, named, no_zeros};
}

/// The example of the README, compiled and run. The front page of the documentation is the text above.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

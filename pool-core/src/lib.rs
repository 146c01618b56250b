//! A bounded, fair, cancel-safe async resource pool whose kernel is checked by a model checker.
//!
//! An async service becomes slow long before its CPU is busy, for three common reasons: it opens connections again and again, its
//! queues have no bound, and it runs blocking work on the threads that poll its tasks. This crate solves the first two, for any
//! resource that is expensive to open. The crates `pool-db` and `pool-http` are built on it.
//!
//! ```
//! use pool_core::{Pool, manager_fn};
//!
//! async fn connect() -> std::io::Result<String> { Ok("connected".into()) }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = Pool::builder(manager_fn(connect)).max_size(16).env("SESSIONS")?.build()?; // reads SESSIONS_MAX_SIZE and so on
//! let connection = pool.get().await?; // returned to the pool when dropped
//! # Ok(())
//! # }
//! ```
//!
//! A pool never has more than `max_size` resources open. It serves gets in order of arrival, and every wait has a deadline.
//! Capacity is not lost when a future is dropped, when a manager fails, panics or hangs, or when a runtime ends. A [`Manager`] of
//! your own also checks, resets and closes resources. With [`Calls`] a manager finds out that a call was dropped before it ended,
//! and the pool does not hand that connection to the next caller.
//!
//! The [guide](_guide) explains how to choose the size of a pool, what its timeouts and errors mean, and how to migrate from other
//! pools. The page [beside the pool](_beside) covers the other types of this crate, and says which one to use when: limiters,
//! fan-outs, flights, pools of shared connections, and pools by key.
//!
//! # Features
//!
//! No feature is on by default, and no feature changes what a pool does.
//!
//! - `serde`: reads [`Config`] and the other settings from any format. Durations are strings (`"30s"`).
//! - `tracing`: the spans `pool.get` (for a get that waits) and `pool.connect`, and warnings of slow gets, leaks and outages.
//! - `metrics`: OpenTelemetry's `db.client.connection.*`, published through the `metrics` facade.
//! - `deadpool`, `bb8`: run managers of these crates on this engine, with the adapters in `adapt`.
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
mod gauge;
mod host;
mod keyed;
mod limiter;
mod load;
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
pub use gauge::Gauge;
#[doc(hidden)]
pub use host::__name_for;
pub use host::{BoxError, Calls, Drained, Error, OpenError, Usage};
pub use keyed::{
    GetKeyed, GetMixed, Held, KeyLimits, KeyedBuilder, KeyedConfig, KeyedLease, KeyedManager,
    KeyedPool, MixedBuilder, MixedLease, MixedManager, MixedPool, MixedShare, MixedStatus, Opened,
};
pub use limiter::{
    Acquire, LimitError, Limiter, LimiterBuilder, LimiterConfig, LimiterStatus, Permit,
};
pub use observe::Status;
pub use pool::{Builder, Get, Lease, Manager, ManagerFn, Pool, keyed_manager_fn, manager_fn};
pub use shared::{
    ConnectionDied, GetShare, Share, SharedBuilder, SharedConfig, SharedManager, SharedPool,
    SharedStatus,
};

/// Checks of settings, for the crates of this workspace.
#[doc(hidden)]
pub mod __checks {
    pub use crate::config::checks::{NotZero, at_least_one, auto_waiters, named, no_zeros};
    pub use crate::config::names::near;
}

/// Compiles and runs the example of the README. The front page of the documentation is the text at the top of this file.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

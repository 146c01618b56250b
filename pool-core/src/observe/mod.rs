//! What is known of a running pool: counts, durations, reasons, holders, events.
//!
//! [`Pool::status`](crate::Pool::status) has all counts of one moment, [`Pool::timings`](crate::Pool::timings) how long things
//! took, [`Pool::leases`](crate::Pool::leases) who holds what, and an [`Observer`] is told of events as they happen. These need
//! no feature. The two features below pass the same on to where a service keeps its logs and its metrics.
//!
//! # The feature `tracing`
//!
//! All of it has the target `pool_core` and the field `pool.name`.
//!
//! | what | level | when | fields |
//! |---|---|---|---|
//! | span `pool.get` | debug | a get that has to wait, in the span of its caller | `label`, `wait_ms`, `outcome`, `phase` |
//! | span `pool.connect` | debug | each open, without a parent: it is the pool's | `took_ms`, `outcome` |
//! | `slow get` | warn | a wait of [`slow_get`](crate::Config::slow_get) or more, when it ends | `label`, `place`, `wait_ms`, `outcome`, `phase`, the counts |
//! | `not given back` | warn | a lease of [`leak_after`](crate::Config::leak_after) or more, once | `label`, `place`, `held_ms` |
//! | `cannot open one` | warn | the first failure after a success | `took_ms`, `error` |
//! | `still cannot open one` | debug | the failures after that one | `took_ms`, `error` |
//! | `can open again` | info | the first success after failures | `failures` |
//!
//! A get that finds an idle resource, and one that is refused at once, make no span and no event: the fast path reads no
//! clock, allocates nothing and calls nobody for this feature, which costs it some 20 instructions (of 400). The `outcome` of a get is `ok`, `timeout` (`phase` says of what),
//! `overloaded`, `shed`, `closed`, `poisoned`, `connect`, `no_runtime` or `cancelled` (its future was dropped); that of an open is `ok`,
//! `failed`, `timeout`, `panicked`, `broken` (as soon as it was open), `gone` (it took its leave before it was open) or `abandoned` (the pool
//! was closed meanwhile). With spans off, `wait_ms` is known within 30 ms, or exactly where `slow_get` is below a second.
//!
//! A [`KeyedPool`](crate::KeyedPool) has both spans, `slow get` and `not given back`, the spans and the last with the field `pool.key` if
//! [`key_name`](crate::KeyedBuilder::key_name) says what that is. An open is also `abandoned` when another key needs its place.
//!
//! No setting, manager or resource is ever shown. What is shown is the text of a manager's errors and panics, so that must hold
//! no secret: see [`Manager::Error`](crate::Manager::Error).
//!
//! # The feature `metrics`
//!
//! The names are OpenTelemetry's; [`Builder::metric_names`][names] has others, for pools of something else. The name of the pool is the
//! attribute `pool.name` on all of them, as in spans and events, whatever is pooled: one name to group by. (OpenTelemetry has
//! `db.client.connection.pool.name` for databases alone.)
//!
//! | name | kind | attributes beside `pool.name` |
//! |---|---|---|
//! | `db.client.connection.count` | gauge | `db.client.connection.state`: `idle` or `used`, where `used` includes those that are checked or reset |
//! | `db.client.connection.idle.max`, `.idle.min`, `.max` | gauge | |
//! | `db.client.connection.pending_requests` | gauge | |
//! | `db.client.connection.timeouts` | counter | `pool.phase`: `wait`, `create`, `check` or `reset` |
//! | `db.client.connection.create_time`, `.wait_time`, `.use_time` | histogram, seconds | |
//!
//! What OpenTelemetry has no name for is ours: the counters `pool.gets`, `pool.waited`,
//! `pool.overloaded`, `pool.shed`, `pool.failed_fast`, `pool.reclaimed`, `pool.open_failures`, and `pool.closed` by `reason`
//! ([`CloseReason`]; a reason has a series when it first comes up).
//!
//! No get and no return calls the facade. The pool's keeper tells it what changed: at most once a second, and within a second
//! of the change while anything is leased, waited for, opened or closed. A pool at rest is told of every 30 s at most, or not
//! at all, and a last time when its last lease is given back after its last handle is gone. So:
//!
//! - a gauge is a sample each second: peaks in between are in the histograms, not in the gauges;
//! - the histograms hold what [`Timings`] holds: of waits and leases a weighted sample, each value within 6.25 %. Take rates from
//!   `pool.gets` and `pool.waited`, which are exact, not from the counts of `wait_time` and `use_time`;
//! - install the recorder before the pool is first used: names are described once.
//!
//! A [`SharedPool`](crate::SharedPool) says the same in both ways: `idle` are connections that nobody shares, and the gauge
//! `pool.shares` has what of their capacity is `used` and `free` (`pool.state`). Its keeper comes by each second while anything is
//! open, since who takes a share wakes nobody; how long a share lasts is not timed.
//!
//! Give each pool a name of its own: the gauges of two pools that were given one name overwrite each other. Pools that were given none
//! are told apart by a number.
//!
//! A [`KeyedPool`](crate::KeyedPool) is published as one pool, all its keys together: its `max` is the bound in total. Keys come and go,
//! and a series for each would stay; [`KeyedPool::statuses`](crate::KeyedPool::statuses) has the counts by key.
//!
#![cfg_attr(feature = "metrics", doc = "[names]: crate::Builder::metric_names")]
#![cfg_attr(not(feature = "metrics"), doc = "[names]: crate::Builder")]

mod cause;
mod histogram;
#[cfg(feature = "metrics")]
mod metric_names;
mod observer;
#[cfg(feature = "metrics")]
mod publisher;
mod reason;
mod status;

pub use cause::Cause;
pub use histogram::Histogram;
#[cfg(feature = "metrics")]
pub use metric_names::MetricNames;
pub use observer::Observer;
#[cfg(feature = "metrics")]
pub(crate) use publisher::{INTERVAL, Publisher, Shares, Snapshot};
pub use reason::{CloseReason, Phase};
pub use status::{Closes, LeaseInfo, Status, Timings};

//! What can be observed of a running pool: counts, durations, reasons, holders, events.
//!
//! [`Pool::status`](crate::Pool::status) returns all counts of one moment, [`Pool::timings`](crate::Pool::timings) returns
//! durations, [`Pool::leases`](crate::Pool::leases) lists who holds a resource, and an [`Observer`] is notified of events as they
//! happen. These need no feature. The two features below pass the same information to the logs and metrics of a service.
//!
//! # The feature `tracing`
//!
//! All spans and events have the target `pool_core` and the field `pool.name`.
//!
//! | what | level | when | fields |
//! |---|---|---|---|
//! | span `pool.get` | debug | a get that has to wait, in the span of its caller | `label`, `wait_ms`, `outcome`, `phase` |
//! | span `pool.connect` | debug | each open, without a parent, because an open belongs to the pool | `took_ms`, `outcome` |
//! | `slow get` | warn | a wait of [`slow_get`](crate::Config::slow_get) or more, when it ends | `label`, `place`, `wait_ms`, `outcome`, `phase`, the counts |
//! | `lease not returned` | warn | a lease of [`leak_after`](crate::Config::leak_after) or more, once | `label`, `place`, `held_ms` |
//! | `cannot open a resource` | warn | the first failure after a success | `took_ms`, `error` |
//! | `still cannot open a resource` | debug | the failures after the first | `took_ms`, `error` |
//! | `can open again` | info | the first success after failures | `failures` |
//!
//! A get that finds an idle resource makes no span and no event, and neither does a get that is refused at once. On the fast path
//! this feature reads no clock, allocates nothing and calls nothing; it costs some 20 instructions (of 400).
//!
//! The `outcome` of a get is `ok`, `timeout` (`phase` says in which phase), `overloaded`, `shed`, `closed`, `poisoned`, `connect`,
//! `no_runtime` or `cancelled` (its future was dropped). The `outcome` of an open is `ok`, `failed`, `timeout`, `panicked`,
//! `broken` (as soon as it was open), `gone` (the connection died or was drained before it was open) or `abandoned` (the pool was
//! closed meanwhile). With spans off, `wait_ms` is precise to 30 ms, or exact if `slow_get` is below a second.
//!
//! A [`KeyedPool`](crate::KeyedPool) has both spans, `slow get` and `lease not returned`. The spans and `lease not returned` have
//! the field `pool.key`, if [`key_name`](crate::KeyedBuilder::key_name) names keys. An open is also `abandoned` when another key
//! needs its place.
//!
//! No setting, manager or resource is ever shown. The text of a manager's errors and panics is shown, so it must not contain a
//! secret: see [`Manager::Error`](crate::Manager::Error).
//!
//! # The feature `metrics`
//!
//! The names are OpenTelemetry's. [`Builder::metric_names`][names] selects other names, for pools of other resources. Every metric
//! has the name of the pool in the attribute `pool.name`, like spans and events, so all pools can be grouped by one attribute.
//! (OpenTelemetry defines `db.client.connection.pool.name` for databases alone.)
//!
//! | name | kind | attributes beside `pool.name` |
//! |---|---|---|
//! | `db.client.connection.count` | gauge | `db.client.connection.state`: `idle` or `used`; `used` includes connections that are checked or reset |
//! | `db.client.connection.idle.max`, `.idle.min`, `.max` | gauge | |
//! | `db.client.connection.pending_requests` | gauge | |
//! | `db.client.connection.timeouts` | counter | `pool.phase`: `wait`, `create`, `check` or `reset` |
//! | `db.client.connection.create_time`, `.wait_time`, `.use_time` | histogram, seconds | |
//!
//! For counts without an OpenTelemetry name there are the counters `pool.gets`, `pool.waited`, `pool.overloaded`, `pool.shed`,
//! `pool.failed_fast`, `pool.reclaimed`, `pool.open_failures`, and `pool.closed` by `reason` ([`CloseReason`]; the series of a
//! reason begins when the reason first occurs).
//!
//! Gets and returns do not call the facade. The keeper of the pool publishes what changed: at most once a second, and within a
//! second of the change while anything is leased, opened or closed, or any get waits. A pool at rest is published at most every 30
//! s, or not at all. It is published a last time when its last lease is returned after its last handle was dropped. So:
//!
//! - A gauge is a sample each second. Peaks in between appear in the histograms, not in the gauges.
//! - The histograms contain what [`Timings`] contains: a weighted sample of waits and leases, each value within 6.25 %. Compute
//!   rates from `pool.gets` and `pool.waited`, which are exact, not from the counts of `wait_time` and `use_time`.
//! - Install the recorder before the pool is first used, because names are described only once.
//!
//! A [`SharedPool`](crate::SharedPool) reports the same in both ways. Its `idle` connections are those without shares. The gauge
//! `pool.shares` says how much of the capacity of the open connections is `used` and `free` (`pool.state`). Its keeper comes by
//! each second while anything is open, because taking a share wakes no task. How long a share lasts is not timed.
//!
//! Give each pool a name of its own: the gauges of two pools with the same name overwrite each other. Pools without a given name
//! are distinguished by a number.
//!
//! A [`KeyedPool`](crate::KeyedPool) is published as one pool, for all its keys together; its `max` is the bound in total. There
//! are no series by key, because keys come and go, and their series would remain.
//! [`KeyedPool::statuses`](crate::KeyedPool::statuses) has the counts by key.
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

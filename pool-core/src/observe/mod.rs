//! What is known of a running pool: counts, durations, reasons, holders, events.
//!
//! [`Pool::status`](crate::Pool::status) has all counts of one moment, [`Pool::timings`](crate::Pool::timings) how long things
//! took, [`Pool::leases`](crate::Pool::leases) who holds what, and an [`Observer`] is told of events as they happen. These need
//! no feature. The feature below passes the same on to where a service keeps its logs.
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
//! A get that finds an idle resource, and one that is refused at once, make no span and no event: the fast path costs what it
//! costs without the feature, but for one comparison. The `outcome` of a get is `ok`, `timeout` (`phase` says of what),
//! `overloaded`, `shed`, `closed`, `connect` or `cancelled` (its future was dropped); that of an open is `ok`, `failed`,
//! `timeout`, `panicked` or `abandoned` (the pool was closed meanwhile). With spans off, `wait_ms` is known within 10 ms.
//!
//! No setting, manager or resource is ever shown. What is shown is the text of a manager's errors and panics, so that must hold
//! no secret: see [`Manager::Error`](crate::Manager::Error).

mod histogram;
mod observer;
mod reason;
mod status;

pub use histogram::Histogram;
pub use observer::Observer;
pub use reason::{CloseReason, Phase};
pub use status::{Closes, LeaseInfo, Status, Timings};

//! Publishes the counts of a pool to the `metrics` facade, now and then.
//!
//! The fast path does not know the facade. The publisher compares the counts of the pool with the counts that it published last.

use std::{mem, sync::Arc, time::Duration};

use metrics::{
    Label, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use super::{CloseReason, Histogram, MetricNames, Phase, Status, Timings, metric_names::Words};
use crate::moment::Moment;

/// What a pool has published so far.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    names: MetricNames,
    described: bool,
    /// The next time to publish.
    next: Moment,
    told: Status,
    told_counts: [u64; COUNTERS.len()],
    told_timings: Timings,
}

/// The state of a pool to publish.
pub(crate) struct Snapshot {
    pub(crate) status: Status,
    pub(crate) timings: Timings,
    pub(crate) min_idle: u32,
    /// Only for pools whose connections are shared.
    pub(crate) shares: Option<Shares>,
}

/// The shares of the open connections.
#[derive(Clone, Copy)]
pub(crate) struct Shares {
    pub(crate) used: u32,
    pub(crate) free: u32,
}

impl Publisher {
    pub(crate) fn new(names: MetricNames) -> Self {
        Self {
            names,
            ..Self::default()
        }
    }

    /// Publishes if the last time is long enough ago. Returns when to come again: [`Moment::NEVER`] if the pool is at rest, because
    /// its next use wakes the caller of this.
    pub(crate) fn publish_if_due(
        &mut self,
        pool: &Arc<str>,
        now: Moment,
        snapshot: impl FnOnce() -> Snapshot,
    ) -> Moment {
        if now < self.next {
            return self.next;
        }
        self.next = now + INTERVAL;
        let snapshot = snapshot();
        let at_rest = is_at_rest(&snapshot.status);
        self.publish(pool, snapshot);
        if at_rest { Moment::NEVER } else { self.next }
    }

    /// Publishes for the last time: the pool is gone, and its bounds become zero.
    pub(crate) fn retire(&mut self, pool: &Arc<str>, mut snapshot: Snapshot) {
        // The pool was never published.
        if !self.described {
            return;
        }
        snapshot.status.max_size = 0;
        snapshot.min_idle = 0;
        self.publish(pool, snapshot);
    }

    pub(crate) fn publish(&mut self, pool: &Arc<str>, snapshot: Snapshot) {
        let words = self.names.words();
        if !mem::replace(&mut self.described, true) {
            describe(&words);
            if snapshot.shares.is_some() {
                describe_gauge!(SHARES, Unit::Count, "Shares of open connections, by state");
            }
        }
        let Snapshot {
            status,
            timings,
            min_idle,
            shares,
        } = snapshot;
        // These labels distinguish pools of one name that lead to several servers, in all metrics.
        let server = self.names.server();
        let named = || {
            let name = Label::new(words.pool, Arc::clone(pool));
            [name].into_iter().chain(server.iter().cloned()).collect()
        };
        let with = |key: &'static str, value: &'static str| {
            let mut labels: Vec<_> = named();
            labels.push(Label::from_static_parts(key, value));
            labels
        };
        let own = |label: Option<(&'static str, &'static str)>| -> Vec<_> {
            let name = Label::new("pool.name", Arc::clone(pool));
            let label = label.map(|(key, value)| Label::from_static_parts(key, value));
            let server = server.iter().cloned();
            [name].into_iter().chain(server).chain(label).collect()
        };

        let used = status.open - status.idle;
        for (state, count) in [("idle", status.idle), (words.used, used)] {
            gauge!(words.count, with(words.state, state)).set(count);
        }
        gauge!(words.idle_max, named()).set(status.max_size);
        gauge!(words.idle_min, named()).set(min_idle);
        gauge!(words.max, named()).set(status.max_size);
        gauge!(words.pending, named()).set(status.waiting as f64);
        if let Some(Shares { used, free }) = shares {
            for (state, count) in [("used", used), ("free", free)] {
                gauge!(SHARES, own(Some(("pool.state", state)))).set(count);
            }
        }

        let told = mem::replace(&mut self.told, status);
        let status = &self.told;
        for phase in Phase::ALL {
            let more = status.timeouts_in(phase) - told.timeouts_in(phase);
            counter!(words.timeouts, with("pool.phase", phase.as_str())).increment(more);
        }
        for reason in CloseReason::ALL {
            // Most reasons never occur, so a reason gets its series when it first occurs.
            let more = status.closed.by(reason) - told.closed.by(reason);
            if more > 0 {
                counter!("pool.closed", own(Some(("reason", reason.as_str())))).increment(more);
            }
        }
        for ((name, _, count), told) in COUNTERS.iter().zip(&mut self.told_counts) {
            // A count may fall by one: a grant is not counted if its resource turned out to be broken before the get had it.
            let now = count(status).max(*told);
            counter!(*name, own(None)).increment(now - mem::replace(told, now));
        }

        let told = mem::replace(&mut self.told_timings, timings);
        let timings = &self.told_timings;
        for (name, now, before) in [
            (words.create_time, &timings.create, &told.create),
            (words.wait_time, &timings.wait, &told.wait),
            (words.use_time, &timings.used, &told.used),
        ] {
            record(name, named(), now, before);
        }
    }
}

/// Records into a metric the durations that were recorded between two states of a histogram.
fn record(name: &'static str, labels: Vec<Label>, now: &Histogram, before: &Histogram) {
    let told = histogram!(name, labels);
    for (duration, count) in now.since(before) {
        told.record_many(
            duration.as_secs_f64(),
            usize::try_from(count).unwrap_or(usize::MAX),
        );
    }
}

/// Whether nothing happens of which the keeper would not be woken.
const fn is_at_rest(status: &Status) -> bool {
    status.open == status.idle && status.opening == 0 && status.closing == 0 && status.waiting == 0
}

/// The counters without an OpenTelemetry name: name, description, and value.
const COUNTERS: [(&str, &str, fn(&Status) -> u64); 7] = [
    ("pool.gets", "Leases handed out", |status| status.gets),
    ("pool.waited", "Leases whose get had to wait", |status| {
        status.waited
    }),
    (
        "pool.overloaded",
        "Gets refused because the queue was full",
        |status| status.overloaded,
    ),
    ("pool.shed", "Gets refused to shed load", |status| {
        status.shed
    }),
    (
        "pool.failed_fast",
        "Gets that failed at once because opens fail",
        |status| status.failed_fast,
    ),
    (
        "pool.reclaimed",
        "Grants taken back from unpolled futures",
        |status| status.reclaimed,
    ),
    ("pool.open_failures", "Opens that failed", |status| {
        status.open_failures
    }),
];

fn describe(words: &Words) {
    for (name, what) in [
        (words.count, "Open connections, by state"),
        (words.idle_max, "The most idle connections that may be open"),
        (words.idle_min, "The number of idle connections to keep"),
        (words.max, "The most connections that may be open"),
        (words.pending, "Gets that wait for a connection"),
    ] {
        describe_gauge!(name, Unit::Count, what);
    }
    for (name, what) in [
        (words.create_time, "The time it took to open a connection"),
        (
            words.wait_time,
            "The time that gets waited for a connection",
        ),
        (
            words.use_time,
            "The time between a get and the return of its connection",
        ),
    ] {
        describe_histogram!(name, Unit::Seconds, what);
    }
    describe_counter!(
        words.timeouts,
        Unit::Count,
        "Gets that reached their deadline, by phase"
    );
    describe_counter!(
        "pool.closed",
        Unit::Count,
        "Connections that were closed, by reason"
    );
    for (name, what, _) in COUNTERS {
        describe_counter!(name, Unit::Count, what);
    }
}

const SHARES: &str = "pool.shares";

/// The shortest interval between two publications of a pool.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

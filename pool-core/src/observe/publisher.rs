//! Tells the `metrics` facade what a pool has counted, now and then.
//!
//! The hot path knows nothing of the facade: what it counts anyway is compared with what was told last.

use std::{mem, sync::Arc, time::Duration};

use metrics::{
    Label, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use super::{CloseReason, Histogram, MetricNames, Phase, Status, Timings, metric_names::Words};
use crate::moment::Moment;

/// What one pool has published so far.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    names: MetricNames,
    described: bool,
    /// Not before that.
    next: Moment,
    told: Status,
    told_counts: [u64; COUNTERS.len()],
    told_timings: Timings,
}

/// What is published: a pool, as it is now.
pub(crate) struct Snapshot {
    pub(crate) status: Status,
    pub(crate) timings: Timings,
    pub(crate) min_idle: u32,
    /// Of connections that many use at once.
    pub(crate) shares: Option<Shares>,
}

/// Shares of connections.
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

    /// Publishes, if the last time is long enough ago. When to come again: [`Moment::NEVER`] if the pool is at rest, and the
    /// next use of it wakes whoever calls this.
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

    /// Publishes for the last time: the pool is gone, and with it its bounds.
    pub(crate) fn retire(&mut self, pool: &Arc<str>, mut snapshot: Snapshot) {
        // Nobody was ever told of it.
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
        // Pools of one name that lead to several servers are told apart by these, in all that is said of them.
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
            // Most reasons never come up: a series each would be noise.
            let more = status.closed.by(reason) - told.closed.by(reason);
            if more > 0 {
                counter!("pool.closed", own(Some(("reason", reason.as_str())))).increment(more);
            }
        }
        for ((name, _, count), told) in COUNTERS.iter().zip(&mut self.told_counts) {
            // A count may be taken back: of a grant that turned out to be broken before anybody had it.
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

/// Tells a histogram of what another one counted in between.
fn record(name: &'static str, labels: Vec<Label>, now: &Histogram, before: &Histogram) {
    let told = histogram!(name, labels);
    for (duration, count) in now.since(before) {
        told.record_many(
            duration.as_secs_f64(),
            usize::try_from(count).unwrap_or(usize::MAX),
        );
    }
}

/// Does nothing happen that nobody would be woken for?
const fn is_at_rest(status: &Status) -> bool {
    status.open == status.idle && status.opening == 0 && status.closing == 0 && status.waiting == 0
}

/// Our own counters: name, what it counts, and where that stands.
const COUNTERS: [(&str, &str, fn(&Status) -> u64); 7] = [
    ("pool.gets", "Leases handed out", |status| status.gets),
    (
        "pool.waited",
        "Leases that had to be waited for",
        |status| status.waited,
    ),
    (
        "pool.overloaded",
        "Gets that found the line full",
        |status| status.overloaded,
    ),
    ("pool.shed", "Gets that the shedder told no", |status| {
        status.shed
    }),
    (
        "pool.failed_fast",
        "Gets told at once that nothing can be opened",
        |status| status.failed_fast,
    ),
    (
        "pool.reclaimed",
        "Grants taken back because nobody polled",
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
        (words.idle_min, "The connections that are kept idle"),
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
            "The time between getting a connection and giving it back",
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

/// How often a pool is published at most.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

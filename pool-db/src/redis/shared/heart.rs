//! Drives a connection, and finds out whether it answers.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use pool_core::Gauge;
use tokio::time::{Instant, Sleep, sleep_until};

use super::super::{
    dial::{Dial, Driver},
    socket::Traffic,
};
use crate::pulse::{Beat, Pulse};

/// The task of a connection. It ends with the connection, or when that has not answered for too long, and says so to the pool.
pub(super) struct Heart {
    driver: Driver,
    traffic: Arc<Traffic>,
    calls: Arc<Calls>,
    pulse: Pulse,
    gauge: Gauge,
    /// `None` once the master was found to be another.
    master: Option<Master>,
    /// Set while an answer is waited for.
    timer: Option<Pin<Box<Sleep>>>,
    /// How often something had been read when the connection was last looked at.
    reads: u32,
    /// Since when the server owes an answer.
    owed_since: Option<Instant>,
    /// The time of a slow answer: it follows the slowest at once, and the others slowly.
    slow: Duration,
    is_suspect: bool,
}

/// Whether a connection still leads to the master.
pub(super) struct Master {
    pub(super) dial: Arc<Dial>,
    /// What it was when the connection was opened.
    pub(super) epoch: u64,
}

/// How many calls wait for an answer.
#[derive(Debug, Default)]
pub(super) struct Calls(AtomicUsize);

/// A call that waits for its answer.
#[derive(Debug)]
pub(super) struct Call<'a>(&'a Calls);

impl Calls {
    // Ordering: Relaxed, as nothing but the count itself depends on it.
    pub(super) fn begin(&self) -> Call<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Call(self)
    }

    fn are_waiting(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Heart {
    pub(super) fn new(
        driver: Driver,
        traffic: Arc<Traffic>,
        calls: Arc<Calls>,
        gauge: Gauge,
        pulse: Pulse,
        master: Master,
    ) -> Self {
        Self {
            driver,
            reads: traffic.reads(),
            traffic,
            calls,
            pulse,
            gauge,
            master: Some(master),
            timer: None,
            owed_since: None,
            slow: Duration::ZERO,
            is_suspect: false,
        }
    }

    /// Whether an answer is waited for. A call whose future was dropped counts until the next answer.
    fn is_waiting(&self) -> bool {
        self.traffic.is_owed() || self.calls.are_waiting()
    }

    /// Looks at what the driver has read and written.
    fn look(&mut self) {
        if let Some(master) = &self.master
            && master.dial.epoch() != master.epoch
        {
            self.master = None;
            self.gauge.drain();
        }
        let reads = self.traffic.reads();
        if reads != self.reads {
            self.reads = reads;
            if let Some(since) = self.owed_since.take() {
                let took = since.elapsed();
                self.slow = took.max(self.slow - self.slow / 16);
                self.pulse.took(self.slow);
            }
            if self.is_suspect {
                self.beat();
            }
        }
        if self.traffic.is_owed() && self.owed_since.is_none() {
            self.owed_since = Some(Instant::now());
        }
    }

    /// Judges the connection, and returns whether it lives.
    fn beat(&mut self) -> bool {
        let is_waiting = self.is_waiting();
        match self
            .pulse
            .beat(Instant::now(), self.traffic.reads(), is_waiting)
        {
            Beat::Fine | Beat::Stalled => {}
            Beat::Suspect => {
                self.is_suspect = true;
                self.gauge.suspect();
            }
            Beat::Trust => {
                self.is_suspect = false;
                self.gauge.trust();
            }
            Beat::Dead => return false,
        }
        true
    }
}

impl Future for Heart {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.driver.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        this.look();
        loop {
            let Some(timer) = &mut this.timer else {
                if !this.is_waiting() {
                    return Poll::Pending;
                }
                // The first look only notes when the wait began.
                if !this.beat() {
                    return Poll::Ready(());
                }
                this.timer = Some(Box::pin(sleep_until(Instant::now() + TICK)));
                continue;
            };
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if !this.beat() {
                return Poll::Ready(());
            }
            if this.is_waiting() {
                if let Some(timer) = &mut this.timer {
                    timer.as_mut().reset(Instant::now() + TICK);
                }
            } else {
                this.timer = None;
            }
        }
    }
}

impl Drop for Heart {
    /// Also if the task is ended from outside, or its runtime ends.
    fn drop(&mut self) {
        self.gauge.dead();
    }
}

/// How often a connection is looked at while an answer is waited for.
const TICK: Duration = Duration::from_millis(25);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_call_counts_until_it_is_dropped() {
        let calls = Calls::default();
        let (one, other) = (calls.begin(), calls.begin());
        drop(one);
        assert!(calls.are_waiting());
        drop(other);
        assert!(!calls.are_waiting());
    }
}

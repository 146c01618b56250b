//! What is measured, against what, and how much of it ours may take.

use clap::ValueEnum;
use tokio::runtime::{Builder, Runtime};

use super::{keyed, mixed, work};

/// One kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "kebab-case")]
pub(super) enum Case {
    /// A permit taken and given back by one task.
    LimiterAlone,
    /// 64 tasks on 8 permits, one yield while holding.
    Limiter64on8,
    /// 100,000 items that are done at once, 16 at a time.
    FanOut,
    /// A get and return by one task.
    SharedAlone,
    /// 64 tasks on 2 connections of 32, one yield while holding.
    #[value(name = "shared-64on2")]
    Shared64on2,
    /// A get and return of a share of the connection of one key, by one task.
    MixedShare,
    /// 64 tasks on 2 connections of 32 of one key, one yield while holding.
    MixedOne,
    /// 64 tasks that each go over 16 keys, one yield while holding: shares of 2 connections a key beside a connection for each.
    MixedKeys,
    /// A get and return by one task, of a random one of 10,000 keys, beside one `HashMap` of `Vec`s under a lock.
    KeyedRandom,
    /// A get by one task that fails fast, or of the one key that works, while 10,000 keys cannot be opened.
    #[value(name = "failing10k")]
    Failing10k,
    /// 1,000 callers on one key.
    Flight,
}

/// Who does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Ours,
    Measure,
}

/// How much ours may take.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bar {
    /// So many times what the measure takes.
    Times(f64),
    /// So many nanoseconds.
    Ns(f64),
}

impl Bar {
    /// Is it met by what ours takes, beside the measure?
    pub(super) fn is_met(self, ours: f64, theirs: f64) -> bool {
        match self {
            Self::Times(most) => ours / theirs <= most,
            Self::Ns(most) => ours <= most,
        }
    }
}

impl Case {
    /// Its name in the report.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::LimiterAlone => "limiter-alone",
            Self::Limiter64on8 => "limiter64on8",
            Self::FanOut => "fan-out",
            Self::SharedAlone => "shared-alone",
            Self::Shared64on2 => "shared-64on2",
            Self::MixedShare => "mixed-share",
            Self::MixedOne => "mixed-one",
            Self::MixedKeys => "mixed-keys",
            Self::KeyedRandom => "keyed-random",
            Self::Failing10k => "failing10k",
            Self::Flight => "flight",
        }
    }

    /// What `side` is called.
    pub(super) fn contestant(self, side: Side) -> &'static str {
        match (self, side) {
            (Self::LimiterAlone | Self::Limiter64on8, Side::Ours) => "Limiter",
            (Self::LimiterAlone | Self::Limiter64on8, Side::Measure) => "tokio Semaphore",
            (Self::FanOut, Side::Ours) => "fan_out",
            (Self::FanOut, Side::Measure) => "buffer_unordered",
            (Self::SharedAlone | Self::Shared64on2, Side::Ours) => "SharedPool",
            (Self::SharedAlone | Self::Shared64on2, Side::Measure) => "Pool",
            (Self::MixedShare | Self::MixedOne | Self::MixedKeys, Side::Ours) => "MixedPool",
            (Self::MixedShare | Self::MixedOne, Side::Measure) => "SharedPool",
            (Self::MixedKeys, Side::Measure) => "KeyedPool",
            (Self::KeyedRandom, Side::Ours) => "KeyedPool",
            (Self::KeyedRandom, Side::Measure) => "bare map",
            (Self::Failing10k, Side::Ours) => "KeyedPool",
            (Self::Failing10k, Side::Measure) => "100 failing",
            (Self::Flight, Side::Ours) => "Flight",
            (Self::Flight, Side::Measure) => "moka get_with",
        }
    }

    /// How much ours may take, if there is a bar.
    pub(super) fn bar(self) -> Option<Bar> {
        Some(Bar::Times(match self {
            Self::Failing10k => return Some(Bar::Ns(10_000.0)),
            Self::MixedShare => return None,
            Self::MixedOne => 1.5,
            Self::MixedKeys => 2.0,
            Self::LimiterAlone | Self::Limiter64on8 | Self::FanOut => 1.0,
            Self::SharedAlone | Self::KeyedRandom => 2.0,
            Self::Shared64on2 => 0.5,
            Self::Flight => 1.2,
        }))
    }

    /// Nanoseconds for one of it, on a runtime of its own.
    pub(super) fn run(self, side: Side, quick: bool) -> Result<f64, work::Failure> {
        let times = if quick { 100 } else { 1 };
        let ours = side == Side::Ours;
        match self {
            Self::LimiterAlone => single()?.block_on(work::permits_alone(ours, 500_000 / times)),
            Self::Limiter64on8 => pair()?.block_on(work::permits_crowd(ours, 2_000 / times)),
            Self::FanOut => single()?.block_on(work::items(ours, 100_000 / times)),
            Self::SharedAlone => single()?.block_on(work::gets_alone(ours, 500_000 / times)),
            Self::Shared64on2 => pair()?.block_on(work::gets_crowd(ours, 2_000 / times)),
            Self::MixedShare => single()?.block_on(mixed::share_alone(ours, 500_000 / times)),
            Self::MixedOne => pair()?.block_on(mixed::shares_crowd(ours, 2_000 / times)),
            Self::MixedKeys => pair()?.block_on(mixed::keys_crowd(ours, 2_000 / times)),
            Self::KeyedRandom => {
                let (keys, gets) = (keyed::keys(quick), 500_000 / times);
                match side {
                    Side::Ours => single()?.block_on(keyed::random_key(keys, gets)),
                    Side::Measure => keyed::bare_map(keys, gets),
                }
            }
            Self::Failing10k => {
                let failing = if ours { 10_000 } else { 100 };
                single()?.block_on(keyed::failing(failing / times as u32, 20_000 / times))
            }
            Self::Flight => pair()?.block_on(work::callers(ours, 1_000)),
        }
    }
}

/// Everything runs on this thread.
fn single() -> Result<Runtime, work::Failure> {
    Ok(Builder::new_current_thread().enable_time().build()?)
}

/// Two worker threads.
fn pair() -> Result<Runtime, work::Failure> {
    let mut builder = Builder::new_multi_thread();
    Ok(builder.worker_threads(2).enable_time().build()?)
}

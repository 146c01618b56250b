//! What is done with every pool, and how much of it.

use clap::ValueEnum;
use tokio::runtime::{Builder, Runtime};

use super::cancel::{self, Cancels};
use super::crowd::{self, Crowd};
use super::failure::Failure;
use super::figure::Figures;
use super::peer::Peer;
use super::{alone, spike};

/// One kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub(super) enum Case {
    /// One task, and nobody else.
    Uncontended,
    /// As many resources as tasks.
    Parallel16,
    /// Eight tasks for each resource.
    Contended64on8,
    /// One resource that goes round.
    Handoff16on1,
    /// A long queue.
    Storm10k,
    /// Waiters that give up.
    Cancel,
    /// A burst on a pool with few connections open.
    Spike,
}

/// How much of it: as much as steady figures take, or only so much that every path is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// A tenth of a second or two a round.
    Full,
    /// A smoke test; its figures are worth nothing.
    Quick,
}

/// A runtime of which everything runs on this thread: for `uncontended` and `cancel`. A new one each
/// time, so that nothing that a pool left running is still there when the next one is measured.
pub(super) fn single() -> Result<Runtime, Failure> {
    let runtime = Builder::new_current_thread().enable_time().build();
    runtime.map_err(Failure::runtime)
}

/// A runtime with two worker threads, for the others; a new one each time as well.
fn pair() -> Result<Runtime, Failure> {
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_time().build();
    runtime.map_err(Failure::runtime)
}

impl Case {
    /// Its name on the command line and in the JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Uncontended => "uncontended",
            Self::Parallel16 => "parallel16",
            Self::Contended64on8 => "contended64on8",
            Self::Handoff16on1 => "handoff16on1",
            Self::Storm10k => "storm10k",
            Self::Cancel => "cancel",
            Self::Spike => "spike",
        }
    }

    /// What it is, in a line.
    pub(super) fn title(self, scale: Scale) -> String {
        if let Some(crowd) = self.crowd(scale) {
            let Crowd { tasks, size, .. } = crowd;
            let yields = if crowd.yields {
                ", a yield while holding"
            } else {
                ""
            };
            return format!("{tasks} tasks on {size}{yields}; 2 worker threads");
        }
        match self {
            Self::Cancel => {
                let Cancels { short, long, .. } = scale.cancels();
                format!("one of {long} waiters gives up; short: queues of {short}; current thread")
            }
            Self::Spike => format!(
                "{} callers on {} warm connections, connect {} ms, query {} ms; 2 worker threads",
                spike::CALLERS,
                spike::WARM,
                spike::CONNECT_MS,
                spike::QUERY.as_millis()
            ),
            _ => format!("1 task, {} idle; current thread", alone::SIZE),
        }
    }

    /// Does it once with a pool of its own, and measures.
    pub(super) fn run<P: Peer>(self, scale: Scale) -> Result<Figures, Failure> {
        if let Some(crowd) = self.crowd(scale) {
            return pair()?.block_on(crowd::run::<P>(crowd));
        }
        match self {
            Self::Cancel => single()?.block_on(cancel::run::<P>(scale.cancels())),
            Self::Spike => pair()?.block_on(spike::run::<P>()),
            _ => single()?.block_on(alone::run::<P>(scale.gets())),
        }
    }

    /// The crowd of the cases that are one.
    fn crowd(self, scale: Scale) -> Option<Crowd> {
        let (tasks, size, gets) = match self {
            Self::Parallel16 => (16, 16, 10_000),
            Self::Contended64on8 => (64, 8, 2_000),
            Self::Handoff16on1 => (16, 1, 8_000),
            Self::Storm10k => (10_000, 16, 10),
            Self::Uncontended | Self::Cancel | Self::Spike => return None,
        };
        let (tasks, gets) = match scale {
            Scale::Full => (tasks, gets),
            Scale::Quick => (tasks.min(500), gets.min(20)),
        };
        let yields = self != Self::Parallel16;
        Some(Crowd {
            tasks,
            size,
            gets,
            yields,
        })
    }
}

impl Scale {
    /// Of `uncontended`.
    pub(super) fn gets(self) -> usize {
        match self {
            Self::Full => 200_000,
            Self::Quick => 1_000,
        }
    }

    fn cancels(self) -> Cancels {
        match self {
            Self::Full => Cancels {
                short: 1_000,
                long: 100_000,
                cancels: 10_000,
            },
            Self::Quick => Cancels {
                short: 100,
                long: 1_000,
                cancels: 100,
            },
        }
    }
}

//! Who takes part in what.

use clap::ValueEnum;

use super::alone;
use super::bb8::Bb8;
use super::case::{self, Case, Scale};
use super::deadpool::Deadpool;
use super::failure::Failure;
use super::figure::Figures;
use super::floor::Floor;
use super::mobc::Mobc;
use super::ours::Ours;
use super::peer::Peer;
use super::semaphore::Permits;

/// A pool by its name. This is the one place that goes from the name to the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Contender {
    /// Ours.
    PoolCore,
    /// One mutexed `Vec`, no queue.
    Floor,
    /// tokio's semaphore and a `Vec`.
    Semaphore,
    /// deadpool.
    Deadpool,
    /// bb8.
    Bb8,
    /// mobc.
    Mobc,
}

impl Contender {
    /// Its name on the command line and in the JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PoolCore => "pool-core",
            Self::Floor => "floor",
            Self::Semaphore => "semaphore",
            Self::Deadpool => "deadpool",
            Self::Bb8 => "bb8",
            Self::Mobc => "mobc",
        }
    }

    /// Whether the case means anything for it: the floor has no queue to leave, and neither it nor
    /// the semaphore opens anything.
    pub(super) fn takes_part(self, case: Case) -> bool {
        match case {
            Case::Cancel => self != Self::Floor,
            Case::Spike => !matches!(self, Self::Floor | Self::Semaphore),
            _ => true,
        }
    }

    /// Does the case once.
    pub(super) fn run(self, case: Case, scale: Scale) -> Result<Figures, Failure> {
        let figures = (self.work().run)(case, scale);
        figures.map_err(|failure| failure.at(format_args!("{} in {}", self.name(), case.name())))
    }

    /// Gets and returns that often, and measures nothing.
    pub(super) fn count(self, gets: usize) -> Result<(), Failure> {
        (self.work().count)(gets)
    }

    fn work(self) -> Work {
        match self {
            Self::PoolCore => Work::of::<Ours>(),
            Self::Floor => Work::of::<Floor>(),
            Self::Semaphore => Work::of::<Permits>(),
            Self::Deadpool => Work::of::<Deadpool>(),
            Self::Bb8 => Work::of::<Bb8>(),
            Self::Mobc => Work::of::<Mobc>(),
        }
    }
}

/// What is done with a pool, compiled for its type: the last indirection before the work begins.
struct Work {
    run: fn(Case, Scale) -> Result<Figures, Failure>,
    count: fn(usize) -> Result<(), Failure>,
}

impl Work {
    fn of<P: Peer>() -> Self {
        Self {
            run: Case::run::<P>,
            count: |gets| case::single()?.block_on(alone::count::<P>(gets)),
        }
    }
}

//! What is done with every pool, and how much of it.

use benches::table::number;
use clap::ValueEnum;
use tokio::runtime::{Builder, Runtime};

use super::contender::Contender;
use super::failure::Failure;
use super::figures::Figures;
use super::peer::ROWS;
use super::select::Crowd;
use super::server::Server;
use super::{cold, mixed};

/// One kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub(super) enum Case {
    /// Eight tasks for each connection to PostgreSQL, all of them open.
    Pg64on8,
    /// Readers of a SQLite file, and a writer.
    Sqlite,
    /// A burst on a pool that has nothing open.
    Cold1000,
}

/// How much of it: as much as steady figures take, or only so much that every path is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// A good part of a second a round.
    Full,
    /// A smoke test; its figures are worth nothing.
    Quick,
}

impl Case {
    /// Its name on the command line and in the JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pg64on8 => "pg64on8",
            Self::Sqlite => "sqlite",
            Self::Cold1000 => "cold1000",
        }
    }

    /// What it is, in a line.
    pub(super) fn title(self, scale: Scale) -> String {
        match self {
            Self::Pg64on8 => {
                let Crowd { tasks, size, .. } = scale.crowd();
                format!(
                    "{tasks} tasks on {size} connections, one of {} rows by a prepared select",
                    number(f64::from(ROWS))
                )
            }
            Self::Sqlite => format!(
                "{} tasks read one of {} rows on {} connections, 1 writes each {} ms; a file in WAL",
                mixed::READERS,
                number(f64::from(ROWS)),
                mixed::SIZE,
                mixed::PACE.as_millis()
            ),
            Self::Cold1000 => format!(
                "{} callers at once on a cold pool of {}, a connect takes {} ms; a row each",
                number(scale.callers() as f64),
                cold::SIZE,
                cold::CONNECT.as_millis()
            ),
        }
    }

    /// Whether it needs the PostgreSQL server.
    pub(super) fn needs_server(self) -> bool {
        match self {
            Self::Pg64on8 | Self::Cold1000 => true,
            Self::Sqlite => false,
        }
    }

    /// Does it once with a pool of its own, on a runtime of its own, and measures.
    pub(super) fn run(
        self,
        who: Contender,
        scale: Scale,
        server: Option<&Server>,
    ) -> Result<Figures, Failure> {
        let figures = match (self.needs_server(), server) {
            (true, None) => return Err(Failure::new("there is no server for it")),
            (true, Some(server)) => {
                let figures = pair()?.block_on(who.postgres(self, scale, server));
                figures.and_then(|figures| server.settle().map(|()| figures))
            }
            (false, _) => pair()?.block_on(who.sqlite(scale)),
        };
        figures.map_err(|failure| failure.at(format_args!("{} in {}", who.name(), self.name())))
    }
}

/// A runtime with two worker threads; a new one each time, so that nothing that a pool left running is still there when the next one
/// is measured.
fn pair() -> Result<Runtime, Failure> {
    let mut builder = Builder::new_multi_thread();
    Ok(builder.worker_threads(2).enable_all().build()?)
}

impl Scale {
    /// Of `pg64on8`.
    pub(super) fn crowd(self) -> Crowd {
        Crowd {
            tasks: 64,
            size: 8,
            times: match self {
                Self::Full => 250,
                Self::Quick => 5,
            },
        }
    }

    /// Reads of each reader in `sqlite`.
    pub(super) fn reads(self) -> usize {
        match self {
            Self::Full => 500,
            Self::Quick => 5,
        }
    }

    /// Of `cold1000`.
    pub(super) fn callers(self) -> usize {
        match self {
            Self::Full => 1_000,
            Self::Quick => 100,
        }
    }
}

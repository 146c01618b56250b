//! What is done with every pool, and how much of it.

use std::time::Duration;

use benches::table::number;
use clap::ValueEnum;
use tokio::runtime::{Builder, Runtime};

use super::contender::Contender;
use super::failure::Failure;
use super::figures::Figures;
use super::file::File;
use super::peer::ROWS;
use super::select::Crowd;
use super::server::Server;
use super::{cache, cold, fleet, group, mixed, redis};

/// One kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub(super) enum Case {
    /// Eight tasks for each connection to PostgreSQL, all of them open.
    Pg64on8,
    /// The same for ours on few shared connections.
    #[value(name = "pg_pipelined")]
    PgPipelined,
    /// The connections of sqlx, on our pool and on its own.
    Sqlx64on8,
    /// Readers of a SQLite file, and a writer.
    Sqlite,
    /// Writers of a SQLite file, whose writes are synced.
    #[value(name = "sqlite_group")]
    SqliteGroup,
    /// A burst on a pool that has nothing open.
    Cold1000,
    /// A value that is cached, and many readers as it expires.
    Cache,
    /// A table of PostgreSQL into NDJSON.
    Ndjson,
    /// A table of SQLite into NDJSON.
    #[value(name = "ndjson_sqlite")]
    NdjsonSqlite,
    /// Readers of keys of Redis.
    Redis64,
    /// Processes that share a server, and come, go, freeze and are killed.
    Fleet,
}

/// How much of it: as much as steady figures take, or only so much that every path is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// A good part of a second a round, but for the fleet, which takes this long.
    Full(Duration),
    /// A smoke test; its figures are worth nothing.
    Quick,
}

impl Case {
    /// Its name on the command line and in the JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pg64on8 => "pg64on8",
            Self::PgPipelined => "pg_pipelined",
            Self::Sqlx64on8 => "sqlx64on8",
            Self::Sqlite => "sqlite",
            Self::SqliteGroup => "sqlite_group",
            Self::Cold1000 => "cold1000",
            Self::Cache => "cache",
            Self::Ndjson => "ndjson",
            Self::NdjsonSqlite => "ndjson_sqlite",
            Self::Redis64 => "redis64",
            Self::Fleet => "fleet",
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
            Self::PgPipelined => format!(
                "the same on {} shared connections; the exclusive pools on {}",
                scale.sharing().size,
                scale.crowd().size
            ),
            Self::Sqlx64on8 => {
                let Crowd { tasks, size, .. } = scale.crowd();
                format!(
                    "{tasks} tasks on {size} connections of sqlx, each pool as safe as it is by default"
                )
            }
            Self::Sqlite => format!(
                "{} tasks read one of {} rows on {} connections, 1 writes each {} ms; a file in WAL",
                mixed::READERS,
                number(f64::from(ROWS)),
                mixed::SIZE,
                mixed::PACE.as_millis()
            ),
            Self::SqliteGroup => format!(
                "{} tasks write {} rows each, synced; up to {} share a commit, or none (plain)",
                group::WRITERS,
                scale.writes(),
                group::WRITERS
            ),
            Self::Cache => format!(
                "a hot key in the process; p99 of {} readers as it expires (bare: moka, not expiring)",
                cache::READERS
            ),
            Self::Ndjson | Self::NdjsonSqlite => format!(
                "{} rows from {} into NDJSON, counted and dropped",
                number(f64::from(scale.rows())),
                match self.needs_server() {
                    true => "PostgreSQL",
                    false => "a SQLite file",
                }
            ),
            Self::Redis64 => format!(
                "{} tasks read one of {} keys of Redis; ours on shared connections, deadpool's on {}",
                redis::TASKS,
                number(f64::from(ROWS)),
                redis::SIZE
            ),
            Self::Fleet => format!(
                "{} processes that come, go, freeze and are killed share {} connections; waits",
                fleet::PROCESSES,
                fleet::CONNECTIONS
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
            Self::Pg64on8 | Self::PgPipelined | Self::Sqlx64on8 | Self::Cold1000 | Self::Ndjson => {
                true
            }
            Self::Sqlite | Self::SqliteGroup | Self::Cache | Self::NdjsonSqlite | Self::Redis64 => {
                false
            }
            // It has one of its own, whose limits it knows.
            Self::Fleet => false,
        }
    }

    /// Does it once with a pool of its own, on a runtime of its own, and measures.
    pub(super) fn run(
        self,
        who: Contender,
        scale: Scale,
        server: Option<&Server>,
    ) -> Result<Figures, Failure> {
        let figures = match server.filter(|_| self.needs_server()) {
            Some(server) => {
                let figures = self.run_on(who, scale, server);
                figures.and_then(|figures| server.settle().map(|()| figures))
            }
            None => self.run_alone(who, scale),
        };
        figures.map_err(|failure| failure.at(format_args!("{} in {}", who.name(), self.name())))
    }

    fn run_on(self, who: Contender, scale: Scale, server: &Server) -> Result<Figures, Failure> {
        if self == Self::Ndjson {
            server.fill_events(scale.rows());
            return who.export(&server.url_at(server.port()), scale.rows());
        }
        pair()?.block_on(who.postgres(self, scale, server))
    }

    fn run_alone(self, who: Contender, scale: Scale) -> Result<Figures, Failure> {
        match self {
            Self::Sqlite => pair()?.block_on(who.sqlite(scale)),
            Self::SqliteGroup => pair()?.block_on(who.group(scale)),
            Self::Redis64 => pair()?.block_on(who.redis(scale)),
            Self::Cache => pair()?.block_on(who.cache(scale)),
            Self::NdjsonSqlite => {
                let file = File::create_events(scale.rows())?;
                let path = file.path();
                let path = path.to_str();
                let path = path.ok_or_else(|| Failure::new("the file's path is no text"))?;
                who.export(path, scale.rows())
            }
            Self::Fleet => pair()?.block_on(fleet::run(scale.fleet())),
            _ => Err(Failure::new("there is no server for it")),
        }
    }
}

/// A runtime with two worker threads; a new one each time, so that nothing that a pool left running is still there when the next one
/// is measured.
pub(super) fn pair() -> Result<Runtime, Failure> {
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
                Self::Full(_) => 250,
                Self::Quick => 5,
            },
        }
    }

    /// Of `pg_pipelined`, on shared connections.
    pub(super) fn sharing(self) -> Crowd {
        Crowd {
            size: 2,
            ..self.crowd()
        }
    }

    /// Writes of each writer in `sqlite_group`.
    pub(super) fn writes(self) -> usize {
        match self {
            Self::Full(_) => 50,
            Self::Quick => 2,
        }
    }

    /// Of `ndjson` and `ndjson_sqlite`.
    pub(super) fn rows(self) -> u32 {
        match self {
            Self::Full(_) => 1_000_000,
            Self::Quick => 5_000,
        }
    }

    /// Reads of each task in `redis64`.
    pub(super) fn gets(self) -> usize {
        match self {
            Self::Full(_) => 2_000,
            Self::Quick => 5,
        }
    }

    /// Reads of each reader in `sqlite`.
    pub(super) fn reads(self) -> usize {
        match self {
            Self::Full(_) => 500,
            Self::Quick => 5,
        }
    }

    /// How long `fleet` takes.
    pub(super) fn fleet(self) -> Duration {
        match self {
            Self::Full(lasts) => lasts,
            Self::Quick => Duration::from_secs(3),
        }
    }

    /// Reads of each task in `cache`.
    pub(super) fn hits(self) -> u32 {
        match self {
            Self::Full(_) => 500_000,
            Self::Quick => 1_000,
        }
    }

    /// Of `cold1000`.
    pub(super) fn callers(self) -> usize {
        match self {
            Self::Full(_) => 1_000,
            Self::Quick => 100,
        }
    }
}

//! Who takes part in what.

use clap::ValueEnum;

use super::cache;
use super::case::{Case, Scale};
use super::cold;
use super::failure::Failure;
use super::figures::Figures;
use super::group;
use super::mixed;
use super::ndjson;
use super::peer::Pool;
use super::postgres;
use super::redis;
use super::server::Server;
use super::sqlite;

/// A pool by its name. This is the one place that goes from the name to the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Contender {
    /// Ours.
    PoolDb,
    /// Ours without what the case is about: on exclusive connections, or with a commit for each write.
    PoolDbPlain,
    /// deadpool-postgres.
    DeadpoolPostgres,
    /// bb8-postgres.
    Bb8Postgres,
    /// sqlx.
    Sqlx,
    /// deadpool-sqlite.
    DeadpoolSqlite,
    /// deadpool-redis.
    DeadpoolRedis,
    /// The driver without a pool, or moka alone.
    Bare,
}

impl Contender {
    /// Its name on the command line and in the JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PoolDb => "pool-db",
            Self::PoolDbPlain => "pool-db-plain",
            Self::DeadpoolPostgres => "deadpool-postgres",
            Self::Bb8Postgres => "bb8-postgres",
            Self::Sqlx => "sqlx",
            Self::DeadpoolSqlite => "deadpool-sqlite",
            Self::DeadpoolRedis => "deadpool-redis",
            Self::Bare => "bare",
        }
    }

    /// Whether the case means anything for it.
    pub(super) fn takes_part(self, case: Case) -> bool {
        use Case::{
            Cache, Cold1000, Pg64on8, PgPipelined, Redis64, Sqlite, SqliteGroup, Sqlx64on8,
        };
        match self {
            Self::PoolDb => true,
            Self::PoolDbPlain => matches!(case, PgPipelined | SqliteGroup),
            Self::Sqlx => {
                matches!(case, Pg64on8 | PgPipelined | Sqlite | Sqlx64on8 | Cold1000)
            }
            Self::DeadpoolPostgres | Self::Bb8Postgres => {
                matches!(case, Pg64on8 | PgPipelined | Cold1000)
            }
            Self::DeadpoolSqlite => case == Sqlite,
            Self::DeadpoolRedis => case == Redis64,
            Self::Bare => matches!(case, Pg64on8 | PgPipelined | Redis64 | Cache),
        }
    }

    /// Does a case of PostgreSQL lookups once.
    pub(super) async fn postgres(
        self,
        case: Case,
        scale: Scale,
        server: &Server,
    ) -> Result<Figures, Failure> {
        if case == Case::Sqlx64on8 {
            let crowd = scale.crowd();
            return match self {
                Self::PoolDb => crowd.run::<postgres::OursOfSqlx>(server).await,
                Self::Sqlx => crowd.run::<postgres::SafeSqlx>(server).await,
                _ => Err(self.no_part()),
            };
        }
        match self {
            Self::PoolDb if case == Case::PgPipelined => {
                scale.sharing().run::<postgres::Pipelined>(server).await
            }
            Self::PoolDb | Self::PoolDbPlain => on::<postgres::Ours>(case, scale, server).await,
            Self::DeadpoolPostgres => on::<postgres::Deadpool>(case, scale, server).await,
            Self::Bb8Postgres => on::<postgres::Bb8>(case, scale, server).await,
            Self::Sqlx => on::<postgres::Sqlx>(case, scale, server).await,
            Self::Bare if case == Case::PgPipelined => {
                let crowd = scale.sharing();
                crowd.run_bare(server, crowd.tasks).await
            }
            // As many tasks as connections, so that none waits for another.
            Self::Bare if case == Case::Pg64on8 => {
                let crowd = scale.crowd();
                crowd.run_bare(server, crowd.size as usize).await
            }
            Self::Bare | Self::DeadpoolSqlite | Self::DeadpoolRedis => Err(self.no_part()),
        }
    }

    /// Does the case of SQLite's readers once.
    pub(super) async fn sqlite(self, scale: Scale) -> Result<Figures, Failure> {
        let reads = scale.reads();
        match self {
            Self::PoolDb => mixed::run::<sqlite::Ours>(reads).await,
            Self::DeadpoolSqlite => mixed::run::<sqlite::Deadpool>(reads).await,
            Self::Sqlx => mixed::run::<sqlite::Sqlx>(reads).await,
            _ => Err(self.no_part()),
        }
    }

    /// Does the case of SQLite's writers once.
    pub(super) async fn group(self, scale: Scale) -> Result<Figures, Failure> {
        match self {
            Self::PoolDb => group::run(Some(group::WRITERS), scale.writes()).await,
            Self::PoolDbPlain => group::run(None, scale.writes()).await,
            _ => Err(self.no_part()),
        }
    }

    /// Does the case of Redis once.
    pub(super) async fn redis(self, scale: Scale) -> Result<Figures, Failure> {
        let gets = scale.gets();
        match self {
            Self::PoolDb => redis::run::<redis::Ours>(gets).await,
            Self::DeadpoolRedis => redis::run::<redis::Deadpool>(gets).await,
            Self::Bare => redis::run::<redis::Bare>(gets).await,
            _ => Err(self.no_part()),
        }
    }

    /// Does the case of the cache once.
    pub(super) async fn cache(self, scale: Scale) -> Result<Figures, Failure> {
        match self {
            Self::PoolDb => cache::ours(scale.hits()).await,
            Self::Bare => cache::moka(scale.hits()).await,
            _ => Err(self.no_part()),
        }
    }

    /// Exports a table once.
    pub(super) fn export(self, address: &str, rows: u32) -> Result<Figures, Failure> {
        match self {
            Self::PoolDb => ndjson::run(address, rows),
            _ => Err(self.no_part()),
        }
    }

    fn no_part(self) -> Failure {
        Failure::new(format!("{} takes no part in it", self.name()))
    }
}

/// Does a case with a pool of that type.
async fn on<P: Pool>(case: Case, scale: Scale, server: &Server) -> Result<Figures, Failure> {
    match case {
        Case::Pg64on8 | Case::PgPipelined => scale.crowd().run::<P>(server).await,
        Case::Cold1000 => cold::run::<P>(server, scale.callers()).await,
        _ => Err(Failure::new("it looks nothing up in PostgreSQL")),
    }
}

//! Who takes part in what.

use clap::ValueEnum;

use super::case::{Case, Scale};
use super::cold;
use super::failure::Failure;
use super::figures::Figures;
use super::mixed;
use super::peer::Pool;
use super::postgres;
use super::server::Server;
use super::sqlite;

/// A pool by its name. This is the one place that goes from the name to the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Contender {
    /// Ours.
    PoolDb,
    /// deadpool-postgres.
    DeadpoolPostgres,
    /// bb8-postgres.
    Bb8Postgres,
    /// sqlx.
    Sqlx,
    /// deadpool-sqlite.
    DeadpoolSqlite,
    /// The driver without a pool.
    Bare,
}

impl Contender {
    /// Its name on the command line and in the JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PoolDb => "pool-db",
            Self::DeadpoolPostgres => "deadpool-postgres",
            Self::Bb8Postgres => "bb8-postgres",
            Self::Sqlx => "sqlx",
            Self::DeadpoolSqlite => "deadpool-sqlite",
            Self::Bare => "bare",
        }
    }

    /// Whether the case means anything for it.
    pub(super) fn takes_part(self, case: Case) -> bool {
        match self {
            Self::PoolDb | Self::Sqlx => true,
            Self::DeadpoolPostgres | Self::Bb8Postgres => case.needs_server(),
            Self::DeadpoolSqlite => case == Case::Sqlite,
            Self::Bare => case == Case::Pg64on8,
        }
    }

    /// Does a case of PostgreSQL once.
    pub(super) async fn postgres(
        self,
        case: Case,
        scale: Scale,
        server: &Server,
    ) -> Result<Figures, Failure> {
        match self {
            Self::PoolDb => on::<postgres::Ours>(case, scale, server).await,
            Self::DeadpoolPostgres => on::<postgres::Deadpool>(case, scale, server).await,
            Self::Bb8Postgres => on::<postgres::Bb8>(case, scale, server).await,
            Self::Sqlx => on::<postgres::Sqlx>(case, scale, server).await,
            Self::Bare if case == Case::Pg64on8 => scale.crowd().run_bare(server).await,
            Self::Bare | Self::DeadpoolSqlite => Err(self.no_part()),
        }
    }

    /// Does the case of SQLite once.
    pub(super) async fn sqlite(self, scale: Scale) -> Result<Figures, Failure> {
        let reads = scale.reads();
        match self {
            Self::PoolDb => mixed::run::<sqlite::Ours>(reads).await,
            Self::DeadpoolSqlite => mixed::run::<sqlite::Deadpool>(reads).await,
            Self::Sqlx => mixed::run::<sqlite::Sqlx>(reads).await,
            Self::DeadpoolPostgres | Self::Bb8Postgres | Self::Bare => Err(self.no_part()),
        }
    }

    fn no_part(self) -> Failure {
        Failure::new(format!("{} takes no part in it", self.name()))
    }
}

/// Does a case with a pool of that type.
async fn on<P: Pool>(case: Case, scale: Scale, server: &Server) -> Result<Figures, Failure> {
    match case {
        Case::Pg64on8 => scale.crowd().run::<P>(server).await,
        Case::Cold1000 => cold::run::<P>(server, scale.callers()).await,
        Case::Sqlite => Err(Failure::new("there is no PostgreSQL in it")),
    }
}

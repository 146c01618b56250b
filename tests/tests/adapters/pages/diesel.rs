use std::fmt;

use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use pool_core::{Manager, Pool, Usage};
use pool_cpu::BlockingPool;

/// Opens diesel's connections on the worker threads, as each of their calls blocks its thread.
pub(crate) struct Connections {
    pub(crate) url: String,
    pub(crate) threads: BlockingPool,
}

/// `None` while a job has it: a job that was given up keeps it, and it is not handed on.
pub(crate) type Slot = Option<SqliteConnection>;

#[derive(Debug)]
pub(crate) enum Error {
    Connect(ConnectionError),
    Query(diesel::result::Error),
    Threads(pool_cpu::Error),
    Pool(pool_core::Error<Self>),
    /// An earlier job has the connection.
    Lost,
}

impl Manager for Connections {
    type Resource = Slot;
    type Error = Error;

    async fn create(&self) -> Result<Slot, Error> {
        let url = self.url.clone();
        let open = self.threads.run(move || SqliteConnection::establish(&url));
        Ok(Some(
            open.await
                .map_err(Error::Threads)?
                .map_err(Error::Connect)?,
        ))
    }

    async fn check(&self, slot: &mut Slot, _: &Usage) -> Result<(), Error> {
        on_thread(&self.threads, slot, |connection| {
            connection.batch_execute("SELECT 1")
        })
        .await
    }

    fn is_broken(&self, slot: &mut Slot) -> bool {
        // Lost, or in a transaction that diesel knows of.
        slot.as_mut()
            .is_none_or(AnsiTransactionManager::is_broken_transaction_manager)
    }

    // A transaction that was begun as a text is rolled back before the next caller.
    fn needs_reset(&self, _: &mut Slot, _: &Usage) -> bool {
        true
    }

    async fn reset(&self, slot: &mut Slot, _: &Usage) -> Result<(), Error> {
        on_thread(&self.threads, slot, |connection| {
            // It is an error where there is no transaction, as there should be none.
            drop(connection.batch_execute("ROLLBACK"));
            Ok(())
        })
        .await
    }

    async fn close(&self, slot: Slot) {
        drop(self.threads.run(move || drop(slot)).await);
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => error.fmt(f),
            Self::Query(error) => error.fmt(f),
            Self::Threads(error) => error.fmt(f),
            Self::Pool(error) => error.fmt(f),
            Self::Lost => f.write_str("an earlier job has the connection"),
        }
    }
}

async fn on_thread<T: Send + 'static>(
    threads: &BlockingPool,
    slot: &mut Slot,
    job: impl FnOnce(&mut SqliteConnection) -> QueryResult<T> + Send + 'static,
) -> Result<T, Error> {
    let mut connection = slot.take().ok_or(Error::Lost)?;
    let ran = threads.run(move || {
        let outcome = job(&mut connection);
        (connection, outcome)
    });
    let (connection, outcome) = ran.await.map_err(Error::Threads)?;
    *slot = Some(connection);
    outcome.map_err(Error::Query)
}

/// Runs `job` on a connection of the pool, off the executor.
pub(crate) async fn run<T: Send + 'static>(
    pool: &Pool<Connections>,
    job: impl FnOnce(&mut SqliteConnection) -> QueryResult<T> + Send + 'static,
) -> Result<T, Error> {
    let mut lease = pool.get().await.map_err(Error::Pool)?;
    on_thread(&pool.manager().threads, &mut lease, job).await
}

#[derive(QueryableByName)]
struct Total {
    #[diesel(sql_type = BigInt)]
    total: i64,
}

pub(crate) async fn total(pool: &Pool<Connections>) -> Result<i64, Error> {
    run(pool, |connection| {
        connection.transaction(|connection| {
            diesel::sql_query("INSERT INTO sales (amount) VALUES (7)").execute(connection)?;
            let sum = diesel::sql_query("SELECT sum(amount) AS total FROM sales");
            Ok(sum.get_result::<Total>(connection)?.total)
        })
    })
    .await
}

pub(crate) fn build(url: &str) -> Result<Pool<Connections>, pool_core::ConfigError> {
    let threads = BlockingPool::builder().max_threads(8).build()?;
    let url = url.to_owned();
    Pool::builder(Connections { url, threads })
        .max_size(8)
        .build()
}

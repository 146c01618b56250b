//! A service of sqlx, moved to this crate's pool: after `//-` is each line as it was there, and below it what has become of it.
//!
//! ```sh
//! cargo run -p pool-db --features sqlx-sqlite --example from_sqlx # in memory
//! DATABASE_URL=sqlite:accounts.db?mode=rwc cargo run -p pool-db --features sqlx-sqlite --example from_sqlx
//! ```

//- use sqlx::{SqlitePool, sqlite::SqlitePoolOptions};
use pool_db::{
    ConstraintKind,
    sqlx::{Builder, Pool, sqlx},
};
use sqlx::{Executor, Sqlite};
use std::{process::ExitCode, time::Duration};

pub(crate) fn settings() -> Builder<Sqlite> {
    //- SqlitePoolOptions::new()
    Pool::<Sqlite>::builder()
        //- .max_connections(4)
        .max_size(4)
        .acquire_timeout(Duration::from_secs(5))
        //- .test_before_acquire(true)
        // Nothing to say: a connection that has rested is checked, and each lease is clean.
        //- .after_connect(|connection, _meta| Box::pin(async move {
        .after_connect(|connection| {
            Box::pin(async move {
                sqlx::query("PRAGMA recursive_triggers = on")
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
}

#[derive(Debug, sqlx::FromRow)]
struct Account {
    name: String,
    balance: i64,
}

// Not a letter of it has changed.
async fn account<'e, E: Executor<'e, Database = Sqlite>>(
    executor: E,
    name: &str,
) -> Result<Account, sqlx::Error> {
    let find = "SELECT name, balance FROM from_sqlx WHERE name = $1";
    sqlx::query_as(find).bind(name).fetch_one(executor).await
}

//- async fn transfer(pool: &SqlitePool, from: &str, to: &str, amount: i64) -> Result<(), sqlx::Error> {
async fn transfer(
    pool: &Pool<Sqlite>,
    from: &str,
    to: &str,
    amount: i64,
) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    for (name, change) in [(from, -amount), (to, amount)] {
        sqlx::query("UPDATE from_sqlx SET balance = balance + $1 WHERE name = $2")
            .bind(change)
            .bind(name)
            //- .execute(&mut *tx)
            .execute(&mut tx) // `&mut *tx` works too, and costs a round trip more, after the return
            .await?;
    }
    //- tx.commit().await
    Ok(tx.commit().await?)
}

//- fn status_code(error: &sqlx::Error) -> u16 {
fn status_code(error: sqlx::Error) -> u16 {
    //- match error {
    //-     sqlx::Error::RowNotFound => 404,
    //-     sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) => 503,
    //-     sqlx::Error::Database(error) if error.is_check_violation() => 409,
    //-     _ => 500,
    let error = pool_db::Error::from(error);
    match error.constraint().map(|constraint| constraint.kind()) {
        Some(ConstraintKind::Check) => 409,
        _ if error.is_no_rows() => 404,
        _ if error.is_unavailable() => 503,
        _ => 500,
    }
}

/// The service's day. Returns what it has seen.
pub(crate) async fn run(pool: &Pool<Sqlite>) -> Result<Vec<String>, sqlx::Error> {
    let mut report = Vec::new();
    pool.execute(MAKE).await?;
    transfer(pool, "ada", "ben", 30).await?;
    if let Err(error) = transfer(pool, "ada", "ben", 71).await {
        report.push(format!("too much: {}", status_code(error)));
    }
    //- let mut lease = pool.acquire().await?;
    let mut lease = pool.get().await?;
    for name in ["ada", "ben"] {
        //- let Account { name, balance } = account(&mut *lease, name).await?;
        let Account { name, balance } = account(&mut lease, name).await?;
        report.push(format!("{name}: {balance}"));
    }
    drop(lease);
    if let Err(error) = account(pool, "cy").await {
        report.push(format!("cy: {}", status_code(error)));
    }

    let mut held = Vec::new();
    for _ in 0..pool.status().max_size {
        held.push(pool.get().label("held").await?); // new: `pool.leases()` says who has what, and since when
    }
    let none = pool.get().timeout(Duration::from_millis(50)).await;
    if let Err(error) = none {
        report.push(format!("all in use: {}", status_code(error.into())));
    }
    drop(held);
    //- let (size, idle) = (pool.size(), pool.num_idle());
    report.push(format!("{} open", pool.status().open));
    //- pool.close().await; // for as long as it takes
    let drained = pool.drain(Duration::from_secs(10)).await;
    report.push(format!("left at the end: {}", drained.left));
    Ok(report)
}

#[tokio::main]
async fn main() -> ExitCode {
    //- let pool = options.connect(&std::env::var("DATABASE_URL")?).await?;
    let built = settings()
        .url("sqlite::memory:")
        .env("ACCOUNTS") // DATABASE_URL, if it is set, and ACCOUNTS_MAX_SIZE=2 and the like
        .and_then(Builder::build);
    let done = match built {
        Ok(pool) => run(&pool).await.map_err(pool_db::Error::from),
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(report) => println!("{}", report.join("\n")),
        Err(error) => {
            eprintln!("from_sqlx: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

const MAKE: &str = "DROP TABLE IF EXISTS from_sqlx;
    CREATE TABLE from_sqlx (name TEXT PRIMARY KEY, balance INTEGER CHECK (balance >= 0));
    INSERT INTO from_sqlx VALUES ('ada', 100), ('ben', 0)";

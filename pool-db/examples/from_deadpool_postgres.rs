//! A service of deadpool-postgres, moved here: after `//-` is each line as it was there, and below it what has become of it.
//!
//! It needs a PostgreSQL, and says so by an error where there is none. It makes a table of its own there,
//! `from_deadpool_postgres`, and drops it at the end.
//!
//! ```sh
//! export DATABASE_URL=postgres://me:secret@localhost/db # or PGHOST and its kin, or ACCOUNTS_URL for this pool alone
//! cargo run -p pool-db --features postgres --example from_deadpool_postgres
//! ACCOUNTS_MAX_SIZE=2 ACCOUNTS_ACQUIRE_TIMEOUT=500ms cargo run -p pool-db --features postgres --example from_deadpool_postgres
//! ```

//- use deadpool_postgres::{Config, GenericClient, ManagerConfig, Object, Pool, PoolConfig, PoolError, RecyclingMethod};
//- use deadpool_postgres::{Runtime, Timeouts, TimeoutType};
//- use deadpool_postgres::tokio_postgres::{self, IsolationLevel, NoTls, error::SqlState};
use pool_db::{
    ConstraintKind, Error,
    postgres::{Builder, Client, Pool, tokio_postgres::IsolationLevel},
};
use std::{process::ExitCode, time::Duration};

/// All that can be set is as well in the environment, of whatever has a unit with it: `ACCOUNTS_ACQUIRE_TIMEOUT=2s`.
pub(crate) fn settings() -> Builder {
    //- let mut config = Config::new();
    Pool::builder()
        //- config.pool = Some(PoolConfig { max_size: 4, timeouts, ..PoolConfig::default() });
        .max_size(4)
        //- let timeouts = Timeouts {
        //-     wait: Some(Duration::from_secs(5)), // for a place; `create` and `recycle` come on top
        .acquire_timeout(Duration::from_secs(5)) // for all of a `get`
        //-     create: Some(Duration::from_secs(3)),
        .create_timeout(Duration::from_secs(3))
        //-     recycle: Some(Duration::from_secs(1)),
        .check_timeout(Duration::from_secs(1)) // before a lease, and only after some idling
        .reset_timeout(Duration::from_secs(1)) // after a lease, on nobody's time
        //- };
        //- // nothing bounds a statement
        .query_timeout(Duration::from_secs(5))
        //- let recycling_method = RecyclingMethod::Clean;
        //- config.manager = Some(ManagerConfig { recycling_method });
        // Nothing to say: every lease is clean, and costs a round trip only if the one before it left something behind.
        //- config.application_name = Some("accounts".to_owned());
        .on_connect("SET application_name = 'accounts'") // or in the address: `?application_name=accounts`
}

fn create_pool() -> Result<Pool, pool_db::ConfigError> {
    //- config.url = std::env::var("DATABASE_URL").ok();
    //- let pool = config.create_pool(Some(Runtime::Tokio1), NoTls)?;
    settings().env("ACCOUNTS")?.build() // TLS as the address says: `?sslmode=verify-full`
}

//- async fn balance(client: &impl GenericClient, name: &str) -> Result<Option<i64>, tokio_postgres::Error> {
async fn balance(client: &Client, name: &str) -> Result<Option<i64>, Error> {
    //- let find = client.prepare_cached("SELECT balance FROM from_deadpool_postgres WHERE name = $1").await?;
    // Prepared once for each connection, whether it is asked for or not.
    let find = "SELECT balance FROM from_deadpool_postgres WHERE name = $1";
    //- let row = client.query_opt(&find, &[&name]).await?;
    let row = client.query_opt(find, &[&name]).await?;
    Ok(row.map(|row| row.get(0)))
}

//- async fn transfer(pool: &Pool, from: &str, to: &str, amount: i64) -> Result<(), PoolError> {
async fn transfer(pool: &Pool, from: &str, to: &str, amount: i64) -> Result<(), Error> {
    let mut client = pool.get().await?;
    let transaction = client.build_transaction();
    let transaction = transaction.isolation_level(IsolationLevel::Serializable);
    let transaction = transaction.start().await?;
    // It is still there by this name, and is taken wherever a text is: not needed, but nothing has to change.
    let add = "UPDATE from_deadpool_postgres SET balance = balance + $1 WHERE name = $2";
    let add = transaction.prepare_cached(add).await?;
    for (name, change) in [(from, -amount), (to, amount)] {
        transaction.execute(&add, &[&change, &name]).await?; // on an error it is dropped, and so rolled back, in both
    }
    //- transaction.commit().await?;
    //- Ok(())
    transaction.commit().await // an error as well where a statement had failed, and the server rolls back without a word
}

//- fn status_code(error: &PoolError) -> u16 {
fn status_code(error: &Error) -> u16 {
    //- match error {
    //-     PoolError::Timeout(TimeoutType::Wait | TimeoutType::Create) | PoolError::Closed => 503,
    //-     PoolError::Backend(error) if error.is_closed() => 503,
    if error.is_unavailable() || error.is_timeout() {
        return 503; // a `query_timeout` too
    }
    //-     PoolError::Backend(error) if error.code() == Some(&SqlState::CHECK_VIOLATION) => 409,
    //-     _ => 500,
    match error.constraint().map(|constraint| constraint.kind()) {
        Some(ConstraintKind::Check) => 409, // and `name()` says which
        _ => 500,
    }
}

/// The service's day. Returns what it has seen.
pub(crate) async fn run(pool: &Pool) -> Result<Vec<String>, Error> {
    let mut report = Vec::new();
    //- drop(pool.get().await?); // opens one
    pool.warm_up().await?; // opens `min_idle`, or one: what is wrong with the address is found here
    pool.get().await?.batch_execute(MAKE).await?;

    transfer(pool, "ada", "ben", 30).await?;
    if let Err(error) = transfer(pool, "ada", "ben", 71).await {
        report.push(format!("too much: {}: {error}", status_code(&error)));
    }
    //- let client: Object = pool.get().await?;
    let client = pool.get().await?; // a `pool_db::postgres::Connection`, which is a `Client` as a transaction is
    for name in ["ada", "ben", "cy"] {
        let balance = balance(&client, name).await?;
        report.push(format!("{name}: {balance:?}"));
    }
    drop(client);

    let mut held = Vec::new();
    for _ in 0..pool.status().max_size {
        held.push(pool.get().label("held").await?); // new: `pool.leases()` says who has what, and since when
    }
    //- let timeouts = Timeouts { wait: Some(Duration::from_millis(50)), ..pool.timeouts() };
    //- let none = pool.timeout_get(&timeouts).await;
    let none = pool.get().timeout(Duration::from_millis(50)).await;
    if let Err(error) = none {
        report.push(format!("all in use: {}: {error}", status_code(&error)));
    }
    drop(held);

    let status = pool.status();
    //- let (size, max_size, waiting) = (status.size, status.max_size, status.waiting);
    let (size, max_size, waiting) = (status.open, status.max_size, status.waiting);
    report.push(format!("{size} of {max_size} open, {waiting} waiting"));

    pool.get().await?.batch_execute(DROP).await?;
    //- pool.close();
    let drained = pool.drain(Duration::from_secs(10)).await; // closes it, and waits until all are back
    report.push(format!("left at the end: {}", drained.left));
    Ok(report)
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match create_pool() {
        Ok(pool) => run(&pool).await,
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(report) => println!("{}", report.join("\n")),
        Err(error) => {
            eprintln!("from_deadpool_postgres: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

const MAKE: &str = "DROP TABLE IF EXISTS from_deadpool_postgres;
    CREATE TABLE from_deadpool_postgres (name text PRIMARY KEY, balance bigint CHECK (balance >= 0));
    INSERT INTO from_deadpool_postgres VALUES ('ada', 100), ('ben', 0)";
const DROP: &str = "DROP TABLE from_deadpool_postgres";

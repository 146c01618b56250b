//! Ten thousand items over a pool of eight: how far it has come, an item that fails, and one that takes too long.
//!
//! An import, say. However many items there are, one request at a time stands in the pool's line, so that others who want a connection
//! wait no longer than behind one more caller.
//!
//! ```sh
//! cargo run -p pool-core --example many_items
//! IMPORT_EACH_WITHIN=100ms IMPORT_LIMIT=2 STORE_MAX_SIZE=4 cargo run -p pool-core --example many_items
//! ```

use std::{error::Error, io, time::Duration};

use pool_core::{
    ConfigError, Env, Lease, Manager, Pool, Usage, fan_out,
    fan_out::{FanOutConfig, ItemError, Progress},
    observe::CloseReason,
};
use tokio::time::sleep;

const ITEMS: u32 = 10_000;
const BAD: u32 = 1_234;
const STUCK: u32 = 4_321;

struct Store;

struct Connection {
    rows: u64,
}

impl Connection {
    async fn insert(&mut self, item: u32) -> io::Result<u64> {
        // Most rows go into a buffer of the connection; every sixteenth fills it.
        if item.is_multiple_of(16) {
            sleep(Duration::from_millis(1)).await;
        }
        match item {
            BAD => return Err(io::Error::other("value out of range")),
            STUCK => std::future::pending().await, // a lock that nobody gives back
            _ => {}
        }
        self.rows += 1;
        Ok(self.rows)
    }
}

impl Manager for Store {
    type Resource = Connection;
    type Error = io::Error;

    async fn create(&self) -> io::Result<Connection> {
        Ok(Connection { rows: 0 })
    }

    async fn check(&self, _: &mut Connection, _: &Usage) -> io::Result<()> {
        Ok(())
    }
}

async fn insert(item: u32, mut connection: Lease<Store>) -> io::Result<u64> {
    // An item that is dropped at its time limit leaves an insert half done: its connection is not handed on.
    Lease::run(&mut connection, async |connection| {
        connection.insert(item).await
    })
    .await
}

/// The settings of the import: our own, and over them those of the environment.
fn settings() -> Result<FanOutConfig, ConfigError> {
    let mut config = FanOutConfig::new().each_within(Duration::from_secs(1));
    let mut env = Env::read("IMPORT")?;
    config.apply_env(&mut env)?;
    config.validate().map_err(|error| env.blame(error))?;
    env.finish()?; // a name that no setting has
    Ok(config)
}

pub(crate) async fn run() -> Result<Vec<String>, Box<dyn Error + Send + Sync>> {
    let config = settings()?;
    let pool = Pool::builder(Store).max_size(8).env("STORE")?.build()?;

    // Every outcome: no error ends it.
    let mut report = vec!["an import that goes on:".to_owned()];
    let tell = |now: Progress| {
        if now.done.is_multiple_of(2_500) {
            report.push(format!(
                "  {} done, {} of them failed",
                now.done, now.failed
            ));
        }
    };
    let import = fan_out(0..ITEMS).config(&config).on(&pool).progress(tell);
    let outcomes = import.map(insert).settle().await;
    let written = outcomes.iter().flatten().count();
    report.push(format!("  {written} of {} were written", outcomes.len()));
    for error in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        report.push(format!("  {}: {error}", what_to_do(error)));
    }

    // The first error ends it, and drops what runs.
    let import = fan_out(0..ITEMS).config(&config).on(&pool).map(insert);
    let end = import.for_each(|_row| ()).await;
    report.push(format!("an import that stops: {end:?}"));

    let drained = pool.drain(Duration::from_secs(1)).await;
    if !drained.is_complete() {
        return Err(format!("{} connections are left", drained.left).into());
    }
    let status = pool.status();
    let tainted = status.closed.by(CloseReason::Tainted);
    report.push(format!(
        "{} leases of {} connections",
        status.gets, status.opened
    ));
    report.push(format!(
        "closed because an item was dropped on them: {tainted}"
    ));
    Ok(report)
}

fn what_to_do(error: &ItemError<io::Error>) -> &'static str {
    match error.error() {
        Some(_) => "for the one whose data it is",
        None if error.is_timeout() => "to try again",
        None => "to look into",
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    println!("{}", run().await?.join("\n"));
    Ok(())
}

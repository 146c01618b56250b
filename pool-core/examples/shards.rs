//! Shards by key: how many connections each may have and all together, and what a shard that hangs does to the others.
//!
//! Shard 3 takes every connect and never answers. Requests for it fail, soon at once; those for the others are served as if
//! nothing were the matter. Shard 0 is on a larger machine, and may have more. What is being opened has its place as well, so that
//! fewer than the bound in total are open while shard 3 hangs.
//!
//! ```sh
//! cargo run -p pool-core --example shards
//! SHARDS_MAX_TOTAL=4 SHARDS_MAX_SIZE=2 cargo run -p pool-core --example shards
//! ```

use std::{
    error::Error,
    future, io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use pool_core::{KeyLimits, KeyedLease, KeyedManager, KeyedPool, OpenError, Usage};
use tokio::{task::JoinSet, time::sleep};

const SHARDS: u32 = 4;
const LARGE: u32 = 0;
const HUNG: u32 = 3;

/// How many are open, and the most that were: of each shard, and of all in the last.
#[derive(Default)]
struct Counts([(AtomicU32, AtomicU32); SHARDS as usize + 1]);

impl Counts {
    fn change(&self, shard: u32, by: impl Fn(&AtomicU32) -> u32) {
        for at in [shard, SHARDS] {
            let (open, peak) = &self.0[at as usize];
            peak.fetch_max(by(open), Relaxed);
        }
    }
}

struct Shards(Arc<Counts>);

struct Connection {
    shard: u32,
    counts: Arc<Counts>,
}

impl Connection {
    async fn query(&mut self, user: u32) -> u32 {
        sleep(Duration::from_millis(2)).await; // the server works
        user % SHARDS
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.counts
            .change(self.shard, |open| open.fetch_sub(1, Relaxed) - 1);
    }
}

impl KeyedManager<u32> for Shards {
    type Resource = Connection;
    type Error = io::Error;

    async fn create(&self, shard: &u32) -> io::Result<Connection> {
        if *shard == HUNG {
            future::pending::<()>().await;
        }
        self.0.change(*shard, |open| open.fetch_add(1, Relaxed) + 1);
        Ok(Connection {
            shard: *shard,
            counts: Arc::clone(&self.0),
        })
    }

    async fn check(&self, connection: &mut Connection, _: &Usage) -> io::Result<()> {
        connection.query(0).await;
        Ok(())
    }
}

/// A request for a user, whose number says on which shard he is.
async fn serve(
    pool: &KeyedPool<u32, Shards>,
    user: u32,
) -> Result<u32, pool_core::Error<io::Error>> {
    let mut connection = pool.get(&(user % SHARDS)).label("profile").await?;
    // Were this future dropped half-way, nobody would get the connection as it is.
    Ok(KeyedLease::run(&mut connection, async |connection| {
        connection.query(user).await
    })
    .await)
}

pub(crate) async fn run() -> Result<Vec<String>, Box<dyn Error + Send + Sync>> {
    let mut report = Vec::new();
    let counts = Arc::new(Counts::default());
    let pool = KeyedPool::builder(Shards(Arc::clone(&counts)))
        .max_size(3) // of one shard
        .max_total(13)
        .create_timeout(Duration::from_millis(100)) // below acquire_timeout, so that callers hear why
        .limits_of(|shard: &u32| match *shard {
            LARGE => KeyLimits::new().max_size(5),
            _ => KeyLimits::new(),
        })
        .key_name(|shard| format!("shard {shard}"))
        .env("SHARDS")?
        .build()?;

    let mut requests = JoinSet::new();
    for user in 0..50 * SHARDS {
        let pool = pool.clone();
        requests.spawn(async move { (user % SHARDS, serve(&pool, user).await) });
    }
    let outcomes = requests.join_all().await;
    for shard in 0..SHARDS {
        let of = outcomes.iter().filter(|(of, _)| *of == shard);
        let (served, failed): (Vec<_>, Vec<_>) = of.partition(|(_, outcome)| outcome.is_ok());
        let most = counts.0[shard as usize].1.load(Relaxed);
        // Nothing is known of a key for which nothing is open any more.
        let bound = pool.status_of(&shard);
        let bound = bound.map_or(String::new(), |status| format!(" of {}", status.max_size));
        report.push(format!(
            "shard {shard}: {} served, {} failed; {most}{bound} open at most",
            served.len(),
            failed.len()
        ));
        if let Some((_, Err(error))) = failed.first() {
            let hung = matches!(error.open_error(), Some(OpenError::TimedOut(_)));
            report.push(format!(
                "  {}: {error}",
                if hung { "it hangs" } else { "it fails" }
            ));
        }
    }
    let most = counts.0[SHARDS as usize].1.load(Relaxed);
    report.push(format!(
        "all: {most} of {} open at most",
        pool.status().max_size
    ));
    let drained = pool.drain(Duration::from_secs(1)).await;
    report.push(format!("left at the end: {}", drained.left));
    Ok(report)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    println!("{}", run().await?.join("\n"));
    Ok(())
}

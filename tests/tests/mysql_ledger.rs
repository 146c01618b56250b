//! Transfers between accounts on a MariaDB server under random disturbances: nothing is lost, and nothing happens twice.
#![allow(clippy::unwrap_used)]

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::{Duration, Instant},
};

use pool_db::{
    Error,
    mysql::{IsolationLevel, Pool, Tx},
};
use tests::{
    mariadb::Server,
    proxy::{Proxy, Side},
};
use tokio::time::{sleep, timeout};

const MS: Duration = Duration::from_millis(1);
/// Nothing here takes that long.
const SOON: Duration = Duration::from_secs(30);
const ACCOUNTS: i32 = 20;
const BALANCE: i64 = 1000;
const TASKS: u64 = 16;
/// How many disturbances come from outside of the calls. The calls have as many of their own.
const DISTURBANCES: u32 = 300;
const RESTARTS: u32 = 2;

/// What a caller knows of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Acknowledged,
    /// It has failed, and the error says that it cannot have happened.
    NotHappened,
    /// It has failed, or its future was dropped.
    Unknown,
}

#[derive(Debug, Default)]
struct Counts {
    dropped: AtomicU64,
    timed_out: AtomicU64,
    lost: AtomicU64,
}

/// Moves money, and writes that down.
async fn transfer(tx: Tx, id: i64, from: i32, to: i32, locks: bool) -> Result<(), Error> {
    if locks {
        let lock = "SELECT id FROM accounts WHERE id IN (?, ?) ORDER BY id FOR UPDATE";
        tx.query(lock, (from, to)).await?;
    }
    let balance = "SELECT balance FROM accounts WHERE id = ?";
    let set = "UPDATE accounts SET balance = ? WHERE id = ?";
    let of = |row: pool_db::mysql::Row| row.get::<i64, _>(0).unwrap();
    let rich = of(tx.query_one(balance, (from,)).await?);
    tx.execute(set, (rich - 1, from)).await?;
    let poor = of(tx.query_one(balance, (to,)).await?);
    tx.execute(set, (poor + 1, to)).await?;
    let journal = "INSERT INTO journal VALUES (?, ?, ?)";
    tx.execute(journal, (id, from, to)).await.map(drop)
}

/// Drops a future after so many polls.
async fn dropped_after<T>(polls: u32, future: impl Future<Output = T>) -> Option<T> {
    let (mut future, mut left) = (pin!(future), polls);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

/// Ends a session of somebody else, or what it works on. Returns whether there was one.
async fn end_any(admin: &Pool, how: &str) -> u32 {
    let one = "SELECT id FROM information_schema.processlist WHERE command <> 'Daemon' AND id <> CONNECTION_ID() ORDER BY RAND() LIMIT 1";
    let Some(row) = admin.query_opt(one, ()).await.unwrap() else {
        return 0;
    };
    let id: u64 = row.get(0).unwrap();
    // It may have ended meanwhile.
    u32::from(admin.batch_execute(&format!("{how} {id}")).await.is_ok())
}

fn pool(url: String, query_timeout: Duration) -> Pool {
    Pool::builder()
        .url(url)
        .max_size(4)
        .query_timeout(query_timeout)
        .acquire_timeout(2000 * MS)
        .create_timeout(2000 * MS)
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_transfer_is_lost_and_none_happens_twice() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut server = Server::start();
    server.sql(&format!(
        "CREATE TABLE accounts (id INT PRIMARY KEY, balance BIGINT NOT NULL) ENGINE=InnoDB;
         INSERT INTO accounts SELECT seq, {BALANCE} FROM seq_1_to_{ACCOUNTS};
         CREATE TABLE journal (id BIGINT, payer INT, payee INT) ENGINE=InnoDB"
    ));
    let proxy = Proxy::start(("127.0.0.1", server.port()));
    // One that is patient, and one that leaves statements unanswered all the time.
    let pools = [
        pool(server.url_at(proxy.port()), 1000 * MS),
        pool(server.url_at(proxy.port()), 4 * MS),
    ];
    let (ends, next) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicI64::new(0)),
    );
    let (known, counts) = (
        Arc::new(Mutex::new(HashMap::new())),
        Arc::new(Counts::default()),
    );
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let pool = pools[usize::from(task % 4 == 3)].clone();
            let (ends, next) = (Arc::clone(&ends), Arc::clone(&next));
            let (known, counts) = (Arc::clone(&known), Arc::clone(&counts));
            let mut random = fastrand::Rng::with_seed(seed ^ (task + 1));
            tokio::spawn(async move {
                while !ends.load(Relaxed) {
                    let id = next.fetch_add(1, Relaxed);
                    let from = random.i32(1..=ACCOUNTS);
                    let to = (from + random.i32(1..ACCOUNTS) - 1) % ACCOUNTS + 1;
                    let locks = random.bool();
                    let level = if locks {
                        IsolationLevel::ReadCommitted
                    } else {
                        IsolationLevel::Serializable
                    };
                    let plan = pool.build_transaction().isolation_level(level);
                    let call = plan.run(|tx| transfer(tx, id, from, to, locks));
                    let done = match random.u32(..10) {
                        0 | 1 => dropped_after(random.u32(..24), call).await,
                        2 => timeout(random.u32(1..12) * MS, call).await.ok(),
                        _ => Some(timeout(SOON, call).await.expect("a call ends")),
                    };
                    let outcome = match done {
                        Some(Ok(())) => Outcome::Acknowledged,
                        Some(Err(error)) => {
                            counts
                                .timed_out
                                .fetch_add(u64::from(error.is_timeout()), Relaxed);
                            counts
                                .lost
                                .fetch_add(u64::from(error.is_disconnected()), Relaxed);
                            // So that nobody spins while the server is away.
                            sleep(5 * MS).await;
                            if error.may_have_happened() {
                                Outcome::Unknown
                            } else {
                                Outcome::NotHappened
                            }
                        }
                        None => {
                            counts.dropped.fetch_add(1, Relaxed);
                            Outcome::Unknown
                        }
                    };
                    known.lock().unwrap().insert(id, outcome);
                }
            })
        })
        .collect();

    let (mut ended, mut cancelled, mut restarts, mut faults) = (0, 0, 0, 0);
    // The one that disturbs has a way of its own to the server.
    let admin = Pool::builder()
        .url(server.url())
        .max_size(1)
        .build()
        .unwrap();
    for n in 0..DISTURBANCES {
        sleep(random.u32(1..20) * MS).await;
        match random.u32(..10) {
            0..=2 => ended += end_any(&admin, "KILL").await,
            3..=5 => cancelled += end_any(&admin, "KILL QUERY").await,
            6 => proxy.cut(),
            7 => proxy.reset(),
            8 => {
                proxy.stall();
                sleep(random.u32(1..10) * MS).await;
                proxy.resume();
            }
            _ => {
                proxy.half_open(if random.bool() {
                    Side::Client
                } else {
                    Side::Server
                });
                sleep(random.u32(1..10) * MS).await;
                proxy.cut();
            }
        }
        faults += 1;
        if n % (DISTURBANCES / RESTARTS) == DISTURBANCES / RESTARTS / 2 {
            if random.bool() {
                server.kill();
            }
            server.restart();
            restarts += 1;
        }
    }
    ends.store(true, Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    drop(admin);
    // Whole again.
    for pool in &pools {
        let begin = Instant::now();
        loop {
            let all = futures_util::future::join_all((0..4).map(|_| pool.get())).await;
            if all.iter().all(Result::is_ok) {
                break;
            }
            assert!(begin.elapsed() < SOON, "{:?}", pool.status());
            drop(all);
            sleep(MS).await;
        }
    }
    let count = "SELECT count(*) FROM information_schema.processlist WHERE command <> 'Daemon' AND id <> CONNECTION_ID()";
    let at_most = async |most: u32| {
        let begin = Instant::now();
        while server.sql(count).parse::<u32>().unwrap() > most {
            assert!(begin.elapsed() < SOON, "{} connections", server.sql(count));
            sleep(10 * MS).await;
        }
    };
    at_most(8).await;
    for pool in &pools {
        assert!(pool.drain(SOON).await.is_complete(), "{:?}", pool.status());
    }
    at_most(0).await;

    let known = known.lock().unwrap();
    let rows = server.sql("SELECT id, count(*) FROM journal GROUP BY id");
    let journal: HashMap<i64, u32> = rows
        .lines()
        .map(|line| line.split_once('|').unwrap())
        .map(|(id, count)| (id.parse().unwrap(), count.parse().unwrap()))
        .collect();
    let has = |outcome| known.values().filter(move |it| **it == outcome).count();
    let unknown_happened = known
        .iter()
        .filter(|(id, it)| **it == Outcome::Unknown && journal.contains_key(id))
        .count();
    println!(
        "{} transfers: {} acknowledged, {} failed, {} of unknown outcome ({unknown_happened} of them happened); {faults} faults of the \
         network and the server ({ended} sessions ended, {cancelled} statements cancelled), {restarts} restarts, {counts:?}",
        known.len(),
        has(Outcome::Acknowledged),
        has(Outcome::NotHappened),
        has(Outcome::Unknown),
    );
    for (id, count) in &journal {
        assert_eq!(*count, 1, "transfer {id} has happened more than once");
        assert!(known.contains_key(id), "nobody has asked for transfer {id}");
    }
    for (id, outcome) in known.iter() {
        match outcome {
            Outcome::Acknowledged => assert!(journal.contains_key(id), "transfer {id} is lost"),
            Outcome::NotHappened => {
                assert!(!journal.contains_key(id), "transfer {id} has happened");
            }
            Outcome::Unknown => {}
        }
    }
    let total = i64::from(ACCOUNTS) * BALANCE;
    assert_eq!(
        server.sql("SELECT sum(balance) FROM accounts"),
        total.to_string()
    );
    let wrong = format!(
        "SELECT count(*) FROM accounts WHERE balance <> {BALANCE} + (SELECT count(*) FROM journal WHERE payee = accounts.id)
            - (SELECT count(*) FROM journal WHERE payer = accounts.id)"
    );
    assert_eq!(
        server.sql(&wrong),
        "0",
        "accounts that are not as the journal says"
    );
    let disturbances = faults + restarts + u32::try_from(counts.dropped.load(Relaxed)).unwrap();
    assert!(disturbances > DISTURBANCES, "{disturbances}");
    assert!(has(Outcome::Acknowledged) > 50, "{known:?}");
}

//! Transfers between accounts under cancels, panics and errors: the total never changes, nothing that was acknowledged is lost, and
//! nothing is applied twice.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use pool_db::{
    Error,
    sqlite::{
        Pool,
        rusqlite::{Connection, TransactionBehavior},
    },
};

const ACCOUNTS: i64 = 8;
const EACH: i64 = 1_000;
const TASKS: i64 = 8;
/// Transfers a task. About two of five are disturbed.
const TRANSFERS: i64 = 320;

/// A sequence of numbers that look random (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as i64
    }
}

#[derive(Clone, Copy)]
struct Transfer {
    id: i64,
    from: i64,
    to: i64,
    amount: i64,
    /// Fails after so many statements.
    fails: Option<(i64, bool)>,
}

impl Transfer {
    fn apply(self, db: &Connection) -> Result<(), Error> {
        let step = |number| match self.fails {
            Some((at, true)) if at == number => panic!("as planned"),
            Some((at, false)) if at == number => Err(Error::other("as planned")),
            _ => Ok(()),
        };
        step(0)?;
        db.execute(
            "UPDATE accounts SET balance = balance - ?1 WHERE id = ?2",
            (self.amount, self.from),
        )?;
        step(1)?;
        db.execute(
            "UPDATE accounts SET balance = balance + ?1 WHERE id = ?2",
            (self.amount, self.to),
        )?;
        step(2)?;
        db.execute(
            "INSERT INTO journal (id, source, target, amount) VALUES (?1, ?2, ?3, ?4)",
            (self.id, self.from, self.to, self.amount),
        )?;
        step(3)
    }

    async fn by_write(self, pool: &Pool) -> Result<(), Error> {
        pool.call_write(move |tx| self.apply(tx)).await
    }

    async fn by_run(self, pool: &Pool) -> Result<(), Error> {
        pool.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            self.apply(&tx)?;
            Ok(tx.commit()?)
        })
        .await
    }
}

/// Polls `work` at most `polls` times, and then drops it.
async fn given_up_after<T>(polls: i64, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match work.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            // The last poll is not waited for.
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn disturb(group_commit: Option<usize>, seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let pool = Pool::builder()
        .path(folder.path().join("ledger.db"))
        .max_size(3)
        .group_commit(group_commit)
        .busy_timeout(Duration::from_secs(60))
        .build()
        .unwrap();
    pool.write(|tx| {
        tx.execute_batch(
            "CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
             CREATE TABLE journal (place INTEGER PRIMARY KEY, id INTEGER, source INTEGER, target INTEGER, amount INTEGER);",
        )?;
        for id in 0..ACCOUNTS {
            tx.execute("INSERT INTO accounts VALUES (?1, ?2)", (id, EACH))?;
        }
        Ok(())
    })
    .await
    .unwrap();

    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let refused = Arc::new(Mutex::new(Vec::new()));
    let disturbances = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (pool, acknowledged, refused) =
                (pool.clone(), acknowledged.clone(), refused.clone());
            let disturbances = disturbances.clone();
            tokio::spawn(async move {
                let mut random = Random(seed + 7_919 * (task as u64 + 1));
                for n in 0..TRANSFERS {
                    let from = random.below(ACCOUNTS);
                    let mut transfer = Transfer {
                        id: task * TRANSFERS + n,
                        from,
                        to: (from + 1 + random.below(ACCOUNTS - 1)) % ACCOUNTS,
                        amount: 1 + random.below(50),
                        fails: None,
                    };
                    let kind = random.below(10);
                    if kind < 2 {
                        transfer.fails = Some((random.below(4), kind == 0));
                    }
                    let polls = if kind == 2 || kind == 3 {
                        1 + random.below(4)
                    } else {
                        i64::MAX
                    };
                    if kind < 4 {
                        disturbances.fetch_add(1, Ordering::Relaxed);
                    }
                    let result = if random.below(4) == 0 {
                        given_up_after(polls, transfer.by_run(&pool)).await
                    } else {
                        given_up_after(polls, transfer.by_write(&pool)).await
                    };
                    match result {
                        Some(Ok(())) => acknowledged.lock().unwrap().push(transfer.id),
                        Some(Err(error)) => {
                            assert!(transfer.fails.is_some(), "{error}");
                            assert!(error.to_string().contains("as planned"), "{error}");
                            refused.lock().unwrap().push(transfer.id);
                        }
                        // Nobody knows.
                        None => {}
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(pool.drain(Duration::from_secs(60)).await.is_complete());

    let db = Connection::open(folder.path().join("ledger.db")).unwrap();
    let mut balances: BTreeMap<i64, i64> = (0..ACCOUNTS).map(|id| (id, EACH)).collect();
    let mut journal = Vec::new();
    let mut statement = db
        .prepare("SELECT id, source, target, amount FROM journal")
        .unwrap();
    let mut rows = statement.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let amount: i64 = row.get(3).unwrap();
        *balances.get_mut(&row.get(1).unwrap()).unwrap() -= amount;
        *balances.get_mut(&row.get(2).unwrap()).unwrap() += amount;
        journal.push(row.get::<_, i64>(0).unwrap());
    }
    for (id, balance) in &balances {
        let is: i64 = db
            .query_row("SELECT balance FROM accounts WHERE id = ?1", [id], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(is, *balance, "account {id} has what the journal says");
    }
    assert_eq!(balances.values().sum::<i64>(), EACH * ACCOUNTS);
    journal.sort_unstable();
    assert!(journal.is_sorted_by(|a, b| a < b), "nothing is there twice");
    for id in &*acknowledged.lock().unwrap() {
        assert!(
            journal.binary_search(id).is_ok(),
            "{id} was acknowledged and is lost"
        );
    }
    for id in &*refused.lock().unwrap() {
        assert!(
            journal.binary_search(id).is_err(),
            "{id} was refused and is there"
        );
    }
    let (acknowledged, disturbances) = (
        acknowledged.lock().unwrap().len(),
        disturbances.load(Ordering::Relaxed),
    );
    println!(
        "{} transfers, {disturbances} disturbed, {acknowledged} acknowledged, {} in the journal",
        TASKS * TRANSFERS,
        journal.len()
    );
    assert!(disturbances >= 800 && acknowledged >= 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_is_right_after_a_thousand_disturbances() {
    disturb(None, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_is_right_after_a_thousand_disturbances_of_groups() {
    disturb(Some(16), 2).await;
}

#[tokio::test]
async fn the_ledger_is_right_on_one_thread() {
    disturb(Some(4), 3).await;
}

//! What a user does to each new SQLite connection.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)]

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use pool_db::{
    Error,
    sqlite::{
        Pool, Reset,
        rusqlite::{self, functions::FunctionFlags},
    },
};

const TWICE: &str = "SELECT twice(21)";

fn twice(sqlite: &mut rusqlite::Connection) -> rusqlite::Result<()> {
    sqlite.create_scalar_function("twice", 1, FunctionFlags::SQLITE_UTF8, |context| {
        Ok(2 * context.get::<i64>(0)?)
    })
}

fn ask(sqlite: &rusqlite::Connection) -> rusqlite::Result<i64> {
    sqlite.query_row(TWICE, [], |row| row.get(0))
}

#[tokio::test]
async fn it_runs_on_every_connection_the_writers_too_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    for reset in [Reset::Seen, Reset::Always, Reset::Nothing] {
        let runs = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&runs);
        let pool = Pool::builder()
            .path(folder.path().join(format!("{reset:?}.db")))
            .max_size(2)
            .reset(reset)
            .on_open(move |sqlite| {
                counted.fetch_add(1, Relaxed);
                sqlite.pragma_update(None, "cache_size", -123)?;
                sqlite.progress_handler(1, None::<fn() -> bool>)?;
                twice(sqlite)
            })
            .build()
            .unwrap();
        let (mut one, mut two) = (pool.get().await.unwrap(), pool.get().await.unwrap());
        for connection in [&mut one, &mut two] {
            assert_eq!(connection.run(|sqlite| ask(sqlite)).await.unwrap(), 42);
        }
        drop((one, two));
        assert_eq!(pool.write(|tx| ask(tx)).await.unwrap(), 42);
        // What a caller leaves is undone; what the closure has set is not.
        let leave =
            |sqlite: &mut rusqlite::Connection| sqlite.pragma_update(None, "user_version", 1);
        pool.run(leave).await.unwrap();
        let kept = pool.run(|sqlite| {
            Ok((
                ask(sqlite)?,
                sqlite.pragma_query_value(None, "cache_size", |row| row.get::<_, i64>(0))?,
            ))
        });
        assert_eq!(kept.await.unwrap(), (42, -123), "{reset:?}");
        assert_eq!(runs.load(Relaxed), 3, "{reset:?}");
    }
}

#[tokio::test]
async fn a_call_is_stopped_though_the_closure_has_set_a_handler_of_its_own() {
    let pool = Pool::builder()
        .memory()
        .max_size(1)
        .on_open(|sqlite| sqlite.progress_handler(1, None::<fn() -> bool>))
        .build()
        .unwrap();
    let endless =
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT count(*) FROM n";
    let call = pool.run(|sqlite| sqlite.query_row(endless, [], |row| row.get::<_, i64>(0)));
    let limit = std::time::Duration::from_millis(100);
    tokio::time::timeout(limit, call).await.unwrap_err();
    pool.run(|sqlite| sqlite.query_row("SELECT 1", [], |row| row.get::<_, i64>(0)))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_goes_wrong_in_it_is_a_failed_open_that_says_so() {
    type Fails = fn(&mut rusqlite::Connection) -> rusqlite::Result<()>;
    let cases: [(Fails, &str); 3] = [
        (
            |sqlite| sqlite.execute_batch("SELECT * FROM nowhere"),
            "no such table: nowhere",
        ),
        (
            |sqlite| sqlite.execute_batch("BEGIN"),
            "on_open has left a transaction open",
        ),
        (|_| panic!("broken on purpose"), "broken on purpose"),
    ];
    for (fails, says) in cases {
        let pool = Pool::builder().memory().on_open(fails).build().unwrap();
        let errors: [Error; 2] = [
            pool.get().await.unwrap_err(),
            pool.write(|_| Ok(())).await.unwrap_err(),
        ];
        for error in errors {
            assert!(error.is_connect(), "{error}");
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}

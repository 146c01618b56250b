//! Reads and writes of SQLite on a paused clock, with the largest settings, and on a runtime that nobody drives any more.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)]

use std::{thread::sleep, time::Duration};

use pool_db::{Error, sqlite::Pool};
use tokio::runtime::{Builder, Runtime};

const MS: Duration = Duration::from_millis(1);

async fn write_and_read(pool: &Pool) -> Result<i64, Error> {
    pool.write(|tx| {
        sleep(2 * MS);
        tx.execute_batch("CREATE TABLE IF NOT EXISTS t (n); INSERT INTO t VALUES (1)")
    })
    .await?;
    pool.read(|sqlite| {
        sleep(2 * MS);
        sqlite.query_row("SELECT count(*) FROM t", [], |row| row.get(0))
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_does_not_run_away_from_reads_and_writes() {
    let folder = tempfile::tempdir().unwrap();
    for (name, is_large) in [("default.db", false), ("large.db", true)] {
        let mut builder = Pool::builder().path(folder.path().join(name)).max_size(2);
        if is_large {
            builder = builder
                .group_commit(usize::MAX)
                .statement_cache(usize::MAX)
                .optimize_every(Duration::MAX)
                .query_timeout(Duration::MAX)
                .acquire_timeout(Duration::MAX);
        }
        let pool = builder.build().unwrap();
        for n in 1..=40 {
            assert_eq!(write_and_read(&pool).await.unwrap(), n, "{name}");
        }
        pool.backup(folder.path().join(format!("{name}.copy")))
            .await
            .unwrap();
    }
}

#[test]
fn the_connections_of_a_runtime_that_stands_still_serve_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let pool = Pool::builder()
        .path(folder.path().join("app.db"))
        .max_size(1)
        .build()
        .unwrap();
    let runtime = || -> Runtime { Builder::new_current_thread().enable_all().build().unwrap() };
    let (opens, goes_on) = (runtime(), runtime());
    assert_eq!(opens.block_on(write_and_read(&pool)).unwrap(), 1);
    // Beyond `check_after`, so that what a timer would have done is due.
    sleep(700 * MS);
    for n in 2..=50 {
        assert_eq!(goes_on.block_on(write_and_read(&pool)).unwrap(), n);
    }
    drop(opens);
    assert_eq!(goes_on.block_on(write_and_read(&pool)).unwrap(), 51);
}

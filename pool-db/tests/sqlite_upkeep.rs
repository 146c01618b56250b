//! Backups, streams of rows, and the statistics of the query planner.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use pool_db::{
    Error,
    sqlite::{
        Pool,
        rusqlite::{Connection, ffi},
    },
};
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_secs(10);
const MS: Duration = Duration::from_millis(1);
const COUNT: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ?1) SELECT i FROM n";

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Waits until no connection is leased.
async fn until_idle(pool: &Pool) {
    let begin = Instant::now();
    while pool.status().leased > 0 {
        assert!(begin.elapsed() < SOON, "{:?}", pool.status());
        sleep(MS).await;
    }
}

async fn filled(pool: &Pool, rows: i64) {
    pool.write(move |tx| {
        tx.execute_batch("CREATE TABLE t (n INTEGER, pad)")?;
        let fill = format!("INSERT INTO t SELECT i, zeroblob(500) FROM ({COUNT})");
        tx.execute(&fill, [rows])
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_backup_has_the_state_of_one_moment_while_others_write() {
    let folder = tempfile::tempdir().unwrap();
    for mode in ["wal", "delete"] {
        let copies = tempfile::tempdir().unwrap();
        let copy = copies.path().join("copy.db");
        fs::write(&copy, "something that was there before").unwrap();
        let path = folder.path().join(mode);
        let pool = Pool::builder()
            .path(path)
            .pragma("journal_mode", mode)
            .max_size(2)
            .build()
            .unwrap();
        filled(&pool, 4_000).await;
        let writes = tokio::spawn({
            let pool = pool.clone();
            async move {
                for n in 0..50 {
                    // Always two together.
                    let pair =
                        format!("INSERT INTO t VALUES ({n}, 1); INSERT INTO t VALUES ({n}, 2)");
                    pool.write(move |tx| tx.execute_batch(&pair)).await.unwrap();
                    sleep(MS).await;
                }
            }
        });
        pool.backup(&copy).await.unwrap();
        writes.await.unwrap();
        assert_eq!(files(copies.path()), ["copy.db"]);
        let copy = Connection::open(&copy).unwrap();
        let rows: i64 = copy
            .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            .unwrap();
        assert!((4_000..=4_100).contains(&rows) && rows % 2 == 0, "{rows}");
        let sound: String = copy
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(sound, "ok");
        until_idle(&pool).await;
        assert_eq!(pool.status().opened, u64::from(pool.status().open));
    }
}

#[tokio::test]
async fn a_backup_is_complete_or_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let pool = Pool::builder().path(&path).max_size(1).build().unwrap();
    filled(&pool, 20_000).await;
    let copies = tempfile::tempdir().unwrap();
    let copy = copies.path().join("copy.db");
    for wait in [0, 1, 2, 4] {
        let begun = timeout(wait * MS, pool.backup(&copy)).await;
        until_idle(&pool).await;
        let expected: &[&str] = if copy.exists() { &["copy.db"] } else { &[] };
        assert_eq!(files(copies.path()), expected);
        if copy.exists() {
            Connection::open(&copy)
                .unwrap()
                .query_row("SELECT count(*) FROM t", [], |row| {
                    assert_eq!(row.get::<_, i64>(0)?, 20_000);
                    Ok(())
                })
                .unwrap();
            fs::remove_file(&copy).unwrap();
        } else {
            assert!(begun.is_err());
        }
    }
    let error = pool
        .backup(folder.path().join("./app.db"))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("it is the database itself"),
        "{error}"
    );
    let error = pool
        .backup(folder.path().join("nowhere").join("a.db"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("cannot back up to"), "{error}");
    let error = pool.backup(folder.path().join("..")).await.unwrap_err();
    assert!(error.to_string().contains("names no file"), "{error}");
    let rows =
        pool.read(|db| db.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)));
    assert_eq!(rows.await.unwrap(), 20_000);
    assert_eq!(pool.status().opened, 1);
}

#[tokio::test]
async fn a_database_in_memory_can_be_kept() {
    let folder = tempfile::tempdir().unwrap();
    let pool = Pool::builder().memory().build().unwrap();
    filled(&pool, 100).await;
    let copy = folder.path().join("copy.db");
    pool.backup(&copy).await.unwrap();
    let pool = Pool::builder().path(copy).build().unwrap();
    let rows =
        pool.read(|db| db.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)));
    assert_eq!(rows.await.unwrap(), 100);
}

#[tokio::test]
async fn a_stream_has_all_rows_in_order_and_ends() {
    let pool = Pool::builder().memory().max_size(1).build().unwrap();
    for rows in [0, 1, 2, 3, 63, 64, 65, 10_000] {
        let mut stream = pool.read_stream(COUNT, [rows], |row| row.get::<_, i64>(0));
        let mut next = 1;
        while let Some(n) = stream.next().await {
            if rows > 0 {
                assert_eq!(n.unwrap(), next);
            }
            next += 1;
        }
        // `LIMIT 0` ends before the first row.
        assert_eq!(next - 1, rows);
        assert!(stream.next().await.is_none(), "and stays at its end");
        until_idle(&pool).await;
    }
}

#[tokio::test]
async fn a_slow_consumer_holds_the_cursor_back_and_a_drop_frees_the_connection() {
    let pool = Pool::builder()
        .memory()
        .max_size(1)
        .query_timeout(20 * MS)
        .build()
        .unwrap();
    let read = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&read);
    let mut stream = pool.read_stream(COUNT, [i64::MAX], move |row| {
        counts.fetch_add(1, Ordering::Relaxed);
        row.get::<_, i64>(0)
    });
    for n in 1..=1_000 {
        assert_eq!(stream.next().await.unwrap().unwrap(), n);
    }
    // Longer than `query_timeout`.
    sleep(100 * MS).await;
    let ahead = read.load(Ordering::Relaxed) - 1_000;
    assert!(ahead <= 4 * 64, "{ahead} rows are held");
    assert_eq!(stream.next().await.unwrap().unwrap(), 1_001);
    assert_eq!(pool.status().leased, 1);
    drop(stream);
    until_idle(&pool).await;
    assert_eq!(pool.status().opened, 1);
}

#[tokio::test]
async fn a_stream_tells_of_its_error_after_the_rows_before_it() {
    let pool = Pool::builder().memory().max_size(1).build().unwrap();
    async fn ends(mut stream: pool_db::sqlite::Rows<i64>) -> (i64, Error) {
        let mut rows = 0;
        loop {
            match stream.next().await.unwrap() {
                Ok(_) => rows += 1,
                Err(error) => {
                    assert!(stream.next().await.is_none());
                    return (rows, error);
                }
            }
        }
    }
    let overflows = "SELECT 1 UNION ALL SELECT abs(-9223372036854775808)";
    let (rows, error) = ends(pool.read_stream(overflows, [], |row| row.get(0))).await;
    assert!(rows == 1 && error.is_database(), "{rows}: {error}");
    let (rows, error) = ends(pool.read_stream(COUNT, [9], |row| match row.get(0)? {
        5 => panic!("as planned"),
        n => Ok(n),
    }))
    .await;
    assert!(rows <= 4 && error.is_panic(), "{rows}: {error}");
    let (_, error) = ends(pool.read_stream("SELECT", [], |row| row.get(0))).await;
    assert!(error.is_database(), "{error}");
    let (_, error) = ends(pool.read_stream("CREATE TABLE x (n)", [], |row| row.get(0))).await;
    assert_eq!(
        error.as_sqlite_code(),
        Some(ffi::SQLITE_READONLY),
        "{error}"
    );
    pool.close();
    let (rows, error) = ends(pool.read_stream(COUNT, [9], |row| row.get(0))).await;
    assert!(rows == 0 && error.is_closed(), "{error}");
}

#[tokio::test]
async fn the_planner_has_statistics_unless_they_are_off() {
    for (every, on_return, at_the_end) in [
        (None, 0, 0),
        (Some(Duration::from_secs(3600)), 0, 1),
        (Some(Duration::from_nanos(1)), 1, 1),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let pool = Pool::builder()
            .path(&path)
            .optimize_every(every)
            .max_size(1)
            .build()
            .unwrap();
        pool.run(|db| {
            db.execute_batch("CREATE TABLE t (n INTEGER, m); CREATE INDEX by_n ON t (n)")?;
            db.execute(
                &format!("INSERT INTO t SELECT i, 1 FROM ({COUNT})"),
                [1_000],
            )?;
            db.query_row("SELECT count(*) FROM t WHERE n = 7 AND m = 1", [], |_| {
                Ok(())
            })
        })
        .await
        .unwrap();
        let statistics = "SELECT count(*) FROM sqlite_schema WHERE name = 'sqlite_stat1'";
        let have = |db: &Connection| db.query_row(statistics, [], |row| row.get::<_, i64>(0));
        assert_eq!(
            pool.run(move |db| have(db)).await.unwrap(),
            on_return,
            "{every:?}"
        );
        assert!(pool.drain(SOON).await.is_complete());
        assert_eq!(
            have(&Connection::open(&path).unwrap()).unwrap(),
            at_the_end,
            "{every:?}"
        );
    }
}

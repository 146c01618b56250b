//! What goes wrong with a SQLite database: locks, files that vanish, full disks, values that are too large.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)]

use std::{
    error::Error as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use pool_db::{
    Error,
    sqlite::{
        Builder, Pool,
        rusqlite::{Connection, TransactionBehavior, ffi},
    },
};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_secs(10);
const MS: Duration = Duration::from_millis(1);
/// A statement that runs until it is stopped.
const ENDLESS: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

/// A file with one table `t (n)`, and a builder of pools on it.
async fn database() -> (TempDir, Builder) {
    let folder = tempfile::tempdir().unwrap();
    let builder = Pool::builder().path(folder.path().join("test.db"));
    let pool = builder.clone().build().unwrap();
    pool.run(|sqlite| sqlite.execute_batch("CREATE TABLE t (n)"))
        .await
        .unwrap();
    assert!(pool.drain(SOON).await.is_complete());
    (folder, builder)
}

async fn count(pool: &Pool) -> Result<i64, Error> {
    pool.run(|sqlite| sqlite.query_row("SELECT count(*) FROM t", [], |row| row.get(0)))
        .await
}

async fn insert(pool: &Pool) -> Result<usize, Error> {
    pool.run(|sqlite| sqlite.execute("INSERT INTO t VALUES (1)", []))
        .await
}

/// Another process, as far as SQLite's locks tell.
fn lock(path: &Path) -> Connection {
    let other = Connection::open(path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    other
}

// Found in use: a closure that brought its own progress handler could not be stopped, nor could the callers after it.
#[tokio::test]
async fn a_call_is_stopped_whatever_handlers_earlier_closures_have_set() {
    let (_folder, builder) = database().await;
    let pool = builder.max_size(1).build().unwrap();
    for own in [None, Some(|| false)] {
        let mut connection = pool.get().await.unwrap();
        connection
            .run(move |sqlite| {
                sqlite.progress_handler(1000, own)?;
                sqlite.busy_handler(None)
            })
            .await
            .unwrap();
        let endless = connection.run(|sqlite| sqlite.query_row(ENDLESS, [], |_| Ok(())));
        assert!(timeout(20 * MS, endless).await.is_err());
        drop(connection);
        pool.get().timeout(SOON).await.unwrap();
    }
    assert_eq!(pool.status().opened, 1);
}

#[tokio::test]
async fn a_call_that_is_dropped_while_it_waits_for_a_lock_frees_its_place() {
    let (folder, builder) = database().await;
    let other = lock(&folder.path().join("test.db"));
    // Longer than the test waits for anything.
    let pool = builder
        .max_size(1)
        .busy_timeout(1000 * SOON)
        .build()
        .unwrap();
    for _ in 0..3 {
        assert!(timeout(50 * MS, insert(&pool)).await.is_err());
        let mut connection = pool.get().timeout(SOON).await.unwrap();
        connection.run(|_| Ok(())).await.unwrap();
    }
    assert_eq!(pool.status().opened, 1);
    let waits = tokio::spawn({
        let pool = pool.clone();
        async move { insert(&pool).await }
    });
    sleep(50 * MS).await;
    drop(other);
    waits.await.unwrap().unwrap();
    assert_eq!(count(&pool).await.unwrap(), 1);
}

#[tokio::test]
async fn busy_timeout_bounds_the_wait_for_a_lock_and_the_error_says_what_to_do() {
    let (folder, builder) = database().await;
    let other = lock(&folder.path().join("test.db"));
    let pool = builder.clone().busy_timeout(200 * MS).build().unwrap();
    let begin = Instant::now();
    let error = insert(&pool).await.unwrap_err();
    assert!(begin.elapsed() >= 200 * MS, "{:?}", begin.elapsed());
    assert_eq!(error.as_sqlite_code(), Some(ffi::SQLITE_BUSY));
    let text = error.to_string();
    assert!(
        text.contains("SQLITE_BUSY, 5") && text.contains("busy_timeout"),
        "{text}"
    );
    // A closure may wait as long as it likes.
    let own = pool.run(|sqlite| {
        sqlite.busy_timeout(Duration::ZERO)?;
        sqlite.execute("INSERT INTO t VALUES (1)", [])
    });
    assert_eq!(
        own.await.unwrap_err().as_sqlite_code(),
        Some(ffi::SQLITE_BUSY)
    );
    let begin = Instant::now();
    insert(&pool).await.unwrap_err();
    assert!(begin.elapsed() >= 200 * MS, "and the next waits again");
    drop(other);
    insert(&pool).await.unwrap();
}

#[tokio::test]
async fn a_snapshot_that_is_too_old_to_write_is_named() {
    let (_folder, builder) = database().await;
    let pool = builder.max_size(2).build().unwrap();
    let mut reader = pool.get().await.unwrap();
    reader
        .run(|sqlite| {
            sqlite.execute_batch("BEGIN")?;
            sqlite.query_row("SELECT count(*) FROM t", [], |_| Ok(()))
        })
        .await
        .unwrap();
    insert(&pool).await.unwrap();
    let error = reader
        .run(|sqlite| sqlite.execute("INSERT INTO t VALUES (2)", []))
        .await
        .unwrap_err();
    assert_eq!(error.as_sqlite_code(), Some(ffi::SQLITE_BUSY_SNAPSHOT));
    let text = error.to_string();
    assert!(
        text.contains("SQLITE_BUSY_SNAPSHOT, 517") && text.contains("BEGIN IMMEDIATE"),
        "{text}"
    );
    assert!(error.source().is_none(), "the text has all causes");
}

// UniClipboard PR 221: the first connections of a pool failed each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_does_not_fight_itself_at_its_start() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..20 {
        let pool = Pool::builder()
            .path(folder.path().join(format!("{n}.db")))
            .busy_timeout(Duration::ZERO)
            .max_size(8)
            .build()
            .unwrap();
        let first =
            (0..8).map(|_| pool.run(|db| db.query_row("SELECT 1", [], |row| row.get::<_, i64>(0))));
        for one in join_all(first).await {
            one.unwrap();
        }
        assert_eq!(pool.status().open_failures, 0);
    }
}

// The last connection that closes removes the write-ahead log, and excludes all others meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_may_open_while_the_last_one_closes() {
    let (_folder, builder) = database().await;
    let pool = builder
        .busy_timeout(Duration::ZERO)
        .max_size(2)
        .max_lifetime(15 * MS)
        .lifetime_jitter(0.0)
        .build()
        .unwrap();
    let begin = Instant::now();
    while begin.elapsed() < 1000 * MS {
        count(&pool).await.unwrap();
        sleep(3 * MS).await;
    }
    let status = pool.status();
    assert!(status.opened > 10, "{status:?}");
    assert_eq!(status.open_failures, 0, "{status:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_was_removed_is_an_error_and_not_an_empty_database() {
    let (folder, builder) = database().await;
    let path = folder.path().join("test.db");
    let pool = builder.max_size(2).build().unwrap();
    insert(&pool).await.unwrap();
    let mut first = pool.get().await.unwrap();
    first.run(|_| Ok(())).await.unwrap();
    let kept = folder.path().join("kept.db");
    fs::rename(&path, &kept).unwrap();

    // The first connection still has the file. It learns of it in time.
    let begin = Instant::now();
    let error = loop {
        match first
            .run(|sqlite| sqlite.execute("INSERT INTO t VALUES (2)", []))
            .await
        {
            Ok(_) => sleep(10 * MS).await,
            Err(error) => break error,
        }
        assert!(begin.elapsed() < SOON, "nobody looks at the file");
    };
    assert!(
        error.to_string().contains("the database file was removed"),
        "{error}"
    );
    assert_eq!(error.as_sqlite_code(), Some(ffi::SQLITE_READONLY_DBMOVED));
    // The second is not opened.
    let error = pool.get().timeout(300 * MS).await.unwrap_err();
    assert!(error.is_connect(), "{error}");
    assert!(
        error.to_string().contains("the database file was removed"),
        "{error}"
    );
    assert!(!path.exists(), "nobody has made an empty one");
    drop(first);
    assert!(insert(&pool).await.unwrap_err().is_connect());

    fs::rename(&kept, &path).unwrap();
    let begin = Instant::now();
    while insert(&pool).await.is_err() {
        assert!(begin.elapsed() < SOON, "the pool must be whole again");
        sleep(10 * MS).await;
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_was_replaced_is_not_mixed_with_the_one_before() {
    let (folder, builder) = database().await;
    let path = folder.path().join("test.db");
    let pool = builder
        .max_size(2)
        .check_after(Duration::ZERO)
        .build()
        .unwrap();
    insert(&pool).await.unwrap();
    let old = pool.get().await.unwrap();

    let new = folder.path().join("new.db");
    let other = Connection::open(&new).unwrap();
    other
        .execute_batch("CREATE TABLE t (n); INSERT INTO t VALUES (7), (8), (9)")
        .unwrap();
    other.close().unwrap();
    fs::rename(&new, &path).unwrap();
    // While a connection has the old file, no other opens the new one: both would share a log.
    let error = pool.get().timeout(300 * MS).await.unwrap_err();
    assert!(
        error.to_string().contains("was replaced by another"),
        "{error}"
    );
    drop(old);
    // The log of the old file would be applied to the new file.
    let begin = Instant::now();
    loop {
        let error = count(&pool).await.unwrap_err();
        if error.to_string().contains("remove the log") {
            break;
        }
        assert!(begin.elapsed() < SOON, "{error}");
        sleep(10 * MS).await;
    }
    for log in ["test.db-wal", "test.db-shm"] {
        fs::remove_file(folder.path().join(log)).unwrap();
    }
    let begin = Instant::now();
    let rows = loop {
        match count(&pool).await {
            Ok(rows) => break rows,
            Err(error) => assert!(begin.elapsed() < SOON, "{error}"),
        }
        sleep(10 * MS).await;
    };
    assert_eq!(rows, 3);
}

#[tokio::test]
async fn open_errors_say_a_thing_once() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("no such folder").join("a.db");
    let text_file = folder.path().join("text");
    fs::write(
        &text_file,
        "this is no database, but a text that is long enough for a header of one",
    )
    .unwrap();
    for (path, says) in [
        (missing.as_path(), "unable to open database file"),
        (folder.path(), "unable to open database file"),
        (text_file.as_path(), "file is not a database"),
    ] {
        let pool = Pool::builder().path(path).build().unwrap();
        let error = pool.get().timeout(SOON).await.unwrap_err();
        assert!(error.is_connect(), "{error}");
        let text = error.to_string();
        for once in [says, &path.display().to_string()] {
            assert_eq!(
                text.to_lowercase().matches(&once.to_lowercase()).count(),
                1,
                "{once}: {text}"
            );
        }
        assert!(error.source().is_none());
    }
}

#[tokio::test]
async fn a_full_database_refuses_writes_and_goes_on_reading() {
    let (_folder, builder) = database().await;
    let pool = builder.pragma("max_page_count", "20").build().unwrap();
    let error = pool
        .run(|sqlite| {
            loop {
                sqlite.execute("INSERT INTO t VALUES (zeroblob(2000))", [])?;
            }
            #[allow(unreachable_code)]
            Ok(())
        })
        .await
        .unwrap_err();
    assert_eq!(error.as_sqlite_code(), Some(ffi::SQLITE_FULL));
    assert!(error.to_string().contains("SQLITE_FULL, 13"), "{error}");
    assert!(count(&pool).await.unwrap() > 0);
    pool.run(|sqlite| sqlite.execute("DELETE FROM t", []))
        .await
        .unwrap();
    insert(&pool).await.unwrap();
    assert_eq!(pool.status().opened, 1);
}

#[tokio::test]
async fn values_that_are_too_large_or_have_a_nul_are_errors_and_cost_no_connection() {
    let (_folder, builder) = database().await;
    let pool = builder.max_size(1).build().unwrap();
    for size in ["1 << 30", "1 << 40"] {
        let sql = format!("INSERT INTO t VALUES (zeroblob({size}))");
        let error = pool
            .run(move |sqlite| sqlite.execute(&sql, []))
            .await
            .unwrap_err();
        assert_eq!(error.as_sqlite_code(), Some(ffi::SQLITE_TOOBIG), "{error}");
        assert!(error.to_string().contains("SQLITE_TOOBIG, 18"), "{error}");
    }
    let in_sql = pool.run(|sqlite| sqlite.execute("INSERT INTO t VALUES ('a\0b')", []));
    let error = in_sql.await.unwrap_err();
    assert!(!error.is_timeout(), "{error}");
    let kept: String = pool
        .run(|sqlite| {
            sqlite.execute("INSERT INTO t VALUES (?1)", ["a\0b"])?;
            sqlite.query_row("SELECT n FROM t", [], |row| row.get(0))
        })
        .await
        .unwrap();
    assert_eq!(kept, "a\0b");
    assert_eq!(pool.status().opened, 1);
}

#[tokio::test]
async fn a_database_may_be_locked_while_the_pool_opens_it() {
    let (folder, builder) = database().await;
    let path = folder.path().join("test.db");
    let other = Connection::open(&path).unwrap();
    other
        .execute_batch("PRAGMA journal_mode = delete; BEGIN EXCLUSIVE")
        .unwrap();
    let pool = builder.busy_timeout(Duration::ZERO).build().unwrap();
    let opens = tokio::spawn({
        let pool = pool.clone();
        async move { count(&pool).await }
    });
    sleep(100 * MS).await;
    assert!(!opens.is_finished());
    drop(other);
    assert_eq!(opens.await.unwrap().unwrap(), 0);
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_that_may_only_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt as _;

    let (folder, builder) = database().await;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    // The superuser may write anywhere.
    if fs::write(folder.path().join("probe"), "").is_err() {
        let error = builder
            .build()
            .unwrap()
            .get()
            .timeout(SOON)
            .await
            .unwrap_err();
        assert!(error.is_connect(), "{error}");
        assert!(
            error.to_string().contains("write into the folder"),
            "{error}"
        );
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn a_transaction_that_begins_immediate_waits_and_never_fails_as_too_old() {
    let (_folder, builder) = database().await;
    let pool = builder.max_size(4).build().unwrap();
    let writes = (0..40).map(|_| {
        pool.run(|sqlite| {
            let transaction = sqlite.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let n: i64 = transaction.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?;
            transaction.execute("INSERT INTO t VALUES (?1)", [n])?;
            transaction.commit()
        })
    });
    for write in join_all(writes).await {
        write.unwrap();
    }
    assert_eq!(count(&pool).await.unwrap(), 40);
}

//! Operations on SQLite.

use std::{sync::mpsc, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _, future::join_all};
use pool_db::{
    Error,
    sqlite::{Builder, Pool, rusqlite},
};
use tempfile::{TempDir, tempdir};
use tokio::time::sleep;
use tracing::{Instrument as _, info_span};

use super::{SECRET, give_up, told::Told};

fn file(folder: &TempDir) -> Builder {
    let path = folder.path().join("app.db");
    Pool::builder().path(path).name("db").max_size(2)
}

const FAILS: &str = "INSERT INTO t SELECT 'topsecret' FROM missing";

#[tokio::test]
async fn each_closure_is_reported_once_with_its_end() {
    let folder = tempdir().unwrap();
    let told = Told::default();
    let _on = told.start();
    let pool = file(&folder).build().unwrap();
    pool.run(|db| db.execute_batch("CREATE TABLE t (n UNIQUE); PRAGMA cache_size = -100"))
        .await
        .unwrap();
    pool.read(|db| db.query_row("SELECT 'topsecret'", [], |_| Ok(())))
        .await
        .unwrap();
    pool.write(|tx| tx.execute("INSERT INTO t VALUES (?1)", [SECRET]))
        .await
        .unwrap();
    pool.backup(folder.path().join("copy.db")).await.unwrap();
    assert_eq!(
        told.operations(),
        ["- - -", "read - -", "write - -", "- - -"],
        "neither what opens a connection, nor what cleans it"
    );
    pool.run(|db| db.execute(FAILS, [])).await.unwrap_err();
    pool.read(|db| db.execute("DELETE FROM t", []))
        .await
        .unwrap_err();
    pool.write(|tx| tx.execute("INSERT INTO t VALUES (?1)", [SECRET]))
        .await
        .unwrap_err();
    pool.read(|db| db.query_row("SELECT 1 WHERE false", [], |_| Ok(())))
        .await
        .unwrap_err();
    let own = pool.call(|_| Err::<(), Error>(Error::other(SECRET)));
    own.await.unwrap_err();
    let boxed =
        pool.call_write(|_| Err::<(), Box<dyn std::error::Error + Send + Sync>>(SECRET.into()));
    boxed.await.unwrap_err();
    pool.run(|_| -> rusqlite::Result<()> { panic!("topsecret") })
        .await
        .unwrap_err();
    assert_eq!(
        told.operations(),
        [
            "- 1 -",
            "read 8 -",
            "write 2067 -",
            "read no_rows -",
            "- other -",
            "write application -",
            "- panicked -",
        ],
        "the extended code, or the kind"
    );
}

#[tokio::test]
async fn reads_writes_and_streams_are_spans_of_their_callers() {
    let folder = tempdir().unwrap();
    let told = Told::default();
    let _on = told.start();
    let pool = file(&folder).build().unwrap();
    async {
        pool.write(|tx| tx.execute_batch("CREATE TABLE t (n)"))
            .await
            .unwrap();
        pool.read(|_| Ok(())).await.unwrap();
        let rows = pool.read_stream("SELECT 1 UNION SELECT 2", [], |_| Ok(()));
        assert_eq!(rows.count().await, 2);
    }
    .instrument(info_span!("request"))
    .await;
    let spans = told.spans();
    let of = |name| spans.iter().filter(move |span| span.name == name);
    for span in of("db.query").chain(of("pool.get")) {
        assert_eq!(span.parent.as_deref(), Some("request"), "{span:?}");
    }
    let labels = of("db.query").map(|span| {
        let of = |name: &str| &*span.fields[name];
        [
            of("pool.name"),
            of("db.system.name"),
            of("db.operation.name"),
        ]
    });
    assert_eq!(
        labels.collect::<Vec<_>>(),
        [
            ["db-writer", "sqlite", "write"],
            ["db", "sqlite", "read"],
            ["db", "sqlite", "read"],
        ]
    );
    assert_eq!(told.operations().len(), 3);
}

#[tokio::test]
async fn each_write_of_a_group_is_counted_once_by_its_own_end() {
    let folder = tempdir().unwrap();
    let told = Told::default();
    let _on = told.start();
    let pool = file(&folder).group_commit(64).build().unwrap();
    pool.write(|tx| tx.execute_batch("CREATE TABLE t (n)"))
        .await
        .unwrap();
    told.operations();
    let writes = (0..40).map(|n| {
        let sql = if n % 4 == 0 {
            FAILS
        } else {
            "INSERT INTO t VALUES (1)"
        };
        pool.write(move |tx| tx.execute(sql, []))
            .instrument(info_span!("writer"))
    });
    let failed = join_all(writes)
        .await
        .iter()
        .filter(|it| it.is_err())
        .count();
    assert_eq!(failed, 10);
    let parents: Vec<_> = told
        .spans()
        .into_iter()
        .filter(|span| span.name == "db.query")
        .map(|span| span.parent)
        .collect();
    assert_eq!(parents, vec![Some("writer".to_owned()); 40]);
    let mut told = told.operations();
    told.sort_unstable();
    let expected = [vec!["write - -"; 30], vec!["write 1 -"; 10]].concat();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_write_that_leaves_is_reported_only_if_its_turn_had_come() {
    let folder = tempdir().unwrap();
    let told = Told::default();
    let _on = told.start();
    let pool = file(&folder).build().unwrap();
    let (begun, begins) = mpsc::channel();
    let (go, goes) = mpsc::channel::<()>();
    let mut first = Box::pin(pool.write(move |_| {
        begun.send(()).unwrap();
        // It ends when the test lets go.
        let _ = goes.recv();
        Ok(())
    }));
    give_up_after(&mut first, || begins.try_recv().is_ok()).await;
    // It waits behind the first.
    give_up(pool.write(|tx| tx.execute(FAILS, [])));
    assert_eq!(
        told.spans()
            .iter()
            .filter(|it| it.name == "db.query")
            .count(),
        1
    );
    drop(first);
    assert_eq!(told.operations(), ["write cancelled -"]);
    drop(go);
    pool.write(|_| Ok(())).await.unwrap();
    assert_eq!(told.operations(), ["write - -"]);
}

/// Polls until it is so.
async fn give_up_after<F: Future + Unpin>(future: &mut F, is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::select! {
            biased;
            _ = &mut *future => panic!("it has ended"),
            () = sleep(Duration::from_millis(1)) => {}
        }
    }
}

#[tokio::test]
async fn calls_and_streams_that_are_dropped_are_cancelled() {
    let folder = tempdir().unwrap();
    let told = Told::default();
    let _on = told.start();
    let pool = file(&folder).build().unwrap();
    let mut connection = pool.get().await.unwrap();
    let other = pool.get().await.unwrap();
    give_up(pool.read(|_| Ok(())));
    assert_eq!(
        told.operations(),
        [""; 0],
        "the wait for a connection is no part"
    );
    give_up(connection.run(|_| Ok(())));
    drop((connection, other));
    assert_eq!(told.operations(), ["- cancelled -"]);
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
    let mut rows = pool.read_stream(sql, [], |row| row.get::<_, i64>(0));
    assert_eq!(rows.try_next().await.unwrap(), Some(1));
    drop(rows);
    assert_eq!(told.operations(), ["read cancelled -"]);
    let rows = pool.read_stream(FAILS, [], |_| Ok(()));
    rows.try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(told.operations(), ["read 1 -"]);
    drop(pool.read_stream(sql, [], |_| Ok(())));
    assert_eq!(told.operations(), [""; 0], "it was never polled");
}

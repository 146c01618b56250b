//! Rows of a database as NDJSON, in constant memory: a reader that is slow holds back the statement.

#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use pool_cpu::{
    CpuPool,
    json::{self, JsonError},
};
use pool_db::{postgres::Pool, sqlite};
use tests::postgres::Server;

fn workers() -> CpuPool {
    CpuPool::builder().threads(1).build().unwrap()
}

/// Each row takes a number of a sequence, so that the server tells how far the statement has come.
const ROWS: &str =
    "SELECT nextval('rows') AS id, repeat('x', 100) AS text FROM generate_series(1, $1)";

#[derive(serde::Serialize)]
struct Line {
    id: i64,
    text: String,
}

/// The workers, and the lines of so many rows.
async fn export(
    pool: &Pool,
    rows: i32,
) -> (
    CpuPool,
    impl Stream<Item = Result<Bytes, JsonError>> + use<>,
) {
    let rows = pool.stream(ROWS, &[&rows]).await.unwrap();
    let lines = rows.map_ok(|row| Line {
        id: row.get("id"),
        text: row.get("text"),
    });
    let workers = workers();
    let lines = json::try_lines(&workers, lines);
    (workers, lines)
}

#[tokio::test]
async fn rows_of_postgres_become_lines_and_all_of_them_come() {
    let server = Server::start();
    server.sql("CREATE SEQUENCE rows");
    let pool = Pool::builder()
        .url(server.url())
        .max_size(1)
        .build()
        .unwrap();
    let (_workers, body) = export(&pool, 100_000).await;
    let (mut lines, mut bytes) = (0, 0);
    let mut body = std::pin::pin!(body);
    while let Some(chunk) = body.try_next().await.unwrap() {
        assert!(chunk.len() < 66_000, "{}", chunk.len());
        bytes += chunk.len();
        lines += chunk.iter().filter(|byte| **byte == b'\n').count();
    }
    assert_eq!(lines, 100_000);
    assert!(bytes > 100_000 * 100);
    let row = pool.query_one("SELECT 1", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 1);
}

#[tokio::test]
async fn a_slow_reader_holds_the_statement_back_and_one_that_leaves_ends_it() {
    let server = Server::start();
    server.sql("CREATE SEQUENCE rows CACHE 1");
    let pool = Pool::builder()
        .url(server.url())
        .max_size(1)
        .build()
        .unwrap();
    let total = 20_000_000;
    let (_workers, body) = export(&pool, total).await;
    let mut body = Box::pin(body);
    for _ in 0..10 {
        body.next().await.unwrap().unwrap();
    }
    // The server goes on until the buffers of the two sockets are full, and then stops.
    let far = async || {
        let mut before = 0;
        loop {
            let now: i64 = server.sql("SELECT last_value FROM rows").parse().unwrap();
            if now == before {
                return now;
            }
            before = now;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    let stands = far().await;
    assert!(stands < i64::from(total) / 4, "{stands}");
    for _ in 0..2000 {
        body.next().await.unwrap().unwrap();
    }
    assert!(far().await > stands, "it goes on as it is read");
    drop(body);
    pool.query("SELECT 1", &[]).await.unwrap();
    assert!(far().await < i64::from(total), "the rest is not worked out");
}

#[tokio::test]
async fn rows_of_sqlite_become_lines_at_the_speed_of_their_reader() {
    let folder = tempfile::tempdir().unwrap();
    let pool = sqlite::Pool::builder()
        .path(folder.path().join("rows.db"))
        .max_size(2)
        .build()
        .unwrap();
    // As many rows as the numbers that SQLite counts while it reads.
    let counted = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&counted);
    let sql = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n LIMIT 1000000) SELECT id, 'text' FROM n";
    let rows = pool.read_stream(sql, [], move |row| {
        count.fetch_add(1, Relaxed);
        Ok(Line {
            id: row.get(0)?,
            text: row.get(1)?,
        })
    });
    let workers = workers();
    let mut body = Box::pin(json::try_lines(&workers, rows));
    body.next().await.unwrap().unwrap();
    let mut before = 0;
    while counted.load(Relaxed) != before {
        before = counted.load(Relaxed);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(before < 100_000, "{before} rows are ahead of the reader");
    let mut lines = 0;
    while let Some(chunk) = body.try_next().await.unwrap() {
        lines += chunk.iter().filter(|byte| **byte == b'\n').count();
    }
    assert!(lines > 990_000, "{lines}");
    assert_eq!(counted.load(Relaxed), 1_000_000);
    pool.read(|sqlite| sqlite.query_row("SELECT 1", [], |_| Ok(())))
        .await
        .unwrap();
}

//! Operations on a PostgreSQL server.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use pool_db::{
    Error,
    observe::MetricNames,
    postgres::{Builder, Pool, Shareable, Shared},
};
use tests::postgres::Server;
use tokio::time::{sleep, timeout};
use tracing::{Instrument as _, info_span, level_filters::LevelFilter};

use super::{SECRET, give_up, told::Told};

const PARAMETER: &str = "SELECT $1::text AS topsecret";
const FAILS: &str = "SELECT 'topsecret'::int";

fn server() -> Server {
    Server::builder().password(SECRET).start()
}

fn builder(server: &Server) -> Builder {
    Pool::builder().url(server.url()).name("db").max_size(1)
}

/// Waits until a connection was returned and cleaned.
async fn at_rest(pool: &Pool) {
    while pool.status().idle < pool.status().open {
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn each_operation_is_reported_once_with_its_end_and_its_rows() {
    let server = server();
    let told = Told::default();
    let _on = told.start();
    let pool = builder(&server).build().unwrap();
    pool.query(PARAMETER, &[&SECRET]).await.unwrap();
    assert_eq!(
        told.operations(),
        ["- - 1"],
        "and not what opens a connection"
    );
    pool.batch_execute("CREATE TABLE t (n int); SET application_name = 'topsecret'")
        .await
        .unwrap();
    at_rest(&pool).await;
    assert_eq!(told.operations(), ["- - -"], "and not what cleans it");
    pool.execute("INSERT INTO t VALUES (1), (2)", &[])
        .await
        .unwrap();
    assert!(
        pool.query_one("SELECT n FROM t", &[])
            .await
            .unwrap_err()
            .is_many_rows()
    );
    pool.query(FAILS, &[]).await.unwrap_err();
    pool.query(PARAMETER, &[&7]).await.unwrap_err();
    assert_eq!(
        told.operations(),
        ["- - 0", "- - 2", "- 22P02 -", "- driver -"],
        "the code, or the kind"
    );
    let client = pool.get().await.unwrap();
    client.prepare_cached("SELECT 1").await.unwrap();
    client.simple_query("SELECT 2").await.unwrap();
    drop(client);
    assert_eq!(told.operations(), ["PREPARE - -", "- - -"]);
}

#[tokio::test]
async fn an_operation_is_a_span_of_its_caller_beside_the_get() {
    let server = server();
    let told = Told::default();
    let _on = told.start();
    let pool = builder(&server).build().unwrap();
    async {
        pool.query("SELECT 1", &[]).await.unwrap();
        pool.stream("SELECT 1", &[]).await.unwrap().count().await;
    }
    .instrument(info_span!("request"))
    .await;
    let spans = told.spans();
    let of = |name| spans.iter().filter(move |span| span.name == name);
    assert_eq!(of("db.query").count(), 2);
    for span in of("db.query").chain(of("pool.get")) {
        assert_eq!(span.parent.as_deref(), Some("request"), "{span:?}");
        assert_eq!(span.fields["pool.name"], "db");
    }
    let system = of("db.query").map(|span| &*span.fields["db.system.name"]);
    assert_eq!(system.collect::<Vec<_>>(), ["postgresql"; 2]);
    let unit = told.unit("db.client.operation.duration");
    assert_eq!(unit, Some(metrics::Unit::Seconds));
}

#[tokio::test]
async fn transactions_are_reported_by_their_parts() {
    let server = server();
    let told = Told::default();
    let _on = told.start();
    let pool = builder(&server).build().unwrap();
    let mut client = pool.get().await.unwrap();
    let mut transaction = client.transaction().await.unwrap();
    let savepoint = transaction.transaction().await.unwrap();
    savepoint.commit().await.unwrap();
    transaction.commit().await.unwrap();
    let transaction = client.transaction().await.unwrap();
    transaction.rollback().await.unwrap();
    let transaction = client.transaction().await.unwrap();
    transaction.query(FAILS, &[]).await.unwrap_err();
    transaction.commit().await.unwrap_err();
    drop(client);
    assert_eq!(
        told.operations(),
        [
            "BEGIN - -",
            "SAVEPOINT - -",
            "RELEASE - -",
            "COMMIT - -",
            "BEGIN - -",
            "ROLLBACK - -",
            "BEGIN - -",
            "- 22P02 -",
            "COMMIT database -",
        ]
    );
    pool.transaction(|tx| async move {
        let undone = tx.savepoint(|tx| async move {
            tx.query(FAILS, &[]).await?;
            Ok::<_, Error>(())
        });
        undone.await.unwrap_err();
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
    let failed = pool.transaction(|_| async { Err::<(), _>(Error::other(SECRET)) });
    failed.await.unwrap_err();
    at_rest(&pool).await;
    assert_eq!(
        told.operations(),
        [
            "BEGIN - -",
            "SAVEPOINT - -",
            "- 22P02 -",
            "ROLLBACK - -",
            "COMMIT - -",
            "BEGIN - -",
        ],
        "nobody waits for the rollback of a transaction that is dropped"
    );
}

#[tokio::test]
async fn a_stream_and_a_copy_are_one_operation_until_their_end() {
    let server = server();
    let told = Told::default();
    let _on = told.start();
    let pool = builder(&server).build().unwrap();
    pool.batch_execute("CREATE TABLE t (n text)").await.unwrap();
    told.operations();
    let mut copy = pool.copy_in("COPY t FROM STDIN").await.unwrap();
    copy.send("topsecret\n").await.unwrap();
    assert_eq!(copy.finish().await.unwrap(), 1);
    let data = pool.copy_out("COPY t TO STDOUT").await.unwrap();
    assert_eq!(data.try_collect::<Vec<_>>().await.unwrap().len(), 1);
    let rows = pool
        .stream("SELECT n FROM t, generate_series(1, 300)", &[])
        .await;
    assert_eq!(rows.unwrap().count().await, 300);
    assert_eq!(told.operations(), ["COPY - -", "COPY - -", "- - 300"]);

    let rows = pool.stream("SELECT 1 / (100 - n) FROM generate_series(1, 200) n", &[]);
    rows.await
        .unwrap()
        .try_collect::<Vec<_>>()
        .await
        .unwrap_err();
    pool.stream("SELECT topsecret", &[]).await.unwrap_err();
    pool.copy_in("COPY topsecret FROM STDIN").await.unwrap_err();
    let mut rows = pool
        .stream("SELECT generate_series(1, 9)", &[])
        .await
        .unwrap();
    rows.next().await.unwrap().unwrap();
    drop(rows);
    drop(pool.copy_in("COPY t FROM STDIN").await.unwrap());
    at_rest(&pool).await;
    assert_eq!(
        told.operations(),
        [
            "- 22012 99",
            "- 42703 -",
            "COPY 42P01 -",
            "- cancelled 1",
            "COPY cancelled -",
        ]
    );
}

#[tokio::test]
async fn one_that_is_dropped_at_any_await_or_not_answered_is_reported_too() {
    let server = server();
    let told = Told::default();
    let _on = told.start();
    let pool = builder(&server).build().unwrap();
    let mut client = pool.get().await.unwrap();
    give_up(client.query("SELECT pg_sleep(9), 'topsecret'", &[]));
    client.cancel_abandoned().await.unwrap();
    assert_eq!(told.operations(), ["- cancelled -"]);
    // A future that was never polled has begun nothing.
    drop(client.query("SELECT 1", &[]));
    assert_eq!(told.operations(), [""; 0]);
    let soon = Duration::from_millis(20);
    let slow = client.query("SELECT pg_sleep(9)", &[]);
    timeout(soon, slow).await.unwrap_err();
    client.cancel_abandoned().await.unwrap();
    client.set_query_timeout(soon);
    client.query("SELECT pg_sleep(9)", &[]).await.unwrap_err();
    drop(client);
    assert_eq!(told.operations(), ["- cancelled -", "- timeout -"]);
    server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()");
    pool.query("SELECT 1", &[]).await.unwrap();
    let told = told.operations();
    assert_eq!(told.last().unwrap(), "- - 1", "{told:?}");
}

#[tokio::test]
async fn a_get_that_fails_is_no_operation() {
    let told = Told::default();
    let _on = told.start();
    let pool = Pool::builder()
        .url("postgres://me:topsecret@127.0.0.1:1/db")
        .acquire_timeout(Duration::from_millis(50))
        .build()
        .unwrap();
    pool.query(PARAMETER, &[&SECRET]).await.unwrap_err();
    assert_eq!(told.operations(), [""; 0]);
}

#[tokio::test]
async fn shared_calls_are_reported_alike() {
    const ECHO: Shareable<'_> = Shareable::new("SELECT $1::text");
    const SLEEP: Shareable<'_> = Shareable::new("SELECT pg_sleep(9)");
    const DIVIDE: Shareable<'_> = Shareable::new("SELECT 1 / $1::int");
    let server = server();
    let told = Told::default();
    let _on = told.start();
    let shared = Shared::builder()
        .url(server.url())
        .name("db")
        .statement_timeout(Duration::from_millis(100))
        .build()
        .unwrap();
    let echoes = (0..5).map(|_| shared.query_one(ECHO, &[&SECRET]));
    for echo in futures_util::future::join_all(echoes).await {
        echo.unwrap();
    }
    assert_eq!(told.operations(), ["- - 1"; 5]);
    shared.query(DIVIDE, &[&0]).await.unwrap_err();
    shared.query(SLEEP, &[]).await.unwrap_err();
    let share = shared.get().await.unwrap();
    let slow = share.query(SLEEP, &[]);
    timeout(Duration::from_millis(10), slow).await.unwrap_err();
    assert_eq!(
        told.operations(),
        ["- 22012 -", "- 57014 -", "- cancelled -"]
    );
}

#[tokio::test]
async fn a_histogram_is_looked_up_once_and_one_that_nobody_wants_not_at_all() {
    let server = server();
    let told = Told::default();
    let _on = told.start_at(LevelFilter::INFO);
    let own = builder(&server).metric_names(MetricNames::Own);
    for (pool, name) in [
        (builder(&server), "db.client.operation.duration"),
        (own, "pool.operation.duration"),
    ] {
        let pool = pool.build().unwrap();
        for _ in 0..100 {
            pool.query("SELECT 1", &[]).await.unwrap();
        }
        assert_eq!(told.lookups(name), 1, "{name}");
        let expected: Vec<_> = (0..100).map(|_| name.to_owned()).collect();
        assert_eq!(told.take_metrics(), expected);
    }
    assert!(told.spans().is_empty(), "the level is off");
}

//! Several PostgreSQL servers: a real primary and its replica, which are killed, promoted, frozen and made read-only.

#![allow(clippy::unwrap_used)]

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use pool_db::postgres::{Builder, Connection, Pool, SessionAttrs};
use tests::{postgres::Server, proxy::Proxy};
use tokio::{
    task::{JoinSet, block_in_place},
    time::sleep,
};

/// Nothing here takes that long.
const SOON: Duration = Duration::from_secs(20);

fn builder(ports: &[u16]) -> Builder {
    let hosts: Vec<_> = ports
        .iter()
        .map(|port| format!("127.0.0.1:{port}"))
        .collect();
    Pool::builder()
        .url(format!("postgres://postgres@{}/postgres", hosts.join(",")))
        .acquire_timeout(Duration::from_secs(5))
}

/// The port of the server that has the connection.
async fn port(connection: &Connection) -> u16 {
    let row = connection.query_one("SELECT current_setting('port')", &[]);
    row.await.unwrap().get::<_, String>(0).parse().unwrap()
}

async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut reached: impl FnMut() -> F) -> T {
    let begin = Instant::now();
    loop {
        if let Some(reached) = reached().await {
            return reached;
        }
        assert!(begin.elapsed() < SOON, "not {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until as many connections of the pool are idle, and none is anything else.
async fn settled(pool: &Pool, idle: u32) {
    until("settled", async || {
        let status = pool.status();
        (status.open == idle && status.idle == idle && status.closing == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_role_is_found_on_a_primary_and_its_replica() {
    let primary = Server::start();
    let replica = primary.replica();
    let (one, other) = (primary.port(), replica.port());
    for (attrs, hosts, taken) in [
        (SessionAttrs::Any, [one, other], Some(one)),
        (SessionAttrs::Any, [other, one], Some(other)),
        (SessionAttrs::ReadWrite, [other, one], Some(one)),
        (SessionAttrs::Primary, [other, one], Some(one)),
        (SessionAttrs::ReadOnly, [one, other], Some(other)),
        (SessionAttrs::Standby, [one, other], Some(other)),
        (SessionAttrs::PreferStandby, [one, other], Some(other)),
        (SessionAttrs::PreferStandby, [one, one], Some(one)),
        (SessionAttrs::ReadWrite, [other, other], None),
        (SessionAttrs::Primary, [other, other], None),
        (SessionAttrs::ReadOnly, [one, one], None),
        (SessionAttrs::Standby, [one, one], None),
    ] {
        let builder = builder(&hosts).target_session_attrs(attrs);
        let pool = builder.build().unwrap();
        match (pool.get().await, taken) {
            (Ok(connection), Some(taken)) => {
                assert_eq!(port(&connection).await, taken, "{attrs:?}");
            }
            (Err(error), None) => {
                assert!(error.is_connect(), "{error}");
                assert!(error.to_string().contains(attrs.as_str()), "{error}");
            }
            (got, _) => panic!("{attrs:?} at {hosts:?}: {got:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_at_the_promoted_replica_and_none_is_lost() {
    let mut primary = Server::start();
    primary.sql("CREATE TABLE t (n bigint PRIMARY KEY)");
    let replica = primary.replica();
    // So an acknowledged write is on the replica as well.
    primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'");
    primary.sql("SELECT pg_reload_conf()");
    let front = Proxy::start(("127.0.0.1", primary.port()));
    let pool = builder(&[front.port(), replica.port()])
        .target_session_attrs(SessionAttrs::ReadWrite)
        .max_size(8)
        .build()
        .unwrap();
    let (acknowledged, next) = (
        Arc::new(Mutex::new(Vec::new())),
        Arc::new(AtomicI64::new(0)),
    );
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for _ in 0..16 {
        let (pool, acknowledged) = (pool.clone(), Arc::clone(&acknowledged));
        let (next, stop) = (Arc::clone(&next), Arc::clone(&stop));
        writers.spawn(async move {
            while !stop.load(Relaxed) {
                let n = next.fetch_add(1, Relaxed);
                match pool.execute("INSERT INTO t VALUES ($1)", &[&n]).await {
                    Ok(_) => acknowledged.lock().unwrap().push(n),
                    // Nobody was there to take it.
                    Err(error) => {
                        assert!(error.is_unavailable() || error.is_read_only(), "{error}");
                        sleep(Duration::from_millis(2)).await;
                    }
                }
            }
        });
    }
    let count = || acknowledged.lock().unwrap().len();
    let more = async |more: usize| {
        let before = count();
        until("written", async || (count() >= before + more).then_some(())).await;
    };
    more(100).await;
    block_in_place(|| {
        primary.kill();
        replica.promote();
    });
    let promoted = Instant::now();
    more(1).await;
    assert!(promoted.elapsed() < Duration::from_secs(10));
    more(100).await;

    // The old primary comes back, and takes no writes.
    front.refuse();
    let stale = block_in_place(|| {
        primary.restart();
        primary.sql("ALTER SYSTEM RESET synchronous_standby_names");
        primary.sql("ALTER SYSTEM SET default_transaction_read_only = on");
        primary.sql("SELECT pg_reload_conf()");
        primary.sql("SELECT count(*) FROM t")
    });
    front.accept();
    pool.retire_all();
    more(100).await;
    stop.store(true, Relaxed);
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    assert_eq!(
        block_in_place(|| primary.sql("SELECT count(*) FROM t")),
        stale
    );
    let rows = pool.query("SELECT n FROM t", &[]).await.unwrap();
    let there: std::collections::HashSet<i64> = rows.iter().map(|row| row.get(0)).collect();
    let lost = acknowledged
        .lock()
        .unwrap()
        .iter()
        .filter(|n| !there.contains(n))
        .count();
    assert_eq!(lost, 0);
}

/// Opens `count` connections, and returns them.
async fn opened(pool: &Pool, count: usize) -> Vec<Connection> {
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(pool.get().await.unwrap());
    }
    connections
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_made_read_only_is_left_by_the_whole_pool_at_once() {
    let (demoted, other) = (Server::start(), Server::start());
    for server in [&demoted, &other] {
        server.sql("CREATE TABLE t (n int)");
    }
    let pool = builder(&[demoted.port(), other.port()])
        .target_session_attrs(SessionAttrs::ReadWrite)
        .max_size(6)
        .build()
        .unwrap();
    let mut connections = opened(&pool, 6).await;
    let leased = connections.split_off(3);
    for connection in connections.iter().chain(&leased) {
        assert_eq!(port(connection).await, demoted.port());
    }
    drop(connections);
    settled_idle(&pool, 3).await;
    demoted.sql("ALTER SYSTEM SET default_transaction_read_only = on");
    demoted.sql("SELECT pg_reload_conf()");
    // One write is refused, and tells the pool.
    let error = until("refused", async || {
        pool.execute("INSERT INTO t VALUES (1)", &[]).await.err()
    })
    .await;
    assert!(error.is_read_only(), "{error}");
    // All idle connections go, without any get.
    settled_idle(&pool, 0).await;
    for connection in leased {
        // It serves its holder to the end.
        assert_eq!(port(&connection).await, demoted.port());
        drop(connection);
        settled_idle(&pool, 0).await;
    }
    let connections = opened(&pool, 6).await;
    for connection in &connections {
        assert_eq!(port(connection).await, other.port());
    }
    drop(connections);
    settled(&pool, 6).await;
    let ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name <> 'psql' AND backend_type = 'client backend'";
    assert_eq!(demoted.sql(ours), "0");
    // The new ones were never in doubt.
    assert_eq!(pool.status().closed.total(), 6);
}

/// Waits until as many connections are idle.
async fn settled_idle(pool: &Pool, idle: u32) {
    until("idle", async || {
        let status = pool.status();
        (status.idle == idle && status.open == status.idle + status.leased).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_makes_a_session_read_only_costs_nobody_a_connection() {
    let server = Server::start();
    server.sql("CREATE TABLE t (n int)");
    for attrs in [SessionAttrs::ReadWrite, SessionAttrs::Any] {
        let pool = builder(&[server.port()])
            .target_session_attrs(attrs)
            .max_size(2)
            .build()
            .unwrap();
        drop(opened(&pool, 2).await);
        for sql in [
            "BEGIN READ ONLY; INSERT INTO t VALUES (1)",
            "SET default_transaction_read_only = on",
            "SET transaction_read_only = on; INSERT INTO t VALUES (1)",
        ] {
            let refused = pool.batch_execute(sql).await;
            assert!(refused.err().is_none_or(|error| error.is_read_only()));
            settled(&pool, 2).await;
        }
        let refused = pool
            .batch_execute(
                "SET default_transaction_read_only = on; SELECT 1; INSERT INTO t VALUES (1)",
            )
            .await;
        // It is one transaction, which began before.
        assert!(refused.is_ok());
        settled(&pool, 2).await;
        assert_eq!(pool.status().closed.total(), 0, "{attrs:?}");
        for connection in opened(&pool, 2).await {
            let row = connection
                .query_one("SHOW transaction_read_only", &[])
                .await;
            assert_eq!(row.unwrap().get::<_, &str>(0), "off");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_backend_that_is_ended_makes_the_others_be_checked_and_not_closed() {
    let server = Server::start();
    let pool = builder(&[server.port()]).max_size(8).build().unwrap();
    let connections = opened(&pool, 8).await;
    let row = connections[0]
        .query_one("SELECT pg_backend_pid()", &[])
        .await;
    let pid: i32 = row.unwrap().get(0);
    drop(connections);
    settled(&pool, 8).await;
    let checks = || pool.timings().check.count();
    let before = checks();
    server.sql(&format!("SELECT pg_terminate_backend({pid})"));
    until("checked", async || (checks() >= before + 7).then_some(())).await;
    // One get finds out that the first is gone.
    drop(opened(&pool, 8).await);
    settled(&pool, 8).await;
    let closed = pool.status().closed;
    assert_eq!(closed.total(), 1, "{closed:?}");
    assert_eq!(checks(), before + 7, "each once");
}

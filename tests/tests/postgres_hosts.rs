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

use pool_db::postgres::{
    Builder, Connection, Event, Pool, Role, Router, RouterBuilder, SessionAttrs, Shareable, Shared,
    Token,
};
use tests::{postgres::Server, proxy::Proxy};
use tokio::{
    task::{JoinSet, block_in_place},
    time::{sleep, timeout},
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

fn router(ports: &[u16]) -> RouterBuilder {
    Router::builder()
        .pool(builder(ports).max_size(4))
        .measure_every(Duration::from_millis(50))
        .measure_timeout(Duration::from_millis(500))
}

/// Waits until the roles of the hosts are these, and reads go to those that are true.
async fn seen(router: &Router, hosts: &[(Role, bool)]) {
    let begin = Instant::now();
    loop {
        let status = router.status();
        let seen = status.hosts.iter().map(|host| (host.role, host.is_read));
        if seen.eq(hosts.iter().copied()) {
            return;
        }
        assert!(
            begin.elapsed() < SOON,
            "not {hosts:?} but {:?}",
            status.hosts
        );
        sleep(Duration::from_millis(5)).await;
    }
}

/// The port of the server that a read comes to.
async fn read_at(router: &Router) -> u16 {
    let row = router.query_one("SELECT current_setting('port')", &[]);
    row.await.unwrap().get::<_, String>(0).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_leave_a_replica_that_falls_behind_and_come_back() {
    let primary = Server::start();
    primary.sql("CREATE TABLE t (n int)");
    let replica = primary.replica();
    let router = router(&[replica.port(), primary.port()])
        .max_lag(Duration::from_millis(400))
        .build()
        .unwrap();
    assert_eq!(
        read_at(&router).await,
        replica.port(),
        "the first read waits for the roles"
    );
    seen(&router, &[(Role::Replica, true), (Role::Primary, false)]).await;
    let connection = router.write().get().await.unwrap();
    assert_eq!(port(&connection).await, primary.port());

    replica.pause_replay();
    // While nothing is written, the replica lacks nothing.
    sleep(Duration::from_millis(600)).await;
    seen(&router, &[(Role::Replica, true), (Role::Primary, false)]).await;
    connection
        .execute("INSERT INTO t VALUES (1)", &[])
        .await
        .unwrap();
    seen(&router, &[(Role::Replica, false), (Role::Primary, false)]).await;
    let before = router.status().fallbacks;
    assert_eq!(read_at(&router).await, primary.port());
    let status = router.status();
    assert_eq!(status.fallbacks, before + 1);
    assert!(status.hosts[0].lag_bytes.unwrap() > 0, "{status:?}");
    assert!(status.hosts[0].lag.unwrap() > Duration::from_millis(400));
    replica.resume_replay();
    seen(&router, &[(Role::Replica, true), (Role::Primary, false)]).await;
    assert_eq!(read_at(&router).await, replica.port());
    assert!(router.status().hosts[0].chosen >= 2);

    // The same by bytes, and without the primary in place of the replica.
    let strict = self::router(&[primary.port(), replica.port()])
        .max_lag(None)
        .max_lag_bytes(1000)
        .fallback(false)
        .build()
        .unwrap();
    assert_eq!(read_at(&strict).await, replica.port());
    replica.pause_replay();
    connection
        .execute("INSERT INTO t SELECT generate_series(1, 1000)", &[])
        .await
        .unwrap();
    seen(&strict, &[(Role::Primary, false), (Role::Replica, false)]).await;
    let error = strict.read().await.unwrap_err();
    assert!(error.is_connect() && error.is_unavailable(), "{error}");
    replica.resume_replay();
    seen(&strict, &[(Role::Primary, false), (Role::Replica, true)]).await;
    drop(connection);
    assert!(strict.drain(SOON).await.is_complete());
    let closed = strict.query("SELECT 1", &[]).await.unwrap_err();
    assert!(closed.is_closed() || closed.is_connect(), "{closed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_reads_its_own_writes_a_thousand_times() {
    let primary = Server::start();
    primary.sql("CREATE TABLE t (n int); INSERT INTO t VALUES (0)");
    let replica = primary.replica();
    let router = router(&[primary.port(), replica.port()]).build().unwrap();
    router.warm_up().await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let pausing = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            while !stop.load(Relaxed) {
                replica.pause_replay();
                std::thread::sleep(Duration::from_millis(30));
                replica.resume_replay();
                std::thread::sleep(Duration::from_millis(70));
            }
            replica.resume_replay();
            replica
        })
    };
    let mut at_replica = 0;
    for n in 1..=1000 {
        let connection = router.write().get().await.unwrap();
        connection
            .execute("UPDATE t SET n = $1", &[&n])
            .await
            .unwrap();
        let token = router.token(&connection).await.unwrap();
        drop(connection);
        // As through a cookie.
        let token: Token = token.to_string().parse().unwrap();
        let pool = router
            .read_after(token, Duration::from_millis(20))
            .await
            .unwrap();
        let sql = "SELECT n, pg_is_in_recovery() FROM t";
        let row = pool.query_one(sql, &[]).await.unwrap();
        assert_eq!(row.get::<_, i32>(0), n);
        at_replica += u32::from(row.get::<_, bool>(1));
    }
    stop.store(true, Relaxed);
    let replica = pausing.join().unwrap();
    assert!(at_replica > 100, "{at_replica} of 1000");
    assert!(router.status().fallbacks > 0);

    // A wait that may be long ends when the replica is there, and not before.
    replica.pause_replay();
    let connection = router.write().get().await.unwrap();
    connection
        .execute("UPDATE t SET n = -1", &[])
        .await
        .unwrap();
    let token = router.token(&connection).await.unwrap();
    let read = router.read_after(token, SOON);
    let resume = async {
        sleep(Duration::from_millis(100)).await;
        replica.resume_replay();
    };
    let (pool, ()) = tokio::join!(read, resume);
    let row = pool
        .unwrap()
        .query_one("SELECT n, pg_is_in_recovery() FROM t", &[])
        .await
        .unwrap();
    assert_eq!((row.get(0), row.get(1)), (-1, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_and_writes_go_on_when_hosts_are_killed_frozen_and_promoted() {
    let mut primary = Server::start();
    primary.sql("CREATE TABLE t (n int)");
    let (mut one, mut other) = (primary.replica(), primary.replica());
    let front = Proxy::start(("127.0.0.1", primary.port()));
    let ports = [front.port(), one.port(), other.port()];
    let router = Router::builder()
        .pool(
            builder(&ports)
                .max_size(4)
                .query_timeout(Duration::from_secs(2)),
        )
        .measure_every(Duration::from_millis(50))
        .measure_timeout(Duration::from_millis(500))
        .build()
        .unwrap();
    router.warm_up().await.unwrap();
    let all = [
        (Role::Primary, false),
        (Role::Replica, true),
        (Role::Replica, true),
    ];
    seen(&router, &all).await;
    for replica in [&one, &other] {
        let wanted = replica.port();
        until("spread", async || {
            (read_at(&router).await == wanted).then_some(())
        })
        .await;
    }

    // Killed: no read fails, for a replica has written nothing.
    block_in_place(|| one.kill());
    for _ in 0..20 {
        assert_eq!(read_at(&router).await, other.port());
    }
    seen(&router, &[all[0], (Role::Unknown, false), all[2]]).await;
    block_in_place(|| one.restart());
    seen(&router, &all).await;

    // Frozen: what it has begun has a bound, and then reads go elsewhere.
    other.freeze();
    seen(&router, &[all[0], all[1], (Role::Unknown, false)]).await;
    for _ in 0..20 {
        assert_eq!(read_at(&router).await, one.port());
    }
    other.thaw();
    seen(&router, &all).await;

    // Without a primary, reads go on. Then the promoted replica is written to, and not read from.
    front.refuse();
    block_in_place(|| primary.kill());
    seen(&router, &[(Role::Unknown, false), all[1], all[2]]).await;
    assert_ne!(read_at(&router).await, primary.port());
    block_in_place(|| one.promote());
    seen(
        &router,
        // The other replica was not told, and still follows the old primary.
        &[
            (Role::Unknown, false),
            (Role::Primary, false),
            (Role::Replica, false),
        ],
    )
    .await;
    let written = until("written", async || {
        router
            .write()
            .execute("INSERT INTO t VALUES (1)", &[])
            .await
            .ok()
    })
    .await;
    assert_eq!(written, 1);
    assert_eq!(read_at(&router).await, one.port());
    // The old primary comes back and was told nothing: it is not read from, and writes stay where they are.
    block_in_place(|| primary.restart());
    front.accept();
    seen(
        &router,
        &[(Role::Stray, false), (Role::Primary, false)]
            .into_iter()
            .chain([(Role::Replica, false)])
            .collect::<Vec<_>>(),
    )
    .await;
    router
        .write()
        .execute("INSERT INTO t VALUES (2)", &[])
        .await
        .unwrap();
    assert_eq!(block_in_place(|| one.sql("SELECT count(*) FROM t")), "2");
    assert_eq!(
        block_in_place(|| primary.sql("SELECT count(*) FROM t")),
        "0"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_follow_a_name_that_moves() {
    let (old, new) = (Server::start(), Server::start());
    let target = Arc::new(Mutex::new(old.port()));
    let pool = {
        let target = Arc::clone(&target);
        Pool::builder()
            .url("postgres://postgres@db.test:1/postgres")
            .resolver(move |name, _| {
                assert_eq!(name, "db.test");
                let port = *target.lock().unwrap();
                async move { Ok(vec![([127, 0, 0, 1], port).into()]) }
            })
            .resolve_every(Duration::from_millis(50))
            .max_size(3)
            .build()
            .unwrap()
    };
    let mut connections = opened(&pool, 3).await;
    let leased = connections.pop().unwrap();
    drop(connections);
    settled_idle(&pool, 2).await;
    *target.lock().unwrap() = new.port();
    settled_idle(&pool, 0).await;
    // The holder keeps it to the end.
    assert_eq!(port(&leased).await, old.port());
    drop(leased);
    settled(&pool, 0).await;
    for connection in opened(&pool, 3).await {
        assert_eq!(port(&connection).await, new.port());
    }
}

const PORT: Shareable<'_> = Shareable::new("SELECT current_setting('port')::int");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_connections_and_listeners_follow_a_name_that_moves() {
    let (old, new) = (Server::start(), Server::start());
    let target = Arc::new(Mutex::new(old.port()));
    let resolver = {
        let target = Arc::clone(&target);
        move |_, _| {
            let port = *target.lock().unwrap();
            async move { Ok(vec![([127, 0, 0, 1], port).into()]) }
        }
    };
    let often = Duration::from_millis(50);
    let url = "postgres://postgres@db.test:1/postgres";
    let shared = Shared::builder().url(url).resolver(resolver.clone());
    let shared = shared.resolve_every(often).build().unwrap();
    let pool = Pool::builder().url(url).resolver(resolver);
    let pool = pool.resolve_every(often).build().unwrap();
    let mut listener = pool.listen(["c"]).await.unwrap();
    let at = async || shared.query_one(PORT, &[]).await.unwrap().get::<_, i32>(0);
    assert_eq!(at().await, i32::from(old.port()));
    // A call that runs as the name moves ends where it has begun.
    let share = shared.get().await.unwrap();
    *target.lock().unwrap() = new.port();
    until("at the new server", async || {
        (at().await == i32::from(new.port())).then_some(())
    })
    .await;
    let row = share.query_one(PORT, &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), i32::from(old.port()));
    drop(share);
    let event = timeout(SOON, listener.recv()).await.unwrap();
    assert!(matches!(event, Some(Event::Gap)), "{event:?}");
    block_in_place(|| new.sql("NOTIFY c, 'here'"));
    let event = timeout(SOON, listener.recv()).await.unwrap();
    assert!(
        matches!(&event, Some(Event::Notification(it)) if it.payload == "here"),
        "{event:?}"
    );
    let left = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    until("left", async || {
        (block_in_place(|| old.sql(left)) == "0").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_connections_follow_a_promotion_by_the_first_that_hears_of_it() {
    let primary = Server::start();
    let replica = primary.replica();
    let shared = Shared::builder()
        .url(format!(
            "postgres://postgres@127.0.0.1:{},127.0.0.1:{}/postgres",
            replica.port(),
            primary.port()
        ))
        .target_session_attrs(SessionAttrs::Standby)
        .max_size(2)
        .capacity(1)
        .build()
        .unwrap();
    let held = [shared.get().await.unwrap(), shared.get().await.unwrap()];
    assert_eq!(shared.status().open, 2);
    block_in_place(|| replica.promote());
    // The server reports the new role with the next answer of each. One call is enough for both.
    held[0].query_one(PORT, &[]).await.unwrap();
    drop(held);
    until("left by both", async || {
        (shared.status().open == 0).then_some(())
    })
    .await;
    let error = shared.query_one(PORT, &[]).await.unwrap_err();
    assert!(error.is_connect(), "{error}");
}

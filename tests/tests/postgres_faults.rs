//! Bad input and faults of servers and networks: each is an error that names the thing, in bounded time, shows no password, and leaves
//! the pool whole and no connection on the server.
#![allow(clippy::unwrap_used)]

use std::{
    error::Error as _,
    fmt::{Debug, Write as _},
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Waker},
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, future::join_all};
use pool_db::{
    Error,
    postgres::{Builder, Pool, Shareable, Shared, SslMode, tokio_postgres::types::ToSql},
};
use tests::{
    Certificate,
    postgres::{ClientCertificate, Server},
    proxy::{Proxy, Side},
};
use tokio::time::{sleep, timeout};
use tracing::{Event, Metadata, field::Field, span};

/// Nothing here takes that long.
const SOON: Duration = Duration::from_secs(30);
const MS: Duration = Duration::from_millis(1);
/// A part of every password here that nothing else contains.
const SECRET: &str = "Tr0ub4dor";
/// The connections of clients other than the one that counts.
const CLIENTS: &str = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";

async fn until(server: &Server, sql: &str, is_it: impl Fn(u32) -> bool) {
    let begin = Instant::now();
    loop {
        let found = server.sql(sql);
        if is_it(found.parse().unwrap()) {
            return;
        }
        assert!(begin.elapsed() < SOON, "{sql}: {found}");
        sleep(10 * MS).await;
    }
}

/// Everything that the crate has said to `tracing`.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    fn write(&self, metadata: &Metadata<'_>, record: impl FnOnce(&mut Fields)) {
        let mut fields = Fields(format!("{} {}", metadata.target(), metadata.name()));
        record(&mut fields);
        self.0.lock().unwrap().push_str(&(fields.0 + "\n"));
    }
}

struct Fields(String);

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        self.write(span.metadata(), |fields| span.record(fields));
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        let mut fields = Fields(String::new());
        values.record(&mut fields);
        self.0.lock().unwrap().push_str(&(fields.0 + "\n"));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        self.write(event.metadata(), |fields| event.record(fields));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// All that an error says, in any way.
fn all_of(error: &Error) -> String {
    let mut all = format!("{error}\n{error:?}\n{error:#?}\n{:?}\n", error.status());
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(all, "{error}\n{error:?}\n").unwrap();
        cause = error.source();
    }
    let mut inner = error.inner();
    while let Some(error) = inner {
        write!(all, "{error}\n{error:?}\n").unwrap();
        inner = error.source();
    }
    all
}

/// Checks that a pool which cannot connect says why, and never its password.
async fn refused(builder: Builder, says: &str) {
    let pool = builder
        .max_size(1)
        .acquire_timeout(5 * 1000 * MS)
        .build()
        .unwrap();
    let error = match pool.get().await {
        Ok(connection) => connection.query("SELECT 1", &[]).await.unwrap_err(),
        Err(error) => error,
    };
    let all = all_of(&error) + &format!("{pool:?} {:#?} {:?}", pool, pool.status());
    assert!(error.to_string().contains(says), "{says}: {error}");
    assert!(error.is_connect() && error.is_unavailable(), "{error}");
    assert!(!error.may_have_happened(), "{error}");
    assert!(!all.contains(SECRET), "{says}: {all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named_and_no_password_is_shown() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    let server = Server::builder()
        .tls()
        .password(format!("p/@s:{SECRET}%"))
        .start();
    server.sql(
        "CREATE ROLE asleep NOLOGIN PASSWORD 'Tr0ub4dor'; CREATE ROLE few LOGIN PASSWORD 'Tr0ub4dor' CONNECTION LIMIT 0",
    );
    server.sql("CREATE DATABASE shut ALLOW_CONNECTIONS false");
    let at = format!("127.0.0.1:{}", server.port());
    let tls = format!(
        "sslmode=verify-full&sslrootcert={}",
        server.authority().display()
    );
    let begin = |url: String| Pool::builder().url(url);

    refused(
        begin(format!("postgres://postgres:{SECRET}@{at}/postgres")),
        "password authentication failed",
    )
    .await;
    refused(
        begin(format!("postgres://nobody:{SECRET}@{at}/postgres")),
        "password authentication failed",
    )
    .await;
    refused(
        begin(format!("postgres://asleep:{SECRET}@{at}/postgres")),
        "is not permitted to log in",
    )
    .await;
    refused(
        begin(format!("postgres://few:{SECRET}@{at}/postgres")),
        "too many connections for role",
    )
    .await;
    let nowhere = server.url().replace("/postgres", "/nowhere");
    refused(
        begin(nowhere.replace("//nowhere", "//postgres")),
        "database \"nowhere\" does not exist",
    )
    .await;
    refused(
        begin(server.url() + "?dbname=shut"),
        "not currently accepting connections",
    )
    .await;
    let other = format!(
        "{}?host=db.example&hostaddr=127.0.0.1&port={}&{tls}",
        server.url().replace(&at, ""),
        server.port()
    );
    refused(begin(other), "not valid for name").await;
    refused(
        begin(server.url()).ssl_mode(SslMode::VerifyFull),
        "UnknownIssuer",
    )
    .await;
    refused(
        begin(server.url()).ssl_mode(SslMode::Disable),
        "no encryption",
    )
    .await;
    let expired = Server::builder()
        .certificate(Certificate::expired())
        .password(SECRET)
        .start();
    let late = begin(expired.url()).ssl_mode(SslMode::VerifyFull);
    refused(late.root_certificate(expired.authority()), "xpired").await;
    let named = Server::builder()
        .certificate(Certificate::named("db.example"))
        .password(SECRET)
        .start();
    let wrong = begin(named.url()).ssl_mode(SslMode::VerifyFull);
    refused(
        wrong.root_certificate(named.authority()),
        "not valid for name",
    )
    .await;
    let plain = Server::builder().password(SECRET).start();
    refused(
        begin(plain.url()).ssl_mode(SslMode::Require),
        "does not support TLS",
    )
    .await;
    refused(
        begin(plain.url()).on_connect(format!("SELECT '{SECRET}' FROM nowhere")),
        "nowhere",
    )
    .await;
    refused(
        begin(format!("postgres://u:{SECRET}@no-such-host.invalid/db")),
        "no-such-host.invalid",
    )
    .await;
    refused(
        begin(format!("postgres://u:{SECRET}@127.0.0.1:1/db")),
        "127.0.0.1",
    )
    .await;
    let proxy = Proxy::start(("127.0.0.1", plain.port()));
    proxy.refuse();
    refused(begin(plain.url_at(proxy.port())), "refused").await;
    proxy.accept();

    // Nothing connects by these.
    for (url, says) in [
        ("postgres://u:Tr0ub4dor", ""),
        ("postgres://u:Tr0ub4dor/db", ""),
        ("postgres://u/Tr0ub4dor@h:x/db", ""),
        ("postgres://u:Tr0ub4dor@h:70000/db", "port"),
        ("postgres://u:Tr0ub4dor@h:x/db", "port"),
        ("postgres://u:Tr0ub4dor@h/db?sslmod=require", "sslmod"),
        ("postgres://u:Tr0ub4dor@h/db?sslmode=requires", "sslmode"),
        ("postgres://u@h/db?passwd=Tr0ub4dor", "passwd"),
        (
            "postgres://u:Tr0ub4dor@h/db?gssencmode=require",
            "gssencmode",
        ),
        ("postgres://u:Tr0ub4dor%@h/db", ""),
        (
            "postgres://u:Tr0ub4dor@h/db?connect_timeout=soon",
            "connect_timeout",
        ),
        ("postgre://u:Tr0ub4dor@h/db", "postgre"),
        ("u:Tr0ub4dor@h/db", ""),
        ("u:Tr0ub4dor", ""),
        ("host=h user=u pasword=Tr0ub4dor", "password"),
        ("host=h user=u password='Tr0ub4dor", ""),
        ("Host=h;Password=Tr0ub4dor", ""),
        ("PASSWORD=Tr0ub4dor host=h", ""),
        ("Tr0ub4dor", ""),
    ] {
        let builder = begin(url.to_owned());
        let shown = format!("{builder:?} {builder:#?}");
        assert!(!shown.contains(SECRET), "{url}: {shown}");
        let error = builder.build().unwrap_err();
        let shown = format!("{error}\n{error:?}\n{error:#?}\n{:?}", error.source());
        assert!(!shown.contains(SECRET), "{url}: {shown}");
        assert!(error.to_string().contains(says), "{url}: {error}");
    }

    // What goes well is as silent.
    let pool = begin(server.url()).max_size(1).build().unwrap();
    let mut connection = pool.get().await.unwrap();
    let shown = format!("{connection:#?} {pool:#?} {:#?}", pool.leases());
    assert!(!shown.contains(SECRET), "{shown}");
    let transaction = connection.transaction().await.unwrap();
    let shown = format!("{transaction:#?}");
    assert!(!shown.contains(SECRET), "{shown}");
    let logged = log.0.lock().unwrap().clone();
    assert!(
        logged.contains("pool.get") && logged.contains("pool.connect"),
        "{logged}"
    );
    assert!(!logged.contains(SECRET), "{logged}");
}

#[tokio::test]
async fn a_client_shows_its_certificate() {
    let server = Server::builder()
        .tls()
        .client_certificate(ClientCertificate::User)
        .start();
    server.sql("CREATE ROLE ali LOGIN");
    let stranger = Server::builder().tls().start();
    let url = format!(
        "{}?sslmode=verify-full&sslrootcert={}",
        server.url().replace("//postgres@", "//ali@"),
        server.authority().display()
    );
    let with = |(certificate, key): (std::path::PathBuf, std::path::PathBuf)| {
        format!(
            "{url}&sslcert={}&sslkey={}",
            certificate.display(),
            key.display()
        )
    };
    let ask = async |url: String| {
        let pool = Pool::builder().url(url).max_size(1).build().unwrap();
        let row = pool.query_one("SELECT current_user::text", &[]).await?;
        // What the server works on is cancelled over a connection that shows it as well.
        let connection = pool.get().await?;
        let sleeping = timeout(50 * MS, connection.query("SELECT pg_sleep(3600)", &[]));
        assert!(sleeping.await.is_err());
        connection.cancel_abandoned().await?;
        Ok::<_, Error>(row.get::<_, String>(0))
    };
    assert_eq!(
        ask(with(server.client_certificate("ali"))).await.unwrap(),
        "ali"
    );
    for (url, says) in [
        (
            with(server.client_certificate("kasim")),
            "certificate authentication failed",
        ),
        (with(stranger.client_certificate("ali")), "UnknownCA"),
        (url.clone(), "certificate"),
    ] {
        let error = ask(url).await.unwrap_err();
        assert!(error.to_string().contains(says), "{says}: {error}");
        assert!(error.is_connect() && !error.may_have_happened(), "{error}");
    }
    let missing = with(("/nowhere/ali.crt".into(), "/nowhere/ali.key".into()));
    let error = Pool::builder().url(missing).build().unwrap_err();
    assert!(error.to_string().contains("/nowhere/ali"), "{error}");
}

/// What happens to a server or to the way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Latency,
    Stall,
    Cut,
    Reset,
    ClosedHere,
    ClosedThere,
    Refused,
    Killed,
    Stopped,
    Frozen,
}

/// Lets a fault happen under load, ends it, and sees that all calls have ended and that all is as before.
async fn survives(fault: Fault) {
    let mut server = Server::start();
    let proxy = Proxy::start(("127.0.0.1", server.port()));
    let pool = Pool::builder()
        .url(server.url_at(proxy.port()))
        .max_size(4)
        .query_timeout(500 * MS)
        .acquire_timeout(2000 * MS)
        .create_timeout(1000 * MS)
        .build()
        .unwrap();
    let ends = Arc::new(AtomicBool::new(false));
    let counts = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (pool, ends, counts) = (pool.clone(), Arc::clone(&ends), Arc::clone(&counts));
            tokio::spawn(async move {
                while !ends.load(Relaxed) {
                    let call = pool.query("SELECT pg_sleep(0.002)", &[]);
                    match timeout(SOON, call).await.expect("a call ends") {
                        Ok(_) => counts.0.fetch_add(1, Relaxed),
                        Err(error) => {
                            assert!(error.is_unavailable() || error.is_timeout(), "{error}");
                            sleep(MS).await;
                            counts.1.fetch_add(1, Relaxed)
                        }
                    };
                }
            })
        })
        .collect();
    let reach = async |count: &AtomicU64, goal: u64| {
        let begin = Instant::now();
        while count.load(Relaxed) < goal {
            assert!(
                begin.elapsed() < SOON,
                "{fault:?}: {counts:?} {:?}",
                pool.status()
            );
            sleep(MS).await;
        }
    };
    reach(&counts.0, 40).await;
    // All may be over before the fault has been told of.
    let (right, failed) = (counts.0.load(Relaxed), counts.1.load(Relaxed));
    match fault {
        Fault::Latency => proxy.latency(20 * MS),
        Fault::Stall => proxy.stall(),
        Fault::Cut => proxy.cut(),
        Fault::Reset => proxy.reset(),
        Fault::ClosedHere => proxy.half_open(Side::Client),
        Fault::ClosedThere => proxy.half_open(Side::Server),
        Fault::Refused => {
            proxy.refuse();
            proxy.reset();
        }
        Fault::Killed => server.kill(),
        Fault::Stopped => server.stop(),
        Fault::Frozen => server.freeze(),
    }
    // Each kind of fault but the first is noticed by somebody.
    match fault {
        Fault::Latency => reach(&counts.0, right + 4).await,
        _ => reach(&counts.1, failed + 1).await,
    }
    match fault {
        Fault::Latency => proxy.latency(Duration::ZERO),
        Fault::Stall => proxy.resume(),
        Fault::Cut | Fault::Reset | Fault::ClosedThere => {}
        Fault::ClosedHere => proxy.cut(),
        Fault::Refused => proxy.accept(),
        Fault::Killed | Fault::Stopped => server.restart(),
        Fault::Frozen => server.thaw(),
    }
    let begin = Instant::now();
    // Whole again: as many at once as there were.
    loop {
        let all = join_all((0..4).map(|_| pool.get())).await;
        let all: Vec<_> = all.into_iter().flatten().collect();
        let answers = join_all(all.iter().map(|one| one.query("SELECT 1", &[]))).await;
        if answers.iter().filter(|answer| answer.is_ok()).count() == 4 {
            break;
        }
        assert!(begin.elapsed() < SOON, "{fault:?}: {:?}", pool.status());
        drop((answers, all));
        sleep(MS).await;
    }
    let whole = begin.elapsed();
    ends.store(true, Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    until(&server, CLIENTS, |count| count <= 4).await;
    assert!(pool.drain(SOON).await.is_complete(), "{:?}", pool.status());
    until(&server, CLIENTS, |count| count == 0).await;
    println!("{fault:?}: {counts:?} (right, failed), whole after {whole:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_network_are_survived() {
    for fault in [Fault::Latency, Fault::Cut, Fault::Reset, Fault::Refused] {
        survives(fault).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_of_the_network_is_survived() {
    for fault in [Fault::Stall, Fault::ClosedHere, Fault::ClosedThere] {
        survives(fault).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_server_are_survived() {
    for fault in [Fault::Killed, Fault::Stopped, Fault::Frozen] {
        survives(fault).await;
    }
}

/// What leaves a call unanswered, or ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Cancelled,
    CancelledAtOnce,
    TimedOut,
    Panicked,
    Aborted,
    Retired,
    ShortLived,
}

/// Lets the server count the connections of a pool whose calls get into trouble.
async fn never_more_than_max_size(trouble: Trouble, rounds: u32) {
    let server = Server::start();
    server.sql("CREATE ROLE small LOGIN CONNECTION LIMIT 4");
    let mut builder = Pool::builder()
        .url(server.url().replace("//postgres@", "//small@"))
        .max_size(4)
        .cancel_on_drop(trouble == Trouble::CancelledAtOnce)
        .close_timeout(SOON)
        .acquire_timeout(SOON);
    if trouble == Trouble::TimedOut {
        builder = builder.query_timeout(5 * MS);
    }
    if trouble == Trouble::ShortLived {
        builder = builder.max_lifetime(20 * MS);
    }
    let pool = builder.build().unwrap();
    let leases = AtomicU32::new(0);
    for n in 0..rounds {
        let after = (3 + n % 8) * MS;
        let one = async || {
            let connection = pool.get().await?;
            leases.fetch_add(1, Relaxed);
            let sleeping = "SELECT pg_sleep(0.3)";
            match trouble {
                Trouble::Cancelled | Trouble::CancelledAtOnce | Trouble::ShortLived => {
                    drop(timeout(after, connection.query(sleeping, &[])).await);
                }
                Trouble::Retired => {
                    drop(timeout(after, connection.query(sleeping, &[])).await);
                    pool.retire_all();
                }
                Trouble::TimedOut => {
                    // Longer than any machine stands still.
                    let sleeping = "SELECT pg_sleep(3600)";
                    let error = connection.query(sleeping, &[]).await.unwrap_err();
                    assert!(error.is_timeout(), "{error}");
                }
                Trouble::Panicked => {
                    let work = async {
                        let held = connection;
                        let mut query = pin!(held.query(sleeping, &[]));
                        drop(timeout(after, &mut query).await);
                        std::panic::resume_unwind(Box::new("on purpose"));
                    };
                    drop(AssertUnwindSafe(work).catch_unwind().await);
                }
                Trouble::Aborted => {
                    let task =
                        tokio::spawn(
                            async move { connection.query(sleeping, &[]).await.map(drop) },
                        );
                    sleep(after).await;
                    task.abort();
                    drop(task.await);
                }
            }
            Ok::<_, Error>(())
        };
        futures_util::future::try_join_all((0..8).map(|_| one()))
            .await
            .unwrap();
    }
    let status = pool.status();
    println!(
        "{trouble:?}: {leases:?} leases on {} connections",
        status.opened
    );
    assert_eq!(status.open_failures, 0, "{trouble:?}: {status:?}");
    assert!(
        !server.log().contains("too many connections"),
        "{}",
        server.log()
    );
    assert!(pool.drain(SOON).await.is_complete());
    until(&server, CLIENTS, |count| count == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_never_counts_more_than_max_size() {
    let rounds = rounds();
    tokio::join!(
        never_more_than_max_size(Trouble::Cancelled, rounds),
        never_more_than_max_size(Trouble::CancelledAtOnce, 4 * rounds),
        never_more_than_max_size(Trouble::TimedOut, rounds),
        never_more_than_max_size(Trouble::Panicked, rounds),
        never_more_than_max_size(Trouble::Aborted, rounds),
        never_more_than_max_size(Trouble::Retired, 2 * rounds),
        never_more_than_max_size(Trouble::ShortLived, 2 * rounds),
    );
}

/// How often each trouble is made: a race may need some dozens of rounds, and more for those who ask for them.
fn rounds() -> u32 {
    std::env::var("POOL_TEST_ROUNDS").map_or(25, |rounds| rounds.parse().unwrap())
}

const LENGTH: Shareable<'_> = Shareable::new("SELECT length($1::bytea)");

#[tokio::test]
async fn large_values_are_sent_and_too_large_ones_are_errors_before_anything_is_sent() {
    let server = Server::start();
    let pool = Pool::builder()
        .url(server.url())
        .max_size(1)
        .build()
        .unwrap();
    let process = "SELECT pg_backend_pid()";
    let before: i32 = pool.query_one(process, &[]).await.unwrap().get(0);
    let mut value = vec![7_u8; 300 << 20];
    let row = pool.query_one("SELECT length($1::bytea)", &[&value]).await;
    assert_eq!(row.unwrap().get::<_, i32>(0), 300 << 20);
    // Each of them would do, but not all of them in one message.
    let four =
        "SELECT length($1::bytea) + length($2::bytea) + length($3::bytea) + length($4::bytea)";
    let params: [&(dyn ToSql + Sync); 4] = [&value, &value, &value, &value];
    let error = pool.query(four, &params).await.unwrap_err();
    assert!(error.to_string().contains("1073741823 bytes"), "{error}");
    value.resize((1 << 30) + 16, 7);
    let error = pool
        .query("SELECT length($1::bytea)", &[&value])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("1073741823 bytes"), "{error}");
    assert!(
        !error.is_disconnected() && !error.may_have_happened(),
        "{error}"
    );
    // Others use a shared connection as well.
    let shared = Shared::builder().url(server.url()).max_size(1);
    let shared = shared.build().unwrap();
    let error = shared.query(LENGTH, &[&value]).await.unwrap_err();
    assert!(error.to_string().contains("1073741823 bytes"), "{error}");
    let few = shared.query(LENGTH, &[&vec![7_u8; 3]]).await.unwrap();
    assert_eq!(few[0].get::<_, i32>(0), 3);
    assert_eq!(shared.status().opened, 1);
    pool.batch_execute("CREATE TABLE t (n text)").await.unwrap();
    let mut copy = pool.copy_in("COPY t FROM STDIN").await.unwrap();
    let error = copy.send(value).await.unwrap_err();
    assert!(error.to_string().contains("1073741823 bytes"), "{error}");
    copy.send("a\n").await.unwrap();
    assert_eq!(copy.finish().await.unwrap(), 1);
    let after: i32 = pool.query_one(process, &[]).await.unwrap().get(0);
    assert_eq!(before, after, "it is the same connection");
}

#[tokio::test]
async fn connections_that_were_ended_while_idle_cost_no_error() {
    let server = Server::start();
    let pool = Pool::builder()
        .url(server.url())
        .max_size(4)
        .build()
        .unwrap();
    for round in 0..25 {
        let all = futures_util::future::try_join_all((0..4).map(|_| pool.get())).await;
        drop(all.unwrap());
        server.sql("SELECT count(pg_terminate_backend(pid, 30000)) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()");
        let rows = pool.query("SELECT $1::int", &[&round]).await;
        assert_eq!(rows.unwrap()[0].get::<_, i32>(0), round);
        let done = pool.transaction(|tx| async move { tx.execute("SELECT 1", &[]).await });
        done.await.unwrap();
    }
}

#[tokio::test]
async fn a_call_that_was_never_sent_does_not_fail_its_transaction() {
    let server = Server::start();
    server.sql("CREATE TABLE t (n int)");
    let pool = Pool::builder()
        .url(server.url())
        .max_size(1)
        .build()
        .unwrap();
    let insert = "INSERT INTO t VALUES ($1)";
    for _ in 0..3 {
        let done = pool.transaction(|tx| async move {
            tx.execute(insert, &[&1]).await?;
            for error in [
                tx.execute(insert, &[&"one"]).await.unwrap_err(),
                tx.execute(insert, &[]).await.unwrap_err(),
                tx.query(insert, &vec![&1_i32 as &(dyn ToSql + Sync); 70_000])
                    .await
                    .unwrap_err(),
            ] {
                assert!(!error.is_database() && !error.is_disconnected(), "{error}");
            }
            tx.execute(insert, &[&2]).await
        });
        done.await.unwrap();
    }
    assert_eq!(server.sql("SELECT count(*) FROM t"), "6");
    assert_eq!(pool.status().opened, 1);
}

/// Polls a future once, and drops it.
fn poll_once<T>(future: impl Future<Output = T>) {
    let mut context = Context::from_waker(Waker::noop());
    let _ = pin!(future).poll(&mut context).is_ready();
}

#[tokio::test]
async fn what_stays_open_beyond_its_lease_costs_the_connection_and_not_the_next_user() {
    let server = Server::start();
    server.sql("CREATE TABLE t (n int)");
    let pool = Pool::builder()
        .url(server.url())
        .max_size(1)
        .acquire_timeout(SOON)
        .build()
        .unwrap();
    for _ in 0..3 {
        let connection = pool.get().await.unwrap();
        let kept = connection
            .driver()
            .copy_in::<_, bytes::Bytes>("COPY t FROM STDIN")
            .await
            .unwrap();
        drop(connection);
        pool.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
        drop(kept);
        let connection = pool.get().await.unwrap();
        let none: [i32; 0] = [];
        let kept = connection
            .driver()
            .query_raw("SELECT generate_series(1, 10000000)", none)
            .await
            .unwrap();
        drop(connection);
        pool.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
        drop(kept);
        let connection = pool.get().await.unwrap();
        let kept = connection
            .driver()
            .copy_out("COPY (SELECT generate_series(1, 10000000)) TO STDOUT")
            .await
            .unwrap();
        drop(connection);
        pool.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
        drop(kept);
        // Begun, and given up at once.
        let connection = pool.get().await.unwrap();
        poll_once(connection.copy_in("COPY t FROM STDIN"));
        poll_once(connection.copy_out("COPY t TO STDOUT"));
        poll_once(connection.stream("SELECT 1", &[]));
        drop(connection);
        pool.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
    }
    assert_eq!(server.sql("SELECT count(*) FROM t"), "12");
}

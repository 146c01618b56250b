//! Processes that share what a PostgreSQL server can serve: `max_size = "auto"`.
//!
//! The processes are this test binary, run again for one test of it: [`a_process_of_the_fleet`].
#![allow(clippy::unwrap_used)]

use std::{
    env,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use pool_db::{
    Error,
    postgres::{Builder, Connection, Fleet, FleetLimit, FleetState, Pool},
};
use tests::{Process, User, pgbouncer::Bouncer, postgres::Server};
use tokio::time::{sleep, timeout};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// Nothing here takes that long.
const SOON: Duration = Duration::from_secs(30);

/// A server with a role that is no superuser, and a watch on its sessions.
fn server(settings: &[(&str, u32)]) -> Server {
    let mut builder = Server::builder();
    for (name, value) in settings {
        builder = builder.setting(*name, value);
    }
    let server = builder.start();
    server.sql("CREATE ROLE me LOGIN");
    server
}

fn url(server: &Server) -> String {
    url_at(server.port())
}

fn url_at(port: u16) -> String {
    format!("postgres://me@127.0.0.1:{port}/postgres")
}

/// A process's pool, which may have as many connections as there are seats.
fn builder(url: &str, fleet: Fleet) -> Builder {
    Pool::builder().url(url).fleet(fleet.name("shop"))
}

fn fleet_of(most: u32) -> Fleet {
    Fleet::new().max_connections(most)
}

/// Looks at the sessions of the role, all the time, and remembers the worst.
struct Watch {
    pool: Pool,
    most: Arc<AtomicU64>,
    looks: Arc<AtomicU64>,
    twins: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Watch {
    fn start(server: &Server) -> Self {
        let pool = Pool::builder()
            .url(server.url())
            .max_size(1)
            .build()
            .unwrap();
        let (most, looks, twins) = <(Arc<AtomicU64>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let ends = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn({
            let (pool, most, looks) = (pool.clone(), Arc::clone(&most), Arc::clone(&looks));
            let (twins, ends) = (Arc::clone(&twins), Arc::clone(&ends));
            async move {
                while !ends.load(Relaxed) {
                    let row = pool.query_one(SESSIONS, &[]).await.unwrap();
                    let (all, names): (i64, i64) = (row.get(0), row.get(1));
                    most.fetch_max(all.unsigned_abs(), Relaxed);
                    twins.fetch_max(names.unsigned_abs(), Relaxed);
                    looks.fetch_add(1, Relaxed);
                    sleep(2 * MS).await;
                }
            }
        });
        Self {
            pool,
            most,
            looks,
            twins,
            ends,
            task,
        }
    }

    /// How many sessions there are now.
    async fn now(&self) -> i64 {
        self.pool.query_one(SESSIONS, &[]).await.unwrap().get(0)
    }

    async fn until(&self, what: &str, is_it: impl Fn(i64) -> bool) {
        let begin = Instant::now();
        loop {
            let now = self.now().await;
            if is_it(now) {
                return;
            }
            assert!(begin.elapsed() < SOON, "{now} sessions: {what}");
            sleep(10 * MS).await;
        }
    }

    /// The most sessions that there ever were, after so many looks, and how many had the name of another.
    async fn end(self) -> (u64, u64) {
        self.ends.store(true, Relaxed);
        self.task.await.unwrap();
        assert!(self.looks.load(Relaxed) > 10);
        (self.most.load(Relaxed), self.twins.load(Relaxed))
    }
}

/// All sessions of the role, and how many pooled ones have a name that another has.
const SESSIONS: &str = "SELECT count(*), count(*) FILTER (WHERE application_name ~ '#[1-9]') \
                        - count(DISTINCT application_name) FILTER (WHERE application_name ~ '#[1-9]') \
                        FROM pg_stat_activity WHERE usename = 'me'";

/// Waits until it is so.
async fn until<T>(what: impl Fn() -> T, is_it: impl Fn(&T) -> bool) -> T
where
    T: std::fmt::Debug,
{
    let begin = Instant::now();
    loop {
        let now = what();
        if is_it(&now) {
            return now;
        }
        assert!(begin.elapsed() < SOON, "{now:?}");
        sleep(10 * MS).await;
    }
}

/// Takes so many connections at once.
async fn take(pool: &Pool, count: usize) -> Vec<Connection> {
    let gets = join_all((0..count).map(|_| pool.get().timeout(SOON)));
    gets.await.into_iter().map(Result::unwrap).collect()
}

async fn name_of(connection: &Connection) -> String {
    let row = connection.query_one("SHOW application_name", &[]);
    row.await.unwrap().get(0)
}

/// A process with so many tasks that all need a connection, all the time.
fn process(server: &Server, folder: &Path, number: u32, tasks: u32, most: u32) -> Process {
    let mut command = User::current().command(env::current_exe().unwrap());
    command.args([
        "--ignored",
        "--exact",
        "--nocapture",
        "a_process_of_the_fleet",
    ]);
    command
        .env("FLEET_TEST_URL", url(server))
        .env("FLEET_TEST_TASKS", tasks.to_string())
        .env("FLEET_TEST_MOST", most.to_string());
    Process::spawn(command, &folder.join(format!("process.{number}")))
}

#[test]
#[ignore = "a part of other tests, which run it in processes of their own"]
fn a_process_of_the_fleet() {
    let variable = |name: &str| env::var(name).expect("only run by other tests");
    let number = |name: &str| variable(name).parse::<u32>().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let fleet = fleet_of(number("FLEET_TEST_MOST")).processes(6);
        let pool = builder(&variable("FLEET_TEST_URL"), fleet).build().unwrap();
        let tasks = (0..number("FLEET_TEST_TASKS")).map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                loop {
                    let begin = Instant::now();
                    let got = pool.get().timeout(2 * SOON).await;
                    // The server may be gone, as is meant in one test.
                    let Ok(connection) = got else {
                        sleep(10 * MS).await;
                        continue;
                    };
                    println!("waited {}", begin.elapsed().as_millis());
                    if connection
                        .query("SELECT pg_sleep(0.01)", &[])
                        .await
                        .is_err()
                    {
                        println!("failed");
                    }
                }
            })
        });
        join_all(tasks.collect::<Vec<_>>()).await;
    });
}

/// How many connections a process has had.
fn gets_of(process: &Process) -> usize {
    process.log().matches("waited").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_never_more_than_the_bound_while_processes_come_go_freeze_and_are_killed() {
    let server = server(&[("max_connections", 60)]);
    let watch = Watch::start(&server);
    let folder = tempfile::tempdir().unwrap();
    let rounds = env::var("POOL_TEST_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok());
    let mut random = fastrand::Rng::with_seed(15);
    let (mut alive, mut frozen, mut ended) = (Vec::new(), Vec::<Process>::new(), 0);
    let mut started = 0;
    for _ in 0..rounds.unwrap_or(30) {
        let count = alive.len() + frozen.len();
        match random.u32(0..6) {
            0..=2 if count < 5 => {
                alive.push(process(
                    &server,
                    folder.path(),
                    started,
                    random.u32(1..8),
                    12,
                ));
                started += 1;
            }
            3 if alive.len() > 1 => {
                let mut one: Process = alive.swap_remove(random.usize(0..alive.len()));
                one.freeze();
                frozen.push(one);
            }
            4 if !frozen.is_empty() => {
                let mut one = frozen.swap_remove(random.usize(0..frozen.len()));
                one.thaw();
                alive.push(one);
            }
            5 if count > 2 => {
                let from = if frozen.is_empty() {
                    &mut alive
                } else {
                    &mut frozen
                };
                // Killed, where it is.
                drop(from.swap_remove(random.usize(0..from.len())));
                ended += 1;
            }
            _ => {}
        }
        sleep(Duration::from_millis(random.u64(20..400))).await;
    }
    assert!(started > 3 && ended > 1);
    frozen.iter_mut().for_each(Process::thaw);
    alive.append(&mut frozen);
    // Each of those that are left works on.
    for process in &alive {
        let had = gets_of(process);
        until(|| gets_of(process), |now| *now > had).await;
    }
    let logs: Vec<_> = alive.iter().map(Process::log).collect();
    drop(alive);
    assert!(logs.iter().all(|log| !log.contains("failed")));
    watch.until("all have ended", |now| now == 0).await;
    let (most, twins) = watch.end().await;
    assert!(most <= 12, "{most} sessions at once");
    assert!(most > 6, "{most}: the test has tried nothing");
    assert_eq!(twins, 0, "two sessions on one seat");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pools_that_need_as_much_have_equal_shares_and_one_that_needs_less_leaves_the_rest() {
    let server = server(&[]);
    let watch = Watch::start(&server);
    let [one, other] = [(); 2].map(|()| builder(&url(&server), fleet_of(13)).build().unwrap());
    // Alone it may have all but its own control session and that of one that joins.
    let all = take(&one, 11).await;
    let status = one.fleet().unwrap();
    assert_eq!(
        (status.state, status.processes, status.seats),
        (FleetState::Joined, 1, 11)
    );
    assert_eq!(
        (status.connections, status.limited_by, status.held),
        (13, FleetLimit::Setting, 11)
    );
    // Somebody waits, and gets what is given back above the share.
    let waits = tokio::spawn({
        let other = other.clone();
        async move { take(&other, 5).await }
    });
    until(|| one.status().max_size, |size| *size == 5).await;
    assert!(!waits.is_finished());
    drop(all);
    let theirs = timeout(SOON, waits).await.unwrap().unwrap();
    let status = other.fleet().unwrap();
    assert_eq!((status.processes, status.seats, status.share), (2, 10, 5));
    // The first needs nothing any more, so the second may have more, soon.
    let more = take(&other, 4).await;
    assert!(watch.now().await <= 13);
    drop((theirs, more));
    drop((one, other));
    watch.until("all handles are gone", |now| now == 0).await;
    let (most, twins) = watch.end().await;
    assert!(most <= 13 && twins == 0, "{most}, {twins}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limits_of_role_and_database_are_heeded_and_53300_is_no_outage() {
    let server = server(&[
        ("max_connections", 20),
        ("superuser_reserved_connections", 3),
    ]);
    let limit = async |sql: &str| {
        server.sql(sql);
        let pool = builder(&url(&server), Fleet::new()).build().unwrap();
        let connection = pool.get().await.unwrap();
        drop(connection);
        let status = pool.fleet().unwrap();
        assert!(pool.drain(SOON).await.is_complete());
        (status.connections, status.limited_by)
    };
    // Four fifths of 17.
    assert_eq!(limit("SELECT 1").await, (13, FleetLimit::Server));
    assert_eq!(
        limit("ALTER ROLE me CONNECTION LIMIT 7").await,
        (7, FleetLimit::Role)
    );
    assert_eq!(
        limit("ALTER DATABASE postgres CONNECTION LIMIT 5").await,
        (5, FleetLimit::Database)
    );
    server.sql("ALTER DATABASE postgres CONNECTION LIMIT -1; ALTER ROLE me CONNECTION LIMIT 4");
    until(
        || server.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'me'"),
        |now| now == "0",
    )
    .await;

    // Other sessions of the role, of which the fleet knows nothing, take all that it may have.
    let others = Pool::builder()
        .url(url(&server))
        .max_size(4)
        .build()
        .unwrap();
    let mut theirs = take(&others, 4).await;
    let pool = builder(&url(&server), Fleet::new()).build().unwrap();
    let error = pool.get().timeout(2 * SECOND).await.unwrap_err();
    assert!(
        error.is_timeout() && error.is_too_many() && error.is_connect(),
        "{error}"
    );
    assert!(
        error.is_unavailable() && error.to_string().contains("too many connections for role"),
        "{error}"
    );
    // Its waiters are not refused, however long that lasts: they get the first room that there is.
    let get = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().timeout(SOON).await }
    });
    sleep(3 * SECOND).await;
    assert!(!get.is_finished(), "{:?}", get.await);
    theirs.truncate(2);
    others.retain(|_, _| false);
    let had = timeout(SOON, get).await.unwrap().unwrap().unwrap();
    assert_eq!(
        had.query_one("SELECT 1", &[])
            .await
            .unwrap()
            .get::<_, i32>(0),
        1
    );
    // And a get that waits gets what is returned.
    let waits = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().timeout(SOON).await.map(drop) }
    });
    sleep(200 * MS).await;
    assert!(!waits.is_finished());
    drop(had);
    timeout(SOON, waits).await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_seat_is_free_the_error_says_so() {
    let server = server(&[]);
    // One connection beside the control session, and room for one that joins.
    let pool = builder(&url(&server), fleet_of(3)).build().unwrap();
    let held = pool.get().await.unwrap();
    let other = builder(&url(&server), fleet_of(3)).build().unwrap();
    let error = other.get().timeout(SECOND).await.unwrap_err();
    assert!(error.is_timeout() && error.is_too_many(), "{error}");
    let says = "no seat is free: the 2 processes of the fleet `shop` have 1 of 0 connections (3 with their own, by fleet_max_connections)";
    assert!(error.to_string().contains(says), "{error}");
    assert_eq!(error.as_sqlstate(), None);
    let status = other.fleet().unwrap();
    assert!(
        status
            .reason
            .is_some_and(|reason| reason.contains("no seat is free"))
    );
    drop(other);
    drop(held);
    // The first still serves.
    until(
        || pool.fleet().unwrap().processes,
        |processes| *processes == 1,
    )
    .await;
    drop(pool.get().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_are_fewer_seats_than_processes_they_take_turns() {
    let server = server(&[]);
    let watch = Watch::start(&server);
    let folder = tempfile::tempdir().unwrap();
    // Six are expected, so two seats are left for four.
    let processes: Vec<_> = (0..4)
        .map(|number| process(&server, folder.path(), number, 2, 8))
        .collect();
    for process in &processes {
        until(|| gets_of(process), |gets| *gets > 3).await;
    }
    drop(processes);
    let (most, twins) = watch.end().await;
    assert!(most <= 8 && twins == 0, "{most}, {twins}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seat_stays_taken_whatever_a_caller_does_to_its_session() {
    let server = server(&[]);
    let watch = Watch::start(&server);
    let [one, other] = [(); 2].map(|()| builder(&url(&server), fleet_of(5)).build().unwrap());
    let held = take(&one, 2).await;
    for connection in &held {
        connection
            .batch_execute("SET application_name = 'mine'; SELECT pg_advisory_unlock_all()")
            .await
            .unwrap();
        assert_eq!(name_of(connection).await, "mine");
    }
    // Five are three for two processes and one that joins: both of the three that are left are taken.
    let error = other.get().timeout(SECOND).await.unwrap_err();
    assert!(error.is_too_many(), "{error}");
    assert!(watch.now().await <= 5);
    let status = other.fleet().unwrap();
    assert_eq!((status.taken, status.seats), (2, 2));
    // For the next caller the session has its name again.
    drop(held);
    let again = until(|| one.try_get().ok(), Option::is_some).await.unwrap();
    let name = name_of(&again).await;
    assert!(name.starts_with("shop#") && name != "shop#0", "{name}");
    again.batch_execute("DISCARD ALL").await.unwrap();
    assert_eq!(name_of(&again).await, name);
    // One that is taken out of the pool keeps its seat until it ends.
    let detached = again.detach();
    until(|| one.fleet().unwrap().held, |held| *held >= 1).await;
    assert!(detached.query("SELECT 1", &[]).await.is_ok());
    drop(detached);
    until(|| one.fleet().unwrap().held, |held| *held <= 1).await;
    let (most, twins) = watch.end().await;
    assert!(most <= 5 && twins == 0, "{most}, {twins}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_control_session_is_lost_nothing_is_opened_and_what_is_open_stays() {
    let server = server(&[]);
    let watch = Watch::start(&server);
    let pool = builder(&url(&server), fleet_of(9)).build().unwrap();
    let held = take(&pool, 3).await;
    held[0]
        .batch_execute("SET application_name = 'mine'")
        .await
        .unwrap();
    // Nobody may log in, and the control session is ended.
    server.sql("ALTER ROLE me NOLOGIN");
    server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'shop#0/%'");
    until(
        || pool.fleet().unwrap().state,
        |state| *state == FleetState::Lost,
    )
    .await;
    assert!(pool.fleet().unwrap().reason.is_some());
    let error = pool.get().timeout(SECOND).await.unwrap_err();
    assert!(error.is_timeout() && !error.is_too_many(), "{error}");
    assert_eq!((pool.status().open, watch.now().await), (3, 3));
    assert_eq!(
        held[1]
            .query_one("SELECT 1", &[])
            .await
            .unwrap()
            .get::<_, i32>(0),
        1
    );
    server.sql("ALTER ROLE me LOGIN");
    // It comes back by itself, and takes the locks of the seats again, that of the renamed session too.
    until(
        || pool.fleet().unwrap().state,
        |state| *state == FleetState::Joined,
    )
    .await;
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2";
    // One more is opened by the attempts that go on while opens fail.
    until(
        || (pool.status().open, server.sql(locks)),
        |(open, count)| (*open, count.as_str()) == (4, "4"),
    )
    .await;
    let more = take(&pool, 2).await;
    assert_eq!(watch.now().await, 6);
    drop((held, more));
    // When the connections end, so do their locks.
    until(|| pool.status().leased, |leased| *leased == 0).await;
    pool.retire_all();
    until(|| server.sql(locks), |count| count == "0").await;
    let (most, twins) = watch.end().await;
    assert!(most <= 9 && twins == 0, "{most}, {twins}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_processes_find_each_other_again_after_a_restart_of_the_server() {
    let mut server = server(&[("max_connections", 60)]);
    let folder = tempfile::tempdir().unwrap();
    let processes: Vec<_> = (0..3)
        .map(|number| process(&server, folder.path(), number, 6, 12))
        .collect();
    for process in &processes {
        until(|| gets_of(process), |gets| *gets > 3).await;
    }
    server.restart();
    let watch = Watch::start(&server);
    let had: Vec<_> = processes.iter().map(gets_of).collect();
    for (process, had) in processes.iter().zip(had) {
        until(|| gets_of(process), |gets| *gets > had + 10).await;
    }
    sleep(SECOND).await;
    drop(processes);
    let (most, twins) = watch.end().await;
    assert!(most <= 12 && twins == 0, "{most}, {twins}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_get_that_is_dropped_while_it_opens_leaves_no_seat_behind() {
    let server = server(&[]);
    let watch = Watch::start(&server);
    let pool = builder(&url(&server), fleet_of(8)).build().unwrap();
    drop(pool.get().await.unwrap());
    for round in 0..60_u32 {
        pool.retain(|_, _| false);
        let gets = join_all((0..8).map(|_| pool.get()));
        // From before the first look to after the last.
        drop(timeout(Duration::from_micros(u64::from(round) * 200), gets).await);
    }
    // All six can be had, so none is lost.
    let all = take(&pool, 6).await;
    drop(all);
    assert!(pool.drain(SOON).await.is_complete());
    drop(pool);
    watch.until("all have ended", |now| now == 0).await;
    let (most, twins) = watch.end().await;
    assert!(most <= 8 && twins == 0, "{most}, {twins}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_proxy_it_is_off_and_says_so() {
    let server = server(&[]);
    for bouncer in [
        Bouncer::builder(&server).user("me", "").start(),
        Bouncer::builder(&server)
            .user("me", "")
            .transactions()
            .start(),
    ] {
        let pool = builder(&url_at(bouncer.port()), Fleet::new())
            .max_size(3)
            .build()
            .unwrap();
        let all = take(&pool, 3).await;
        let status = pool.fleet().unwrap();
        assert_eq!((status.state, status.share), (FleetState::Proxied, 3));
        assert!(
            status
                .reason
                .is_some_and(|reason| reason.contains("a proxy stands before the server"))
        );
        assert_eq!(pool.status().max_size, 3);
        let error = pool.get().timeout(50 * MS).await.unwrap_err();
        assert!(error.is_timeout() && !error.is_too_many(), "{error}");
        drop(all);
    }
    let pool = builder(&url(&server), Fleet::new()).build().unwrap();
    drop(pool.get().await.unwrap());
    assert_eq!(pool.fleet().unwrap().state, FleetState::Joined);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn max_size_bounds_the_share_and_min_idle_is_kept() {
    let server = server(&[]);
    let pool = builder(&url(&server), fleet_of(20))
        .max_size(4)
        .min_idle(2)
        .build()
        .unwrap();
    assert_eq!(
        (pool.status().max_size, pool.fleet().unwrap().processes),
        (2, 0)
    );
    pool.warm_up().await.unwrap();
    until(|| pool.status().max_size, |size| *size == 4).await;
    assert_eq!(pool.fleet().unwrap().share, 4);
    let all = take(&pool, 4).await;
    assert!(
        pool.get()
            .timeout(50 * MS)
            .await
            .is_err_and(|error: Error| error.is_timeout())
    );
    drop(all);
}

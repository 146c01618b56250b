//! Credentials from a provider, on a real server whose passwords change.

#![allow(clippy::unwrap_used)]

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use pool_db::Error;
use pool_db::postgres::{
    Builder, Connection, Credentials, CredentialsRequest, Pool, Shareable, Shared,
};
use tests::pgbouncer::Bouncer;
use tests::postgres::Server;
use tokio::time::sleep;

/// Nothing here takes that long.
const SOON: Duration = Duration::from_secs(20);

/// A server that lets `app` in with a password, which is `first-secret` for now.
fn server() -> Server {
    let server = Server::builder().password("root").start();
    server.sql("CREATE ROLE app LOGIN PASSWORD 'first-secret'");
    server
}

fn address(server: &Server) -> String {
    format!("postgres://app@127.0.0.1:{}/postgres", server.port())
}

fn builder(server: &Server) -> Builder {
    Pool::builder().url(address(server)).acquire_timeout(SOON)
}

/// What the provider answers from now on, and how often it was asked.
#[derive(Clone)]
struct Vault {
    answers: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<CredentialsRequest>>>,
}

#[derive(Clone)]
enum Answer {
    Password(&'static str),
    /// The first, and the second from then on.
    Once(&'static str, &'static str),
    /// A password whose time has passed.
    Old(&'static str),
    User(&'static str, &'static str),
    Fails,
    Panics,
    Hangs,
}

impl Vault {
    fn new(answer: Answer) -> Self {
        Self {
            answers: Arc::new(Mutex::new(answer)),
            asked: Arc::default(),
            requests: Arc::default(),
        }
    }

    fn answers(&self, answer: Answer) {
        *self.answers.lock().unwrap() = answer;
    }

    fn asked(&self) -> usize {
        self.asked.load(Relaxed)
    }

    async fn ask(self, request: CredentialsRequest) -> Result<Credentials, std::io::Error> {
        self.asked.fetch_add(1, Relaxed);
        self.requests.lock().unwrap().push(request);
        // Long enough for all who connect at once to come.
        sleep(Duration::from_millis(20)).await;
        let answer = self.answers.lock().unwrap().clone();
        let hour = Duration::from_secs(3600);
        match answer {
            Answer::Password(password) => Ok(Credentials::password(password).valid_for(hour)),
            Answer::Once(password, then) => {
                self.answers(Answer::Password(then));
                Ok(Credentials::password(password))
            }
            Answer::Old(password) => {
                Ok(Credentials::password(password).valid_until(SystemTime::now() - hour))
            }
            Answer::User(user, password) => Ok(Credentials::password(password).user(user)),
            Answer::Fails => Err(std::io::Error::other("the vault is sealed")),
            Answer::Panics => panic!("the vault has burnt"),
            Answer::Hangs => pending().await,
        }
    }
}

fn pool(server: &Server, vault: &Vault, max_size: u32) -> Pool {
    with(builder(server), vault)
        .max_size(max_size)
        .build()
        .unwrap()
}

fn with(builder: Builder, vault: &Vault) -> Builder {
    let vault = vault.clone();
    builder.credentials(move |request| vault.clone().ask(request))
}

async fn pid(connection: &Connection) -> i32 {
    let row = connection.query_one("SELECT pg_backend_pid()", &[]).await;
    row.unwrap().get(0)
}

async fn fails(pool: &Pool) -> Error {
    let error = pool.get().timeout(SOON).await.unwrap_err();
    for shown in [
        error.to_string(),
        format!("{error:?}"),
        format!("{pool:?} {:?}", pool.manager()),
    ] {
        assert!(!shown.contains("secret"), "{shown}");
    }
    assert!(error.is_connect(), "{error}");
    error
}

/// Gets a connection as soon as the pool has found out that it can connect again.
async fn once_mended(pool: &Pool) -> Connection {
    let begin = Instant::now();
    loop {
        match pool.get().timeout(SOON).await {
            Ok(connection) => return connection,
            Err(error) => assert!(error.is_connect() && begin.elapsed() < SOON, "{error}"),
        }
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_connect_at_once_ask_once() {
    let server = server();
    let vault = Vault::new(Answer::Password("first-secret"));
    let pool = pool(&server, &vault, 16);
    let gets: Vec<_> = (0..64)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let connection = pool.get().await.unwrap();
                connection.query_one("SELECT pg_sleep(0.02)", &[]).await
            })
        })
        .collect();
    for get in gets {
        get.await.unwrap().unwrap();
    }
    assert!(pool.status().open > 1, "{:?}", pool.status());
    assert_eq!(vault.asked(), 1);
    let request = vault.requests.lock().unwrap()[0].clone();
    assert_eq!(
        (request.host.as_str(), request.port),
        ("127.0.0.1", server.port())
    );
    assert_eq!(request.user.as_deref(), Some("app"));
    assert_eq!(request.database.as_deref(), Some("postgres"));
}

#[tokio::test]
async fn a_password_that_was_changed_is_asked_for_when_the_old_one_is_refused() {
    let server = server();
    let vault = Vault::new(Answer::Password("first-secret"));
    let pool = pool(&server, &vault, 4);
    let first = pool.get().await.unwrap();
    let healthy = pid(&first).await;
    server.sql("ALTER ROLE app PASSWORD 'second-secret'");
    vault.answers(Answer::Password("second-secret"));
    let gets = [pool.get(), pool.get(), pool.get()];
    let others = futures_util::future::try_join_all(gets).await.unwrap();
    assert_eq!(others.len(), 3);
    assert_eq!(vault.asked(), 2, "once at first, once for all refusals");
    assert_eq!(pid(&first).await, healthy, "a session goes on");
}

#[tokio::test]
async fn rotation_asks_anew_and_leaves_healthy_sessions_alone() {
    let server = server();
    let vault = Vault::new(Answer::Password("first-secret"));
    // Else a slow connect has another one opened beside it, which asks as well.
    let pool = with(builder(&server), &vault)
        .max_size(2)
        .max_opening(1)
        .build()
        .unwrap();
    let first = pool.get().await.unwrap();
    let healthy = pid(&first).await;
    pool.rotate_credentials();
    let second = pool.get().await.unwrap();
    assert_eq!(vault.asked(), 2);
    let refused = "password authentication failed";
    assert!(!server.log().contains(refused), "{}", server.log());
    drop((first, second));
    let pids = [
        pid(&pool.get().await.unwrap()).await,
        pid(&pool.get().await.unwrap()).await,
    ];
    assert!(pids.contains(&healthy), "{pids:?} has {healthy}");
    pool.rotate_credentials();
    pool.retire_all();
    assert_ne!(pid(&pool.get().await.unwrap()).await, healthy);
    assert_eq!(vault.asked(), 3);
}

#[tokio::test]
async fn an_answer_to_a_question_before_the_rotation_is_not_kept() {
    let server = server();
    let vault = Vault::new(Answer::Password("first-secret"));
    // Else a slow connect has another one opened beside it, which asks as well.
    let pool = with(builder(&server), &vault)
        .max_size(2)
        .max_opening(1)
        .build()
        .unwrap();
    let early = {
        let pool = pool.clone();
        tokio::spawn(async move { pool.get().await })
    };
    while vault.asked() == 0 {
        tokio::task::yield_now().await;
    }
    pool.rotate_credentials();
    let early = early.await.unwrap().unwrap();
    let late = pool.get().await.unwrap();
    assert_eq!(vault.asked(), 2);
    drop((early, late));
}

#[tokio::test]
async fn a_wrong_password_once_is_not_noticed() {
    let server = server();
    let vault = Vault::new(Answer::Once("no-secret", "first-secret"));
    let pool = pool(&server, &vault, 1);
    drop(pool.get().await.unwrap());
    assert_eq!(vault.asked(), 2);
    assert_eq!(pool.status().open, 1);
}

#[tokio::test]
async fn a_refusal_by_pgbouncer_is_a_refusal() {
    let server = server();
    let bouncer = Bouncer::builder(&server)
        .user("app", "first-secret")
        .start();
    let vault = Vault::new(Answer::Once("no-secret", "first-secret"));
    let url = format!("postgres://app@127.0.0.1:{}/postgres", bouncer.port());
    let pool = with(Pool::builder().url(url), &vault).build().unwrap();
    drop(pool.get().await.unwrap());
    assert_eq!(vault.asked(), 2);
}

#[tokio::test]
async fn the_same_wrong_password_is_not_tried_twice() {
    let server = server();
    let vault = Vault::new(Answer::Password("no-secret"));
    let pool = pool(&server, &vault, 1);
    let error = fails(&pool).await;
    assert_eq!(error.as_sqlstate(), Some("28P01"), "{error}");
    pool.close();
    let tried = server
        .log()
        .matches("password authentication failed for user \"app\"")
        .count();
    assert!(tried >= 1 && vault.asked() >= 2);
    assert!(
        tried <= vault.asked(),
        "{tried} attempts with {} answers",
        vault.asked()
    );
}

#[tokio::test]
async fn a_provider_that_fails_or_panics_is_a_failed_connect_that_says_so() {
    let server = server();
    for (answer, says) in [
        (
            Answer::Fails,
            "the provider of the credentials failed: the vault is sealed",
        ),
        (
            Answer::Panics,
            "the provider of the credentials panicked: the vault has burnt",
        ),
    ] {
        let vault = Vault::new(answer);
        let pool = pool(&server, &vault, 16);
        let gets = (0..64).map(|_| pool.get().timeout(Duration::from_secs(1)));
        for error in futures_util::future::join_all(gets).await {
            let error = error.unwrap_err();
            assert!(error.is_connect(), "{error}");
            assert!(error.to_string().contains(says), "{error}");
        }
        assert!(vault.asked() < 32, "the pool backs off: {}", vault.asked());
        vault.answers(Answer::Password("first-secret"));
        drop(once_mended(&pool).await);
    }
}

#[tokio::test]
async fn a_provider_that_hangs_is_a_failed_connect_in_bounded_time() {
    let server = server();
    let vault = Vault::new(Answer::Hangs);
    let pool = with(builder(&server), &vault)
        .max_size(4)
        .credentials_timeout(Duration::from_millis(100))
        .build()
        .unwrap();
    let error = fails(&pool).await;
    let says = "the provider of the credentials did not answer within 100ms (credentials_timeout)";
    assert!(error.to_string().contains(says), "{error}");
    vault.answers(Answer::Password("first-secret"));
    drop(once_mended(&pool).await);
}

#[tokio::test]
async fn credentials_are_kept_as_long_as_they_are_valid() {
    let server = server();
    for (answer, asked) in [
        (Answer::Password("first-secret"), 1),
        (Answer::Old("first-secret"), 3),
    ] {
        let vault = Vault::new(answer);
        let pool = pool(&server, &vault, 3);
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(pool.get().await.unwrap());
        }
        assert_eq!(vault.asked(), asked);
    }
}

#[tokio::test]
async fn the_provider_may_choose_the_user_and_replaces_the_password_of_the_address() {
    let server = server();
    server.sql("CREATE ROLE lease_7 LOGIN PASSWORD 'lease-secret'");
    let vault = Vault::new(Answer::User("lease_7", "lease-secret"));
    let url = address(&server).replace("app@", "app:other-secret@");
    let pool = with(Pool::builder().url(url), &vault).build().unwrap();
    let connection = pool.get().await.unwrap();
    let row = connection.query_one("SELECT current_user::text", &[]).await;
    assert_eq!(row.unwrap().get::<_, String>(0), "lease_7");
}

#[tokio::test]
async fn a_listener_logs_in_with_the_credentials_of_its_pool() {
    let server = server();
    let vault = Vault::new(Answer::Password("first-secret"));
    let pool = pool(&server, &vault, 1);
    drop(pool.get().await.unwrap());
    let mut listener = pool.listen(["c"]).await.unwrap();
    assert_eq!(vault.asked(), 1);
    server.sql("ALTER ROLE app PASSWORD 'second-secret'");
    vault.answers(Answer::Password("second-secret"));
    server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'");
    let event = tokio::time::timeout(SOON, listener.recv()).await.unwrap();
    assert!(
        matches!(event, Some(pool_db::postgres::Event::Gap)),
        "{event:?}"
    );
    assert_eq!(vault.asked(), 2);
}

#[tokio::test]
async fn shared_connections_log_in_with_credentials_that_rotate() {
    const PID: Shareable<'_> = Shareable::new("SELECT pg_backend_pid()");
    let server = server();
    let vault = Vault::new(Answer::Password("first-secret"));
    let shared = Shared::builder()
        .url(address(&server))
        .acquire_timeout(SOON)
        .credentials({
            let vault = vault.clone();
            move |request| vault.clone().ask(request)
        })
        .build()
        .unwrap();
    let pid = async || -> i32 { shared.query_one(PID, &[]).await.unwrap().get(0) };
    let first = pid().await;
    server.sql("ALTER ROLE app PASSWORD 'second-secret'");
    vault.answers(Answer::Password("second-secret"));
    assert_eq!(
        (pid().await, vault.asked()),
        (first, 1),
        "the session goes on"
    );
    shared.rotate_credentials();
    shared.retire_all();
    assert_ne!(pid().await, first);
    assert_eq!(vault.asked(), 2);
    let refused = "password authentication failed";
    assert!(!server.log().contains(refused), "{}", server.log());
    vault.answers(Answer::Fails);
    shared.rotate_credentials();
    shared.retire_all();
    let error = shared.query_one(PID, &[]).await.unwrap_err();
    assert!(error.is_connect(), "{error}");
    assert!(
        !format!("{error:?} {shared:?}").contains("-secret"),
        "{error:?}"
    );
}

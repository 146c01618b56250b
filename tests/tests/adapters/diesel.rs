//! diesel-async's manager, which is one for deadpool and one for bb8.

use std::time::Duration;

use bb8_redis::bb8::ManageConnection;
use diesel::sql_types::{BigInt, Integer};
use diesel::{IntoSql, QueryableByName, select, sql_query};
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, PoolError, RecyclingMethod,
};
use diesel_async::{
    AnsiTransactionManager, AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection,
    TransactionManager,
};
use futures_util::FutureExt;
use pool_core::adapt::{Bb8, Deadpool, ForeignError};
use pool_core::observe::CloseReason;
use pool_core::{Lease, Manager, Pool};
use tests::postgres::Server;
use tokio::time::timeout;

use crate::{
    SIZE, comes, ends, finds_out_that_it_is_silent, outlasts, pool, recovers, says_why, share, wary,
};

type Connections = AsyncDieselConnectionManager<AsyncPgConnection>;

fn connections(server: &Server) -> Connections {
    Connections::new(server.url())
}

/// One that asks the server nothing before it hands out what was idle.
fn trusting(server: &Server) -> Connections {
    let mut config = ManagerConfig::default();
    config.recycling_method = RecyclingMethod::Fast;
    Connections::new_with_config(server.url(), config)
}

/// The server's process for this connection.
async fn backend(connection: &mut AsyncPgConnection) -> i32 {
    let asked = sql_query("SELECT pg_backend_pid() AS id").get_result::<Backend>(connection);
    asked.await.unwrap().id
}

#[derive(QueryableByName)]
struct Backend {
    #[diesel(sql_type = Integer)]
    id: i32,
}

/// What the server says that this process waits for, once it has answered: `idle`, `idle in transaction`..
fn state(server: &Server, backend: i32) -> String {
    let state = format!("SELECT state FROM pg_stat_activity WHERE pid = {backend}");
    let mut answers = (0..100).map(|_| server.sql(&state));
    answers
        .find(|state| state != "active")
        .expect("it answers nothing")
}

async fn works(connection: &mut AsyncPgConnection) -> bool {
    let asked = select(7_i64.into_sql::<BigInt>()).get_result::<i64>(connection);
    matches!(asked.await, Ok(7))
}

const BACKENDS: &str = "SELECT count(*) FROM pg_stat_activity \
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
const CUT_OFF: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";

async fn shares_and_recovers<M>(adapt: impl Fn(Connections) -> M)
where
    M: Manager<Resource = AsyncPgConnection, Error = ForeignError>,
{
    let server = Server::start();
    let pool = pool(adapt(connections(&server)));
    share(&pool, async |connection, n| {
        let asked = select((n as i64).into_sql::<BigInt>()).get_result::<i64>(connection);
        asked.await.unwrap() as usize
    })
    .await;
    assert_eq!(server.sql(BACKENDS), SIZE.to_string());
    server.sql(CUT_OFF);
    recovers(&pool, works).await;

    let mut server = outlasts(&pool, server, works).await;
    server.kill();
    says_why::<_, PoolError>(adapt(connections(&server))).await;
    server.restart();
    recovers(&pool, works).await;
    ends(pool).await;
}

#[tokio::test]
async fn deadpool_diesel_shares_and_recovers() {
    shares_and_recovers(Deadpool::new).await;
}

#[tokio::test]
async fn bb8_diesel_shares_and_recovers() {
    shares_and_recovers(Bb8::new).await;
}

#[tokio::test]
async fn deadpool_diesel_finds_out_that_the_server_is_silent() {
    let mut server = Server::start();
    let pool = wary(Deadpool::new(connections(&server))).build().unwrap();
    finds_out_that_it_is_silent(&pool, &mut server).await;
    ends(pool).await;
}

#[tokio::test]
async fn bb8_diesel_finds_out_that_the_server_is_silent() {
    let mut server = Server::start();
    let pool = wary(Bb8::new(connections(&server))).build().unwrap();
    finds_out_that_it_is_silent(&pool, &mut server).await;
    ends(pool).await;
}

/// A connection in a transaction is nobody else's, however it came to be in one (diesel_async#96, diesel_async#198).
async fn hands_on_no_transaction<M>(server: &Server, manager: M, found_out: CloseReason)
where
    M: Manager<Resource = AsyncPgConnection, Error = ForeignError>,
{
    type Transactions = AnsiTransactionManager;
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    let get = async || pool.get().await.unwrap_or_else(|error| panic!("{error}"));
    let mut last = backend(&mut *get().await).await;
    let mut closed = 0;
    // None of these is marked by the lease: what is seen is what diesel knows.
    for way in 0..6 {
        let mut connection = get().await;
        assert_eq!(backend(&mut connection).await, last, "{way}");
        match way {
            // Begun and left.
            0 => Transactions::begin_transaction(&mut *connection)
                .await
                .unwrap(),
            // Aborted by an error, and left.
            1 => {
                Transactions::begin_transaction(&mut *connection)
                    .await
                    .unwrap();
                let failed = connection.batch_execute("SELECT 1 / 0").await;
                assert!(failed.is_err());
            }
            // Dropped while a statement of it runs.
            2 => {
                let half = connection.transaction(async |connection| {
                    sql_query("SELECT pg_sleep(30)").execute(connection).await
                });
                assert!(timeout(Duration::from_millis(100), half).await.is_err());
            }
            // Dropped while it is begun: the server may have heard of it, or not.
            3 => {
                let half = Transactions::begin_transaction(&mut *connection);
                assert!(half.now_or_never().is_none(), "{way}");
            }
            // Dropped while it is ended.
            4 => {
                Transactions::begin_transaction(&mut *connection)
                    .await
                    .unwrap();
                let half = Transactions::commit_transaction(&mut *connection);
                assert!(half.now_or_never().is_none(), "{way}");
            }
            // Its user panics. The lease sees that itself.
            _ => {
                let user = tokio::spawn(async move {
                    let _connection = connection;
                    panic!("on purpose");
                });
                assert!(user.await.is_err());
                let mut connection = get().await;
                assert_ne!(backend(&mut connection).await, last);
                break;
            }
        }
        drop(connection);
        let mut connection = get().await;
        let next = backend(&mut connection).await;
        assert_ne!(next, last, "{way}");
        assert_eq!(state(server, next), "idle", "{way}");
        closed += 1;
        assert_eq!(pool.status().closed.by(found_out), closed, "{way}");
        last = next;
    }
    ends(pool).await;
}

#[tokio::test]
async fn deadpool_diesel_hands_on_no_transaction() {
    let server = Server::start();
    let manager = Deadpool::new(trusting(&server));
    hands_on_no_transaction(&server, manager, CloseReason::ResetFailed).await;
    let manager = Deadpool::new(connections(&server));
    hands_on_no_transaction(&server, manager, CloseReason::ResetFailed).await;
}

#[tokio::test]
async fn bb8_diesel_hands_on_no_transaction() {
    let server = Server::start();
    let manager = Bb8::new(trusting(&server));
    hands_on_no_transaction(&server, manager, CloseReason::Broken).await;
}

/// The transaction that tests begin and never end stays with its connection.
async fn keeps_a_test_transaction<M>(server: &Server, manager: M)
where
    M: Manager<Resource = AsyncPgConnection, Error = ForeignError>,
{
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    let get = async || pool.get().await.unwrap_or_else(|error| panic!("{error}"));
    let mut connection = get().await;
    connection.begin_test_transaction().await.unwrap();
    connection
        .batch_execute("CREATE TABLE mine (n int)")
        .await
        .unwrap();
    drop(connection);
    for _ in 0..3 {
        let mut connection = get().await;
        sql_query("INSERT INTO mine VALUES (1)")
            .execute(&mut *connection)
            .await
            .unwrap();
        let backend = backend(&mut connection).await;
        assert_eq!(state(server, backend), "idle in transaction");
    }
    assert_eq!(pool.status().opened, 1);
    // An operation that was dropped half-way is worse: that connection is not handed on.
    let mut connection = get().await;
    let half = Lease::run(&mut connection, async |connection| {
        sql_query("SELECT pg_sleep(30)").execute(connection).await
    });
    assert!(timeout(Duration::from_millis(100), half).await.is_err());
    drop(connection);
    let next = backend(&mut *get().await).await;
    assert_eq!(state(server, next), "idle");
    assert_eq!(pool.status().closed.by(CloseReason::Tainted), 1);
    ends(pool).await;
}

#[tokio::test]
async fn deadpool_diesel_keeps_a_test_transaction() {
    let server = Server::start();
    keeps_a_test_transaction(&server, Deadpool::new(connections(&server))).await;
}

#[tokio::test]
async fn bb8_diesel_keeps_a_test_transaction() {
    let server = Server::start();
    keeps_a_test_transaction(&server, Bb8::new(connections(&server))).await;
}

/// What was cut off while it was idle is not handed out, even where no question is asked.
#[tokio::test]
async fn bb8_diesel_checks_what_was_idle() {
    let server = Server::start();
    let pool = pool(Bb8::new(trusting(&server)));
    let first = backend(&mut pool.get().await.unwrap()).await;
    server.sql(CUT_OFF);
    let cut_off = async || {
        let mut broken = false;
        pool.retain(|connection, _| {
            broken = pool.manager().inner().has_broken(connection);
            true
        });
        broken
    };
    comes(cut_off).await;
    assert_ne!(backend(&mut pool.get().await.unwrap()).await, first);
    assert_eq!(pool.status().closed.by(CloseReason::Broken), 1);
    ends(pool).await;
}

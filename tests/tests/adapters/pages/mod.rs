//! The programs of the pages of pool-db about other people's drivers: each page shows its program as it is here.

mod diesel;
mod diesel_async;
mod lapin;

use std::fs;
use std::time::Duration;

use ::diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use ::diesel::{Connection, SqliteConnection};
use deadpool_lapin::lapin::options::QueueDeclareOptions;
use deadpool_lapin::lapin::types::FieldTable;
use futures_util::FutureExt as _;
use pool_core::{Lease, observe::CloseReason};
use tokio::time::timeout;

use crate::{comes, ends};

#[test]
fn each_page_shows_its_program() {
    for (page, program) in [
        ("diesel", "diesel"),
        ("diesel_async", "diesel_async"),
        ("lapin", "lapin"),
    ] {
        let root = env!("CARGO_MANIFEST_DIR");
        let page = format!("{root}/../pool-db/docs/{page}.md");
        let program = format!("{root}/tests/adapters/pages/{program}.rs");
        let text = fs::read_to_string(&page).unwrap();
        let shown = shown(&text);
        let program = fs::read_to_string(&program).unwrap();
        assert!(shown == program, "{page} shows another program:\n{program}");
    }
}

/// The first code of a page that is longer than a few lines.
fn shown(page: &str) -> &str {
    let mut blocks = page.split("```rust,ignore\n").skip(1);
    blocks
        .find_map(|block| block.split_once("```"))
        .map_or("", |(code, _)| code)
}

#[tokio::test]
async fn diesels_blocking_connections_are_pooled_off_the_executor() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sales.db");
    let url = file.to_str().unwrap();
    SqliteConnection::establish(url)
        .unwrap()
        .batch_execute("PRAGMA journal_mode = wal; CREATE TABLE sales (amount BIGINT NOT NULL)")
        .unwrap();
    let pool = diesel::build(url).unwrap();
    assert_eq!(diesel::total(&pool).await.unwrap(), 7);
    assert_eq!(diesel::total(&pool).await.unwrap(), 14);

    // Begun as a text: rolled back. Begun by diesel: closed. A panic: closed.
    diesel::run(&pool, |connection| {
        connection.batch_execute("BEGIN; DELETE FROM sales")
    })
    .await
    .unwrap();
    comes(async || pool.status().idle == 1).await;
    assert_eq!(pool.status().closed.total(), 0);
    assert_eq!(diesel::total(&pool).await.unwrap(), 21);
    let begun = diesel::run(&pool, AnsiTransactionManager::begin_transaction);
    begun.await.unwrap();
    assert_eq!(pool.status().closed.by(CloseReason::Broken), 1);
    let panics = diesel::run(&pool, |_| -> ::diesel::QueryResult<()> {
        panic!("on purpose")
    });
    assert!(matches!(panics.await, Err(diesel::Error::Threads(error)) if error.is_panic()));
    assert_eq!(pool.status().closed.by(CloseReason::Broken), 2);

    // A caller that leaves: its job ends, and its connection is nobody else's.
    let slow = diesel::run(&pool, |connection| {
        std::thread::sleep(Duration::from_millis(200));
        connection.batch_execute("SELECT 1")
    });
    assert!(timeout(Duration::from_millis(20), slow).await.is_err());
    assert_eq!(diesel::total(&pool).await.unwrap(), 28);
    let missing = diesel::build("/nonexistent/x.db").unwrap();
    let error = diesel::total(&missing).await.unwrap_err();
    assert!(
        matches!(&error, diesel::Error::Pool(error) if error.is_connect()),
        "{error}"
    );
    ends(pool).await;
}

#[tokio::test]
async fn diesel_async_is_pooled_by_its_own_manager() {
    let server = tests::postgres::Server::start();
    server.sql("CREATE TABLE sales (amount bigint NOT NULL)");
    let pool = diesel_async::build(&server.url()).unwrap();
    let mut lease = pool.get().await.unwrap();
    assert_eq!(diesel_async::total(&mut lease).await.unwrap(), 7);
    // Dropped after its first poll: whatever it had begun, the next caller sees none of it.
    let given_up = diesel_async::total(&mut lease).now_or_never();
    assert!(given_up.is_none());
    drop(lease);
    let mut lease = pool.get().await.unwrap();
    assert_eq!(diesel_async::total(&mut lease).await.unwrap(), 14);
    drop(lease);
    ends(pool).await;
}

#[tokio::test]
async fn rabbitmqs_channels_are_pooled_in_confirm_mode() {
    let server = tests::rabbitmq::Server::start();
    let connections = lapin::connections(&server.url()).unwrap();
    let connection = Lease::detach(connections.get().await.unwrap());
    let channels = lapin::channels(connection).unwrap();
    let channel = channels.get().await.unwrap();
    let declare = QueueDeclareOptions {
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare("orders".into(), declare, FieldTable::default());
    declared.await.unwrap();
    assert!(lapin::publish(&channel, "orders", b"one").await.unwrap());
    // Confirmed, and yet in no queue.
    assert!(!lapin::publish(&channel, "nowhere", b"two").await.unwrap());
    let messages = channel.queue_declare(
        "orders".into(),
        QueueDeclareOptions {
            passive: true,
            ..declare
        },
        FieldTable::default(),
    );
    assert_eq!(messages.await.unwrap().message_count(), 1);

    // The broker closes a channel whose user makes a mistake, and nobody else gets it.
    let mistake = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare("missing".into(), mistake, FieldTable::default());
    assert!(declared.await.is_err());
    comes(async || !channel.status().connected()).await;
    drop(channel);
    assert_eq!(channels.status().closed.by(CloseReason::Broken), 1);
    let channel = channels.get().await.unwrap();
    assert!(lapin::publish(&channel, "orders", b"three").await.unwrap());
    drop(channel);
    ends(channels).await;
    ends(connections).await;
}

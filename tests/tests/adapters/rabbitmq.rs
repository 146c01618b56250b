//! deadpool-lapin.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use deadpool_lapin::lapin::options::{BasicGetOptions, BasicPublishOptions, QueueDeclareOptions};
use deadpool_lapin::lapin::types::FieldTable;
use deadpool_lapin::lapin::{self, BasicProperties, ConnectionProperties};
use pool_core::adapt::Deadpool;
use tests::rabbitmq::Server;

use crate::{ends, outlasts, pool, says_why, share};

fn deadpool_lapin(server: &Server) -> Deadpool<deadpool_lapin::Manager> {
    let runtime = lapin::runtime::default_runtime().unwrap();
    Deadpool::new(deadpool_lapin::Manager::new(
        server.url(),
        ConnectionProperties::default,
        runtime,
    ))
}

/// Sends a message to a queue of its own and fetches it.
async fn relay(connection: &mut lapin::Connection, n: usize) -> lapin::Result<usize> {
    let channel = connection.create_channel().await?;
    let queue = format!("queue {n}");
    let declare = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(queue.as_str().into(), declare, FieldTable::default())
        .await?;
    let payload = n.to_string();
    let sent = channel.basic_publish(
        "".into(),
        queue.as_str().into(),
        BasicPublishOptions::default(),
        payload.as_bytes(),
        BasicProperties::default(),
    );
    sent.await?.await?;
    let message = channel
        .basic_get(queue.as_str().into(), BasicGetOptions { no_ack: true })
        .await?;
    let text = String::from_utf8(message.unwrap().delivery.data).unwrap();
    Ok(text.parse().unwrap())
}

#[tokio::test]
async fn deadpool_lapin_shares_and_recovers() {
    let server = Server::start();
    let pool = pool(deadpool_lapin(&server));
    share(&pool, async |connection, n| {
        relay(connection, n).await.unwrap()
    })
    .await;
    // A queue belongs to one connection: no two may use the same.
    let queues = AtomicUsize::new(1000);
    let works = async |connection: &mut lapin::Connection| {
        let n = queues.fetch_add(1, SeqCst);
        matches!(relay(connection, n).await, Ok(got) if got == n)
    };
    let mut server = outlasts(&pool, server, &works).await;
    server.kill();
    says_why::<_, lapin::Error>(deadpool_lapin(&server)).await;
    ends(pool).await;
}

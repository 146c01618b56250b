//! What the next user gets.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, atomic::Ordering::SeqCst},
};

use pool_core::{Lease, Manager, Pool, Usage, observe::CloseReason};
use tokio::{sync::Semaphore, time::sleep, time::timeout};

use crate::{
    common::{Act, Backend, MS, SEC, end, get_all, poll_once, settle},
    pool,
};

/// A connection as a protocol sees it: answers come in the order of the questions, whether or not somebody waits for them.
struct Wire {
    id: u32,
    unread: VecDeque<String>,
    in_transaction: bool,
}

impl Wire {
    async fn ask(&mut self, question: &str) -> String {
        self.in_transaction |= question == "BEGIN";
        self.in_transaction &= question != "ROLLBACK";
        self.unread.push_back(format!("answer to {question}"));
        sleep(10 * MS).await;
        self.unread.pop_front().unwrap()
    }
}

/// With a reset it does what a driver would: reads what is left over and rolls back. Without, it leaves that to the pool.
struct Wires {
    with_reset: bool,
    opened: std::sync::atomic::AtomicU32,
}

impl Manager for Wires {
    type Resource = Wire;
    type Error = Infallible;

    async fn create(&self) -> Result<Wire, Infallible> {
        Ok(Wire {
            id: self.opened.fetch_add(1, SeqCst),
            unread: VecDeque::new(),
            in_transaction: false,
        })
    }

    async fn check(&self, _: &mut Wire, _: &Usage) -> Result<(), Infallible> {
        Ok(())
    }

    fn needs_reset(&self, wire: &mut Wire, usage: &Usage) -> bool {
        self.with_reset && (usage.tainted || wire.in_transaction)
    }

    async fn reset(&self, wire: &mut Wire, _: &Usage) -> Result<(), Infallible> {
        wire.unread.clear();
        wire.ask("ROLLBACK").await;
        Ok(())
    }
}

fn wires(with_reset: bool) -> Pool<Wires> {
    let opened = 0.into();
    let manager = Wires { with_reset, opened };
    Pool::builder(manager).max_size(1).build().unwrap()
}

// sqlx#4385, sqlx#4393: BEGIN was sent, its future dropped before the answer, and the next user found itself in a transaction.
#[tokio::test(start_paused = true)]
async fn a_begin_dropped_between_its_write_and_its_answer_leaves_nobody_in_a_transaction() {
    for with_reset in [true, false] {
        let pool = wires(with_reset);
        let mut lease = pool.get().await.unwrap();
        let begin = Lease::run(&mut lease, async |wire| wire.ask("BEGIN").await);
        assert!(timeout(MS, begin).await.is_err());
        assert!(lease.in_transaction);
        drop(lease);
        let lease = pool.get().await.unwrap();
        assert!(!lease.in_transaction);
        assert_eq!(
            lease.id == 0,
            with_reset,
            "cleaned where that is possible, else replaced"
        );
    }
}

// deadpool#97, deadpool#102: a command was aborted, and the next GET was answered with `PONG`.
#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_fetched_is_not_the_answer_to_the_next_question() {
    for with_reset in [true, false] {
        let pool = wires(with_reset);
        let asker = tokio::spawn({
            let pool = pool.clone();
            async move {
                let mut lease = pool.get().await.unwrap();
                Lease::run(&mut lease, async |wire| wire.ask("PING").await).await
            }
        });
        sleep(MS).await;
        asker.abort();
        assert!(asker.await.unwrap_err().is_cancelled());
        let mut lease = pool.get().await.unwrap();
        assert_eq!(lease.ask("GET x").await, "answer to GET x");
    }
}

// sqlx#4349: the peer fell silent, the ping on release never came back, and its permit was lost with it.
#[tokio::test(start_paused = true)]
async fn resets_that_never_end_give_their_places_back() {
    let backend = Backend::new();
    backend.on_reset(Act::Hang);
    let pool = pool(&backend).max_size(4).build().unwrap();
    for mut lease in get_all(&pool).await {
        lease.dirty = true;
    }
    settle().await;
    assert_eq!(pool.status().resetting, 4);
    assert_eq!(get_all(&pool).await.len(), 4);
    assert_eq!(pool.status().closed.by(CloseReason::ResetFailed), 4);
    end(pool).await;
}

// sqlx#1869: a get that was dropped while its connection was tested took the healthy connection with it.
#[tokio::test(start_paused = true)]
async fn a_get_dropped_during_a_check_does_not_cost_the_healthy_resource() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(1).build().unwrap();
    drop(pool.get().await.unwrap());
    sleep(SEC).await;
    backend.on_check(Act::Take(20 * MS));
    assert!(
        pool.get()
            .timeout(5 * MS)
            .await
            .unwrap_err()
            .phase()
            .is_some()
    );
    assert_eq!(pool.status().checking, 1);
    sleep(20 * MS).await;
    assert_eq!((pool.status().idle, backend.created()), (1, 1));
    assert_eq!(
        pool.try_get().unwrap().id,
        0,
        "checked just now, so not again"
    );
    end(pool).await;
}

// bb8: a cancelled `is_valid` put the connection back as healthy, though nobody had heard that it was.
#[tokio::test(start_paused = true)]
async fn nobody_gets_one_whose_check_did_not_end() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(1).build().unwrap();
    drop(pool.get().await.unwrap());
    sleep(SEC).await;
    let gate = Arc::new(Semaphore::new(0));
    backend.on_check(Act::Then(Arc::clone(&gate), Box::new(Act::Fail("gone"))));
    {
        let mut dropped = Box::pin(pool.get());
        assert!(poll_once(dropped.as_mut()).await.is_pending());
        settle().await;
    }
    assert!(pool.try_get().unwrap_err().is_busy());
    gate.add_permits(1);
    assert_eq!(pool.get().await.unwrap().id, 1);
    assert_eq!(pool.status().closed.by(CloseReason::CheckFailed), 1);

    backend.on_check(Act::Hang);
    sleep(SEC).await;
    assert_eq!(
        pool.get().await.unwrap().id,
        2,
        "cut off by its timeout is not healthy either"
    );
    end(pool).await;
}

// deadpool: every get recycles one dead object after the other, each bounded, all of them together not.
#[tokio::test(start_paused = true)]
async fn dead_ones_cost_a_get_no_more_than_its_own_deadline() {
    let backend = Backend::new();
    let pool = pool(&backend)
        .max_size(8)
        .check_timeout(SEC)
        .build()
        .unwrap();
    drop(get_all(&pool).await);
    sleep(SEC).await;
    backend.on_check(Act::Hang);
    let started = tokio::time::Instant::now();
    assert!(pool.get().timeout(300 * MS).await.unwrap_err().is_timeout());
    assert!((300..=302).contains(&started.elapsed().as_millis()));
    // The dead ones are found out at the same time, not one after the other.
    drop(get_all(&pool).await);
    assert!(started.elapsed() < 1500 * MS, "{:?}", started.elapsed());
    end(pool).await;
}

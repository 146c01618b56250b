//! Which idle one is handed out.

use pool_core::{IdleOrder, Lease, Pool, observe::CloseReason};
use tokio::time::sleep;

use crate::{
    common::{Backend, SEC, Thing, Things, end, get_all},
    pool,
};

/// Gives them back, one after the other.
async fn give_back(leases: Vec<Lease<Things>>, ids: &[u32]) {
    let mut leases: Vec<_> = leases.into_iter().map(Some).collect();
    for id in ids {
        let has_id = |lease: &Option<Lease<Things>>| lease.as_ref().is_some_and(|it| it.id == *id);
        let at = leases.iter().position(has_id).unwrap();
        drop(leases[at].take());
        sleep(SEC).await;
    }
}

async fn next_ids(pool: &Pool<Things>, count: usize) -> Vec<u32> {
    let gets = (0..count).map(|_| pool.get());
    let leases = futures_util::future::join_all(gets).await;
    leases.into_iter().map(|lease| lease.unwrap().id).collect()
}

#[tokio::test(start_paused = true)]
async fn fifo_hands_out_the_one_that_has_been_idle_longest() {
    let backend = Backend::new();
    let pool = pool(&backend)
        .max_size(4)
        .check_after(3600 * SEC)
        .idle_order(IdleOrder::Fifo)
        .build()
        .unwrap();
    give_back(get_all(&pool).await, &[2, 0, 3, 1]).await;
    // Of one at a time each goes to the end when it comes back.
    for id in [2, 0, 3, 1, 2, 0] {
        assert_eq!(pool.get().await.unwrap().id, id);
    }
    assert_eq!(next_ids(&pool, 4).await, [3, 1, 2, 0]);
    end(pool).await;
}

#[tokio::test(start_paused = true)]
async fn lifo_hands_out_what_was_used_before_and_not_what_came_back_first() {
    let backend = Backend::new();
    let pool = pool(&backend)
        .max_size(4)
        .check_after(3600 * SEC)
        .build()
        .unwrap();
    give_back(get_all(&pool).await, &[2, 0, 3, 1]).await;
    // The lowest seat, however often, and whatever else has been idle for longer.
    for _ in 0..6 {
        assert_eq!(pool.get().await.unwrap().id, 0);
    }
    assert_eq!(next_ids(&pool, 4).await, [0, 1, 2, 3]);
    end(pool).await;
}

/// They have no seat on the board that gets take from without a lock, and lie on a stack beside it.
#[tokio::test(start_paused = true)]
async fn of_those_by_which_a_pool_was_made_larger_lifo_hands_out_the_last_used() {
    let backend = Backend::new();
    let pool = pool(&backend)
        .max_size(1)
        .check_after(3600 * SEC)
        .build()
        .unwrap();
    let first = pool.get().await.unwrap();
    pool.resize(4).unwrap();
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(pool.get().await.unwrap());
    }
    give_back(leases, &[2, 1, 3]).await;
    for _ in 0..3 {
        assert_eq!(pool.get().await.unwrap().id, 3);
    }
    assert_eq!(next_ids(&pool, 3).await, [3, 1, 2]);
    drop(first);
    end(pool).await;
}

/// After a burst one user at a time is left, who comes often enough to keep one of them busy and no more.
#[tokio::test(start_paused = true)]
async fn under_light_use_lifo_lets_the_others_age_out_and_fifo_keeps_them_all() {
    for (order, left) in [(IdleOrder::Lifo, 1), (IdleOrder::Fifo, 4)] {
        let backend = Backend::new();
        let pool = pool(&backend)
            .max_size(4)
            .idle_timeout(Some(60 * SEC))
            .idle_order(order)
            .build()
            .unwrap();
        drop(get_all(&pool).await);
        let mut used: Vec<u32> = Vec::new();
        for _ in 0..40 {
            let lease = pool.get().await.unwrap();
            let Thing { id, .. } = &*lease;
            used.push(*id);
            sleep(SEC).await;
            drop(lease);
            sleep(4 * SEC).await;
        }
        used.sort_unstable();
        used.dedup();
        let status = pool.status();
        assert_eq!((used.len(), status.open), (left, left as u32), "{order:?}");
        let aged_out = status.closed.by(CloseReason::IdleTimeout);
        assert_eq!(aged_out, 4 - left as u64, "{order:?}");
        assert_eq!((backend.alive(), backend.created()), (left as u32, 4));
        end(pool).await;
    }
}

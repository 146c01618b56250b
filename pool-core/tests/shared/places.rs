//! Which connections have a place, and for how long.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_share_that_is_there_is_had_at_once_though_spare_ones_are_kept() {
    let backend = Backend::new(4);
    let builder = SharedPool::builder(Http2(Arc::clone(&backend))).max_size(2);
    let pool = builder.spare_shares(4).build().unwrap();
    drop(pool.get().await.unwrap());
    let share = pool.try_get().unwrap();
    assert_eq!((pool.status().gets, pool.status().shares), (2, 1));
    sleep(MS).await;
    assert_eq!(pool.status().open, 2, "of one alone three would be left");
    drop(share);
    pool.close();
    assert!(pool.try_get().map(drop).unwrap_err().is_closed());
}

#[tokio::test(start_paused = true)]
async fn spare_ones_are_not_closed_to_be_opened_again() {
    let backend = Backend::new(4);
    let config = SharedConfig::new()
        .max_size(3)
        .idle_timeout(Some(Duration::from_secs(60)))
        .max_lifetime(None);
    let builder = SharedPool::builder(Http2(Arc::clone(&backend))).config(config);
    let pool = builder.spare_shares(6).build().unwrap();
    drop(take(&pool, 12).await);
    assert_eq!(pool.status().open, 3);
    sleep(Duration::from_secs(3600)).await;
    assert_eq!((pool.status().open, pool.status().opened), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn who_holds_on_to_a_dead_one_keeps_nobody_from_another() {
    let backend = Backend::new(1);
    let pool = pool(&backend, 1);
    let held = pool.get().await.unwrap();
    backend.gauge(0).dead();
    let other = pool.get().await.unwrap();
    assert_eq!((held.id, other.id), (0, 1));
    assert_eq!((pool.status().open, pool.status().dead), (1, 1));
    let again = pool.get().timeout(MS).await.map(drop);
    assert!(again.unwrap_err().is_timeout(), "one live one, no more");
    drop(held);
    assert_eq!((pool.status().dead, backend.alive.load(SeqCst)), (0, 1));
    drop(other);
    assert_eq!(pool.drain(MS).await.left, 0);
}

#[tokio::test(start_paused = true)]
async fn a_burst_opens_as_many_as_it_needs_of_what_takes_one_at_a_time() {
    let backend = Backend::new(SAYS_NOTHING);
    backend.connect_ms.store(100, SeqCst);
    let config = SharedConfig::new().max_size(16).max_opening(16);
    let builder = SharedPool::builder(Http2(Arc::clone(&backend))).config(config);
    let pool = builder.build().unwrap();
    let start = Instant::now();
    let shares = take(&pool, 16).await;
    assert_eq!((shares.len(), pool.status().capacity), (16, 16));
    assert!(start.elapsed() < 250 * MS, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn there_may_be_more_connections_than_there_are_places_to_begin_with() {
    let backend = Backend::new(1);
    let pool = pool(&backend, 40);
    let shares = take(&pool, 40).await;
    let ids: std::collections::BTreeSet<_> = shares.iter().map(|share| share.id).collect();
    assert_eq!((ids.len(), pool.status().open), (40, 40));
    drop(shares);
    assert_eq!((pool.status().shares, pool.drain(MS).await.left), (0, 0));
    assert_eq!(backend.closed.load(SeqCst), 40);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_does_not_wait_for_one_that_goes_away_to_say_goodbye_while_there_is_room() {
    let backend = Backend::new(1);
    backend.close_hangs.store(true, SeqCst);
    let pool = pool(&backend, 2);
    // One that is on its way out, and hangs at its end.
    let held = pool.get().await.unwrap();
    backend.gauge(0).drain();
    drop(held);
    let began = Instant::now();
    let held = pool.get().await.unwrap();
    assert_eq!((held.id, pool.status().closing), (1, 1));
    assert_eq!(began.elapsed(), Duration::ZERO, "at once");
    drop(held);
    sleep(Duration::from_secs(10)).await;
    backend.gauge(1).drain();
    sleep(Duration::from_secs(10)).await;
    // One that says so while it is being opened.
    backend.drains.store(1, SeqCst);
    let began = Instant::now();
    let held = pool.get().await.unwrap();
    assert_eq!(held.id, 3);
    assert_eq!(began.elapsed(), Duration::ZERO, "at once");
}

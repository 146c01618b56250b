//! Connecting: too much, too often, for nobody, for ever.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};

use crate::{
    common::{Act, Backend, MS, Oops, SEC, end, get_all, hush, poll_once, settle},
    pool,
};

// sqlx#3132: deadlines fired in the middle of connects, which were thrown away and begun again, by a thousand callers at once.
// pgx#1259: the same, until the dials brought the database down.
#[tokio::test(start_paused = true)]
async fn a_thousand_gets_that_give_up_too_early_do_not_multiply_or_waste_the_connects() {
    let backend = Backend::new();
    backend.on_create(Act::Take(200 * MS));
    let pool = pool(&backend)
        .max_size(10)
        .max_opening(3)
        .max_waiters(Some(1000))
        .build()
        .unwrap();
    let impatient: Vec<_> = (0..1000).map(|_| pool.get().timeout(50 * MS)).collect();
    for end in futures_util::future::join_all(impatient).await {
        assert!(end.unwrap_err().is_timeout());
    }
    assert_eq!(backend.attempts.load(SeqCst), 3);
    sleep(200 * MS).await;
    assert_eq!(
        (backend.attempts.load(SeqCst), pool.status().idle),
        (3, 3),
        "what was begun is there for the next, and nothing more was begun for nobody"
    );
    end(pool).await;
}

// sqlx#2848: a get went on trying to connect to a server that was full, although connections came back meanwhile.
#[tokio::test(start_paused = true)]
async fn one_that_is_given_back_is_taken_while_connects_fail_or_hang() {
    for act in [Act::Fail("too many clients"), Act::Hang] {
        let backend = Backend::new();
        let pool = pool(&backend).max_size(2).build().unwrap();
        let held = pool.get().await.unwrap();
        backend.on_create(act);
        let waiter = tokio::spawn({
            let pool = pool.clone();
            async move { pool.get().await.unwrap().id }
        });
        sleep(100 * MS).await;
        assert!(!waiter.is_finished());
        drop(held);
        assert_eq!(timeout(MS, waiter).await.unwrap().unwrap(), 0);
    }
}

// bb8: a panic in `connect` left its place counted as pending for ever.
#[tokio::test(start_paused = true)]
async fn panics_while_connecting_leave_no_place_behind() {
    hush();
    let backend = Backend::new();
    backend.on_create(Act::Panic);
    let pool = pool(&backend).max_size(2).build().unwrap();
    for _ in 0..10 {
        let error = pool.get().await.unwrap_err();
        assert!(error.to_string().contains("told to panic"), "{error}");
        sleep(SEC).await;
    }
    backend.on_create(Act::Succeed);
    drop(get_all(&pool).await);
    end(pool).await;
}

// bb8: with `retry_connection(false)` a failed connect was known at once, and the caller waited out its timeout all the same.
// bb8#147, sqlx#3808: and then it was told `timed out`, not why.
#[tokio::test(start_paused = true)]
async fn when_nothing_can_be_opened_the_callers_are_told_at_once_and_why() {
    let backend = Backend::new();
    backend.on_create(Act::Fail("password authentication failed"));
    let pool = pool(&backend).max_size(5).build().unwrap();
    let started = Instant::now();
    let gets: Vec<_> = (0..20).map(|_| pool.get()).collect();
    for end in futures_util::future::join_all(gets).await {
        let error = end.unwrap_err();
        assert_eq!(
            error.connect_error(),
            Some(&Oops("password authentication failed"))
        );
    }
    assert!(started.elapsed() < SEC, "{:?}", started.elapsed());
    let attempts = backend.attempts.load(SeqCst);
    assert!(
        (3..=7).contains(&attempts),
        "a few attempts for all of them: {attempts}"
    );
    end(pool).await;
}

// hikari#2274, hikari#2186, hikari#2161, hikari#1474: connects were made one after the other by one thread. One of them never
// returned, and the pool went to zero and stayed there.
#[tokio::test(start_paused = true)]
async fn a_connect_that_never_returns_holds_up_no_other_and_costs_its_place_until_its_timeout() {
    let backend = Backend::new();
    backend.on_create(Act::Hang);
    let pool = pool(&backend)
        .max_size(10)
        .max_opening(2)
        .create_timeout(5 * SEC)
        .build()
        .unwrap();
    let mut hung = Box::pin(pool.get());
    assert!(poll_once(hung.as_mut()).await.is_pending());
    settle().await;
    backend.on_create(Act::Succeed);
    let started = Instant::now();
    // The first to come are served first, by the opening that is not stuck, whoever it was that began the stuck one.
    let mut others: Vec<_> = (0..8).map(|_| Box::pin(pool.get())).collect();
    let last = others.pop().unwrap();
    let (first, others, last) = tokio::join!(
        async { (hung.await.is_ok(), started.elapsed()) },
        async {
            let all = futures_util::future::join_all(others).await;
            (all.iter().all(Result::is_ok), started.elapsed())
        },
        async { (last.await.is_ok(), started.elapsed()) },
    );
    assert_eq!(
        (first, others),
        ((true, Duration::ZERO), (true, Duration::ZERO))
    );
    assert!(last.0 && last.1 < 6 * SEC, "{last:?}");
    sleep(6 * SEC).await;
    drop(get_all(&pool).await);
    end(pool).await;
}

// hikari#2274 again, with every opening stuck: nothing goes for as long as one connect may take, and then all of it does.
#[tokio::test(start_paused = true)]
async fn when_every_connect_hangs_the_pool_comes_back_by_itself() {
    let backend = Backend::new();
    backend.on_create(Act::Hang);
    let pool = pool(&backend)
        .max_size(4)
        .max_opening(2)
        .create_timeout(5 * SEC)
        .build()
        .unwrap();
    let gets: Vec<_> = (0..4).map(|_| pool.get().timeout(SEC)).collect();
    for end in futures_util::future::join_all(gets).await {
        assert!(end.unwrap_err().is_timeout());
    }
    backend.on_create(Act::Succeed);
    let started = Instant::now();
    drop(get_all(&pool).await);
    assert!(started.elapsed() < 6 * SEC, "{:?}", started.elapsed());
    end(pool).await;
}

// puddle#2, puddle#8, and a deadlock fixed in its 1.1.3: cancelling, closing and a constructor that fails, in any order.
#[tokio::test(start_paused = true)]
async fn dropping_closing_and_failing_to_connect_in_any_order_comes_to_an_end() {
    const ORDERS: [[u8; 3]; 6] = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    for order in ORDERS {
        let backend = Backend::new();
        let gate = Arc::new(Semaphore::new(0));
        backend.on_create(Act::Then(Arc::clone(&gate), Box::new(Act::Fail("no"))));
        let pool = pool(&backend).max_size(1).build().unwrap();
        let mut dropped = Some(Box::pin(pool.get()));
        assert!(
            poll_once(dropped.as_mut().unwrap().as_mut())
                .await
                .is_pending()
        );
        let stays = tokio::spawn({
            let pool = pool.clone();
            async move { pool.get().await.is_err() }
        });
        settle().await;
        for step in order {
            match step {
                0 => drop(dropped.take()),
                1 => pool.close(),
                _ => gate.add_permits(1),
            }
            settle().await;
        }
        assert!(timeout(SEC, stays).await.unwrap().unwrap(), "{order:?}");
        drop(dropped);
        end(pool).await;
    }
}

// pgx#1287: the other way round: a ping before the lease ignored the caller's deadline.
#[tokio::test(start_paused = true)]
async fn a_get_ends_at_its_deadline_whatever_it_waits_for() {
    let backend = Backend::new();
    let pool = pool(&backend)
        .max_size(1)
        .check_timeout(60 * SEC)
        .create_timeout(60 * SEC)
        .reset_timeout(60 * SEC)
        .build()
        .unwrap();
    let ends_in_time = async |what| {
        let started = Instant::now();
        let error = pool.get().timeout(300 * MS).await.unwrap_err();
        assert_eq!(error.phase().map(|phase| phase.as_str()), Some(what));
        assert!((300..=302).contains(&started.elapsed().as_millis()));
    };
    backend.on_create(Act::Take(SEC));
    ends_in_time("create").await;
    sleep(2 * SEC).await;
    backend.on_check(Act::Take(SEC));
    ends_in_time("check").await;
    sleep(SEC).await;
    let mut lease = pool.try_get().unwrap();
    ends_in_time("wait").await;
    backend.on_reset(Act::Take(SEC));
    lease.dirty = true;
    drop(lease);
    ends_in_time("reset").await;
    end(pool).await;
}

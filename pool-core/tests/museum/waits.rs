//! The line: order, lost wake-ups, lost grants, time.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    task::yield_now,
    time::{Instant, sleep, timeout},
};

use crate::{
    common::{Backend, MS, SEC, end, get_all, poll_once, settle},
    pool, two_threads,
};

// sqlx#620, sqlx#622: a waiter was woken, dropped before it was polled, and the wake-up was lost with it.
// keypool#706: the permit was, when it was cancelled at the hand-off.
#[tokio::test(start_paused = true)]
async fn a_waiter_dropped_between_its_wake_up_and_its_poll_passes_it_on() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(1).build().unwrap();
    for _ in 0..100 {
        let held = pool.get().await.unwrap();
        let mut first = Box::pin(pool.get());
        let mut second = pin!(pool.get());
        assert!(poll_once(first.as_mut()).await.is_pending());
        assert!(poll_once(second.as_mut()).await.is_pending());
        drop(held);
        drop(first);
        assert!(
            poll_once(second).await.is_ready(),
            "without waiting for a timer"
        );
    }
    assert_eq!((pool.status().reclaimed, backend.created()), (0, 1));
    end(pool).await;
}

// sqlx#453: whoever came when one was given back took it from those in line.
#[tokio::test(start_paused = true)]
async fn newcomers_do_not_take_what_was_given_back_to_those_in_line() {
    let pool = pool(&Backend::new()).max_size(1).build().unwrap();
    let held = pool.get().await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let join = |n: u32| {
        let (pool, order) = (pool.clone(), Arc::clone(&order));
        tokio::spawn(async move {
            let lease = pool.get().await.unwrap();
            order.lock().unwrap().push(n);
            drop(lease);
            // And at once for one more.
            drop(pool.get().await.unwrap());
            order.lock().unwrap().push(n + 100);
        })
    };
    let mut tasks = Vec::new();
    for n in 0..10 {
        tasks.push(join(n));
        settle().await;
    }
    drop(held);
    assert!(
        pool.try_get().unwrap_err().is_busy(),
        "it is somebody's already"
    );
    for task in tasks {
        task.await.unwrap();
    }
    let expected: Vec<_> = (0..10).chain(100..110).collect();
    assert_eq!(*order.lock().unwrap(), expected);
}

// bb8#122: one was given back between the look at the idle ones and joining the line, and the waiter slept past it.
// (That it cannot happen is shown by the models; this is the same with real threads.)
#[test]
fn no_wake_up_is_lost_between_looking_and_joining_the_line() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(1).build().unwrap();
    two_threads().block_on(async {
        let users: Vec<_> = (0..4)
            .map(|_| {
                let pool = pool.clone();
                tokio::spawn(async move {
                    for _ in 0..5000 {
                        drop(pool.get().await.unwrap());
                    }
                })
            })
            .collect();
        for user in users {
            timeout(60 * SEC, user).await.unwrap().unwrap();
        }
        assert_eq!((pool.status().gets, pool.status().timeouts()), (20_000, 0));
        end(pool).await;
    });
}

// bb8#59, bb8#67: every get that timed out cost a place. mobc#63: every client that went away did. deadpool 0.3.0: an aborted get
// stopped all that came after it.
#[tokio::test(start_paused = true)]
async fn storms_of_timeouts_and_aborts_leave_all_capacity_there() {
    let backend = Backend::new();
    let pool = pool(&backend)
        .max_size(4)
        .max_waiters(Some(5000))
        .build()
        .unwrap();
    let leases = get_all(&pool).await;
    let gets: Vec<_> = (0..2000)
        .map(|n| pool.get().timeout(MS * (n % 50)))
        .collect();
    for end in futures_util::future::join_all(gets).await {
        assert!(end.unwrap_err().is_timeout());
    }
    let clients: Vec<_> = (0..2000)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.get().await.map(drop) })
        })
        .collect();
    settle().await;
    assert_eq!(pool.status().waiting, 2000);
    for client in &clients {
        client.abort();
    }
    settle().await;
    // mobc: the count of those who wait drifted with each that was cancelled.
    assert_eq!((pool.status().waiting, pool.status().cancelled), (0, 2000));
    drop(leases);
    drop(get_all(&pool).await);
    end(pool).await;
}

// bb8#167: everything that came back was broken, and nobody told those in line that there was room to open.
#[tokio::test(start_paused = true)]
async fn waiters_are_served_when_all_that_comes_back_is_broken() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(3).build().unwrap();
    let users: Vec<_> = (0..50)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut lease = pool.get().await.unwrap();
                yield_now().await;
                lease.broken = true;
            })
        })
        .collect();
    for user in users {
        timeout(SEC, user).await.unwrap().unwrap();
    }
    assert_eq!(
        (backend.created(), backend.most_alive.load(SeqCst)),
        (50, 3)
    );
    end(pool).await;
}

// bb8#243: of 1000 tasks on 50 connections a few waited twenty times as long as the others: who was woken had to race again.
#[tokio::test(start_paused = true)]
async fn a_thousand_tasks_on_fifty_wait_their_turn_and_no_longer() {
    let pool = pool(&Backend::new())
        .max_size(50)
        .max_opening(50)
        .max_waiters(Some(1000))
        .build()
        .unwrap();
    let longest = Arc::new(Mutex::new(Duration::ZERO));
    let users: Vec<_> = (0..1000)
        .map(|_| {
            let (pool, longest) = (pool.clone(), Arc::clone(&longest));
            tokio::spawn(async move {
                for _ in 0..20 {
                    let asked = Instant::now();
                    let lease = pool.get().await.unwrap();
                    let waited = asked.elapsed();
                    sleep(5 * MS).await;
                    drop(lease);
                    let mut longest = longest.lock().unwrap();
                    *longest = waited.max(*longest);
                }
            })
        })
        .collect();
    for user in users {
        user.await.unwrap();
    }
    // 950 are before each: 19 turns of 5 ms, to which the timer adds up to 1 ms each.
    let longest = *longest.lock().unwrap();
    assert!(longest <= 19 * 6 * MS, "{longest:?}");
}

// hikari#2398, hikari#2329, hikari#835: the hand-off spun and yielded until somebody came, and burned the processor meanwhile.
#[tokio::test(start_paused = true)]
async fn waiting_long_costs_a_few_polls_and_no_spinning() {
    let pool = pool(&Backend::new())
        .max_size(1)
        .acquire_timeout(60 * SEC)
        .build()
        .unwrap();
    let held = pool.get().await.unwrap();
    let parks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .worker_park_count(0)
    };
    let (before, polls) = (parks(), AtomicU32::new(0));
    let mut get = pin!(pool.get());
    let ended = poll_fn(|context| {
        polls.fetch_add(1, SeqCst);
        get.as_mut().poll(context)
    });
    assert!(ended.await.unwrap_err().is_timeout());
    assert!(polls.load(SeqCst) <= 5, "{polls:?} polls in a minute");
    let parked = parks() - before;
    // Metrics are told once a second while somebody waits; the timer of each takes up to three.
    let told = if cfg!(feature = "metrics") { 60 * 3 } else { 0 };
    assert!(
        parked <= 30 + told,
        "the whole runtime woke up {parked} times in a minute"
    );

    // And a pool that nobody uses wakes nobody, but for its rounds.
    drop(held);
    sleep(SEC).await;
    let before = parks();
    sleep(60 * SEC).await;
    let parked = parks() - before;
    // The timer of this sleep alone takes six.
    assert!(
        parked <= 12,
        "unused, it woke up {parked} times in a minute"
    );
}

// go#18995: connections were lost when a deadline and a hand-off met.
#[tokio::test(start_paused = true)]
async fn deadlines_that_meet_a_return_lose_nothing() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(2).build().unwrap();
    let users: Vec<_> = (0..40_u32)
        .map(|n| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut got = 0;
                for round in 0..200 {
                    // Leases and deadlines are multiples of the same millisecond, so they meet all the time.
                    let limit = MS * ((n + round) % 7);
                    if let Ok(lease) = pool.get().timeout(limit).await {
                        got += 1;
                        sleep(MS * (n % 3)).await;
                        drop(lease);
                    } else {
                        sleep(MS).await;
                    }
                }
                got
            })
        })
        .collect();
    let mut got = 0;
    for user in users {
        got += user.await.unwrap();
    }
    assert!(got > 100 && pool.status().timeouts() > 100);
    assert_eq!(pool.status().waiting, 0);
    drop(get_all(&pool).await);
    end(pool).await;
}

// Oxide's RFD 609, "futurelock", and heph#238: a fair hand-off to a future that nobody polls stops all who come after it, for
// ever when it is the same task that waits for the second.
#[tokio::test(start_paused = true)]
async fn a_task_that_holds_one_get_unpolled_can_still_wait_for_another() {
    let pool = pool(&Backend::new()).max_size(1).build().unwrap();
    let held = pool.get().await.unwrap();
    tokio::spawn(async move {
        sleep(20 * MS).await;
        drop(held);
    });
    let mut first = Box::pin(pool.get());
    tokio::select! {
        _ = &mut first => panic!("it is held for longer"),
        () = sleep(10 * MS) => {
            // `first` stays in line, and nobody polls it.
            let second = timeout(SEC, pool.get()).await.expect("within the grace").unwrap();
            drop(second);
        }
    }
    drop(first.await.unwrap());
    assert_eq!(pool.status().reclaimed, 1);
    end(pool).await;
}

// The same with a hundred of them: all together cost the others one grace.
#[tokio::test(start_paused = true)]
async fn many_unpolled_gets_hold_up_the_others_for_one_grace_only() {
    for size in [1, 4] {
        let pool = pool(&Backend::new())
            .max_size(size)
            .max_waiters(Some(1000))
            .build()
            .unwrap();
        let leases = get_all(&pool).await;
        let mut unpolled: Vec<_> = (0..100).map(|_| Box::pin(pool.get())).collect();
        for get in &mut unpolled {
            assert!(poll_once(get.as_mut()).await.is_pending());
        }
        let polled: Vec<_> = (0..20)
            .map(|_| {
                let pool = pool.clone();
                tokio::spawn(async move { drop(pool.get().await.unwrap()) })
            })
            .collect();
        settle().await;
        drop(leases);
        let started = Instant::now();
        for get in polled {
            timeout(10 * SEC, get).await.unwrap().unwrap();
        }
        // The grace, and two ticks of the keeper.
        assert!(started.elapsed() <= 75 * MS, "{:?}", started.elapsed());
        assert_eq!(pool.status().reclaimed, u64::from(size));
        // They keep their places, and are served when they are polled.
        for get in unpolled {
            drop(get.await.unwrap());
        }
        end(pool).await;
    }
}

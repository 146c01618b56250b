//! The line: who is in it is served, told, or gone, and none of that costs anybody else anything.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use tokio::{
    sync::Semaphore,
    task::yield_now,
    time::{Instant, sleep, timeout},
};

use crate::{
    backend::{Act, Backend, Stage, panics},
    face::{
        Face, Lends, Limit, MS, SEC, Told, WATCHDOG, all_of, checked_always, config, ends_well,
        got, left_alone, mend, on_its_clock, paused, poll_once, pool, refused, runtime, settle,
        until,
    },
};

pub(crate) fn who_waits_is_told_at_once_when_it_is_closed<L: Lends>() {
    on_its_clock::<L, _>(async {
        let pool = L::of(1);
        let held = got(pool.get(Limit::Own)).await;
        let waiters: Vec<_> = (0..3)
            .map(|_| tokio::spawn(refused(pool.get(Limit::Own))))
            .collect();
        until("they wait", || pool.in_line() == 3).await;
        let began = Instant::now();
        pool.close();
        for waiter in waiters {
            let told = timeout(WATCHDOG, waiter).await.unwrap();
            assert_eq!(told.unwrap(), Told::Closed);
        }
        let late = L::PAUSES && began.elapsed() > 2 * MS;
        assert!(!late, "{:?}", began.elapsed());
        assert_eq!(refused(pool.get(Limit::Own)).await, Told::Closed);
        drop(held);
        assert_eq!(refused(pool.get(Limit::Own)).await, Told::Closed);
    });
}

pub(crate) fn what_nobody_fetches_goes_to_the_next<L: Lends>() {
    paused(async {
        let pool = L::of(1);
        let held = got(pool.get(Limit::Own)).await;
        let mut unpolled = pool.get(Limit::Own);
        assert!(poll_once(&mut unpolled).await.is_none());
        let next = tokio::spawn(pool.get(Limit::Own));
        until("both wait", || pool.in_line() == 2).await;
        drop(held);
        let next = timeout(SEC, next).await.expect("a grace, and no longer");
        let mut again = pool.get(Limit::Own);
        assert!(poll_once(&mut again).await.is_none());
        drop(next.unwrap());
        // It kept its place.
        drop(got(unpolled).await);
        drop(got(again).await);
    });
}

pub(crate) fn what_nobody_fetches_goes_to_the_next_on_another_runtime<L: Lends>() {
    let pool = L::of(1);
    let (alone, held) = left_alone(&pool);
    let here = runtime();
    let mut unpolled = pool.get(Limit::Own);
    alone.block_on(async { assert!(poll_once(&mut unpolled).await.is_none()) });
    here.block_on(async {
        let next = tokio::spawn(pool.get(Limit::Own));
        until("both wait", || pool.in_line() == 2).await;
        drop(held);
        drop(timeout(WATCHDOG, next).await.expect("it waits for ever"));
        drop(got(unpolled).await);
    });
    drop(alone);
}

pub(crate) fn a_get_that_is_dropped_after_any_poll_costs_nothing<L: Lends>() {
    on_its_clock::<L, _>(async {
        let pool = L::of(2);
        for polls in 0..4 {
            for returns_at in 0..5 {
                let mut held = all_of(&pool, 2).await;
                let mut get = pool.get(Limit::Own);
                for poll in 0..polls {
                    if poll == returns_at {
                        held.pop();
                        settle().await;
                    }
                    if poll_once(&mut get).await.is_some() {
                        // It had one, and that went at once.
                        get = pool.get(Limit::Own);
                    }
                    settle().await;
                }
                if returns_at == 4 {
                    // Handed to one that goes before it knows.
                    held.pop();
                }
                drop(get);
                drop(held);
            }
        }
        drop(all_of(&pool, 2).await);
    });
}

pub(crate) fn a_get_that_is_dropped_at_any_stage_costs_nothing<F: Face>() {
    for stage in [Stage::Open, Stage::Check, Stage::Reset] {
        if stage != Stage::Open && !F::TENDS {
            continue;
        }
        for (polls, opens_first) in [(1, false), (1, true), (2, false), (2, true), (3, true)] {
            paused(async {
                let backend = Backend::new();
                let pool = F::new(&backend, checked_always(1));
                let gate = Arc::new(Semaphore::new(0));
                if stage != Stage::Open {
                    let lease = got(pool.get(Limit::Own)).await;
                    let dirty = stage == Stage::Reset;
                    F::thing(&lease).dirty.store(dirty, SeqCst);
                    backend.on(stage, Act::Gate(Arc::clone(&gate)));
                    drop(lease);
                    settle().await;
                }
                backend.on(stage, Act::Gate(Arc::clone(&gate)));
                let mut get = pool.get(Limit::Own);
                for poll in 0..polls {
                    if opens_first && poll + 1 == polls {
                        gate.add_permits(100);
                    }
                    drop(poll_once(&mut get).await);
                    settle().await;
                    if poll + 1 < polls && opens_first {
                        assert_eq!(pool.in_line(), 1);
                    }
                    if opens_first && poll + 1 == polls {
                        break;
                    }
                }
                drop(get);
                gate.add_permits(100);
                settle().await;
                ends_well(pool, 1).await;
            });
        }
    }
}

pub(crate) fn a_thousand_gets_that_come_and_go_cost_nothing<F: Face>() {
    for seed in 0..4 {
        paused(async {
            let random = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)));
            let backend = Backend::new();
            let limit = 40 * MS;
            let config = checked_always(3).create_timeout(limit).check_timeout(limit);
            let pool = F::new(&backend, config.reset_timeout(limit).close_timeout(limit));
            for stage in Stage::ALL {
                backend.on(stage, Act::Any(Arc::clone(&random)));
            }
            let mut tasks = Vec::new();
            for number in 0..250 {
                let (pool, mut random) =
                    (pool.clone(), fastrand::Rng::with_seed(seed * 1000 + number));
                tasks.push(tokio::spawn(async move {
                    sleep(random.u32(..300) * MS).await;
                    let get = pool.get(Limit::Within(random.u32(1..60) * MS));
                    let Ok(Ok(mut lease)) = timeout(random.u32(..60) * MS, get).await else {
                        return;
                    };
                    F::thing(&lease).dirty.store(random.bool(), SeqCst);
                    sleep(random.u32(..20) * MS).await;
                    match random.u32(..6) {
                        0 => F::taint(&mut lease),
                        1 => F::thing(&lease).breaks(),
                        2 => panics(),
                        _ => {}
                    }
                }));
            }
            for task in tasks {
                drop(task.await);
            }
            mend(&backend);
            // What hangs has its end too.
            sleep(SEC).await;
            assert!(F::TENDS || pool.mistake().is_none());
            assert!(!F::TENDS || backend.most_held() <= 3);
            ends_well(pool, 3).await;
        });
    }
}

/// More rounds than any machine does in the time of the timer, and a bound where it never fires.
const ROUNDS: u32 = 50_000_000;

pub(crate) fn a_loop_of_gets_that_are_ready_lets_a_timer_fire<L: Lends>() {
    runtime().block_on(async {
        let pool = L::of(2);
        drop(got(pool.get(Limit::Own)).await);
        let fired = Arc::new(AtomicBool::new(false));
        let timer = tokio::spawn({
            let fired = Arc::clone(&fired);
            async move {
                sleep(20 * MS).await;
                fired.store(true, SeqCst);
            }
        });
        yield_now().await;
        for _ in 0..ROUNDS {
            if fired.load(SeqCst) {
                break;
            }
            drop(pool.get(Limit::Own).await);
        }
        assert!(fired.load(SeqCst), "the loop starves the executor");
        timer.await.unwrap();
    });
}

pub(crate) fn a_loop_of_gets_that_fail_fast_lets_the_outage_end<F: Face>() {
    runtime().block_on(async {
        let (pool, backend) = pool::<F>(2);
        backend.on(Stage::Open, Act::Fail);
        while refused(pool.get(Limit::Within(SEC))).await != Told::Connect {}
        let back = tokio::spawn({
            let backend = Arc::clone(&backend);
            async move {
                sleep(20 * MS).await;
                backend.on(Stage::Open, Act::Succeed);
            }
        });
        yield_now().await;
        let mut lease = None;
        for _ in 0..ROUNDS {
            match pool.get(Limit::Within(SEC)).await {
                Ok(had) => {
                    lease = Some(had);
                    break;
                }
                Err(told) => assert!(matches!(told, Told::Connect | Told::Timeout), "{told:?}"),
            }
        }
        assert!(
            lease.is_some(),
            "the loop starves what would end the outage"
        );
        back.await.unwrap();
    });
}

pub(crate) fn all_is_there_again_after_a_user_panicked<L: Lends>() {
    on_its_clock::<L, _>(async {
        let pool = L::of(2);
        for _ in 0..10 {
            let lease = got(pool.get(Limit::Own)).await;
            let user = tokio::spawn(async move {
                let _lease = lease;
                panics();
            });
            assert!(user.await.unwrap_err().is_panic());
        }
        drop(all_of(&pool, 2).await);
    });
}

pub(crate) fn a_line_that_is_full_says_so_and_gets_no_longer<F: Face>() {
    paused(async {
        let backend = Backend::new();
        let pool = F::new(&backend, config(1).max_waiters(Some(1)));
        let held = got(pool.get(Limit::Own)).await;
        let mut waits = pool.get(Limit::Own);
        assert!(poll_once(&mut waits).await.is_none());
        for _ in 0..3 {
            assert_eq!(refused(pool.get(Limit::Own)).await, Told::Overloaded);
        }
        drop(held);
        drop(got(waits).await);
    });
}

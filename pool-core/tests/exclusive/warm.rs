//! Opening ahead of the first user, and what that says when it cannot be done.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use pool_core::observe::Phase;
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    common::{Act, Backend, MS, Oops, SEC, end, poll_once, settle},
    pool,
};

/// Without a minimum it opens one by getting one, with it all of them at once: the same must be said.
const MINIMA: [u32; 2] = [0, 2];

#[tokio::test(start_paused = true)]
async fn warming_up_opens_the_minimum_or_one() {
    for (min_idle, open) in [(0, 1), (1, 1), (3, 3)] {
        let backend = Backend::new();
        backend.on_create(Act::Take(10 * MS));
        let pool = pool(&backend).max_size(4).min_idle(min_idle);
        let pool = pool.build().unwrap();
        let began = Instant::now();
        pool.warm_up().await.unwrap();
        assert_eq!(began.elapsed(), 10 * MS);
        settle().await;
        assert_eq!((pool.status().idle, backend.alive()), (open, open));
        pool.warm_up().await.unwrap();
        assert_eq!(backend.created(), open, "it is warm");
        end(pool).await;
    }
}

#[tokio::test(start_paused = true)]
async fn warming_up_a_closed_pool_says_so_before_and_while_it_waits() {
    for min_idle in MINIMA {
        let backend = Backend::new();
        backend.on_create(Act::Hang);
        let pool = pool(&backend).max_size(2).min_idle(min_idle);
        let pool = pool.build().unwrap();
        let mut warm_up = pin!(pool.warm_up());
        assert!(poll_once(warm_up.as_mut()).await.is_pending());
        settle().await;
        pool.close();
        let error = warm_up.await.unwrap_err();
        assert!(error.is_closed(), "{min_idle}: {error}");
        let error = pool.warm_up().await.unwrap_err();
        assert!(error.is_closed(), "{min_idle}: {error}");
        assert_eq!(backend.created(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn warming_up_against_a_backend_that_is_down_ends_soon_with_its_error() {
    for min_idle in MINIMA {
        let backend = Backend::new();
        backend.on_create(Act::Fail("no route"));
        let pool = pool(&backend).max_size(2).min_idle(min_idle);
        let pool = pool.build().unwrap();
        let began = Instant::now();
        let error = pool.warm_up().await.unwrap_err();
        assert!(error.is_connect(), "{min_idle}: {error}");
        assert_eq!(error.connect_error(), Some(&Oops("no route")));
        assert!(began.elapsed() < SEC, "{:?}", began.elapsed());
        assert_eq!(error.waited(), began.elapsed());
        end(pool).await;
    }
}

#[tokio::test(start_paused = true)]
async fn warming_up_ends_with_the_timeout_of_a_get_and_what_is_being_opened_goes_on() {
    for min_idle in MINIMA {
        let backend = Backend::new();
        let gate = Arc::new(Semaphore::new(0));
        backend.on_create(Act::Gate(Arc::clone(&gate)));
        let pool = pool(&backend)
            .max_size(2)
            .min_idle(min_idle)
            .acquire_timeout(SEC / 2)
            .build()
            .unwrap();
        let began = Instant::now();
        let error = pool.warm_up().await.unwrap_err();
        assert!(error.is_timeout(), "{min_idle}: {error}");
        assert_eq!(error.phase(), Some(Phase::Create));
        let lasted = began.elapsed();
        assert!((SEC / 2..SEC / 2 + 2 * MS).contains(&lasted), "{lasted:?}");
        gate.add_permits(2);
        settle().await;
        let open = min_idle.max(1);
        assert_eq!((pool.status().idle, backend.alive()), (open, open));
        pool.warm_up().await.unwrap();
        end(pool).await;
    }
}

#[test]
fn warming_up_without_a_runtime_says_so() {
    for min_idle in MINIMA {
        let backend = Backend::new();
        let pool = pool(&backend).max_size(2).min_idle(min_idle);
        let pool = pool.build().unwrap();
        let polled = pin!(pool.warm_up()).poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Err(error)) = polled else {
            panic!("it can come to nothing here");
        };
        assert!(error.is_no_runtime(), "{min_idle}: {error}");
        assert_eq!((pool.status().opening, pool.status().waiting), (0, 0));
    }
}

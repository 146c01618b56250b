//! Managers out of closures that fail in every way that a closure can.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    future::pending,
    io,
    sync::atomic::{AtomicU32, Ordering::SeqCst},
    time::Duration,
};

use common::{MS, hush};
use pool_core::{KeyedPool, OpenError, Pool, keyed_manager_fn, manager_fn};

/// What opening one does, the first so many times.
#[derive(Clone, Copy)]
enum Trouble {
    PanicsBeforeItIsAFuture,
    Panics,
    Hangs,
    Fails,
}

const TROUBLES: [Trouble; 4] = [
    Trouble::PanicsBeforeItIsAFuture,
    Trouble::Panics,
    Trouble::Hangs,
    Trouble::Fails,
];

/// Whether this open is one of those that come to nothing.
fn comes_to_nothing(left: &AtomicU32) -> bool {
    let next = left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
    next.is_ok()
}

fn open(trouble: Trouble, bad: bool) -> impl Future<Output = io::Result<u32>> + Send {
    if bad && matches!(trouble, Trouble::PanicsBeforeItIsAFuture) {
        std::panic::panic_any("told to panic");
    }
    async move {
        match trouble {
            _ if !bad => Ok(7),
            Trouble::Panics => std::panic::panic_any("told to panic"),
            Trouble::Hangs => pending().await,
            _ => Err(io::Error::other("down")),
        }
    }
}

fn is_as_told(trouble: Trouble, error: &pool_core::Error<io::Error>) {
    let why = error.open_error();
    let right = match trouble {
        Trouble::PanicsBeforeItIsAFuture | Trouble::Panics => {
            matches!(why, Some(OpenError::Panicked(message)) if message == "told to panic")
        }
        Trouble::Hangs => matches!(why, Some(OpenError::TimedOut(_))),
        Trouble::Fails => error.connect_error().is_some(),
    };
    assert!(right && error.is_connect(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn whatever_a_closure_does_the_caller_is_told_and_no_place_is_lost() {
    hush();
    for trouble in TROUBLES {
        // Three in a row, and it is known that nothing can be opened.
        let left = AtomicU32::new(3);
        let pool = Pool::builder(manager_fn(move || open(trouble, comes_to_nothing(&left))));
        let pool = pool.max_size(2).create_timeout(20 * MS).build().unwrap();
        is_as_told(trouble, &pool.get().await.unwrap_err());
        tokio::time::sleep(Duration::from_secs(10)).await;
        let both = (pool.get().await.unwrap(), pool.get().await.unwrap());
        assert_eq!((*both.0, *both.1), (7, 7));

        let left = AtomicU32::new(3);
        let keyed = KeyedPool::builder(keyed_manager_fn(move |_: &u8| {
            open(trouble, comes_to_nothing(&left))
        }));
        let keyed = keyed.max_size(2).create_timeout(20 * MS).build().unwrap();
        is_as_told(trouble, &keyed.get(&1).await.unwrap_err());
        tokio::time::sleep(Duration::from_secs(10)).await;
        let both = (keyed.get(&1).await.unwrap(), keyed.get(&1).await.unwrap());
        assert_eq!((*both.0, *both.1), (7, 7));
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_that_panics_closes_what_it_was_asked_of() {
    hush();
    let asked = || {
        manager_fn(async || io::Result::Ok(0_u32)).broken_if(|item: &mut u32| {
            if *item > 0 {
                std::panic::panic_any("told to panic");
            }
            false
        })
    };
    let pool = Pool::builder(asked()).max_size(1).build().unwrap();
    *pool.get().await.unwrap() = 1;
    assert_eq!(*pool.get().await.unwrap(), 0);
    assert_eq!(pool.status().opened, 2);
}

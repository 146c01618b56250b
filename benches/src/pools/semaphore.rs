//! What many write by hand: tokio's semaphore in front of a mutexed `Vec`.

use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{AcquireError, Semaphore};

use super::failure::Failure;
use super::peer::{Counter, Peer, Source};

/// FIFO waiting by the semaphore, and neither a manager nor a clock.
#[derive(Debug, Clone)]
pub(super) struct Permits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    permits: Semaphore,
    idle: Mutex<Vec<Counter>>,
}

impl Peer for Permits {
    type Guard<'a> = PermitGuard;
    type Error = AcquireError;

    fn build(size: usize, _: Source) -> Result<Self, Failure> {
        let all = std::iter::repeat_with(Counter::default).take(size);
        Ok(Self(Arc::new(Inner {
            permits: Semaphore::new(size),
            idle: Mutex::new(all.collect()),
        })))
    }

    async fn get(&self) -> Result<PermitGuard, AcquireError> {
        self.0.permits.acquire().await?.forget();
        // There are as many permits as counters.
        let counter = self.0.idle().pop().unwrap_or_default();
        Ok(PermitGuard {
            counter,
            pool: Arc::clone(&self.0),
        })
    }
}

/// An owned guard, as the pools' are.
#[derive(Debug)]
pub(super) struct PermitGuard {
    counter: Counter,
    pool: Arc<Inner>,
}

impl Deref for PermitGuard {
    type Target = Counter;

    fn deref(&self) -> &Counter {
        &self.counter
    }
}

impl DerefMut for PermitGuard {
    fn deref_mut(&mut self) -> &mut Counter {
        &mut self.counter
    }
}

impl Drop for PermitGuard {
    fn drop(&mut self) {
        let counter = mem::take(&mut self.counter);
        self.pool.idle().push(counter);
        self.pool.permits.add_permits(1);
    }
}

impl Inner {
    fn idle(&self) -> MutexGuard<'_, Vec<Counter>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The least that a pool can do: one mutexed `Vec`, and nobody told when something comes back.

use std::convert::Infallible;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::failure::Failure;
use super::peer::{Counter, Peer, Source};

/// No queue, no statistics, no opening later: who finds it empty yields and looks again.
#[derive(Debug, Clone)]
pub(super) struct Floor(Arc<Mutex<Vec<Counter>>>);

impl Peer for Floor {
    type Guard<'a> = FloorGuard;
    type Error = Infallible;

    fn build(size: usize, _: Source) -> Result<Self, Failure> {
        let all = std::iter::repeat_with(Counter::default).take(size);
        Ok(Self(Arc::new(Mutex::new(all.collect()))))
    }

    async fn get(&self) -> Result<FloorGuard, Infallible> {
        loop {
            let idle = lock(&self.0).pop();
            if let Some(counter) = idle {
                return Ok(FloorGuard {
                    counter,
                    pool: Arc::clone(&self.0),
                });
            }
            tokio::task::yield_now().await;
        }
    }
}

/// An owned guard, as the pools' are.
#[derive(Debug)]
pub(super) struct FloorGuard {
    counter: Counter,
    pool: Arc<Mutex<Vec<Counter>>>,
}

impl Deref for FloorGuard {
    type Target = Counter;

    fn deref(&self) -> &Counter {
        &self.counter
    }
}

impl DerefMut for FloorGuard {
    fn deref_mut(&mut self) -> &mut Counter {
        &mut self.counter
    }
}

impl Drop for FloorGuard {
    fn drop(&mut self) {
        lock(&self.pool).push(mem::take(&mut self.counter));
    }
}

fn lock(pool: &Mutex<Vec<Counter>>) -> MutexGuard<'_, Vec<Counter>> {
    pool.lock().unwrap_or_else(PoisonError::into_inner)
}

//! A pool for tests of the measuring: it opens on every miss, and has no bound.

use std::convert::Infallible;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use super::failure::Failure;
use super::peer::{Counter, Peer, Source};

#[derive(Clone)]
pub(super) struct Toy {
    idle: Arc<Mutex<Vec<Counter>>>,
    source: Source,
}

impl Peer for Toy {
    type Guard<'a> = ToyGuard<'a>;
    type Error = Infallible;

    fn build(_: usize, source: Source) -> Result<Self, Failure> {
        let idle = Arc::default();
        Ok(Self { idle, source })
    }

    async fn get(&self) -> Result<ToyGuard<'_>, Infallible> {
        let idle = self.pop();
        let counter = match idle {
            Some(counter) => counter,
            None => self.source.open().await,
        };
        let pool = self;
        Ok(ToyGuard { counter, pool })
    }
}

impl Toy {
    fn pop(&self) -> Option<Counter> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop()
    }
}

pub(super) struct ToyGuard<'a> {
    counter: Counter,
    pool: &'a Toy,
}

impl Deref for ToyGuard<'_> {
    type Target = Counter;

    fn deref(&self) -> &Counter {
        &self.counter
    }
}

impl DerefMut for ToyGuard<'_> {
    fn deref_mut(&mut self) -> &mut Counter {
        &mut self.counter
    }
}

impl Drop for ToyGuard<'_> {
    fn drop(&mut self) {
        let counter = std::mem::take(&mut self.counter);
        let idle = self.pool.idle.lock();
        idle.unwrap_or_else(PoisonError::into_inner).push(counter);
    }
}

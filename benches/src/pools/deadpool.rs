//! deadpool at its best: no timeouts, nothing to do on recycle.

use std::convert::Infallible;

use deadpool::managed::{Manager, Metrics, Object, Pool, PoolError, QueueMode, RecycleResult};

use super::failure::Failure;
use super::peer::{Counter, Peer, Source};

/// A handle on its pool.
#[derive(Debug, Clone)]
pub(super) struct Deadpool(Pool<Source>);

impl Peer for Deadpool {
    type Guard<'a> = Object<Source>;
    type Error = PoolError<Infallible>;

    fn build(size: usize, source: Source) -> Result<Self, Failure> {
        let pool = Pool::builder(source)
            .max_size(size)
            .queue_mode(QueueMode::Lifo)
            .build();
        Ok(Self(pool.map_err(Failure::build)?))
    }

    fn get(&self) -> impl Future<Output = Result<Object<Source>, PoolError<Infallible>>> + Send {
        self.0.get()
    }
}

impl Manager for Source {
    type Type = Counter;
    type Error = Infallible;

    async fn create(&self) -> Result<Counter, Infallible> {
        Ok(self.open().await)
    }

    async fn recycle(&self, _: &mut Counter, _: &Metrics) -> RecycleResult<Infallible> {
        Ok(())
    }
}

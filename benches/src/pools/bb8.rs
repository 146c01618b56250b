//! bb8 at its best: no check on the way out, no lifetime to look at, guards that borrow the pool.

use std::convert::Infallible;

use bb8::{ManageConnection, Pool, PooledConnection, QueueStrategy, RunError};

use super::failure::Failure;
use super::peer::{Counter, Peer, Source};

/// A handle on its pool.
#[derive(Debug, Clone)]
pub(super) struct Bb8(Pool<Source>);

impl Peer for Bb8 {
    type Guard<'a> = PooledConnection<'a, Source>;
    type Error = RunError<Infallible>;

    fn build(size: usize, source: Source) -> Result<Self, Failure> {
        let pool = Pool::builder()
            .max_size(u32::try_from(size).map_err(Failure::build)?)
            .test_on_check_out(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .queue_strategy(QueueStrategy::Lifo)
            .build_unchecked(source);
        Ok(Self(pool))
    }

    fn get(
        &self,
    ) -> impl Future<Output = Result<PooledConnection<'_, Source>, RunError<Infallible>>> + Send
    {
        self.0.get()
    }
}

impl ManageConnection for Source {
    type Connection = Counter;
    type Error = Infallible;

    async fn connect(&self) -> Result<Counter, Infallible> {
        Ok(self.open().await)
    }

    async fn is_valid(&self, _: &mut Counter) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut Counter) -> bool {
        false
    }
}

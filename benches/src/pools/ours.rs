//! Ours, as it comes: statistics on, `check_after` on, every timeout on.

use std::convert::Infallible;

use pool_core::{Error, Lease, Manager, Pool, Usage};

use super::failure::Failure;
use super::peer::{Counter, Peer, Source};

/// A handle on its pool.
#[derive(Debug, Clone)]
pub(super) struct Ours(Pool<Source>);

impl Peer for Ours {
    type Guard<'a> = Lease<Source>;
    type Error = Error<Infallible>;

    fn build(size: usize, source: Source) -> Result<Self, Failure> {
        let pool = Pool::builder(source)
            .max_size(u32::try_from(size).map_err(Failure::build)?)
            // The only setting that is not a default: more wait here than a service should let wait.
            .max_waiters(Some(1_000_000))
            .build();
        Ok(Self(pool.map_err(Failure::build)?))
    }

    fn get(&self) -> impl Future<Output = Result<Lease<Source>, Error<Infallible>>> + Send {
        self.0.get()
    }
}

impl Manager for Source {
    type Resource = Counter;
    type Error = Infallible;

    async fn create(&self) -> Result<Counter, Infallible> {
        Ok(self.open().await)
    }

    async fn check(&self, _: &mut Counter, _: &Usage) -> Result<(), Infallible> {
        Ok(())
    }
}

//! mobc at its best: no check on the way out, no timeout, and every connection may stay idle.

use std::convert::Infallible;

use mobc::{Connection, Error, Manager, Pool, async_trait};

use super::failure::Failure;
use super::peer::{Counter, Peer, Source};

/// A handle on its pool.
#[derive(Debug, Clone)]
pub(super) struct Mobc(Pool<Source>);

impl Peer for Mobc {
    type Guard<'a> = Connection<Source>;
    type Error = Error<Infallible>;

    fn build(size: usize, source: Source) -> Result<Self, Failure> {
        let size = size as u64;
        let pool = Pool::builder()
            .max_open(size)
            .max_idle(size)
            .test_on_check_out(false)
            .get_timeout(None)
            .build(source);
        Ok(Self(pool))
    }

    fn get(&self) -> impl Future<Output = Result<Connection<Source>, Error<Infallible>>> + Send {
        self.0.get()
    }
}

#[async_trait]
impl Manager for Source {
    type Connection = Counter;
    type Error = Infallible;

    async fn connect(&self) -> Result<Counter, Infallible> {
        Ok(self.open().await)
    }

    async fn check(&self, counter: Counter) -> Result<Counter, Infallible> {
        Ok(counter)
    }
}

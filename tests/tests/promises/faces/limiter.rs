//! `Limiter`: it lends permits, and opens nothing.

use pool_core::{LimitError, Limiter, Permit};

use crate::face::{Get, Lends, Limit, Told};

impl Lends for Limiter {
    type Lease = Permit;

    fn of(size: u32) -> Self {
        Self::new(size)
    }

    fn get(&self, limit: Limit) -> Get<Permit> {
        let acquire = self.acquire();
        let acquire = match limit {
            Limit::Own => acquire,
            Limit::Within(limit) => acquire.timeout(limit),
            Limit::Until(deadline) => acquire.deadline(deadline),
        };
        Box::pin(async move { acquire.await.map_err(told) })
    }

    fn in_line(&self) -> usize {
        self.status().waiting
    }

    fn out(&self) -> u32 {
        self.status().in_use
    }

    fn close(&self) {
        Self::close(self);
    }

    fn mistake(&self) -> Option<String> {
        let of = self.status();
        (of.available + of.in_use != of.limit).then(|| format!("{of:?}"))
    }
}

fn told(error: LimitError) -> Told {
    match () {
        () if error.is_timeout() => Told::Timeout,
        () if error.is_closed() => Told::Closed,
        () if error.is_overloaded() => Told::Overloaded,
        () if error.is_no_runtime() => Told::NoRuntime,
        () => Told::Other,
    }
}

//! `CpuPool` and `BlockingPool`: a lease is a worker, which a job holds until it is told that it may end.

use std::{pin::pin, sync::mpsc, time::Duration};

use futures_util::FutureExt;
use pool_cpu::{BlockingPool, CpuPool, Error, Shutdown, Workers};
use tokio::{sync::oneshot, time::Instant};

use crate::face::{Get, Lends, Limit, Told};

/// A worker, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held(#[expect(dead_code, reason = "dropped")] mpsc::Sender<()>);

async fn hold(workers: &Workers, limit: Limit) -> Result<Held, Told> {
    let job = workers.job("held");
    let job = match limit {
        Limit::Own => job,
        Limit::Within(limit) => job.queue_timeout(limit),
        Limit::Until(at) => job.queue_timeout(at.saturating_duration_since(Instant::now())),
    };
    let (begun, begins) = oneshot::channel();
    let mut run = pin!(job.run(move || {
        let (held, ends) = mpsc::channel();
        if begun.send(Held(held)).is_ok() {
            let _: Result<(), _> = ends.recv();
        }
    }));
    tokio::select! {
        biased;
        Ok(held) = begins => Ok(held),
        answer = &mut run => Err(answer.map_or_else(told, |()| Told::Other)),
    }
}

fn told(error: Error) -> Told {
    match () {
        () if error.is_queue_timeout() => Told::Timeout,
        () if error.is_closed() => Told::Closed,
        () if error.is_overloaded() => Told::Overloaded,
        () => Told::Other,
    }
}

/// Each of these is counted by itself: they need not be of one moment.
fn mistake(workers: &Workers) -> Option<String> {
    let of = workers.status();
    (of.busy > of.max_workers || of.workers > of.max_workers).then(|| format!("{of:?}"))
}

macro_rules! lends {
    ($pool:ty, $sized:ident) => {
        impl Lends for $pool {
            // Its workers are threads, and know no runtime's clock.
            const PAUSES: bool = false;

            type Lease = Held;

            fn of(size: u32) -> Self {
                Self::builder().$sized(size as usize).build().unwrap()
            }

            fn get(&self, limit: Limit) -> Get<Held> {
                let pool = self.clone();
                Box::pin(async move { hold(&pool, limit).await })
            }

            fn in_line(&self) -> usize {
                let status = self.status();
                status.queued + status.waiting
            }

            fn out(&self) -> u32 {
                self.status().busy as u32
            }

            fn close(&self) {
                let closing = self.shutdown(Shutdown::DropQueued, Duration::ZERO);
                drop(closing.now_or_never());
            }

            fn mistake(&self) -> Option<String> {
                mistake(self)
            }
        }
    };
}

lends!(CpuPool, threads);
lends!(BlockingPool, max_threads);

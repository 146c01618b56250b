//! The service as one row of the comparison has it: one path, done one way.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use pool_cpu::Shutdown;

use crate::failure::Failure;
use crate::meter::Meter;
use crate::password::Stored;
use crate::runtime::ServiceRuntime;
use crate::service;
use crate::settings::Settings;
use crate::upstream::Upstream;
use crate::way::{Path, Way};
use crate::{naive, pooled};

/// One row of the comparison.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) path: Path,
    pub(crate) way: Way,
    /// Makes the service of this row. Called on the runtime that the service is to run on.
    pub(crate) start: fn(&Settings, &ServiceRuntime) -> Result<Target, Failure>,
}

/// All rows, in the order in which they are run and printed.
pub(crate) const ROWS: [Row; 7] = [
    Row {
        path: Path::Db,
        way: Way::Naive,
        start: db_naive,
    },
    Row {
        path: Path::Db,
        way: Way::Pooled,
        start: db_pooled,
    },
    Row {
        path: Path::Http,
        way: Way::Naive,
        start: http_naive,
    },
    Row {
        path: Path::Http,
        way: Way::Pooled,
        start: http_pooled,
    },
    Row {
        path: Path::Cpu,
        way: Way::Naive,
        start: cpu_naive,
    },
    Row {
        path: Path::Cpu,
        way: Way::SpawnBlocking,
        start: cpu_spawn_blocking,
    },
    Row {
        path: Path::Cpu,
        way: Way::Pooled,
        start: cpu_pooled,
    },
];

/// A row's service.
pub(crate) struct Target {
    /// Its routes.
    pub(crate) router: Router,
    opens: Box<dyn Fn() -> u64 + Send>,
    peak: Box<dyn Fn() -> u64 + Send>,
    close: BoxFuture<'static, ()>,
    /// What it calls, which is to live as long.
    upstream: Option<Upstream>,
}

impl Target {
    fn new(
        router: Router,
        opens: impl Fn() -> u64 + Send + 'static,
        peak: impl Fn() -> u64 + Send + 'static,
    ) -> Self {
        Self {
            router: router.merge(service::health()),
            opens: Box::new(opens),
            peak: Box::new(peak),
            close: async {}.boxed(),
            upstream: None,
        }
    }

    fn closing(mut self, close: impl Future<Output = ()> + Send + 'static) -> Self {
        self.close = close.boxed();
        self
    }

    fn calling(mut self, upstream: Upstream) -> Self {
        self.upstream = Some(upstream);
        self
    }

    /// Connections opened, or threads started, so far.
    pub(crate) fn opens(&self) -> u64 {
        (self.opens)()
    }

    /// Connections open, or threads at work, at the same time: the most so far, or now for a pool, which keeps them.
    pub(crate) fn peak(&self) -> u64 {
        (self.peak)()
    }

    /// Closes what it has open.
    pub(crate) async fn close(self) {
        self.close.await;
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}

fn db_naive(settings: &Settings, _: &ServiceRuntime) -> Result<Target, Failure> {
    let opened = Meter::default();
    let (opens, peaks) = (opened.opens(), opened.peaks());
    let users = naive::NaiveUsers {
        database: settings.database.pool()?,
        opened,
    };
    Ok(Target::new(service::users(Arc::new(users)), opens, peaks))
}

fn db_pooled(settings: &Settings, _: &ServiceRuntime) -> Result<Target, Failure> {
    let pool = settings.database.pool()?;
    let users = pooled::PooledUsers(pool.clone());
    let (opens, peaks) = (pool.clone(), pool.clone());
    Ok(Target::new(
        service::users(Arc::new(users)),
        move || opens.status().opened,
        move || peaks.status().open.into(),
    )
    .closing(async move {
        let _left = pool.drain(CLOSING).await;
    }))
}

fn http_naive(_: &Settings, _: &ServiceRuntime) -> Result<Target, Failure> {
    let upstream = Upstream::start()?;
    let quotes = naive::HttpsQuotes::new(&upstream)?;
    let handshakes = upstream.handshakes();
    let (opens, peaks) = (handshakes.opens(), handshakes.peaks());
    Ok(Target::new(service::quotes(Arc::new(quotes)), opens, peaks).calling(upstream))
}

fn http_pooled(settings: &Settings, _: &ServiceRuntime) -> Result<Target, Failure> {
    let upstream = Upstream::start()?;
    let client = pooled::client(settings, &upstream)?;
    let quotes = pooled::HttpsQuotes {
        client: client.clone(),
        upstream: upstream.address(),
    };
    let handshakes = upstream.handshakes();
    let (opens, peaks) = (handshakes.opens(), handshakes.peaks());
    Ok(Target::new(service::quotes(Arc::new(quotes)), opens, peaks)
        .calling(upstream)
        .closing(async move {
            let _left = client.drain(CLOSING).await;
        }))
}

fn cpu_naive(_: &Settings, _: &ServiceRuntime) -> Result<Target, Failure> {
    let hashing = Meter::default();
    let peaks = hashing.peaks();
    let logins = naive::ExecutorLogins {
        stored: Stored::new(service::PASSWORD)?,
        hashing,
    };
    Ok(Target::new(service::logins(Arc::new(logins)), || 0, peaks))
}

fn cpu_spawn_blocking(_: &Settings, runtime: &ServiceRuntime) -> Result<Target, Failure> {
    let hashing = Meter::default();
    let peaks = hashing.peaks();
    let logins = naive::SpawnBlockingLogins {
        stored: Stored::new(service::PASSWORD)?,
        hashing,
    };
    Ok(Target::new(
        service::logins(Arc::new(logins)),
        runtime.blocking_threads(),
        peaks,
    ))
}

fn cpu_pooled(settings: &Settings, _: &ServiceRuntime) -> Result<Target, Failure> {
    let hashing = Meter::default();
    let peaks = hashing.peaks();
    let pool = pooled::workers(settings)?;
    let started = pool.clone();
    let logins = pooled::CpuLogins::new(pool.clone(), Stored::new(service::PASSWORD)?, hashing);
    Ok(Target::new(
        service::logins(Arc::new(logins)),
        move || started.status().workers as u64,
        peaks,
    )
    .closing(async move { drop(pool.shutdown(Shutdown::Drain, CLOSING).await) }))
}

/// How long a pool may take to close after a row.
const CLOSING: Duration = Duration::from_secs(5);

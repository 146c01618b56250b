//! `serve`: the service with all its pools, until it is told to stop; then it drains.

use std::io::{self, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use pool_cpu::lag::LagMonitor;
use pool_cpu::{CpuPool, Shutdown};
use pool_db::Database;
use pool_http::Client;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::cli::ServeArgs;
use crate::failure::Failure;
use crate::meter::Meter;
use crate::metrics;
use crate::password::Stored;
use crate::pooled;
use crate::runtime::ServiceRuntime;
use crate::service;
use crate::settings::Settings;
use crate::signals::Signals;
use crate::upstream::Upstream;

/// The pools of a service, beside the routes that use them.
pub(crate) struct Pools {
    pub(crate) db: Database,
    pub(crate) http: Client,
    pub(crate) cpu: CpuPool,
    /// Requests: all so far, and those in flight.
    pub(crate) requests: Meter,
    /// Of the runtime that serves.
    pub(crate) lag: LagMonitor,
}

/// Serves until Ctrl-C or SIGTERM and says what it does. Returns its last words.
///
/// # Errors
/// When it cannot start, and when it could not drain: requests were still in flight at the deadline, or it was told
/// to stop a second time.
pub(crate) fn serve(args: &ServeArgs) -> Result<String, Failure> {
    let settings = Settings::read(args.data_dir.as_deref())?;
    let listener = service::listen(args.port)?;
    let runtime = ServiceRuntime::start()?;
    let served = runtime.tokio().block_on(run(listener, args, &settings));
    runtime.shut_down();
    served
}

async fn run(
    listener: TcpListener,
    args: &ServeArgs,
    settings: &Settings,
) -> Result<String, Failure> {
    // First of all, so that none is missed.
    let mut signals = Signals::listen()?;
    settings.database.prepare().await?;
    let upstream = Upstream::start()?;
    let (router, pools) = start(settings, &upstream)?;

    let address = service::address(&listener)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let mut server = service::serve(&listener, router, async { drop(stopped.await) })?;
    drop(listener);
    say(&format!(
        "listening on http://{address} with {}; Ctrl-C stops it",
        settings.database
    ));

    let signal = signals.next().await;
    let began = Instant::now();
    say(&format!(
        "{signal}: {} requests in flight, which have {:?} to finish",
        pools.requests.open_now(),
        args.drain
    ));
    drop(stop);
    tokio::select! {
        ended = timeout(args.drain, &mut server) => match ended {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => return Err(Failure::run("the server failed", &error)),
            Ok(Err(error)) => return Err(Failure::run("the server failed", &error)),
            Err(_) => server.abort(),
        },
        again = signals.next() => return Err(Failure::Run(format!(
            "{again} again: stopped with {} requests in flight", pools.requests.open_now(),
        ))),
    }
    let unfinished = pools.requests.open_now();
    let closed = pools
        .close(args.drain.saturating_sub(began.elapsed()).max(CLOSING))
        .await;
    if unfinished > 0 {
        return Err(Failure::Run(format!(
            "{unfinished} requests were still in flight after {:?}; {closed}",
            args.drain
        )));
    }
    Ok(format!(
        "drained after {:.0?}: all requests in flight were answered; {closed}",
        began.elapsed()
    ))
}

/// All routes, and the pools behind them.
fn start(settings: &Settings, upstream: &Upstream) -> Result<(Router, Arc<Pools>), Failure> {
    let db = settings.database.pool()?;
    let users = pooled::PooledUsers(db.clone());
    let http = pooled::client(settings, upstream)?;
    let cpu = pooled::workers(settings)?;
    let quotes = pooled::HttpsQuotes {
        client: http.clone(),
        upstream: upstream.address(),
    };
    let stored = Stored::new(service::PASSWORD)?;
    let logins = pooled::CpuLogins::new(cpu.clone(), stored, Meter::default());
    let lag = pooled::built(LagMonitor::start(
        &Handle::current(),
        Duration::from_millis(10),
    ))?;
    let pools = Arc::new(Pools {
        db,
        http,
        cpu,
        requests: Meter::default(),
        lag,
    });
    let metrics = Router::new()
        .route("/metrics", get(metrics::show))
        .with_state(Arc::clone(&pools));
    let router = service::users(Arc::new(users))
        .merge(service::quotes(Arc::new(quotes)))
        .merge(service::logins(Arc::new(logins)))
        .merge(service::health())
        .merge(metrics)
        .layer(middleware::from_fn_with_state(
            pools.requests.clone(),
            count,
        ));
    Ok((router, pools))
}

/// Counts a request as in flight until its answer is made.
async fn count(State(requests): State<Meter>, request: Request, next: Next) -> Response {
    let _in_flight = requests.open();
    next.run(request).await
}

impl Pools {
    /// Closes all of them, each within `within`, and says how it went.
    async fn close(&self, within: Duration) -> String {
        let (db, http, cpu) = tokio::join!(
            self.db.drain(within),
            self.http.drain(within),
            self.cpu.shutdown(Shutdown::Drain, within),
        );
        match (db.left, http.left, cpu.still_running.len()) {
            (0, 0, 0) => "all pools are closed".into(),
            (db, http, cpu) => format!(
                "left open after {within:?}: {db} database connections, {http} upstream connections, {cpu} jobs"
            ),
        }
    }
}

/// Prints a line at once. That nobody reads it is no reason to stop serving.
fn say(line: &str) {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .ok();
}

/// What the pools have to close in, however long the requests took.
const CLOSING: Duration = Duration::from_secs(2);

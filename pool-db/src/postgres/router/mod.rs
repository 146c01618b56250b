//! Reads at the replicas, writes at the primary.

mod builder;
mod host;
mod log;
mod status;
mod token;

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_postgres::Row;

pub use builder::RouterBuilder;
use host::{Board, Host};
pub use status::{HostStatus, Role, RouterStatus};
pub use token::{InvalidToken, Token};

use super::{Client, Pool, Query, query::Params};
use crate::{ConfigError, Drained, Error, one_row::only};

/// A primary and its replicas: writes go to the primary, and reads to the replicas that are near enough to it. A `Router` is a cheap
/// handle: clones share one router.
///
/// ```no_run
/// use std::time::Duration;
/// use pool_db::postgres::Router;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pool_db::Error> {
/// let router = Router::builder()
///     .url("postgres://me@db1.example,db2.example,db3.example/shop")
///     .max_lag(Duration::from_secs(5))
///     .build()?;
///
/// // In the request that writes:
/// let connection = router.write().get().await?;
/// connection.execute("UPDATE users SET name = $1 WHERE id = $2", &[&"Ada", &7_i64]).await?;
/// let token = router.token(&connection).await?; // "0/16B3748", for the cookie of the session
///
/// // In a later request of the same session, which must see that:
/// let pool = router.read_after(token, Duration::from_millis(100)).await?;
/// let row = pool.query_one("SELECT name FROM users WHERE id = $1", &[&7_i64]).await?;
///
/// // Where a read may be a little behind:
/// let rows = router.query("SELECT name FROM users", &[]).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Roles
/// The roles are found out, and not told: the hosts of the address may stand in any order. Each host is asked twice a second
/// (`measure_every`) for its role and its place in the log of writes, on a connection beside the pools. The pool of writes is one
/// over all hosts with `target_session_attrs=read-write`. So after a failover the promoted replica takes the writes, and the old
/// primary is a replica when it comes back as one. A replica that still follows an old primary is not read from: each promotion
/// begins a timeline, and replicas must have that of the primary. A router fences nothing off: an old primary that comes back and takes writes
/// must be stopped by whoever has promoted the other.
///
/// # Lag
/// A replica's lag is the time since which it may lack a write, up to now. It is told by the log of the primary and by the clock
/// of this process, so clocks of the servers do not matter, and an idle primary makes no lag. It has the age of the measurements in
/// it: a replica that does not answer falls behind, and is left out after `measure_timeout` at the latest. While there is no
/// primary, the replicas count by what was last known of it, and reads go on.
///
/// # Limits
/// Each host must be one server, and not a name or a proxy for several: what is measured is true for what answers only. A router
/// has a pool of `max_size` for each host, a pool for the primary, and one connection to each host beside them.
#[derive(Clone)]
pub struct Router {
    inner: Arc<Inner>,
}

struct Inner {
    board: Arc<Board>,
    write: Pool,
    fallbacks: AtomicU64,
    /// The tasks that measure, one for each host. Their drop ends them.
    tasks: Mutex<JoinSet<()>>,
}

/// What a replica must be like, and how that is measured.
#[derive(Clone, Copy, Debug)]
struct Rules {
    max_lag: Option<Duration>,
    max_lag_bytes: Option<u64>,
    fallback: bool,
    measure_every: Duration,
    measure_timeout: Duration,
}

impl Router {
    /// Creates a builder for a router.
    pub fn builder() -> RouterBuilder {
        RouterBuilder::new()
    }

    /// Builds a router from the environment: [`RouterBuilder::env`] with the prefix `POOL_DB`.
    ///
    /// # Errors
    /// As for [`RouterBuilder::env`] and [`RouterBuilder::build`].
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::builder().env("POOL_DB")?.build()
    }

    fn new(write: Pool, hosts: Vec<(String, Pool)>, rules: Rules) -> Self {
        Self {
            inner: Arc::new(Inner {
                board: Arc::new(Board::new(hosts, rules)),
                write,
                fallbacks: AtomicU64::new(0),
                tasks: Mutex::default(),
            }),
        }
    }

    /// Returns the pool of the primary.
    pub fn write(&self) -> &Pool {
        &self.inner.write
    }

    /// Returns the pool of the replica with the least load, of those within `max_lag`, or that of the primary if there is none.
    ///
    /// It waits only until the hosts were asked for the first time. Choose for each read, and do not keep the pool.
    ///
    /// # Errors
    /// [`Error::is_connect`] if no replica will do and `fallback` is off.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn read(&self) -> Result<&Pool, Error> {
        self.ready().await;
        Ok(self.choice(None)?.1)
    }

    /// Returns the pool of a replica that shows everything up to `token`, as [`read`](Self::read) does. If there is none yet, waits
    /// for one, but no longer than `wait`, and then returns the pool of the primary. So a session reads its own writes.
    ///
    /// A token of a write that a failover has lost is never too new for the primary.
    ///
    /// # Errors
    /// [`Error::is_connect`] if no replica has come that far in time and `fallback` is off.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn read_after(&self, token: Token, wait: Duration) -> Result<&Pool, Error> {
        let deadline = Instant::now().checked_add(wait);
        self.ready().await;
        let mut news = self.inner.board.news.subscribe();
        let mut hurry = None;
        loop {
            if let Some(host) = self.replica(Some(token)) {
                return Ok(&host.pool);
            }
            // Only a replica that may be read from at all is worth the wait.
            if self.replica_of_any_place().is_none() {
                break;
            }
            hurry.get_or_insert_with(|| self.inner.board.hurry());
            let changed = news.changed();
            let is_over = match deadline {
                Some(deadline) => timeout_at(deadline, changed).await.is_err(),
                None => changed.await.is_err(),
            };
            if is_over {
                break;
            }
        }
        drop(hurry);
        Ok(self.choice(Some(token))?.1)
    }

    /// Returns the token of what was written so far, by this connection to the primary and by all others. Ask for it after the
    /// commit, on the same connection.
    ///
    /// # Errors
    /// As for [`Client::query`]. A server that is no primary refuses it.
    pub async fn token(&self, client: &Client) -> Result<Token, Error> {
        let row = client
            .query_one("SELECT pg_catalog.pg_current_wal_insert_lsn()::text", &[])
            .await?;
        let text: &str = row.try_get(0)?;
        text.parse().map_err(|_| Error::no_place())
    }

    /// Runs a statement that only reads, on a replica as [`read`](Self::read) chooses it, and returns its rows.
    ///
    /// If that replica is not there, or is lost meanwhile, the statement runs on another host: a replica cannot have written
    /// anything.
    ///
    /// # Errors
    /// As for [`read`](Self::read), [`get`](crate::Pool::get) and [`Client::query`].
    ///
    /// # Cancel safety
    /// As for [`Pool::query`].
    pub async fn query<'a>(
        &self,
        query: impl Into<Query<'a>>,
        params: Params<'_>,
    ) -> Result<Vec<Row>, Error> {
        let query = query.into();
        self.ready().await;
        let mut tries = self.inner.board.hosts.len();
        loop {
            let (host, pool) = self.choice(None)?;
            let done = pool.query(query, params).await;
            match (&done, host) {
                (Err(error), Some(host))
                    if tries > 0 && (error.is_connect() || error.is_disconnected()) =>
                {
                    host.shun();
                    tries -= 1;
                }
                _ => return done,
            }
        }
    }

    /// As [`query`](Self::query), for a statement that returns exactly one row.
    ///
    /// # Errors
    /// As for [`query`](Self::query), and [`Error::is_no_rows`] or [`Error::is_many_rows`] for another number of rows.
    ///
    /// # Cancel safety
    /// As for [`query`](Self::query).
    pub async fn query_one<'a>(
        &self,
        query: impl Into<Query<'a>>,
        params: Params<'_>,
    ) -> Result<Row, Error> {
        only(self.query(query, params).await?)
    }

    /// Connects to the primary, and waits until all hosts have been asked for their role.
    ///
    /// # Errors
    /// As for [`Pool::warm_up`](crate::Pool::warm_up), of the primary. A replica may be away.
    ///
    /// # Cancel safety
    /// Dropping the future stops the wait only.
    pub async fn warm_up(&self) -> Result<(), Error> {
        let board = &self.inner.board;
        self.inner.watch();
        let mut news = board.news.subscribe();
        let is_tried = || board.hosts.iter().all(|host| host.seen().is_tried);
        while !is_tried() && !self.inner.tasks().is_empty() && !self.inner.write.is_closed() {
            drop(timeout(board.rules.measure_timeout, news.changed()).await);
            self.inner.watch();
        }
        self.write().warm_up().await
    }

    /// Returns what the router knows now.
    pub fn status(&self) -> RouterStatus {
        let board = &self.inner.board;
        let now = Instant::now();
        let hosts = board.hosts.iter().enumerate().map(|(index, host)| {
            let seen = host.seen();
            let replica = seen.last.as_ref().filter(|last| last.is_replica);
            let (is_primary, lag, lag_bytes) = board.log(|log| {
                let lag = replica.and_then(|last| log.behind(last.position, last.at, now));
                let bytes = replica.and_then(|last| log.bytes_behind(last.position));
                (log.is_primary(index), lag, bytes)
            });
            HostStatus {
                host: host.name.clone(),
                role: match &seen.last {
                    None => Role::Unknown,
                    Some(last) if last.is_replica => Role::Replica,
                    Some(_) if is_primary => Role::Primary,
                    Some(_) => Role::Stray,
                },
                is_read: board.is_fit(host, None, now),
                lag,
                lag_bytes,
                measured: seen.last.map(|last| now.saturating_duration_since(last.at)),
                error: seen.error,
                chosen: host.chosen.load(Relaxed),
                pool: host.pool.status(),
            }
        });
        RouterStatus {
            hosts: hosts.collect(),
            write: self.inner.write.status(),
            fallbacks: self.inner.fallbacks.load(Relaxed),
        }
    }

    /// Closes all pools, without waiting, and ends the measurements.
    pub fn close(&self) {
        self.inner.pools().for_each(Pool::close);
        self.inner.tasks().abort_all();
        // Those who wait for the first measurements wait no longer.
        self.inner
            .board
            .news
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Closes all pools and waits until all their connections are closed, but no longer than `deadline`. The report lists what was
    /// still leased.
    ///
    /// # Cancel safety
    /// The pools stay closed. Dropping the future only stops the wait.
    ///
    /// # Panics
    /// As for the [`drain`](crate::Pool::drain) of a pool.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        self.close();
        let start = Instant::now();
        let mut drained = Vec::new();
        for pool in self.inner.pools() {
            drained.push(pool.drain(deadline.saturating_sub(start.elapsed())).await);
        }
        drained.into_iter().collect()
    }

    /// Waits until a replica can be chosen, or all hosts have been asked once.
    async fn ready(&self) {
        let board = &self.inner.board;
        self.inner.watch();
        let is_ready = || {
            board.hosts.iter().all(|host| host.seen().is_tried)
                || self.replica_of_any_place().is_some()
                || self.inner.write.is_closed()
        };
        if is_ready() {
            return;
        }
        let mut news = board.news.subscribe();
        // Without a runtime nothing measures, and the wait would have no end.
        while !is_ready() && !self.inner.tasks().is_empty() {
            // The runtime of the tasks may end meanwhile: then they are begun again here.
            drop(timeout(board.rules.measure_timeout, news.changed()).await);
            self.inner.watch();
        }
    }

    /// Chooses a host, or the primary (`None`).
    fn choice(&self, least: Option<Token>) -> Result<(Option<&Host>, &Pool), Error> {
        if let Some(host) = self.replica(least) {
            return Ok((Some(host), &host.pool));
        }
        if !self.inner.board.rules.fallback {
            return Err(Error::no_replica());
        }
        self.inner.fallbacks.fetch_add(1, Relaxed);
        Ok((None, &self.inner.write))
    }

    /// Chooses the replica with the least load. One of several that have the same is chosen at random.
    fn replica(&self, least: Option<Token>) -> Option<&Host> {
        let (board, now) = (&self.inner.board, Instant::now());
        let fit = board
            .hosts
            .iter()
            .filter(|host| board.is_fit(host, least, now));
        let host = fit.min_by_key(|host| (host.load(), fastrand::u32(..)))?;
        host.chosen.fetch_add(1, Relaxed);
        Some(host)
    }

    fn replica_of_any_place(&self) -> Option<&Host> {
        let (board, now) = (&self.inner.board, Instant::now());
        board
            .hosts
            .iter()
            .find(|host| board.is_fit(host, None, now))
    }
}

impl Inner {
    /// Measures from now on, if that is possible here and is not done.
    fn watch(&self) {
        let mut tasks = self.tasks();
        // Those of a runtime that has ended are replaced.
        while tasks.try_join_next().is_some() {}
        if tasks.len() == self.board.hosts.len() || self.write.is_closed() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        tasks.abort_all();
        *tasks = JoinSet::new();
        for index in 0..self.board.hosts.len() {
            tasks.spawn_on(Arc::clone(&self.board).watch(index), &runtime);
        }
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pools(&self) -> impl Iterator<Item = &Pool> {
        let hosts = self.board.hosts.iter().map(|host| &host.pool);
        [&self.write].into_iter().chain(hosts)
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("write", &self.inner.write)
            .field("rules", &self.inner.board.rules)
            .finish_non_exhaustive()
    }
}

//! Making a pool of SQLite connections.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use pool_core::{Config, ConfigError};
use pool_cpu::BlockingPool;

use super::{
    Manager, Pool,
    location::{Access, EXPECTED, Location},
    session::{Plan, Session},
};
use crate::environment::Environment;

/// Begins a [`Pool`]: plain data, and with the feature `serde` read from any format, durations as `30s`, the pool's own
/// settings under `pool`.
#[derive(Clone, Debug)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Builder {
    name: String,
    url: Option<String>,
    path: Option<PathBuf>,
    read_only: bool,
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    busy_timeout: Duration,
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    query_timeout: Option<Duration>,
    statement_cache: usize,
    threads: Option<usize>,
    pragmas: Vec<(String, String)>,
    pool: Config,
    /// What some of it came from.
    #[cfg_attr(feature = "serde", serde(skip))]
    environment: Option<Environment>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            name: "sqlite".to_owned(),
            url: None,
            path: None,
            read_only: false,
            busy_timeout: Duration::from_secs(5),
            query_timeout: Some(Duration::from_secs(30)),
            statement_cache: 64,
            threads: None,
            pragmas: Vec::new(),
            pool: Config::new(),
            environment: None,
        }
    }
}

impl Builder {
    /// The defaults. Nothing is known yet of where the database is.
    pub fn new() -> Self {
        Self::default()
    }

    /// The database is this file, made if it is missing.
    #[must_use]
    pub fn path(mut self, path: impl Into<PathBuf>) -> Self {
        (self.path, self.url) = (Some(path.into()), None);
        self
    }

    /// The database is in memory: empty at first, shared by all connections of this pool and by nobody else, gone with the
    /// pool. It has no write-ahead log, so a writer and readers wait for each other (`busy_timeout`).
    #[must_use]
    pub fn memory(self) -> Self {
        self.url("sqlite::memory:")
    }

    /// The database is at `sqlite:PATH`, `sqlite://PATH` or `sqlite::memory:`. With `?mode=ro` it is only read, with
    /// `?mode=rw` a missing file is an error, with `?mode=rwc` (the default) it is made. `%20` and the like are resolved.
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        (self.path, self.url) = (None, Some(url.into()));
        self
    }

    /// Opens the file for reading only; it must exist. Default: false.
    #[must_use]
    pub const fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// How long a statement waits for a lock that another connection has, before it fails with `SQLITE_BUSY`. Zero: not at
    /// all. Default: 5 s.
    #[must_use]
    pub const fn busy_timeout(mut self, limit: Duration) -> Self {
        self.busy_timeout = limit;
        self
    }

    /// How long one `run` may take, its wait for a worker included; `None`: no bound. Not zero. Default: 30 s.
    #[must_use]
    pub const fn query_timeout(mut self, limit: Option<Duration>) -> Self {
        self.query_timeout = limit;
        self
    }

    /// How many statements each connection keeps prepared for `prepare_cached`; those that were not used longest go first.
    /// Default: 64.
    #[must_use]
    pub const fn statement_cache(mut self, capacity: usize) -> Self {
        self.statement_cache = capacity;
        self
    }

    /// How many threads may work for the pool; they are started when there is work for them. More than `max_size` are never busy. At
    /// least 1. Default: as many as `max_size`.
    #[must_use]
    pub const fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Sets a pragma on each connection when it is opened, in this order, after the defaults `journal_mode` = `wal` (not for
    /// a database in memory or one that is only read), `synchronous` = `normal` and `foreign_keys` = `on`; one of these names
    /// replaces the default.
    #[must_use]
    pub fn pragma(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.pragmas.push((name.into(), value.into()));
        self
    }

    /// Names the pool, for messages, metrics and threads. Default: `sqlite`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How many connections there may be at once. Default: twice the cores, at least 10.
    #[must_use]
    pub fn max_size(mut self, max_size: u32) -> Self {
        self.pool = self.pool.max_size(max_size);
        self
    }

    /// How many connections are kept open and idle. Default: 0.
    #[must_use]
    pub fn min_idle(mut self, min_idle: u32) -> Self {
        self.pool = self.pool.min_idle(min_idle);
        self
    }

    /// How long a get may take, all in all. Not zero. Default: 30 s.
    #[must_use]
    pub fn acquire_timeout(mut self, limit: Duration) -> Self {
        self.pool = self.pool.acquire_timeout(limit);
        self
    }

    /// Takes all settings of the pool itself from `config`.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.pool = config;
        self
    }

    /// Overrides the settings so far by the environment: `{prefix}_URL`, or else `DATABASE_URL`; `{prefix}_READ_ONLY`,
    /// `_BUSY_TIMEOUT`, `_QUERY_TIMEOUT` (or `off`), `_STATEMENT_CACHE`, `_THREADS`; and what [`Config::apply_env`] reads
    /// (`_MAX_SIZE`, `_ACQUIRE_TIMEOUT`, ..).
    ///
    /// # Errors
    /// A value that its setting cannot have, or a name under the prefix that no setting has.
    pub fn env(self, prefix: &str) -> Result<Self, ConfigError> {
        self.apply(Environment::read(prefix, &[])?)
    }

    /// Makes the pool. No file is opened and no thread started yet: the first get does.
    ///
    /// # Errors
    /// A setting that is out of its range or contradicts another, or no address.
    pub fn build(mut self) -> Result<Pool, ConfigError> {
        let environment = self.environment.take();
        self.make().map_err(|error| match environment {
            Some(environment) => environment.blame(error),
            None => error,
        })
    }

    fn make(self) -> Result<Pool, ConfigError> {
        self.pool.validate()?;
        let (location, access) = self.location()?;
        if i32::try_from(self.busy_timeout.as_millis()).is_err() {
            return Err(ConfigError::new(
                "busy_timeout",
                format!("{:?}", self.busy_timeout),
                "at most 24 days",
            ));
        }
        if self.query_timeout == Some(Duration::ZERO) {
            return Err(ConfigError::new(
                "query_timeout",
                "0s",
                "longer than zero, or none",
            ));
        }
        let plan = Plan {
            source: location.source(access),
            busy_timeout: self.busy_timeout,
            statement_cache: self.statement_cache,
            pragmas: self.all_pragmas(&location, access),
        };
        let anchor = match location {
            Location::File(_) => None,
            Location::Memory => Some(Mutex::new(open_anchor(&plan)?)),
        };
        let max_size = self.pool.get_max_size() as usize;
        let workers = BlockingPool::builder()
            .name(self.name.clone())
            .max_threads(self.threads.unwrap_or(max_size))
            // A job for each connection, and one more for each that is being closed while its place is given on.
            .queue(2 * max_size)
            // Who waits is bounded already, by `query_timeout` or a timeout of the pool's.
            .queue_timeout(None)
            .build()
            .map_err(|error| match (error.setting(), error.value()) {
                ("max_threads", Some(threads)) => {
                    ConfigError::new("threads", threads, error.expected())
                }
                _ => error,
            })?;
        let manager = Manager {
            workers,
            query_timeout: self.query_timeout,
            target: format!("sqlite {location}"),
            plan: Arc::new(plan),
            _anchor: anchor,
        };
        let pool = pool_core::Pool::builder(manager)
            .name(self.name)
            .config(self.pool)
            .build()?;
        Ok(Pool::new(pool))
    }

    fn apply(mut self, environment: Environment) -> Result<Self, ConfigError> {
        let mut env = environment.env();
        if let Some((name, url)) = environment.take_url(&mut env)? {
            Location::parse(&name, &url)?;
            self = self.url(url);
        }
        if let Some(read_only) = env.take("READ_ONLY")? {
            self.read_only = read_only;
        }
        if let Some(limit) = env.take("BUSY_TIMEOUT")? {
            self.busy_timeout = limit;
        }
        if let Some(limit) = env.take("QUERY_TIMEOUT")? {
            self.query_timeout = limit;
        }
        if let Some(capacity) = env.take("STATEMENT_CACHE")? {
            self.statement_cache = capacity;
        }
        if let Some(threads) = env.take("THREADS")? {
            self.threads = Some(threads);
        }
        self.pool.apply_env(&mut env)?;
        env.finish()?;
        self.environment = Some(environment);
        Ok(self)
    }

    fn location(&self) -> Result<(Location, Access), ConfigError> {
        let (location, access) = match (&self.path, &self.url) {
            (Some(path), _) => (Location::File(path.clone()), None),
            (None, Some(url)) => Location::parse("url", url)?,
            (None, None) => {
                let expected =
                    format!("set, as DATABASE_URL in the environment or in code: {EXPECTED}");
                return Err(ConfigError::secret("url", expected));
            }
        };
        let access = if self.read_only {
            Access::ReadOnly
        } else {
            access.unwrap_or(Access::Create)
        };
        if location == Location::Memory && access == Access::ReadOnly {
            return Err(ConfigError::new(
                "read_only",
                "true",
                "false for a database in memory, which begins empty",
            ));
        }
        Ok((location, access))
    }

    /// The defaults, as far as nobody set them, and what was set.
    fn all_pragmas(&self, location: &Location, access: Access) -> Vec<(String, String)> {
        let has_log = *location != Location::Memory && access != Access::ReadOnly;
        let wal = has_log.then_some(("journal_mode", "wal"));
        let defaults = wal
            .into_iter()
            .chain([("synchronous", "normal"), ("foreign_keys", "on")]);
        let is_set = |name: &str| self.pragmas.iter().any(|(set, _)| set == name);
        let defaults = defaults.filter(|(name, _)| !is_set(name));
        defaults
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .chain(self.pragmas.clone())
            .collect()
    }
}

/// Does no I/O: the database is in memory.
fn open_anchor(plan: &Plan) -> Result<Session, ConfigError> {
    Session::open(plan).map_err(|error| {
        ConfigError::new(
            "pragmas",
            format!("{:?}", plan.pragmas),
            format!("ones that SQLite takes ({error})"),
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn built(vars: &[(&str, &str)]) -> Result<Pool, ConfigError> {
        Builder::new().apply(Environment::of(vars))?.build()
    }

    #[test]
    fn the_environment_says_where_and_how() {
        let vars = [
            ("DATABASE_URL", "sqlite:other.db"),
            ("POOL_DB_URL", "sqlite:app.db?mode=rw"),
            ("POOL_DB_MAX_SIZE", "3"),
            ("POOL_DB_BUSY_TIMEOUT", "250ms"),
            ("POOL_DB_QUERY_TIMEOUT", "off"),
            ("POOL_DB_STATEMENT_CACHE", "7"),
            ("POOL_DB_THREADS", "2"),
            ("POOL_DB_READ_ONLY", "true"),
        ];
        let pool = built(&vars).unwrap();
        let manager = pool.manager();
        assert_eq!(manager.target, "sqlite app.db");
        assert_eq!(pool.status().max_size, 3);
        assert_eq!(
            (manager.plan.busy_timeout, manager.query_timeout),
            (Duration::from_millis(250), None)
        );
        assert_eq!(manager.plan.statement_cache, 7);
        assert!(
            manager
                .plan
                .source
                .flags
                .contains(rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
        );
        assert_eq!(
            built(&vars[..1]).unwrap().manager().target,
            "sqlite other.db"
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_what_it_may_be() {
        let url = ("DATABASE_URL", "sqlite:app.db");
        for (vars, says) in [
            (
                vec![],
                "url must be set, as DATABASE_URL in the environment or in code: `sqlite:PATH`",
            ),
            (
                vec![("DATABASE_URL", "postgres://u:secret@h/db")],
                "DATABASE_URL is postgres://u:***@h/db, but must be `sqlite:PATH`",
            ),
            (
                vec![url, ("POOL_DB_READONLY", "true")],
                "POOL_DB_READONLY is \"true\", but must be unset",
            ),
            (
                vec![url, ("POOL_DB_BUSY_TIMEOUT", "5")],
                "POOL_DB_BUSY_TIMEOUT is \"5\", but must be a duration",
            ),
            (
                vec![url, ("POOL_DB_BUSY_TIMEOUT", "25days")],
                "POOL_DB_BUSY_TIMEOUT is 2160000s, but must be at most 24 days",
            ),
            (
                vec![url, ("POOL_DB_QUERY_TIMEOUT", "0s")],
                "POOL_DB_QUERY_TIMEOUT is 0s, but must be longer than zero",
            ),
            (
                vec![url, ("POOL_DB_THREADS", "0")],
                "POOL_DB_THREADS is 0, but must be",
            ),
            (
                vec![url, ("POOL_DB_MAX_SIZE", "0")],
                "POOL_DB_MAX_SIZE is 0, but must be at least 1",
            ),
            (
                vec![
                    ("POOL_DB_URL", "sqlite::memory:"),
                    ("POOL_DB_READ_ONLY", "1"),
                ],
                "POOL_DB_READ_ONLY is true, but must be false",
            ),
        ] {
            let error = built(&vars).unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_pragma_replaces_the_default_of_its_name() {
        let pragmas = |builder: Builder| {
            let (location, access) = builder.location().unwrap();
            builder
                .all_pragmas(&location, access)
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>()
        };
        let file = Builder::new().path("app.db");
        assert_eq!(
            pragmas(file.clone()),
            ["journal_mode=wal", "synchronous=normal", "foreign_keys=on"]
        );
        assert_eq!(
            pragmas(
                file.clone()
                    .pragma("journal_mode", "delete")
                    .pragma("mmap_size", "1000")
            ),
            [
                "synchronous=normal",
                "foreign_keys=on",
                "journal_mode=delete",
                "mmap_size=1000"
            ]
        );
        assert_eq!(
            pragmas(file.read_only(true)),
            ["synchronous=normal", "foreign_keys=on"]
        );
    }

    #[cfg(feature = "serde")]
    #[test]
    fn it_is_read_from_any_format() {
        let text = r#"{"path": "app.db", "query_timeout": "2s", "pragmas": [["mmap_size", "0"]], "pool": {"max_size": 3}}"#;
        let pool = serde_json::from_str::<Builder>(text)
            .unwrap()
            .build()
            .unwrap();
        assert_eq!(
            (pool.status().max_size, pool.manager().query_timeout),
            (3, Some(Duration::from_secs(2)))
        );
        assert!(serde_json::from_str::<Builder>(r#"{"pathe": "app.db"}"#).is_err());
    }
}

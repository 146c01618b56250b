//! The builder of a pool of SQLite connections.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use pool_core::{__Sources, __checks::no_zeros, __config, __name_for, Config, ConfigError, Env};
use pool_cpu::BlockingPool;

use super::{
    Manager, Pool,
    location::{Access, EXPECTED, Location},
    session::{Plan, Session},
};
use crate::{address::Address, environment::Environment};

/// Builds a [`Pool`]. It has a method for every setting of [`Config`], and for the settings of the driver.
///
/// With the feature `serde` the builder can be read from any format, flat, with the names of the environment in lower case and the
/// same texts for values.
///
/// ```
/// use std::time::Duration;
/// use pool_db::sqlite::Pool;
///
/// let pool = Pool::builder()
///     .path("orders.db")
///     .name("orders")
///     .max_size(8)
///     .idle_timeout(None)
///     .query_timeout(Duration::from_secs(5))
///     .pragma("mmap_size", "0")
///     .build()?;
/// assert_eq!((pool.name(), pool.status().max_size), ("orders", 8));
/// # Ok::<(), pool_db::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "`build` makes the pool"]
pub struct Builder {
    config: Config,
    url: Option<Address>,
    path: Option<PathBuf>,
    read_only: bool,
    busy_timeout: Duration,
    query_timeout: Option<Duration>,
    statement_cache: usize,
    threads: Option<usize>,
    pragmas: Vec<(String, String)>,
    sources: __Sources,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            config: Config::new(),
            url: None,
            path: None,
            read_only: false,
            busy_timeout: Duration::from_secs(5),
            query_timeout: Some(Duration::from_secs(30)),
            statement_cache: 64,
            threads: None,
            pragmas: Vec::new(),
            sources: __Sources::default(),
        }
    }
}

impl Builder {
    /// Creates a builder with the default settings, and without the address of a database.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens this file as the database. The file is created if it is missing.
    pub fn path(mut self, path: impl Into<PathBuf>) -> Self {
        (self.path, self.url) = (Some(path.into()), None);
        self
    }

    /// Uses a database in memory. It is empty at first. All connections of this pool share it, no other pool can reach it, and it
    /// is dropped with the pool. It has no write-ahead log, so writers and readers block each other (`busy_timeout`).
    pub fn memory(self) -> Self {
        self.url("sqlite::memory:")
    }

    /// Sets the address: `sqlite:PATH`, `sqlite://PATH` or `sqlite::memory:`. `?mode=ro` opens the file for reading only. With
    /// `?mode=rw` a missing file is an error. With `?mode=rwc` (the default) a missing file is created. `%20` and the like are
    /// decoded.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        (self.path, self.url) = (None, Some(Address(url.into())));
        self
    }

    /// Opens the file for reading only. The file must exist. Default: false.
    pub const fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// How long a statement waits for a lock of another connection before it fails with `SQLITE_BUSY`. With zero, it does not wait.
    /// Default: 5 s.
    pub const fn busy_timeout(mut self, limit: Duration) -> Self {
        self.busy_timeout = limit;
        self
    }

    /// How long one `run` may take, including its wait for a worker. `None` (`off`) means no limit. Not zero. Default: 30 s.
    pub fn query_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.query_timeout = limit.into();
        self
    }

    /// How many prepared statements each connection keeps for `prepare_cached`. The least recently used statement is evicted first.
    /// Default: 64.
    pub const fn statement_cache(mut self, capacity: usize) -> Self {
        self.statement_cache = capacity;
        self
    }

    /// How many worker threads the pool may start. A worker starts when there is a job for it. Workers beyond `max_size` are never
    /// busy. At least 1. `None` (`auto`) means as many as `max_size`. Default: `None`.
    pub fn threads(mut self, threads: impl Into<Option<usize>>) -> Self {
        self.threads = threads.into();
        self
    }

    /// Sets a pragma on each connection when it is opened. Pragmas are set in the order of these calls, after the defaults:
    /// `journal_mode` = `wal` (not for a database in memory or a read-only database), `synchronous` = `normal` and `foreign_keys` =
    /// `on`. A pragma of the same name, default or not, is replaced.
    ///
    /// In the environment and in serde, all pragmas are one text: `{PREFIX}_PRAGMAS="mmap_size=0, cache_size=-2000"`.
    pub fn pragma(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let name = name.into();
        self.pragmas.retain(|(set, _)| *set != name);
        self.pragmas.push((name, value.into()));
        self
    }

    /// Takes all settings of the pool from `config`. It replaces the settings that were set before, but keeps the name if `config`
    /// has none. Settings that are set after this call override it.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config.__in_place_of(self.config);
        self
    }

    /// Overrides the settings so far with environment variables. The address is read from `{PREFIX}_URL` or `{PREFIX}_PATH`, or
    /// else from `DATABASE_URL`. The driver's settings are `{PREFIX}_READ_ONLY`, `_BUSY_TIMEOUT`, `_QUERY_TIMEOUT` (or `off`),
    /// `_STATEMENT_CACHE`, `_THREADS` (or `auto`) and `_PRAGMAS`. The pool's settings are read by [`Config::apply_env`] (`_NAME`,
    /// `_MAX_SIZE`, `_ACQUIRE_TIMEOUT` and so on).
    ///
    /// # Errors
    /// A variable has a value that is invalid for its setting, or a variable under the prefix names no setting.
    pub fn env(self, prefix: &str) -> Result<Self, ConfigError> {
        self.apply(Env::read(prefix)?, &Environment::read(&[])?)
    }

    /// Builds the pool. The first get opens the file and starts a worker.
    ///
    /// # Errors
    /// A setting is out of its range or contradicts another setting, or there is no address.
    pub fn build(self) -> Result<Pool, ConfigError> {
        let sources = self.sources.clone();
        self.make().map_err(|error| sources.blame(error))
    }

    fn make(self) -> Result<Pool, ConfigError> {
        self.config.validate()?;
        let (location, access) = self.location()?;
        if i32::try_from(self.busy_timeout.as_millis()).is_err() {
            return Err(ConfigError::new(
                "busy_timeout",
                format!("{:?}", self.busy_timeout),
                "at most 24 days",
            ));
        }
        no_zeros([("query_timeout", self.query_timeout.into())])?;
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
        let name = self.config.get_name();
        let name: Arc<str> = name.map_or_else(|| __name_for("sqlite"), Into::into);
        let max_size = self.config.get_max_size() as usize;
        let workers = BlockingPool::builder()
            .name(&*name)
            .max_threads(self.threads.unwrap_or(max_size))
            // One job for each connection, and one for each connection that is being closed after its place was freed.
            .queue(2 * max_size)
            // `query_timeout` or a timeout of the pool already bounds each wait.
            .queue_timeout(None)
            .build()
            .map_err(|error| match (error.setting(), error.value()) {
                ("max_threads", Some(threads)) => {
                    ConfigError::new("threads", threads, error.expected())
                }
                _ => error,
            })?;
        let config = self.config.name(&*name);
        let manager = Manager {
            workers,
            query_timeout: self.query_timeout,
            target: format!("sqlite {location}"),
            plan: Arc::new(plan),
            _name: name,
            _anchor: anchor,
        };
        let pool = pool_core::Pool::builder(manager).config(config).build()?;
        Ok(Pool::new(pool))
    }

    fn apply(mut self, mut env: Env, beside: &Environment) -> Result<Self, ConfigError> {
        let path: Option<String> = env.take("PATH")?;
        let url = beside.take_url(&mut env)?;
        match (path, url) {
            (Some(_), Some((name, _))) if name == env.name_of("URL") => {
                let expected = format!("left out where {name} is set");
                return Err(ConfigError::secret(env.name_of("PATH"), expected));
            }
            (Some(path), _) => self = self.path(path),
            (None, Some((name, url))) => {
                Location::parse(&name, &url)?;
                self = self.url(url);
            }
            (None, None) => {}
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
            self.threads = threads;
        }
        let pragmas = env.take_with("PRAGMAS", PRAGMAS, parse_pragmas)?;
        for (name, value) in pragmas.into_iter().flatten() {
            self = self.pragma(name, value);
        }
        self.config.apply_env(&mut env)?;
        self.sources.was_read(env)?;
        Ok(self)
    }

    fn location(&self) -> Result<(Location, Access), ConfigError> {
        let (location, access) = match (&self.path, &self.url) {
            (Some(path), _) => (Location::File(path.clone()), None),
            (None, Some(Address(url))) => Location::parse("url", url)?,
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

    /// Returns the pragmas that were set, and the defaults of those that were not.
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

__config! { __setters { [] Builder = config } }

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Builder {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let env = Env::deserialize(deserializer)?;
        let read = Self::new().apply(env, &Environment::default());
        read.map_err(D::Error::custom)
    }
}

/// Parses names and values, in the order in which they are set.
fn parse_pragmas(text: &str) -> Option<Vec<(String, String)>> {
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let pragma = |part: &str| {
        let (name, value) = part.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        (!name.is_empty() && !value.is_empty()).then(|| (name.to_owned(), value.to_owned()))
    };
    parts.map(pragma).collect()
}

const PRAGMAS: &str = "names and values, as mmap_size=0, cache_size=-2000";

/// Opens the connection that keeps a database in memory alive. Does no I/O.
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
        let (env, beside) = Environment::of(vars);
        Builder::new().apply(env, &beside)?.build()
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
                "POOL_DB_READONLY must be left out: no setting has this name; did you mean POOL_DB_READ_ONLY?",
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
                "POOL_DB_QUERY_TIMEOUT is 0s, but must be longer than zero, or off",
            ),
            (
                vec![url, ("POOL_DB_QUERY_TIMEOUT", "none")],
                "POOL_DB_QUERY_TIMEOUT is \"none\", but must be a duration with its unit, as 250ms, 30s or 5m, or off",
            ),
            (
                vec![url, ("POOL_DB_PRAGMAS", "mmap_size")],
                "POOL_DB_PRAGMAS is \"mmap_size\", but must be names and values, as mmap_size=0",
            ),
            (
                vec![("POOL_DB_URL", "sqlite:a.db"), ("POOL_DB_PATH", "b.db")],
                "POOL_DB_PATH must be left out where POOL_DB_URL is set",
            ),
            (
                vec![("DATABASE_URL", "host=h user=u password=topsecret")],
                "DATABASE_URL must be `sqlite:PATH`",
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

    #[test]
    fn every_setting_is_the_same_by_setter_by_environment_and_by_serde() {
        let second = Duration::from_secs(1);
        let table: [(&str, &str, &dyn Fn(Builder) -> Builder); 28] = [
            ("NAME", "orders", &|of| of.name("orders")),
            ("URL", "sqlite:a.db?mode=ro", &|of| {
                of.url("sqlite:a.db?mode=ro")
            }),
            ("PATH", "a.db", &|of| of.path("a.db")),
            ("READ_ONLY", "true", &|of| of.read_only(true)),
            ("BUSY_TIMEOUT", "1s", &|of| of.busy_timeout(second)),
            ("QUERY_TIMEOUT", "1s", &|of| of.query_timeout(second)),
            ("QUERY_TIMEOUT", "off", &|of| of.query_timeout(None)),
            ("STATEMENT_CACHE", "7", &|of| of.statement_cache(7)),
            ("THREADS", "2", &|of| of.threads(2)),
            ("PRAGMAS", "mmap_size=0, cache_size=-2000", &|of| {
                of.pragma("mmap_size", "0").pragma("cache_size", "-2000")
            }),
            ("MAX_SIZE", "7", &|of| of.max_size(7)),
            ("MIN_IDLE", "2", &|of| of.min_idle(2)),
            ("MAX_OPENING", "3", &|of| of.max_opening(3)),
            ("MAX_WAITERS", "5", &|of| of.max_waiters(5)),
            ("ACQUIRE_TIMEOUT", "1s", &|of| of.acquire_timeout(second)),
            ("CREATE_TIMEOUT", "1s", &|of| of.create_timeout(second)),
            ("CHECK_TIMEOUT", "1s", &|of| of.check_timeout(second)),
            ("RESET_TIMEOUT", "1s", &|of| of.reset_timeout(second)),
            ("CLOSE_TIMEOUT", "2s", &|of| of.close_timeout(2 * second)),
            ("IDLE_TIMEOUT", "off", &|of| of.idle_timeout(None)),
            ("MAX_LIFETIME", "off", &|of| of.max_lifetime(None)),
            ("LIFETIME_JITTER", "0.2", &|of| of.lifetime_jitter(0.2)),
            ("CHECK_AFTER", "1s", &|of| of.check_after(second)),
            ("KEEPALIVE", "1s", &|of| of.keepalive(second)),
            ("RECLAIM_AFTER", "1s", &|of| of.reclaim_after(second)),
            ("SHED_TARGET", "1s", &|of| of.shed_target(second)),
            ("LEAK_AFTER", "1s", &|of| of.leak_after(second)),
            ("SLOW_GET", "off", &|of| of.slow_get(None)),
        ];
        let shown = |builder: Builder| {
            let sources = __Sources::default();
            format!("{:?}", Builder { sources, ..builder })
        };
        for (name, text, set) in table {
            let by_setter = shown(set(Builder::new().name("orders")));
            let named = [
                ("POOL_DB_NAME", "orders"),
                (&*format!("POOL_DB_{name}"), text),
            ];
            let (env, beside) = Environment::of(&named);
            let by_env = Builder::new().apply(env, &beside).unwrap();
            assert_eq!(shown(by_env), by_setter, "{name}");
            #[cfg(feature = "serde")]
            {
                let name = name.to_lowercase();
                let map = [("name", "orders"), (&*name, text)];
                let map = serde_json::to_string(&std::collections::BTreeMap::from(map)).unwrap();
                let by_serde: Builder = serde_json::from_str(&map).unwrap();
                assert_eq!(shown(by_serde), by_setter, "{name}");
            }
        }
    }

    #[test]
    fn a_pool_is_called_by_its_prefix_or_sqlite_with_a_number_and_what_kubernetes_sets_is_not_looked_at()
     {
        let vars = [
            ("DATABASE_URL", "sqlite::memory:"),
            ("POOL_DB_SERVICE_HOST", "10.0.0.11"),
            ("POOL_DB_PORT", "tcp://10.0.0.11:5432"),
            ("POOL_DB_PORT_5432_TCP_ADDR", "10.0.0.11"),
        ];
        assert_eq!(built(&vars).unwrap().name(), "db");
        let [one, two] = [1, 2].map(|_| Builder::new().memory().build().unwrap());
        assert!(one.name().starts_with("sqlite") && two.name().starts_with("sqlite"));
        assert_ne!(one.name(), two.name());
        let named = Builder::new().memory().name("kept").config(Config::new());
        assert_eq!(named.build().unwrap().name(), "kept");
    }

    #[test]
    fn no_password_is_in_the_debug_output() {
        let url = "host=h user=u password=topsecret";
        let builder = format!("{:?}", Builder::new().url(url));
        assert!(!builder.contains("topsecret"), "{builder}");
    }

    #[cfg(feature = "serde")]
    #[test]
    fn it_is_read_from_any_format_flat_and_refuses_what_the_environment_refuses() {
        let text = r#"{"path": "app.db", "query_timeout": "2s", "pragmas": "mmap_size=0", "max_size": 3, "idle_timeout": "off", "threads": null}"#;
        let builder = serde_json::from_str::<Builder>(text).unwrap();
        let pool = builder.build().unwrap();
        assert_eq!(
            (pool.status().max_size, pool.manager().query_timeout),
            (3, Some(Duration::from_secs(2)))
        );
        for (text, says) in [
            (r#"{"pathe": "app.db"}"#, "did you mean path?"),
            (r#"{"pool": {"max_size": 3}}"#, "a text, a number"),
            (
                r#"{"url": "host=h password=topsecret"}"#,
                "url must be `sqlite:PATH`",
            ),
            (
                r#"{"query_timeout": "none"}"#,
                "query_timeout is \"none\", but must be a duration with its unit, as 250ms, 30s or 5m, or off",
            ),
        ] {
            let error = serde_json::from_str::<Builder>(text).unwrap_err();
            let error = error.to_string();
            assert!(
                error.contains(says) && !error.contains("topsecret"),
                "{error}"
            );
        }
        let zero = serde_json::from_str::<Builder>(r#"{"path": "a", "query_timeout": "0s"}"#);
        assert_eq!(
            zero.unwrap().build().unwrap_err().to_string(),
            "query_timeout is 0s, but must be longer than zero, or off"
        );
    }
}

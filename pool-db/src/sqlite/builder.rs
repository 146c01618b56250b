//! The settings of a builder that only SQLite has.

use std::{path::PathBuf, time::Duration};

use super::{Builder, Reset, on_open::OnOpen};

impl Builder {
    /// Opens this file as the database. The file is created if it is missing.
    pub fn path(mut self, path: impl Into<PathBuf>) -> Self {
        (self.settings.path, self.url) = (Some(path.into()), None);
        self
    }

    /// Uses a database in memory. It is empty at first. All connections of this pool share it, no other pool can reach it, and it
    /// is dropped with the pool. It has no write-ahead log, so writers and readers block each other (`busy_timeout`).
    pub fn memory(self) -> Self {
        self.url("sqlite::memory:")
    }

    /// Opens the file for reading only. The file must exist. Default: false.
    pub const fn read_only(mut self, read_only: bool) -> Self {
        self.settings.read_only = read_only;
        self
    }

    /// How long a statement waits for a lock of another connection before it fails with `SQLITE_BUSY`. With zero, it does not wait.
    /// A call that is abandoned stops waiting. Opening a connection waits on its own, for up to 5 s a lock. Default: 5 s.
    ///
    /// `PRAGMA busy_timeout` reads as 0, because the pool waits by a busy handler of its own. A closure may set it for itself.
    pub const fn busy_timeout(mut self, limit: Duration) -> Self {
        self.settings.busy_timeout = limit;
        self
    }

    /// How many prepared statements each connection keeps for `prepare_cached`. The least recently used statement is evicted first.
    /// Default: 64.
    pub const fn statement_cache(mut self, capacity: usize) -> Self {
        self.settings.statement_cache = capacity;
        self
    }

    /// How many worker threads the pool may start. A worker starts when there is a job for it. Workers beyond `max_size` are never
    /// busy. At least 1. `None` (`auto`) means as many as `max_size`. Default: `None`.
    pub fn threads(mut self, threads: impl Into<Option<usize>>) -> Self {
        self.settings.threads = threads.into();
        self
    }

    /// What happens to state that a caller left on a connection: `seen`, `always`, `discard-all` or `nothing`. Default:
    /// [`Reset::Seen`].
    pub const fn reset(mut self, policy: Reset) -> Self {
        self.settings.reset = policy;
        self
    }

    /// Runs `run` on each new connection, the writer's too, on a worker and before any caller has the connection: to add functions,
    /// collations and virtual tables, which belong to a connection (with the features of `rusqlite` for those). It runs after the pragmas were set, and pragmas that it sets are
    /// what later callers find. Its error or panic is a failed open. It takes no longer than `create_timeout` for who waits for the
    /// connection. Default: nothing.
    ///
    /// ```
    /// use pool_db::sqlite::{Pool, rusqlite::functions::FunctionFlags};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pool_db::Error> {
    /// let pool = Pool::builder()
    ///     .memory()
    ///     .on_open(|sqlite| {
    ///         sqlite.create_scalar_function("double", 1, FunctionFlags::SQLITE_UTF8, |context| {
    ///             Ok(2 * context.get::<i64>(0)?)
    ///         })
    ///     })
    ///     .build()?;
    /// let double: i64 = pool.read(|sqlite| sqlite.query_row("SELECT double(21)", [], |row| row.get(0))).await?;
    /// assert_eq!(double, 42);
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_open(
        mut self,
        run: impl Fn(&mut rusqlite::Connection) -> rusqlite::Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.settings.on_open = Some(OnOpen::new(run));
        self
    }

    /// How many writes ([`Pool::write`](super::Pool::write)) that wait together share one transaction, and so one sync of the disk. A
    /// write that fails, panics or is given up is rolled back alone. `None` (`off`): each has a transaction of its own. No write waits
    /// for others to come. At least 1. Default: `None`.
    ///
    /// If a commit fails, all writes of its group fail, and nothing of them is kept. The same happens if SQLite has to roll back the
    /// transaction: the disk is full, or a write was given up and its statement runs for a second more. A write may see the changes of
    /// those before it in the group.
    pub fn group_commit(mut self, most: impl Into<Option<usize>>) -> Self {
        self.settings.group_commit = most.into();
        self
    }

    /// How often the pool runs `PRAGMA optimize`, which keeps the statistics of the query planner: at the return of a connection, on
    /// a worker, and whenever a connection is closed. It waits for no lock. `None` (`off`): never. Not zero. Default: 1 h.
    pub fn optimize_every(mut self, every: impl Into<Option<Duration>>) -> Self {
        self.settings.optimize_every = every.into();
        self
    }

    /// Sets a pragma on each connection when it is opened. Pragmas are set in the order of these calls, after the defaults:
    /// `journal_mode` = `wal` (not for a database in memory or a read-only database), `synchronous` = `normal` and `foreign_keys` =
    /// `on`. A pragma of the same name, default or not, is replaced.
    ///
    /// In the environment and in serde, all pragmas are one text: `{PREFIX}_PRAGMAS="mmap_size=0, cache_size=-2000"`.
    pub fn pragma(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.pragma(name.into(), value.into());
        self
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use pool_core::{Config, ConfigError};

    use super::{super::Pool, *};
    use crate::environment::Environment;

    fn built(vars: &[(&str, &str)]) -> Result<Pool, ConfigError> {
        let (env, beside) = Environment::of(vars);
        Builder::new().apply(env, beside)?.build()
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
                "DATABASE_URL is an address of 24 characters that begins with `postgres:`, but must be `sqlite:PATH`",
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
                vec![url, ("POOL_DB_GROUP_COMMIT", "0")],
                "POOL_DB_GROUP_COMMIT is 0, but must be at least 1, or off",
            ),
            (
                vec![url, ("POOL_DB_RESET", "all")],
                "POOL_DB_RESET is \"all\", but must be `seen`, `always`, `discard-all` or `nothing`",
            ),
            (
                vec![("POOL_DB_URL", "sqlite:a.db"), ("POOL_DB_PATH", "b.db")],
                "POOL_DB_PATH must be left out where POOL_DB_URL is set",
            ),
            (
                vec![("DATABASE_URL", "host=h user=u password=topsecret")],
                "DATABASE_URL is a text of 32 characters, but must be `sqlite:PATH`",
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
    fn every_setting_is_the_same_by_setter_by_environment_and_by_serde() {
        let second = Duration::from_secs(1);
        let table: [(&str, &str, &dyn Fn(Builder) -> Builder); 33] = [
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
            ("GROUP_COMMIT", "8", &|of| of.group_commit(8)),
            ("GROUP_COMMIT", "off", &|of| of.group_commit(None)),
            ("OPTIMIZE_EVERY", "1s", &|of| of.optimize_every(second)),
            ("OPTIMIZE_EVERY", "off", &|of| of.optimize_every(None)),
            ("RESET", "discard-all", &|of| of.reset(Reset::DiscardAll)),
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
        let shown = |mut builder: Builder| {
            (builder.sources, builder.beside) = Default::default();
            format!("{builder:?}")
        };
        for (name, text, set) in table {
            let by_setter = shown(set(Builder::new().name("orders")));
            let named = [
                ("POOL_DB_NAME", "orders"),
                (&*format!("POOL_DB_{name}"), text),
            ];
            let (env, beside) = Environment::of(&named);
            let by_env = Builder::new().apply(env, beside).unwrap();
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
                "url is a text of 25 characters, but must be `sqlite:PATH`",
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

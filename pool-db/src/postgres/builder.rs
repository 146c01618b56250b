//! The settings of a builder that only PostgreSQL has.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use super::{Builder, Prepare, Reset, SessionAttrs, SslMode, resolve::Resolver, settings::Options};

impl Builder {
    /// Takes the address from the driver's own `config`. Its `ssl_mode` applies unless [`ssl_mode`](Self::ssl_mode) is set.
    pub fn driver_config(mut self, config: tokio_postgres::Config) -> Self {
        (self.url, self.settings.connect) = (None, Some(Options::of_driver(&config)));
        self
    }

    /// Sets whether connections are encrypted, and how the server must prove its identity. Takes precedence over the address.
    ///
    /// Default: `prefer`, as in libpq.
    pub fn ssl_mode(mut self, mode: impl Into<Option<SslMode>>) -> Self {
        self.settings.ssl_mode = mode.into();
        self
    }

    /// Sets which of several servers is taken: the primary, a standby, or any. Takes precedence over the address.
    ///
    /// Default: `any`.
    pub fn target_session_attrs(mut self, attrs: impl Into<Option<SessionAttrs>>) -> Self {
        self.settings.session_attrs = attrs.into();
        self
    }

    /// Sets the PEM file of trusted root certificates, or `system` for those of the operating system. Takes precedence over the
    /// address. Default, if certificates are verified: Mozilla's root certificates.
    pub fn root_certificate(mut self, file: impl Into<PathBuf>) -> Self {
        self.settings.root_certificate = Some(file.into());
        self
    }

    /// Sets whether the server keeps prepared statements, which a proxy such as PgBouncer may lose: `{PREFIX}_PREPARE` is `auto`,
    /// `named` or `unnamed`. Default: [`Prepare::Auto`], which costs one round trip for each new connection.
    pub const fn prepare(mut self, prepare: Prepare) -> Self {
        self.settings.prepare = prepare;
        self
    }

    /// How many prepared statements each connection keeps. The least recently used statement is evicted first. 0 disables the
    /// cache: each statement is prepared again for each run, which costs a round trip. Default: 128.
    ///
    /// Where statements are [unnamed](Prepare::Unnamed), these are the statements of which the connection knows the types.
    pub const fn statement_cache(mut self, capacity: usize) -> Self {
        self.settings.statement_cache = capacity;
        self
    }

    /// Sets SQL that runs on each new connection, and again after a connection was cleaned: `SET statement_timeout = '10s'`.
    pub fn on_connect(mut self, sql: impl Into<String>) -> Self {
        self.settings.setup.sql = sql.into();
        self
    }

    /// Sets when a session is cleaned between two callers: `{PREFIX}_RESET` is `seen`, `always`, `discard-all` or `nothing`. Default:
    /// [`Reset::Seen`].
    pub fn reset(mut self, policy: Reset) -> Self {
        self.settings.reset = policy;
        self
    }

    /// Sets whether the server is told at once to end a statement whose future is dropped or times out. Default: false.
    ///
    /// Otherwise the statement may go on for 100 ms after its lease was returned, or as long as the lease is kept, and is cancelled
    /// then. It costs the server a connection of an instant for each future that is dropped, outside `max_size`. Further calls on
    /// the lease wait until the server has ended the statement. Requests that were pipelined with it may be cancelled as well.
    pub fn cancel_on_drop(mut self, cancels: bool) -> Self {
        self.settings.cancel_on_drop = cancels;
        self
    }

    /// Sets how often the names of the hosts are looked up again while there are connections. Connections to an address that no
    /// name has any more are retired: idle ones at once, leased ones when they are returned. `None` (`off`) means that names are
    /// looked up for new connections only. Not zero. Default: 30 s.
    ///
    /// A name that is not found keeps the addresses that it had. Turn this off for a name whose answers list another part of its
    /// addresses each time.
    pub fn resolve_every(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.settings.resolve_every = interval.into();
        self
    }

    /// Sets what finds the addresses of a host, by its name and its port: a service registry, a cache, or a list in a test. It is
    /// bounded by `connect_timeout`, and not asked for IP addresses. Default: the system's resolver.
    ///
    /// ```
    /// use pool_db::postgres::Pool;
    ///
    /// let pool = Pool::builder()
    ///     .url("postgres://me@orders.internal/orders")
    ///     .resolver(async |name: String, port: u16| match name.as_str() {
    ///         "orders.internal" => Ok(vec![([10, 0, 0, 7], port).into()]),
    ///         _ => Err(std::io::Error::other("the name is not known")),
    ///     })
    ///     .build()?;
    /// # Ok::<(), pool_db::ConfigError>(())
    /// ```
    pub fn resolver<F>(mut self, look_up: impl Fn(String, u16) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        self.settings.resolver = Resolver::new(look_up);
        self
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use pool_core::ConfigError;

    use super::{super::Pool, *};
    use crate::environment::Environment;

    fn built(vars: &[(&str, &str)]) -> Result<Pool, ConfigError> {
        let (env, beside) = Environment::of(vars);
        Builder::new().apply(env, beside)?.build()
    }

    #[test]
    fn the_environment_says_where_and_how() {
        let url = "postgres://me:secret@db.example/shop";
        let pool = built(&[
            ("DATABASE_URL", url),
            ("POOL_DB_MAX_SIZE", "7"),
            ("POOL_DB_QUERY_TIMEOUT", "off"),
            ("PGAPPNAME", "web"),
        ])
        .unwrap();
        assert_eq!(pool.status().max_size, 7);
        assert_eq!(
            pool.manager().target,
            "postgres at db.example:5432/shop as me"
        );
        assert_eq!(pool.manager().query_timeout, None);
        let settings = &pool.manager().dial.settings;
        let mode = tokio_postgres::config::SslMode::Prefer;
        let driver = settings.driver(&settings.targets[0], mode);
        assert_eq!(driver.get_application_name(), Some("web"));
        let pool = built(&[("DATABASE_URL", url), ("POOL_DB_URL", "postgres://other")]).unwrap();
        assert_eq!(pool.manager().target, "postgres at other:5432");
        let pool = built(&[("PGHOST", "db.example"), ("PGPORT", "6543")]).unwrap();
        assert_eq!(pool.manager().target, "postgres at db.example:6543");
    }

    #[test]
    fn what_is_wrong_is_named_with_what_it_may_be() {
        let url = ("DATABASE_URL", "postgres://me:secret@db.example/shop");
        for (vars, says) in [
            (vec![], "url must be set, as DATABASE_URL or PGHOST"),
            (
                vec![("POOL_DB_URL", "sqlite:app.db")],
                "POOL_DB_URL is an address of 13 characters that begins with `sqlite:`, but must be `postgres://",
            ),
            (
                vec![url, ("POOL_DB_MAXSIZE", "3")],
                "POOL_DB_MAXSIZE must be left out: no setting has this name; did you mean POOL_DB_MAX_SIZE?",
            ),
            (
                vec![url, ("POOL_DB_QUERY_TIMEOUT", "5")],
                "POOL_DB_QUERY_TIMEOUT is \"5\", but must be a duration",
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
                vec![url, ("POOL_DB_SSL_MODE", "sometimes")],
                "POOL_DB_SSL_MODE is \"sometimes\", but must be disable, allow, prefer, require, verify-ca or verify-full",
            ),
            (
                vec![
                    url,
                    ("POOL_DB_SSL_MODE", "verify-ca"),
                    ("POOL_DB_ROOT_CERTIFICATE", "/nowhere"),
                ],
                "POOL_DB_ROOT_CERTIFICATE is /nowhere, but must be a PEM file",
            ),
            (
                vec![("DATABASE_URL", "Host=h;Password=topsecret")],
                "DATABASE_URL is a text of 25 characters, but must be `postgres://",
            ),
            (
                vec![url, ("POOL_DB_MAX_SIZE", "0")],
                "POOL_DB_MAX_SIZE is 0, but must be at least 1",
            ),
            (
                vec![url, ("PGSSLMODE", "sometimes")],
                "PGSSLMODE is sometimes, but must be disable",
            ),
            (
                vec![
                    url,
                    ("PGSSLROOTCERT", "/nowhere"),
                    ("PGSSLMODE", "verify-ca"),
                ],
                "PGSSLROOTCERT is /nowhere, but must be a PEM file",
            ),
        ] {
            let error = built(&vars).unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn no_password_is_in_the_debug_output() {
        let builder = Builder::new().url("postgres://me:secret@db.example/shop");
        assert!(!format!("{builder:?}").contains("secret"));
        let (env, beside) =
            Environment::of(&[("POOL_DB_URL", "postgres://me:secret@db.example/shop")]);
        let builder = builder.apply(env, beside).unwrap();
        assert!(!format!("{builder:?}").contains("secret"));
        let list = Builder::new().url("host=h;user=u;password=topsecret");
        assert!(!format!("{list:?}").contains("secret"));
        let error = format!("{:?}", list.build().unwrap_err());
        assert!(!error.contains("secret"), "{error}");
        assert!(!format!("{:?}", builder.build().unwrap().manager()).contains("secret"));
    }

    #[test]
    fn every_setting_is_the_same_by_setter_by_environment_and_by_serde() {
        let second = Duration::from_secs(1);
        let table: [(&str, &str, &dyn Fn(Builder) -> Builder); 37] = [
            ("NAME", "orders", &|of| of.name("orders")),
            ("SSL_MODE", "verify-full", &|of| {
                of.ssl_mode(SslMode::VerifyFull)
            }),
            ("TARGET_SESSION_ATTRS", "prefer-standby", &|of| {
                of.target_session_attrs(SessionAttrs::PreferStandby)
            }),
            ("ROOT_CERTIFICATE", "ca.pem", &|of| {
                of.root_certificate("ca.pem")
            }),
            ("QUERY_TIMEOUT", "1s", &|of| of.query_timeout(second)),
            ("QUERY_TIMEOUT", "off", &|of| of.query_timeout(None)),
            ("PREPARE", "unnamed", &|of| of.prepare(Prepare::Unnamed)),
            ("STATEMENT_CACHE", "7", &|of| of.statement_cache(7)),
            ("ON_CONNECT", "SELECT 1", &|of| of.on_connect("SELECT 1")),
            ("RESET", "discard-all", &|of| of.reset(Reset::DiscardAll)),
            ("CANCEL_ON_DROP", "true", &|of| of.cancel_on_drop(true)),
            ("STATEMENT_TIMEOUT", "1s", &|of| {
                of.statement_timeout(second)
            }),
            ("IDLE_IN_TRANSACTION_SESSION_TIMEOUT", "off", &|of| {
                of.idle_in_transaction_session_timeout(None)
            }),
            ("LOCK_TIMEOUT", "1s", &|of| of.lock_timeout(second)),
            ("CREDENTIALS_TIMEOUT", "1s", &|of| {
                of.credentials_timeout(second)
            }),
            ("RESOLVE_EVERY", "1s", &|of| of.resolve_every(second)),
            ("RESOLVE_EVERY", "off", &|of| of.resolve_every(None)),
            ("MAX_SIZE", "7", &|of| of.max_size(7)),
            ("MAX_SIZE", "auto", &Builder::max_size_auto),
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
            ("IDLE_ORDER", "fifo", &|of| {
                of.idle_order(pool_core::IdleOrder::Fifo)
            }),
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
    fn a_pool_is_called_by_its_prefix_or_postgres_and_what_kubernetes_sets_is_not_looked_at() {
        let vars = [
            ("DATABASE_URL", "postgres://db.example"),
            ("POOL_DB_SERVICE_HOST", "10.0.0.11"),
            ("POOL_DB_PORT", "tcp://10.0.0.11:5432"),
            ("POOL_DB_PORT_5432_TCP_ADDR", "10.0.0.11"),
        ];
        assert_eq!(built(&vars).unwrap().name(), "db");
        let url = "postgres://db.example";
        let [one, two] = [1, 2].map(|_| Builder::new().url(url).build().unwrap());
        assert!(one.name().starts_with("postgres") && two.name().starts_with("postgres"));
        assert_ne!(one.name(), two.name());
    }

    #[cfg(feature = "serde")]
    #[test]
    fn it_is_read_from_any_format_flat_and_refuses_what_the_environment_refuses() {
        let text = r#"{"url": "postgres://h/db", "ssl_mode": "verify-full", "query_timeout": null, "max_size": 3, "idle_timeout": "off"}"#;
        let pool = serde_json::from_str::<Builder>(text)
            .unwrap()
            .build()
            .unwrap();
        assert_eq!(
            (pool.status().max_size, pool.manager().query_timeout),
            (3, None)
        );
        assert_eq!(pool.manager().target, "postgres at h:5432/db");
        for (text, says) in [
            (r#"{"uri": "postgres://h/db"}"#, "did you mean url?"),
            (r#"{"pool": {"max_size": 3}}"#, "a text, a number"),
            (
                r#"{"url": "host=h;password=topsecret"}"#,
                "url is a text of 25 characters, but must be `postgres://",
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
    }
}

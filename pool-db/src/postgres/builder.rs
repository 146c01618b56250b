//! Making a pool of connections to a server.

use std::{path::PathBuf, time::Duration};

use pool_core::{Config, ConfigError};

use super::{
    Manager, Pool, SslMode,
    settings::{EXPECTED, LIBPQ, Settings},
};
use crate::{address::without_password, environment::Environment};

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
    url: Option<Secret>,
    /// From a driver's config, or the environment; instead of the address.
    #[cfg_attr(feature = "serde", serde(skip))]
    settings: Option<Settings>,
    ssl_mode: Option<SslMode>,
    root_certificate: Option<PathBuf>,
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    query_timeout: Option<Duration>,
    statement_cache: usize,
    on_connect: String,
    pool: Config,
    /// What some of it came from.
    #[cfg_attr(feature = "serde", serde(skip))]
    environment: Option<Environment>,
}

/// An address, which may hold a password.
#[derive(Clone)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize), serde(transparent))]
struct Secret(String);

impl Default for Builder {
    fn default() -> Self {
        Self {
            name: "postgres".to_owned(),
            url: None,
            settings: None,
            ssl_mode: None,
            root_certificate: None,
            query_timeout: Some(Duration::from_secs(30)),
            statement_cache: 128,
            on_connect: String::new(),
            pool: Config::new(),
            environment: None,
        }
    }
}

impl Builder {
    /// The defaults. Nothing is known yet of where the server is.
    pub fn new() -> Self {
        Self::default()
    }

    /// The server is at `postgres://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE`, with libpq's options (`sslmode`,
    /// `sslrootcert`, `application_name`, `connect_timeout`, `options`, ..). libpq's variables are not looked at.
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        (self.url, self.settings) = (Some(Secret(url.into())), None);
        self
    }

    /// The server is what the driver's own `config` says; its `ssl_mode` counts unless [`ssl_mode`](Self::ssl_mode) is set.
    #[must_use]
    pub fn driver_config(mut self, config: tokio_postgres::Config) -> Self {
        let mut settings = Settings {
            driver: config,
            ..Settings::default()
        };
        settings.tls.mode = Some(match settings.driver.get_ssl_mode() {
            tokio_postgres::config::SslMode::Disable => SslMode::Disable,
            tokio_postgres::config::SslMode::Require => SslMode::Require,
            _ => SslMode::Prefer,
        });
        (self.url, self.settings) = (None, Some(settings));
        self
    }

    /// Whether connections are encrypted and how the server proves who it is; counts before what the address says.
    ///
    /// Default: `prefer`, as libpq's.
    #[must_use]
    pub const fn ssl_mode(mut self, mode: SslMode) -> Self {
        self.ssl_mode = Some(mode);
        self
    }

    /// The PEM file of certificates to trust; counts before what the address says. Default, where certificates are looked at:
    /// those that browsers trust.
    #[must_use]
    pub fn root_certificate(mut self, file: impl Into<PathBuf>) -> Self {
        self.root_certificate = Some(file.into());
        self
    }

    /// How long one statement may take, from its request to its last row; `None`: no bound. Not zero. Default: 30 s.
    #[must_use]
    pub const fn query_timeout(mut self, limit: Option<Duration>) -> Self {
        self.query_timeout = limit;
        self
    }

    /// How many statements each connection keeps prepared; those that were not used longest go first. 0: none is kept, for
    /// proxies between here and the server that cannot. Default: 128.
    #[must_use]
    pub const fn statement_cache(mut self, capacity: usize) -> Self {
        self.statement_cache = capacity;
        self
    }

    /// SQL to run on each new connection, and again after it was cleaned: `SET statement_timeout = '10s'`.
    #[must_use]
    pub fn on_connect(mut self, sql: impl Into<String>) -> Self {
        self.on_connect = sql.into();
        self
    }

    /// Names the pool, for messages and metrics. Default: `postgres`.
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

    /// Overrides the settings so far by the environment.
    ///
    /// The address is `{prefix}_URL`, or else `DATABASE_URL`; what it leaves open is taken from libpq's `PGHOST`, `PGHOSTADDR`,
    /// `PGPORT`, `PGUSER`, `PGPASSWORD`, `PGDATABASE`, `PGSSLMODE`, `PGSSLROOTCERT`, `PGSSLCERT`, `PGSSLKEY`, `PGAPPNAME`,
    /// `PGCONNECT_TIMEOUT`, `PGOPTIONS` and `PGTARGETSESSIONATTRS`. Then `{prefix}_QUERY_TIMEOUT` (or `off`), `_STATEMENT_CACHE`,
    /// `_ON_CONNECT`, and what [`Config::apply_env`] reads (`_MAX_SIZE`, `_ACQUIRE_TIMEOUT`, ..).
    ///
    /// # Errors
    /// A value that its setting cannot have, or a name under the prefix that no setting has.
    pub fn env(self, prefix: &str) -> Result<Self, ConfigError> {
        self.apply(Environment::read(prefix, &LIBPQ)?)
    }

    /// Makes the pool. It connects to nothing yet: the first get does.
    ///
    /// # Errors
    /// A setting that is out of its range or contradicts another, a bad address or none, a certificate that cannot be read.
    pub fn build(mut self) -> Result<Pool, ConfigError> {
        let environment = self.environment.take();
        self.make().map_err(|error| match environment {
            Some(environment) => environment.blame(error),
            None => error,
        })
    }

    fn make(self) -> Result<Pool, ConfigError> {
        if self.query_timeout == Some(Duration::ZERO) {
            return Err(ConfigError::new(
                "query_timeout",
                "0s",
                "longer than zero, or none",
            ));
        }
        let mut settings = match (self.settings, self.url) {
            (Some(settings), _) => settings,
            (None, Some(Secret(url))) => Settings::parse("url", &url)?,
            (None, None) => {
                let expected = format!(
                    "set, as DATABASE_URL or PGHOST in the environment or in code: {EXPECTED}"
                );
                return Err(ConfigError::secret("url", expected));
            }
        };
        settings.tls.mode = self.ssl_mode.or(settings.tls.mode);
        settings.tls.root_certificate = self.root_certificate.or(settings.tls.root_certificate);
        let settings = settings.complete()?;
        let manager = Manager {
            tls: settings.tls.connector()?,
            target: settings.target(),
            driver: settings.driver,
            statement_cache: self.statement_cache,
            query_timeout: self.query_timeout,
            setup: self.on_connect,
        };
        let pool = pool_core::Pool::builder(manager)
            .name(self.name)
            .config(self.pool)
            .build()?;
        Ok(Pool::new(pool))
    }

    fn apply(mut self, environment: Environment) -> Result<Self, ConfigError> {
        let mut env = environment.env();
        let named = environment.take_url(&mut env)?;
        let (mut settings, mut found) = match (named, self.settings.take(), &self.url) {
            (Some((name, url)), _, _) => (Settings::parse(&name, &url)?, true),
            (None, Some(settings), _) => (settings, true),
            (None, None, Some(Secret(url))) => (Settings::parse("url", url)?, true),
            (None, None, None) => (Settings::default(), false),
        };
        found |= settings.fill(&environment)?;
        self.settings = found.then_some(settings);
        if let Some(limit) = env.take("QUERY_TIMEOUT")? {
            self.query_timeout = limit;
        }
        if let Some(capacity) = env.take("STATEMENT_CACHE")? {
            self.statement_cache = capacity;
        }
        if let Some(sql) = env.take("ON_CONNECT")? {
            self.on_connect = sql;
        }
        self.pool.apply_env(&mut env)?;
        env.finish()?;
        self.environment = Some(environment);
        Ok(self)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        without_password(&self.0).fmt(f)
    }
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
        assert_eq!(pool.manager().driver.get_application_name(), Some("web"));
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
                "POOL_DB_URL is sqlite:app.db, but must be `postgres://",
            ),
            (
                vec![url, ("POOL_DB_MAXSIZE", "3")],
                "POOL_DB_MAXSIZE is \"3\", but must be unset",
            ),
            (
                vec![url, ("POOL_DB_QUERY_TIMEOUT", "5")],
                "POOL_DB_QUERY_TIMEOUT is \"5\", but must be a duration",
            ),
            (
                vec![url, ("POOL_DB_QUERY_TIMEOUT", "0s")],
                "POOL_DB_QUERY_TIMEOUT is 0s, but must be longer than zero",
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
        let environment =
            Environment::of(&[("POOL_DB_URL", "postgres://me:secret@db.example/shop")]);
        let builder = builder.apply(environment).unwrap();
        assert!(!format!("{builder:?}").contains("secret"));
        assert!(!format!("{:?}", builder.build().unwrap().manager()).contains("secret"));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn it_is_read_from_any_format() {
        let text = r#"{"url": "postgres://h/db", "ssl_mode": "verify-full", "query_timeout": null, "pool": {"max_size": 3}}"#;
        let pool = serde_json::from_str::<Builder>(text)
            .unwrap()
            .build()
            .unwrap();
        assert_eq!(
            (pool.status().max_size, pool.manager().query_timeout),
            (3, None)
        );
        assert!(serde_json::from_str::<Builder>(r#"{"uri": "postgres://h/db"}"#).is_err());
    }
}

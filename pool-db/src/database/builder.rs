//! Builds a [`Database`] of the driver that its address asks for.

use std::{fmt, sync::Arc, time::Duration};

#[cfg(feature = "metrics")]
use pool_core::observe::MetricNames;
use pool_core::{__config, Config, ConfigError, Env, observe::Observer};

use super::Database;
use crate::{
    Driver,
    address::{Address, bad_address, scheme},
    environment::Environment,
};

/// Builds a [`Database`]. It has the settings that all drivers have. Those of one driver are read from the environment, for who
/// deploys the program: the program itself does not know which driver it is going to be.
///
/// ```
/// use std::time::Duration;
/// use pool_db::Database;
///
/// # #[cfg(feature = "sqlite")]
/// # {
/// let database = Database::builder()
///     .url("sqlite::memory:")
///     .name("orders")
///     .max_size(8)
///     .query_timeout(Duration::from_secs(5))
///     .build()?;
/// assert_eq!((database.name(), database.status().max_size), ("orders", 8));
/// # }
/// # Ok::<(), pool_db::ConfigError>(())
/// ```
///
/// With the feature `serde` the builder can be read from any format, flat, with the names of the environment in lower case and the
/// same texts for values.
#[must_use = "`build` makes the pool"]
#[derive(Clone)]
pub struct Builder {
    config: Config,
    /// The setting or variable that the address came from, and the address.
    url: Option<(String, Address)>,
    query_timeout: Option<Duration>,
    observer: Option<Arc<dyn Observer>>,
    #[cfg(feature = "metrics")]
    metric_names: MetricNames,
    /// The environments that were read, with what is left for the driver.
    envs: Vec<Env>,
    beside: Environment,
}

impl Builder {
    /// Creates a builder with the default settings, and without the address of a database.
    pub fn new() -> Self {
        Self {
            config: Config::new(),
            url: None,
            query_timeout: Some(Duration::from_secs(30)),
            observer: None,
            #[cfg(feature = "metrics")]
            metric_names: MetricNames::default(),
            envs: Vec::new(),
            beside: Environment::default(),
        }
    }

    /// Sets the address of the database, in place of one that was set before. What it begins with chooses the driver:
    ///
    /// | | driver | feature |
    /// |---|---|---|
    /// | `sqlite:` | `sqlite` | `sqlite` |
    /// | `postgres:`, `postgresql:` | `postgres` | `postgres` |
    /// | `mysql:`, `mariadb:` | `mysql` | `mysql` |
    ///
    /// The rest is as the driver has it. An error never shows the password in it.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(("url".to_owned(), Address(url.into())));
        self
    }

    /// How long one call may take, from its request to the last of its answer. `None` (`off`) means no limit. Not zero.
    ///
    /// Default: 30 s.
    pub fn query_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.query_timeout = limit.into();
        self
    }

    /// Sets the observer, which the pool notifies of events: see [`Observer`].
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Sets the names under which the pool is published (feature `metrics`). Default: [`MetricNames::Database`].
    #[cfg(feature = "metrics")]
    pub fn metric_names(mut self, names: MetricNames) -> Self {
        self.metric_names = names;
        self
    }

    /// Takes all settings of the pool from `config`. It replaces the settings that were set before, but keeps the name if `config`
    /// has none. Settings that are set after this call override it.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config.__in_place_of(self.config);
        self
    }

    /// Overrides the settings so far with environment variables.
    ///
    /// The address is read from `{PREFIX}_URL`, or else from `DATABASE_URL`. `{PREFIX}_QUERY_TIMEOUT`, `{PREFIX}_MAX_SIZE` and so on
    /// are as for every pool. What else is under the prefix, and libpq's variables, are for the driver: [`build`](Self::build) reads
    /// them, when the driver is known.
    ///
    /// # Errors
    /// A variable has a value that is invalid for its setting.
    pub fn env(self, prefix: &str) -> Result<Self, ConfigError> {
        self.apply(Env::read(prefix)?, Environment::read(URL, &variables())?)
    }

    /// Builds the pool. Nothing is opened before the first call.
    ///
    /// # Errors
    /// - The address is invalid or missing, begins with something else, or its driver is not compiled: the error says which feature
    ///   to enable.
    /// - A setting is out of its range or contradicts another setting.
    /// - A variable under the prefix names no setting of the driver. So what was set for another database is not ignored in silence.
    pub fn build(self) -> Result<Database, ConfigError> {
        let Some((setting, Address(url))) = &self.url else {
            let expected = format!("set, as DATABASE_URL in the environment or in code: {SCHEMES}");
            return Err(ConfigError::secret("url", expected));
        };
        let (name, feature) = match scheme(url) {
            Some("sqlite") => ("SQLite", "sqlite"),
            Some("postgres" | "postgresql") => ("PostgreSQL", "postgres"),
            Some("mysql") => ("MySQL", "mysql"),
            Some("mariadb") => ("MariaDB", "mysql"),
            _ => return Err(bad_address(setting, url, SCHEMES)),
        };
        match feature {
            #[cfg(feature = "sqlite")]
            "sqlite" => Ok(Database::Sqlite(self.of()?.build()?)),
            #[cfg(feature = "postgres")]
            "postgres" => Ok(Database::Postgres(self.of()?.build()?)),
            #[cfg(feature = "mysql")]
            "mysql" => {
                let mut builder = self.of::<crate::mysql::MySql>()?;
                // As with the others, an UPDATE counts the rows that it finds.
                builder.settings.counts_found_rows = true;
                Ok(Database::MySql(builder.build()?))
            }
            _ => {
                let expected = format!(
                    "of a database whose driver is compiled: enable the feature `{feature}` of pool-db for {name} (enabled: {})",
                    enabled()
                );
                Err(bad_address(setting, url, expected))
            }
        }
    }

    /// The builder of a driver's pool.
    fn of<D: Driver>(self) -> Result<crate::Builder<D>, ConfigError> {
        let mut builder = crate::Builder::<D>::new();
        builder.config = self.config;
        builder.query_timeout = self.query_timeout;
        builder.observer = self.observer;
        #[cfg(feature = "metrics")]
        {
            builder.metric_names = self.metric_names;
        }
        builder.beside = self.beside;
        if self.envs.is_empty() {
            builder.url = self.url.map(|(_, url)| url);
            return Ok(builder);
        }
        let url = self.url.map(|(setting, Address(url))| (setting, url));
        for mut env in self.envs {
            D::read(&mut builder, url.clone(), &mut env)?;
            builder.sources.was_read(env)?;
        }
        Ok(builder)
    }

    fn apply(mut self, mut env: Env, beside: Environment) -> Result<Self, ConfigError> {
        if let Some((setting, url)) = beside.take_url(&mut env, URL)? {
            self.url = Some((setting, Address(url)));
        }
        if let Some(limit) = env.take("QUERY_TIMEOUT")? {
            self.query_timeout = limit;
        }
        self.config.apply_env(&mut env)?;
        self.envs.push(env);
        self.beside = beside;
        Ok(self)
    }
}

__config! { __setters { [] Builder = config } }

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .field("url", &self.url)
            .field("query_timeout", &self.query_timeout)
            .field("envs", &self.envs)
            .field("beside", &self.beside)
            .finish_non_exhaustive()
    }
}

/// The drivers that are compiled, by their features.
fn enabled() -> String {
    let all = [
        ("`sqlite`", cfg!(feature = "sqlite")),
        ("`postgres`", cfg!(feature = "postgres")),
        ("`mysql`", cfg!(feature = "mysql")),
    ];
    let enabled = all.iter().filter(|(_, is)| *is).map(|(name, _)| *name);
    enabled.collect::<Vec<_>>().join(", ")
}

/// The variables outside of the prefix that the drivers read.
fn variables() -> Vec<&'static str> {
    let all: &[&[&str]] = &[
        #[cfg(feature = "postgres")]
        crate::postgres::Postgres::VARIABLES,
        #[cfg(feature = "mysql")]
        crate::mysql::MySql::VARIABLES,
    ];
    all.concat()
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Builder {
    fn deserialize<F: serde::Deserializer<'de>>(deserializer: F) -> Result<Self, F::Error> {
        use serde::de::Error;
        let env = Env::deserialize(deserializer)?;
        let read = Self::new().apply(env, Environment::default());
        read.map_err(F::Error::custom)
    }
}

const URL: &str = "DATABASE_URL";

const SCHEMES: &str =
    "an address that begins with `sqlite:`, `postgres:`, `postgresql:`, `mysql:` or `mariadb:`";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn built(vars: &[(&str, &str)]) -> Result<Database, ConfigError> {
        let (env, beside) = Environment::of(vars);
        Builder::new().apply(env, beside)?.build()
    }

    #[test]
    fn what_is_wrong_is_named_with_what_it_may_be() {
        for (vars, says) in [
            (
                &[][..],
                "url must be set, as DATABASE_URL in the environment or in code: an address that begins with `sqlite:`",
            ),
            (
                &[("DATABASE_URL", "redis://u:topsecret@h")],
                "DATABASE_URL is an address of 21 characters that begins with `redis:`, but must be an address that begins with `sqlite:`",
            ),
            (
                &[("POOL_DB_URL", "host=h password=topsecret")],
                "POOL_DB_URL is a text of 25 characters, but must be an address that begins with `sqlite:`",
            ),
            (
                &[("DATABASE_URL", "")],
                "DATABASE_URL is empty, but must be an address",
            ),
            (
                &[
                    ("DATABASE_URL", "sqlite::memory:"),
                    ("POOL_DB_MAX_SIZE", "0"),
                ],
                "POOL_DB_MAX_SIZE is 0, but must be at least 1",
            ),
            (
                &[
                    ("DATABASE_URL", "sqlite::memory:"),
                    ("POOL_DB_QUERY_TIMEOUT", "0s"),
                ],
                "POOL_DB_QUERY_TIMEOUT is 0s, but must be longer than zero",
            ),
            #[cfg(feature = "sqlite")]
            (
                &[
                    ("DATABASE_URL", "sqlite::memory:"),
                    ("POOL_DB_SSL_MODE", "require"),
                ],
                "POOL_DB_SSL_MODE must be left out: no setting has this name",
            ),
            #[cfg(feature = "sqlite")]
            (
                &[("DATABASE_URL", "sqlite:u:topsecret@h/d")],
                "DATABASE_URL is an address of 22 characters that begins with `sqlite:`, but must be `sqlite:PATH`",
            ),
            #[cfg(feature = "postgres")]
            (
                &[
                    ("DATABASE_URL", "postgres://h/d"),
                    ("POOL_DB_PRAGMAS", "mmap_size=0"),
                ],
                "POOL_DB_PRAGMAS must be left out: no setting has this name",
            ),
            #[cfg(not(feature = "postgres"))]
            (
                &[("DATABASE_URL", "postgres://h/d")],
                "DATABASE_URL is an address of 14 characters that begins with `postgres:`, but must be of a database whose driver is compiled: enable the feature `postgres` of pool-db for PostgreSQL (enabled: `",
            ),
            #[cfg(not(feature = "mysql"))]
            (
                &[("DATABASE_URL", "mariadb://h/d")],
                "DATABASE_URL is an address of 13 characters that begins with `mariadb:`, but must be of a database whose driver is compiled: enable the feature `mysql` of pool-db for MariaDB (enabled: `",
            ),
        ] {
            let error = built(vars).unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
            assert!(!error.contains("topsecret"), "{error}");
        }
        let builder = Builder::new().url("postgres://u:topsecret@h");
        assert!(!format!("{builder:?}").contains("topsecret"));
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn settings_of_the_environment_reach_the_driver_and_setters_after_it_win() {
        let (env, beside) = Environment::of(&[
            ("DATABASE_URL", "sqlite::memory:"),
            ("POOL_DB_MAX_SIZE", "3"),
            ("POOL_DB_STATEMENT_CACHE", "7"),
            ("POOL_DB_QUERY_TIMEOUT", "2s"),
        ]);
        let builder = Builder::new().max_size(5).apply(env, beside).unwrap();
        let built = builder.clone().build().unwrap();
        assert_eq!((built.name(), built.status().max_size), ("db", 3));
        let shown = match &built {
            Database::Sqlite(pool) => format!("{:?}", pool.manager()),
            #[cfg(feature = "postgres")]
            Database::Postgres(pool) => format!("{:?}", pool.manager()),
            #[cfg(feature = "mysql")]
            Database::MySql(pool) => format!("{:?}", pool.manager()),
        };
        assert!(shown.contains("statement_cache: 7"), "{shown}");
        let built = builder.max_size(4).name("orders").build().unwrap();
        assert_eq!((built.name(), built.status().max_size), ("orders", 4));
    }

    #[cfg(all(feature = "serde", feature = "sqlite"))]
    #[test]
    fn it_is_read_from_any_format_flat() {
        let text = r#"{"url": "sqlite::memory:", "max_size": 3, "busy_timeout": "1s"}"#;
        let built = serde_json::from_str::<Builder>(text).unwrap().build();
        assert_eq!(built.unwrap().status().max_size, 3);
        let text = r#"{"url": "sqlite::memory:", "ssl_mode": "require"}"#;
        let built = serde_json::from_str::<Builder>(text).unwrap().build();
        let error = built.unwrap_err().to_string();
        assert!(error.starts_with("ssl_mode must be left out"), "{error}");
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn postgres_is_built_from_either_scheme_and_with_libpqs_variables() {
        for url in ["postgres://me@h/d", "postgresql://me@h/d"] {
            assert!(matches!(
                Builder::new().url(url).build().unwrap(),
                Database::Postgres(_)
            ));
        }
        let vars = [
            ("DATABASE_URL", "postgres://me@h/d"),
            ("PGSSLMODE", "sometimes"),
        ];
        let error = built(&vars).unwrap_err().to_string();
        assert!(error.contains("PGSSLMODE"), "{error}");
    }
}

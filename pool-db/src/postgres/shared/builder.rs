//! Making a pool of shared connections.

use std::{
    error::Error as StdError, fmt, io, net::SocketAddr, path::PathBuf, pin::Pin, sync::Arc,
    time::Duration,
};

#[cfg(feature = "metrics")]
use pool_core::observe::MetricNames;
use pool_core::{
    __Sources, __checks::at_least_one, __checks::no_zeros, ConfigError, Env, SharedConfig,
    SharedPool, observe::Observer,
};

use super::{
    Shared,
    manager::{Limits, Manager},
};
use crate::{
    Driver as _, Error,
    environment::Environment,
    postgres::{
        Builder, Client, Credentials, CredentialsRequest, Postgres, Prepare, SessionAttrs, SslMode,
        driver::manager,
    },
};

/// Builds a [`Shared`] pool. It has the settings of a [`SharedConfig`], the address and those of a [`Builder`] that apply to shared
/// connections, and its own. With the feature `serde` it can be read from any format, flat, with the names of the environment in
/// lower case and the same texts for values.
///
/// ```
/// use std::time::Duration;
/// use pool_db::postgres::Shared;
///
/// let shared = Shared::builder()
///     .url("postgres://me@db.example/orders")
///     .name("orders")
///     .max_size(2)
///     .capacity(64)
///     .statement_timeout(Duration::from_millis(500))
///     .build()?;
/// assert_eq!((shared.name(), shared.status().max_size), ("orders", 2));
/// # Ok::<(), pool_db::ConfigError>(())
/// ```
#[derive(Clone)]
#[must_use = "`build` makes the pool"]
pub struct SharedBuilder {
    /// Where to connect, and how. Its pool's settings are not used.
    connect: Builder,
    config: SharedConfig,
    limits: Limits,
    observer: Option<Arc<dyn Observer>>,
    #[cfg(feature = "metrics")]
    metric_names: MetricNames,
    sources: __Sources,
}

impl SharedBuilder {
    /// Creates a builder with the default settings, and without the address of a database.
    pub fn new() -> Self {
        Self {
            connect: Builder::new(),
            config: SharedConfig::new(),
            limits: Limits {
                capacity: 32,
                statement_timeout: Some(Duration::from_secs(1)),
                max_rows: 10_000,
                max_bytes: 16 << 20,
            },
            observer: None,
            #[cfg(feature = "metrics")]
            metric_names: MetricNames::default(),
            sources: __Sources::default(),
        }
    }

    /// How many statements may be in flight on one connection. More wait for another connection or for an answer. At least 1.
    ///
    /// Default: 32.
    pub const fn capacity(mut self, statements: u32) -> Self {
        self.limits.capacity = statements;
        self
    }

    /// The server ends a statement that takes longer, with the SQLSTATE `57014`, so that those behind it go on: it is set on each
    /// session. `None` (`off`) leaves the server's own setting. From 1 ms to 24 days.
    ///
    /// Default: 1 s.
    pub fn statement_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.limits.statement_timeout = limit.into();
        self
    }

    /// How many rows one answer may have. The rest of a longer one is read and dropped, and the call fails; the connection goes on.
    /// A long answer holds back those behind it, and belongs on a connection of its own. At least 1.
    ///
    /// Default: 10,000.
    pub const fn max_rows(mut self, rows: usize) -> Self {
        self.limits.max_rows = rows;
        self
    }

    /// How many bytes the rows of one answer may have, as for [`max_rows`](Self::max_rows). At least 1.
    ///
    /// Default: 16 MiB.
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.limits.max_bytes = bytes;
        self
    }

    /// Sets the function that returns the user and password: see [`Builder::credentials`].
    pub fn credentials<F, R, E>(mut self, provider: F) -> Self
    where
        F: Fn(CredentialsRequest) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Credentials, E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        self.connect = self.connect.credentials(provider);
        self
    }

    /// Sets what finds the addresses of a host: see [`Builder::resolver`].
    pub fn resolver<F>(mut self, look_up: impl Fn(String, u16) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        self.connect = self.connect.resolver(look_up);
        self
    }

    /// Sets a function that runs on each new connection, after [`on_connect`](Self::on_connect) and before its first call: see
    /// [`Builder::after_connect`]. What it leaves on the session is how every caller finds it.
    pub fn after_connect<F>(mut self, hook: F) -> Self
    where
        F: for<'a> Fn(
                &'a mut Client,
            ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>
            + Send
            + Sync
            + 'static,
    {
        self.connect = self.connect.after_connect(hook);
        self
    }

    /// Overrides the settings so far with environment variables.
    ///
    /// The address is read from `{PREFIX}_URL`, or else from `DATABASE_URL`, and libpq's variables fill what it leaves open. Every
    /// setter has a variable of its name: `{PREFIX}_CAPACITY`, `{PREFIX}_STATEMENT_TIMEOUT` (or `off`), `{PREFIX}_MAX_SIZE` and so on.
    /// Take another prefix than that of a pool of exclusive connections.
    ///
    /// # Errors
    /// A variable has a value that is invalid for its setting, or a variable under the prefix names no setting.
    pub fn env(self, prefix: &str) -> Result<Self, ConfigError> {
        self.apply(
            Env::read(prefix)?,
            Environment::read(Postgres::URL, Postgres::VARIABLES)?,
        )
    }

    fn apply(mut self, mut env: Env, beside: Environment) -> Result<Self, ConfigError> {
        let connect = &mut self.connect;
        let url = beside.take_url(&mut env, Postgres::URL)?;
        connect.beside = beside;
        for (name, why) in [
            (
                "RESET",
                "shared connections are not cleaned between callers",
            ),
            (
                "CANCEL_ON_DROP",
                "a cancel could hit the statement of another caller",
            ),
        ] {
            if let Some(value) = env.take::<String>(name)? {
                let expected = format!("left out: {why}");
                return Err(ConfigError::new(env.name_of(name), value, expected));
            }
        }
        // Before the driver, whose exclusive connections have no default for it.
        if let Some(limit) = env.take("STATEMENT_TIMEOUT")? {
            self.limits.statement_timeout = limit;
        }
        Postgres::read(connect, url, &mut env)?;
        if let Some(limit) = env.take("QUERY_TIMEOUT")? {
            connect.query_timeout = limit;
        }
        let limits = &mut self.limits;
        if let Some(statements) = env.take("CAPACITY")? {
            limits.capacity = statements;
        }
        if let Some(rows) = env.take("MAX_ROWS")? {
            limits.max_rows = rows;
        }
        if let Some(bytes) = env.take("MAX_BYTES")? {
            limits.max_bytes = bytes;
        }
        self.config.apply_env(&mut env)?;
        self.sources.was_read(env)?;
        Ok(self)
    }

    /// Builds the pool. Nothing is opened before the first call.
    ///
    /// # Errors
    /// A setting is out of its range or contradicts another setting, or the address is invalid or missing. The error names the
    /// setting, or the variable that it came from.
    pub fn build(self) -> Result<Shared, ConfigError> {
        let sources = self.sources.clone();
        self.built().map_err(|error| sources.blame(error))
    }

    fn built(self) -> Result<Shared, ConfigError> {
        let Self {
            mut connect,
            config,
            limits,
            observer,
            ..
        } = self;
        // A provider of credentials is bounded by it.
        connect = connect.create_timeout(config.get_create_timeout());
        if connect.settings.prepare == Prepare::Auto {
            // The manager asks whether there is a proxy, together with what else it says first.
            connect.settings.prepare = Prepare::Named;
        }
        if connect.settings.fleet.is_some() {
            let expected = "a whole number: only exclusive connections are shared among processes";
            return Err(ConfigError::new("max_size", "auto", expected));
        }
        config.validate()?;
        limits.validate()?;
        no_zeros([("query_timeout", connect.query_timeout.into())])?;
        #[cfg(feature = "metrics")]
        {
            connect = connect.metric_names(self.metric_names.clone());
        }
        let settings = manager(&connect)?;
        let operations = settings.operations.clone();
        let mut core = SharedPool::builder(Manager { settings, limits })
            .config(config)
            .__word("shared postgres");
        if let Some(observer) = observer {
            core = core.__observer(observer);
        }
        #[cfg(feature = "metrics")]
        {
            core = core.metric_names(self.metric_names);
        }
        let core = core.build()?;
        operations.are_of(core.name());
        Ok(Shared { core })
    }
}

impl Limits {
    fn validate(&self) -> Result<(), ConfigError> {
        at_least_one("capacity", self.capacity)?;
        for (name, value) in [("max_rows", self.max_rows), ("max_bytes", self.max_bytes)] {
            if value == 0 {
                return Err(ConfigError::new(name, "0", "at least 1"));
            }
        }
        match self.statement_timeout {
            // The server counts milliseconds in 31 bits, and 0 means no limit.
            Some(limit) if limit.as_millis() == 0 || i32::try_from(limit.as_millis()).is_err() => {
                let expected = "from 1ms to 24days, or off";
                Err(ConfigError::new(
                    "statement_timeout",
                    format!("{limit:?}"),
                    expected,
                ))
            }
            _ => Ok(()),
        }
    }
}

passed_on! {
    SharedBuilder;
    connect:
        /// Sets the address of the database: see [`Builder`]. An error never shows the password in it.
        url(impl Into<String>);
        /// Takes the address from the driver's own config: see [`Builder::driver_config`].
        driver_config(tokio_postgres::Config);
        /// Sets whether connections are encrypted, and how the server must prove its identity: see [`Builder::ssl_mode`].
        ssl_mode(impl Into<Option<SslMode>>);
        /// Sets which server suits, of several: see [`Builder::target_session_attrs`].
        target_session_attrs(impl Into<Option<SessionAttrs>>);
        /// Sets the PEM file of trusted root certificates: see [`Builder::root_certificate`].
        root_certificate(impl Into<PathBuf>);
        /// How many prepared statements each connection keeps: see [`Builder::statement_cache`]. Default: 128.
        statement_cache(usize);
        /// How long the provider of [`credentials`](Self::credentials) may take: see [`Builder::credentials_timeout`].
        credentials_timeout(Duration);
        /// How long a statement may wait for a lock: see [`Builder::lock_timeout`].
        lock_timeout(impl Into<Option<Duration>>);
        /// How often the names of the hosts are looked up again: see [`Builder::resolve_every`]. Connections to an address that no
        /// name has any more are closed when their calls are answered.
        resolve_every(impl Into<Option<Duration>>);
        /// Sets SQL that runs on each new connection, once.
        on_connect(impl Into<String>);
        /// How long one statement may take for its caller, from its request to the last of its answer. A connection that has not
        /// answered at all for so long, and for twice `statement_timeout`, is closed. `None` (`off`) means no limit. Not zero.
        ///
        /// Default: 30 s.
        query_timeout(impl Into<Option<Duration>>);
    config:
        /// How many connections may be open at once. Another one is opened only when all are full or suspect. At least 1.
        ///
        /// Default: that of [`SharedConfig::max_size`].
        max_size(u32);
}

shared_settings!(SharedBuilder);

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for SharedBuilder {
    fn deserialize<F: serde::Deserializer<'de>>(deserializer: F) -> Result<Self, F::Error> {
        use serde::de::Error;
        let env = Env::deserialize(deserializer)?;
        let read = Self::new().apply(env, Environment::default());
        read.map_err(F::Error::custom)
    }
}

impl Default for SharedBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SharedBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBuilder")
            .field("connect", &self.connect)
            .field("config", &self.config)
            .field("limits", &self.limits)
            .field("sources", &self.sources)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn built(vars: &[(&str, &str)]) -> Result<Shared, ConfigError> {
        let (env, beside) = Environment::of(vars);
        SharedBuilder::new().apply(env, beside)?.build()
    }

    const URL: (&str, &str) = ("DATABASE_URL", "postgres://me:secret@db.example/shop");

    #[test]
    fn the_environment_sets_what_the_setters_set() {
        let shared = built(&[
            URL,
            ("POOL_DB_MAX_SIZE", "2"),
            ("POOL_DB_CAPACITY", "7"),
            ("POOL_DB_STATEMENT_TIMEOUT", "off"),
            ("POOL_DB_MAX_ROWS", "5"),
            ("POOL_DB_MAX_BYTES", "600"),
            ("POOL_DB_QUERY_TIMEOUT", "3s"),
            ("POOL_DB_STATEMENT_CACHE", "9"),
            ("PGAPPNAME", "web"),
        ])
        .unwrap();
        let Manager { settings, limits } = shared.core.manager();
        assert_eq!(settings.target, "postgres at db.example:5432/shop as me");
        assert_eq!(settings.query_timeout, Some(Duration::from_secs(3)));
        assert_eq!(settings.statement_cache, 9);

        assert_eq!(
            (limits.capacity, limits.max_rows, limits.max_bytes),
            (7, 5, 600)
        );
        assert_eq!(limits.statement_timeout, None);
        assert_eq!(shared.status().max_size, 2);
        assert_eq!(shared.name(), "db");
    }

    #[test]
    fn what_is_wrong_is_named_with_what_it_may_be() {
        for (vars, says) in [
            (vec![], "url must be set"),
            (
                vec![URL, ("POOL_DB_CAPACITY", "0")],
                "POOL_DB_CAPACITY is 0, but must be at least 1",
            ),
            (
                vec![URL, ("POOL_DB_MAX_ROWS", "0")],
                "POOL_DB_MAX_ROWS is 0, but must be at least 1",
            ),
            (
                vec![URL, ("POOL_DB_MAX_BYTES", "0")],
                "POOL_DB_MAX_BYTES is 0, but must be at least 1",
            ),
            (
                vec![URL, ("POOL_DB_STATEMENT_TIMEOUT", "10us")],
                "POOL_DB_STATEMENT_TIMEOUT is 10µs, but must be from 1ms to 24days, or off",
            ),
            (
                vec![URL, ("POOL_DB_STATEMENT_TIMEOUT", "25days")],
                "POOL_DB_STATEMENT_TIMEOUT is ",
            ),
            (
                vec![URL, ("POOL_DB_QUERY_TIMEOUT", "0s")],
                "POOL_DB_QUERY_TIMEOUT is 0s",
            ),
            (
                vec![URL, ("POOL_DB_MAX_SIZE", "0")],
                "POOL_DB_MAX_SIZE is 0",
            ),
            (
                vec![URL, ("POOL_DB_MAX_SIZE", "auto")],
                "POOL_DB_MAX_SIZE is auto, but must be a whole number: only exclusive connections",
            ),
            (
                vec![URL, ("POOL_DB_RESET", "always")],
                "POOL_DB_RESET is always, but must be left out",
            ),
            (
                vec![URL, ("POOL_DB_CAPACTY", "3")],
                "POOL_DB_CAPACTY must be left out",
            ),
            (
                vec![URL, ("POOL_DB_SSL_MODE", "sometimes")],
                "POOL_DB_SSL_MODE is \"sometimes\"",
            ),
        ] {
            let error = built(&vars).unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn it_is_read_from_any_format_as_from_the_environment() {
        let text = r#"{"url": "postgres://u:secret@h/db", "capacity": 7, "statement_timeout": "off",
            "max_size": 2, "credentials_timeout": "3s", "lock_timeout": "1s", "resolve_every": "off"}"#;
        let by_serde = serde_json::from_str::<SharedBuilder>(text).unwrap();
        let second = Duration::from_secs(1);
        assert_eq!(by_serde.limits.capacity, 7);
        assert_eq!(by_serde.limits.statement_timeout, None);
        let own = &by_serde.connect.settings;
        assert_eq!(own.credentials_timeout, Some(3 * second));
        assert_eq!(own.resolve_every, None);
        assert!(format!("{:?}", own.limits).contains("lock: Some(Some(1s))"));
        assert_eq!(by_serde.build().unwrap().status().max_size, 2);
        for (text, says) in [
            (r#"{"capacty": 3}"#, "did you mean capacity?"),
            (
                r#"{"reset": "always"}"#,
                "reset is always, but must be left out",
            ),
        ] {
            let error = serde_json::from_str::<SharedBuilder>(text).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn a_provider_may_take_half_of_the_create_timeout_of_this_builder() {
        let second = Duration::from_secs(1);
        let builder = SharedBuilder::new()
            .url(URL.1)
            .credentials(|_| async { Ok::<_, io::Error>(Credentials::password("secret")) });
        let builder = builder
            .create_timeout(second)
            .credentials_timeout(2 * second);
        let error = builder.build().unwrap_err().to_string();
        assert!(error.starts_with("credentials_timeout is 2s"), "{error}");
    }

    #[test]
    fn no_password_is_in_the_debug_output() {
        let builder = SharedBuilder::new().url(URL.1);
        assert!(!format!("{builder:?}").contains("secret"));
        assert!(!format!("{:?}", builder.build().unwrap()).contains("secret"));
    }
}

//! What PostgreSQL adds to the face of all drivers.

use std::{path::PathBuf, sync::Arc, time::Duration};

use pool_core::{__checks::no_zeros, ConfigError, Env};

use super::{
    Builder, Connection, Manager, Pool, Prepare, Reset, SessionAttrs, SslMode,
    dial::Dial,
    fleet::{Fleet, Member},
    keyring::{Keyring, Provider},
    limits::Limits,
    resolve::Resolver,
    settings::{EXPECTED, LIBPQ, Options},
    setup::Setup,
};
use crate::{Driver, address::Address, driver::sealed::Sealed};

/// PostgreSQL, by tokio-postgres. The type only names the driver: `pool_db::Pool<Postgres>` is [`postgres::Pool`](Pool).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Postgres;

/// The settings of a [`Builder`] that only this driver has. The setters of the builder set them.
#[derive(Clone, Debug)]
pub struct DriverSettings {
    /// The options from a driver's config or the environment, in place of the address.
    pub(super) connect: Option<Result<Options, ConfigError>>,
    pub(super) ssl_mode: Option<SslMode>,
    pub(super) session_attrs: Option<SessionAttrs>,
    pub(super) root_certificate: Option<PathBuf>,
    pub(super) prepare: Prepare,
    pub(super) statement_cache: usize,
    pub(super) setup: Setup,
    pub(super) reset: Reset,
    pub(super) cancel_on_drop: bool,
    pub(super) limits: Limits,
    pub(super) credentials: Option<Provider>,
    pub(super) credentials_timeout: Option<Duration>,
    pub(super) resolver: Resolver,
    pub(super) resolve_every: Option<Duration>,
    /// The index of the only host of the address that is dialled.
    pub(super) only_host: Option<usize>,
    /// What the pool shares the server's connections with, if it does: `max_size = "auto"`.
    pub(super) fleet: Option<Fleet>,
}

impl Default for DriverSettings {
    fn default() -> Self {
        Self {
            connect: None,
            ssl_mode: None,
            session_attrs: None,
            root_certificate: None,
            prepare: Prepare::default(),
            statement_cache: 128,
            setup: Setup::default(),
            reset: Reset::default(),
            cancel_on_drop: false,
            limits: Limits::default(),
            credentials: None,
            credentials_timeout: None,
            resolver: Resolver::default(),
            resolve_every: Some(Duration::from_secs(30)),
            only_host: None,
            fleet: None,
        }
    }
}

impl Sealed for Postgres {}

impl Driver for Postgres {
    type Manager = Manager;
    type Connection = Connection;
    type Settings = DriverSettings;
    type Beside = ();

    const WORD: &'static str = "postgres";
    const VARIABLES: &'static [&'static str] = &LIBPQ;

    fn read(
        builder: &mut Builder,
        url: Option<(String, String)>,
        env: &mut Env,
    ) -> Result<(), ConfigError> {
        let own = &mut builder.settings;
        let (mut connect, mut found) = match (url, builder.url.take(), own.connect.take()) {
            (Some((name, url)), _, _) => (Options::parse(&name, &url)?, true),
            (None, Some(Address(url)), _) => (Options::parse("url", &url)?, true),
            (None, None, Some(connect)) => (connect?, true),
            (None, None, None) => (Options::default(), false),
        };
        found |= connect.fill(&builder.beside)?;
        own.connect = found.then_some(Ok(connect));
        if let Some(mode) = env.take("SSL_MODE")? {
            own.ssl_mode = Some(mode);
        }
        if let Some(attrs) = env.take("TARGET_SESSION_ATTRS")? {
            own.session_attrs = Some(attrs);
        }
        if let Some(file) = env.take::<String>("ROOT_CERTIFICATE")? {
            own.root_certificate = Some(file.into());
        }
        if let Some(prepare) = env.take("PREPARE")? {
            own.prepare = prepare;
        }
        if let Some(capacity) = env.take("STATEMENT_CACHE")? {
            own.statement_cache = capacity;
        }
        if let Some(sql) = env.take("ON_CONNECT")? {
            own.setup.sql = sql;
        }
        if let Some(policy) = env.take("RESET")? {
            own.reset = policy;
        }
        if let Some(cancels) = env.take("CANCEL_ON_DROP")? {
            own.cancel_on_drop = cancels;
        }
        if let Some(limit) = env.take("CREDENTIALS_TIMEOUT")? {
            own.credentials_timeout = Some(limit);
        }
        own.limits.read(env)?;
        if env.__take_word("MAX_SIZE", "auto") {
            let fleet = own.fleet.take().unwrap_or_default();
            builder.join(fleet);
        }
        let own = &mut builder.settings;
        Fleet::read(&mut own.fleet, env)?;
        if let Some(interval) = env.take("RESOLVE_EVERY")? {
            own.resolve_every = interval;
        }
        Ok(())
    }

    fn build(mut builder: Builder) -> Result<Pool, ConfigError> {
        let manager = manager(&builder)?;
        if let Some(member) = &manager.fleet {
            builder.config = builder.config.max_size(member.least());
        }
        let (trust, operations) = (Arc::clone(&manager.dial.trust), manager.operations.clone());
        let core = builder.core(manager)?;
        operations.are_of(core.name());
        trust.serves(core.__weak());
        Ok(Pool::new(core, ()))
    }
}

pub(super) fn manager(builder: &Builder) -> Result<Manager, ConfigError> {
    let own = &builder.settings;
    no_zeros([("resolve_every", own.resolve_every.into())])?;
    let mut connect = match (&builder.url, &own.connect) {
        (Some(Address(url)), _) => Options::parse("url", url)?,
        (None, Some(connect)) => connect.clone()?,
        (None, None) => {
            let expected =
                format!("set, as DATABASE_URL or PGHOST in the environment or in code: {EXPECTED}");
            return Err(ConfigError::secret("url", expected));
        }
    };
    if let Some(mode) = own.ssl_mode {
        connect.override_with("ssl_mode", "sslmode", mode.as_str())?;
    }
    if let Some(attrs) = own.session_attrs {
        let option = "target_session_attrs";
        connect.override_with(option, option, attrs.as_str())?;
    }
    if let Some(file) = &own.root_certificate {
        connect.override_roots(file.clone());
    }
    if let Some(limit) = own.credentials_timeout {
        no_zeros([("credentials_timeout", limit.into())])?;
    }
    let create_timeout = builder.config.get_create_timeout();
    let mut connect = connect.complete()?;
    own.limits.add_to(&mut connect.session)?;
    if let Some(index) = own.only_host {
        connect.targets = connect.targets.drain(..).skip(index).take(1).collect();
    }
    let target = connect.target();
    let provider = own.credentials.clone();
    let keyring =
        provider.map(|provider| Keyring::new(provider, own.credentials_timeout, create_timeout));
    let mut dial = Dial::new(connect)?;
    dial.prepare = own.prepare;
    dial.credentials = keyring.transpose()?;
    dial.names.resolver = own.resolver.clone();
    dial.names.resolve_every = own.resolve_every;
    let dial = Arc::new(dial);
    let fleet = own.fleet.as_ref();
    let fleet = fleet.map(|fleet| Member::new(fleet, &builder.config, &dial, &target));
    Ok(Manager {
        fleet: fleet.transpose()?,
        dial,
        target,
        statement_cache: own.statement_cache,
        query_timeout: builder.query_timeout,
        setup: own.setup.clone(),
        reset: own.reset,
        cancels_on_drop: own.cancel_on_drop,
        create_timeout,
        operations: builder.operations(SYSTEM),
    })
}

/// OpenTelemetry's name of the database.
pub(super) const SYSTEM: &str = "postgresql";

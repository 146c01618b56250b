//! What MySQL adds to the face of all drivers.

use pool_core::{ConfigError, Env};

use super::{
    Builder, Connection, Manager, Pool, Reset,
    dial::Dial,
    settings::{EXPECTED, Options, VARIABLES},
    setup::Setup,
    ssl::File,
};
use crate::{Driver, address::Address, driver::sealed::Sealed};

/// MySQL and MariaDB, by mysql_async. The type only names the driver: `pool_db::Pool<MySql>` is [`mysql::Pool`](Pool).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct MySql;

/// The settings of a [`Builder`] that only this driver has. The setters of the builder set them.
#[derive(Clone, Debug, Default)]
pub struct DriverSettings {
    /// What setters and variables have set. It takes precedence over the address.
    pub(super) over: Options,
    pub(super) setup: Setup,
    pub(super) reset: Reset,
    /// Whether an `UPDATE` counts the rows that it finds, and not only those that it changes.
    pub(crate) counts_found_rows: bool,
}

impl Sealed for MySql {}

impl Driver for MySql {
    type Manager = Manager;
    type Connection = Connection;
    type Settings = DriverSettings;
    type Beside = ();

    const WORD: &'static str = "mysql";
    const VARIABLES: &'static [&'static str] = &VARIABLES;

    fn read(
        builder: &mut Builder,
        url: Option<(String, String)>,
        env: &mut Env,
    ) -> Result<(), ConfigError> {
        if let Some((name, url)) = url {
            Options::parse(&name, &url)?;
            builder.url = Some(Address(url));
        }
        let own = &mut builder.settings;
        if let Some(mode) = env.take("SSL_MODE")? {
            own.over.ssl_mode = Some(mode);
        }
        for (name, setting, file) in [
            (
                "ROOT_CERTIFICATE",
                "root_certificate",
                &mut own.over.root_certificate,
            ),
            (
                "CLIENT_CERTIFICATE",
                "client_certificate",
                &mut own.over.client_certificate,
            ),
            ("CLIENT_KEY", "client_key", &mut own.over.client_key),
        ] {
            if let Some(path) = env.take::<String>(name)? {
                *file = Some(File::from((path.as_ref(), setting)));
            }
        }
        if let Some(capacity) = env.take("STATEMENT_CACHE")? {
            own.over.statement_cache = Some(capacity);
        }
        if let Some(zone) = env.take("TIME_ZONE")? {
            own.over.time_zone = Some(zone);
        }
        if let Some(sql) = env.take("ON_CONNECT")? {
            own.setup.sql = sql;
        }
        if let Some(policy) = env.take("RESET")? {
            own.reset = policy;
        }
        Ok(())
    }

    fn build(builder: Builder) -> Result<Pool, ConfigError> {
        let manager = manager(&builder)?;
        Ok(Pool::new(builder.core(manager)?, ()))
    }
}

fn manager(builder: &Builder) -> Result<Manager, ConfigError> {
    let own = &builder.settings;
    let address = match &builder.url {
        Some(Address(url)) => Some(Options::parse("url", url)?),
        None => None,
    };
    let is_addressed = address.is_some();
    let mut options = address.unwrap_or_default().overridden_by(own.over.clone());
    let is_found = options.fill(&builder.beside)?;
    if !is_addressed && !is_found && !options.names_a_server() {
        let expected =
            format!("set, as DATABASE_URL or MYSQL_HOST in the environment or in code: {EXPECTED}");
        return Err(ConfigError::secret("url", expected));
    }
    let mut settings = options.complete()?;
    settings.counts_found_rows = own.counts_found_rows;
    let mut setup = own.setup.clone();
    if let Some(zone) = &settings.time_zone {
        setup.sql = format!("SET time_zone = '{zone}'; {}", setup.sql);
    }
    Ok(Manager {
        target: settings.target(),
        dial: Dial::new(settings),
        query_timeout: builder.query_timeout,
        setup,
        reset: own.reset,
    })
}

//! What the connections of sqlx add to the face of all drivers.

use std::{fmt, marker::PhantomData, sync::Arc};

use pool_core::{ConfigError, Env};
use tokio::sync::Mutex;

use super::{Builder, Connection, Database, Manager, Pool, Reset, database::Options, doubt::Doubt};
use crate::{
    Driver,
    address::{Address, bad_address},
    driver::sealed::Sealed,
    setup::Hook,
};

/// The connections of sqlx to the database `DB`. The type only names the driver: `pool_db::Pool<Sqlx<sqlx::Postgres>>` is
/// [`sqlx::Pool<sqlx::Postgres>`](Pool).
pub struct Sqlx<DB>(PhantomData<fn() -> DB>);

/// The settings of a [`Builder`] that only this driver has. The setters of the builder set them.
pub struct DriverSettings<DB: Database> {
    /// The options, in place of the address.
    pub(super) options: Option<Options<DB>>,
    pub(super) statement_cache: Option<usize>,
    pub(super) reset: Reset,
    pub(super) cancels: bool,
    pub(super) on_connect: String,
    pub(super) hook: Option<Hook<DB::Connection, sqlx::Error>>,
}

impl<DB: Database> Default for DriverSettings<DB> {
    fn default() -> Self {
        Self {
            options: None,
            statement_cache: None,
            reset: Reset::default(),
            cancels: true,
            on_connect: String::new(),
            hook: None,
        }
    }
}

impl<DB: Database> Clone for DriverSettings<DB> {
    fn clone(&self) -> Self {
        Self {
            options: self.options.clone(),
            statement_cache: self.statement_cache,
            reset: self.reset,
            cancels: self.cancels,
            on_connect: self.on_connect.clone(),
            hook: self.hook.clone(),
        }
    }
}

impl<DB: Database> fmt::Debug for DriverSettings<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Options show their password.
        f.debug_struct("DriverSettings")
            .field("options", &self.options.as_ref().map(DB::target))
            .field("statement_cache", &self.statement_cache)
            .field("reset", &self.reset)
            .field("cancels", &self.cancels)
            .field("on_connect", &self.on_connect)
            .field("hook", &self.hook)
            .finish()
    }
}

impl<DB: Database> Sealed for Sqlx<DB> {}

impl<DB: Database> Driver for Sqlx<DB> {
    type Manager = Manager<DB>;
    type Connection = Connection<DB>;
    type Settings = DriverSettings<DB>;
    type Beside = ();

    const WORD: &'static str = DB::WORD;

    fn read(
        builder: &mut Builder<DB>,
        url: Option<(String, String)>,
        env: &mut Env,
    ) -> Result<(), ConfigError> {
        let own = &mut builder.settings;
        if let Some((name, url)) = url {
            parse::<DB>(&name, &url)?;
            (builder.url, own.options) = (Some(Address(url)), None);
        }
        if let Some(capacity) = env.take("STATEMENT_CACHE")? {
            own.statement_cache = Some(capacity);
        }
        if let Some(sql) = env.take("ON_CONNECT")? {
            own.on_connect = sql;
        }
        if let Some(policy) = env.take("RESET")? {
            own.reset = policy;
        }
        if let Some(cancels) = env.take("CANCEL")? {
            own.cancels = cancels;
        }
        Ok(())
    }

    fn build(builder: Builder<DB>) -> Result<Pool<DB>, ConfigError> {
        let own = &builder.settings;
        let mut options = match (&builder.url, &own.options) {
            (Some(Address(url)), _) => parse::<DB>("url", url)?,
            (None, Some(options)) => options.clone(),
            (None, None) => {
                let expected = format!(
                    "set, as DATABASE_URL in the environment or in code: {}",
                    DB::EXPECTED
                );
                return Err(ConfigError::secret("url", expected));
            }
        };
        if let Some(capacity) = own.statement_cache {
            options = DB::with_cache(options, capacity);
        }
        let doubt = Arc::new(Doubt::default());
        let core = builder.core(Manager {
            target: DB::target(&options),
            options,
            query_timeout: builder.query_timeout,
            reset: own.reset,
            cancels: own.cancels,
            keeps: own.statement_cache != Some(0),
            on_connect: own.on_connect.clone(),
            hook: own.hook.clone(),
            doubt: Arc::clone(&doubt),
            anchor: Mutex::new(None),
        })?;
        let pool = core.__weak();
        doubt.serves(move || {
            if let Some(pool) = pool() {
                pool.__recheck(|session| session.track.is_doubted());
            }
        });
        Ok(Pool::new(core, ()))
    }
}

/// Reads an address. The error does not show it.
fn parse<DB: Database>(setting: &str, url: &str) -> Result<Options<DB>, ConfigError> {
    let bad = || bad_address(setting, url, DB::EXPECTED);
    let (scheme, _) = url.split_once(':').ok_or_else(bad)?;
    if !DB::URL_SCHEMES.contains(&scheme) {
        return Err(bad());
    }
    url.parse().map_err(|_| bad())
}

impl<DB: Database> fmt::Debug for Sqlx<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sqlx").field(&DB::NAME).finish()
    }
}

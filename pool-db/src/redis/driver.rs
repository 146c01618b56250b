//! What Redis adds to the face of all drivers.

use std::{path::PathBuf, sync::Arc};

use pool_core::{ConfigError, Env};

use super::{Builder, Connection, DriverSettings, Manager, Pool, Protocol, dial::Dial};
use crate::{Driver, driver::sealed::Sealed};

/// Redis, by the redis crate. The type only names the driver: `pool_db::Pool<Redis>` is [`redis::Pool`](Pool).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Redis;

impl Sealed for Redis {}

impl Driver for Redis {
    type Manager = Manager;
    type Connection = Connection;
    type Settings = DriverSettings;
    type Beside = ();

    const WORD: &'static str = "redis";
    const PREFIX: &'static str = "POOL_REDIS";
    const URL: &'static str = "REDIS_URL";

    fn read(
        builder: &mut Builder,
        url: Option<(String, String)>,
        env: &mut Env,
    ) -> Result<(), ConfigError> {
        builder.settings.read(&mut builder.url, url, env)
    }

    fn build(builder: Builder) -> Result<Pool, ConfigError> {
        builder.settings.validate()?;
        let manager = Manager {
            dial: Arc::new(Dial::new(builder.url.as_ref(), &builder.settings)?),
            query_timeout: builder.query_timeout,
            create_timeout: builder.config.get_create_timeout(),
        };
        Ok(Pool::new(builder.core(manager)?, ()))
    }
}

/// Generates the setters of both builders.
macro_rules! setters {
    ($($(#[doc = $doc:literal])+ $name:ident($arg:ty);)+) => {
        impl Builder {
            $(
                $(#[doc = $doc])+
                pub fn $name(mut self, value: $arg) -> Self {
                    self.settings = self.settings.$name(value);
                    self
                }
            )+
        }

        impl super::SharedBuilder {
            $(
                $(#[doc = $doc])+
                pub fn $name(mut self, value: $arg) -> Self {
                    self.settings = self.settings.$name(value);
                    self
                }
            )+
        }
    };
}

setters! {
    /// Sets the user to log in as, in place of that of the address. It needs a password.
    user(impl Into<String>);
    /// Sets the password, in place of that of the address. It is never shown.
    password(impl Into<String>);
    /// Sets the number of the database, in place of that of the address. Default: 0.
    db(u32);
    /// Sets the version of the protocol, in place of that of the address. Default: RESP2.
    protocol(Protocol);
    /// Sets the name under which the server lists the connections (`CLIENT SETNAME`): printable ASCII without spaces. Default: none.
    client_name(impl Into<String>);
    /// Sets the PEM file of trusted root certificates, or `system` for the store of the system. Default: Mozilla's roots.
    root_certificate(impl Into<PathBuf>);
    /// Sets the PEM file of the certificate that is shown to the server, with its chain. It needs a `client_key`.
    client_certificate(impl Into<PathBuf>);
    /// Sets the PEM file of the key of `client_certificate`.
    client_key(impl Into<PathBuf>);
    /// Sets the user to log in as at the sentinels. It needs a `sentinel_password`.
    sentinel_user(impl Into<String>);
    /// Sets the password of the sentinels. It is never shown. Default: none, as sentinels do not ask for that of the servers.
    sentinel_password(impl Into<String>);
}

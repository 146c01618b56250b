//! The settings of connections to Redis.

use std::path::PathBuf;

use pool_core::{ConfigError, Env};

use super::{
    Protocol,
    location::{Location, parse_db},
    secret::Secret,
    tls::{self, Tls},
};
use crate::address::Address;

/// The settings of a builder that only this driver has. The setters of the builder set them.
#[derive(Clone, Debug, Default)]
pub struct DriverSettings {
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) db: Option<u32>,
    pub(super) protocol: Option<Protocol>,
    pub(super) client_name: Option<String>,
    pub(super) tls: Tls,
    pub(super) sentinel_user: Option<String>,
    pub(super) sentinel_password: Option<Secret>,
}

impl DriverSettings {
    pub(super) fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    pub(super) fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Secret(password.into()));
        self
    }

    pub(super) const fn db(mut self, db: u32) -> Self {
        self.db = Some(db);
        self
    }

    pub(super) const fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = Some(protocol);
        self
    }

    pub(super) fn client_name(mut self, name: impl Into<String>) -> Self {
        self.client_name = Some(name.into());
        self
    }

    pub(super) fn root_certificate(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.roots = Some(tls::roots("root_certificate", path.into()));
        self
    }

    pub(super) fn client_certificate(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.certificate = Some(tls::file("client_certificate", path.into()));
        self
    }

    pub(super) fn client_key(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.key = Some(tls::file("client_key", path.into()));
        self
    }

    pub(super) fn sentinel_user(mut self, user: impl Into<String>) -> Self {
        self.sentinel_user = Some(user.into());
        self
    }

    pub(super) fn sentinel_password(mut self, password: impl Into<String>) -> Self {
        self.sentinel_password = Some(Secret(password.into()));
        self
    }

    /// Reads the settings from `env`. `address` is replaced by `url`, with the variable that it came from.
    pub(super) fn read(
        &mut self,
        address: &mut Option<Address>,
        url: Option<(String, String)>,
        env: &mut Env,
    ) -> Result<(), ConfigError> {
        if let Some((name, url)) = url {
            Location::parse(&name, &url)?;
            *address = Some(Address(url));
        }
        if let Some(user) = env.take::<String>("USER")? {
            self.user = Some(user);
        }
        if let Some(password) = env.take::<String>("PASSWORD")? {
            self.password = Some(Secret(password));
        }
        if let Some(user) = env.take::<String>("SENTINEL_USER")? {
            self.sentinel_user = Some(user);
        }
        if let Some(password) = env.take::<String>("SENTINEL_PASSWORD")? {
            self.sentinel_password = Some(Secret(password));
        }
        if let Some(db) = env.take_with("DB", "a number from 0 to 2147483647", parse_db)? {
            self.db = Some(db);
        }
        if let Some(protocol) = env.take("PROTOCOL")? {
            self.protocol = Some(protocol);
        }
        if let Some(name) = env.take::<String>("CLIENT_NAME")? {
            self.client_name = Some(name);
        }
        if let Some(path) = env.take::<String>("ROOT_CERTIFICATE")? {
            self.tls.roots = Some(tls::roots(env.name_of("ROOT_CERTIFICATE"), path.into()));
        }
        if let Some(path) = env.take::<String>("CLIENT_CERTIFICATE")? {
            let setting = env.name_of("CLIENT_CERTIFICATE");
            self.tls.certificate = Some(tls::file(setting, PathBuf::from(path)));
        }
        if let Some(path) = env.take::<String>("CLIENT_KEY")? {
            self.tls.key = Some(tls::file(env.name_of("CLIENT_KEY"), PathBuf::from(path)));
        }
        Ok(())
    }

    /// # Errors
    /// A setting is one that Redis does not take.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let is_plain =
            |name: &String| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        if self.sentinel_user.is_some() && self.sentinel_password.is_none() {
            return Err(ConfigError::secret(
                "sentinel_password",
                "set, as sentinel_user is",
            ));
        }
        match &self.client_name {
            Some(name) if !is_plain(name) => Err(ConfigError::new(
                "client_name",
                format!("{name:?}"),
                "printable ASCII without spaces",
            )),
            _ => Ok(()),
        }
    }
}

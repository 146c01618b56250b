//! To and from the driver's own config.

use std::time::Duration;

use pool_core::ConfigError;
use tokio_postgres::config::{
    ChannelBinding, Config, Host as DriverHost, LoadBalanceHosts, SslMode as DriverSslMode,
    SslNegotiation, TargetSessionAttrs,
};

use super::{Host, Options, Settings, Target};
use crate::postgres::tls::SslMode;

impl Options {
    /// Takes the options of the driver's own config.
    ///
    /// # Errors
    /// An option has a value that an address could not have.
    pub(in crate::postgres) fn of_driver(config: &Config) -> Result<Self, ConfigError> {
        let join = |texts: Vec<String>| texts.join(",");
        let host = |host: &DriverHost| match host {
            DriverHost::Tcp(name) => name.clone(),
            #[cfg(unix)]
            DriverHost::Unix(path) => path.display().to_string(),
        };
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let secs = |limit: Option<Duration>| {
            limit.map_or(String::new(), |limit| limit.as_secs_f64().to_string())
        };
        let word = |word: &str| word.to_owned();
        let hosts = join(config.get_hosts().iter().map(host).collect());
        let addresses = join(
            config
                .get_hostaddrs()
                .iter()
                .map(ToString::to_string)
                .collect(),
        );
        let ports = join(config.get_ports().iter().map(ToString::to_string).collect());
        let user_timeout = config
            .get_tcp_user_timeout()
            .map(|limit| limit.as_millis().to_string());
        let count = config
            .get_keepalives_retries()
            .map(|count| count.to_string());
        let mut options = Self::default();
        for (option, value) in [
            ("host", hosts),
            ("hostaddr", addresses),
            ("port", ports),
            ("user", text(config.get_user())),
            ("dbname", text(config.get_dbname())),
            ("options", text(config.get_options())),
            ("application_name", text(config.get_application_name())),
            (
                "connect_timeout",
                secs(config.get_connect_timeout().copied()),
            ),
            ("tcp_user_timeout", user_timeout.unwrap_or_default()),
            ("keepalives", u8::from(config.get_keepalives()).to_string()),
            ("keepalives_idle", secs(Some(config.get_keepalives_idle()))),
            (
                "keepalives_interval",
                secs(config.get_keepalives_interval()),
            ),
            ("keepalives_count", count.unwrap_or_default()),
            (
                "target_session_attrs",
                match config.get_target_session_attrs() {
                    TargetSessionAttrs::ReadWrite => word("read-write"),
                    TargetSessionAttrs::ReadOnly => word("read-only"),
                    _ => String::new(),
                },
            ),
            (
                "load_balance_hosts",
                match config.get_load_balance_hosts() {
                    LoadBalanceHosts::Random => word("random"),
                    _ => String::new(),
                },
            ),
            (
                "sslmode",
                match config.get_ssl_mode() {
                    DriverSslMode::Disable => word("disable"),
                    DriverSslMode::Require => word("require"),
                    _ => word("prefer"),
                },
            ),
            (
                "sslnegotiation",
                match config.get_ssl_negotiation() {
                    SslNegotiation::Direct => word("direct"),
                    _ => String::new(),
                },
            ),
            (
                "channel_binding",
                match config.get_channel_binding() {
                    ChannelBinding::Disable => word("disable"),
                    ChannelBinding::Require => word("require"),
                    _ => String::new(),
                },
            ),
        ] {
            options.set_part(DRIVER, option, value)?;
        }
        options.set_part(
            DRIVER,
            "password",
            config.get_password().unwrap_or_default(),
        )?;
        Ok(options)
    }
}

impl Settings {
    /// Returns the driver's modes of the attempts to connect to the server, in their order: see [`SslMode::attempts`].
    pub(in crate::postgres) const fn attempts(
        &self,
        target: &Target,
    ) -> (DriverSslMode, &'static [DriverSslMode]) {
        if target.is_local() {
            SslMode::Disable.attempts()
        } else {
            self.tls.mode.attempts()
        }
    }

    /// Returns the driver's config for one attempt to connect to one server, with the password for that server.
    pub(in crate::postgres) fn driver(&self, target: &Target, mode: DriverSslMode) -> Config {
        let mut driver = self.session.clone();
        match &target.host {
            Host::Tcp(name) => driver.host(name),
            Host::Unix(path) => driver.host(path.to_string_lossy()),
        };
        if let Some(address) = target.hostaddr {
            driver.hostaddr(address);
        }
        driver.port(target.port);
        // What is wrong with the file was an error when the settings were completed.
        if let Ok(Some(password)) = self.password_of(target) {
            driver.password(password);
        }
        driver.ssl_mode(mode);
        if let Some(limit) = self.connect_timeout {
            driver.connect_timeout(limit);
        }
        if let Some(limit) = self.tcp_user_timeout {
            driver.tcp_user_timeout(limit);
        }
        driver.keepalives(self.keepalives.is_some());
        if let Some(keepalives) = self.keepalives {
            driver.keepalives_idle(keepalives.idle);
            if let Some(interval) = keepalives.interval {
                driver.keepalives_interval(interval);
            }
            if let Some(count) = keepalives.count {
                driver.keepalives_retries(count);
            }
        }
        driver
    }
}

/// The setting that has the driver's config.
const DRIVER: &str = "driver_config";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::postgres::session_attrs::SessionAttrs;

    #[test]
    fn nothing_of_a_drivers_config_is_lost() {
        let mut config = Config::new();
        config
            .host("a")
            .hostaddr("10.0.0.1".parse().unwrap())
            .port(1)
            .user("me")
            .password([255, 1])
            .dbname("shop; with = odd '")
            .options("-c a=b")
            .application_name("web")
            .connect_timeout(Duration::from_millis(250))
            .tcp_user_timeout(Duration::from_millis(1700))
            .keepalives_idle(Duration::from_secs(9))
            .keepalives_interval(Duration::from_millis(1500))
            .keepalives_retries(4)
            .ssl_mode(DriverSslMode::Require)
            .ssl_negotiation(SslNegotiation::Direct)
            .channel_binding(ChannelBinding::Require);
        let settings = |config: &Config| Options::of_driver(config).unwrap().complete().unwrap();
        let one = settings(&config);
        let (mode, others) = one.attempts(&one.targets[0]);
        assert_eq!(one.driver(&one.targets[0], mode), config);
        assert!(others.is_empty());
        assert!(!format!("{one:?}").contains("-c a=b"));
        config
            .host("/run/pg")
            .hostaddr("10.0.0.2".parse().unwrap())
            .port(2)
            .load_balance_hosts(LoadBalanceHosts::Random)
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        let two = settings(&config);
        assert_eq!(
            two.target(),
            "postgres at a:1,/run/pg:2/a text of 18 characters as me"
        );
        let addresses = two
            .targets
            .iter()
            .map(|target| target.hostaddr.unwrap().to_string());
        assert_eq!(addresses.collect::<Vec<_>>(), ["10.0.0.1", "10.0.0.2"]);
        assert!(two.is_shuffled && two.session_attrs == SessionAttrs::ReadWrite);
        config = Config::new();
        config.host("h").port(5432).keepalives(false);
        let still = settings(&config);
        assert_eq!(still.keepalives, None);
        assert_eq!(
            still.driver(&still.targets[0], DriverSslMode::Prefer),
            config
        );
    }

    #[test]
    fn a_value_that_no_address_could_have_is_an_error() {
        let mut config = Config::new();
        config.host("h;password=topsecret");
        let error = Options::of_driver(&config).unwrap_err().to_string();
        assert!(
            error.starts_with("host of driver_config must be host names"),
            "{error}"
        );
        config = Config::new();
        config.host("h").user("a\0b");
        let error = Options::of_driver(&config).unwrap_err().to_string();
        assert_eq!(error, "user of driver_config must be without a NUL byte");
    }
}

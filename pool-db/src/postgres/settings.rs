//! The settings of a connection, from an address and from libpq's variables.

use std::{net::IpAddr, path::Path, time::Duration};

use pool_core::ConfigError;
use tokio_postgres::config::{Config, Host, TargetSessionAttrs};

use super::tls::{SslMode, Tls};
use crate::{
    address::{bad_address, percent_decoded, without_password},
    environment::Environment,
    error::reason,
};

/// The settings of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) driver: Config,
    pub(super) tls: Tls,
}

impl Settings {
    /// Parses `postgres://user:password@host:port/database?option=value`. `setting` is the setting or variable that the address
    /// came from.
    pub(super) fn parse(setting: &str, url: &str) -> Result<Self, ConfigError> {
        let bad = |why: &str| bad_address(setting, url, format!("{EXPECTED}{why}"));
        if !["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
        {
            return Err(bad(""));
        }
        // The driver ends the password at the same place.
        let credentials = url.find('@').unwrap_or(0);
        let query = url[credentials..].find('?').map(|at| credentials + at);
        let (base, query) = query.map_or((url, ""), |at| (&url[..at], &url[at + 1..]));
        let mut tls = Tls::default();
        // The driver does not know these options, or knows fewer of their values.
        let mut rest = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| bad(""))?;
            let value = || percent_decoded(value).ok_or_else(|| bad(""));
            match key {
                "sslmode" => {
                    let mode = SslMode::parse(&value()?)
                        .ok_or_else(|| bad(&format!(" (sslmode may be {SSL_MODES})")))?;
                    tls.mode = Some(mode);
                }
                "sslrootcert" => tls.root_certificate = Some(value()?.into()),
                "sslcert" => tls.certificate = Some(value()?.into()),
                "sslkey" => tls.key = Some(value()?.into()),
                _ => rest.push(pair),
            }
        }
        let driver = format!("{base}?{}", rest.join("&"))
            .parse()
            .map_err(|error| {
                // If the parts of an address are not in their places, the driver's reason could quote the password.
                let why = if query.contains('@') || without_password(url).is_none() {
                    String::new()
                } else {
                    format!(" ({})", reason(&error))
                };
                bad(&why)
            })?;
        Ok(Self { driver, tls })
    }

    /// Fills the settings that are still open from libpq's variables. Returns whether any of the variables was set.
    pub(super) fn fill(&mut self, environment: &Environment) -> Result<bool, ConfigError> {
        let mut found = false;
        let mut take = |name: &str| {
            let value = environment.var(name).filter(|value| !value.is_empty());
            found |= value.is_some();
            value
        };
        let driver = &mut self.driver;
        let hosts = (take("PGHOST"), take("PGHOSTADDR"));
        if driver.get_hosts().is_empty() && driver.get_hostaddrs().is_empty() {
            for host in list(&hosts.0) {
                driver.host(host);
            }
            for address in list(&hosts.1) {
                driver.hostaddr(address.parse::<IpAddr>().map_err(|_| {
                    ConfigError::new("PGHOSTADDR", address, "IP addresses, separated by commas")
                })?);
            }
        }
        let ports = take("PGPORT");
        if driver.get_ports().is_empty() {
            for port in list(&ports) {
                let number = if port.is_empty() {
                    Ok(DEFAULT_PORT)
                } else {
                    port.parse()
                };
                driver.port(number.map_err(|_| {
                    ConfigError::new(
                        "PGPORT",
                        port,
                        "port numbers up to 65535, separated by commas",
                    )
                })?);
            }
        }
        if let (None, Some(user)) = (driver.get_user(), take("PGUSER")) {
            driver.user(user);
        }
        if let (None, Some(password)) = (driver.get_password(), take("PGPASSWORD")) {
            driver.password(password);
        }
        if let (None, Some(database)) = (driver.get_dbname(), take("PGDATABASE")) {
            driver.dbname(database);
        }
        if let (None, Some(name)) = (driver.get_application_name(), take("PGAPPNAME")) {
            driver.application_name(name);
        }
        if let (None, Some(options)) = (driver.get_options(), take("PGOPTIONS")) {
            driver.options(options);
        }
        if let (None, Some(seconds)) = (driver.get_connect_timeout(), take("PGCONNECT_TIMEOUT")) {
            let number: i64 = seconds.parse().map_err(|_| {
                ConfigError::new(
                    "PGCONNECT_TIMEOUT",
                    &seconds,
                    "seconds as a whole number; 0 or less for none",
                )
            })?;
            if let Some(seconds) = u64::try_from(number).ok().filter(|seconds| *seconds > 0) {
                driver.connect_timeout(Duration::from_secs(seconds));
            }
        }
        if let (TargetSessionAttrs::Any, Some(target)) = (
            driver.get_target_session_attrs(),
            take("PGTARGETSESSIONATTRS"),
        ) {
            driver.target_session_attrs(match target.as_str() {
                "any" => TargetSessionAttrs::Any,
                "read-write" => TargetSessionAttrs::ReadWrite,
                "read-only" => TargetSessionAttrs::ReadOnly,
                _ => {
                    return Err(ConfigError::new(
                        "PGTARGETSESSIONATTRS",
                        target,
                        "any, read-write or read-only",
                    ));
                }
            });
        }
        let tls = &mut self.tls;
        if let (None, Some(mode)) = (tls.mode, take("PGSSLMODE")) {
            tls.mode = Some(
                SslMode::parse(&mode)
                    .ok_or_else(|| ConfigError::new("PGSSLMODE", mode, SSL_MODES))?,
            );
        }
        for (file, name) in [
            (&mut tls.root_certificate, "PGSSLROOTCERT"),
            (&mut tls.certificate, "PGSSLCERT"),
            (&mut tls.key, "PGSSLKEY"),
        ] {
            *file = file.take().or_else(|| Some(take(name)?.into()));
        }
        Ok(found)
    }

    /// Adds libpq's defaults, and checks that the settings do not contradict each other.
    pub(super) fn complete(mut self) -> Result<Self, ConfigError> {
        let Self { driver, tls } = &mut self;
        if driver.get_hosts().is_empty() && driver.get_hostaddrs().is_empty() {
            let port = driver.get_ports().first().copied().unwrap_or(DEFAULT_PORT);
            let has_socket = Path::new(SOCKETS).join(format!(".s.PGSQL.{port}")).exists();
            driver.host(if has_socket { SOCKETS } else { "localhost" });
        }
        if driver.get_hosts().is_empty() {
            // A certificate is verified against a host name. An address can serve as one.
            for address in driver.get_hostaddrs().to_vec() {
                driver.host(address.to_string());
            }
        }
        let hosts = driver.get_hosts().len();
        for (what, count) in [
            ("hostaddr", driver.get_hostaddrs().len()),
            ("port", driver.get_ports().len()),
        ] {
            let fits = count == 0 || count == hosts || (what == "port" && count == 1);
            if !fits {
                return Err(ConfigError::new(
                    what,
                    format!("{count} values"),
                    format!("{hosts}, as many as there are hosts"),
                ));
            }
        }
        // As in libpq, a Unix domain socket is never encrypted.
        let local = driver
            .get_hosts()
            .iter()
            .all(|host| matches!(host, Host::Unix(_)));
        let mode = tls.mode.unwrap_or_default();
        driver.ssl_mode(if local { SslMode::Disable } else { mode }.for_driver());
        Ok(self)
    }

    /// Returns the user, server and database, for error messages.
    pub(super) fn target(&self) -> String {
        let driver = &self.driver;
        let hosts = driver.get_hosts().iter().enumerate().map(|(index, host)| {
            let ports = driver.get_ports();
            let port = ports
                .get(index)
                .or(ports.first())
                .copied()
                .unwrap_or(DEFAULT_PORT);
            match host {
                Host::Tcp(host) => format!("{host}:{port}"),
                Host::Unix(path) => format!("{}:{port}", path.display()),
            }
        });
        let hosts: Vec<_> = hosts.collect();
        let database = driver
            .get_dbname()
            .map(|name| format!("/{name}"))
            .unwrap_or_default();
        let user = driver
            .get_user()
            .map(|user| format!(" as {user}"))
            .unwrap_or_default();
        format!("postgres at {}{database}{user}", hosts.join(","))
    }
}

/// Returns the elements of a list with commas.
fn list(value: &Option<String>) -> impl Iterator<Item = &str> {
    value.iter().flat_map(|value| value.split(','))
}

/// The variables that [`Settings::fill`] reads.
pub(super) const LIBPQ: [&str; 14] = [
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGUSER",
    "PGPASSWORD",
    "PGDATABASE",
    "PGSSLMODE",
    "PGSSLROOTCERT",
    "PGSSLCERT",
    "PGSSLKEY",
    "PGAPPNAME",
    "PGCONNECT_TIMEOUT",
    "PGOPTIONS",
    "PGTARGETSESSIONATTRS",
];
pub(super) const EXPECTED: &str = "`postgres://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE`";
pub(super) const SSL_MODES: &str = "disable, prefer, require, verify-ca or verify-full";
const DEFAULT_PORT: u16 = 5432;
const SOCKETS: &str = "/var/run/postgresql";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio_postgres::config::SslMode as DriverMode;

    fn filled(url: Option<&str>, vars: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let mut settings = url.map_or(Ok(Settings::default()), |url| {
            Settings::parse("DATABASE_URL", url)
        })?;
        settings.fill(&Environment::of(vars).1)?;
        settings.complete()
    }

    #[test]
    fn an_address_says_it_all() {
        let settings = filled(Some("postgres://me:pa%20ss@db.example:5433/shop?sslmode=verify-full&sslrootcert=/ca%20s.pem&application_name=web"), &[]).unwrap();
        assert_eq!(settings.target(), "postgres at db.example:5433/shop as me");
        assert_eq!(settings.driver.get_password(), Some(&b"pa ss"[..]));
        assert_eq!(settings.driver.get_application_name(), Some("web"));
        assert_eq!(settings.driver.get_ssl_mode(), DriverMode::Require);
        assert_eq!(settings.tls.mode, Some(SslMode::VerifyFull));
        assert_eq!(
            settings.tls.root_certificate.unwrap(),
            Path::new("/ca s.pem")
        );
    }

    #[test]
    fn libpqs_variables_fill_what_the_address_leaves_open() {
        let vars = [
            ("PGHOST", "elsewhere"),
            ("PGPORT", "6000"),
            ("PGUSER", "me"),
            ("PGPASSWORD", "secret"),
            ("PGDATABASE", "shop"),
            ("PGAPPNAME", "web"),
            ("PGOPTIONS", "-c geqo=off"),
            ("PGCONNECT_TIMEOUT", "3"),
            ("PGSSLMODE", "require"),
            ("PGSSLROOTCERT", "system"),
        ];
        let settings = filled(None, &vars).unwrap();
        assert_eq!(settings.target(), "postgres at elsewhere:6000/shop as me");
        assert_eq!(settings.driver.get_password(), Some(&b"secret"[..]));
        assert_eq!(settings.driver.get_options(), Some("-c geqo=off"));
        assert_eq!(
            settings.driver.get_connect_timeout(),
            Some(&Duration::from_secs(3))
        );
        assert_eq!(settings.tls.mode, Some(SslMode::Require));

        let settings = filled(Some("postgres://other@here/db?sslmode=disable"), &vars).unwrap();
        assert_eq!(settings.target(), "postgres at here:5432/db as other");
        assert_eq!(settings.tls.mode, Some(SslMode::Disable));
        assert_eq!(settings.driver.get_application_name(), Some("web"));
    }

    #[test]
    fn several_hosts_and_sockets() {
        let settings = filled(
            None,
            &[
                ("PGHOST", "a,/run/pg"),
                ("PGPORT", "1,"),
                ("PGSSLMODE", "require"),
            ],
        )
        .unwrap();
        assert_eq!(settings.target(), "postgres at a:1,/run/pg:5432");
        assert_eq!(settings.driver.get_ssl_mode(), DriverMode::Require);
        let settings = filled(None, &[("PGHOST", "/run/pg"), ("PGSSLMODE", "require")]).unwrap();
        assert_eq!(
            settings.driver.get_ssl_mode(),
            DriverMode::Disable,
            "a socket is never encrypted"
        );
        let settings = filled(
            None,
            &[("PGHOSTADDR", "127.0.0.1"), ("PGCONNECT_TIMEOUT", "0")],
        )
        .unwrap();
        assert_eq!(
            settings.driver.get_hosts(),
            [Host::Tcp("127.0.0.1".to_owned())]
        );
        assert_eq!(settings.driver.get_connect_timeout(), None);
    }

    #[test]
    fn what_is_wrong_is_named_and_no_password_is_shown() {
        for (vars, says) in [
            (
                ("PGPORT", "many"),
                "PGPORT is many, but must be port numbers",
            ),
            (("PGPORT", "1,2"), "port is 2 values, but must be 1"),
            (
                ("PGHOSTADDR", "localhost"),
                "PGHOSTADDR is localhost, but must be IP addresses",
            ),
            (
                ("PGCONNECT_TIMEOUT", "2s"),
                "PGCONNECT_TIMEOUT is 2s, but must be seconds",
            ),
            (
                ("PGSSLMODE", "allow"),
                "PGSSLMODE is allow, but must be disable, prefer, require, verify-ca or verify-full",
            ),
            (
                ("PGTARGETSESSIONATTRS", "primary"),
                "PGTARGETSESSIONATTRS is primary, but must be any",
            ),
        ] {
            let error = filled(None, &[vars]).unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        }
        for (url, says) in [
            (
                "postgres://u:secret@h:port/db",
                "invalid value for option `port`",
            ),
            (
                "postgres://u:secret@h/db?sslmode=maybe",
                "sslmode may be disable",
            ),
            (
                "postgres://u:secret@h/db?pool_max=3",
                "unknown option `pool_max`",
            ),
            ("postgres://u:half@se?cret=1@h/db", "postgres://u:***@h/db"),
            ("mysql://u:secret@h/db", "mysql://u:***@h/db"),
        ] {
            let error = Settings::parse("DATABASE_URL", url)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(says) && error.contains("DATABASE_URL"),
                "{error}"
            );
            assert!(!error.contains("cret"), "{error}");
        }
        let odd = Settings::parse(
            "DATABASE_URL",
            "postgres://u:half?secret=1@h/db?sslmode=require",
        )
        .unwrap();
        assert_eq!(
            (odd.driver.get_password(), odd.tls.mode),
            (Some(&b"half?secret=1"[..]), Some(SslMode::Require))
        );
    }
}

//! The settings of a connection, from an address, the setters and the variables of MySQL's own clients.

use std::{fmt, path::PathBuf};

use mysql_async::{Opts, OptsBuilder};
use pool_core::{ConfigError, FromEnv};

use super::ssl::{File, SslMode, Tls};
use crate::{
    address::{bad_address, scheme, shown, shown_path},
    environment::Environment,
    url,
};

/// What is set so far, by an address or by setters.
#[derive(Clone, Default)]
pub(super) struct Options {
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) socket: Option<PathBuf>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: Option<String>,
    pub(super) ssl_mode: Option<SslMode>,
    pub(super) root_certificate: Option<File>,
    pub(super) client_certificate: Option<File>,
    pub(super) client_key: Option<File>,
    pub(super) statement_cache: Option<usize>,
    pub(super) time_zone: Option<String>,
}

/// All that it takes to connect.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) socket: Option<PathBuf>,
    user: String,
    password: Option<String>,
    pub(super) database: Option<String>,
    pub(super) tls: Tls,
    pub(super) statement_cache: usize,
    pub(super) time_zone: Option<String>,
    pub(super) counts_found_rows: bool,
}

impl Options {
    /// Reads an address. `setting` is where it came from.
    pub(super) fn parse(setting: &str, text: &str) -> Result<Self, ConfigError> {
        let text = text.trim();
        let bad = |why: &str| bad_address(setting, text, format!("{EXPECTED} ({why})"));
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if is_ours(scheme) => rest,
            _ if matches!(scheme(text), Some("mysql" | "mariadb")) => {
                return Err(bad("`://` is missing"));
            }
            _ => return Err(bad_address(setting, text, EXPECTED)),
        };
        let pairs = url::read(rest).map_err(|why| bad(&why))?;
        let mut options = Self::default();
        for (key, value) in pairs {
            let value = String::from_utf8(value)
                .map_err(|_| bad(&format!("the {} is not UTF-8", shown(&key))))?;
            options.take(setting, &key, value)?;
        }
        Ok(options)
    }

    fn take(&mut self, setting: &str, key: &str, value: String) -> Result<(), ConfigError> {
        let name = key.to_ascii_lowercase().replace('_', "-");
        let file = |value: &str| File {
            path: value.into(),
            setting: key.to_owned(),
        };
        match name.as_str() {
            "host" if value.contains(',') => {
                return Err(bad_option(setting, "host", "one host", None));
            }
            "host" => self.host = Some(value),
            "port" => self.port = Some(port("port", &value)?),
            "user" => self.user = Some(value),
            "password" => self.password = Some(value),
            "dbname" => self.database = Some(value),
            "socket" => self.socket = Some(value.into()),
            "ssl-mode" | "sslmode" => {
                let mode = SslMode::from_env(&value);
                let bad = || bad_option(setting, key, SslMode::EXPECTED, Some(&value));
                self.ssl_mode = Some(mode.ok_or_else(bad)?);
            }
            "ssl-ca" => self.root_certificate = Some(file(&value)),
            "ssl-cert" => self.client_certificate = Some(file(&value)),
            "ssl-key" => self.client_key = Some(file(&value)),
            "statement-cache" | "statement-cache-capacity" => {
                let bad = || bad_option(setting, key, "a number", Some(&value));
                self.statement_cache = Some(value.parse().map_err(|_| bad())?);
            }
            "time-zone" | "timezone" => self.time_zone = Some(zone(key, value)?),
            "charset" if value.eq_ignore_ascii_case("utf8mb4") => {}
            "charset" => {
                let expected = "utf8mb4, which connections have";
                return Err(bad_option(setting, key, expected, Some(&value)));
            }
            _ => {
                let expected = format!("left out: the options are {OPTIONS}");
                return Err(bad_option(setting, key, &expected, None));
            }
        }
        Ok(())
    }

    /// Fills what is open from the variables of MySQL's own clients. Returns whether they name a server.
    pub(super) fn fill(&mut self, beside: &Environment) -> Result<bool, ConfigError> {
        let (host, socket) = (beside.var("MYSQL_HOST"), beside.var("MYSQL_UNIX_PORT"));
        let found = host.is_some() || socket.is_some();
        if self.host.is_none() && self.socket.is_none() {
            (self.host, self.socket) = (host, socket.map(PathBuf::from));
        }
        if let (None, Some(text)) = (self.port, beside.var("MYSQL_TCP_PORT")) {
            self.port = Some(port("MYSQL_TCP_PORT", &text)?);
        }
        if self.password.is_none() {
            self.password = beside.var("MYSQL_PWD");
        }
        Ok(found)
    }

    /// What is set in `over` replaces what is set here.
    pub(super) fn overridden_by(self, over: Self) -> Self {
        // A host and a socket exclude each other.
        let (host, socket) = if over.host.is_some() || over.socket.is_some() {
            (over.host, over.socket)
        } else {
            (self.host, self.socket)
        };
        Self {
            host,
            socket,
            port: over.port.or(self.port),
            user: over.user.or(self.user),
            password: over.password.or(self.password),
            database: over.database.or(self.database),
            ssl_mode: over.ssl_mode.or(self.ssl_mode),
            root_certificate: over.root_certificate.or(self.root_certificate),
            client_certificate: over.client_certificate.or(self.client_certificate),
            client_key: over.client_key.or(self.client_key),
            statement_cache: over.statement_cache.or(self.statement_cache),
            time_zone: over.time_zone.or(self.time_zone),
        }
    }

    pub(super) fn names_a_server(&self) -> bool {
        self.host.is_some() || self.socket.is_some()
    }

    /// Checks what is set, reads the files, and adds the defaults.
    pub(super) fn complete(self) -> Result<Settings, ConfigError> {
        let host = self.host.unwrap_or_else(|| "localhost".to_owned());
        if host.is_empty() || host.chars().any(|letter| letter.is_whitespace()) {
            return Err(ConfigError::new(
                "host",
                shown(&host),
                "a name or an address",
            ));
        }
        if self.port == Some(0) {
            return Err(ConfigError::new("port", "0", "from 1 to 65535"));
        }
        let parts = [&self.user, &self.password, &self.database];
        for (name, part) in ["user", "password", "database"].into_iter().zip(parts) {
            if part.as_ref().is_some_and(|text| text.contains('\0')) {
                return Err(ConfigError::secret(
                    name,
                    "a text without the character NUL",
                ));
            }
        }
        let socket = self.socket;
        if socket.as_ref().is_some_and(|path| path.to_str().is_none()) {
            return Err(ConfigError::secret("socket", "a path in Unicode"));
        }
        let time_zone = self.time_zone.map(|text| zone("time_zone", text));
        let tls = Tls::read(
            self.ssl_mode.unwrap_or_default(),
            self.root_certificate.as_ref(),
            self.client_certificate.as_ref(),
            self.client_key.as_ref(),
        )?;
        Ok(Settings {
            host,
            port: self.port.unwrap_or(3306),
            socket,
            user: self.user.unwrap_or_else(|| "root".to_owned()),
            password: self.password,
            database: self.database.filter(|name| !name.is_empty()),
            tls,
            statement_cache: self.statement_cache.unwrap_or(128),
            time_zone: time_zone.transpose()?,
            counts_found_rows: false,
        })
    }
}

impl Settings {
    /// The name of the server in error messages.
    pub(super) fn target(&self) -> String {
        let server = match &self.socket {
            Some(path) => shown_path(path),
            None => format!("{}:{}", shown(&self.host), self.port),
        };
        let database = self
            .database
            .as_ref()
            .map_or(String::new(), |name| format!("/{}", shown(name)));
        format!("mysql at {server}{database} as {}", shown(&self.user))
    }

    /// The driver's options. `encrypted` is whether TLS is tried where the mode leaves that open.
    pub(super) fn driver(&self, encrypted: bool, tls_name: Option<&str>) -> Opts {
        let tls = self
            .tls
            .options(tls_name)
            .filter(|_| encrypted && self.socket.is_none());
        let socket = self.socket.as_ref().and_then(|path| path.to_str());
        OptsBuilder::default()
            .ip_or_hostname(self.host.clone())
            .tcp_port(self.port)
            .socket(socket)
            // The driver would leave the address for whatever socket the server names.
            .prefer_socket(false)
            .user(Some(self.user.clone()))
            .pass(self.password.clone())
            .db_name(self.database.clone())
            .ssl_opts(tls)
            .stmt_cache_size(self.statement_cache)
            .client_found_rows(self.counts_found_rows)
            // It is only for the driver's own pool.
            .wait_timeout(Some(28_800))
            .into()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("host", &self.host.as_deref().map(shown))
            .field("port", &self.port)
            .field("socket", &self.socket.as_deref().map(shown_path))
            .field("user", &self.user.as_deref().map(shown))
            .field("has_password", &self.password.is_some())
            .field("database", &self.database.as_deref().map(shown))
            .field("ssl_mode", &self.ssl_mode)
            .field("root_certificate", &self.root_certificate)
            .field("client_certificate", &self.client_certificate)
            .field("client_key", &self.client_key)
            .field("statement_cache", &self.statement_cache)
            .field("time_zone", &self.time_zone)
            .finish()
    }
}

fn is_ours(scheme: &str) -> bool {
    ["mysql", "mariadb"]
        .iter()
        .any(|ours| ours.eq_ignore_ascii_case(scheme))
}

fn bad_option(setting: &str, key: &str, expected: &str, value: Option<&str>) -> ConfigError {
    let name = format!("option {} of {setting}", shown(key));
    match value {
        Some(value) => ConfigError::new(name, shown(value), expected),
        None => ConfigError::secret(name, expected),
    }
}

fn port(setting: &str, text: &str) -> Result<u16, ConfigError> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| ConfigError::new(setting, shown(text), "from 1 to 65535"))
}

/// A time zone goes into a statement, so it must look like one.
fn zone(setting: &str, text: String) -> Result<String, ConfigError> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_-+:/".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        return Ok(text);
    }
    let expected =
        "an offset such as +00:00, or a name that the server knows, such as Europe/Berlin";
    Err(ConfigError::new(setting, shown(&text), expected))
}

/// What an address looks like.
pub(super) const EXPECTED: &str = "`mysql://USER:PASSWORD@HOST:PORT/DATABASE`";
/// The variables of MySQL's own clients.
pub(super) const VARIABLES: [&str; 4] = [
    "MYSQL_HOST",
    "MYSQL_TCP_PORT",
    "MYSQL_UNIX_PORT",
    "MYSQL_PWD",
];
const OPTIONS: &str =
    "ssl-mode, ssl-ca, ssl-cert, ssl-key, socket, statement-cache, time-zone and charset";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{super::Builder, *};

    fn built(vars: &[(&str, &str)]) -> Result<super::super::Pool, ConfigError> {
        let (env, beside) = Environment::of(vars);
        Builder::new().apply(env, beside)?.build()
    }

    fn says(vars: &[(&str, &str)]) -> String {
        let error = built(vars).unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(!said.contains("secret"), "{said}");
        error.to_string()
    }

    #[test]
    fn an_address_says_where_and_how() {
        for (url, target) in [
            ("mysql://h", "mysql at h:3306 as root"),
            ("MARIADB://me:se%2Fcret@h:1/shop", "mysql at h:1/shop as me"),
            (
                "mysql://me@[::1]:7/d%20b?ssl-mode=REQUIRED",
                "mysql at ::1:7/a text of 3 characters as me",
            ),
            ("mysql://me@h/db?socket=/run/s", "mysql at /run/s/db as me"),
            (
                "mysql:///db?charset=utf8mb4&timezone=%2B00:00&statement-cache-capacity=7",
                "mysql at localhost:3306/db as root",
            ),
        ] {
            let pool = built(&[("DATABASE_URL", url)]).unwrap();
            assert_eq!(pool.manager().target, target, "{url}");
            assert!(!format!("{pool:?} {:?}", pool.manager()).contains("cret"));
        }
        let pool = built(&[
            ("MYSQL_HOST", "db.example"),
            ("MYSQL_TCP_PORT", "9"),
            ("MYSQL_PWD", "topsecret"),
        ]);
        assert_eq!(
            pool.unwrap().manager().target,
            "mysql at db.example:9 as root"
        );
        let pool = built(&[
            ("DATABASE_URL", "mysql://h:5/db"),
            ("MYSQL_HOST", "other"),
            ("MYSQL_TCP_PORT", "9"),
        ]);
        assert_eq!(pool.unwrap().manager().target, "mysql at h:5/db as root");
        let set = Builder::new()
            .url("mysql://me:secret@h:5/db?socket=/run/s")
            .host("other")
            .port(6)
            .user("you")
            .password("topsecret")
            .database("shop");
        assert!(!format!("{set:?}").contains("secret"));
        assert_eq!(
            set.clone().build().unwrap().manager().target,
            "mysql at other:6/shop as you"
        );
        assert_eq!(
            set.socket("/s").build().unwrap().manager().target,
            "mysql at /s/shop as you"
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_what_it_may_be_and_no_password_is_shown() {
        let url = ("DATABASE_URL", "mysql://me:secret@h/db");
        for (vars, expected) in [
            (vec![], "url must be set, as DATABASE_URL or MYSQL_HOST"),
            (
                vec![("DATABASE_URL", "postgres://h/db")],
                "DATABASE_URL is an address of 15 characters that begins with `postgres:`, but must be `mysql://",
            ),
            (
                vec![("DATABASE_URL", "mysql:h/topsecret")],
                "DATABASE_URL is an address of 17 characters that begins with `mysql:`, but must be `mysql://USER:PASSWORD@HOST:PORT/DATABASE` (`://` is missing)",
            ),
            (
                vec![("POOL_DB_URL", "host=h user=me password=topsecret")],
                "POOL_DB_URL is a text of 33 characters",
            ),
            (
                vec![("POOL_DB_URL", "Server=h;Uid=me;Pwd=topsecret;")],
                "POOL_DB_URL is a text of 30 characters",
            ),
            (
                vec![("DATABASE_URL", "jdbc:mysql://h/db?password=topsecret")],
                "DATABASE_URL is an address of 36 characters that begins with `jdbc:`",
            ),
            (
                vec![("DATABASE_URL", "mysql://me:topsecret/db")],
                "DATABASE_URL is an address of 23",
            ),
            (
                vec![("DATABASE_URL", "mysql://a:1,b:2/db")],
                "option host of DATABASE_URL must be one host",
            ),
            (
                vec![("DATABASE_URL", "mysql://h:0/db")],
                "port is 0, but must be from 1 to 65535",
            ),
            (
                vec![("DATABASE_URL", "mysql://h:99999/db")],
                "port is 99999, but must be from 1",
            ),
            (
                vec![("DATABASE_URL", "mysql://h/db?ssl-mode=perhaps")],
                "option ssl-mode of DATABASE_URL is perhaps, but must be disabled, ",
            ),
            (
                vec![("DATABASE_URL", "mysql://h/db?charset=latin1")],
                "option charset of DATABASE_URL is latin1, but must be utf8mb4",
            ),
            (
                vec![("DATABASE_URL", "mysql://h/db?time-zone='")],
                "time-zone is a text of 1 characters, but must be an offset",
            ),
            (
                vec![("DATABASE_URL", "mysql://h/db?pool_max=3&x=topsecret")],
                "option pool_max of DATABASE_URL must be left out: the options are ssl-mode",
            ),
            (
                vec![("DATABASE_URL", "mysql://h/db?ssl-ca=/nowhere")],
                "ssl-ca is /nowhere, but must be a PEM file with certificates",
            ),
            (
                vec![url, ("POOL_DB_TIME_ZONE", "'; DROP TABLE t")],
                "POOL_DB_TIME_ZONE is a text of 15 characters, but must be an offset",
            ),
            (
                vec![url, ("POOL_DB_SSL_MODE", "sometimes")],
                "POOL_DB_SSL_MODE is \"sometimes\", but must be disabled, preferred",
            ),
            (
                vec![url, ("POOL_DB_ROOT_CERTIFICATE", "/nowhere")],
                "POOL_DB_ROOT_CERTIFICATE is /nowhere, but must be a PEM file",
            ),
            (
                vec![url, ("POOL_DB_CLIENT_KEY", "/nowhere")],
                "client_certificate must be set",
            ),
            (
                vec![url, ("POOL_DB_RESET", "discard-all")],
                "POOL_DB_RESET is \"discard-all\", but must be always, seen or nothing",
            ),
            (vec![url, ("POOL_DB_MAXSIZE", "3")], "POOL_DB_MAXSIZE"),
            (
                vec![("MYSQL_HOST", "h"), ("MYSQL_TCP_PORT", "tcp")],
                "MYSQL_TCP_PORT is tcp, but must be from 1",
            ),
        ] {
            let said = says(&vars);
            assert!(said.starts_with(expected), "{said}");
        }
        let odd = Builder::new().host("a b").build().unwrap_err().to_string();
        assert!(odd.starts_with("host is a text of 3 characters"), "{odd}");
        let odd = Builder::new()
            .host("h")
            .password("top\0secret")
            .build()
            .unwrap_err()
            .to_string();
        assert_eq!(odd, "password must be a text without the character NUL");
        let late = Builder::new()
            .url("mysql://h")
            .query_timeout(std::time::Duration::ZERO)
            .build();
        assert!(
            late.unwrap_err()
                .to_string()
                .starts_with("query_timeout is 0")
        );
    }

    #[test]
    fn the_modes_of_tls_have_the_words_of_mysql_and_of_postgresql() {
        for (text, mode) in [
            ("DISABLED", SslMode::Disable),
            ("preferred", SslMode::Prefer),
            ("require", SslMode::Require),
            ("VERIFY_CA", SslMode::VerifyCa),
            ("verify-full", SslMode::VerifyFull),
            ("VERIFY_IDENTITY", SslMode::VerifyFull),
        ] {
            assert_eq!(SslMode::from_env(text), Some(mode));
        }
        assert_eq!(SslMode::from_env("on"), None);
    }
}

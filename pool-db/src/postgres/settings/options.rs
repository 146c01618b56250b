//! The options that are set so far, as text, with where each came from.
//!
//! An address, a service, the environment and the driver's own config all set the same options. So all of them end here, and one
//! place reads the texts: see [`Settings`](super::Settings).

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use pool_core::ConfigError;

use super::{
    EXPECTED, keywords,
    known::{Kind, Known, OPTIONS, known, unknown},
};
use crate::{
    address::{bad_address, scheme, shown, shown_path},
    environment::Environment,
    postgres::service::{Entry, Places},
    url,
};

/// The options that are set so far.
#[derive(Clone, Default)]
pub(in crate::postgres) struct Options {
    given: BTreeMap<&'static str, Given>,
    /// The home directory, if the environment was read. Only then are libpq's files there looked at.
    pub(super) home: Option<PathBuf>,
    /// The trusted roots that the builder sets, in place of `sslrootcert`.
    pub(super) root_certificate: Option<PathBuf>,
}

/// The value of an option. It may be a password.
#[derive(Clone)]
pub(super) struct Given {
    /// UTF-8 for every option but `password`.
    value: Vec<u8>,
    source: Source,
}

/// Where a value came from.
#[derive(Clone)]
pub(super) enum Source {
    /// An address, or the driver's config: the setting or variable that has it.
    Part(String),
    /// A variable of libpq.
    Variable(&'static str),
    /// A line of a service file.
    Line(PathBuf, usize),
    /// A setting of the builder.
    Setting(&'static str),
}

impl Options {
    /// Reads an address: `postgres://user:password@host:port/database?option=value`, or libpq's `host=h user=u`. `setting` is the
    /// setting or variable that the address came from.
    ///
    /// # Errors
    /// The address is malformed, or an option is unknown or has an invalid value. No part of a malformed address is shown.
    pub(in crate::postgres) fn parse(setting: &str, address: &str) -> Result<Self, ConfigError> {
        let bad = |why: &str| bad_address(setting, address, format!("{EXPECTED} ({why})"));
        let trimmed = address.trim();
        let pairs = match after_scheme(trimmed) {
            Some(rest) => url::read(rest),
            None => match not_postgres(trimmed) {
                Some(why) => Err(why),
                None => keywords::read(trimmed),
            },
        };
        let mut options = Self::default();
        for (key, value) in pairs.map_err(|why| bad(&why))? {
            let known = known(&key).ok_or_else(|| bad(&unknown(&key)))?;
            options.set(known, value, Source::Part(setting.to_owned()))?;
        }
        Ok(options)
    }

    /// Sets an option unless it is set already, after a check. An empty value is as good as none.
    fn set_if_open(
        &mut self,
        known: &'static Known,
        value: Vec<u8>,
        source: Source,
    ) -> Result<(), ConfigError> {
        if self.given.contains_key(known.name) {
            return Ok(());
        }
        self.set(known, value, source)
    }

    fn set(
        &mut self,
        known: &'static Known,
        value: Vec<u8>,
        source: Source,
    ) -> Result<(), ConfigError> {
        if value.is_empty() {
            self.given.remove(known.name);
            return Ok(());
        }
        let given = Given { value, source };
        let expected = match std::str::from_utf8(&given.value) {
            _ if given.value.contains(&0) => Some("without a NUL byte".to_owned()),
            Ok(text) => known.kind.refuses(text),
            Err(_) if matches!(known.kind, Kind::Secret) => None,
            Err(_) => Some("UTF-8".to_owned()),
        };
        if let Some(expected) = expected {
            return Err(given.wrong(known.name, &expected));
        }
        self.given.insert(known.name, given);
        Ok(())
    }

    /// Sets an option from code, in place of what was set before. The value must be a valid one.
    ///
    /// # Errors
    /// The value is invalid.
    pub(in crate::postgres) fn override_with(
        &mut self,
        setting: &'static str,
        option: &str,
        value: &str,
    ) -> Result<(), ConfigError> {
        match known(option) {
            Some(known) => self.set(known, value.into(), Source::Setting(setting)),
            None => Err(ConfigError::secret(setting, unknown(option))),
        }
    }

    /// Sets an option of the driver's config.
    pub(super) fn set_part(
        &mut self,
        setting: &str,
        option: &str,
        value: impl Into<Vec<u8>>,
    ) -> Result<(), ConfigError> {
        match known(option) {
            Some(known) => self.set(known, value.into(), Source::Part(setting.to_owned())),
            None => Err(ConfigError::secret(setting, unknown(option))),
        }
    }

    /// Sets the trusted roots from code, in place of `sslrootcert`.
    pub(in crate::postgres) fn override_roots(&mut self, file: PathBuf) {
        self.root_certificate = Some(file);
    }

    /// Fills the options that are still open from the service, and then from libpq's variables. Returns whether any of these
    /// variables was set.
    ///
    /// # Errors
    /// The service is unknown or malformed, or a variable has an invalid value.
    pub(in crate::postgres) fn fill(
        &mut self,
        environment: &Environment,
    ) -> Result<bool, ConfigError> {
        self.home = environment.home().map(Path::to_owned);
        self.fill_from_service(environment)?;
        // A host of the address must not be replaced by an address of the environment. In libpq it is.
        let has_host = self.given.contains_key("host") || self.given.contains_key("hostaddr");
        let mut found = false;
        for known in OPTIONS {
            let Some(variable) = known.variable else {
                continue;
            };
            let value = environment.var(variable).filter(|value| !value.is_empty());
            let Some(value) = value else { continue };
            match known.name {
                // Looked up above.
                "service" => found = true,
                "servicefile" => {}
                "host" | "hostaddr" if has_host => found = true,
                name => {
                    found |= name != "passfile";
                    self.set_if_open(known, value.into_bytes(), Source::Variable(variable))?;
                }
            }
        }
        Ok(found)
    }

    /// Fills the options that are still open from the service that an address or `PGSERVICE` names.
    pub(super) fn fill_from_service(
        &mut self,
        environment: &Environment,
    ) -> Result<(), ConfigError> {
        let variable = |name: &'static str| {
            let value = environment.var(name).filter(|value| !value.is_empty())?;
            Some((name.to_owned(), value))
        };
        let own = |option: &str| {
            let given = self.given.get(option)?;
            Some((given.source.name(option), given.text().to_owned()))
        };
        let Some((setting, service)) = own("service").or_else(|| variable("PGSERVICE")) else {
            return Ok(());
        };
        let named = own("servicefile").or_else(|| variable("PGSERVICEFILE"));
        let places = Places {
            named: named.map(|(setting, path)| (setting, path.into())),
            own: environment.home().map(|home| home.join(".pg_service.conf")),
            system: match variable("PGSYSCONFDIR") {
                Some((_, directory)) => vec![directory.into()],
                None => SYSTEM.map(PathBuf::from).to_vec(),
            },
        };
        let entries = places.find(&setting, &service)?;
        // The service has been looked up, and is not looked up again when the settings are completed.
        self.given.remove("service");
        self.given.remove("servicefile");
        let has_host = self.given.contains_key("host") || self.given.contains_key("hostaddr");
        let mut from_service = Self::default();
        for Entry {
            file,
            line,
            key,
            value,
        } in entries
        {
            let known = known(&key).filter(|known| !known.name.starts_with("service"));
            let Some(known) = known else {
                let why = match &*key {
                    "service" | "servicefile" => "a service cannot name another".to_owned(),
                    key => unknown(key),
                };
                let at = format!("line {line} of {}", shown_path(&file));
                return Err(ConfigError::secret(
                    at,
                    format!("an option of libpq ({why})"),
                ));
            };
            from_service.set(known, value.into_bytes(), Source::Line(file, line))?;
        }
        for (name, given) in from_service.given {
            if !(has_host && matches!(name, "host" | "hostaddr")) {
                self.given.entry(name).or_insert(given);
            }
        }
        Ok(())
    }

    /// Whether a service is named that was not looked up.
    pub(super) fn has_service(&self) -> bool {
        self.given.contains_key("service")
    }

    /// Returns the text of an option.
    pub(super) fn text(&self, option: &str) -> Option<&str> {
        Some(self.given.get(option)?.text())
    }

    pub(super) fn bytes(&self, option: &str) -> Option<&[u8]> {
        Some(&self.given.get(option)?.value)
    }

    /// Parses the text of an option. `None` if it is not set: an invalid text was refused when it was set.
    pub(super) fn read<T>(&self, option: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        parse(self.text(option)?)
    }

    /// Returns the name of the setting, variable or line that the option came from.
    pub(super) fn source(&self, option: &str) -> String {
        let given = self.given.get(option);
        given.map_or_else(|| option.to_owned(), |given| given.source.name(option))
    }

    /// The error for a value that is right by itself, but does not fit the other options.
    pub(super) fn wrong(&self, option: &str, expected: &str) -> ConfigError {
        match self.given.get(option) {
            Some(given) => given.wrong(option, expected),
            None => ConfigError::secret(option, expected),
        }
    }
}

/// Shows which options are set, and the values of none but host, port and database: others may be secrets.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut options = f.debug_map();
        for (name, given) in &self.given {
            match *name {
                "host" | "hostaddr" | "port" | "dbname" | "sslmode" | "target_session_attrs" => {
                    options.entry(name, &shown(given.text()))
                }
                name => options.entry(&name, &format_args!("***")),
            };
        }
        options.finish()
    }
}

impl Given {
    /// Only a password need not be UTF-8, and a password is read as bytes.
    fn text(&self) -> &str {
        std::str::from_utf8(&self.value).unwrap_or_default()
    }

    /// The value is shown only if it stands by itself in a variable, and looks like a name.
    fn wrong(&self, option: &str, expected: &str) -> ConfigError {
        let setting = self.source.name(option);
        match self.source {
            Source::Variable(_) | Source::Setting(_) if !SECRET.contains(&option) => {
                ConfigError::new(setting, shown(self.text()), expected)
            }
            _ => ConfigError::secret(setting, expected),
        }
    }
}

impl Source {
    fn name(&self, option: &str) -> String {
        match self {
            Self::Part(setting) => format!("{option} of {setting}"),
            Self::Variable(variable) => (*variable).to_owned(),
            Self::Line(file, line) => format!("{option} in line {line} of {}", shown_path(file)),
            Self::Setting(setting) => (*setting).to_owned(),
        }
    }
}

fn after_scheme(address: &str) -> Option<&str> {
    ["postgres://", "postgresql://"]
        .into_iter()
        .find_map(|scheme| {
            let (start, rest) = address.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        })
}

/// Says why the address is none of PostgreSQL, if that is plain from how it begins.
fn not_postgres(address: &str) -> Option<String> {
    if address.is_empty() {
        return Some("it is empty".to_owned());
    }
    if address.starts_with(['"', '\'', '`']) {
        return Some("it stands in quotes; leave them out".to_owned());
    }
    if let Some(scheme) = scheme(address) {
        return Some(match scheme {
            "postgres" | "postgresql" => format!("`//` is missing after `{scheme}:`"),
            "jdbc" => "leave `jdbc:` out, and write user and password before the host".to_owned(),
            scheme => format!("`{scheme}:` is no address of PostgreSQL"),
        });
    }
    let (scheme, _) = address.split_once("://")?;
    if let Some((first, _)) = scheme.split_once('+')
        && ["postgres", "postgresql"].contains(&first)
    {
        return Some(format!("leave out the name of a driver after `{first}+`"));
    }
    let is_scheme = scheme
        .bytes()
        .all(|letter| letter.is_ascii_alphanumeric() || b"+-.".contains(&letter));
    is_scheme.then(|| "it is a URL with another scheme".to_owned())
}

/// Options whose values are never shown.
const SECRET: [&str; 5] = [
    "password",
    "sslpassword",
    "scram_client_key",
    "scram_server_key",
    "oauth_client_secret",
];
/// The directories of the system-wide service file: Debian's, and that of PostgreSQL from source.
const SYSTEM: [&str; 2] = ["/etc/postgresql-common", "/usr/local/pgsql/etc"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_wrong_with_a_variable_is_named_with_its_value() {
        for (vars, says) in [
            (
                ("PGPORT", "many"),
                "PGPORT is many, but must be port numbers",
            ),
            (
                ("PGHOSTADDR", "localhost"),
                "PGHOSTADDR is localhost, but must be IP addresses",
            ),
            (
                ("PGHOST", "h;password=topsecret"),
                "PGHOST is a text of 20 characters, but must be host names",
            ),
            (
                ("PGCONNECT_TIMEOUT", "2s"),
                "PGCONNECT_TIMEOUT is 2s, but must be seconds",
            ),
            (
                ("PGSSLMODE", "sometimes"),
                "PGSSLMODE is sometimes, but must be disable, allow, prefer, require, verify-ca or verify-full",
            ),
            (
                ("PGTARGETSESSIONATTRS", "master"),
                "PGTARGETSESSIONATTRS is master, but must be any, read-write, read-only, primary, standby or prefer-standby",
            ),
            (
                ("PGSSLNEGOTIATION", "x"),
                "PGSSLNEGOTIATION is x, but must be postgres or direct",
            ),
            (
                ("PGCHANNELBINDING", "x"),
                "PGCHANNELBINDING is x, but must be disable, prefer or require",
            ),
            (
                ("PGSSLCRL", "/crl"),
                "PGSSLCRL is /crl, but must be left out: revocation lists are not supported",
            ),
            (
                ("PGGSSENCMODE", "require"),
                "PGGSSENCMODE is require, but must be disable, prefer or left out: GSSAPI",
            ),
            (
                ("PGPASSWORD", "top\0secret"),
                "PGPASSWORD must be without a NUL byte",
            ),
        ] {
            let error = Options::default()
                .fill(&Environment::of(&[vars]).1)
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(says), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_with_an_address_is_named_and_the_address_is_not_shown() {
        for (address, says) in [
            (
                "",
                "DATABASE_URL is empty, but must be `postgres://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE` or libpq's",
            ),
            (
                "postgres://u:topsecret@h:port/db",
                "the port of host 1 is not a number",
            ),
            (
                "postgres://u:topsecret@h:0/db",
                "port of DATABASE_URL must be port numbers from 1 to 65535",
            ),
            (
                "postgres://u:topsecret@h/db?sslmode=maybe",
                "sslmode of DATABASE_URL must be disable, allow",
            ),
            (
                "postgres://u:topsecret@h/db?pool_max=3",
                "the option `pool_max` is unknown; write max_size",
            ),
            (
                "postgres://u:topsecret@h/db?sslpassword=topsecret",
                "sslpassword of DATABASE_URL must be left out: encrypted keys",
            ),
            (
                "postgres://u:topsecret@h/db?sslcrl=/crl",
                "sslcrl of DATABASE_URL must be left out: revocation lists",
            ),
            (
                "postgres://h/db?passwd=topsecret",
                "the option `passwd` is unknown; write password",
            ),
            (
                "postgres://h/db?topsecret=1",
                "an option with a name of 9 characters is unknown, and not shown",
            ),
            (
                "mysql://u:topsecret@h/db",
                "begins with `mysql:`, but must be",
            ),
            (
                "postgres:u:topsecret@h",
                "`//` is missing after `postgres:`",
            ),
            (
                "jdbc:postgresql://h/db?password=topsecret",
                "leave `jdbc:` out",
            ),
            (
                "postgresql+asyncpg://u:topsecret@h/db",
                "leave out the name of a driver after `postgresql+`",
            ),
            ("topsecret://h", "it is a URL with another scheme"),
            ("'postgres://u:topsecret@h'", "it stands in quotes"),
            ("topsecret", "it is neither a URL nor a list"),
            ("u:topsecret@h", "it is neither a URL nor a list"),
            ("PASSWORD=topsecret host=h", "did you mean `password`?"),
            (
                "Host=h;Password=topsecret",
                "write it as `host=HOST user=USER",
            ),
            (
                "host=h password=topsecret sslmode=x://y",
                "sslmode of DATABASE_URL must be disable",
            ),
            (
                "postgres://u@h/%ff?password=topsecret",
                "dbname of DATABASE_URL must be UTF-8",
            ),
        ] {
            let error = Options::parse("DATABASE_URL", address)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(says) && error.contains("DATABASE_URL"),
                "{address}: {error}"
            );
            assert!(!error.contains("topsecret"), "{error}");
        }
    }

    #[test]
    fn blanks_around_an_address_and_the_case_of_its_scheme_do_not_matter() {
        for address in [
            "postgres://h/db\n",
            " POSTGRESQL://h/db",
            "host=h dbname=db\n",
        ] {
            let options = Options::parse("url", address).unwrap();
            assert_eq!(
                (options.text("host"), options.text("dbname")),
                (Some("h"), Some("db"))
            );
        }
    }

    #[test]
    fn debug_shows_what_is_set_and_no_secret() {
        let address = "postgres://topsecret:topsecret@h:5/db?options=topsecret&passfile=/topsecret&sslmode=require";
        let shown = format!("{:?}", Options::parse("url", address).unwrap());
        assert_eq!(
            shown,
            r#"{"dbname": "db", "host": "h", "options": ***, "passfile": ***, "password": ***, "port": "5", "sslmode": "require", "user": ***}"#
        );
    }
}

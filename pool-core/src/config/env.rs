//! The sources of settings: the environment, which is read once and whose names are all checked, or a map of any serde format.

use std::{borrow::Cow, collections::BTreeMap, fmt, time::Duration};

use super::{ConfigError, names};

/// The environment variables under one prefix.
///
/// Each setting is taken by its name. A variable that is left in the end names no setting; [`finish`](Self::finish) returns an
/// error that names the nearest setting, so no typo goes unnoticed. A prefix must not be the beginning of the names under another
/// prefix (`POOL_DB` and `POOL_DB_REPLICA` conflict; use `REPLICA_DB`). Variables that Kubernetes sets for a Service of the same
/// name (`ORDERS_DB_SERVICE_HOST`, `ORDERS_DB_PORT=tcp://..`, `ORDERS_DB_PORT_5432_TCP_ADDR`) are ignored.
///
/// ```
/// use std::time::Duration;
/// use pool_core::{Config, Env};
///
/// let vars = [("POOL_DB_URL", "sqlite:a.db"), ("POOL_DB_ACQUIRE_TIMEOUT", "2s"), ("HOME", "/")];
/// let mut env = Env::from_vars("POOL_DB", vars);
/// let url: Option<String> = env.take("URL")?;
/// let mut config = Config::new();
/// config.apply_env(&mut env)?;
/// env.finish()?;
/// assert_eq!(url.as_deref(), Some("sqlite:a.db"));
/// assert_eq!(config.get_acquire_timeout(), Duration::from_secs(2));
/// # Ok::<(), pool_core::ConfigError>(())
/// ```
///
/// With the feature `serde`, an `Env` can also be deserialized from a map of any self-describing format (TOML, JSON, YAML). The
/// keys are the names of settings in lower case. The values are the same texts as in the environment, or numbers and booleans. So a
/// type that reads the environment with [`apply_env`](crate::Config::apply_env) reads such a flat map in the same way, with the
/// same texts and the same errors.
#[derive(Clone)]
pub struct Env {
    /// `None` for a map, whose names are in lower case.
    prefix: Option<String>,
    left: BTreeMap<String, Value>,
    known: Vec<String>,
    /// The names of settings that were set and taken.
    taken: Vec<String>,
}

/// The value of one variable or map entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    /// `null`, in formats that have it: it stands for "none".
    Null,
}

/// A type whose values an environment variable can hold.
pub trait FromEnv: Sized {
    /// Describes the valid values, as the text that follows "must be": `a whole number`.
    const EXPECTED: &'static str;

    /// Parses `text`; `None` if it is not a valid value.
    fn from_env(text: &str) -> Option<Self>;

    /// The value that `null` stands for when settings are read with serde. For a setting that can be switched off, this is `off`.
    /// Default: `null` is not a valid value.
    fn from_null() -> Option<Self> {
        None
    }
}

impl Env {
    /// Reads the environment of the process.
    ///
    /// # Errors
    /// A variable under the prefix is not Unicode.
    pub fn read(prefix: &str) -> Result<Self, ConfigError> {
        let mut vars = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| suffix(prefix, name).is_some()) else {
                continue;
            };
            match value.into_string() {
                Ok(value) => vars.push((name.to_owned(), value)),
                Err(_) => return Err(ConfigError::secret(name, "Unicode text")),
            }
        }
        Ok(Self::from_vars(prefix, vars))
    }

    /// Takes those of `vars` that are under the prefix.
    pub fn from_vars<N, V>(prefix: &str, vars: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: AsRef<str>,
        V: Into<String>,
    {
        let under =
            |(name, value): (N, V)| Some((suffix(prefix, name.as_ref())?.to_owned(), value.into()));
        let vars = vars.into_iter().filter_map(under);
        let ours = vars.filter(|(name, value)| !names::is_of_a_service(name, value));
        let left = ours.map(|(name, value)| (name, Value::Text(value)));
        Self {
            prefix: Some(prefix.to_owned()),
            left: left.collect(),
            known: Vec::new(),
            taken: Vec::new(),
        }
    }

    /// Takes the entries of a map, whose names are settings in lower case.
    #[cfg(feature = "serde")]
    pub(super) fn from_map(entries: impl IntoIterator<Item = (String, Value)>) -> Self {
        let upper = |(name, value): (String, Value)| (name.to_uppercase(), value);
        Self {
            prefix: None,
            left: entries.into_iter().map(upper).collect(),
            known: Vec::new(),
            taken: Vec::new(),
        }
    }

    /// Returns the full name of a variable: prefix, underscore, `name`. For a map, returns the name in lower case.
    pub fn name_of(&self, name: &str) -> String {
        match &self.prefix {
            Some(prefix) => format!("{prefix}_{name}"),
            None => name.to_lowercase(),
        }
    }

    /// Returns a name for the pool that this prefix configures: the prefix in lower case, without a leading `pool_`. `None` for a
    /// map.
    ///
    /// ```
    /// use pool_core::Env;
    ///
    /// let none: [(&str, &str); 0] = [];
    /// assert_eq!(Env::from_vars("ORDERS_DB", none).default_name().as_deref(), Some("orders_db"));
    /// assert_eq!(Env::from_vars("POOL_DB", none).default_name().as_deref(), Some("db"));
    /// ```
    pub fn default_name(&self) -> Option<String> {
        let name = self.prefix.as_ref()?.to_lowercase();
        let short = name.strip_prefix("pool_").filter(|rest| !rest.is_empty());
        Some(short.map_or(name.clone(), str::to_owned))
    }

    /// Takes the variable `{prefix}_{name}`. Returns `None` if it is not set.
    ///
    /// # Errors
    /// The value is not a valid `T`.
    pub fn take<T: FromEnv>(&mut self, name: &str) -> Result<Option<T>, ConfigError> {
        if self.left.get(name) == Some(&Value::Null)
            && let Some(value) = T::from_null()
        {
            self.left.remove(name);
            self.known.push(name.to_owned());
            self.taken.push(name.to_owned());
            return Ok(Some(value));
        }
        self.take_with(name, T::EXPECTED, T::from_env)
    }

    /// Takes the variable `{prefix}_{name}` and parses it with `parse`; `expected` describes the valid values.
    ///
    /// # Errors
    /// The parser returned `None`.
    pub fn take_with<T>(
        &mut self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        self.known.push(name.to_owned());
        let Some(value) = self.left.remove(name) else {
            return Ok(None);
        };
        self.taken.push(name.to_owned());
        let (parsed, shown) = match &value {
            Value::Text(text) => (parse(text.trim()), Cow::Owned(format!("{text:?}"))),
            Value::Null => (None, Cow::Borrowed("null")),
        };
        match parsed {
            Some(value) => Ok(Some(value)),
            None => Err(ConfigError::new(self.name_of(name), shown, expected)),
        }
    }

    /// Takes the variable `{prefix}_{name}` if it is `word`. For the crates of this workspace.
    #[doc(hidden)]
    pub fn __take_word(&mut self, name: &str, word: &str) -> bool {
        let is_it = matches!(self.left.get(name), Some(Value::Text(text)) if text.trim() == word);
        if is_it {
            self.left.remove(name);
            self.taken.push(name.to_owned());
        }
        is_it
    }

    /// If an error names a setting that was read from a variable, changes the error to name the variable. For checks that run after
    /// the settings were read.
    pub fn blame(&self, error: ConfigError) -> ConfigError {
        let variable = error.setting().to_uppercase();
        if !self.taken.contains(&variable) {
            return error;
        }
        error.renamed(self.name_of(&variable))
    }

    /// Checks that no variable is left that names no setting.
    ///
    /// # Errors
    /// A variable under the prefix was never taken. The error names the nearest setting, or all settings if none is near. It does
    /// not show the value, which may be a secret.
    pub fn finish(&self) -> Result<(), ConfigError> {
        let Some(name) = self.left.keys().next() else {
            return Ok(());
        };
        let near = names::near(name, &self.known);
        let whole = |names: &[&str]| {
            let names = names.iter().map(|name| self.name_of(name));
            names.collect::<Vec<_>>().join(", ")
        };
        let hint = if near.is_empty() {
            let mut known: Vec<_> = self.known.iter().map(String::as_str).collect();
            known.sort_unstable();
            known.dedup();
            format!("those that exist: {}", whole(&known))
        } else {
            format!("did you mean {}?", whole(&near))
        };
        Err(ConfigError::secret(
            self.name_of(name),
            format!("left out: no setting has this name; {hint}"),
        ))
    }
}

/// Shows the names only: the values may be secrets.
impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |names: &mut dyn Iterator<Item = &String>| {
            names.map(|name| self.name_of(name)).collect::<Vec<_>>()
        };
        f.debug_struct("Env")
            .field("left", &names(&mut self.left.keys()))
            .field("taken", &names(&mut self.taken.iter()))
            .finish()
    }
}

/// Returns the part of `name` after the prefix and an underscore.
fn suffix<'a>(prefix: &str, name: &'a str) -> Option<&'a str> {
    name.strip_prefix(prefix)?.strip_prefix('_')
}

macro_rules! whole_numbers {
    ($($number:ty: $most:literal),*) => {$(
        impl FromEnv for $number {
            const EXPECTED: &'static str = concat!("a whole number", $most, ", as 20");

            fn from_env(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )*};
}

whole_numbers!(
    u16: " up to 65535",
    u32: " up to 4294967295",
    u64: " up to 18446744073709551615",
    usize: ""
);

impl FromEnv for f64 {
    const EXPECTED: &'static str = "a number, as 0.1";

    fn from_env(text: &str) -> Option<Self> {
        text.parse().ok().filter(|number: &Self| number.is_finite())
    }
}

impl FromEnv for bool {
    const EXPECTED: &'static str = "true or false";

    fn from_env(text: &str) -> Option<Self> {
        match text {
            "true" | "1" | "on" | "yes" => Some(true),
            "false" | "0" | "off" | "no" => Some(false),
            _ => None,
        }
    }
}

impl FromEnv for String {
    const EXPECTED: &'static str = "text";

    fn from_env(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl FromEnv for Duration {
    const EXPECTED: &'static str = "a duration with its unit, as 250ms, 30s or 5m";

    fn from_env(text: &str) -> Option<Self> {
        humantime::parse_duration(text).ok()
    }
}

impl FromEnv for Option<Duration> {
    const EXPECTED: &'static str = "a duration with its unit, as 250ms, 30s or 5m, or off";

    fn from_env(text: &str) -> Option<Self> {
        match text {
            "off" => Some(None),
            text => Duration::from_env(text).map(Some),
        }
    }

    fn from_null() -> Option<Self> {
        Some(None)
    }
}

macro_rules! whole_numbers_or_auto {
    ($($number:ty),*) => {$(
        impl FromEnv for Option<$number> {
            const EXPECTED: &'static str = "a whole number, as 20, or auto";

            fn from_env(text: &str) -> Option<Self> {
                match text {
                    "auto" => Some(None),
                    text => text.parse().ok().map(Some),
                }
            }

            fn from_null() -> Option<Self> {
                Some(None)
            }
        }
    )*};
}

whole_numbers_or_auto!(u32, usize);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_bad_value_names_variable_value_and_what_it_may_be() {
        let mut env = Env::from_vars("P", [("P_WAIT", "2 bananas")]);
        let error = env.take::<Duration>("WAIT").unwrap_err().to_string();
        assert_eq!(
            error,
            "P_WAIT is \"2 bananas\", but must be a duration with its unit, as 250ms, 30s or 5m"
        );
    }

    #[test]
    fn a_number_that_is_too_large_is_told_how_large_it_may_be() {
        let mut env = Env::from_vars("P", [("P_SIZE", "4294967296")]);
        let error = env.take::<u32>("SIZE").unwrap_err().to_string();
        assert_eq!(
            error,
            "P_SIZE is \"4294967296\", but must be a whole number up to 4294967295, as 20"
        );
    }

    #[test]
    fn an_unknown_name_is_an_error_that_names_the_nearest_or_all_and_not_the_value() {
        let mut env = Env::from_vars("P", [("P_MAXSIZE", "3"), ("PX_OTHER", "1"), ("P", "1")]);
        assert_eq!(env.take::<u32>("MAX_SIZE").unwrap(), None);
        assert_eq!(env.take::<u32>("MIN_IDLE").unwrap(), None);
        assert_eq!(
            env.finish().unwrap_err().to_string(),
            "P_MAXSIZE must be left out: no setting has this name; did you mean P_MAX_SIZE?"
        );
        let mut env = Env::from_vars("P", [("P_PASSWORD", "secret")]);
        assert_eq!(env.take::<u32>("MIN_IDLE").unwrap(), None);
        assert_eq!(env.take::<u32>("MAX_SIZE").unwrap(), None);
        assert_eq!(
            env.finish().unwrap_err().to_string(),
            "P_PASSWORD must be left out: no setting has this name; those that exist: P_MAX_SIZE, P_MIN_IDLE"
        );
    }

    #[test]
    fn what_is_read_is_not_shown_for_it_may_be_a_secret() {
        let mut env = Env::from_vars("P", [("P_URL", "secret"), ("P_SIZE", "4711")]);
        assert_eq!(env.take::<u32>("SIZE").unwrap(), Some(4711));
        assert_eq!(
            format!("{env:?}"),
            r#"Env { left: ["P_URL"], taken: ["P_SIZE"] }"#
        );
    }

    #[test]
    fn what_kubernetes_sets_for_a_service_of_the_same_name_is_not_looked_at() {
        let vars = [
            ("ORDERS_DB_SERVICE_HOST", "10.0.0.11"),
            ("ORDERS_DB_SERVICE_PORT", "5432"),
            ("ORDERS_DB_SERVICE_PORT_PSQL", "5432"),
            ("ORDERS_DB_PORT", "tcp://10.0.0.11:5432"),
            ("ORDERS_DB_PORT_5432_TCP", "tcp://10.0.0.11:5432"),
            ("ORDERS_DB_PORT_5432_TCP_PROTO", "tcp"),
            ("ORDERS_DB_PORT_5432_TCP_PORT", "5432"),
            ("ORDERS_DB_PORT_5432_TCP_ADDR", "10.0.0.11"),
            // A Service `orders-db-replica`.
            ("ORDERS_DB_REPLICA_SERVICE_HOST", "10.0.0.12"),
            ("ORDERS_DB_REPLICA_PORT_53_UDP_ADDR", "10.0.0.12"),
            ("ORDERS_DB_MAX_SIZE", "7"),
        ];
        let mut env = Env::from_vars("ORDERS_DB", vars);
        assert_eq!(env.take::<u32>("MAX_SIZE").unwrap(), Some(7));
        env.finish().unwrap();
        let mut env = Env::from_vars("P", [("P_PORT", "5432")]);
        assert_eq!(
            env.take::<u16>("PORT").unwrap(),
            Some(5432),
            "is a setting of its own"
        );
    }

    #[test]
    fn a_setting_that_a_variable_set_is_blamed_by_the_name_of_the_variable() {
        let mut env = Env::from_vars("P", [("P_MAX_SIZE", "0")]);
        assert_eq!(env.take::<u32>("MAX_SIZE").unwrap(), Some(0));
        let error = |setting: &str| ConfigError::new(setting, "0", "at least 1");
        assert_eq!(env.blame(error("max_size")).setting(), "P_MAX_SIZE");
        assert_eq!(env.blame(error("max_opening")).setting(), "max_opening");
    }

    #[test]
    fn durations_have_units_and_may_be_off() {
        let mut env = Env::from_vars("P", [("P_A", "1m 30s"), ("P_B", "off"), ("P_C", "90")]);
        assert_eq!(
            env.take::<Duration>("A").unwrap(),
            Some(Duration::from_secs(90))
        );
        assert_eq!(env.take::<Option<Duration>>("B").unwrap(), Some(None));
        assert!(
            env.take::<Duration>("C").is_err(),
            "a number without a unit says nothing"
        );
        env.finish().unwrap();
    }
}

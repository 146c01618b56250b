//! The environment, read once and checked to the last name.

use std::{collections::BTreeMap, time::Duration};

use super::ConfigError;

/// The environment variables under one prefix.
///
/// Each setting is taken by its name; what is left in the end is a name that nobody knows, and an error: a typo never goes
/// unnoticed. A prefix must not be the beginning of another one's names (`POOL_DB` and `POOL_DB_REPLICA`; take `REPLICA_DB`).
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
#[derive(Debug)]
pub struct Env {
    prefix: String,
    left: BTreeMap<String, String>,
    known: Vec<String>,
    /// Those that were set.
    taken: Vec<String>,
}

/// A value that an environment variable can hold.
pub trait FromEnv: Sized {
    /// What a value may be, to go after "must be": `a whole number`.
    const EXPECTED: &'static str;

    /// The value that `text` says, if it says one.
    fn from_env(text: &str) -> Option<Self>;
}

impl Env {
    /// Reads the environment of the process.
    ///
    /// # Errors
    /// A variable under the prefix that is not Unicode.
    pub fn read(prefix: &str) -> Result<Self, ConfigError> {
        let mut vars = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| suffix(prefix, name).is_some()) else {
                continue;
            };
            match value.into_string() {
                Ok(value) => vars.push((name.to_owned(), value)),
                Err(value) => {
                    return Err(ConfigError::new(name, format!("{value:?}"), "Unicode text"));
                }
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
        let left = vars.into_iter().filter_map(under).collect();
        Self {
            prefix: prefix.to_owned(),
            left,
            known: Vec::new(),
            taken: Vec::new(),
        }
    }

    /// The whole name of a variable: prefix, underscore, `name`.
    pub fn name_of(&self, name: &str) -> String {
        format!("{}_{name}", self.prefix)
    }

    /// Takes the variable `{prefix}_{name}`; `None` when it is not set.
    ///
    /// # Errors
    /// The value is not one of `T`'s.
    pub fn take<T: FromEnv>(&mut self, name: &str) -> Result<Option<T>, ConfigError> {
        self.take_with(name, T::EXPECTED, T::from_env)
    }

    /// Takes the variable `{prefix}_{name}` by a parser of the caller's; `expected` says what it may be.
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
        let Some(text) = self.left.remove(name) else {
            return Ok(None);
        };
        self.taken.push(name.to_owned());
        match parse(text.trim()) {
            Some(value) => Ok(Some(value)),
            None => Err(ConfigError::new(
                self.name_of(name),
                format!("{text:?}"),
                expected,
            )),
        }
    }

    /// Names the variable in an error that names a setting, if the setting was set by a variable: for checks that come after the
    /// reading.
    pub fn blame(&self, error: ConfigError) -> ConfigError {
        let variable = error.setting().to_uppercase();
        if !self.taken.contains(&variable) {
            return error;
        }
        error.renamed(self.name_of(&variable))
    }

    /// Everything was taken, or something is left that nobody knows.
    ///
    /// # Errors
    /// A variable under the prefix that was never asked for; the error lists those that were.
    pub fn finish(self) -> Result<(), ConfigError> {
        self.check()
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let Some((name, value)) = self.left.first_key_value() else {
            return Ok(());
        };
        let mut known: Vec<_> = self.known.iter().map(|name| self.name_of(name)).collect();
        known.sort_unstable();
        Err(ConfigError::new(
            self.name_of(name),
            format!("{value:?}"),
            format!(
                "unset, as no setting has this name; those that exist: {}",
                known.join(", ")
            ),
        ))
    }
}

/// The part of `name` after the prefix and an underscore.
fn suffix<'a>(prefix: &str, name: &'a str) -> Option<&'a str> {
    name.strip_prefix(prefix)?.strip_prefix('_')
}

macro_rules! whole_numbers {
    ($($number:ty: $most:literal),*) => {$(
        impl FromEnv for $number {
            const EXPECTED: &'static str = concat!("a whole number up to ", $most, ", as 20");

            fn from_env(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )*};
}

whole_numbers!(
    u16: "65535",
    u32: "4294967295",
    u64: "18446744073709551615",
    usize: "what fits into the machine's word"
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
}

impl FromEnv for Option<usize> {
    const EXPECTED: &'static str = "a whole number, as 20, or auto";

    fn from_env(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(None),
            text => text.parse().ok().map(Some),
        }
    }
}

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
    fn an_unknown_name_is_an_error_that_lists_the_known_ones() {
        let mut env = Env::from_vars("P", [("P_MAXSIZE", "3"), ("PX_OTHER", "1"), ("P", "1")]);
        assert_eq!(env.take::<u32>("MAX_SIZE").unwrap(), None);
        assert_eq!(env.take::<u32>("MIN_IDLE").unwrap(), None);
        assert_eq!(
            env.finish().unwrap_err().to_string(),
            "P_MAXSIZE is \"3\", but must be unset, as no setting has this name; those that exist: P_MAX_SIZE, P_MIN_IDLE"
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

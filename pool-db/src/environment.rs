//! The environment variables that concern a database beside those under a prefix.

use std::{collections::BTreeMap, fmt};

use pool_core::{ConfigError, Env};

/// `DATABASE_URL`, and some others of well-known names.
#[derive(Clone, Default)]
pub(crate) struct Environment {
    vars: BTreeMap<String, String>,
}

impl Environment {
    /// Reads the environment of the process: `DATABASE_URL` and these.
    pub(crate) fn read(others: &[&str]) -> Result<Self, ConfigError> {
        let mut vars = BTreeMap::new();
        for name in others.iter().copied().chain([URL]) {
            match std::env::var(name) {
                Ok(value) => drop(vars.insert(name.to_owned(), value)),
                Err(std::env::VarError::NotPresent) => {}
                Err(_) => return Err(ConfigError::secret(name, "Unicode text")),
            }
        }
        Ok(Self { vars })
    }

    pub(crate) fn var(&self, name: &str) -> Option<String> {
        self.vars.get(name).cloned()
    }

    /// Where the database is, and the variable or the setting that says so.
    pub(crate) fn take_url(&self, env: &mut Env) -> Result<Option<(String, String)>, ConfigError> {
        let own = env.take("URL")?.map(|url| (env.name_of("URL"), url));
        Ok(own.or_else(|| Some((URL.to_owned(), self.var(URL)?))))
    }

    /// Names one of libpq's variables in an error that names the setting, if the value came from it.
    #[cfg(feature = "postgres")]
    pub(crate) fn blame(&self, error: ConfigError) -> ConfigError {
        let variable = format!("PG{}", error.setting().to_uppercase());
        if !self.vars.contains_key(&variable) {
            return error;
        }
        match error.value() {
            Some(value) => ConfigError::new(variable, value, error.expected()),
            None => ConfigError::secret(variable, error.expected()),
        }
    }
}

#[cfg(test)]
impl Environment {
    /// Those under `POOL_DB`, and the others.
    pub(crate) fn of(vars: &[(&str, &str)]) -> (Env, Self) {
        let others = vars.iter().filter(|(name, _)| !name.starts_with("POOL_DB"));
        let others = others.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let vars = Env::from_vars("POOL_DB", vars.iter().copied());
        (
            vars,
            Self {
                vars: others.collect(),
            },
        )
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values may be secrets.
        f.debug_list().entries(self.vars.keys()).finish()
    }
}

const URL: &str = "DATABASE_URL";

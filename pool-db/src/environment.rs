//! The environment variables for a database that are not under a pool's prefix.

use std::{collections::BTreeMap, fmt};

use pool_core::{ConfigError, Env};

/// `DATABASE_URL`, and some other well-known variables.
#[derive(Clone, Default)]
pub(crate) struct Environment {
    vars: BTreeMap<String, String>,
}

impl Environment {
    /// Reads `DATABASE_URL` and the variables `others` from the environment of the process.
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

    /// Returns the address of the database, and the variable or setting that it came from.
    pub(crate) fn take_url(&self, env: &mut Env) -> Result<Option<(String, String)>, ConfigError> {
        let own = env.take("URL")?.map(|url| (env.name_of("URL"), url));
        Ok(own.or_else(|| Some((URL.to_owned(), self.var(URL)?))))
    }

    /// Replaces the setting in an error by the libpq variable that its value came from, if there is one.
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
    /// Splits `vars` into the variables under `POOL_DB` and the others.
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
        // The values may be secrets, so only the names are shown.
        f.debug_list().entries(self.vars.keys()).finish()
    }
}

const URL: &str = "DATABASE_URL";

//! The environment variables that concern a database.

use std::{collections::BTreeMap, fmt};

use pool_core::{ConfigError, Env};

/// Those under one prefix, `DATABASE_URL`, and some others.
#[derive(Clone)]
pub(crate) struct Environment {
    prefix: String,
    vars: BTreeMap<String, String>,
}

impl Environment {
    /// Reads the environment of the process.
    pub(crate) fn read(prefix: &str, others: &[&str]) -> Result<Self, ConfigError> {
        let mut vars = BTreeMap::new();
        let under = format!("{prefix}_");
        for (name, value) in std::env::vars_os() {
            let concerns =
                |name: &&str| name.starts_with(&under) || *name == URL || others.contains(name);
            let Some(name) = name.to_str().filter(concerns) else {
                continue;
            };
            match value.into_string() {
                Ok(value) => drop(vars.insert(name.to_owned(), value)),
                Err(_) => return Err(ConfigError::secret(name, "Unicode text")),
            }
        }
        Ok(Self {
            prefix: prefix.to_owned(),
            vars,
        })
    }

    /// Those under the prefix.
    pub(crate) fn env(&self) -> Env {
        Env::from_vars(&self.prefix, self.vars.clone())
    }

    pub(crate) fn var(&self, name: &str) -> Option<String> {
        self.vars.get(name).cloned()
    }

    /// Where the database is, and the variable that says so.
    pub(crate) fn take_url(&self, env: &mut Env) -> Result<Option<(String, String)>, ConfigError> {
        Ok(match env.take("URL")? {
            Some(url) => Some((env.name_of("URL"), url)),
            None => self.var(URL).map(|url| (URL.to_owned(), url)),
        })
    }

    /// Names the variable instead of the setting, if the value came from one.
    pub(crate) fn blame(&self, error: ConfigError) -> ConfigError {
        let setting = error.setting().to_uppercase();
        let names = [format!("{}_{setting}", self.prefix), format!("PG{setting}")];
        match (
            names.into_iter().find(|name| self.vars.contains_key(name)),
            error.value(),
        ) {
            (Some(name), Some(value)) => ConfigError::new(name, value, error.expected()),
            (Some(name), None) => ConfigError::secret(name, error.expected()),
            (None, _) => error,
        }
    }
}

#[cfg(test)]
impl Environment {
    pub(crate) fn of(vars: &[(&str, &str)]) -> Self {
        let vars = vars
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Self {
            prefix: "POOL_DB".to_owned(),
            vars,
        }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values may be secrets.
        f.debug_list().entries(self.vars.keys()).finish()
    }
}

const URL: &str = "DATABASE_URL";

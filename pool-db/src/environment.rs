//! The environment variables for a database that are not under a pool's prefix.

#[cfg(feature = "postgres")]
use std::path::{Path, PathBuf};
use std::{collections::BTreeMap, fmt};

use pool_core::{ConfigError, Env};

/// `DATABASE_URL`, or that of the driver, and some other well-known variables.
#[derive(Clone, Default)]
pub(crate) struct Environment {
    vars: BTreeMap<String, String>,
    /// The home directory, where libpq keeps its files.
    #[cfg(feature = "postgres")]
    home: Option<PathBuf>,
}

impl Environment {
    /// Reads the variable `url` with an address, and the variables `others`, from the environment of the process.
    pub(crate) fn read(url: &str, others: &[&str]) -> Result<Self, ConfigError> {
        let mut vars = BTreeMap::new();
        for name in others.iter().copied().chain([url]) {
            match std::env::var(name) {
                Ok(value) => drop(vars.insert(name.to_owned(), value)),
                Err(std::env::VarError::NotPresent) => {}
                Err(_) => return Err(ConfigError::secret(name, "Unicode text")),
            }
        }
        Ok(Self {
            vars,
            #[cfg(feature = "postgres")]
            home: std::env::home_dir(),
        })
    }

    pub(crate) fn var(&self, name: &str) -> Option<String> {
        self.vars.get(name).cloned()
    }

    /// Returns the address of the database, and the variable or setting that it came from.
    ///
    /// It is under the prefix of `env`, or else in the variable `beside`.
    pub(crate) fn take_url(
        &self,
        env: &mut Env,
        beside: &str,
    ) -> Result<Option<(String, String)>, ConfigError> {
        let own = env.take("URL")?.map(|url| (env.name_of("URL"), url));
        Ok(own.or_else(|| Some((beside.to_owned(), self.var(beside)?))))
    }

    /// Returns the home directory of the user. `None` if the environment was not read.
    #[cfg(feature = "postgres")]
    pub(crate) fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// The home directory, and no variable.
    #[cfg(feature = "postgres")]
    pub(crate) fn only_home() -> Self {
        Self {
            home: std::env::home_dir(),
            ..Self::default()
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
                #[cfg(feature = "postgres")]
                home: None,
            },
        )
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn with_home(mut self, home: &Path) -> Self {
        self.home = Some(home.to_owned());
        self
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values may be secrets, so only the names are shown.
        f.debug_list().entries(self.vars.keys()).finish()
    }
}

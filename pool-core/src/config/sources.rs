//! The environments that a builder's settings were read from.

use super::{ConfigError, Env};

/// The environments that a builder read its settings from. Errors name their variables. For the crates of this workspace.
#[derive(Clone, Debug, Default)]
pub struct __Sources(Vec<Env>);

impl __Sources {
    /// Has settings read from `env`, and records it.
    ///
    /// # Errors
    /// What `apply` says, or a variable is left that names no setting.
    pub fn read(
        &mut self,
        mut env: Env,
        apply: impl FnOnce(&mut Env) -> Result<(), ConfigError>,
    ) -> Result<(), ConfigError> {
        apply(&mut env)?;
        self.was_read(env)
    }

    /// Records an environment that settings were read from, and checks that all its variables were taken.
    ///
    /// # Errors
    /// A variable is left that names no setting.
    pub fn was_read(&mut self, env: Env) -> Result<(), ConfigError> {
        env.finish()?;
        self.0.push(env);
        Ok(())
    }

    /// If an error names a setting that was read from a variable, changes the error to name the variable.
    pub fn blame(&self, error: ConfigError) -> ConfigError {
        self.0.iter().fold(error, |error, env| env.blame(error))
    }
}

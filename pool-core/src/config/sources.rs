//! Where a builder's settings came from.

use super::{ConfigError, Env};

/// The environments that a builder read its settings from, to be blamed for them. For the crates of this workspace.
#[derive(Clone, Debug, Default)]
pub struct __Sources(Vec<Env>);

impl __Sources {
    /// Every setting was taken from `env`.
    ///
    /// # Errors
    /// A name is left that no setting has.
    pub fn was_read(&mut self, env: Env) -> Result<(), ConfigError> {
        env.finish()?;
        self.0.push(env);
        Ok(())
    }

    /// Names the variable that a setting was read from, in an error that names the setting.
    pub fn blame(&self, error: ConfigError) -> ConfigError {
        self.0.iter().fold(error, |error, env| env.blame(error))
    }
}

//! The error of an invalid setting.

use std::fmt;

/// An invalid setting: its name, its value, and what the value may be.
///
/// ```
/// use pool_core::Config;
///
/// let error = Config::new().max_size(0).validate().unwrap_err();
/// assert_eq!(error.to_string(), "max_size is 0, but must be at least 1");
/// assert_eq!(format!("{error:?}"), "ConfigError(max_size is 0, but must be at least 1)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigError {
    setting: String,
    value: Option<String>,
    expected: String,
}

impl ConfigError {
    /// Says that `setting` was `value`, but must be `expected`: `ConfigError::new("POOL_DB_MAX_SIZE", "many", "a whole number")`.
    ///
    /// The message quotes the value. If the value may contain a password, use [`secret`](Self::secret), which leaves it out.
    pub fn new(
        setting: impl Into<String>,
        value: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self {
            setting: setting.into(),
            value: Some(value.into()),
            expected: expected.into(),
        }
    }

    /// Like [`new`](Self::new), but does not show the value.
    pub fn secret(setting: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            setting: setting.into(),
            value: None,
            expected: expected.into(),
        }
    }

    pub(super) fn renamed(self, setting: String) -> Self {
        Self { setting, ..self }
    }

    /// Returns the name of the setting, or of the environment variable.
    pub fn setting(&self) -> &str {
        &self.setting
    }

    /// Returns the value of the setting; `None` if the value may be a secret.
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// Returns what the value may be.
    pub fn expected(&self) -> &str {
        &self.expected
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(
                f,
                "{} is {}, but must be {}",
                self.setting, value, self.expected
            ),
            None => write!(f, "{} must be {}", self.setting, self.expected),
        }
    }
}

/// The text: it is what a `main` that gives the error back prints.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConfigError({self})")
    }
}

impl std::error::Error for ConfigError {}

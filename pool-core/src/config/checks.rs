//! Checks of settings, with the same messages in every crate of the workspace.

use std::time::Duration;

use super::ConfigError;

/// A duration that must not be zero; it may be off if it is optional.
#[derive(Clone, Copy, Debug)]
pub struct NotZero {
    value: Option<Duration>,
    expected: &'static str,
}

impl From<Duration> for NotZero {
    fn from(value: Duration) -> Self {
        Self {
            value: Some(value),
            expected: "longer than zero",
        }
    }
}

impl From<Option<Duration>> for NotZero {
    fn from(value: Option<Duration>) -> Self {
        Self {
            value,
            expected: "longer than zero, or off",
        }
    }
}

/// Checks that none of these durations is zero.
pub fn no_zeros<'a>(
    durations: impl IntoIterator<Item = (&'a str, NotZero)>,
) -> Result<(), ConfigError> {
    let is_zero = |(_, duration): &(&str, NotZero)| duration.value == Some(Duration::ZERO);
    match durations.into_iter().find(is_zero) {
        Some((name, duration)) => Err(ConfigError::new(name, "0s", duration.expected)),
        None => Ok(()),
    }
}

/// Checks that a name is not empty.
pub fn named(name: Option<&str>) -> Result<(), ConfigError> {
    match name {
        Some(name) if name.trim().is_empty() => Err(ConfigError::new(
            "name",
            format!("{name:?}"),
            "text that is not empty",
        )),
        _ => Ok(()),
    }
}

/// Checks that a count is not zero.
pub fn at_least_one(name: &str, value: u32) -> Result<(), ConfigError> {
    if value == 0 {
        Err(ConfigError::new(name, "0", "at least 1"))
    } else {
        Ok(())
    }
}

/// The default bound of a queue: enough for a burst on a cold pool of an ordinary service.
pub const fn auto_waiters(max_size: u32) -> usize {
    let most = (max_size as usize).saturating_mul(16);
    if most < 1024 { 1024 } else { most }
}

/// Checks `max_size`, and that `min_idle` is not above it.
pub(crate) fn sizes(max_size: u32, min_idle: u32) -> Result<(), ConfigError> {
    at_least_one("max_size", max_size)?;
    if min_idle > max_size {
        let expected = format!("at most max_size, which is {max_size}");
        return Err(ConfigError::new("min_idle", min_idle.to_string(), expected));
    }
    Ok(())
}

/// Checks that a fraction is from 0 to 1.
pub(crate) fn share(name: &str, value: f64) -> Result<(), ConfigError> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError::new(name, value.to_string(), "from 0 to 1"))
    }
}

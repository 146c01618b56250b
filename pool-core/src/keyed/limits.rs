//! The limits of a key: the settings of the pool, unless the key has its own.

use std::time::Duration;

use crate::{
    config::{Config, ConfigError, checks::no_zeros},
    moment::nanos_of,
};

/// The limits of one key, which replace the settings of the pool. A limit that is not set is as in [`Config`].
///
/// A time that [`Config`] would refuse is refused here as well: see [`validate`](Self::validate). Gets of a key with invalid limits
/// fail.
///
/// ```
/// use pool_core::KeyLimits;
///
/// fn limits_of(tenant: &String) -> KeyLimits {
///     match tenant.as_str() {
///         "acme" => KeyLimits::new().max_size(40), // pays for it
///         _ => KeyLimits::new(),
///     }
/// }
/// # assert_ne!(limits_of(&"acme".to_owned()), limits_of(&"other".to_owned()));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyLimits {
    max_size: Option<u32>,
    max_waiters: Option<usize>,
    acquire_timeout: Option<Duration>,
    create_timeout: Option<Duration>,
    idle_timeout: Option<Option<Duration>>,
    max_lifetime: Option<Option<Duration>>,
}

impl KeyLimits {
    /// Returns limits that set nothing: the settings of the pool apply.
    pub const fn new() -> Self {
        Self {
            max_size: None,
            max_waiters: None,
            acquire_timeout: None,
            create_timeout: None,
            idle_timeout: None,
            max_lifetime: None,
        }
    }

    /// How many resources of this key may be open. With 0, gets of the key fail at once with
    /// [`Error::is_overloaded`](crate::Error::is_overloaded).
    #[must_use]
    pub const fn max_size(mut self, value: u32) -> Self {
        self.max_size = Some(value);
        self
    }

    /// How many gets of this key may wait. See [`Config::max_waiters`].
    #[must_use]
    pub const fn max_waiters(mut self, value: usize) -> Self {
        self.max_waiters = Some(value);
        self
    }

    /// How long a get of this key may take. With zero, a get takes an idle resource at once, or fails. See
    /// [`Config::acquire_timeout`].
    #[must_use]
    pub const fn acquire_timeout(mut self, value: Duration) -> Self {
        self.acquire_timeout = Some(value);
        self
    }

    /// How long one open for this key may take. Not zero. See [`Config::create_timeout`].
    #[must_use]
    pub const fn create_timeout(mut self, value: Duration) -> Self {
        self.create_timeout = Some(value);
        self
    }

    /// How long an idle resource of this key stays open; `None` means forever. Not zero. See [`Config::idle_timeout`].
    #[must_use]
    pub const fn idle_timeout(mut self, value: Option<Duration>) -> Self {
        self.idle_timeout = Some(value);
        self
    }

    /// How old a resource of this key may become; `None` means any age. Not zero. Applies to resources that are opened from then
    /// on. See [`Config::max_lifetime`]; a replacement is not opened in advance.
    #[must_use]
    pub const fn max_lifetime(mut self, value: Option<Duration>) -> Self {
        self.max_lifetime = Some(value);
        self
    }

    /// Checks whether these limits are valid.
    ///
    /// # Errors
    /// A time is zero that must not be zero.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pool_core::KeyLimits;
    ///
    /// let error = KeyLimits::new().create_timeout(Duration::ZERO).validate().unwrap_err();
    /// assert_eq!(error.to_string(), "create_timeout is 0s, but must be longer than zero");
    /// ```
    pub fn validate(&self) -> Result<(), ConfigError> {
        no_zeros([
            // A timeout that is not set is not checked here.
            (
                "create_timeout",
                self.create_timeout.unwrap_or(Duration::MAX).into(),
            ),
            ("idle_timeout", self.idle_timeout.flatten().into()),
            ("max_lifetime", self.max_lifetime.flatten().into()),
        ])
    }
}

/// All limits of a key, after the settings of the pool were applied.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Terms {
    pub(super) max_size: u32,
    pub(super) max_opening: u32,
    pub(super) max_waiters: usize,
    pub(super) check_after_nanos: u64,
    pub(super) acquire_timeout: Duration,
    pub(super) create_timeout: Duration,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) keepalive: Option<Duration>,
    pub(super) max_lifetime: Option<Duration>,
    /// How many one resource is expected to serve at once; 0 if nobody knows.
    pub(super) expected: u32,
    pub(super) min_idle: u32,
    pub(super) shed_target: Option<Duration>,
}

impl Terms {
    /// Returns the settings of the pool, overridden by `limits`.
    pub(super) fn new(config: &Config, limits: KeyLimits, expected: u32) -> Self {
        let config = match limits.max_size {
            Some(max_size) => config.clone().max_size(max_size),
            None => config.clone(),
        };
        Self {
            max_size: config.max_size,
            max_opening: config.max_opening,
            max_waiters: limits.max_waiters.unwrap_or_else(|| config.waiters()),
            check_after_nanos: nanos_of(config.check_after),
            acquire_timeout: limits.acquire_timeout.unwrap_or(config.acquire_timeout),
            create_timeout: limits.create_timeout.unwrap_or(config.create_timeout),
            idle_timeout: limits.idle_timeout.unwrap_or(config.idle_timeout),
            keepalive: config.keepalive,
            max_lifetime: limits.max_lifetime.unwrap_or(config.max_lifetime),
            expected,
            min_idle: config.min_idle,
            shed_target: config.shed_target,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_for_a_key_is_as_for_all() {
        let config = Config::new().max_size(3).idle_timeout(None);
        let plain = Terms::new(&config, KeyLimits::new(), 1);
        assert_eq!(
            (plain.max_size, plain.max_waiters, plain.idle_timeout),
            (3, 1024, None)
        );
        let limits = KeyLimits::new()
            .max_size(50)
            .idle_timeout(Some(Duration::from_secs(1)));
        let own = Terms::new(&config, limits, 1);
        assert_eq!((own.max_size, own.max_waiters), (50, 1024));
        assert_eq!(own.idle_timeout, Some(Duration::from_secs(1)));
        assert_eq!(own.create_timeout, plain.create_timeout);
    }
}

//! The settings of a pool, each declared once.

use std::{num::NonZero, thread, time::Duration};

use super::{ConfigError, Env, FromEnv};

/// Which idle resource is handed out next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "lowercase")
)]
#[non_exhaustive]
pub enum IdleOrder {
    /// Those that were used before are used again first: few stay warm, the others age out. Of several, the one on the lowest seat,
    /// on any of up to 8 cores, so that a get needs no lock.
    #[default]
    Lifo,
    /// The one that has been idle longest: all are used alike, and none goes stale unseen. Every get and return takes the lock.
    Fifo,
}

impl FromEnv for IdleOrder {
    const EXPECTED: &'static str = "lifo or fifo";

    fn from_env(text: &str) -> Option<Self> {
        match text {
            "lifo" => Some(Self::Lifo),
            "fifo" => Some(Self::Fifo),
            _ => None,
        }
    }
}

/// Declares every setting once: field, type, default, variable. From it come the struct, its setters and those of the builders that have
/// it in a field `config`, and the reading of the environment.
macro_rules! settings {
    (
        $(#[doc = $of:literal])+
        $config:ident for $([$($bounds:tt)*] $builder:ty),+;
        $(
            $(#[doc = $doc:literal])+
            $(#[cfg_attr($cfg:meta, $attr:meta)])?
            $name:ident / $getter:ident: $type:ty = $default:expr, $variable:literal;
        )+
    ) => {
        $(#[doc = $of])+
        ///
        /// Each can be set in code, read from the environment as `{PREFIX}_{NAME}` in upper case, and, with the feature
        /// `serde`, read from any format; durations are written `250ms`, `30s`, `5m`. The defaults are safe: everything is
        /// bounded.
        #[derive(Clone, Debug, PartialEq)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
        pub struct $config {
            $($(#[cfg_attr($cfg, $attr)])? pub(crate) $name: $type,)+
        }

        impl Default for $config {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl $config {
            /// The defaults.
            pub fn new() -> Self {
                Self::default()
            }

            /// The defaults, overridden by what the environment holds under `prefix` (`POOL_DB` reads `POOL_DB_MAX_SIZE`, ..).
            ///
            /// # Errors
            /// A value that its setting cannot have, a name under the prefix that no setting has, or settings that do not go
            /// together.
            pub fn from_env(prefix: &str) -> Result<Self, ConfigError> {
                let mut env = Env::read(prefix)?;
                let mut config = Self::new();
                config.apply_env(&mut env)?;
                config.validate().map_err(|error| env.blame(error))?;
                env.finish()?;
                Ok(config)
            }

            /// Reads what is set under the prefix of `env`; the rest stays as it is.
            ///
            /// # Errors
            /// A value that its setting cannot have. Names that no setting has are found by [`Env::finish`].
            pub fn apply_env(&mut self, env: &mut Env) -> Result<(), ConfigError> {
                $(if let Some(value) = env.take($variable)? {
                    self.$name = value;
                })+
                Ok(())
            }

            $(
                $(#[doc = $doc])+
                #[must_use]
                pub fn $name(mut self, value: $type) -> Self {
                    self.$name = value;
                    self
                }

                #[doc = concat!("The value of [`", stringify!($name), "`](Self::", stringify!($name), ").")]
                pub fn $getter(&self) -> $type {
                    self.$name
                }
            )+
        }

        $crate::config::settings::setters! {
            $([$($bounds)*] $builder),+;
            { $( $(#[doc = $doc])+ $name: $type; )+ }
        }
    };
}

/// The same methods for each of several builders.
macro_rules! setters {
    ($([$($bounds:tt)*] $builder:ty),+; $methods:tt) => {
        $($crate::config::settings::setters! { @one [$($bounds)*] $builder; $methods })+
    };
    (@one [$($bounds:tt)*] $builder:ty; { $( $(#[doc = $doc:literal])+ $name:ident: $type:ty; )+ }) => {
        impl<$($bounds)*> $builder {
            $(
                $(#[doc = $doc])+
                #[must_use]
                pub fn $name(mut self, value: $type) -> Self {
                    self.config.$name = value;
                    self
                }
            )+
        }
    };
}
pub(crate) use {setters, settings};

settings! {
    /// The settings of a [`Pool`](crate::Pool), and of each key of a [`KeyedPool`](crate::KeyedPool): plain data.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pool_core::Config;
    ///
    /// let config = Config::new().max_size(20).acquire_timeout(Duration::from_secs(2));
    /// config.validate()?;
    /// # Ok::<(), pool_core::ConfigError>(())
    /// ```
    Config for [M: crate::Manager] crate::Builder<M>,
        [K: Send + Sync + 'static, M: crate::KeyedManager<K>] crate::KeyedBuilder<K, M>;

    /// How many may be open at once, counted from the moment an open begins to the moment a close has ended. At least 1.
    ///
    /// Default: twice the cores, at least 10.
    max_size / get_max_size: u32 = default_max_size(), "MAX_SIZE";

    /// How many are kept idle, ready to use; opened ahead of need. At most `max_size`. Default: 0.
    min_idle / get_min_idle: u32 = 0, "MIN_IDLE";

    /// How many may be opening at once. More are never opened than are waited for, or wanted as minimum idle. At least 1.
    ///
    /// Default: 4.
    max_opening / get_max_opening: u32 = 4, "MAX_OPENING";

    /// How many may wait in line; one more fails at once with [`Error::is_overloaded`](crate::Error::is_overloaded). `None`
    /// (`auto`) means 16 for each of `max_size`, at least 64, also after [`Pool::resize`](crate::Pool::resize); `Some(0)` means
    /// that nobody ever waits.
    ///
    /// Default: `None`.
    max_waiters / get_max_waiters: Option<usize> = None, "MAX_WAITERS";

    /// How long a get may take, all in all. A get may set another ([`Get::timeout`](crate::Get::timeout)). Not zero.
    ///
    /// Default: 30 s.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    acquire_timeout / get_acquire_timeout: Duration = Duration::from_secs(30), "ACQUIRE_TIMEOUT";

    /// How long one open may take; a longer one has failed. Not zero. Default: 10 s.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    create_timeout / get_create_timeout: Duration = Duration::from_secs(10), "CREATE_TIMEOUT";

    /// How long one check may take; a longer one has failed. Not zero. Default: 5 s.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    check_timeout / get_check_timeout: Duration = Duration::from_secs(5), "CHECK_TIMEOUT";

    /// How long one reset may take; a longer one has failed. Not zero. Default: 5 s.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    reset_timeout / get_reset_timeout: Duration = Duration::from_secs(5), "RESET_TIMEOUT";

    /// How long one close may take; after that the resource is dropped as it is, and its place is free. Not zero.
    ///
    /// Default: 1 s.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    close_timeout / get_close_timeout: Duration = Duration::from_secs(1), "CLOSE_TIMEOUT";

    /// An idle one that nobody used for so long is closed, as long as `min_idle` are left. `None` (`off`): never. Not zero.
    ///
    /// Default: 10 min.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    idle_timeout / get_idle_timeout: Option<Duration> = Some(Duration::from_secs(600)), "IDLE_TIMEOUT";

    /// One that was opened so long ago is closed when it is next idle or given back; if it is needed, its replacement is opened
    /// first. `None` (`off`): never. Not zero.
    ///
    /// Default: 30 min.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    max_lifetime / get_max_lifetime: Option<Duration> = Some(Duration::from_secs(1800)), "MAX_LIFETIME";

    /// Each lifetime is shortened by a random part, up to this share of it, so that what was opened together does not end
    /// together. 0 to 1. Default: 0.1.
    lifetime_jitter / get_lifetime_jitter: f64 = 0.1, "LIFETIME_JITTER";

    /// An idle one is checked before it is handed out if it was last known to be good longer ago than this: opened, checked, reset, or
    /// given back by somebody who did not taint it. So one in steady use is never checked; [`Usage::check_due`](crate::Usage) says in
    /// [`needs_reset`](crate::Manager::needs_reset) for how long. Zero: always.
    ///
    /// Default: 500 ms (HikariCP's `aliveBypassWindow`).
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    check_after / get_check_after: Duration = Duration::from_millis(500), "CHECK_AFTER";

    /// An idle one is checked when it was last known to be good so long ago, so that nothing on the way forgets it. `None`
    /// (`off`): never. Not zero.
    ///
    /// Default: `None`.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    keepalive / get_keepalive: Option<Duration> = None, "KEEPALIVE";

    /// A resource that was handed to a waiter whose future nobody polls goes to the next in line after so long; the unpolled
    /// one keeps its place. Not zero.
    ///
    /// Default: 50 ms.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    reclaim_after / get_reclaim_after: Duration = Duration::from_millis(50), "RECLAIM_AFTER";

    /// Shed load by CoDel: while the shortest wait within ten targets exceeds the target, whoever waited more than twice the
    /// target is told no ([`Error::is_overloaded`](crate::Error::is_overloaded)). The target is this one or twice the mean time
    /// that a lease lasts, whichever is longer; 20 ms suits databases. `None` (`off`): never. Not zero.
    ///
    /// Default: `None`.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    shed_target / get_shed_target: Option<Duration> = None, "SHED_TARGET";

    /// A lease that lasts so long is reported once, with its label and the line that got it. `None` (`off`): never. Not zero.
    ///
    /// Default: `None`.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    leak_after / get_leak_after: Option<Duration> = None, "LEAK_AFTER";

    /// A get that takes so long is warned of (feature `tracing`). `None` (`off`): never. Not zero.
    ///
    /// Default: 2 s.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    slow_get / get_slow_get: Option<Duration> = Some(Duration::from_secs(2)), "SLOW_GET";

    /// Which idle one is handed out next. Default: `Lifo`, those that were used before.
    idle_order / get_idle_order: IdleOrder = IdleOrder::Lifo, "IDLE_ORDER";
}

impl Config {
    /// Can a pool be built with these?
    ///
    /// # Errors
    /// The first setting that is out of its range, or contradicts another.
    pub fn validate(&self) -> Result<(), ConfigError> {
        at_least_one("max_opening", self.max_opening)?;
        sizes(self.max_size, self.min_idle)?;
        share("lifetime_jitter", self.lifetime_jitter)?;
        no_zeros([
            ("acquire_timeout", Some(self.acquire_timeout)),
            ("create_timeout", Some(self.create_timeout)),
            ("check_timeout", Some(self.check_timeout)),
            ("reset_timeout", Some(self.reset_timeout)),
            ("close_timeout", Some(self.close_timeout)),
            ("idle_timeout", self.idle_timeout),
            ("max_lifetime", self.max_lifetime),
            ("keepalive", self.keepalive),
            ("reclaim_after", Some(self.reclaim_after)),
            ("shed_target", self.shed_target),
            ("leak_after", self.leak_after),
            ("slow_get", self.slow_get),
        ])
    }

    /// The bound of the line, `auto` worked out.
    pub(crate) fn waiters(&self) -> usize {
        self.max_waiters
            .unwrap_or_else(|| auto_waiters(self.max_size))
    }
}

/// The size, and how much of it may be idle at least.
pub(crate) fn sizes(max_size: u32, min_idle: u32) -> Result<(), ConfigError> {
    at_least_one("max_size", max_size)?;
    if min_idle > max_size {
        let expected = format!("at most max_size, which is {max_size}");
        return Err(ConfigError::new("min_idle", min_idle.to_string(), expected));
    }
    Ok(())
}

pub(crate) fn share(name: &str, value: f64) -> Result<(), ConfigError> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError::new(name, value.to_string(), "from 0 to 1"))
    }
}

/// None of these may be zero.
pub(crate) fn no_zeros<'a>(
    durations: impl IntoIterator<Item = (&'a str, Option<Duration>)>,
) -> Result<(), ConfigError> {
    let is_zero = |(_, duration): &(&str, Option<Duration>)| *duration == Some(Duration::ZERO);
    match durations.into_iter().find(is_zero) {
        Some((name, _)) => Err(ConfigError::new(name, "0s", "longer than zero")),
        None => Ok(()),
    }
}

pub(crate) fn at_least_one(name: &str, value: u32) -> Result<(), ConfigError> {
    if value == 0 {
        Err(ConfigError::new(name, "0", "at least 1"))
    } else {
        Ok(())
    }
}

/// How many may wait where nothing is said of it.
pub(crate) fn auto_waiters(max_size: u32) -> usize {
    (max_size as usize).saturating_mul(16).max(64)
}

pub(crate) fn default_max_size() -> u32 {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    u32::try_from(2 * cores).unwrap_or(u32::MAX).max(10)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_defaults_are_valid_and_bounded() {
        let config = Config::new();
        config.validate().unwrap();
        assert!(config.waiters() >= 64);
    }

    #[test]
    fn contradictions_and_zeros_are_errors_that_name_the_setting() {
        let says = |config: Config| config.validate().unwrap_err().to_string();
        assert_eq!(
            says(Config::new().max_size(0)),
            "max_size is 0, but must be at least 1"
        );
        assert_eq!(
            says(Config::new().max_size(3).min_idle(4)),
            "min_idle is 4, but must be at most max_size, which is 3"
        );
        assert_eq!(
            says(Config::new().acquire_timeout(Duration::ZERO)),
            "acquire_timeout is 0s, but must be longer than zero"
        );
        assert_eq!(
            says(Config::new().lifetime_jitter(1.5)),
            "lifetime_jitter is 1.5, but must be from 0 to 1"
        );
    }

    #[test]
    fn every_setting_reads_its_variable() {
        let vars = [
            ("P_MAX_SIZE", "7"),
            ("P_IDLE_TIMEOUT", "off"),
            ("P_IDLE_ORDER", "fifo"),
            ("P_MAX_WAITERS", "auto"),
        ];
        let mut env = Env::from_vars("P", vars);
        let mut config = Config::new();
        config.apply_env(&mut env).unwrap();
        env.finish().unwrap();
        assert_eq!(
            (config.max_size, config.idle_timeout, config.idle_order),
            (7, None, IdleOrder::Fifo)
        );
    }

    #[cfg(feature = "serde")]
    #[test]
    fn serde_uses_the_same_names_and_refuses_unknown_ones() {
        let config: Config = serde_json::from_str(
            r#"{"max_size": 7, "acquire_timeout": "2s", "idle_timeout": null}"#,
        )
        .unwrap();
        let expected = Config::new()
            .max_size(7)
            .acquire_timeout(Duration::from_secs(2))
            .idle_timeout(None);
        assert_eq!(config, expected);
        assert_eq!(
            serde_json::from_str::<Config>(&serde_json::to_string(&config).unwrap()).unwrap(),
            config
        );
        assert!(serde_json::from_str::<Config>(r#"{"max_sise": 7}"#).is_err());
    }
}

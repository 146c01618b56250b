//! The settings of a pool. Each setting is declared once.

use std::{num::NonZero, thread};

use super::{
    ConfigError, FromEnv,
    checks::{at_least_one, auto_waiters, named, no_zeros, share, sizes},
};

/// Which idle resource the pool hands out next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdleOrder {
    /// Hands out a resource that was used before, so few resources stay in use and the others reach their `idle_timeout`. Of
    /// several such resources, a get takes the resource on the lowest seat. The idle resources are split into up to 8 parts, and a
    /// get begins at the part of its thread, so that it needs no lock.
    #[default]
    Lifo,
    /// Hands out the resource that has been idle longest. All resources are used equally, and none stays idle for long without a
    /// check. Every get and return takes the lock.
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

/// Declares every setting once: field, type, default, environment variable. The macro generates the struct, its setters, the
/// setters of each builder that has the struct in a field `config`, the code that reads the environment, and the serde
/// implementations. For the crates of this workspace.
#[doc(hidden)]
#[macro_export]
macro_rules! __settings {
    (
        { $(#[doc = $of:literal])+ $config:ident for $([$($bounds:tt)*] $builder:ty),*; }
        $(
            $(#[doc = $doc:literal])+
            $name:ident / $getter:ident($arg:ty): $type:ty = $default:expr, $variable:literal;
        )+
    ) => {
        $(#[doc = $of])+
        ///
        /// Each setting can be set in code, or read from the environment as `{PREFIX}_{NAME}` in upper case. With the feature
        /// `serde`, each can be read from any format by its name in lower case. The environment and serde use the same texts:
        /// durations are written `250ms`, `30s` or `5m`, a setting that is switched off is `off`, and a value that the pool
        /// computes is `auto`. The defaults are safe: everything is bounded.
        #[derive(Clone, Debug, PartialEq)]
        pub struct $config {
            pub(crate) name: Option<String>,
            $(pub(crate) $name: $type,)+
        }

        impl Default for $config {
            fn default() -> Self {
                Self { name: None, $($name: $default,)+ }
            }
        }

        impl $config {
            /// Returns the defaults.
            pub fn new() -> Self {
                Self::default()
            }

            /// Reads the settings that are set under the prefix of `env`, and leaves the others as they are. If the config has no
            /// name yet and no variable sets the name, the name is derived from the prefix: see
            /// [`Env::default_name`]($crate::Env::default_name).
            ///
            /// # Errors
            /// A variable has a value that is invalid for its setting. [`Env::finish`]($crate::Env::finish) finds variables that
            /// name no setting.
            pub fn apply_env(&mut self, env: &mut $crate::Env) -> Result<(), $crate::ConfigError> {
                match env.take("NAME")? {
                    Some(name) => self.name = Some(name),
                    None => self.name = self.name.take().or_else(|| env.default_name()),
                }
                $(if let Some(value) = env.take($variable)? {
                    self.$name = value;
                })+
                Ok(())
            }

            /// The name of the pool, for messages, metrics and spans. Must not be empty.
            ///
            /// Default: derived from the prefix if the environment is read, else chosen by the builder.
            #[must_use]
            pub fn name(mut self, name: impl Into<String>) -> Self {
                self.name = Some(name.into());
                self
            }

            /// Returns the value of [`name`](Self::name).
            pub fn get_name(&self) -> Option<&str> {
                self.name.as_deref()
            }

            /// Takes the place of the settings that a builder had before, whose name stays if this has none. For the crates of this
            /// workspace.
            #[doc(hidden)]
            #[must_use]
            pub fn __in_place_of(mut self, before: Self) -> Self {
                self.name = self.name.or(before.name);
                self
            }

            $(
                $(#[doc = $doc])+
                #[must_use]
                pub fn $name(mut self, value: $arg) -> Self {
                    self.$name = value.into();
                    self
                }

                #[doc = concat!("The value of [`", stringify!($name), "`](Self::", stringify!($name), ").")]
                pub fn $getter(&self) -> $type {
                    self.$name
                }
            )+
        }

        $crate::__reads! { $config }

        #[cfg(feature = "serde")]
        impl $config {
            pub(crate) fn write<M: serde::ser::SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
                if let Some(name) = &self.name {
                    map.serialize_entry("name", name)?;
                }
                $(map.serialize_entry(stringify!($name), &$crate::__Shown(&self.$name))?;)+
                Ok(())
            }
        }

        $crate::__setters! {
            { $([$($bounds)*] $builder = config),* }
            $( $(#[doc = $doc])+ $name / $getter($arg): $type = $default, $variable; )+
        }
    };
}

/// Generates what reads settings as a whole: `from_env` and the serde implementations, over the type's own `apply_env`, `validate`
/// and `write`.
#[doc(hidden)]
#[macro_export]
macro_rules! __reads {
    ($config:ident) => {
        impl $config {
            /// Returns the defaults, overridden by the environment variables under `prefix` (`ORDERS` reads `ORDERS_NAME` and so
            /// on).
            ///
            /// # Errors
            /// A variable has a value that is invalid for its setting, a variable under the prefix names no setting, or settings
            /// contradict each other.
            pub fn from_env(prefix: &str) -> Result<Self, $crate::ConfigError> {
                Self::new().overridden(prefix)
            }

            /// Overrides the settings with the environment variables under `prefix`, and checks them.
            pub(crate) fn overridden(mut self, prefix: &str) -> Result<Self, $crate::ConfigError> {
                let mut env = $crate::Env::read(prefix)?;
                self.apply_env(&mut env)?;
                self.validate().map_err(|error| env.blame(error))?;
                env.finish()?;
                Ok(self)
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $config {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use serde::de::Error;
                let mut env = $crate::Env::deserialize(deserializer)?;
                let mut config = Self::new();
                let read = config.apply_env(&mut env).and_then(|()| env.finish());
                read.map_err(D::Error::custom)?;
                Ok(config)
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $config {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut map = serializer.serialize_map(None)?;
                self.write(&mut map)?;
                map.end()
            }
        }
    };
}

/// Generates the same setters for each of several builders that have the settings in a field, usually `config`.
#[doc(hidden)]
#[macro_export]
macro_rules! __setters {
    ({} $($methods:tt)*) => {};
    ({ [$($bounds:tt)*] $builder:ty = $($field:ident).+ $(, $($more:tt)*)? } $($methods:tt)*) => {
        $crate::__setters! { @one [$($bounds)*] $builder = ($($field).+) { $($methods)* } }
        $crate::__setters! { { $($($more)*)? } $($methods)* }
    };
    (@one [$($bounds:tt)*] $builder:ty = $field:tt {
        $(
            $(#[doc = $doc:literal])+
            $name:ident / $getter:ident($arg:ty): $type:ty = $default:expr, $variable:literal;
        )+
    }) => {
        impl<$($bounds)*> $builder {
            /// The name of the pool, for messages, metrics and spans. Must not be empty.
            ///
            /// Default: if the environment is read, `{PREFIX}_NAME` or a name derived from the prefix; else a word for what is
            /// pooled.
            pub fn name(self, name: impl Into<String>) -> Self {
                $crate::__setters! { @set self $field name(name) }
            }

            $(
                $(#[doc = $doc])+
                pub fn $name(self, value: $arg) -> Self {
                    $crate::__setters! { @set self $field $name(value) }
                }
            )+
        }
    };
    (@set $self:ident ($($field:ident).+) $name:ident($value:ident)) => {{
        let mut this = $self;
        this.$($field).+ = std::mem::take(&mut this.$($field).+).$name($value);
        this
    }};
}

/// Passes the settings of [`Config`] to another macro: [`__settings`], or [`__setters`] for a builder of another crate.
#[doc(hidden)]
#[macro_export]
macro_rules! __config {
    ($macro:ident $head:tt) => {
        $crate::$macro! {
            $head

            /// How many resources may be open at once. A resource counts from the moment its open begins to the moment its close
            /// has ended. At least 1.
            ///
            /// Default: twice the number of cores, at least 10.
            max_size / get_max_size(u32): u32 = $crate::__default_max_size(), "MAX_SIZE";

            /// How many idle resources the pool keeps. It opens them before a get needs them. At most `max_size`. Default: 0.
            min_idle / get_min_idle(u32): u32 = 0, "MIN_IDLE";

            /// How many opens may run at once. The pool never opens more resources than waiters and `min_idle` need. At least 1.
            ///
            /// Default: 4.
            max_opening / get_max_opening(u32): u32 = 4, "MAX_OPENING";

            /// How many gets may wait in the queue. A further get fails at once with `Error::is_overloaded`. `None` (`auto`) means
            /// 16 for each of `max_size`, at least 1024, and follows a `resize`. With 0, no get ever waits.
            ///
            /// Default: `None`.
            max_waiters / get_max_waiters(impl Into<Option<usize>>): Option<usize> = None, "MAX_WAITERS";

            /// How long a get may take in total. A single get may have another timeout. Not zero.
            ///
            /// Default: 30 s.
            acquire_timeout / get_acquire_timeout(std::time::Duration): std::time::Duration = std::time::Duration::from_secs(30), "ACQUIRE_TIMEOUT";

            /// How long one open may take. An open that takes longer has failed. Not zero. Default: 10 s.
            create_timeout / get_create_timeout(std::time::Duration): std::time::Duration = std::time::Duration::from_secs(10), "CREATE_TIMEOUT";

            /// How long one check may take. A check that takes longer has failed. Not zero. Default: 5 s.
            check_timeout / get_check_timeout(std::time::Duration): std::time::Duration = std::time::Duration::from_secs(5), "CHECK_TIMEOUT";

            /// How long one reset may take. A reset that takes longer has failed. Not zero. Default: 5 s.
            reset_timeout / get_reset_timeout(std::time::Duration): std::time::Duration = std::time::Duration::from_secs(5), "RESET_TIMEOUT";

            /// How long one close may take. After that the pool drops the resource without a close, and the place of the resource
            /// is free. Not zero.
            ///
            /// Default: 1 s.
            close_timeout / get_close_timeout(std::time::Duration): std::time::Duration = std::time::Duration::from_secs(1), "CLOSE_TIMEOUT";

            /// The pool closes an idle resource that has not been used for this long, but keeps `min_idle` resources. `None`
            /// (`off`) means never. Not zero.
            ///
            /// Default: 10 min.
            idle_timeout / get_idle_timeout(impl Into<Option<std::time::Duration>>): Option<std::time::Duration> = Some(std::time::Duration::from_secs(600)), "IDLE_TIMEOUT";

            /// The pool closes a resource of this age when it is next idle or returned. If the resource is needed, the pool opens
            /// its replacement first. `None` (`off`) means never. Not zero.
            ///
            /// Default: 30 min.
            max_lifetime / get_max_lifetime(impl Into<Option<std::time::Duration>>): Option<std::time::Duration> = Some(std::time::Duration::from_secs(1800)), "MAX_LIFETIME";

            /// The pool shortens each lifetime by a random fraction of it, up to this value, so that resources that were opened
            /// together are not closed together. 0 to 1. Default: 0.1.
            lifetime_jitter / get_lifetime_jitter(f64): f64 = 0.1, "LIFETIME_JITTER";

            /// The pool checks an idle resource before it hands it out, if the resource was last known to be good longer ago than
            /// this. A resource is known to be good when it is opened, checked or reset, or returned without being tainted. So a
            /// resource in steady use is never checked before a lease; in `Manager::needs_reset`, `Usage::check_due` says whether
            /// this time has passed since the resource was last opened, checked or reset. With zero, the pool always checks.
            ///
            /// Default: 500 ms (HikariCP's `aliveBypassWindow`).
            check_after / get_check_after(std::time::Duration): std::time::Duration = std::time::Duration::from_millis(500), "CHECK_AFTER";

            /// The pool checks an idle resource when it was last known to be good this long ago, so that no firewall or proxy drops
            /// the connection. `None` (`off`) means never. Not zero.
            ///
            /// Default: `None`.
            keepalive / get_keepalive(impl Into<Option<std::time::Duration>>): Option<std::time::Duration> = None, "KEEPALIVE";

            /// After this time, a waiter whose future is not polled loses the resource that was handed to it. The resource goes to
            /// the next waiter, and the unpolled waiter keeps its place in the queue. Not zero.
            ///
            /// Default: 50 ms.
            reclaim_after / get_reclaim_after(std::time::Duration): std::time::Duration = std::time::Duration::from_millis(50), "RECLAIM_AFTER";

            /// Sheds load by CoDel. While the shortest wait within ten targets exceeds the target, the pool refuses a get that has
            /// waited more than twice the target (`Error::is_overloaded`). The target is this setting or twice the mean duration of
            /// a lease, whichever is longer. 20 ms suits databases. `None` (`off`) means never. Not zero.
            ///
            /// Default: `None`.
            shed_target / get_shed_target(impl Into<Option<std::time::Duration>>): Option<std::time::Duration> = None, "SHED_TARGET";

            /// The pool reports a lease that lasts this long, once, with its label and the source line of its get. `None` (`off`)
            /// means never. Not zero.
            ///
            /// Default: `None`.
            leak_after / get_leak_after(impl Into<Option<std::time::Duration>>): Option<std::time::Duration> = None, "LEAK_AFTER";

            /// The pool logs a warning for a get that takes this long (feature `tracing`). `None` (`off`) means never. Not zero.
            ///
            /// Default: 2 s.
            slow_get / get_slow_get(impl Into<Option<std::time::Duration>>): Option<std::time::Duration> = Some(std::time::Duration::from_secs(2)), "SLOW_GET";

            /// Which idle resource the pool hands out next. Default: `Lifo`, a recently used resource.
            idle_order / get_idle_order($crate::IdleOrder): $crate::IdleOrder = $crate::IdleOrder::Lifo, "IDLE_ORDER";
        }
    };
}

__config! {
    __settings {
        /// The settings of a [`Pool`](crate::Pool), and of each key of a [`KeyedPool`](crate::KeyedPool), as plain data.
        ///
        /// ```
        /// use std::time::Duration;
        /// use pool_core::Config;
        ///
        /// let config = Config::new().max_size(20).acquire_timeout(Duration::from_secs(2));
        /// config.validate()?;
        /// # Ok::<(), pool_core::ConfigError>(())
        /// ```
        Config for [M: crate::Manager] crate::Builder<M>;
    }
}

impl Config {
    /// Checks whether a pool can be built with these settings.
    ///
    /// # Errors
    /// The error names the first setting that is out of its range or contradicts another setting.
    pub fn validate(&self) -> Result<(), ConfigError> {
        named(self.name.as_deref())?;
        at_least_one("max_opening", self.max_opening)?;
        sizes(self.max_size, self.min_idle)?;
        share("lifetime_jitter", self.lifetime_jitter)?;
        no_zeros([
            ("acquire_timeout", self.acquire_timeout.into()),
            ("create_timeout", self.create_timeout.into()),
            ("check_timeout", self.check_timeout.into()),
            ("reset_timeout", self.reset_timeout.into()),
            ("close_timeout", self.close_timeout.into()),
            ("idle_timeout", self.idle_timeout.into()),
            ("max_lifetime", self.max_lifetime.into()),
            ("keepalive", self.keepalive.into()),
            ("reclaim_after", self.reclaim_after.into()),
            ("shed_target", self.shed_target.into()),
            ("leak_after", self.leak_after.into()),
            ("slow_get", self.slow_get.into()),
        ])
    }

    /// The bound of the queue, with `auto` resolved.
    pub(crate) fn waiters(&self) -> usize {
        self.max_waiters
            .unwrap_or_else(|| auto_waiters(self.max_size))
    }
}

#[doc(hidden)]
pub fn __default_max_size() -> u32 {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    u32::try_from(2 * cores).unwrap_or(u32::MAX).max(10)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;
    use crate::Env;

    #[test]
    fn the_defaults_are_valid_and_bounded() {
        let config = Config::new();
        config.validate().unwrap();
        assert_eq!(config.waiters(), 1024);
        assert_eq!(config.max_size(100).waiters(), 1600);
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
            says(Config::new().idle_timeout(Duration::ZERO)),
            "idle_timeout is 0s, but must be longer than zero, or off"
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

    #[test]
    fn a_name_is_that_of_the_prefix_unless_it_is_given() {
        let named = |config: Config, prefix: &str, vars: &[(&str, &str)]| {
            let mut env = Env::from_vars(prefix, vars.iter().copied());
            let mut config = config;
            config.apply_env(&mut env).unwrap();
            env.finish().unwrap();
            config.get_name().unwrap().to_owned()
        };
        assert_eq!(named(Config::new(), "ORDERS_DB", &[]), "orders_db");
        assert_eq!(named(Config::new(), "POOL_DB", &[]), "db");
        assert_eq!(named(Config::new(), "P", &[("P_NAME", "orders")]), "orders");
        assert_eq!(named(Config::new().name("mine"), "P", &[]), "mine");
        let error = Config::new().name(" ").validate().unwrap_err();
        assert_eq!(
            error.to_string(),
            "name is \" \", but must be text that is not empty"
        );
    }

    #[cfg(feature = "serde")]
    #[test]
    fn serde_takes_the_texts_of_the_environment_and_refuses_the_same() {
        let read = |text: &str| serde_json::from_str::<Config>(text);
        let config = read(
            r#"{"name": "orders", "max_size": 7, "acquire_timeout": "2s", "idle_timeout": "off", "max_lifetime": null,
                "max_waiters": "auto", "min_idle": "3", "lifetime_jitter": 0.25, "idle_order": "fifo"}"#,
        );
        let expected = Config::new()
            .name("orders")
            .max_size(7)
            .min_idle(3)
            .acquire_timeout(Duration::from_secs(2))
            .idle_timeout(None)
            .max_lifetime(None)
            .lifetime_jitter(0.25)
            .idle_order(IdleOrder::Fifo);
        assert_eq!(config.unwrap(), expected);
        let text = serde_json::to_string(&expected).unwrap();
        assert!(
            text.contains(r#""idle_timeout":"off""#) && text.contains(r#""max_waiters":"auto""#),
            "{text}"
        );
        assert!(
            text.contains(r#""acquire_timeout":"2s""#) && text.contains(r#""max_size":7"#),
            "{text}"
        );
        assert_eq!(read(&text).unwrap(), expected);
        let error = |text: &str| read(text).unwrap_err().to_string();
        let says = error(r#"{"max_sise": 7}"#);
        assert!(
            says.starts_with(
                "max_sise must be left out: no setting has this name; did you mean max_size?"
            ),
            "{says}"
        );
        let says = error(r#"{"acquire_timeout": "off"}"#);
        assert!(
            says.starts_with("acquire_timeout is \"off\", but must be a duration"),
            "{says}"
        );
        let says = error(r#"{"acquire_timeout": null}"#);
        assert!(
            says.starts_with("acquire_timeout is null, but must be a duration"),
            "{says}"
        );
        let says = error(r#"{"max_size": -1}"#);
        assert!(
            says.starts_with("max_size is \"-1\", but must be a whole number"),
            "{says}"
        );
        let says = error(r#"{"MAX_SIZE": 7}"#);
        assert!(
            says.starts_with("MAX_SIZE must be written max_size, in lower case"),
            "{says}"
        );
        let says = error(r#"{"max_size": 7, "max_size": 8}"#);
        assert!(
            says.starts_with("max_size must be set once, and is there twice"),
            "{says}"
        );
        let says = error(r#"{"max_size": [7]}"#);
        assert!(
            says.contains("a text, a number, true, false or null"),
            "{says}"
        );
    }
}

//! The builder of a keyed pool.

use std::fmt;

use super::{
    KeyLimits, KeyedConfig, KeyedManager, KeyedPool, MixedManager, MixedPool, drives::Exclusive,
    inner::Inner, mixed::Mixed,
};
use crate::{
    __config,
    config::{ConfigError, Env},
    host::{Setup, observing},
};

/// Builds a [`KeyedPool`].
///
/// The settings of [`Config`](crate::Config) apply to each key; the bounds in total are set here. Some settings differ from those
/// of a [`Pool`](crate::Pool):
///
/// | setting | in a keyed pool |
/// |---|---|
/// | [`max_lifetime`](crate::Config::max_lifetime) | a resource of this age is closed when it is next idle or returned, and the next get opens another and waits for it: the replacement is *not* opened first. While opens fail for the key, the resource is kept |
/// | [`idle_order`](crate::Config::idle_order), [`check_timeout`](crate::Config::check_timeout), [`reset_timeout`](crate::Config::reset_timeout), [`close_timeout`](crate::Config::close_timeout), [`reclaim_after`](crate::Config::reclaim_after), [`leak_after`](crate::Config::leak_after), [`keepalive`](crate::Config::keepalive), [`check_after`](crate::Config::check_after) | as in a pool, for all keys alike |
/// | [`max_opening`](crate::Config::max_opening) | of one key; see [`KeyedPool`](KeyedPool#keys-that-hang-or-fail) for opens that hang |
/// | [`max_waiters`](crate::Config::max_waiters) | of one key |
/// | [`min_idle`](crate::Config::min_idle) | of one key, while the key is in use: from its first get until no resource of it was used for [`idle_timeout`](crate::Config::idle_timeout). The pool opens these only in places that no other key wants, and closes them for a key that does |
/// | [`shed_target`](crate::Config::shed_target) | as in a pool, for the queue of each key |
/// | [`slow_get`](crate::Config::slow_get) | as in a pool |
#[must_use = "`build` makes the pool"]
pub struct KeyedBuilder<K: Send + Sync + 'static, M: KeyedManager<K>> {
    manager: M,
    config: KeyedConfig,
    says: Says<K>,
    setup: Setup,
}

/// Builds a [`MixedPool`]. Its settings are those of a [`KeyedBuilder`]: the settings of [`Config`](crate::Config) apply to each key,
/// where a shared connection counts once however many share it, and the bounds in total are set here.
///
/// [`check_after`](crate::Config::check_after), [`keepalive`](crate::Config::keepalive) and the resets concern connections that are
/// lent to one caller at a time. A shared connection says itself how it is, by its [`Gauge`](crate::Gauge).
#[must_use = "`build` makes the pool"]
pub struct MixedBuilder<K: Send + Sync + 'static, M: MixedManager<K>> {
    manager: M,
    config: KeyedConfig,
    says: Says<K>,
    setup: Setup,
}

/// The closures of the user that are called for each key. They are called with nothing locked.
pub(super) struct Says<K> {
    pub(super) limits: Option<Of<K, KeyLimits>>,
    pub(super) name: Option<Of<K, String>>,
}

/// A closure that returns something about a key.
pub(super) type Of<K, T> = Box<dyn Fn(&K) -> T + Send + Sync>;

/// What the two builders have in common.
macro_rules! builds {
    ($Builder:ident, $Manager:ident, $Pool:ident, $Drives:ident, $default:literal) => {
        impl<K: Send + Sync + 'static, M: $Manager<K>> $Builder<K, M> {
            pub(super) fn new(manager: M) -> Self {
                Self {
                    manager,
                    config: KeyedConfig::new(),
                    says: Says {
                        limits: None,
                        name: None,
                    },
                    setup: Setup::new(),
                }
            }

            observing!();

            /// Names the keys, for messages and the observer, which get `pool/key`, and for the field `pool.key` of the feature
            /// `tracing`. The closure is called when a message about a key is made.
            ///
            /// Default: none, so that no key is shown anywhere. A key may be a secret, or a customer.
            pub fn key_name(mut self, name: impl Fn(&K) -> String + Send + Sync + 'static) -> Self {
                self.says.name = Some(Box::new(name));
                self
            }

            /// Takes all settings from `config`, or the settings of each key from a [`Config`](crate::Config). Settings that were
            /// set before are replaced, except for the name if `config` has none. Settings that are set after this override
            /// `config`.
            pub fn config(mut self, config: impl Into<KeyedConfig>) -> Self {
                let mut config = config.into();
                config.each = config.each.__in_place_of(self.config.each);
                self.config = config;
                self
            }

            /// Overrides the settings made so far by the environment variables under `prefix`. `{PREFIX}_MAX_TOTAL` and
            /// `{PREFIX}_MAX_TOTAL_WAITERS` are the bounds in total.
            ///
            /// # Errors
            /// A variable has a value that is invalid for its setting, or a variable under the prefix names no setting.
            pub fn env(mut self, prefix: &str) -> Result<Self, ConfigError> {
                let env = Env::read(prefix)?;
                self.setup
                    .sources
                    .read(env, |env| self.config.apply_env(env))?;
                Ok(self)
            }

            /// How many resources may be open at once, for all keys together: see [`KeyedConfig::max_total`].
            pub fn max_total(mut self, value: impl Into<Option<u32>>) -> Self {
                self.config = self.config.max_total(value);
                self
            }

            /// How many gets may wait, for all keys together: see [`KeyedConfig::max_total_waiters`].
            pub fn max_total_waiters(mut self, value: impl Into<Option<usize>>) -> Self {
                self.config = self.config.max_total_waiters(value);
                self
            }

            /// Sets the limits of single keys, which replace the settings for all keys. The closure is called when a key comes into
            /// use, and again by `reload_limits` of the pool, with nothing locked. If [`KeyLimits::validate`] refuses the limits of
            /// a key, gets of that key fail.
            pub fn limits_of(
                mut self,
                limits: impl Fn(&K) -> KeyLimits + Send + Sync + 'static,
            ) -> Self {
                self.says.limits = Some(Box::new(limits));
                self
            }

            /// Builds the pool. `build` opens nothing and needs no runtime; the first get does.
            ///
            /// # Errors
            /// A setting is out of its range, contradicts another setting, or cannot be used with keys.
            pub fn build(self) -> Result<$Pool<K, M>, ConfigError> {
                let valid = self.config.validate();
                valid.map_err(|error| self.setup.sources.blame(error))?;
                let setup = self.setup.named(self.config.each.get_name(), $default);
                let inner = Inner::new($Drives(self.manager), self.config, self.says, setup);
                Ok($Pool::from_inner(inner))
            }
        }

        __config! { __setters {
            [K: Send + Sync + 'static, M: $Manager<K>] $Builder<K, M> = config.each
        } }

        impl<K: Send + Sync + 'static, M: $Manager<K>> fmt::Debug for $Builder<K, M> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($Builder))
                    .field("config", &self.config)
                    .finish_non_exhaustive()
            }
        }
    };
}

builds! {
    KeyedBuilder, KeyedManager, KeyedPool, Exclusive, "keyed pool"
}
builds! {
    MixedBuilder, MixedManager, MixedPool, Mixed, "mixed pool"
}

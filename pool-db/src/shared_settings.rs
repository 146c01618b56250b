//! The setters that builders of shared connections have in common.

/// Generates setters that pass a value on to the builder of a field.
macro_rules! passed_on {
    ($builder:ident; $($field:ident: $($(#[doc = $doc:literal])+ $name:ident($arg:ty);)+)+) => {
        impl $builder {
            $($(
                $(#[doc = $doc])+
                pub fn $name(mut self, value: $arg) -> Self {
                    self.$field = self.$field.$name(value);
                    self
                }
            )+)+
        }
    };
}

/// Generates the setters of a builder of shared connections for its fields `config` (but for `max_size`, whose default is the
/// driver's), `observer` and `metric_names`.
macro_rules! shared_settings {
    ($builder:ident) => {
        impl $builder {
            /// Takes all settings of the pool from `config`. It replaces the settings that were set before, but keeps the name if `config`
            /// has none. Settings that are set after this call override it.
            pub fn config(mut self, config: SharedConfig) -> Self {
                self.config = config.__in_place_of(self.config);
                self
            }

            /// Sets the observer, which the pool notifies of events: see [`Observer`].
            pub fn observer(mut self, observer: impl Observer) -> Self {
                self.observer = Some(Arc::new(observer));
                self
            }

            /// Sets the names under which the pool is published (feature `metrics`). Default: [`MetricNames::Database`].
            #[cfg(feature = "metrics")]
            pub fn metric_names(mut self, names: MetricNames) -> Self {
                self.metric_names = names;
                self
            }
        }

        passed_on! {
            $builder;
            config:
                /// The name of the pool, for messages, metrics and spans. Must not be empty.
                name(impl Into<String>);
                /// How many connections the pool keeps open, even without calls. At most `max_size`. Default: 0.
                min_idle(u32);
                /// The pool opens another connection ahead of need when fewer shares than this are free. Default: 0.
                spare_shares(u32);
                /// How many opens may run at once. At least 1. Default: 4.
                max_opening(u32);
                /// How many calls may wait for a share: see [`SharedConfig::max_waiters`].
                max_waiters(impl Into<Option<usize>>);
                /// How long a call may wait for a share. Not zero. Default: 30 s.
                acquire_timeout(Duration);
                /// How long one open may take. Not zero. Default: 10 s.
                create_timeout(Duration);
                /// How long one close may take. Not zero. Default: 1 s.
                close_timeout(Duration);
                /// The pool closes a connection that has had no calls for this long. `None` (`off`) means never. Not zero. Default: 10 min.
                idle_timeout(impl Into<Option<Duration>>);
                /// A connection of this age is replaced: see [`SharedConfig::max_lifetime`]. Default: 30 min.
                max_lifetime(impl Into<Option<Duration>>);
        }
    };
}

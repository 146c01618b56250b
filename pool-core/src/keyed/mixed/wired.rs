//! A shared connection, with the alarm that tells the holders of its shares that it died.

use std::{fmt, sync::Arc};

use super::MixedManager;
use crate::{
    gauge::Gauge,
    host::{Alarm, Usage},
    keyed::{
        drives::{Drives, Item},
        opened::Opened,
    },
};

/// A shared connection as its holders have it.
pub(in crate::keyed) struct Wired<K, C> {
    pub(super) connection: C,
    pub(super) key: Arc<K>,
    pub(super) death: Alarm,
}

impl<K, C> fmt::Debug for Wired<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wired")
            .field("death", &self.death)
            .finish_non_exhaustive()
    }
}

/// A manager of which some connections are shared.
pub(in crate::keyed) struct Mixed<M>(pub(in crate::keyed) M);

impl<K: Send + Sync + 'static, M: MixedManager<K>> Drives<K> for Mixed<M> {
    type One = M::One;
    type Shared = Arc<Wired<K, M::Many>>;
    type Error = M::Error;

    async fn create(&self, key: &Arc<K>, gauge: Gauge) -> Result<Item<K, Self>, M::Error> {
        Ok(match self.0.create(key, gauge).await? {
            Opened::One(one) => Opened::One(one),
            Opened::Many(connection) => Opened::Many(Arc::new(Wired {
                connection,
                key: Arc::clone(key),
                death: Alarm::new(),
            })),
        })
    }

    const EXPECTED: u32 = 0;
    #[cfg(feature = "metrics")]
    const SHARES: bool = true;

    fn expects(&self, key: &K) -> u32 {
        self.0.expects(key).map_or(0, |expected| expected.max(1))
    }

    async fn check(&self, one: &mut M::One, usage: &Usage) -> Result<(), M::Error> {
        self.0.check(one, usage).await
    }

    #[inline]
    fn needs_reset(&self, one: &mut M::One, usage: &Usage) -> bool {
        self.0.needs_reset(one, usage)
    }

    async fn reset(&self, one: &mut M::One, usage: &Usage) -> Result<(), M::Error> {
        self.0.reset(one, usage).await
    }

    #[inline]
    fn is_broken(&self, one: &mut M::One) -> bool {
        self.0.is_broken(one)
    }

    #[inline]
    fn is_interrupted(&self, one: &mut M::One) -> bool {
        self.0.is_interrupted(one)
    }

    async fn close(&self, item: Item<K, Self>) {
        match item {
            Opened::One(one) => self.0.close(Opened::One(one)).await,
            // A connection that died may still be held. Its last holder drops it.
            Opened::Many(wired) => {
                if let Some(wired) = Arc::into_inner(wired) {
                    self.0.close(Opened::Many(wired.connection)).await;
                }
            }
        }
    }

    #[inline]
    fn key_of(shared: &Self::Shared) -> &Arc<K> {
        &shared.key
    }

    #[inline]
    fn is_dead(shared: &Self::Shared) -> bool {
        shared.death.has_rung()
    }

    fn died(shared: &Self::Shared) {
        shared.death.ring();
    }
}

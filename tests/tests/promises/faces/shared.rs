//! `SharedPool`, of connections that one may have at a time: so it lends as the others do.

use std::{pin::Pin, sync::Arc, time::Duration};

use pool_core::{Config, Drained, Gauge, Share, SharedConfig, SharedManager, SharedPool};

use crate::{
    backend::{Backend, Observer, Oops, Stage, Thing},
    face::{Face, Get, Lends, Limit, config},
    faces::pool::{Things, told, within},
};

impl SharedManager for Things {
    type Resource = Thing;
    type Error = Oops;

    async fn create(&self, gauge: Gauge) -> Result<Thing, Oops> {
        gauge.set_capacity(1);
        self.0.open(Some(gauge)).await
    }

    async fn close(&self, thing: Thing) {
        let _ = self.0.run(Stage::Close).await;
        drop(thing);
    }
}

impl Lends for SharedPool<Things> {
    type Lease = Share<Things>;

    fn of(size: u32) -> Self {
        Self::new(&Backend::new(), config(size))
    }

    fn get(&self, limit: Limit) -> Get<Share<Things>> {
        let pool = self.clone();
        Box::pin(async move { within!(Self::get(&pool), limit) })
    }

    fn in_line(&self) -> usize {
        self.status().waiting
    }

    fn out(&self) -> u32 {
        self.status().shares
    }

    fn close(&self) {
        Self::close(self);
    }

    fn mistake(&self) -> Option<String> {
        let of = self.status();
        // What is dead takes no place, and what drains and has just lost its last share is about to be closed.
        let bounded = of.open + of.draining + of.opening + of.closing <= of.max_size;
        let used = of.open - of.unused;
        let adds_up = (used..=used + of.draining + of.dead).contains(&of.shares);
        (!bounded || !adds_up || of.capacity > of.open).then(|| format!("{of:?}"))
    }
}

impl Face for SharedPool<Things> {
    const TENDS: bool = false;
    const SHEDS: bool = false;

    fn new(backend: &Arc<Backend>, config: Config) -> Self {
        let things = Things(Arc::clone(backend));
        let observer = Observer(Arc::clone(backend));
        let config = SharedConfig::new()
            .max_size(config.get_max_size())
            .max_opening(config.get_max_opening())
            .max_waiters(config.get_max_waiters())
            .acquire_timeout(config.get_acquire_timeout())
            .create_timeout(config.get_create_timeout())
            .close_timeout(config.get_close_timeout())
            .idle_timeout(config.get_idle_timeout())
            .max_lifetime(config.get_max_lifetime())
            .lifetime_jitter(config.get_lifetime_jitter())
            .reclaim_after(config.get_reclaim_after())
            .slow_get(config.get_slow_get());
        let builder = Self::builder(things).config(config);
        builder.observer(observer).build().unwrap()
    }

    fn backend(&self) -> &Arc<Backend> {
        &self.manager().0
    }

    fn try_get(&self) -> Option<Share<Things>> {
        Self::try_get(self).ok()
    }

    fn drain(&self, within: Duration) -> Pin<Box<dyn Future<Output = Drained> + Send>> {
        let pool = self.clone();
        Box::pin(async move { Self::drain(&pool, within).await })
    }

    fn thing(lease: &Share<Things>) -> &Thing {
        lease
    }

    fn taint(lease: &mut Share<Things>) {
        Share::taint(lease);
    }

    /// Who died was not said goodbye to.
    fn unclosed(&self) -> u64 {
        self.status().died
    }

    fn last_error(&self) -> Option<String> {
        self.status().last_error
    }
}

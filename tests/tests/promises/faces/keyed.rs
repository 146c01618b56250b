//! `KeyedPool`, of which all have the same key.

use std::{pin::Pin, sync::Arc, time::Duration};

use pool_core::{Config, Drained, KeyedLease, KeyedManager, KeyedPool, Usage};

use crate::{
    backend::{Backend, Observer, Oops, Stage, Thing},
    face::{Face, Get, Lends, Limit, config},
    faces::pool::{Things, mistake, tends, told, within},
};

const KEY: u32 = 7;

impl KeyedManager<u32> for Things {
    type Resource = Thing;
    type Error = Oops;

    async fn create(&self, _: &u32) -> Result<Thing, Oops> {
        self.0.open(None).await
    }

    tends!();

    async fn close(&self, thing: Thing) {
        let _ = self.0.run(Stage::Close).await;
        drop(thing);
    }
}

pub(crate) type Keyed = KeyedPool<u32, Things>;

impl Lends for Keyed {
    type Lease = KeyedLease<u32, Things>;

    fn of(size: u32) -> Self {
        Self::new(&Backend::new(), config(size))
    }

    fn get(&self, limit: Limit) -> Get<Self::Lease> {
        let pool = self.clone();
        Box::pin(async move { within!(Self::get(&pool, &KEY), limit) })
    }

    fn in_line(&self) -> usize {
        self.status().waiting
    }

    fn out(&self) -> u32 {
        self.status().leased
    }

    fn close(&self) {
        Self::close(self);
    }

    fn mistake(&self) -> Option<String> {
        let of_key = self.status_of(&KEY).and_then(|status| mistake(&status));
        mistake(&self.status()).or(of_key)
    }
}

impl Face for Keyed {
    const TENDS: bool = true;
    const SHEDS: bool = true;

    fn new(backend: &Arc<Backend>, config: Config) -> Self {
        let things = Things(Arc::clone(backend));
        let observer = Observer(Arc::clone(backend));
        let total = config.get_max_size();
        let builder = Self::builder(things).config(config).max_total(total);
        builder.observer(observer).build().unwrap()
    }

    fn backend(&self) -> &Arc<Backend> {
        &self.manager().0
    }

    fn try_get(&self) -> Option<Self::Lease> {
        Self::try_get(self, &KEY).ok()
    }

    fn drain(&self, within: Duration) -> Pin<Box<dyn Future<Output = Drained> + Send>> {
        let pool = self.clone();
        Box::pin(async move { Self::drain(&pool, within).await })
    }

    fn thing(lease: &Self::Lease) -> &Thing {
        lease
    }

    fn taint(lease: &mut Self::Lease) {
        KeyedLease::taint(lease);
    }

    fn unclosed(&self) -> u64 {
        self.status().dropped
    }

    fn last_error(&self) -> Option<String> {
        self.status_of(&KEY)?.last_error
    }
}

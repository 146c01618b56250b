//! `MixedPool`, of which all have the same key, and each is for one at a time: either because it is lent, or because it may have one
//! share.

use std::{pin::Pin, sync::Arc, time::Duration};

use pool_core::{
    Config, Drained, Gauge, Held, MixedLease, MixedManager, MixedPool, MixedShare, Opened, Usage,
};

use crate::{
    backend::{Backend, Observer, Oops, Stage, Thing},
    face::{Face, Get, Lends, Limit, config},
    faces::pool::{mistake, tends, told, within},
};

const KEY: u32 = 7;

/// Opens connections that are lent, or shared.
pub(crate) struct Mixes<const SHARED: bool>(Arc<Backend>);

impl<const SHARED: bool> MixedManager<u32> for Mixes<SHARED> {
    type One = Thing;
    type Many = Thing;
    type Error = Oops;

    async fn create(&self, _: &u32, gauge: Gauge) -> Result<Opened<Thing, Thing>, Oops> {
        if !SHARED {
            return self.0.open_lent(gauge).await.map(Opened::One);
        }
        gauge.set_capacity(1);
        self.0.open(Some(gauge)).await.map(Opened::Many)
    }

    fn expects(&self, _: &u32) -> Option<u32> {
        Some(1)
    }

    tends!();

    async fn close(&self, thing: Opened<Thing, Thing>) {
        let (Opened::One(of) | Opened::Many(of)) = &thing;
        of.parts();
        let _ = self.0.run(Stage::Close).await;
        drop(thing);
    }
}

pub(crate) type Mixed<const SHARED: bool> = MixedPool<u32, Mixes<SHARED>>;

impl<const SHARED: bool> Lends for Mixed<SHARED> {
    type Lease = Held<u32, Mixes<SHARED>>;

    fn of(size: u32) -> Self {
        Self::new(&Backend::new(), config(size))
    }

    fn get(&self, limit: Limit) -> Get<Self::Lease> {
        let pool = self.clone();
        Box::pin(async move { within!(Self::get(&pool, &KEY), limit) })
    }

    fn in_line(&self) -> usize {
        self.status().connections.waiting
    }

    fn out(&self) -> u32 {
        self.status().connections.leased
    }

    fn close(&self) {
        Self::close(self);
    }

    fn mistake(&self) -> Option<String> {
        let all = [Some(self.status()), self.status_of(&KEY)];
        all.into_iter().flatten().find_map(|of| {
            let shares = if SHARED { of.connections.leased } else { 0 };
            let adds_up = of.shares == shares && of.shared + shares >= of.draining + of.shares;
            let known = of.shared <= of.connections.open && of.shares + of.available <= of.shared;
            let more = (!adds_up || !known).then(|| format!("{of:?}"));
            mistake(&of.connections).or(more)
        })
    }
}

impl<const SHARED: bool> Face for Mixed<SHARED> {
    const TENDS: bool = !SHARED;
    const SHEDS: bool = true;

    fn new(backend: &Arc<Backend>, config: Config) -> Self {
        let observer = Observer(Arc::clone(backend));
        let total = config.get_max_size();
        let builder = Self::builder(Mixes(Arc::clone(backend)));
        let builder = builder.config(config).max_total(total);
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
        match lease {
            Held::One(thing) => thing,
            Held::Many(thing) => thing,
        }
    }

    fn taint(lease: &mut Self::Lease) {
        match lease {
            Held::One(lease) => MixedLease::taint(lease),
            Held::Many(share) => MixedShare::taint(share),
        }
    }

    /// With its runtime, or dead while somebody had a share of it.
    fn unclosed(&self) -> u64 {
        self.status().connections.dropped + self.backend().died()
    }

    fn last_error(&self) -> Option<String> {
        self.status_of(&KEY)?.connections.last_error
    }
}

//! `Pool`.

use std::{pin::Pin, sync::Arc, time::Duration};

use pool_core::{Config, Drained, Error, Lease, Manager, Pool, Status, Usage};

use crate::{
    backend::{Backend, Observer, Oops, Stage, Thing},
    face::{Face, Get, Lends, Limit, Told, config},
};

#[derive(Clone, Debug)]
pub(crate) struct Things(pub(crate) Arc<Backend>);

/// What a manager of things does that are lent to one at a time, but for opening and closing them.
macro_rules! tends {
    () => {
        async fn check(&self, _: &mut Thing, _: &Usage) -> Result<(), Oops> {
            self.0.run(Stage::Check).await
        }

        fn needs_reset(&self, thing: &mut Thing, _: &Usage) -> bool {
            thing.needs_reset()
        }

        async fn reset(&self, thing: &mut Thing, _: &Usage) -> Result<(), Oops> {
            self.0.run(Stage::Reset).await?;
            *thing.dirty.get_mut() = false;
            Ok(())
        }

        fn is_broken(&self, thing: &mut Thing) -> bool {
            thing.is_broken()
        }
    };
}

/// A get of any of the pools, limited as a test wants it, and what it was told.
macro_rules! within {
    ($get:expr, $limit:expr) => {{
        let get = $get;
        let get = match $limit {
            Limit::Own => get,
            Limit::Within(limit) => get.timeout(limit),
            Limit::Until(deadline) => get.deadline(deadline),
        };
        get.await.map_err(told)
    }};
}
pub(crate) use {tends, within};

impl Manager for Things {
    type Resource = Thing;
    type Error = Oops;

    async fn create(&self) -> Result<Thing, Oops> {
        self.0.open(None).await
    }

    tends!();

    async fn close(&self, thing: Thing) {
        let _ = self.0.run(Stage::Close).await;
        drop(thing);
    }
}

impl Lends for Pool<Things> {
    type Lease = Lease<Things>;

    fn of(size: u32) -> Self {
        Self::new(&Backend::new(), config(size))
    }

    fn get(&self, limit: Limit) -> Get<Lease<Things>> {
        let pool = self.clone();
        Box::pin(async move { within!(Self::get(&pool), limit) })
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
        mistake(&self.status())
    }
}

/// What a get was told.
pub(crate) fn told(error: Error<Oops>) -> Told {
    match () {
        () if error.is_timeout() => Told::Timeout,
        () if error.is_closed() => Told::Closed,
        () if error.is_overloaded() => Told::Overloaded,
        () if error.is_connect() => Told::Connect,
        () if error.is_no_runtime() => Told::NoRuntime,
        () => Told::Other,
    }
}

/// What does not add up in a status, if anything.
pub(crate) fn mistake(of: &Status) -> Option<String> {
    let adds_up = of.open == of.idle + of.leased + of.checking + of.resetting;
    let bounded = of.open + of.opening + of.closing <= of.max_size;
    (!adds_up || !bounded).then(|| format!("{of:?}"))
}

impl Face for Pool<Things> {
    const TENDS: bool = true;
    const SHEDS: bool = true;

    fn new(backend: &Arc<Backend>, config: Config) -> Self {
        let things = Things(Arc::clone(backend));
        let observer = Observer(Arc::clone(backend));
        let builder = Self::builder(things).config(config);
        builder.observer(observer).build().unwrap()
    }

    fn backend(&self) -> &Arc<Backend> {
        &self.manager().0
    }

    fn try_get(&self) -> Option<Lease<Things>> {
        Self::try_get(self).ok()
    }

    fn drain(&self, within: Duration) -> Pin<Box<dyn Future<Output = Drained> + Send>> {
        let pool = self.clone();
        Box::pin(async move { Self::drain(&pool, within).await })
    }

    fn thing(lease: &Lease<Things>) -> &Thing {
        lease
    }

    fn taint(lease: &mut Lease<Things>) {
        Lease::taint(lease);
    }

    fn unclosed(&self) -> u64 {
        self.status().dropped
    }

    fn last_error(&self) -> Option<String> {
        self.status().last_error
    }
}

//! Looks names up, and again: connections to addresses that a name no longer has are retired.

use std::{
    collections::HashMap,
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{net::lookup_host, runtime::Handle, task::JoinSet, time::sleep};

use super::{
    dial::{Address, Dial},
    settings::{Host, Target},
};

/// Finds the addresses of a name.
#[derive(Clone)]
pub(super) struct Resolver(Arc<LookUp>);

type LookUp = dyn Fn(String, u16) -> Pin<Box<dyn Future<Output = Found> + Send>> + Send + Sync;
type Found = io::Result<Vec<SocketAddr>>;

impl Resolver {
    pub(super) fn new<F>(look_up: impl Fn(String, u16) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Found> + Send + 'static,
    {
        Self(Arc::new(move |name, port| Box::pin(look_up(name, port))))
    }

    async fn look_up(&self, name: &str, port: u16) -> Found {
        (self.0)(name.to_owned(), port).await
    }
}

/// The system's resolver.
impl Default for Resolver {
    fn default() -> Self {
        Self::new(async |name: String, port| Ok(lookup_host((name, port)).await?.collect()))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

/// The names of a pool's servers, and the addresses that they have.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) resolver: Resolver,
    /// How often names are looked up again. `None`: only for new connections.
    pub(super) resolve_every: Option<Duration>,
    /// What each name had last. Guards only itself.
    known: Mutex<HashMap<(String, u16), Vec<SocketAddr>>>,
    /// The task that looks up again. Its drop ends it.
    task: Mutex<JoinSet<()>>,
}

impl Names {
    /// Returns the addresses of the name: at least one.
    ///
    /// # Errors
    /// The look-up has failed, or found none.
    pub(super) async fn look_up(&self, name: &str, port: u16) -> Found {
        let found = self.resolver.look_up(name, port).await?;
        if found.is_empty() {
            return Err(io::Error::other("the name has no address"));
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert((name.to_owned(), port), found.clone());
        Ok(found)
    }

    /// What the name had last.
    fn known(&self, name: &str, port: u16) -> Vec<SocketAddr> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(&(name.to_owned(), port));
        found.cloned().unwrap_or_default()
    }
}

impl Dial {
    /// Looks the names up again from now on, if there are any.
    pub(super) fn watch_names(self: &Arc<Self>) {
        let Some(every) = self.names.resolve_every else {
            return;
        };
        let (Ok(runtime), true) = (
            Handle::try_current(),
            self.settings.targets.iter().any(is_name),
        ) else {
            return;
        };
        let mut task = self
            .names
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // That of a runtime that has ended is replaced.
        while task.try_join_next().is_some() {}
        if !task.is_empty() {
            return;
        }
        let dial = Arc::downgrade(self);
        let look = async move {
            loop {
                sleep(every).await;
                let Some(dial) = dial.upgrade() else {
                    return;
                };
                dial.look_again().await;
            }
        };
        drop(task.spawn_on(look, &runtime));
    }

    /// Retires the connections to addresses that no name has any more. A name that is not found now keeps what it had.
    async fn look_again(&self) {
        // An idle pool asks nobody.
        if self.trust.in_use().is_empty() {
            return;
        }
        let mut listed = Vec::new();
        for target in &self.settings.targets {
            let Host::Tcp(name) = &target.host else {
                continue;
            };
            match literal(target) {
                Some(address) => listed.push(SocketAddr::new(address, target.port)),
                None => listed.extend(match self.names.look_up(name, target.port).await {
                    Ok(found) => found,
                    Err(_) => self.names.known(name, target.port),
                }),
            }
        }
        for (address, standing) in self.trust.in_use() {
            if let Address::Tcp(address) = address
                && !listed.contains(&address)
            {
                standing.condemn(standing.era());
            }
        }
    }
}

/// The address that needs no look-up.
fn literal(target: &Target) -> Option<IpAddr> {
    match &target.host {
        Host::Unix(_) => None,
        Host::Tcp(name) => target.hostaddr.or_else(|| name.parse().ok()),
    }
}

fn is_name(target: &Target) -> bool {
    matches!(target.host, Host::Tcp(_)) && literal(target).is_none()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use tokio::time::advance;

    use super::{super::settings::Options, *};

    fn at(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 5432).into()
    }

    /// What the name has, and how often it was looked up.
    #[derive(Default)]
    struct Zone {
        has: Mutex<Option<Vec<SocketAddr>>>,
        asked: AtomicU32,
    }

    fn dial(zone: &Arc<Zone>, url: &str) -> Arc<Dial> {
        let settings = Options::parse("url", url).unwrap().complete().unwrap();
        let mut dial = Dial::new(settings).unwrap();
        let zone = Arc::clone(zone);
        dial.names.resolver = Resolver::new(move |name, port| {
            assert_eq!((name.as_str(), port), ("db.example", 5432));
            zone.asked.fetch_add(1, Relaxed);
            let has = zone.has.lock().unwrap().clone();
            async move { has.ok_or_else(|| io::Error::other("gone")) }
        });
        dial.names.resolve_every = Some(Duration::from_secs(30));
        Arc::new(dial)
    }

    async fn half_a_minute() {
        advance(Duration::from_secs(30)).await;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn connections_to_an_address_that_is_gone_are_retired_and_no_others() {
        let zone = Arc::new(Zone::default());
        let has = |list: Option<&[u8]>| {
            let list = list.map(|list| list.iter().map(|last| at(*last)).collect());
            *zone.has.lock().unwrap() = list;
        };
        let dial = dial(&zone, "postgres://u@db.example,10.0.0.9/db");
        has(Some(&[1, 2]));
        dial.names.look_up("db.example", 5432).await.unwrap();
        dial.watch_names();
        dial.watch_names();
        half_a_minute().await;
        assert_eq!(zone.asked.load(Relaxed), 1, "no connection, no question");
        let [one, two, literal] = [1, 2, 9].map(|last| dial.trust.of(&Address::Tcp(at(last))));
        half_a_minute().await;
        assert_eq!(zone.asked.load(Relaxed), 2, "one task");
        // A name that is not found, or has nothing, is no news.
        for list in [None, Some(&[][..])] {
            has(list);
            half_a_minute().await;
            assert!(![&one, &two, &literal].iter().any(|it| it.is_condemned(0)));
        }
        has(Some(&[2, 3]));
        half_a_minute().await;
        assert!(one.is_condemned(0));
        assert!(!two.is_condemned(0) && !literal.is_condemned(0));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_looked_up_again_where_that_is_off_or_there_is_no_name() {
        let zone = Arc::new(Zone::default());
        let mut off = dial(&zone, "postgres://u@db.example/db");
        Arc::get_mut(&mut off).unwrap().names.resolve_every = None;
        let literal = dial(&zone, "postgres://u@10.0.0.1/db");
        for dial in [off, literal] {
            let _held = dial.trust.of(&Address::Tcp(at(7)));
            dial.watch_names();
            half_a_minute().await;
            assert_eq!(zone.asked.load(Relaxed), 0);
        }
    }
}

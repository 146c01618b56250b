//! What the connections of one pool know of their servers together: so what one of them learns, all of them heed.
//!
//! Each server (an address) has a number, its era. A connection has the era in which it was opened, or last checked. Two things
//! may begin a new era:
//!
//! - A doubt: the server ends a connection because it stops (57P01, 57P02, 57P03), a connection that is in use is lost, or the
//!   server does not react to a request to cancel. The other connections may still be good: an administrator may have ended one
//!   backend. So each connection of the old era is checked before its next lease, the idle ones at once, and takes the new era
//!   when it has passed.
//! - A verdict: the server is no longer what the pool wants. No connection of the old era is handed out again.
//!
//! What a connection learns counts for its own era only. So when a server ends a hundred connections, the first begins an era, and
//! the others change nothing: least of all for the connections that were opened meanwhile.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::{runtime::Handle, sync::Notify};

use super::{Manager, dial::Address};

/// What is known of the servers of one pool.
#[derive(Default)]
pub(super) struct Trust {
    /// Guards the map only. The servers to which there are connections, and some to which there were.
    servers: Mutex<HashMap<Address, Arc<Standing>>>,
    pool: OnceLock<Box<Find>>,
}

/// Returns the pool, as long as it has a handle.
type Find = dyn Fn() -> Option<pool_core::Pool<Manager>> + Send + Sync;

/// What is known of one server.
// Ordering: `Relaxed` is enough. The numbers publish nothing else, and a connection that reads one late is like one whose caller came
// a moment earlier.
#[derive(Debug, Default)]
pub(super) struct Standing {
    era: AtomicU64,
    /// Connections of an older era are not handed out any more.
    first_good: AtomicU64,
    trust: Weak<Trust>,
    /// Told of each verdict.
    verdicts: Notify,
}

impl Trust {
    /// Says whose idle connections are closed and checked.
    pub(super) fn serves(
        &self,
        pool: impl Fn() -> Option<pool_core::Pool<Manager>> + Send + Sync + 'static,
    ) {
        // This cannot fail: a pool is built once.
        drop(self.pool.set(Box::new(pool)));
    }

    /// Returns what is known of the server at `address`.
    pub(super) fn of(self: &Arc<Self>, address: &Address) -> Arc<Standing> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(standing) = servers.get(address) {
            return Arc::clone(standing);
        }
        // Names may get new addresses for ever.
        servers.retain(|_, standing| Arc::strong_count(standing) > 1);
        let standing = Arc::new(Standing {
            trust: Arc::downgrade(self),
            ..Standing::default()
        });
        servers.insert(address.clone(), Arc::clone(&standing));
        standing
    }

    /// Returns the servers to which there are connections.
    pub(super) fn in_use(&self) -> Vec<(Address, Arc<Standing>)> {
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let used = servers
            .iter()
            .filter(|(_, standing)| Arc::strong_count(standing) > 1);
        used.map(|(address, standing)| (address.clone(), Arc::clone(standing)))
            .collect()
    }

    /// The pool, as long as it has a handle.
    pub(super) fn pool(&self) -> Option<pool_core::Pool<Manager>> {
        self.pool.get()?()
    }

    /// Closes and checks idle connections after a new era has begun.
    fn sweep(&self) {
        // Without a runtime the pool still looks at each connection before it hands it out.
        let (Some(pool), Ok(runtime)) = (self.pool(), Handle::try_current()) else {
            return;
        };
        // On a task, for this may be called while a connection is polled, or returned.
        drop(runtime.spawn(async move {
            pool.retain(|client, _| !client.session.is_condemned());
            pool.__recheck(|client| client.session.is_doubted());
        }));
    }
}

impl Standing {
    /// The current era.
    pub(super) fn era(&self) -> u64 {
        self.era.load(Relaxed)
    }

    /// A connection of this era has met something that may concern the others.
    pub(super) fn doubt(&self, era: u64) {
        let begins = self
            .era
            .compare_exchange(era, era + 1, Relaxed, Relaxed)
            .is_ok();
        if begins && let Some(trust) = self.trust.upgrade() {
            trust.sweep();
        }
    }

    /// The server is no longer what the pool wants, as a connection of this era has learnt.
    pub(super) fn condemn(&self, era: u64) {
        self.era.fetch_max(era + 1, Relaxed);
        if self.first_good.fetch_max(era + 1, Relaxed) > era {
            return;
        }
        self.verdicts.notify_waiters();
        if let Some(trust) = self.trust.upgrade() {
            trust.sweep();
        }
    }

    /// Waits until a connection of this era must be closed.
    pub(super) async fn condemned(&self, era: u64) {
        loop {
            let verdict = self.verdicts.notified();
            // A verdict after this look is heard.
            if self.is_condemned(era) {
                return;
            }
            verdict.await;
        }
    }

    /// Whether a connection of this era must be checked.
    pub(super) fn is_doubted(&self, era: u64) -> bool {
        era < self.era.load(Relaxed)
    }

    /// Whether a connection of this era must be closed.
    pub(super) fn is_condemned(&self, era: u64) -> bool {
        era < self.first_good.load(Relaxed)
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_event_begins_one_era_however_many_connections_meet_it() {
        let server = Standing::default();
        let opened = server.era();
        for _ in 0..100 {
            server.doubt(opened);
        }
        assert_eq!(server.era(), opened + 1);
        assert!(server.is_doubted(opened) && !server.is_condemned(opened));
        // One that was opened meanwhile is not concerned, also when an old one comes back late.
        let newer = server.era();
        server.condemn(opened);
        assert!(server.is_condemned(opened));
        assert!(!server.is_doubted(newer) && !server.is_condemned(newer));
        server.condemn(newer);
        assert!(server.is_condemned(newer) && !server.is_condemned(server.era()));
    }

    #[tokio::test]
    async fn a_connection_that_waits_for_a_verdict_hears_of_it_whenever_it_comes() {
        let server = Arc::new(Standing::default());
        let waits = tokio::spawn({
            let server = Arc::clone(&server);
            async move { server.condemned(0).await }
        });
        tokio::task::yield_now().await;
        server.doubt(0);
        tokio::task::yield_now().await;
        assert!(!waits.is_finished(), "a doubt is no verdict");
        server.condemn(0);
        waits.await.unwrap();
        server.condemned(0).await;
    }

    #[test]
    fn servers_are_told_apart_and_those_without_connections_are_forgotten() {
        let trust = Arc::new(Trust::default());
        let at = |port: u16| Address::Tcp(([127, 0, 0, 1], port).into());
        let (one, other) = (trust.of(&at(1)), trust.of(&at(2)));
        one.condemn(0);
        assert!(trust.of(&at(1)).is_condemned(0) && !other.is_condemned(0));
        drop(other);
        for port in 3..100 {
            drop(trust.of(&at(port)));
        }
        let servers = trust.servers.lock().map(|servers| servers.len());
        assert!(servers.is_ok_and(|count| count <= 2));
    }
}

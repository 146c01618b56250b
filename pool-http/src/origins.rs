//! The pools of a client: one pool for each origin, in a bounded table.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pool_core::{Pool, Status};
use tokio::time::Instant;

use crate::{
    config::Config,
    connection::Connection,
    deadline::Deadline,
    dial::{DialError, Dialer},
    error::{Error, Kind},
    manager::Http1,
    origin::Origin,
};

/// The table of pools.
pub(crate) struct Origins {
    dialer: Arc<Dialer>,
    config: Config,
    /// The name of the client. Its pools are published under this name.
    name: Arc<str>,
    /// Guards the table. Under the lock pools are only built and asked for their status; nothing is awaited, and pools are closed
    /// after the unlock.
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    rooms: HashMap<Origin, Entry>,
    /// When the table is next searched for unused origins.
    next_sweep: Option<Instant>,
    closed: bool,
}

struct Entry {
    room: Arc<Room>,
    last_used: Instant,
}

/// The pool of one origin. A caller that is about to use the pool holds the `Arc`, so the origin is not evicted.
pub(crate) struct Room {
    origin: Origin,
    dialer: Arc<Dialer>,
    pub(crate) pool: Pool<Http1>,
}

impl Origins {
    pub(crate) fn new(dialer: Dialer, config: Config, name: Arc<str>) -> Self {
        Self {
            dialer: Arc::new(dialer),
            config,
            name,
            table: Mutex::default(),
        }
    }

    /// Returns the pool of `origin`, and builds it if there is none.
    pub(crate) fn room(&self, origin: &Origin) -> Result<Arc<Room>, Error> {
        let now = Instant::now();
        let mut gone = Vec::new();
        let room = self.lock().room(origin, now, self, &mut gone);
        for room in gone {
            room.pool.close();
        }
        room
    }

    /// Returns the status of every pool, sorted by the names of the origins.
    pub(crate) fn status(&self) -> Vec<(String, Status)> {
        let rooms = self.lock().all();
        let mut status: Vec<_> = rooms
            .iter()
            .map(|room| (room.origin.to_string(), room.pool.status()))
            .collect();
        status.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        status
    }

    /// Closes every pool, and returns the pools.
    pub(crate) fn close(&self) -> Vec<Arc<Room>> {
        let rooms = {
            let mut table = self.lock();
            table.closed = true;
            table.all()
        };
        for room in &rooms {
            room.pool.close();
        }
        rooms
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // A panic in this file never leaves the table half changed, so a poisoned lock is safe to use.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// Opens a connection in place of a dead one. The caller holds the lease of the dead connection, so the bound holds.
    pub(crate) async fn dial(&self, deadline: Option<Deadline>) -> Result<Connection, Error> {
        let dial = self.dialer.dial(&self.origin);
        let result = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline.at, dial)
                .await
                .unwrap_or_else(|_elapsed| Err(DialError::late(deadline.of))),
            None => dial.await,
        };
        result.map_err(|error| Error::dial(error, &self.origin))
    }

    /// Whether no caller uses the pool, waits for it, or is about to use it.
    fn is_idle(self: &Arc<Self>, status: &Status) -> bool {
        // One reference is the table's own. The table is locked, so the count cannot grow meanwhile.
        Arc::strong_count(self) == 1
            && status.leased == 0
            && status.opening == 0
            && status.waiting == 0
    }
}

impl Table {
    fn room(
        &mut self,
        origin: &Origin,
        now: Instant,
        of: &Origins,
        gone: &mut Vec<Arc<Room>>,
    ) -> Result<Arc<Room>, Error> {
        if self.closed {
            return Err(Error::new(Kind::Closed).at(origin));
        }
        self.sweep(now, of.config.idle_timeout, gone);
        if let Some(entry) = self.rooms.get_mut(origin) {
            entry.last_used = now;
            return Ok(Arc::clone(&entry.room));
        }
        if self.rooms.len() >= of.config.max_origins {
            gone.push(self.longest_idle().ok_or_else(|| {
                let what = format!(
                    "all of the {} origins that may have connections are in use",
                    of.config.max_origins
                );
                Error::unsent(Kind::Overloaded(what), origin)
            })?);
        }
        let manager = Http1::new(
            Arc::clone(&of.dialer),
            origin.clone(),
            of.config.drain_bytes,
        );
        // All pools have the name of the client. Metrics distinguish them by server, spans by key.
        let pool = Pool::builder(manager)
            .name(&*of.name)
            .config(of.config.pool())
            .__key(&origin.to_string());
        #[cfg(feature = "metrics")]
        let pool = pool.metric_names(pool_core::observe::MetricNames::Http {
            address: origin.name().to_owned(),
            port: origin.port(),
        });
        let pool = pool
            .build()
            .map_err(|error| Error::request(error.to_string()).at(origin))?;
        let room = Arc::new(Room {
            origin: origin.clone(),
            dialer: Arc::clone(&of.dialer),
            pool,
        });
        self.rooms.insert(
            origin.clone(),
            Entry {
                room: Arc::clone(&room),
                last_used: now,
            },
        );
        Ok(room)
    }

    /// Removes the origins that have been unused for `idle_timeout` and have no open connection. Runs once per `idle_timeout` at
    /// most.
    fn sweep(&mut self, now: Instant, idle_timeout: Option<Duration>, gone: &mut Vec<Arc<Room>>) {
        let Some(idle_timeout) = idle_timeout else {
            return;
        };
        if self.next_sweep.is_some_and(|next| now < next) {
            return;
        }
        self.next_sweep = now.checked_add(idle_timeout);
        let unused = self.rooms.extract_if(|_, entry| {
            let status = entry.room.pool.status();
            now.saturating_duration_since(entry.last_used) >= idle_timeout
                && status.open == 0
                && entry.room.is_idle(&status)
        });
        gone.extend(unused.map(|(_, entry)| entry.room));
    }

    /// Removes the origin that has been idle longest, and returns its pool.
    fn longest_idle(&mut self) -> Option<Arc<Room>> {
        let idle = self
            .rooms
            .iter()
            .filter(|(_, entry)| entry.room.is_idle(&entry.room.pool.status()));
        let origin = idle
            .min_by_key(|(_, entry)| entry.last_used)
            .map(|(origin, _)| origin.clone())?;
        self.rooms.remove(&origin).map(|entry| entry.room)
    }

    fn all(&self) -> Vec<Arc<Room>> {
        self.rooms
            .values()
            .map(|entry| Arc::clone(&entry.room))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::counters::Counters;

    fn origins(config: Config) -> Origins {
        let dialer = Dialer::new(
            &config,
            #[cfg(feature = "tls")]
            crate::tls::Tls::with_roots(&[]).unwrap(),
            Arc::new(Counters::default()),
        );
        Origins::new(dialer, config, "http".into())
    }

    fn origin(port: u16) -> Origin {
        Origin::of(&format!("http://localhost:{port}/").parse().unwrap()).unwrap()
    }

    #[test]
    fn a_pool_that_somebody_is_about_to_use_is_not_given_up() {
        let origins = origins(Config::new().max_origins(1));
        let room = origins.room(&origin(1)).unwrap();
        assert!(
            origins
                .room(&origin(2))
                .is_err_and(|error| error.is_overloaded())
        );
        assert!(Arc::ptr_eq(&room, &origins.room(&origin(1)).unwrap()));
        assert!(!room.pool.is_closed());
        drop(room);
        origins.room(&origin(2)).unwrap();
        assert_eq!(origins.lock().rooms.len(), 1);
    }

    #[test]
    fn a_pool_that_is_given_up_is_closed() {
        let origins = origins(Config::new().max_origins(1));
        let pool = origins.room(&origin(1)).unwrap().pool.clone();
        origins.room(&origin(2)).unwrap();
        assert!(pool.is_closed());
    }

    #[test]
    fn a_closed_table_makes_no_pool() {
        let origins = origins(Config::new());
        origins.room(&origin(1)).unwrap();
        assert_eq!(origins.close().len(), 1);
        assert!(
            origins
                .room(&origin(1))
                .is_err_and(|error| error.is_closed())
        );
        assert!(
            origins
                .room(&origin(2))
                .is_err_and(|error| error.is_closed())
        );
    }
}

//! One host of a router: what was measured of it, and who measures it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use pool_core::Manager as _;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};
use tokio_postgres::SimpleQueryMessage;

use super::{Rules, Token, log::Log};
use crate::{
    Error,
    postgres::{Client, Pool, session::Session},
};

/// What the tasks that measure, and those who read, share.
#[derive(Debug)]
pub(super) struct Board {
    pub(super) hosts: Vec<Host>,
    pub(super) rules: Rules,
    /// Guards only itself. Taken after the lock of a host.
    log: Mutex<Log>,
    /// Changes with each measurement.
    pub(super) news: watch::Sender<u64>,
    /// How many reads wait for a replica to reach a place.
    waiting: AtomicUsize,
    hurry: Notify,
}

#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) pool: Pool,
    /// Guards only itself.
    seen: Mutex<Seen>,
    pub(super) chosen: AtomicU64,
    /// A read has found out since the last measurement that the host is not there.
    is_shunned: AtomicBool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// `None` after a measurement that failed.
    pub(super) last: Option<Measured>,
    pub(super) error: Option<String>,
    /// Whether there was a measurement, good or bad.
    pub(super) is_tried: bool,
}

/// What a server has said of itself.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    /// When it was asked.
    pub(super) at: Instant,
    pub(super) is_replica: bool,
    /// How far it has written its log, or replayed that of its primary.
    pub(super) position: u64,
    /// Which of the logs that is: each promotion begins one. The places of different ones do not compare.
    pub(super) timeline: u32,
    /// The session that was asked. When it is lost, the server may have been started anew, at an older place.
    session: Arc<Session>,
}

impl Board {
    pub(super) fn new(hosts: Vec<(String, Pool)>, rules: Rules) -> Self {
        let hosts = hosts.into_iter().map(|(name, pool)| Host {
            name,
            pool,
            seen: Mutex::default(),
            chosen: AtomicU64::new(0),
            is_shunned: AtomicBool::new(false),
        });
        Self {
            hosts: hosts.collect(),
            rules,
            log: Mutex::default(),
            news: watch::Sender::new(0),
            waiting: AtomicUsize::new(0),
            hurry: Notify::new(),
        }
    }

    pub(super) fn log<T>(&self, look: impl FnOnce(&mut Log) -> T) -> T {
        look(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Measures one host for ever.
    pub(super) async fn watch(self: Arc<Self>, index: usize) {
        let host = &self.hosts[index];
        let mut control = None;
        loop {
            let limit = self.rules.measure_timeout;
            let measured = match timeout(limit, host.measure(&mut control)).await {
                Ok(measured) => measured,
                Err(_) => Err(Error::no_answer(limit)),
            };
            match &measured {
                Ok(measured) if !measured.is_replica => {
                    let Measured {
                        timeline,
                        at,
                        position,
                        ..
                    } = *measured;
                    self.log(|log| log.measured(index, timeline, at, position));
                }
                _ => self.log(|log| log.is_no_primary(index)),
            }
            if measured.is_err() {
                control = None;
            }
            host.saw(measured);
            self.news
                .send_modify(|count| *count = count.wrapping_add(1));
            if self.waiting.load(Relaxed) > 0 {
                sleep(AGAIN.min(self.rules.measure_every)).await;
            } else {
                tokio::select! {
                    () = sleep(self.rules.measure_every) => {}
                    () = self.hurry.notified() => {}
                }
            }
        }
    }

    /// Measures in quick succession until the result is dropped.
    pub(super) fn hurry(&self) -> Hurry<'_> {
        self.waiting.fetch_add(1, Relaxed);
        self.hurry.notify_waiters();
        Hurry(self)
    }

    /// Whether the host is a replica that may be read from now.
    pub(super) fn is_fit(&self, host: &Host, least: Option<Token>, now: Instant) -> bool {
        let Some(last) = host.seen().last else {
            return false;
        };
        if !last.is_replica || host.is_shunned.load(Relaxed) || last.session.lost.get().is_some() {
            return false;
        }
        if least.is_some_and(|least| last.position < least.0) {
            return false;
        }
        self.log(|log| {
            if log.is_empty() {
                return true;
            }
            if log
                .timeline()
                .is_some_and(|timeline| timeline != last.timeline)
            {
                return false;
            }
            let is_near = self.rules.max_lag.is_none_or(|most| {
                let behind = log.behind(last.position, last.at, now);
                behind.is_some_and(|behind| behind <= most)
            });
            let bytes = log.bytes_behind(last.position).unwrap_or_default();
            is_near && self.rules.max_lag_bytes.is_none_or(|most| bytes <= most)
        })
    }
}

/// A read that waits for a replica. Its drop ends the hurry.
#[derive(Debug)]
pub(super) struct Hurry<'a>(&'a Board);

impl Drop for Hurry<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

impl Host {
    pub(super) fn seen(&self) -> Seen {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The host was not there for a read. It is left out until it has answered again.
    pub(super) fn shun(&self) {
        self.is_shunned.store(true, Relaxed);
    }

    /// How many callers have or want a connection.
    pub(super) fn load(&self) -> usize {
        let status = self.pool.status();
        status.leased as usize + status.waiting
    }

    fn saw(&self, measured: Result<Measured, Error>) {
        let is_there = measured.is_ok();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.is_tried = true;
        match measured {
            Ok(measured) => (seen.last, seen.error) = (Some(measured), None),
            Err(error) => (seen.last, seen.error) = (None, Some(error.to_string())),
        }
        drop(seen);
        if is_there {
            self.is_shunned.store(false, Relaxed);
        }
    }

    /// Asks the server, on a connection of its own beside the pool: so a pool that is full delays nothing.
    async fn measure(&self, control: &mut Option<Client>) -> Result<Measured, Error> {
        let client = match control {
            Some(client) => client,
            None => control.insert(self.pool.manager().create().await?),
        };
        let at = Instant::now();
        let said = client.simple_query(WHERE).await?;
        let row = said.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let told = row.and_then(|row| {
            let position = row.get(1)?.parse::<Token>().ok()?;
            Some((row.get(0)?, position, row.get(2)?.parse().ok()?))
        });
        let Some((is_replica, position, timeline)) = told else {
            return Err(Error::no_place());
        };
        Ok(Measured {
            at,
            is_replica: is_replica == "t",
            position: position.0,
            timeline,
            session: Arc::clone(&client.session),
        })
    }
}

/// The role, the place and the timeline. A replica may know its timeline from what it receives, or from what it has noted on disk.
const WHERE: &str = "SELECT r, \
     CASE WHEN r THEN coalesce(pg_catalog.pg_last_wal_replay_lsn(), '0/0') ELSE pg_catalog.pg_current_wal_lsn() END, \
     CASE WHEN r THEN greatest((SELECT max(received_tli) FROM pg_catalog.pg_stat_wal_receiver), \
     (SELECT min_recovery_end_timeline FROM pg_catalog.pg_control_recovery()), \
     (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint())) \
     ELSE ('x' || substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::int END \
     FROM pg_catalog.pg_is_in_recovery() AS r";
/// How soon a server is asked again while a read waits for it.
const AGAIN: Duration = Duration::from_millis(5);

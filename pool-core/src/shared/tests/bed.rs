//! A shared pool whose connections and threads belong to a model.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    task::{Poll, Waker},
};

#[cfg(pool_shuttle)]
use shuttle::future::block_on;

use super::limits;
#[cfg(pool_loom)]
use crate::engine::tests::block_on;
use crate::{
    engine::Refusal,
    gauge::LinkId,
    moment::Moment,
    shared::{
        links::{Links, Take, Ticket},
        places::Share,
        work::Work,
    },
};

/// A connection that counts its users.
#[derive(Debug, Default)]
pub(super) struct Conn {
    pub(super) inside: AtomicU32,
    closed: AtomicBool,
}

/// A shared pool whose connections open at once, with this capacity.
#[derive(Clone)]
pub(super) struct Bed {
    pub(super) links: Arc<Links<Conn, &'static str>>,
    pub(super) capacity: u32,
    /// How many of the next opens fail.
    pub(super) fails: Arc<AtomicU32>,
    pub(super) opened: Arc<AtomicU32>,
    pub(super) closed: Arc<AtomicU32>,
}

pub(super) const NOW: Moment = Moment::from_nanos(1_000_000_000);

impl Conn {
    /// Checks that the connection is open, for the holder of a share.
    pub(super) fn check(&self) {
        assert!(!self.closed.load(SeqCst), "it was closed in use");
    }

    /// The connection is closed, or dropped after its death.
    fn end(&self) {
        assert_eq!(self.inside.load(SeqCst), 0, "it is closed in use");
        assert!(!self.closed.swap(true, SeqCst), "it is closed twice");
    }
}

impl Bed {
    pub(super) fn new(max_links: u32, capacity: u32) -> Self {
        Self {
            links: Arc::new(Links::new(limits(max_links))),
            capacity,
            fails: Arc::default(),
            opened: Arc::default(),
            closed: Arc::default(),
        }
    }

    pub(super) fn perform(&self, work: Work<Conn>) {
        let Work {
            wakers,
            opens,
            closes,
            drops,
            ..
        } = work;
        wakers.into_iter().for_each(Waker::wake);
        for conn in drops {
            conn.end();
        }
        for (link, conn, _) in closes {
            conn.end();
            self.closed.fetch_add(1, SeqCst);
            self.perform(self.links.vacate(link, NOW));
        }
        for link in opens {
            let fewer = |fails: u32| fails.checked_sub(1);
            if self.fails.fetch_update(SeqCst, SeqCst, fewer).is_ok() {
                // No jitter, so that the next attempt may begin at once.
                self.perform(self.links.open_failed(link, "refused", NOW, 0.0));
                continue;
            }
            self.opened.fetch_add(1, SeqCst);
            self.perform(self.links.set_capacity(link, self.capacity, NOW));
            let conn = Arc::default();
            let mut work = self.links.opened(link, conn, Moment::NEVER, NOW);
            let unusable = work.unusable.take();
            self.perform(work);
            if unusable.is_some() {
                self.perform(self.links.open_failed(link, "gone", NOW, 0.0));
            }
        }
    }

    /// Takes a share, or joins the queue.
    pub(super) fn ask(&self, waker: Waker) -> Result<Share, Ticket<&'static str>> {
        let (take, work) = self.links.take_or_wait(waker, NOW);
        self.perform(work);
        match take {
            Take::Ready(share) => Ok(share),
            Take::Refused(refusal) => panic!("{refusal:?}"),
            Take::Queued(id, work) => {
                self.perform(work);
                Err(id)
            }
        }
    }

    pub(super) fn look(
        &self,
        id: &Ticket<&'static str>,
        waker: &Waker,
    ) -> Poll<Result<Share, Refusal<&'static str>>> {
        let (answer, work) = self.links.poll(id, waker, NOW);
        self.perform(work);
        answer
    }

    /// Gets a share, and waits as long as it takes.
    pub(super) fn get(&self) -> Share {
        let mut waiting = None;
        block_on(poll_fn(|context| {
            if waiting.is_none() {
                match self.ask(context.waker().clone()) {
                    Ok(share) => return Poll::Ready(share),
                    // Like a get, look again only when woken.
                    Err(id) => {
                        waiting = Some(id);
                        return Poll::Pending;
                    }
                }
            }
            let id = waiting.as_ref().unwrap();
            self.look(id, context.waker())
                .map(|answer| answer.expect("nothing is refused"))
        }))
    }

    /// Gets a share, and waits as long as it takes, unless the pool is closed.
    pub(super) fn try_get(&self) -> Option<Share> {
        let mut waiting = None;
        block_on(poll_fn(|context| {
            if waiting.is_none() {
                let (take, work) = self.links.take_or_wait(context.waker().clone(), NOW);
                self.perform(work);
                match take {
                    Take::Ready(share) => return Poll::Ready(Some(share)),
                    Take::Refused(_) => return Poll::Ready(None),
                    Take::Queued(id, work) => {
                        self.perform(work);
                        waiting = Some(id);
                        return Poll::Pending;
                    }
                }
            }
            let id = waiting.as_ref().unwrap();
            self.look(id, context.waker()).map(Result::ok)
        }))
    }

    /// Reads the connection, as the holder of a share may.
    #[cfg(pool_loom)]
    pub(super) fn look_at(&self, share: &Share) {
        self.conn(share).check();
    }

    /// Returns the connection of this share.
    pub(super) fn conn<'a>(&'a self, share: &'a Share) -> &'a Conn {
        let conn = self.links.connection(share);
        conn.expect("it is there as long as somebody has a share")
    }

    pub(super) fn put(&self, share: Share) {
        if let Some(work) = self.links.put(share, || NOW) {
            self.perform(work);
        }
    }

    /// Returns the link that was opened first.
    pub(super) fn first(&self) -> LinkId {
        let share = self.get();
        let link = share.link();
        self.put(share);
        link
    }

    pub(super) fn finish(&self) {
        let of = self.links.snapshot();
        assert_eq!((of.used, of.waiting, of.opening), (0, 0, 0));
        let ended = (of.draining, of.dead, of.closing);
        assert_eq!(ended, (0, 0, 0), "all that goes is gone");
    }
}

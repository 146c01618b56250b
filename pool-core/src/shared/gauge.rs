//! What a connection says of itself.

use std::{fmt, sync::Weak};

use super::link::LinkId;

/// How the driver of a connection tells the pool what it can take. Clones speak for the same connection.
///
/// It keeps neither the pool nor the connection alive; after either has gone, it does nothing.
#[derive(Clone)]
pub struct Gauge {
    pub(super) pool: Weak<dyn Listens>,
    pub(super) link: LinkId,
}

/// Who is told.
pub(super) trait Listens: Send + Sync {
    fn said(&self, link: LinkId, word: Word);
}

/// What there is to say.
#[derive(Clone, Copy, Debug)]
pub(super) enum Word {
    Capacity(u32),
    Suspect(bool),
    Drain,
    Dead,
}

impl Gauge {
    /// So many may share it from now on: HTTP/2's `SETTINGS_MAX_CONCURRENT_STREAMS`, the depth of a pipeline. It may rise, fall, or
    /// be 0 for a while. Who has a share keeps it, also when it falls below what is in use.
    pub fn set_capacity(&self, shares: u32) {
        self.say(Word::Capacity(shares));
    }

    /// It takes no more, and closes when its last share ends: `GOAWAY`, or a redirect.
    pub fn drain(&self) {
        self.say(Word::Drain);
    }

    /// It gets no new shares until it is [trusted](Self::trust) again: a ping is late.
    pub fn suspect(&self) {
        self.say(Word::Suspect(true));
    }

    /// It has answered.
    pub fn trust(&self) {
        self.say(Word::Suspect(false));
    }

    /// It is dead: those who share it are told at once.
    pub fn dead(&self) {
        self.say(Word::Dead);
    }

    fn say(&self, word: Word) {
        if let Some(pool) = self.pool.upgrade() {
            pool.said(self.link, word);
        }
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauge")
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

//! What a connection says of itself.

use std::{fmt, sync::Weak};

use super::link::LinkId;

/// How the driver of a connection tells the pool what it can take. Clones speak for the same connection.
///
/// It keeps neither the pool nor the connection alive; after either has gone, it does nothing.
///
/// ```
/// use std::{io, sync::Mutex};
/// use pool_core::{Gauge, Share, SharedManager, SharedPool};
///
/// /// What an HTTP/2 connection hears from its server.
/// enum Frame { MaxStreams(u32), GoAway, Closed }
///
/// fn heard(gauge: &Gauge, frame: Frame) {
///     match frame {
///         Frame::MaxStreams(streams) => gauge.set_capacity(streams),
///         Frame::GoAway => gauge.drain(), // those who are at it may finish
///         Frame::Closed => gauge.dead(), // they are told
///     }
/// }
///
/// /// A ping is late: no more calls for it until it has answered.
/// fn pinged(gauge: &Gauge, answered: bool) {
///     if answered { gauge.trust() } else { gauge.suspect() }
/// }
///
/// # #[derive(Default)]
/// # struct Origin(Mutex<Vec<Gauge>>);
/// # impl SharedManager for Origin {
/// #     type Resource = ();
/// #     type Error = io::Error;
/// #     async fn create(&self, gauge: Gauge) -> io::Result<()> {
/// #         heard(&gauge, Frame::MaxStreams(100));
/// #         self.0.lock().unwrap().push(gauge);
/// #         Ok(())
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = SharedPool::builder(Origin::default()).max_size(2).build()?;
/// let call = pool.get().await?;
/// # let gauge = pool.manager().0.lock().unwrap()[0].clone();
/// pinged(&gauge, false);
/// assert_eq!((pool.status().suspect, pool.status().available), (1, 0));
/// pinged(&gauge, true);
/// assert_eq!(pool.status().available, 99);
///
/// heard(&gauge, Frame::GoAway);
/// let next = pool.get().await?; // of another
/// assert_eq!((pool.status().open, pool.status().draining), (1, 1));
/// heard(&gauge, Frame::Closed);
/// assert!(Share::is_dead(&call) && !Share::is_dead(&next));
/// # Ok(())
/// # }
/// ```
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

//! The state that a connection reports to its pool.

use std::{fmt, sync::Weak};

/// Reports the state of a connection to its pool. Clones report for the same connection.
///
/// A gauge keeps neither the pool nor the connection alive. After either is gone, the gauge does nothing.
///
/// A connection that [drains](Self::drain) or [dies](Self::dead) within a second of its open, and that nobody has used, counts as a
/// failed open: the pool waits before it opens the next one.
///
/// ```
/// use std::{io, sync::Mutex};
/// use pool_core::{Gauge, Share, SharedManager, SharedPool};
///
/// /// A frame that an HTTP/2 connection receives from its server.
/// enum Frame { MaxStreams(u32), GoAway, Closed }
///
/// fn heard(gauge: &Gauge, frame: Frame) {
///     match frame {
///         Frame::MaxStreams(streams) => gauge.set_capacity(streams),
///         Frame::GoAway => gauge.drain(), // running calls may finish
///         Frame::Closed => gauge.dead(), // running calls fail at once
///     }
/// }
///
/// /// A late ping: the connection gets no more calls until it has answered.
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
/// let next = pool.get().await?; // a share of another connection
/// assert_eq!((pool.status().open, pool.status().draining), (1, 1));
/// heard(&gauge, Frame::Closed);
/// assert!(Share::is_dead(&call) && !Share::is_dead(&next));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Gauge {
    pub(crate) pool: Weak<dyn Listens>,
    pub(crate) link: LinkId,
}

/// Receives what a gauge says: the pool of the connection.
pub(crate) trait Listens: Send + Sync {
    fn said(&self, link: LinkId, word: Word);
}

/// What a gauge can say about its connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Word {
    Capacity(u32),
    Suspect(bool),
    Drain,
    Dead,
}

/// Names a connection, and stays valid as a name after the connection has gone: no two connections of a pool have the same serial
/// number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkId {
    /// The place, or the seat, of the connection.
    pub(crate) index: u32,
    pub(crate) serial: u64,
}

impl Gauge {
    /// Sets how many calls may share the connection from now on: HTTP/2's `SETTINGS_MAX_CONCURRENT_STREAMS`, or the depth of a
    /// pipeline. The capacity may rise, fall, or be 0 for a while. Shares that are out remain valid, also if the capacity falls
    /// below their number.
    pub fn set_capacity(&self, shares: u32) {
        self.say(Word::Capacity(shares));
    }

    /// The connection takes no more shares, and closes when its last share ends. For `GOAWAY`, or a redirect.
    pub fn drain(&self) {
        self.say(Word::Drain);
    }

    /// The connection gets no new shares until it is [trusted](Self::trust) again. For a late ping.
    pub fn suspect(&self) {
        self.say(Word::Suspect(true));
    }

    /// The connection has answered: it may get shares again.
    pub fn trust(&self) {
        self.say(Word::Suspect(false));
    }

    /// The connection is dead: calls in [`Share::run`](crate::Share::run) end at once, and [`Share::died`](crate::Share::died)
    /// returns.
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

//! The places of connections, and the counts of their shares. A share is taken and given back without a lock.
//!
//! Each place has a cell for a connection, and one word of two halves:
//!
//! | half | meaning | changed by |
//! |---|---|---|
//! | low: `used` | how many shares are out | a get adds 1, a return subtracts 1 |
//! | high: `gives` | while `used` is below it, a share may be taken without the lock; 0 means *come to the lock* | the holder of the lock |
//!
//! `gives` is the capacity while the connection is live and trusted and the queue is empty, and else 0. A return that finds 0 comes
//! to the lock and looks what has to be done: there may be a waiter, or the connection may have to be closed.
//!
//! One word is enough for this protocol: every step is one read-modify-write of the word, and these have one total order. The step
//! that sets `gives` to 0 also reads how many shares are out. After it, no share is taken without the lock, and every return comes
//! to the lock. So if the holder of the lock sets `gives` to 0, looks for a share and then waits, it misses no return. While the
//! whole word is 0, the cell belongs to the holder of the lock. See `PROTOCOL.md`.

use std::{
    fmt,
    ops::Deref,
    sync::{self, OnceLock, atomic::Ordering::Relaxed},
};

use crate::{
    engine::mutation::{self, Mutation},
    sync::{
        Arc, UnsafeCell,
        atomic::{AtomicU64, Ordering},
    },
};
use crate::{gauge::LinkId, load::Load};

/// The places of one shared pool. Places are added when they are needed, and live as long as the pool.
pub(super) struct Places<C> {
    first: [Place<C>; FIRST],
    /// Chunk `n` of the other places has `FIRST << n + 1` of them.
    others: [OnceLock<Box<[Place<C>]>>; CHUNKS],
}

/// The places, with the methods that need the lock. Each pool has one of these, behind its lock.
pub(super) struct PlacesMut<C> {
    places: Arc<Places<C>>,
}

/// Places that two cores write at once are two cache lines apart, since processors fetch cache lines in pairs.
#[repr(align(128))]
struct Place<C> {
    word: AtomicU64,
    cell: UnsafeCell<Option<sync::Arc<C>>>,
    /// The serial number of the connection, written with the cell. It is also read before a share is taken, to choose a place, and
    /// may then be that of the connection before. A plain atomic, which models do not explore: the word orders it like the cell.
    serial: sync::atomic::AtomicU64,
    /// How many shares were ever taken here without the lock. Nothing waits for this count.
    gets: sync::atomic::AtomicU64,
}

/// The best place to take a share from, of those that were looked at.
struct Best<'a, C>(Option<(u32, &'a Place<C>, Load)>);

/// One share of a connection: it counts 1 in the `used` of its place. Only [`Places::put`] takes it back.
#[derive(Debug)]
pub(super) struct Share {
    link: LinkId,
}

const FIRST: usize = 4;
/// Enough for `u32::MAX` places.
const CHUNKS: usize = 30;

const USED: u64 = u32::MAX as u64;
const GIVES: u32 = 32;

// SAFETY: a cell is read by all holders of a share, on any thread, and a connection is put in and taken out on any thread. With
// `Arc<C>: Send + Sync` both are sound, if they do not happen at the same time (see the table). `Place` ensures that.
unsafe impl<C: Send + Sync> Send for Places<C> {}
// SAFETY: as above.
unsafe impl<C: Send + Sync> Sync for Places<C> {}

impl Share {
    /// Returns which connection the share is of.
    pub(super) const fn link(&self) -> LinkId {
        self.link
    }
}

impl<'a, C> Best<'a, C> {
    /// Replaces the best place by this one, if this one gives shares without the lock and comes before it.
    #[inline]
    fn or(&mut self, index: u32, place: &'a Place<C>) {
        // Ordering: Relaxed, since this look only precedes the step that counts.
        let load = place.load(place.word.load(Ordering::Relaxed));
        let best = &mut self.0;
        if load.used < load.of && best.is_none_or(|(_, _, best)| load.comes_before(best)) {
            *best = Some((index, place, load));
        }
    }
}

impl<C> Places<C> {
    pub(super) fn new() -> (Arc<Self>, PlacesMut<C>) {
        let places = Arc::new(Self {
            first: std::array::from_fn(|_| Place::new()),
            others: [const { OnceLock::new() }; CHUNKS],
        });
        let owner = PlacesMut {
            places: Arc::clone(&places),
        };
        (places, owner)
    }

    /// Takes a share of the least loaded connection that gives shares without the lock; of equally loaded ones, of the youngest.
    #[inline]
    pub(super) fn take(&self) -> Option<Share> {
        loop {
            let mut best = Best(None);
            // Nearly always, there are no other places.
            for (index, place) in (0..).zip(&self.first) {
                best.or(index, place);
            }
            if self.others[0].get().is_some() {
                self.look_at_others(&mut best);
            }
            let (index, place, load) = best.0?;
            if place.count(word(load.used, load.of)) {
                place.gets.fetch_add(1, Relaxed);
                return Some(place.share(index));
            }
        }
    }

    #[inline(never)]
    fn look_at_others<'a>(&'a self, best: &mut Best<'a, C>) {
        let others = self.others.iter().map_while(OnceLock::get).flatten();
        for (index, place) in (FIRST as u32..).zip(others) {
            best.or(index, place);
        }
    }

    /// Gives a share back. Returns whether the caller has to come to the lock.
    #[inline]
    #[must_use]
    pub(super) fn put(&self, share: Share) -> bool {
        // Ordering: Release, so that every use of the connection happens before it is taken out. All later changes of the word are
        // read-modify-writes, so they continue the release sequence.
        let before = self.at(share.link).word.fetch_sub(1, Ordering::Release);
        gives(before) == 0
    }

    /// Returns the connection of this share; `None` if the share is of another pool.
    #[inline]
    pub(super) fn connection<'a>(&'a self, share: &'a Share) -> Option<&'a C> {
        let place = self.at(share.link);
        if place.serial.load(Relaxed) != share.link.serial {
            return None;
        }
        // SAFETY: no two connections of a program have the same serial number, so the share is of this place. It is counted here
        // until it is put, and it cannot be put while it is borrowed. While `used` is not 0, nobody writes to the cell.
        place.cell.with(|cell| unsafe { (*cell).as_deref() })
    }

    /// Returns how many shares of this connection are out.
    pub(super) fn used(&self, index: u32) -> u32 {
        let place = self.get(index as usize);
        // Ordering: Relaxed, since the count may change at once anyway.
        place.map_or(0, |place| used(place.word.load(Ordering::Relaxed)))
    }

    /// Whether a return of a share of this connection has to come to the lock. The answer may change at once.
    pub(super) fn is_called(&self, index: u32) -> bool {
        let place = self.get(index as usize);
        place.is_none_or(|place| gives(place.word.load(Ordering::Relaxed)) == 0)
    }

    /// Returns how many shares were ever taken at this place without the lock.
    pub(super) fn gets(&self, index: u32) -> u64 {
        self.get(index as usize)
            .map_or(0, |place| place.gets.load(Relaxed))
    }

    #[inline]
    fn all(&self) -> impl Iterator<Item = &Place<C>> {
        let others = self.others.iter().map_while(OnceLock::get);
        self.first.iter().chain(others.flatten())
    }

    #[inline]
    fn get(&self, index: usize) -> Option<&Place<C>> {
        if let Some(place) = self.first.get(index) {
            return Some(place);
        }
        let (chunk, index) = in_chunk(index);
        self.others.get(chunk)?.get()?.get(index)
    }

    #[inline]
    fn at(&self, link: LinkId) -> &Place<C> {
        self.get(link.index as usize)
            .expect("there is a place for all that is open")
    }
}

/// Returns the chunk of a place, and its index there.
const fn in_chunk(index: usize) -> (usize, usize) {
    let chunk = (index / FIRST + 1).ilog2();
    (chunk as usize - 1, index - FIRST * ((1 << chunk) - 1))
}

impl<C> PlacesMut<C> {
    /// Takes a share of this connection, if fewer than `most` are out.
    pub(super) fn take_below(&mut self, link: LinkId, most: u32) -> Option<Share> {
        let place = self.at(link);
        loop {
            // Ordering: Relaxed, as in `take`.
            let seen = place.word.load(Ordering::Relaxed);
            if used(seen) >= most {
                return None;
            }
            if place.count(seen) {
                return Some(place.share(link.index));
            }
        }
    }

    /// Sets `gives`: a share may be taken without the lock while fewer than `most` are out. Returns how many are out.
    pub(super) fn give(&mut self, index: u32, most: u32) -> u32 {
        let Some(place) = self.get(index as usize) else {
            return 0;
        };
        // Ordering: Relaxed, since this half was last written under the lock.
        let before = gives(place.word.load(Ordering::Relaxed));
        let change = u64::from(most).wrapping_sub(u64::from(before)) << GIVES;
        // Ordering: Release publishes the cell to gets that take a share. Acquire sees every use of the connection before a return.
        used(place.word.fetch_add(change, Ordering::AcqRel))
    }

    /// Puts a connection into an empty place.
    ///
    /// # Panics
    /// Panics if shares of the connection before are out, or can be taken.
    pub(super) fn fill(&mut self, link: LinkId, connection: sync::Arc<C>) {
        if link.index as usize >= FIRST {
            let (last, _) = in_chunk(link.index as usize);
            // Create the chunks before it as well, since a search for a share stops at the first chunk that does not exist.
            for (chunk, others) in self.others.iter().enumerate().take(last + 1) {
                others.get_or_init(|| (0..FIRST << (chunk + 1)).map(|_| Place::new()).collect());
            }
        }
        let place = self.at(link);
        assert!(place.is_ours(), "a place is filled when nobody shares it");
        place.serial.store(link.serial, Relaxed);
        // SAFETY: the word is 0, so there are no shares. No share is taken before `give`, which takes `&mut self`.
        place
            .cell
            .with_mut(|cell| unsafe { *cell = Some(connection) });
    }

    /// Takes the connection out, if no shares are out and none can be taken; else returns `None`.
    pub(super) fn empty(&mut self, index: u32) -> Option<sync::Arc<C>> {
        let place = self.get(index as usize)?;
        if !place.is_ours() {
            return None;
        }
        // SAFETY: as in `fill`.
        place.cell.with_mut(|cell| unsafe { (*cell).take() })
    }

    /// Returns another handle of the connection, so that it can be told something.
    pub(super) fn peek(&mut self, index: u32) -> Option<sync::Arc<C>> {
        let place = self.get(index as usize)?;
        // SAFETY: only `fill` and `empty` write to the cell, and they take `&mut self`.
        place.cell.with(|cell| unsafe { (*cell).clone() })
    }
}

impl<C> Deref for PlacesMut<C> {
    type Target = Places<C>;

    fn deref(&self) -> &Places<C> {
        &self.places
    }
}

#[inline]
const fn used(word: u64) -> u32 {
    (word & USED) as u32
}

#[inline]
const fn gives(word: u64) -> u32 {
    (word >> GIVES) as u32
}

#[inline]
const fn word(used: u32, gives: u32) -> u64 {
    (gives as u64) << GIVES | used as u64
}

impl<C> Place<C> {
    fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            cell: UnsafeCell::new(None),
            serial: sync::atomic::AtomicU64::new(0),
            gets: sync::atomic::AtomicU64::new(0),
        }
    }

    /// Counts one more share, if the word is still as it was `seen`.
    #[inline]
    fn count(&self, seen: u64) -> bool {
        if mutation::on(Mutation::ShareIsCountedInTwoSteps) {
            self.word.store(seen + 1, Ordering::Release);
            return true;
        }
        // Ordering: Acquire pairs with the Release of `give`, so that what was put into the cell before it is seen. All changes of
        // the word between the two are read-modify-writes, so they continue the release sequence.
        self.word
            .compare_exchange_weak(seen, seen + 1, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Makes the share that was counted.
    #[inline]
    fn share(&self, index: u32) -> Share {
        let serial = self.serial.load(Relaxed);
        Share {
            link: LinkId { index, serial },
        }
    }

    /// Returns the load of this place, for gets without the lock.
    #[inline]
    fn load(&self, seen: u64) -> Load {
        Load {
            used: used(seen),
            of: gives(seen),
            serial: self.serial.load(Relaxed),
        }
    }

    /// Whether the cell belongs to the holder of the lock.
    fn is_ours(&self) -> bool {
        // Ordering: Acquire pairs with the Release of `put`, so that every use of the connection by a share is seen.
        self.word.load(Ordering::Acquire) == 0
    }
}

impl<C> fmt::Debug for Places<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Ordering: Relaxed, since the counts may change at once anyway.
        let words = self.all().map(|place| place.word.load(Ordering::Relaxed));
        f.debug_list()
            .entries(words.map(|word| (used(word), gives(word))))
            .finish()
    }
}

impl<C> fmt::Debug for PlacesMut<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.places.fmt(f)
    }
}

#[cfg(all(test, not(any(pool_loom, pool_shuttle))))]
mod tests {
    use super::*;

    fn filled(count: u32) -> (Arc<Places<u32>>, PlacesMut<u32>) {
        let (places, mut owner) = Places::new();
        for index in 0..count {
            let serial = u64::from(index);
            owner.fill(LinkId { index, serial }, sync::Arc::new(index));
            owner.give(index, 1);
        }
        (places, owner)
    }

    #[test]
    fn every_connection_has_a_place_of_its_own() {
        let (places, mut owner) = filled(200);
        let mut shares: Vec<_> = std::iter::from_fn(|| places.take()).collect();
        assert_eq!(shares.len(), 200);
        shares.sort_by_key(|share| share.link().index);
        for (index, share) in (0..).zip(&shares) {
            assert_eq!(places.connection(share), Some(&index));
            assert_eq!(owner.empty(index), None, "somebody has a share");
        }
        assert!(shares.into_iter().all(|share| !places.put(share)));
        owner.give(7, 0);
        assert_eq!(owner.empty(7), Some(sync::Arc::new(7)));
        assert_eq!(owner.empty(8), None, "it gives shares");
    }

    #[test]
    fn one_on_a_late_place_is_found_whichever_are_open_before_it() {
        let (places, mut owner) = filled(1);
        let link = LinkId {
            index: 50,
            serial: 50,
        };
        owner.fill(link, sync::Arc::new(50));
        owner.give(50, 1);
        let taken: Vec<_> = std::iter::from_fn(|| places.take()).collect();
        let indices: Vec<_> = taken.iter().map(|share| share.link().index).collect();
        assert_eq!(indices, [50, 0]);
    }

    #[test]
    fn a_share_of_another_pool_is_good_for_nothing_here() {
        let (places, _owner) = filled(1);
        let (others, mut owner) = Places::new();
        let link = LinkId {
            index: 0,
            serial: 77,
        };
        owner.fill(link, sync::Arc::new(5));
        owner.give(0, 1);
        let share = others.take().unwrap();
        assert_eq!(
            (others.connection(&share), places.connection(&share)),
            (Some(&5), None)
        );
    }

    #[test]
    fn who_gives_a_share_back_is_called_while_none_is_to_be_had() {
        let (places, mut owner) = filled(1);
        let share = places.take().unwrap();
        assert!(places.take().is_none(), "it is full");
        assert_eq!(owner.give(0, 0), 1);
        assert!(places.put(share));
        assert!(places.take().is_none(), "ask under the lock");
        let link = LinkId {
            index: 0,
            serial: 0,
        };
        let share = owner.take_below(link, 1).unwrap();
        assert!(owner.take_below(link, 1).is_none());
        owner.give(0, u32::MAX);
        assert!(!places.put(share));
        assert_eq!(places.used(0), 0);
    }
}

//! The keys in use, found by hash.
//!
//! The table is under the lock, so no key is hashed, compared, cloned or dropped here: that would run user code. A caller brings
//! the hash of its key, and gets all keys with that hash, to compare them with nothing locked (see [`Seen`]).

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    hash::{BuildHasherDefault, Hasher},
    hint::black_box,
    sync::Arc as StdArc,
};

use super::{
    counts::Counts,
    limits::Terms,
    seats::{IdleList, SeatState},
};
use crate::{
    engine::{Backoff, Gate, Shed},
    moment::Moment,
};

/// Names a key, and stays valid as a name after the key was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) index: u32,
    serial: u64,
}

/// The keys with one hash, as they were at one moment.
#[derive(Debug)]
pub(super) struct Seen<K> {
    /// The youngest key. Nearly always the only key, or none.
    pub(super) first: Option<(Place, StdArc<K>)>,
    pub(super) more: Vec<(Place, StdArc<K>)>,
}

impl<K> Seen<K> {
    /// Names the youngest key. While the youngest is the same, no other key with this hash was added.
    pub(super) fn youngest(&self) -> Option<Place> {
        self.first.as_ref().map(|(place, _)| *place)
    }
}

/// The hot part of a key. It fills one cache line, since keys are spread in memory.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Row {
    /// `None` if the row is free.
    terms: Option<StdArc<Terms>>,
    pub(super) gets: u64,
    /// The number of seats of the key, by state. No key has a free seat, so the cell of `Free` counts the late opens of the key.
    counts: [u32; SeatState::COUNT],
    /// The next older key with the same hash.
    older: u32,
    /// The lane of the key, if any future holds a ticket of it.
    pub(super) lane: u32,
    pub(super) idle: IdleList,
    /// Resources of the key that were opened before this generation are closed.
    pub(super) generation: u32,
}

const _: () = assert!(size_of::<Row>() == 64);

/// The rest of a key.
#[derive(Debug)]
pub(super) struct Cold<K, E> {
    pub(super) key: StdArc<K>,
    hash: u32,
    serial: u64,
    pub(super) gate: Gate<E>,
    pub(super) counters: Counts,
    /// Checks of the key that are late, so that they do not count as supply.
    pub(super) late_checks: u32,
    /// Opens of the key that are lost: they have outlasted their timeout, so their runtime polls no tasks.
    pub(super) lost_opens: u32,
    /// When a get last asked for the key and found no idle slot.
    pub(super) asked_at: Moment,
    /// Whether the keeper looks after the queue of the key.
    pub(super) ticks: bool,
    /// Whether the key is remembered without waiters, because opens for it fail.
    pub(super) listed: bool,
    /// When the keeper looks at the key because opens for it fail. `NEVER` if it does not have to.
    pub(super) due: Moment,
    /// The seats of the shared resources of the key that are open.
    pub(super) links: Vec<u32>,
    /// How many of these give no more shares, and are closed with their last.
    pub(super) draining: u32,
    /// How many waiters one open serves: the capacity of the last resource. 0 while nobody knows.
    pub(super) expected: u32,
    /// How many opens of the key that are not late are for one caller each, and no supply for the waiters.
    pub(super) reserved: u32,
    /// Refuses waiters of the key when its queue never gets short.
    pub(super) shed: Option<Box<Shed>>,
}

/// All keys.
#[derive(Debug)]
pub(super) struct Table<K, E> {
    rows: Vec<Row>,
    /// Where the key of each row is: a reference beside that of `colds`, which outlives it.
    keys: Vec<Option<StdArc<K>>>,
    colds: Vec<Option<Box<Cold<K, E>>>>,
    /// By half of the hash, to keep the map small.
    by_hash: HashMap<u32, u32, BuildHasherDefault<Hashed>>,
    /// Free rows, the lowest first, so that rows at the end can be removed. Some entries may be removed already, or in use.
    free: BinaryHeap<Reverse<u32>>,
    live: usize,
    next_serial: u64,
}

pub(super) const NIL: u32 = u32::MAX;

impl<K, E: Clone> Table<K, E> {
    pub(super) fn new() -> Self {
        Self {
            rows: Vec::new(),
            keys: Vec::new(),
            colds: Vec::new(),
            by_hash: HashMap::default(),
            free: BinaryHeap::new(),
            live: 0,
            next_serial: 0,
        }
    }

    /// Returns how many keys are in use.
    pub(super) const fn len(&self) -> usize {
        self.live
    }

    /// Returns a bound on the numbers of keys: every number is less.
    pub(super) fn slots(&self) -> u32 {
        self.rows.len() as u32
    }

    /// Returns the key with this hash, if there is exactly one.
    #[inline]
    pub(super) fn only(&self, hash: u64) -> Option<u32> {
        let index = *self.by_hash.get(&half(hash))?;
        self.fetch_key(index);
        (self.at(index).older == NIL).then_some(index)
    }

    /// Looks at a key, or rather at the count of its references beside it: it will be compared as soon as nothing is locked, and where
    /// there are many it is not in the cache. So it comes while the rows do, for which the lock is held anyway.
    #[inline]
    fn fetch_key(&self, index: u32) {
        if let Some(Some(key)) = self.keys.get(index as usize) {
            black_box(StdArc::strong_count(key));
        }
    }

    /// Returns the keys with this hash, the youngest first.
    pub(super) fn seen(&self, hash: u64) -> Seen<K> {
        let mut index = self.by_hash.get(&half(hash)).copied().unwrap_or(NIL);
        let mut seen = Seen {
            first: None,
            more: Vec::new(),
        };
        while index != NIL {
            let found = (self.place(index), StdArc::clone(&self.cold(index).key));
            index = self.at(index).older;
            match &seen.first {
                None => seen.first = Some(found),
                Some(_) => seen.more.push(found),
            }
        }
        seen
    }

    /// Returns the youngest key with this hash.
    pub(super) fn youngest(&self, hash: u64) -> Option<Place> {
        let index = self.by_hash.get(&half(hash))?;
        Some(self.place(*index))
    }

    /// Whether the key is still in use.
    #[inline]
    pub(super) fn is_there(&self, place: Place) -> bool {
        let cold = self.colds.get(place.index as usize);
        cold.is_some_and(|cold| {
            cold.as_ref()
                .is_some_and(|cold| cold.serial == place.serial)
        })
    }

    #[inline]
    pub(super) fn place(&self, index: u32) -> Place {
        Place {
            index,
            serial: self.cold(index).serial,
        }
    }

    /// Returns the row of the key with this number, if there is such a key.
    pub(super) fn get(&self, index: u32) -> Option<&Row> {
        let row = self.rows.get(index as usize)?;
        row.terms.as_ref().map(|_| row)
    }

    #[inline]
    pub(super) fn at(&self, index: u32) -> &Row {
        &self.rows[index as usize]
    }

    #[inline]
    pub(super) fn at_mut(&mut self, index: u32) -> &mut Row {
        &mut self.rows[index as usize]
    }

    pub(super) fn cold(&self, index: u32) -> &Cold<K, E> {
        self.colds[index as usize].as_ref().expect(THERE)
    }

    pub(super) fn cold_mut(&mut self, index: u32) -> &mut Cold<K, E> {
        self.colds[index as usize].as_mut().expect(THERE)
    }

    /// Adds a key, and returns its number.
    pub(super) fn add(
        &mut self,
        hash: u64,
        key: StdArc<K>,
        terms: StdArc<Terms>,
        backoff: Backoff,
    ) -> u32 {
        let (hash, serial, expected) = (half(hash), self.next_serial, terms.expected);
        let shed = terms.shed_target;
        self.next_serial += 1;
        let index = self.free_row();
        self.live += 1;
        let older = self.by_hash.insert(hash, index).unwrap_or(NIL);
        self.rows[index as usize] = Row {
            terms: Some(terms),
            older,
            ..Row::free()
        };
        // Counted once more: one that went under the lock must not be the last.
        self.keys[index as usize] = Some(StdArc::clone(&key));
        self.colds[index as usize] = Some(Box::new(Cold {
            key,
            hash,
            serial,
            gate: Gate::new(backoff),
            counters: Counts::default(),
            late_checks: 0,
            lost_opens: 0,
            asked_at: Moment::from_nanos(0),
            ticks: false,
            listed: false,
            due: Moment::NEVER,
            links: Vec::new(),
            draining: 0,
            expected,
            reserved: 0,
            shed: shed.map(|target| Box::new(Shed::new(target))),
        }));
        index
    }

    fn free_row(&mut self) -> u32 {
        while let Some(Reverse(index)) = self.free.pop() {
            if self.colds.get(index as usize).is_some_and(Option::is_none) {
                return index;
            }
        }
        self.rows.push(Row::free());
        self.keys.push(None);
        self.colds.push(None);
        (self.rows.len() - 1) as u32
    }

    /// Removes a key. The caller drops it after unlocking.
    pub(super) fn remove(&mut self, index: u32) -> Option<Box<Cold<K, E>>> {
        let cold = self.colds.get_mut(index as usize)?.take()?;
        // Not the last: that is in what comes back.
        self.keys[index as usize] = None;
        let older = std::mem::replace(self.at_mut(index), Row::free()).older;
        self.free.push(Reverse(index));
        self.live -= 1;
        let head = self.by_hash.get(&cold.hash).copied().unwrap_or(NIL);
        if head != index {
            let mut younger = head;
            while younger != NIL {
                let next = self.at(younger).older;
                if next == index {
                    self.at_mut(younger).older = older;
                }
                younger = next;
            }
        } else if older == NIL {
            self.by_hash.remove(&cold.hash);
        } else {
            self.by_hash.insert(cold.hash, older);
        }
        self.shrink();
        Some(cold)
    }

    /// Frees memory if far fewer keys are in use than there were.
    fn shrink(&mut self) {
        while let Some(None) = self.colds.last() {
            self.colds.pop();
            self.keys.pop();
            self.rows.pop();
        }
        if self.rows.len() * 4 < self.rows.capacity() && self.rows.capacity() > SMALL {
            self.rows.shrink_to(self.rows.len() * 2);
            self.keys.shrink_to(self.rows.len() * 2);
            self.colds.shrink_to(self.rows.len() * 2);
        }
        if self.live * 4 < self.by_hash.capacity() && self.by_hash.capacity() > SMALL {
            self.by_hash.shrink_to(self.live * 2);
            let rows = self.rows.len();
            self.free.retain(|Reverse(index)| (*index as usize) < rows);
            self.free.shrink_to_fit();
        }
    }
}

impl Row {
    const fn free() -> Self {
        Self {
            terms: None,
            gets: 0,
            counts: [0; SeatState::COUNT],
            older: NIL,
            lane: NIL,
            idle: IdleList::new(),
            generation: 0,
        }
    }

    /// Returns the limits of the key.
    #[inline]
    pub(super) fn terms(&self) -> &StdArc<Terms> {
        self.terms.as_ref().expect(THERE)
    }

    pub(super) fn set_terms(&mut self, terms: StdArc<Terms>) {
        self.terms = Some(terms);
    }

    /// Returns how many seats of the key are in this state.
    #[inline]
    pub(super) const fn count(&self, state: SeatState) -> u32 {
        match state {
            SeatState::Free => 0,
            state => self.counts[state as usize],
        }
    }

    /// Returns how many seats of the key are in each state.
    pub(super) const fn counts(&self) -> [u32; SeatState::COUNT] {
        let mut counts = self.counts;
        counts[SeatState::Free as usize] = 0;
        counts
    }

    /// Counts one more seat of the key in this state.
    #[inline]
    pub(super) const fn enter(&mut self, state: SeatState) {
        self.counts[state as usize] += 1;
    }

    /// Counts one less seat of the key in this state.
    #[inline]
    pub(super) const fn leave(&mut self, state: SeatState) {
        // After a panic of the kernel, the counts may be inconsistent.
        self.counts[state as usize] = self.counts[state as usize].saturating_sub(1);
    }

    /// Returns the count of late opens of the key, to change it.
    pub(super) const fn late(&mut self) -> &mut u32 {
        &mut self.counts[SeatState::Free as usize]
    }

    /// Returns how many opens of the key are late.
    pub(super) const fn late_opens(&self) -> u32 {
        self.counts[SeatState::Free as usize]
    }

    /// Returns how many seats of the key are taken and not being closed.
    #[inline]
    pub(super) fn held(&self) -> u32 {
        self.taken() - self.count(SeatState::Closing)
    }

    /// Returns how many seats of the key are taken. The bound of the key limits this number.
    #[inline]
    pub(super) fn taken(&self) -> u32 {
        self.counts[1..].iter().sum()
    }

    /// Returns how many slots are on their way back to waiters of the key. `late_checks` of its checks are late. Each late check
    /// halves what the other checks count for.
    pub(super) fn coming_back(&self, late_checks: u32) -> u32 {
        let checking = self.count(SeatState::Checking) - late_checks;
        self.count(SeatState::Resetting) + (checking >> late_checks.min(MOST_DOUBTS))
    }

    /// Returns how many opens of the key are under way and not late.
    pub(super) fn opening(&self) -> u32 {
        self.count(SeatState::Opening) - self.late_opens()
    }
}

/// The count of checks is halved at most this often. Then 32 idle slots are checked at once for one waiter.
const MOST_DOUBTS: u32 = 5;

/// A hasher for keys that are hashes already.
#[derive(Debug, Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    /// The map uses the lowest and the highest bits.
    #[inline]
    fn write_u32(&mut self, hash: u32) {
        self.0 = u64::from(hash) | (u64::from(hash) << 32);
    }
}

#[inline]
const fn half(hash: u64) -> u32 {
    (hash >> 32) as u32
}

const THERE: &str = "a key is there for as long as a seat or a ticket of it";

/// Collections with at most this capacity are not shrunk.
const SMALL: usize = 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{config::Config, keyed::limits::KeyLimits};

    #[test]
    fn keys_of_one_hash_are_told_apart_and_go_one_by_one() {
        let terms = StdArc::new(Terms::new(&Config::new(), KeyLimits::new(), 1));
        let mut table: Table<char, ()> = Table::new();
        let add = |table: &mut Table<char, ()>, key| {
            table.add(
                7,
                StdArc::new(key),
                StdArc::clone(&terms),
                Backoff::default(),
            )
        };
        let keys = |table: &Table<char, ()>| {
            let seen = table.seen(7);
            seen.first
                .iter()
                .chain(&seen.more)
                .map(|(_, key)| **key)
                .collect::<String>()
        };
        let a = add(&mut table, 'a');
        assert_eq!(table.only(7), Some(a));
        let (b, c) = (add(&mut table, 'b'), add(&mut table, 'c'));
        assert_eq!((table.only(7), keys(&table).as_str()), (None, "cba"));
        let place = table.place(b);
        assert!(table.remove(b).is_some() && !table.is_there(place));
        assert_eq!(keys(&table), "ca");
        assert_eq!(add(&mut table, 'd'), b, "its row is used again");
        assert!(!table.is_there(place), "by another");
        assert!(table.remove(b).is_some() && table.remove(c).is_some());
        assert_eq!((table.only(7), table.len()), (Some(a), 1));
        assert!(table.remove(a).is_some());
        assert_eq!((table.youngest(7), table.len()), (None, 0));
    }
}

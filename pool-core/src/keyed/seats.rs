//! The bound in total: every resource that is opening, open or closing, of any key, has one seat.
//!
//! An idle slot is on two lists: the list of its key, in the order in which slots were laid down, and the list of all keys by age,
//! oldest first, for eviction. A slot that is being checked keeps its place in the list by age, since a check is not a use.
//!
//! A shared slot never leaves its row while it is open. It is idle while no share of it is out, and leased from its first share to
//! its last. It is on the list by age while it is idle, and on no list of idle slots: its key lists its shared slots itself.

use std::{convert::Infallible, iter::successors, mem, panic::Location, sync::Arc as StdArc};

use super::{grant::Lends, keep::Links, kernel::Kernel, opened::Opened, sites::Sites};
use crate::{
    engine::{
        Holder,
        mutation::{self, Mutation},
    },
    gauge::LinkId,
    host::STILLBORN,
    load::Load,
    moment::Moment,
    observe::CloseReason,
    sync::Arc,
};

/// The state of a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum SeatState {
    /// The seat is free.
    Free,
    /// The resource is being opened.
    Opening,
    /// The resource is idle.
    Idle,
    /// The resource is leased, or granted to a waiter that has not fetched it yet.
    Leased,
    /// The resource is being checked before it may be used.
    Checking,
    /// The resource is being reset for the next lease.
    Resetting,
    /// The resource is being closed.
    Closing,
}

impl SeatState {
    pub(super) const COUNT: usize = 7;
}

/// The token of one seat. Dropping it frees the seat.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Seat<K, T: Lends, E: Clone> {
    // The fields of the hot path come first: see `Slot`.
    key: StdArc<K>,
    index: u32,
    kernel: Arc<Kernel<K, T, E>>,
}

/// An open resource with its seat. It moves as one box between idle list, waiter, lease and task. Dropping it frees the seat.
///
/// The fields of the hot path come first, so that they share a cache line if the resource is small.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Slot<K, T: Lends, E: Clone> {
    /// When the resource was last known to be good: when it was opened, checked or returned.
    pub(super) used_at: Moment,
    /// When the resource was last used: when it was opened or returned. Keepalive checks do not count.
    pub(super) idle_since: Moment,
    /// When the lifetime of the resource ends.
    pub(super) expires_at: Moment,
    /// The number of leases so far.
    pub(super) uses: u32,
    pub(super) generation: u32,
    pub(super) tainted: bool,
    /// Whether a caller has used the resource since its key had its turn. Only then may its place go to another key.
    pub(super) served: bool,
    /// Whether the resource was reported dead or going away before a waiter fetched it.
    pub(super) ended: bool,
    // `item` is declared before `seat`, so that the resource is dropped before its place is given away.
    pub(super) item: T,
    pub(super) seat: Seat<K, T, E>,
    pub(super) opened_at: Moment,
    /// From then on the resource must be checked, even if it is used all the time: `check_after` after it was opened, checked or
    /// reset.
    pub(super) check_due_at: Moment,
}

impl<K, T: Lends, E: Clone> Slot<K, T, E> {
    /// Whether a resource that breaks now was never of use: nobody had a lease of it, and it was opened just before.
    pub(super) fn is_stillborn(&self, now: Moment) -> bool {
        self.uses == 0 && now - self.opened_at < STILLBORN
    }
}

impl<K, T: Lends, E: Clone> Seat<K, T, E> {
    pub(super) const fn new(kernel: Arc<Kernel<K, T, E>>, key: StdArc<K>, index: u32) -> Self {
        Self { kernel, key, index }
    }

    #[inline]
    pub(super) const fn index(&self) -> u32 {
        self.index
    }

    /// Returns the key of the resource.
    #[inline]
    pub(super) const fn key(&self) -> &StdArc<K> {
        &self.key
    }

    /// Drops the token of a seat that was vacated under the lock already.
    pub(super) fn spent(mut self) {
        self.index = NIL;
    }
}

impl<K, T: Lends, E: Clone> Drop for Seat<K, T, E> {
    fn drop(&mut self) {
        // When a loom model has failed and is torn down, its mutexes are gone.
        let torn_down = cfg!(pool_loom) && std::thread::panicking();
        // After a panic of the kernel, seats are not counted any more, and a thread that unwinds from under the lock must not take
        // it again.
        let ruined = self.kernel.state.is_poisoned() || self.kernel.unwinds_here();
        if self.index != NIL && !torn_down && !ruined {
            self.kernel.vacate(self.index);
        }
    }
}

/// All seats.
#[derive(Debug)]
pub(super) struct Seats<K, T: Lends, E: Clone> {
    rows: Vec<Row<K, T, E>>,
    notes: Vec<Note>,
    /// The list by age. It is separate and small so that it stays in the cache, since the neighbours of a seat are anywhere in
    /// memory.
    ages: Vec<Neighbours>,
    sites: Sites,
    oldest: u32,
    youngest: u32,
    free: Vec<u32>,
    counts: [u32; SeatState::COUNT],
}

/// The hot part of a seat, in half a cache line. In a large pool, nearly every get misses the cache here.
#[derive(Debug)]
#[repr(align(32))]
struct Row<K, T: Lends, E: Clone> {
    /// The slot, while it is idle. A shared slot is here while it is leased, too.
    slot: Option<Box<Slot<K, T, E>>>,
    /// While idle: from then on the slot must be checked before use, or its lifetime is over. While leased: since when.
    at: Moment,
    /// The number of the key.
    key: u32,
    /// While idle: the previous slot in the list of the key. While leased: the number of the site that took the lease, or `NIL`
    /// before the grant is fetched.
    prev: u32,
    next: u32,
    state: SeatState,
    /// Whether the resource is lent in shares.
    shared: bool,
    reported: bool,
    /// Whether the keeper has the seat in its heap, or nothing falls due there.
    noted: bool,
}

/// A resource that cannot be shared.
type Exclusive = Opened<(), Infallible>;

const _: () = assert!(size_of::<Row<(), Exclusive, ()>>() == 32);

#[derive(Debug)]
struct Note {
    /// When the keeper looks at the seat next.
    looked_at: Moment,
    /// The number of the open.
    open: u64,
    /// The number of the check; 0 while there is none.
    check: u64,
    /// How many shares of a shared resource there may be at once.
    capacity: u32,
    /// How many shares of it are out, or granted.
    used: u32,
    begun: Begun,
    /// Whether the open or check on this seat is late, so that it does not count as supply.
    late: bool,
    /// Whether no new lease or share is given until the resource is trusted again.
    suspect: bool,
    /// Why the resource is closed as soon as nobody uses it, if it is.
    ends: Option<CloseReason>,
    /// Whether the open is for one caller, who had a lease on this seat, so that it is no supply for the waiters.
    reserved: bool,
}

/// How an open began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    /// The generation of the pool when the open began. The resource may not know of any later reset.
    pub(super) generation: u32,
    /// Whether the open got a place that no other key wanted, without a firm claim.
    pub(super) spare: bool,
    /// Whether the open began without a waiter.
    pub(super) probe: bool,
    /// Whether the open has outlasted its timeout.
    pub(super) lost: bool,
}

#[derive(Clone, Copy, Debug)]
struct Neighbours {
    prev: u32,
    next: u32,
}

/// The ends of the list of idle slots of one key.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdleList {
    first: u32,
    last: u32,
}

pub(super) const NIL: u32 = u32::MAX;
/// How many sites are kept in addition to two for each seat.
const FEW_SITES: usize = 64;
/// The link of a seat that is not on the list by age.
const OUT: Neighbours = Neighbours {
    prev: NIL - 1,
    next: NIL - 1,
};

impl IdleList {
    pub(super) const fn new() -> Self {
        Self {
            first: NIL,
            last: NIL,
        }
    }

    #[inline]
    pub(super) const fn end(&self, fifo: bool) -> Option<u32> {
        let end = if fifo { self.first } else { self.last };
        if end == NIL { None } else { Some(end) }
    }
}

impl<K, T: Lends, E: Clone> Row<K, T, E> {
    const fn opening(key: u32) -> Self {
        Self {
            slot: None,
            at: Moment::NEVER,
            key,
            prev: NIL,
            next: NIL,
            state: SeatState::Opening,
            shared: false,
            reported: false,
            noted: false,
        }
    }
}

impl Note {
    const fn opening(open: u64, begun: Begun) -> Self {
        Self {
            looked_at: Moment::NEVER,
            open,
            check: 0,
            capacity: 1,
            used: 0,
            begun,
            late: false,
            suspect: false,
            ends: None,
            reserved: false,
        }
    }
}

impl<K, T: Lends, E: Clone> Seats<K, T, E> {
    pub(super) fn new() -> Self {
        Self {
            rows: Vec::new(),
            notes: Vec::new(),
            ages: Vec::new(),
            sites: Sites::new(),
            oldest: NIL,
            youngest: NIL,
            free: Vec::new(),
            counts: [0; SeatState::COUNT],
        }
    }

    #[inline]
    pub(super) const fn count(&self, state: SeatState) -> u32 {
        self.counts[state as usize]
    }

    /// Returns how many seats are in each state.
    pub(super) const fn counts(&self) -> [u32; SeatState::COUNT] {
        self.counts
    }

    /// Returns how many seats are not free. The bound in total limits this number.
    #[inline]
    pub(super) fn taken(&self) -> u32 {
        self.rows.len() as u32 - self.free.len() as u32
    }

    /// Returns the largest number of seats that were ever taken at once.
    pub(super) fn len(&self) -> u32 {
        self.rows.len() as u32
    }

    /// Takes a free seat for an open for `key`.
    pub(super) fn occupy(&mut self, key: u32, open: u64, begun: Begun) -> u32 {
        let (row, note) = (Row::opening(key), Note::opening(open, begun));
        self.counts[SeatState::Opening as usize] += 1;
        match self.free.pop() {
            Some(index) => {
                self.rows[index as usize] = row;
                self.notes[index as usize] = note;
                index
            }
            None => {
                self.rows.push(row);
                self.notes.push(note);
                self.ages.push(OUT);
                (self.rows.len() - 1) as u32
            }
        }
    }

    /// Prepares an opening seat, whose resource is about to be closed, for an open that is for the caller who had it.
    pub(super) fn reopen(&mut self, index: u32, open: u64, begun: Begun) {
        self.rows[index as usize] = Row::opening(self.key(index));
        self.notes[index as usize] = Note {
            reserved: true,
            ..Note::opening(open, begun)
        };
    }

    /// Whether the open on this seat was reserved; from now on it is not.
    pub(super) fn end_reserve(&mut self, index: u32) -> bool {
        mem::replace(&mut self.notes[index as usize].reserved, false)
    }

    #[inline]
    pub(super) fn key(&self, index: u32) -> u32 {
        self.rows[index as usize].key
    }

    #[inline]
    pub(super) fn state(&self, index: u32) -> SeatState {
        self.rows[index as usize].state
    }

    /// Sets the state, and returns the state before.
    #[inline]
    pub(super) fn set(&mut self, index: u32, state: SeatState) -> SeatState {
        let was = mem::replace(&mut self.rows[index as usize].state, state);
        // After a panic of the kernel, the counts may be inconsistent.
        let counted = &mut self.counts[was as usize];
        *counted = counted.saturating_sub(1);
        self.counts[state as usize] += 1;
        if !matches!(state, SeatState::Idle | SeatState::Checking) {
            self.unlink_age(index);
        }
        was
    }

    /// Frees the seat, and returns the state before.
    pub(super) fn vacate(&mut self, index: u32) -> SeatState {
        let was = self.set(index, SeatState::Free);
        self.counts[SeatState::Free as usize] = 0;
        self.free.push(index);
        was
    }

    /// Whether this open is still under way and not called off.
    pub(super) fn is_opening(&self, index: u32, open: u64) -> bool {
        let state = self.rows[index as usize].state;
        state == SeatState::Opening && self.notes[index as usize].open == open
    }

    /// Marks this open as late, if it is still under way. Returns its key; `None` if the open has ended or was late already.
    pub(super) fn is_late(&mut self, index: u32, open: u64) -> Option<u32> {
        if !self.is_opening(index, open) {
            return None;
        }
        let was = mem::replace(&mut self.notes[index as usize].late, true);
        (!was).then_some(self.key(index))
    }

    /// Whether the open on this seat is late.
    pub(super) fn was_late(&self, index: u32) -> bool {
        self.notes[index as usize].late
    }

    /// Records the number of a check that begins on this seat.
    pub(super) fn begin_check(&mut self, index: u32, check: u64) {
        self.notes[index as usize].check = check;
    }

    /// Marks this check as late, if it is still under way, and returns its key.
    pub(super) fn is_check_late(&mut self, index: u32, check: u64) -> Option<u32> {
        let note = &mut self.notes[index as usize];
        if note.check != check {
            return None;
        }
        note.late = true;
        Some(self.key(index))
    }

    /// Ends the check on this seat. Returns whether it was late.
    pub(super) fn end_check(&mut self, index: u32) -> bool {
        let note = &mut self.notes[index as usize];
        note.check = 0;
        mem::replace(&mut note.late, false)
    }

    /// Returns how the open on this seat began.
    pub(super) fn begun(&self, index: u32) -> Begun {
        self.notes[index as usize].begun
    }

    /// Marks the open on this seat as lost. Returns whether it was a probe; a lost open no longer counts as a probe.
    pub(super) fn lose(&mut self, index: u32) -> bool {
        let begun = &mut self.notes[index as usize].begun;
        begun.lost = true;
        mem::replace(&mut begun.probe, false)
    }

    /// Ends the open on this seat. Returns whether it was late, whether it was a probe, and whether it was lost.
    pub(super) fn end_open(&mut self, index: u32) -> (bool, bool, bool) {
        let Note { begun, late, .. } = &mut self.notes[index as usize];
        let probe = mem::replace(&mut begun.probe, false);
        let lost = mem::replace(&mut begun.lost, false);
        let late = mem::replace(late, false);
        (late, probe, lost)
    }

    #[inline]
    pub(super) fn hold(&mut self, index: u32, holder: Holder) {
        let site = self.site(holder.place, holder.label);
        let row = &mut self.rows[index as usize];
        row.reported = false;
        (row.at, row.prev) = (holder.since, site);
    }

    pub(super) fn relabel(&mut self, index: u32, label: &'static str) {
        if let Some(holder) = self.holder(&self.rows[index as usize]) {
            self.rows[index as usize].prev = self.site(holder.place, label);
        }
    }

    /// Returns the number of a site. When there are more sites than twice the seats and a few, the sites without a current lease
    /// are forgotten. So the cost of this is shared by as many new sites.
    #[inline]
    fn site(&mut self, place: &'static Location<'static>, label: &'static str) -> u32 {
        if self.sites.len() > 2 * self.rows.len() + FEW_SITES {
            self.forget_sites();
        }
        self.sites.number(place, label)
    }

    #[cold]
    fn forget_sites(&mut self) {
        let old = mem::replace(&mut self.sites, Sites::new());
        for row in &mut self.rows {
            if row.state == SeatState::Leased
                && let Some(holder) = old.holder(row.prev, row.at)
            {
                row.prev = self.sites.number(holder.place, holder.label);
            }
        }
    }

    /// Returns the holder of this seat's lease.
    fn holder(&self, row: &Row<K, T, E>) -> Option<Holder> {
        let leased = row.state == SeatState::Leased;
        let holder = leased.then(|| self.sites.holder(row.prev, row.at));
        holder.flatten()
    }

    /// Returns the holders of all current leases, with the numbers of their keys.
    pub(super) fn holders(&self) -> impl Iterator<Item = (u32, Holder)> {
        let rows = self.rows.iter();
        rows.filter_map(|row| Some((row.key, self.holder(row)?)))
    }

    /// Returns the holders of leases that began at or before `before`. Each lease is reported once.
    pub(super) fn report_before(&mut self, before: Moment) -> Vec<(u32, Holder)> {
        let sites = &self.sites;
        let rows = self.rows.iter_mut();
        rows.filter(|row| row.state == SeatState::Leased && !row.reported && row.at <= before)
            .filter_map(|row| {
                let holder = sites.holder(row.prev, row.at)?;
                row.reported = true;
                Some((row.key, holder))
            })
            .collect()
    }

    /// Appends the slot to the idle list of its key, and to the list by age unless it kept its place there.
    #[inline]
    pub(super) fn lay_down(
        &mut self,
        list: &mut IdleList,
        slot: Box<Slot<K, T, E>>,
        ready_until: Moment,
    ) {
        let index = slot.seat.index();
        let row = &mut self.rows[index as usize];
        (row.slot, row.at) = (Some(slot), ready_until);
        (row.prev, row.next) = (list.last, NIL);
        match list.last {
            NIL => list.first = index,
            last => self.rows[last as usize].next = index,
        }
        list.last = index;
        self.link_age(index);
    }

    /// Appends the seat to the list by age, unless it is there.
    #[inline]
    fn link_age(&mut self, index: u32) {
        if self.ages[index as usize].prev == OUT.prev {
            self.ages[index as usize] = Neighbours {
                prev: self.youngest,
                next: NIL,
            };
            match self.youngest {
                NIL => self.oldest = index,
                youngest => self.ages[youngest as usize].next = index,
            }
            self.youngest = index;
        }
    }

    /// Puts a shared slot, of which no share is out, on its row.
    pub(super) fn lay_shared(&mut self, slot: Box<Slot<K, T, E>>) {
        let index = slot.seat.index();
        let row = &mut self.rows[index as usize];
        row.at = slot.expires_at;
        (row.slot, row.prev, row.next) = (Some(slot), NIL, NIL);
        self.link_age(index);
    }

    /// Takes a shared slot off its row.
    pub(super) fn lift_shared(&mut self, index: u32) -> Option<Box<Slot<K, T, E>>> {
        self.rows[index as usize].slot.take()
    }

    /// The resource on this seat is lent in shares.
    pub(super) fn share(&mut self, index: u32) {
        self.rows[index as usize].shared = true;
    }

    #[inline]
    pub(super) fn is_shared(&self, index: u32) -> bool {
        self.rows[index as usize].shared
    }

    /// Returns the name of what is opened, or open, on this seat.
    pub(super) fn link(&self, index: u32) -> LinkId {
        let serial = self.notes[index as usize].open;
        LinkId { index, serial }
    }

    /// Whether this is still the name of what is opened, or open, on its seat, and that is not being closed.
    pub(super) fn is_there(&self, link: LinkId) -> bool {
        let row = &self.rows[link.index as usize];
        let gone = matches!(row.state, SeatState::Free | SeatState::Closing);
        !gone && self.notes[link.index as usize].open == link.serial
    }

    /// Returns how many shares of the resource on this seat may be out, and how many are.
    #[inline]
    pub(super) fn shares(&self, index: u32) -> (u32, u32) {
        let note = &self.notes[index as usize];
        (note.capacity, note.used)
    }

    /// Returns the load of the shared resource on this seat.
    #[inline]
    pub(super) fn load(&self, index: u32) -> Load {
        let note = &self.notes[index as usize];
        Load {
            used: note.used,
            of: note.capacity,
            serial: note.open,
        }
    }

    /// Returns how many more shares may be given of the shared resource on this seat.
    #[inline]
    pub(super) fn free_shares(&self, index: u32) -> u32 {
        let note = &self.notes[index as usize];
        let suspect = note.suspect && !mutation::on(Mutation::MixedShareOfSuspect);
        if suspect || note.ends.is_some() {
            return 0;
        }
        note.capacity.saturating_sub(note.used)
    }

    pub(super) fn set_capacity(&mut self, index: u32, capacity: u32) {
        self.notes[index as usize].capacity = capacity;
    }

    /// Gives a share of the resource on this seat. Returns whether it is the first.
    #[inline]
    pub(super) fn give_share(&mut self, index: u32) -> bool {
        if let Some(slot) = &mut self.rows[index as usize].slot {
            slot.uses = slot.uses.saturating_add(1);
        }
        let used = &mut self.notes[index as usize].used;
        *used += 1;
        *used == 1
    }

    /// A share of the resource on this seat came back. Returns whether it was the last.
    #[inline]
    pub(super) fn take_share(&mut self, index: u32) -> bool {
        let used = &mut self.notes[index as usize].used;
        *used -= 1;
        *used == 0
    }

    /// The last share of the resource on this seat came back: it is idle from now on.
    #[inline]
    pub(super) fn rest(&mut self, index: u32, now: Moment) {
        if let Some(slot) = &mut self.rows[index as usize].slot {
            (slot.used_at, slot.idle_since) = (now, now);
        }
        self.link_age(index);
    }

    pub(super) fn is_suspect(&self, index: u32) -> bool {
        self.notes[index as usize].suspect
    }

    pub(super) fn set_suspect(&mut self, index: u32, suspect: bool) {
        self.notes[index as usize].suspect = suspect;
    }

    /// Sets when this idle slot is to be checked before use.
    pub(super) fn set_ready_until(&mut self, index: u32, until: Moment) {
        self.rows[index as usize].at = until;
    }

    /// Returns when the lifetime of this shared slot ends.
    pub(super) fn expires_at(&self, index: u32) -> Moment {
        self.rows[index as usize].at
    }

    /// Returns why the resource on this seat is closed as soon as nobody uses it, if it is.
    pub(super) fn ends(&self, index: u32) -> Option<CloseReason> {
        self.notes[index as usize].ends
    }

    /// The resource on this seat is closed as soon as nobody uses it.
    pub(super) fn end(&mut self, index: u32, reason: CloseReason) {
        self.notes[index as usize].ends = Some(reason);
    }

    /// The resource on this seat is not closed after all.
    pub(super) fn recall(&mut self, index: u32) {
        self.notes[index as usize].ends = None;
    }

    /// Whether this seat holds a shared resource that gives no more shares, and is closed with its last.
    #[inline]
    pub(super) fn is_draining(&self, index: u32) -> bool {
        let row = &self.rows[index as usize];
        row.shared && row.state == SeatState::Leased && self.ends(index).is_some()
    }

    /// Returns the seats of shared resources that are open, of all keys.
    pub(super) fn all_shared(&self) -> impl Iterator<Item = u32> {
        let open = |row: &Row<K, T, E>| row.shared && row.slot.is_some();
        let rows = (0..).zip(&self.rows);
        rows.filter_map(move |(index, row)| open(row).then_some(index))
    }

    /// Returns the seats of shared resources that are in use, of all keys.
    pub(super) fn shared_in_use(&self) -> impl Iterator<Item = u32> {
        self.all_shared()
            .filter(|index| self.state(*index) == SeatState::Leased)
    }

    /// Counts these shared resources, and their shares.
    pub(super) fn links(&self, of: impl Iterator<Item = u32>) -> Links {
        of.fold(Links::default(), |mut links, index| {
            let (_, used) = self.shares(index);
            links.open += 1;
            links.draining += u32::from(self.is_draining(index));
            links.suspect += u32::from(self.is_suspect(index));
            links.used = links.used.saturating_add(used);
            links.free = links.free.saturating_add(self.free_shares(index));
            links
        })
    }

    /// Whether this idle slot may be handed out as it is.
    #[inline]
    pub(super) fn is_ready(&self, index: u32, now: Moment) -> bool {
        now < self.rows[index as usize].at
    }

    /// Takes the slot out of the idle list of its key.
    #[inline]
    pub(super) fn pick_up(
        &mut self,
        list: &mut IdleList,
        index: u32,
    ) -> Option<Box<Slot<K, T, E>>> {
        let row = &mut self.rows[index as usize];
        let slot = row.slot.take()?;
        // `prev` becomes `NIL`, since the slot has no holder yet.
        let (prev, next) = (mem::replace(&mut row.prev, NIL), row.next);
        match prev {
            NIL => list.first = next,
            prev => self.rows[prev as usize].next = next,
        }
        match next {
            NIL => list.last = prev,
            next => self.rows[next as usize].prev = prev,
        }
        Some(slot)
    }

    #[inline]
    pub(super) fn slot(&self, index: u32) -> Option<&Slot<K, T, E>> {
        self.rows[index as usize].slot.as_deref()
    }

    /// Returns the seats on this idle list.
    pub(super) fn idle_of(&self, list: IdleList) -> Vec<u32> {
        let next = |index: &u32| Some(self.rows[*index as usize].next).filter(|next| *next != NIL);
        std::iter::successors(list.end(true), next).collect()
    }

    /// Returns the idle slot of any key that has not been used for longest.
    pub(super) fn oldest(&self) -> Option<u32> {
        self.idle_by_age().next()
    }

    /// Returns the seats of all idle slots, the slot that was idle for longest first.
    pub(super) fn idle_by_age(&self) -> impl Iterator<Item = u32> {
        let listed = |index: u32| (index != NIL).then_some(index);
        let ages = successors(listed(self.oldest), move |index| {
            listed(self.ages[*index as usize].next)
        });
        // Slots that are being checked are on the list too, but only a few.
        ages.filter(|index| self.rows[*index as usize].state == SeatState::Idle)
    }

    /// Returns when the keeper looks at each seat.
    pub(super) fn all_looked_at(&self) -> impl Iterator<Item = (Moment, u32)> {
        let all = self.notes.iter().zip(0..);
        all.map(|(note, index)| (note.looked_at, index))
    }

    /// Returns when the keeper looks at the seat next.
    pub(super) fn looked_at(&self, index: u32) -> Moment {
        self.notes[index as usize].looked_at
    }

    /// Sets when the keeper looks at the seat. With [`Moment::NEVER`], the seat is on no list.
    pub(super) fn look_at(&mut self, index: u32, at: Moment) {
        self.notes[index as usize].looked_at = at;
        self.rows[index as usize].noted = at != Moment::NEVER;
    }

    /// Whether the seat is noted: the keeper has it in its heap, or nothing falls due there.
    #[inline]
    pub(super) fn is_noted(&self, index: u32) -> bool {
        self.rows[index as usize].noted
    }

    #[inline]
    fn unlink_age(&mut self, index: u32) {
        let Neighbours { prev, next } = mem::replace(&mut self.ages[index as usize], OUT);
        if prev == OUT.prev {
            return;
        }
        match prev {
            NIL => self.oldest = next,
            prev => self.ages[prev as usize].next = next,
        }
        match next {
            NIL => self.youngest = prev,
            next => self.ages[next as usize].prev = prev,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_that_nothing_is_leased_from_any_more_are_forgotten() {
        let mut seats: Seats<(), Exclusive, ()> = Seats::new();
        let begun = Begun {
            generation: 0,
            spare: false,
            probe: false,
            lost: false,
        };
        let [kept, other] = [0, 1].map(|open| seats.occupy(0, open, begun));
        for index in [kept, other] {
            seats.set(index, SeatState::Leased);
        }
        let holder = |label| Holder {
            since: Moment::from_nanos(7),
            place: Location::caller(),
            label,
        };
        seats.hold(kept, holder("kept"));
        // Each end of it is a label of its own.
        const LABELS: [u8; 1_000] = [b'x'; 1_000];
        let labels = str::from_utf8(&LABELS).expect("it is ASCII");
        for at in 0..labels.len() {
            seats.hold(other, holder(&labels[at..]));
            assert!(seats.sites.len() <= 2 * 2 + FEW_SITES + 1);
            let held: Vec<_> = seats.holders().map(|(_, holder)| holder.label).collect();
            assert_eq!(held, ["kept", &labels[at..]]);
        }
        seats.relabel(kept, "renamed");
        let reported = seats.report_before(Moment::from_nanos(7));
        let reported: Vec<_> = reported.iter().map(|(_, holder)| holder.label).collect();
        assert_eq!(reported, ["renamed", "x"]);
        assert!(seats.report_before(Moment::from_nanos(7)).is_empty());
    }
}

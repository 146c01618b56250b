//! The bound in total: one seat for whatever is opening, open or closing, of whichever key.
//!
//! The idle ones are on two lists here: those of one key, in the order in which they were laid down, and those of all keys by age,
//! oldest first, for eviction. What is being checked keeps its place by age, since a check is no use of it.

use std::{mem, panic::Location, sync::Arc as StdArc};

use super::{kernel::Kernel, sites::Sites};
use crate::{engine::Holder, moment::Moment, sync::Arc};

/// What the thing on a seat is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum SeatState {
    /// Nothing sits here.
    Free,
    /// Being opened.
    Opening,
    /// Waiting for somebody to use it.
    Idle,
    /// With a caller, or handed to one that has not fetched it yet.
    Leased,
    /// Being checked before somebody may use it.
    Checking,
    /// Being made clean for the next.
    Resetting,
    /// Being closed.
    Closing,
}

impl SeatState {
    pub(super) const COUNT: usize = 7;
}

/// The token of one seat. Frees it when dropped.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Seat<K, T, E: Clone> {
    // What the hot path touches comes first: see `Slot`.
    key: StdArc<K>,
    index: u32,
    kernel: Arc<Kernel<K, T, E>>,
}

/// An open resource on its seat. It moves as one box: idle list, waiter, lease, task. Whoever drops it frees the seat.
///
/// What the hot path touches comes first, in one line of the cache when the resource is small.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Slot<K, T, E: Clone> {
    /// When it was last known to be good: opened, checked or returned.
    pub(super) used_at: Moment,
    /// When it was last used by somebody: opened or returned. Keepalive checks do not count.
    pub(super) idle_since: Moment,
    /// When its lifetime ends.
    pub(super) expires_at: Moment,
    /// Leases so far.
    pub(super) uses: u32,
    pub(super) generation: u32,
    pub(super) tainted: bool,
    /// Somebody used it since its key had its turn: it may go to another key.
    pub(super) served: bool,
    // Before the seat: what is dropped first is gone when its place is given away.
    pub(super) item: T,
    pub(super) seat: Seat<K, T, E>,
    pub(super) opened_at: Moment,
    /// From then on it must be looked at, however busy it is: `check_after` after it was opened, checked or reset.
    pub(super) check_due_at: Moment,
}

impl<K, T, E: Clone> Seat<K, T, E> {
    pub(super) const fn new(kernel: Arc<Kernel<K, T, E>>, key: StdArc<K>, index: u32) -> Self {
        Self { kernel, key, index }
    }

    #[inline]
    pub(super) const fn index(&self) -> u32 {
        self.index
    }

    /// Whose it is.
    #[inline]
    pub(super) const fn key(&self) -> &StdArc<K> {
        &self.key
    }

    /// Drops the token of a seat that was vacated under the lock already.
    pub(super) fn spent(mut self) {
        self.index = NIL;
    }
}

impl<K, T, E: Clone> Drop for Seat<K, T, E> {
    fn drop(&mut self) {
        // A model that failed is being torn down: its mutexes are gone.
        let torn_down = cfg!(pool_loom) && std::thread::panicking();
        // After a panic of the kernel nobody counts seats, and a thread that unwinds from under its lock must not take that again.
        let ruined = self.kernel.state.is_poisoned() || self.kernel.unwinds_here();
        if self.index != NIL && !torn_down && !ruined {
            self.kernel.vacate(self.index);
        }
    }
}

/// All seats.
#[derive(Debug)]
pub(super) struct Seats<K, T, E: Clone> {
    rows: Vec<Row<K, T, E>>,
    notes: Vec<Note>,
    /// By age. Small, so that it stays in the cache: the neighbours of a seat are anywhere.
    ages: Vec<Link>,
    sites: Sites,
    oldest: u32,
    youngest: u32,
    free: Vec<u32>,
    counts: [u32; SeatState::COUNT],
}

/// What the hot path touches, in half a line of the cache: it is missed at nearly every get where there are many.
#[derive(Debug)]
#[repr(align(32))]
struct Row<K, T, E: Clone> {
    /// While it is idle.
    slot: Option<Box<Slot<K, T, E>>>,
    /// While it is idle: from then on it must be checked first, or its lifetime is over. While it is leased: since when.
    at: Moment,
    /// The number of its key.
    key: u32,
    /// While it is idle: its neighbour among the idle ones of its key. While it is leased: from where, by the number of the site;
    /// `NIL` before it was fetched.
    prev: u32,
    next: u32,
    state: SeatState,
    /// Its open takes so long that nobody counts on it.
    late: bool,
    reported: bool,
    /// The keeper has it on its list.
    noted: bool,
}

const _: () = assert!(size_of::<Row<(), (), ()>>() == 32);

#[derive(Debug)]
struct Note {
    /// When the keeper looks at it next.
    looked_at: Moment,
    /// Which open this is.
    open: u64,
    /// Which check; 0 while it is not checked.
    check: u64,
    begun: Begun,
}

/// How an open began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    /// What is opened knows of no later reset.
    pub(super) generation: u32,
    /// It was not owed a place: it got one that nobody else wanted.
    pub(super) spare: bool,
    /// Nobody waited for it.
    pub(super) probe: bool,
    /// It has outlasted its timeout.
    pub(super) lost: bool,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    prev: u32,
    next: u32,
}

/// The idle ones of one key: the ends of their list.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdleList {
    first: u32,
    last: u32,
}

pub(super) const NIL: u32 = u32::MAX;
/// So many sites are kept beyond one for each seat.
const FEW_SITES: usize = 64;
/// Of a seat that is not on the list by age.
const OUT: Link = Link {
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

impl<K, T, E: Clone> Seats<K, T, E> {
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

    /// How many seats are in each state.
    pub(super) const fn counts(&self) -> [u32; SeatState::COUNT] {
        self.counts
    }

    /// How many seats are not free: what the bound in total is about.
    #[inline]
    pub(super) fn taken(&self) -> u32 {
        self.rows.len() as u32 - self.free.len() as u32
    }

    /// As many as there ever were at once.
    pub(super) fn len(&self) -> u32 {
        self.rows.len() as u32
    }

    /// Takes a free seat for something that is being opened for `key`.
    pub(super) fn occupy(&mut self, key: u32, open: u64, begun: Begun) -> u32 {
        let row = Row {
            slot: None,
            at: Moment::NEVER,
            key,
            prev: NIL,
            next: NIL,
            state: SeatState::Opening,
            late: false,
            reported: false,
            noted: false,
        };
        let note = Note {
            looked_at: Moment::NEVER,
            open,
            check: 0,
            begun,
        };
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

    #[inline]
    pub(super) fn key(&self, index: u32) -> u32 {
        self.rows[index as usize].key
    }

    #[inline]
    pub(super) fn state(&self, index: u32) -> SeatState {
        self.rows[index as usize].state
    }

    /// Sets the state, and gives the one before.
    #[inline]
    pub(super) fn set(&mut self, index: u32, state: SeatState) -> SeatState {
        let was = mem::replace(&mut self.rows[index as usize].state, state);
        // After a panic of the kernel they may not add up.
        let counted = &mut self.counts[was as usize];
        *counted = counted.saturating_sub(1);
        self.counts[state as usize] += 1;
        if !matches!(state, SeatState::Idle | SeatState::Checking) {
            self.unlink_age(index);
        }
        was
    }

    /// Frees it, and gives the state before.
    pub(super) fn vacate(&mut self, index: u32) -> SeatState {
        let was = self.set(index, SeatState::Free);
        self.counts[SeatState::Free as usize] = 0;
        self.free.push(index);
        was
    }

    /// Is this open still under way, and not called off?
    pub(super) fn is_opening(&self, index: u32, open: u64) -> bool {
        let state = self.rows[index as usize].state;
        state == SeatState::Opening && self.notes[index as usize].open == open
    }

    /// If this open is still under way it counts as late from now on; `None` if it was that already.
    pub(super) fn is_late(&mut self, index: u32, open: u64) -> Option<u32> {
        if !self.is_opening(index, open) {
            return None;
        }
        let row = &mut self.rows[index as usize];
        (!mem::replace(&mut row.late, true)).then_some(row.key)
    }

    /// Does the open on this seat take so long that nobody counts on it?
    pub(super) fn was_late(&self, index: u32) -> bool {
        self.rows[index as usize].late
    }

    /// What is idle here is checked from now on: that is this check.
    pub(super) fn begin_check(&mut self, index: u32, check: u64) {
        self.notes[index as usize].check = check;
    }

    /// If this check is still under way it counts as late from now on: of which key it is.
    pub(super) fn is_check_late(&mut self, index: u32, check: u64) -> Option<u32> {
        if self.notes[index as usize].check != check {
            return None;
        }
        let row = &mut self.rows[index as usize];
        row.late = true;
        Some(row.key)
    }

    /// The check on this seat has ended. Was it late?
    pub(super) fn end_check(&mut self, index: u32) -> bool {
        self.notes[index as usize].check = 0;
        mem::replace(&mut self.rows[index as usize].late, false)
    }

    /// How the open on this seat began.
    pub(super) fn begun(&self, index: u32) -> Begun {
        self.notes[index as usize].begun
    }

    /// The open on this seat has outlasted its timeout. Was it a probe? It is none any more.
    pub(super) fn lose(&mut self, index: u32) -> bool {
        let begun = &mut self.notes[index as usize].begun;
        begun.lost = true;
        mem::replace(&mut begun.probe, false)
    }

    /// The open on this seat has ended. Was it late, was it a probe, and had it outlasted its timeout?
    pub(super) fn end_open(&mut self, index: u32) -> (bool, bool, bool) {
        let begun = &mut self.notes[index as usize].begun;
        let probe = mem::replace(&mut begun.probe, false);
        let lost = mem::replace(&mut begun.lost, false);
        let late = mem::replace(&mut self.rows[index as usize].late, false);
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

    /// The number of a site. Those that nothing is leased from any more are forgotten when they are more than there are seats, so that
    /// it is done for as many new ones at once.
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

    /// Who holds this one.
    fn holder(&self, row: &Row<K, T, E>) -> Option<Holder> {
        let leased = row.state == SeatState::Leased;
        let holder = leased.then(|| self.sites.holder(row.prev, row.at));
        holder.flatten()
    }

    /// Everybody who holds one now, by the number of its key.
    pub(super) fn holders(&self) -> impl Iterator<Item = (u32, Holder)> {
        let rows = self.rows.iter();
        rows.filter_map(|row| Some((row.key, self.holder(row)?)))
    }

    /// Those who have held one since `before`, each once.
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

    /// Puts it at the end of the idle ones of its key, and of all by age unless it kept its place there.
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
        if self.ages[index as usize].prev == OUT.prev {
            self.ages[index as usize] = Link {
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

    /// May this idle one be handed out as it is?
    #[inline]
    pub(super) fn is_ready(&self, index: u32, now: Moment) -> bool {
        now < self.rows[index as usize].at
    }

    /// Takes it out of the idle ones of its key.
    #[inline]
    pub(super) fn pick_up(
        &mut self,
        list: &mut IdleList,
        index: u32,
    ) -> Option<Box<Slot<K, T, E>>> {
        let row = &mut self.rows[index as usize];
        let slot = row.slot.take()?;
        // It is nobody's yet.
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

    /// The idle ones on this list.
    pub(super) fn idle_of(&self, list: IdleList) -> Vec<u32> {
        let next = |index: &u32| Some(self.rows[*index as usize].next).filter(|next| *next != NIL);
        std::iter::successors(list.end(true), next).collect()
    }

    /// The idle one that nobody has used for longest.
    pub(super) fn oldest(&self) -> Option<u32> {
        let mut index = self.oldest;
        // What is being checked is on the list too: a few at most.
        while index != NIL && self.rows[index as usize].state != SeatState::Idle {
            index = self.ages[index as usize].next;
        }
        (index != NIL).then_some(index)
    }

    /// When the keeper looks at each seat.
    pub(super) fn all_looked_at(&self) -> impl Iterator<Item = (Moment, u32)> {
        let all = self.notes.iter().zip(0..);
        all.map(|(note, index)| (note.looked_at, index))
    }

    /// When the keeper looks at it next.
    pub(super) fn looked_at(&self, index: u32) -> Moment {
        self.notes[index as usize].looked_at
    }

    /// The keeper looks at it at this time; at [`Moment::NEVER`]: it is on no list.
    pub(super) fn look_at(&mut self, index: u32, at: Moment) {
        self.notes[index as usize].looked_at = at;
        self.rows[index as usize].noted = at != Moment::NEVER;
    }

    /// Does the keeper have it on its list?
    #[inline]
    pub(super) fn is_noted(&self, index: u32) -> bool {
        self.rows[index as usize].noted
    }

    #[inline]
    fn unlink_age(&mut self, index: u32) {
        let Link { prev, next } = mem::replace(&mut self.ages[index as usize], OUT);
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
        let mut seats: Seats<(), (), ()> = Seats::new();
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
        let labels: &'static str = "x".repeat(1_000).leak();
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

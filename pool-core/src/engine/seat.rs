//! A seat is one unit of the pool's bound.
//!
//! Whatever is opening, open or closing sits on exactly one, and a seat is in exactly one state. A [`Seat`] is the token for it:
//! dropping the token anywhere (a panic, a cancelled task, a runtime that ends) frees the seat. Counts are never kept by paired
//! calls.

use std::panic::Location;

use super::kernel::Kernel;
use crate::{moment::Moment, sync::Arc};

/// What the thing on a seat is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum SeatState {
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
    pub(crate) const COUNT: usize = 7;
}

/// The token of one seat. Frees it when dropped.
#[derive(Debug)]
pub(crate) struct Seat<T, E: Clone> {
    kernel: Arc<Kernel<T, E>>,
    index: u32,
}

impl<T, E: Clone> Seat<T, E> {
    pub(super) const fn new(kernel: Arc<Kernel<T, E>>, index: u32) -> Self {
        Self { kernel, index }
    }

    #[inline]
    pub(super) const fn index(&self) -> u32 {
        self.index
    }

    /// Drops the token of a seat that was vacated under the lock already.
    pub(super) fn spent(mut self) {
        self.index = SPENT;
    }
}

impl<T, E: Clone> Drop for Seat<T, E> {
    fn drop(&mut self) {
        // A model that failed is being torn down: its mutexes are gone.
        let torn_down = cfg!(any(pool_loom, pool_shuttle)) && std::thread::panicking();
        if self.index != SPENT && !torn_down {
            self.kernel.vacate(self.index);
        }
    }
}

const SPENT: u32 = u32::MAX;

/// Who holds a leased resource, since when, and from which line of the program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holder {
    pub(crate) since: Moment,
    pub(crate) place: &'static Location<'static>,
    pub(crate) label: &'static str,
}

/// All seats of one pool, and how many are in each state.
#[derive(Debug)]
pub(crate) struct Seats {
    rows: Vec<Row>,
    free: Vec<u32>,
    counts: [u32; SeatState::COUNT],
}

#[derive(Debug)]
struct Row {
    state: SeatState,
    reported: bool,
    holder: Option<Holder>,
}

impl Seats {
    pub(super) const fn new() -> Self {
        Self {
            rows: Vec::new(),
            free: Vec::new(),
            counts: [0; SeatState::COUNT],
        }
    }

    /// How many seats are in this state.
    #[inline]
    pub(super) const fn count(&self, state: SeatState) -> u32 {
        self.counts[state as usize]
    }

    /// How many seats are not free: what the bound is about.
    pub(super) fn taken(&self) -> u32 {
        self.rows.len() as u32 - self.free.len() as u32
    }

    /// How many hold something that was opened and is not being closed.
    pub(super) fn alive(&self) -> u32 {
        self.taken() - self.count(SeatState::Opening) - self.count(SeatState::Closing)
    }

    /// Takes a free seat for something that is being opened.
    pub(super) fn occupy(&mut self) -> u32 {
        let row = Row {
            state: SeatState::Opening,
            reported: false,
            holder: None,
        };
        self.counts[SeatState::Opening as usize] += 1;
        match self.free.pop() {
            Some(index) => {
                self.rows[index as usize] = row;
                index
            }
            None => {
                self.rows.push(row);
                (self.rows.len() - 1) as u32
            }
        }
    }

    pub(super) fn state(&self, index: u32) -> SeatState {
        self.rows[index as usize].state
    }

    #[inline]
    pub(super) fn set(&mut self, index: u32, state: SeatState) {
        let row = &mut self.rows[index as usize];
        self.counts[row.state as usize] -= 1;
        self.counts[state as usize] += 1;
        row.state = state;
    }

    /// The same, where it usually is in that state.
    #[inline]
    pub(super) fn set_if_other(&mut self, index: u32, state: SeatState) {
        if self.rows[index as usize].state != state {
            self.set(index, state);
        }
    }

    /// An idle one is leased by `holder`.
    #[inline]
    pub(super) fn lease(&mut self, index: u32, holder: Holder) {
        self.counts[SeatState::Idle as usize] -= 1;
        self.counts[SeatState::Leased as usize] += 1;
        let row = &mut self.rows[index as usize];
        debug_assert_eq!(row.state, SeatState::Idle);
        row.state = SeatState::Leased;
        row.holder = Some(holder);
        row.reported = false;
    }

    #[inline]
    pub(super) fn hold(&mut self, index: u32, holder: Holder) {
        let row = &mut self.rows[index as usize];
        row.holder = Some(holder);
        row.reported = false;
    }

    pub(super) fn relabel(&mut self, index: u32, label: &'static str) {
        if let Some(holder) = &mut self.rows[index as usize].holder {
            holder.label = label;
        }
    }

    pub(super) fn vacate(&mut self, index: u32) {
        let row = &mut self.rows[index as usize];
        self.counts[row.state as usize] -= 1;
        row.state = SeatState::Free;
        row.holder = None;
        self.free.push(index);
    }

    /// Everybody who holds one now.
    pub(super) fn holders(&self) -> impl Iterator<Item = Holder> {
        self.rows
            .iter()
            .filter(|row| row.state == SeatState::Leased)
            .filter_map(|row| row.holder)
    }

    /// Those who have held one since `before`, each once.
    pub(super) fn report_before(&mut self, before: Moment) -> Vec<Holder> {
        let old = |row: &&mut Row| {
            row.state == SeatState::Leased
                && !row.reported
                && row.holder.is_some_and(|holder| holder.since <= before)
        };
        self.rows
            .iter_mut()
            .filter(old)
            .filter_map(|row| {
                row.reported = true;
                row.holder
            })
            .collect()
    }
}

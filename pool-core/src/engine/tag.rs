//! Who has the thing on a seat, since when, and how often it was had: written by whoever holds it, without a lock.
//!
//! Nothing is decided by a tag, it is there to be looked at. So its atomics are plain ones, which models do not explore.

use std::{
    panic::Location,
    ptr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::Relaxed},
    },
};

use crate::moment::Moment;

/// Who holds a leased resource, since when, and from which line of the program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holder {
    pub(crate) since: Moment,
    pub(crate) place: &'static Location<'static>,
    pub(crate) label: &'static str,
}

/// The tag of one open resource. Only one at a time writes to it: who holds the resource.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Tag {
    /// Since when, in nanoseconds; `FREE` while nobody has it.
    since: AtomicU64,
    /// Null, or made from a `&'static`.
    place: AtomicPtr<Location<'static>>,
    uses: AtomicU64,
    /// The lease that began then was reported already.
    reported: AtomicU64,
    labelled: AtomicBool,
    label: Mutex<&'static str>,
}

const FREE: u64 = u64::MAX;

impl Tag {
    pub(crate) const fn new() -> Self {
        Self {
            since: AtomicU64::new(FREE),
            place: AtomicPtr::new(ptr::null_mut()),
            uses: AtomicU64::new(0),
            reported: AtomicU64::new(FREE),
            labelled: AtomicBool::new(false),
            label: Mutex::new(""),
        }
    }

    /// `holder` has it from now on.
    #[inline]
    pub(crate) fn take_up(&self, holder: Holder) {
        // Ordering: Relaxed throughout, see the top. One writer at a time, so this needs no read-modify-write.
        self.uses.store(self.uses.load(Relaxed) + 1, Relaxed);
        let place: *const Location<'static> = holder.place;
        self.place.store(place.cast_mut(), Relaxed);
        if !holder.label.is_empty() || self.labelled.load(Relaxed) {
            self.relabel(holder.label);
        }
        self.since.store(holder.since.as_nanos(), Relaxed);
    }

    /// Nobody has it from now on.
    #[inline]
    pub(crate) fn lay_down(&self) {
        self.since.store(FREE, Relaxed);
    }

    #[cold]
    pub(crate) fn relabel(&self, label: &'static str) {
        *self.label.lock().unwrap_or_else(PoisonError::into_inner) = label;
        self.labelled.store(!label.is_empty(), Relaxed);
    }

    /// How often it was taken up.
    #[inline]
    pub(crate) fn uses(&self) -> u64 {
        self.uses.load(Relaxed)
    }

    /// Who has it now.
    pub(crate) fn holder(&self) -> Option<Holder> {
        let since = self.since.load(Relaxed);
        let place = self.place.load(Relaxed);
        // SAFETY: it is null or was made from a `&'static Location`.
        let place = unsafe { place.as_ref() }?;
        let labelled = self.labelled.load(Relaxed);
        let label = if labelled {
            *self.label.lock().unwrap_or_else(PoisonError::into_inner)
        } else {
            ""
        };
        (since != FREE).then_some(Holder {
            since: Moment::from_nanos(since),
            place,
            label,
        })
    }

    /// Who has it now, if that is since `before` and was not told yet.
    pub(crate) fn report_before(&self, before: Moment) -> Option<Holder> {
        let holder = self.holder()?;
        let since = holder.since.as_nanos();
        let due = holder.since <= before && self.reported.swap(since, Relaxed) != since;
        due.then_some(holder)
    }
}

//! Tags: the holder of a resource, since when, and how often it was leased. The holder writes its tag without a lock.
//!
//! The kernel decides nothing by a tag; tags are for reports only. So the atomics are plain ones, which models do not explore.

use std::{
    panic::Location,
    ptr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::Relaxed},
    },
};

use crate::moment::Moment;

/// The holder of a leased resource: since when, and at which place in the program it was leased.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holder {
    pub(crate) since: Moment,
    pub(crate) place: &'static Location<'static>,
    pub(crate) label: &'static str,
}

/// The tag of one open resource. Only the holder of the resource writes to it, so there is one writer at a time.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Tag {
    /// When the lease began, in nanoseconds. `FREE` if the resource is not leased.
    since: AtomicU64,
    /// Null, or made from a `&'static`.
    place: AtomicPtr<Location<'static>>,
    uses: AtomicU64,
    /// The begin of the last lease that was reported.
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

    /// Begins a lease of `holder`.
    #[inline]
    pub(crate) fn take_up(&self, holder: Holder) {
        // Ordering: Relaxed throughout, as explained at the top. With one writer at a time no read-modify-write is needed.
        self.uses.store(self.uses.load(Relaxed) + 1, Relaxed);
        let place: *const Location<'static> = holder.place;
        self.place.store(place.cast_mut(), Relaxed);
        if !holder.label.is_empty() || self.labelled.load(Relaxed) {
            self.relabel(holder.label);
        }
        self.since.store(holder.since.as_nanos(), Relaxed);
    }

    /// Ends the lease.
    #[inline]
    pub(crate) fn lay_down(&self) {
        self.since.store(FREE, Relaxed);
    }

    #[cold]
    pub(crate) fn relabel(&self, label: &'static str) {
        *self.label.lock().unwrap_or_else(PoisonError::into_inner) = label;
        self.labelled.store(!label.is_empty(), Relaxed);
    }

    /// How many leases there were.
    #[inline]
    pub(crate) fn uses(&self) -> u64 {
        self.uses.load(Relaxed)
    }

    /// The current holder.
    pub(crate) fn holder(&self) -> Option<Holder> {
        let since = self.since.load(Relaxed);
        let place = self.place.load(Relaxed);
        // SAFETY: the pointer is null or was made from a `&'static Location`.
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

    /// The current holder, if its lease began at `before` or earlier and was not reported yet.
    pub(crate) fn report_before(&self, before: Moment) -> Option<Holder> {
        let holder = self.holder()?;
        let since = holder.since.as_nanos();
        let due = holder.since <= before && self.reported.swap(since, Relaxed) != since;
        due.then_some(holder)
    }
}

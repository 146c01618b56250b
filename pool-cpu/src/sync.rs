//! Imports the synchronization types from `std::sync`, loom or shuttle. No other file names them.
//!
//! The job slot, the queue, the sleepers and the shutdown take every lock, atomic and channel from here, so that a model explores
//! the code that ships. `--cfg pool_loom` selects loom's types, `--cfg pool_shuttle` shuttle's. `Arc` always is std's, because the
//! models do not explore reference counts.

#[cfg(all(pool_loom, pool_shuttle))]
compile_error!("`pool_loom` and `pool_shuttle` exclude each other");

#[cfg(pool_loom)]
use loom::sync as imp;
#[cfg(pool_shuttle)]
use shuttle::sync as imp;
#[cfg(not(any(pool_loom, pool_shuttle)))]
use std::sync as imp;

use std::{sync::PoisonError, time::Duration};

pub(crate) use imp::{
    MutexGuard,
    atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence},
};
pub(crate) use std::sync::Arc;

#[cfg(pool_loom)]
pub(crate) use loom::thread_local;
#[cfg(pool_shuttle)]
pub(crate) use shuttle::thread_local;
#[cfg(not(any(pool_loom, pool_shuttle)))]
pub(crate) use std::thread_local;

/// Whether this is a failed model whose values are being dropped outside of the model. Then no lock may be taken.
#[inline(always)]
pub(crate) fn torn_down() -> bool {
    cfg!(any(pool_loom, pool_shuttle)) && std::thread::panicking()
}

/// A mutex without poisoning. No user code runs under it, so a panic cannot leave its data half changed.
#[derive(Debug)]
pub(crate) struct Mutex<T>(imp::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A condition variable for [`Mutex`].
#[derive(Debug)]
pub(crate) struct Condvar(imp::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self(imp::Condvar::new())
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Waits for a notification, but no longer than `at_most` if it is given. May return early without a reason.
    ///
    /// The models have no clock, so in a model the time may be over at any moment.
    pub(crate) fn wait<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        at_most: Option<Duration>,
    ) -> MutexGuard<'a, T> {
        match at_most {
            None => self.0.wait(guard).unwrap_or_else(PoisonError::into_inner),
            #[cfg(any(pool_loom, pool_shuttle))]
            Some(_) => guard,
            #[cfg(not(any(pool_loom, pool_shuttle)))]
            Some(time) => {
                let woken = self.0.wait_timeout(guard, time);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }
}

/// A bounded queue. Any thread may push to it and pop from it.
///
/// In production this is crossbeam's queue, which takes no lock. loom cannot explore its internals, so models use a queue with a
/// lock instead. In both, every later pop sees an item that was pushed.
#[derive(Debug)]
#[cfg(not(any(pool_loom, pool_shuttle)))]
pub(crate) struct Channel<T> {
    sender: crossbeam_channel::Sender<T>,
    receiver: crossbeam_channel::Receiver<T>,
}

#[cfg(not(any(pool_loom, pool_shuttle)))]
impl<T> Channel<T> {
    pub(crate) fn bounded(capacity: usize) -> Self {
        let (sender, receiver) = crossbeam_channel::bounded(capacity);
        Self { sender, receiver }
    }

    /// Appends `item`, or returns it if there is no room.
    #[inline]
    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        self.sender
            .try_send(item)
            .map_err(crossbeam_channel::TrySendError::into_inner)
    }

    #[inline]
    pub(crate) fn pop(&self) -> Option<T> {
        self.receiver.try_recv().ok()
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.receiver.len()
    }
}

#[derive(Debug)]
#[cfg(any(pool_loom, pool_shuttle))]
pub(crate) struct Channel<T> {
    items: Mutex<std::collections::VecDeque<T>>,
    capacity: usize,
}

#[cfg(any(pool_loom, pool_shuttle))]
impl<T> Channel<T> {
    pub(crate) fn bounded(capacity: usize) -> Self {
        Self {
            items: Mutex::new(std::collections::VecDeque::new()),
            capacity,
        }
    }

    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        let mut items = self.items.lock();
        if items.len() == self.capacity {
            return Err(item);
        }
        items.push_back(item);
        Ok(())
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.items.lock().pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.items.lock().len()
    }
}

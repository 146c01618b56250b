//! The one place that names `std::sync`, loom's or shuttle's.
//!
//! Everything in [`engine`](crate::engine) takes its mutex, its `Arc` and its atomics from here, so that a model explores the
//! code that ships: `--cfg pool_loom` swaps loom's types in, `--cfg pool_shuttle` shuttle's.

#[cfg(all(pool_loom, pool_shuttle))]
compile_error!("`pool_loom` and `pool_shuttle` exclude each other");

#[cfg(pool_loom)]
pub(crate) use self::torn_down::Arc;
#[cfg(pool_loom)]
pub(crate) use loom::sync::MutexGuard;
#[cfg(pool_shuttle)]
pub(crate) use shuttle::sync::{Arc, MutexGuard};
#[cfg(not(any(pool_loom, pool_shuttle)))]
pub(crate) use std::sync::{Arc, MutexGuard};

#[cfg(pool_loom)]
use loom::sync as imp;
#[cfg(pool_shuttle)]
use shuttle::sync as imp;
#[cfg(not(any(pool_loom, pool_shuttle)))]
use std::sync as imp;

pub(crate) use imp::atomic;
#[cfg(pool_loom)]
pub(crate) use loom::cell::UnsafeCell;

use std::sync::PoisonError;

/// A mutex that has no poison: no user code runs under it, so a panic cannot leave it half changed.
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

    /// Does somebody hold it?
    #[cfg(all(test, pool_loom))]
    pub(crate) fn is_locked(&self) -> bool {
        self.0.try_lock().is_err()
    }

    /// As [`lock`](Self::lock), for a lock that several threads want all the time and nobody has for long. Who does not get it steps
    /// aside for a moment, so that who has it can have it a few times in a row, with all that it guards in the cache.
    ///
    /// Pauses 2, 4 and 8 times and then yields, as parking_lot's `SpinWait` does, before it waits as any other.
    #[inline]
    pub(crate) fn lock_patiently(&self) -> MutexGuard<'_, T> {
        #[cfg(not(any(pool_loom, pool_shuttle)))]
        for round in 0..ROUNDS {
            match self.0.try_lock() {
                Ok(guard) => return guard,
                Err(imp::TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(imp::TryLockError::WouldBlock) if round < SPINS => {
                    (0..2_u32 << round).for_each(|_| std::hint::spin_loop());
                }
                Err(imp::TryLockError::WouldBlock) => std::thread::yield_now(),
            }
        }
        self.lock()
    }
}

#[cfg(not(any(pool_loom, pool_shuttle)))]
const ROUNDS: u32 = 10;
#[cfg(not(any(pool_loom, pool_shuttle)))]
const SPINS: u32 = 3;

/// What one thread at a time may touch, by a rule that the compiler does not know.
#[cfg(not(pool_loom))]
#[derive(Debug, Default)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(pool_loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Lends a pointer to look at it. Whoever follows that must know that nobody writes to it.
    #[inline]
    pub(crate) fn with<R>(&self, code: impl FnOnce(*const T) -> R) -> R {
        code(self.0.get())
    }

    /// Lends a pointer to it. Whoever follows that must know that nobody else does.
    #[inline]
    pub(crate) fn with_mut<R>(&self, code: impl FnOnce(*mut T) -> R) -> R {
        code(self.0.get())
    }
}

/// A model that fails is torn down by a panic, and loom's `Arc` panics when it is dropped in the middle of that, which would abort
/// the process: this one leaks instead. It is what lets a seeded bug be a test that should panic.
#[cfg(pool_loom)]
mod torn_down {
    use std::{mem, ops::Deref};

    #[derive(Debug)]
    pub(crate) struct Arc<T>(Option<loom::sync::Arc<T>>);

    impl<T> Arc<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(Some(loom::sync::Arc::new(value)))
        }
    }

    impl<T> Clone for Arc<T> {
        fn clone(&self) -> Self {
            Self(self.0.clone())
        }
    }

    impl<T> Deref for Arc<T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().expect("it is there until it is dropped")
        }
    }

    impl<T> Drop for Arc<T> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                mem::forget(self.0.take());
            }
        }
    }
}

//! The only module that names `std::sync`, loom or shuttle.
//!
//! Everything in [`engine`](crate::engine) takes its mutex, its `Arc` and its atomics from here, so that a model explores the code
//! that ships. `--cfg pool_loom` selects loom's types, `--cfg pool_shuttle` shuttle's.

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

use std::{
    cell::Cell,
    ops::{Deref, DerefMut},
    sync::PoisonError,
    task::Waker,
};

use crate::host::caught;

/// A mutex without poisoning: no user code runs under it, so a panic cannot leave its value half changed.
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

    /// Whether a thread holds the lock.
    #[cfg(all(test, pool_loom))]
    pub(crate) fn is_locked(&self) -> bool {
        self.0.try_lock().is_err()
    }

    /// Like [`lock`](Self::lock), for a lock that several threads want all the time and that none holds for long. A thread that
    /// does not get the lock waits for a moment before it tries again. So the holder can take the lock several times in a row, with
    /// all that it guards in its cache.
    ///
    /// Pauses 2, 4 and 8 times and then yields, like parking_lot's `SpinWait`, before it waits as for any other lock.
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

/// The state that a kernel's lock guards.
pub(crate) trait Poisonable {
    /// A panic of the kernel has left the state half changed. Replaces it by the state of a closed kernel, in which every operation
    /// is well defined; the old content is leaked. Returns the wakers of the waiters, to be woken with nothing locked.
    #[cfg_attr(
        any(pool_loom, pool_shuttle),
        allow(dead_code, reason = "in a model a panic is the end")
    )]
    fn poison(&mut self) -> Vec<Waker>;
}

/// The mutex of a kernel. No user code runs under it. If the kernel itself panics, the state is [poisoned](Poisonable::poison): by
/// the thread that unwinds, after it has released the lock, or by the next thread that locks.
#[derive(Debug)]
pub(crate) struct KernelMutex<T> {
    state: Mutex<T>,
    /// A plain atomic, which models do not explore: a panic ends a model.
    poisoned: std::sync::atomic::AtomicBool,
}

/// The lock of a [`KernelMutex`], held.
#[derive(Debug)]
pub(crate) struct KernelGuard<'a, T: Poisonable> {
    state: MutexGuard<'a, T>,
    // Dropped after the guard: then the mutex is free.
    _held: Held<'a, T>,
}

#[derive(Debug)]
struct Held<'a, T: Poisonable> {
    #[cfg_attr(
        any(pool_loom, pool_shuttle),
        allow(dead_code, reason = "in a model a panic is the end")
    )]
    mutex: &'a KernelMutex<T>,
    /// Whether the thread was already unwinding when it took the lock.
    unwinding: bool,
}

thread_local! {
    /// The address of the kernel lock that this thread holds; 0 for none. A thread never holds two.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

impl<T: Poisonable> KernelMutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            state: Mutex::new(value),
            poisoned: std::sync::atomic::AtomicBool::new(false),
        }
    }

    #[inline]
    pub(crate) fn lock(&self) -> KernelGuard<'_, T> {
        KernelGuard {
            state: self.lock_whole(),
            _held: Held::new(self),
        }
    }

    /// Whether a thread holds the lock.
    #[cfg(all(test, pool_loom))]
    pub(crate) fn is_locked(&self) -> bool {
        self.state.is_locked()
    }

    /// Whether this thread unwinds from a panic under this lock. Then what it drops must not lock it again.
    pub(crate) fn unwinds_here(&self) -> bool {
        std::thread::panicking() && HELD.get() == self.address()
    }

    /// Whether the kernel has panicked under this lock.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    #[cfg(any(pool_loom, pool_shuttle))]
    fn lock_whole(&self) -> MutexGuard<'_, T> {
        self.state.lock()
    }

    #[cfg(not(any(pool_loom, pool_shuttle)))]
    #[inline]
    fn lock_whole(&self) -> MutexGuard<'_, T> {
        // A lock that is poisoned is locked by the error, which must have gone when it is locked again.
        if let Ok(guard) = self.state.0.try_lock() {
            return guard;
        }
        self.lock_held()
    }

    /// Locks while another thread holds the lock, or after a panic under it.
    ///
    /// A thread that holds the lock holds it for less than a microsecond, or for some when it lets the inbox in. The standard mutex
    /// goes to sleep as soon as it loses one race for a lock that it saw free, which costs more than all that is done under the
    /// lock. So a thread first tries several times, with longer and longer pauses.
    #[cfg(not(any(pool_loom, pool_shuttle)))]
    #[inline(never)]
    fn lock_held(&self) -> MutexGuard<'_, T> {
        for round in 0..TRIES {
            (0..2_u32 << round).for_each(|_| std::hint::spin_loop());
            match self.state.0.try_lock() {
                Ok(guard) => return guard,
                Err(imp::TryLockError::Poisoned(_)) => break,
                Err(imp::TryLockError::WouldBlock) => {}
            }
        }
        loop {
            match self.state.0.lock() {
                Ok(guard) => return guard,
                Err(poisoned) => self.poison(poisoned.into_inner()),
            }
        }
    }

    #[cfg(not(any(pool_loom, pool_shuttle)))]
    #[cold]
    fn poison(&self, mut state: MutexGuard<'_, T>) {
        let orphans = caught(|| state.poison()).unwrap_or_default();
        self.poisoned
            .store(true, std::sync::atomic::Ordering::Relaxed);
        self.state.0.clear_poison();
        drop(state);
        wake_all(orphans);
    }
}

/// Wakes all wakers, and catches their panics.
pub(crate) fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        drop(caught(|| waker.wake()));
    }
}

impl<'a, T: Poisonable> Held<'a, T> {
    #[inline]
    fn new(mutex: &'a KernelMutex<T>) -> Self {
        HELD.set(mutex.address());
        Self {
            mutex,
            unwinding: std::thread::panicking(),
        }
    }
}

impl<T: Poisonable> KernelGuard<'_, T> {
    /// Whether this guard is dropped because the kernel panicked under it. Then the state is half changed.
    #[inline]
    pub(crate) fn is_spoilt(&self) -> bool {
        !self._held.unwinding && std::thread::panicking()
    }
}

impl<T: Poisonable> Drop for Held<'_, T> {
    #[inline]
    fn drop(&mut self) {
        HELD.set(0);
        #[cfg(not(any(pool_loom, pool_shuttle)))]
        if !self.unwinding && std::thread::panicking() {
            drop(self.mutex.lock_whole());
        }
    }
}

impl<T: Poisonable> Deref for KernelGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.state
    }
}

impl<T: Poisonable> DerefMut for KernelGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        #[cfg(test)]
        fuse::burn();
        &mut self.state
    }
}

/// Makes the kernel panic on purpose.
#[cfg(test)]
pub(crate) mod fuse {
    use std::cell::Cell;

    thread_local! {
        static LEFT: Cell<u32> = const { Cell::new(0) };
    }

    /// From now on, the `n`th step under a kernel lock on this thread panics, counting from 1.
    #[cfg_attr(
        any(pool_loom, pool_shuttle),
        allow(dead_code, reason = "for unit tests")
    )]
    pub(crate) fn light(n: u32) {
        LEFT.set(n);
    }

    /// Disarms. Returns whether the panic has happened, or none was armed.
    #[cfg_attr(
        any(pool_loom, pool_shuttle),
        allow(dead_code, reason = "for unit tests")
    )]
    pub(crate) fn put_out() -> bool {
        LEFT.replace(0) == 0
    }

    pub(super) fn burn() {
        let left = LEFT.get();
        if left > 0 && !std::thread::panicking() {
            LEFT.set(left - 1);
            assert!(left > 1, "the fuse has burnt down");
        }
    }
}

#[cfg(not(any(pool_loom, pool_shuttle)))]
const ROUNDS: u32 = 10;
#[cfg(not(any(pool_loom, pool_shuttle)))]
const SPINS: u32 = 3;
/// How often a thread tries for the lock of a kernel before it may go to sleep: with 126 pauses in all.
#[cfg(not(any(pool_loom, pool_shuttle)))]
const TRIES: u32 = 6;

/// A cell that one thread at a time may access, by a rule that the compiler does not know.
#[cfg(not(pool_loom))]
#[derive(Debug, Default)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(pool_loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Passes a pointer for reading. The code that reads through it must know that no thread writes.
    #[inline]
    pub(crate) fn with<R>(&self, code: impl FnOnce(*const T) -> R) -> R {
        code(self.0.get())
    }

    /// Passes a pointer for writing. The code that writes through it must know that no other thread accesses the cell.
    #[inline]
    pub(crate) fn with_mut<R>(&self, code: impl FnOnce(*mut T) -> R) -> R {
        code(self.0.get())
    }
}

/// An `Arc` for models. A model that fails is torn down by a panic, and the drop of loom's `Arc` during that panic would panic too
/// and abort the process. This `Arc` leaks instead, so that a test of a seeded bug can expect the panic.
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

//! The state that each worker keeps between jobs.

use std::{
    any::Any,
    cell::RefCell,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{Ctx, Run, Workers, quiet::drop_quietly, sync::Arc};

/// A value for each worker. The worker makes its value when a job first uses it.
///
/// Use it for values that are expensive to make (a hasher's memory, a compiled model) or that must not leave their thread (they
/// need not be `Send`). [`Workers::with_state`] returns it.
///
/// If a job panics, the value of its worker is dropped, because it may be half changed. The next job on that worker gets a new
/// value. When the last handle of the state is dropped, each worker drops its value when it next uses any state, or when it ends.
///
/// ```
/// use std::{cell::RefCell, rc::Rc};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pool_cpu::Error> {
/// # let cpu = pool_cpu::CpuPool::builder().threads(1).build().expect("one thread");
/// let scratch = cpu.with_state(|| Rc::new(RefCell::new(Vec::<u8>::with_capacity(1 << 16))));
/// let sum = scratch
///     .run(|buffer| {
///         let mut buffer = buffer.borrow_mut();
///         buffer.clear();
///         buffer.extend(0..10_u8);
///         buffer.iter().map(|n| u32::from(*n)).sum::<u32>()
///     })
///     .await?;
/// assert_eq!(sum, 45);
/// # Ok(())
/// # }
/// ```
pub struct WithState<S> {
    workers: Workers,
    make: Arc<dyn Fn() -> S + Send + Sync>,
    key: Key,
}

/// Identifies one state. A worker keeps its value as long as a clone of the key exists.
#[derive(Clone)]
struct Key(Arc<u64>);

/// The value that a thread keeps under one key.
struct Entry {
    key: u64,
    owner: Weak<u64>,
    value: Box<dyn Any>,
}

thread_local! {
    static KEPT: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
}

impl Workers {
    /// Creates a state with a value for each worker. A worker calls `make` when a job first uses its value.
    pub fn with_state<S: 'static>(
        &self,
        make: impl Fn() -> S + Send + Sync + 'static,
    ) -> WithState<S> {
        WithState {
            workers: self.clone(),
            make: Arc::new(make),
            key: Key::new(),
        }
    }
}

impl<S: 'static> WithState<S> {
    /// Like [`Workers::run`], but passes the worker's value to `f`.
    ///
    /// # Errors
    /// As for [`Workers::run`]. A panic of `make` counts as a panic of the job.
    pub fn run<T, F>(&self, f: F) -> Run<'_, impl FnOnce(&Ctx<'_>) -> T + Send + 'static, T>
    where
        F: FnOnce(&mut S) -> T + Send + 'static,
        T: Send + 'static,
    {
        self.workers.run(self.with(f))
    }

    /// Like [`run`](Self::run), but also passes a [`Ctx`] to the job. With it the job can check for cancellation, and use the other
    /// workers.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    pub fn run_with<T, F>(&self, f: F) -> Run<'_, impl FnOnce(&Ctx<'_>) -> T + Send + 'static, T>
    where
        F: FnOnce(&mut S, &Ctx<'_>) -> T + Send + 'static,
        T: Send + 'static,
    {
        self.workers.job("").run_with(self.with_ctx(f))
    }

    /// Turns `f` into a plain closure, for the other methods that run a job.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cpu = pool_cpu::CpuPool::builder().threads(1).build()?;
    /// let seen = cpu.with_state(|| 0_u32);
    /// let next = |seen: &mut u32| {
    ///     *seen += 1;
    ///     *seen
    /// };
    /// assert_eq!(cpu.job("count").background().run(seen.with(next)).await?, 1);
    /// assert_eq!(cpu.try_run(seen.with(next))?.await?, 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn with<T, F>(&self, f: F) -> impl FnOnce() -> T + Send + 'static
    where
        F: FnOnce(&mut S) -> T + Send + 'static,
        T: Send + 'static,
    {
        let (key, make) = (self.key.clone(), Arc::clone(&self.make));
        move || key.lend(&*make, f)
    }

    /// Like [`with`](Self::with), for a job that checks for cancellation.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cpu = pool_cpu::CpuPool::builder().threads(1).build()?;
    /// let model = cpu.with_state(|| vec![1, 2, 3]);
    /// let score = model.with_ctx(|model, ctx| match ctx.is_cancelled() {
    ///     true => 0,
    ///     false => model.iter().sum(),
    /// });
    /// assert_eq!(cpu.job("score").try_run_with(score)?.await?, 6);
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_ctx<T, F>(&self, f: F) -> impl FnOnce(&Ctx<'_>) -> T + Send + 'static
    where
        F: FnOnce(&mut S, &Ctx<'_>) -> T + Send + 'static,
        T: Send + 'static,
    {
        let (key, make) = (self.key.clone(), Arc::clone(&self.make));
        move |ctx: &Ctx<'_>| key.lend(&*make, |value| f(value, ctx))
    }
}

impl<S> Clone for WithState<S> {
    fn clone(&self) -> Self {
        Self {
            workers: self.workers.clone(),
            make: Arc::clone(&self.make),
            key: self.key.clone(),
        }
    }
}

impl<S> fmt::Debug for WithState<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithState")
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

impl Key {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(Arc::new(NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Lends this thread's value to `f`, and makes the value if there is none.
    fn lend<S: 'static, T>(&self, make: &dyn Fn() -> S, f: impl FnOnce(&mut S) -> T) -> T {
        // The value is taken out of the list while the job has it.
        let mut value = self.take().unwrap_or_else(|| Box::new(make()));
        match catch_unwind(AssertUnwindSafe(|| f(&mut value))) {
            Ok(result) => {
                self.keep(value);
                result
            }
            Err(payload) => {
                // The drop must not run while the panic unwinds, because a second panic would abort the process.
                drop_quietly(value);
                resume_unwind(payload)
            }
        }
    }

    /// Takes this thread's value out of the list.
    fn take<S: 'static>(&self) -> Option<Box<S>> {
        let entry = KEPT.with_borrow_mut(|kept| {
            let at = kept.iter().position(|entry| entry.key == *self.0)?;
            Some(kept.swap_remove(at))
        });
        entry?.value.downcast().ok()
    }

    /// Keeps a value for the next job on this thread, and drops the values whose last handle was dropped.
    fn keep<S: 'static>(&self, value: Box<S>) {
        let orphans: Vec<Entry> = KEPT.with_borrow_mut(|kept| {
            kept.push(Entry {
                key: *self.0,
                owner: Arc::downgrade(&self.0),
                value,
            });
            let orphaned = |entry: &mut Entry| entry.owner.strong_count() == 0;
            kept.extract_if(.., orphaned).collect()
        });
        // The list is not borrowed here, because the `Drop` of a value is user code. Each value is dropped on its own: if two drops
        // panicked in one unwind, the process would abort.
        orphans.into_iter().for_each(drop_quietly);
    }
}

/// Drops the values of this thread before the thread ends. A panic in the drop of a thread-local would abort the process.
pub(crate) fn clear() {
    KEPT.take().into_iter().for_each(drop_quietly);
}

#[cfg(all(test, not(any(pool_loom, pool_shuttle))))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{cell::Cell, rc::Rc, sync::atomic::AtomicUsize, thread, time::Duration};

    use super::*;
    use crate::{CpuPool, Shutdown};

    fn pool() -> CpuPool {
        CpuPool::builder().threads(1).build().unwrap()
    }

    #[test]
    fn a_value_is_made_once_for_each_worker_and_need_not_be_send() {
        let cpu = pool();
        let made = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&made);
        let state = cpu.with_state(move || {
            count.fetch_add(1, Ordering::Relaxed);
            Rc::new(Cell::new(0))
        });
        for n in 0..5 {
            let bump = state.with(|cell| cell.replace(cell.get() + 1));
            assert_eq!(cpu.run_sync(bump).unwrap(), n);
        }
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn two_kinds_of_state_do_not_mix() {
        let cpu = pool();
        let (a, b) = (cpu.with_state(|| 1_u32), cpu.with_state(|| 2_u32));
        for _ in 0..3 {
            assert_eq!(cpu.run_sync(a.with(|n| *n)).unwrap(), 1);
            assert_eq!(cpu.run_sync(b.with(|n| *n)).unwrap(), 2);
        }
    }

    #[test]
    fn a_job_that_panics_leaves_a_fresh_value_to_the_next() {
        let cpu = pool();
        let state = cpu.with_state(|| 0_u32);
        let spoil = state.with(|n| {
            *n = 7;
            panic!("half way");
        });
        assert!(cpu.run_sync::<(), _>(spoil).unwrap_err().is_panic());
        assert_eq!(cpu.run_sync(state.with(|n| *n)).unwrap(), 0);
    }

    /// Counts its drop on its own thread, and panics in it.
    struct Loud(Arc<AtomicUsize>, thread::ThreadId);

    impl Drop for Loud {
        fn drop(&mut self) {
            assert_eq!(thread::current().id(), self.1);
            self.0.fetch_add(1, Ordering::Relaxed);
            panic!("in drop");
        }
    }

    /// Makes one more state with a `Loud` value.
    fn loud(cpu: &CpuPool, dropped: &Arc<AtomicUsize>) -> WithState<Loud> {
        let dropped = Arc::clone(dropped);
        cpu.with_state(move || Loud(Arc::clone(&dropped), thread::current().id()))
    }

    #[test]
    fn values_are_dropped_on_their_worker_when_it_ends_even_if_each_of_them_panics() {
        let cpu = pool();
        let dropped = Arc::default();
        // Kept until the end, because otherwise the first value would be dropped when the second state is used.
        let states = [loud(&cpu, &dropped), loud(&cpu, &dropped)];
        for state in &states {
            cpu.run_sync(state.with(|_| ())).unwrap();
        }
        assert!(
            cpu.shutdown_sync(Shutdown::Drain, Duration::from_secs(10))
                .is_clean()
        );
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn values_that_nobody_can_ask_for_may_panic_all_of_them() {
        let cpu = pool();
        let dropped = Arc::default();
        let states = [loud(&cpu, &dropped), loud(&cpu, &dropped)];
        for state in &states {
            cpu.run_sync(state.with(|_| ())).unwrap();
        }
        drop(states);
        cpu.run_sync(cpu.with_state(|| ()).with(|()| ())).unwrap();
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_job_that_panics_may_leave_a_value_that_panics_too() {
        let cpu = pool();
        let dropped = Arc::default();
        let state = loud(&cpu, &dropped);
        let spoil = state.with(|_| panic!("half way"));
        let error = cpu.run_sync::<(), _>(spoil).unwrap_err();
        assert_eq!(error.panic_message(), Some("half way"));
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
        cpu.run_sync(|| ()).unwrap();
    }

    #[test]
    fn state_that_nobody_can_ask_for_goes_when_its_worker_uses_state_again() {
        let cpu = pool();
        let token = Arc::new(());
        let weak = Arc::downgrade(&token);
        let state = cpu.with_state(move || Arc::clone(&token));
        cpu.run_sync(state.with(|_| ())).unwrap();
        drop(state);
        assert_eq!(weak.strong_count(), 1, "the worker still has it");
        let other = cpu.with_state(|| ());
        cpu.run_sync(other.with(|()| ())).unwrap();
        assert_eq!(weak.strong_count(), 0);
    }
}

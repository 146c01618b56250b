//! Counts what the current thread allocates.
//!
//! The counters belong to the thread, so that counting never makes two threads share a cache line:
//! a peer that allocates much is not slowed down further by being watched. It also means that what
//! is to be counted must happen on one thread, such as a current-thread runtime's.
//!
//! ```
//! use benches::alloc::{Counting, counts};
//!
//! #[global_allocator]
//! static ALLOCATOR: Counting = Counting;
//!
//! let before = counts();
//! let boxed = Box::new([0_u8; 100]);
//! let grown = counts().since(before);
//! assert_eq!((grown.allocations, grown.bytes), (1, 100));
//! drop(boxed);
//! assert_eq!(counts().since(before).bytes, 0);
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counting for each thread: a binary's `#[global_allocator]`.
#[derive(Debug, Clone, Copy)]
pub struct Counting;

/// What a thread has allocated so far; all zero where [`Counting`] is not the allocator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that gave out memory; one that moved or grew a block counts as well.
    pub allocations: i64,
    /// Bytes asked for and not given back. What another thread frees is missing on that one.
    pub bytes: i64,
}

impl Counts {
    /// What was added after `earlier`; bytes are negative when more was freed than asked for.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            allocations: self.allocations - earlier.allocations,
            bytes: self.bytes - earlier.bytes,
        }
    }
}

/// What the current thread has allocated since it began.
#[must_use]
pub fn counts() -> Counts {
    COUNTS.get()
}

// SAFETY: every call goes to `System` unchanged, which upholds the contract; the counting beside
// it neither allocates nor unwinds (a `const` thread-local without a destructor, wrapping sums).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size as i64 - layout.size() as i64);
        // SAFETY: `block` came from `System` with `layout`, as every block of ours does.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(0, -(layout.size() as i64));
        // SAFETY: `block` came from `System` with `layout`, as every block of ours does.
        unsafe { System.dealloc(block, layout) }
    }
}

thread_local! {
    static COUNTS: Cell<Counts> = const { Cell::new(Counts { allocations: 0, bytes: 0 }) };
}

fn count(allocations: i64, bytes: i64) {
    let counts = COUNTS.get();
    COUNTS.set(Counts {
        allocations: counts.allocations.wrapping_add(allocations),
        bytes: counts.bytes.wrapping_add(bytes),
    });
}

//! Rows by number. Memory follows the number of rows in use.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    ops::{Index, IndexMut},
};

/// Rows by number. The number of a removed row is used again.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    rows: Vec<Option<T>>,
    /// Free numbers, the lowest first, so that rows at the end can be dropped. Rows of some of these numbers may be dropped
    /// already.
    free: BinaryHeap<Reverse<u32>>,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self {
            rows: Vec::new(),
            free: BinaryHeap::new(),
        }
    }

    /// Inserts a row, and returns its number.
    pub(crate) fn insert(&mut self, row: T) -> u32 {
        while let Some(Reverse(index)) = self.free.pop() {
            if let Some(free) = self.rows.get_mut(index as usize)
                && free.is_none()
            {
                *free = Some(row);
                return index;
            }
        }
        self.rows.push(Some(row));
        (self.rows.len() - 1) as u32
    }

    /// Removes a row. Free rows at the end are dropped, and their memory is given back when few rows are left of many.
    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        let row = self.rows.get_mut(index as usize)?.take()?;
        self.free.push(Reverse(index));
        while let Some(None) = self.rows.last() {
            self.rows.pop();
        }
        let len = self.rows.len();
        if len * 4 < self.rows.capacity() && self.rows.capacity() > SMALL {
            self.rows.shrink_to(SMALL.max(len * 2));
            self.free.retain(|Reverse(index)| (*index as usize) < len);
            self.free.shrink_to(SMALL.max(len * 2));
        }
        Some(row)
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.rows.get(index as usize)?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.rows.get_mut(index as usize)?.as_mut()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.rows.iter_mut().flatten()
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: u32) -> &T {
        self.get(index).expect(THERE)
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut T {
        self.get_mut(index).expect(THERE)
    }
}

const THERE: &str = "who names a row knows that it is there";

/// A slab with room for this many rows is not shrunk.
const SMALL: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again_the_lowest_first_and_memory_goes_with_those_that_used_it() {
        let mut slab = Slab::new();
        for cycle in 0..10 {
            let all: Vec<_> = (0..10_000).map(|row| slab.insert(row)).collect();
            assert!(all.iter().copied().eq(0..10_000), "cycle {cycle}");
            assert_eq!((slab.get(7), slab.get(10_000)), (Some(&7), None));
            assert_eq!((slab.remove(7), slab.remove(7)), (Some(7), None));
            assert_eq!(slab.insert(70), 7);
            for index in all {
                assert!(slab.remove(index).is_some());
            }
            assert_eq!(slab.iter_mut().count(), 0);
            assert!(slab.rows.capacity() <= SMALL && slab.free.len() <= 2 * SMALL);
        }
    }
}

//! The lines of the program from which leases were taken. A seat keeps only the number of its line, so that it stays small.

use std::{collections::HashMap, panic::Location, ptr};

use crate::{engine::Holder, moment::Moment};

/// The sites of all current leases, and of some past ones.
#[derive(Debug)]
pub(super) struct Sites {
    all: Vec<Site>,
    /// By the addresses of the place and the label.
    numbers: HashMap<Address, u32>,
    /// The numbers that were looked up last, by a few bits of the address. Nearly always the next lookup is for one of these.
    recent: [u32; RECENT],
}

/// A line of the program, with the label of a lease from there.
#[derive(Clone, Copy, Debug)]
struct Site {
    place: &'static Location<'static>,
    label: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Address {
    place: usize,
    label: usize,
    len: usize,
}

const RECENT: usize = 16;

impl Sites {
    pub(super) fn new() -> Self {
        Self {
            all: Vec::new(),
            numbers: HashMap::new(),
            recent: [0; RECENT],
        }
    }

    /// Returns how many sites are kept.
    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.all.len()
    }

    /// Returns the number of this site.
    #[inline]
    pub(super) fn number(&mut self, place: &'static Location<'static>, label: &'static str) -> u32 {
        let site = Site { place, label };
        let number = self.recent[site.hint()];
        match self.all.get(number as usize) {
            Some(known) if known.is(site) => number,
            _ => self.look_up(site),
        }
    }

    #[inline(never)]
    fn look_up(&mut self, site: Site) -> u32 {
        let next = self.all.len() as u32;
        let number = *self.numbers.entry(site.address()).or_insert(next);
        if number == next {
            self.all.push(site);
        }
        self.recent[site.hint()] = number;
        number
    }

    /// Returns the holder of a lease that was taken from this site at `since`.
    pub(super) fn holder(&self, number: u32, since: Moment) -> Option<Holder> {
        let Site { place, label } = *self.all.get(number as usize)?;
        Some(Holder {
            since,
            place,
            label,
        })
    }
}

impl Site {
    #[inline]
    fn address(self) -> Address {
        Address {
            place: ptr::from_ref(self.place).addr(),
            label: self.label.as_ptr().addr(),
            len: self.label.len(),
        }
    }

    #[inline]
    fn is(self, other: Self) -> bool {
        self.address() == other.address()
    }

    /// Returns the index of this site in `recent`.
    #[inline]
    fn hint(self) -> usize {
        let Address { place, label, .. } = self.address();
        ((place >> 3) ^ (label >> 2)) % RECENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_keeps_its_number_and_gives_back_what_it_was_made_of() {
        let mut sites = Sites::new();
        let (here, there) = (Location::caller(), Location::caller());
        let labels: Vec<&'static str> = ["", "report", "a longer text"].to_vec();
        let mut number_of = |place, label| sites.number(place, label);
        let numbers: Vec<u32> = labels.iter().map(|label| number_of(here, label)).collect();
        assert_eq!(numbers, [0, 1, 2]);
        let again: Vec<u32> = labels.iter().map(|label| number_of(here, label)).collect();
        assert_eq!(again, numbers);
        assert_eq!((number_of(there, ""), number_of(here, "")), (3, 0));
        let holder = sites.holder(1, Moment::from_nanos(5)).unwrap();
        assert_eq!(
            (holder.label, holder.since),
            ("report", Moment::from_nanos(5))
        );
        assert!(ptr::eq(holder.place, here));
        assert!(sites.holder(4, Moment::from_nanos(5)).is_none());
    }
}

//! How much memory this process has.

use std::fs;

use super::failure::Failure;

/// Bytes of memory that the process has, and the most that it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resident {
    pub(super) now: u64,
    pub(super) most: u64,
}

impl Resident {
    /// As the system counts them.
    pub(super) fn read() -> Result<Self, Failure> {
        let status = fs::read_to_string("/proc/self/status")?;
        Self::parse(&status).ok_or_else(|| Failure::new("the system does not say how much memory"))
    }

    /// Makes what the process has now the most that it had. Where the system does not allow it, the most stays what it was before.
    pub(super) fn forget_most() {
        drop(fs::write("/proc/self/clear_refs", "5"));
    }

    fn parse(status: &str) -> Option<Self> {
        let bytes = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = line.strip_suffix("kB")?.trim().parse().ok()?;
            Some(kib * 1024)
        };
        Some(Self {
            now: bytes("VmRSS:")?,
            most: bytes("VmHWM:")?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn both_figures_are_found_in_what_the_system_says() {
        let status = "Name:\tdb\nVmPeak:\t  9 kB\nVmHWM:\t    5120 kB\nVmRSS:\t    4096 kB\n";
        let expected = Resident {
            now: 4 << 20,
            most: 5 << 20,
        };
        assert_eq!(Resident::parse(status), Some(expected));
        assert_eq!(Resident::parse("Name:\tdb\n"), None);
    }

    #[test]
    fn the_most_does_not_miss_memory_that_was_given_back() {
        const SIZE: usize = 64 << 20;
        let before = Resident::read().unwrap();
        let bytes = std::hint::black_box(vec![1_u8; SIZE]);
        drop(bytes);
        let after = Resident::read().unwrap();
        assert!(
            after.most >= before.now + SIZE as u64 / 2,
            "{before:?} {after:?}"
        );
    }
}

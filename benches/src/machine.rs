//! Whether the machine was quiet meanwhile.
//!
//! Two threads that have to share a core with somebody's compiler are not the two threads that a
//! case is about, and no median makes up for that. So a report says how much others had.

use std::fs;

/// How much CPU time there was, and where it went, since the machine started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cores {
    all: u64,
    idle: u64,
    ours: u64,
}

impl Cores {
    /// Up to now; `None` where there is no `/proc` to read it from.
    #[must_use]
    pub fn now() -> Option<Self> {
        let machine = fs::read_to_string("/proc/stat").ok()?;
        let process = fs::read_to_string("/proc/self/stat").ok()?;
        Self::parse(&machine, &process)
    }

    /// The share (0 to 1) of the machine's cores that others used after `earlier`.
    ///
    /// The clock behind it ticks a hundred times a second: ask for no less than a second or two.
    #[must_use]
    pub fn others_since(self, earlier: Self) -> f64 {
        let all = self.all.saturating_sub(earlier.all);
        let free = self.idle.saturating_sub(earlier.idle) + self.ours.saturating_sub(earlier.ours);
        match all {
            0 => 0.0,
            all => all.saturating_sub(free) as f64 / all as f64,
        }
    }

    fn parse(machine: &str, process: &str) -> Option<Self> {
        // user nice system idle iowait irq softirq steal; what guests had is in `user` already.
        let cpu = machine.lines().next()?.strip_prefix("cpu ")?;
        let spent: Vec<u64> = cpu
            .split_whitespace()
            .map_while(|n| n.parse().ok())
            .collect();
        let spent = spent.get(..8)?;
        // After the name, which may hold anything, the 12th to the 15th field are what this process
        // and the children that it waited for had.
        let (_, fields) = process.rsplit_once(')')?;
        let ours = fields.split_whitespace().skip(11).take(4);
        Some(Self {
            all: spent.iter().sum(),
            idle: spent[3] + spent[4],
            ours: ours.map(|n| n.parse::<u64>().ok()).sum::<Option<u64>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn cores(machine: &str, ours: &str) -> Option<Cores> {
        let process = format!("4757 (a (b) c) R 1 1 1 0 -1 0 101 0 0 0 {ours} 20 0 1");
        Cores::parse(machine, &process)
    }

    #[test]
    fn what_is_neither_idle_nor_ours_is_others() {
        let before = cores("cpu  100 0 50 800 20 0 0 30 7 0\ncpu0 1", "40 10 0 0").unwrap();
        let after = cores("cpu  160 10 60 890 30 0 0 30 9 0\ncpu0 1", "70 20 9 1").unwrap();
        // 180 in all: 100 idle, 50 ours.
        assert!((after.others_since(before) - 30.0 / 180.0).abs() < 1e-9);
        assert_eq!(before.others_since(before), 0.0);
    }

    #[test]
    fn what_reads_otherwise_is_not_made_up() {
        assert_eq!(cores("intr 1 2 3", "1 2 3 4"), None);
        assert_eq!(cores("cpu  1 2 3 4", "1 2 3 4"), None);
        assert_eq!(cores("cpu  1 2 3 4 5 6 7 8", "1 x 3 4"), None);
    }
}

//! What is measured, and the medians of it.

use crate::line::Line;
use crate::rounds::median;
use crate::table::{number, time};

/// One kind of figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Figure {
    /// Nanoseconds for one get and return, or for one cancel.
    Ns,
    /// Nanoseconds for all of a spike.
    Total,
    /// The median wait of a get.
    WaitP50,
    /// The wait that one get in a thousand exceeds.
    WaitP999,
    /// Allocations for one get and return with nobody waiting.
    Allocs,
    /// Heap bytes for each resource that is open and idle, the resource's own eight included.
    SlotBytes,
    /// Allocations for one get that waits, and its return.
    WaitAllocs,
    /// Bytes for each get that waits: its future, and what it took from the heap.
    WaiterBytes,
    /// Nanoseconds for one cancel in one of many short queues.
    ShortNs,
    /// How many times that a cancel in a long queue takes.
    Growth,
    /// Nanoseconds for one cancel in a short queue, all of which the cache holds.
    CachedNs,
    /// Connections begun, the warm ones included.
    Opened,
    /// Connections begun by the spike.
    OpenedNew,
    /// Instructions for one get and return with nobody waiting.
    Instructions,
}

impl Figure {
    /// Its field in the JSON line.
    fn field(self) -> &'static str {
        match self {
            Self::Ns | Self::Total => "ns",
            Self::WaitP50 => "wait_p50_ns",
            Self::WaitP999 => "wait_p999_ns",
            Self::Allocs => "allocs",
            Self::SlotBytes => "slot_bytes",
            Self::WaitAllocs => "wait_allocs",
            Self::WaiterBytes => "waiter_bytes",
            Self::ShortNs => "short_ns",
            Self::Growth => "growth",
            Self::CachedNs => "cached_ns",
            Self::Opened => "opened",
            Self::OpenedNew => "opened_new",
            Self::Instructions => "instructions",
        }
    }

    /// Its column's head in the table.
    pub(super) fn head(self) -> &'static str {
        match self {
            Self::Ns => "ns",
            Self::Total => "total",
            Self::WaitP50 => "wait p50",
            Self::WaitP999 => "p99.9",
            Self::Allocs => "allocs",
            Self::SlotBytes => "bytes/slot",
            Self::WaitAllocs => "allocs/wait",
            Self::WaiterBytes => "bytes/waiter",
            Self::ShortNs => "short",
            Self::Growth => "growth",
            Self::CachedNs => "in cache",
            Self::Opened => "opened",
            Self::OpenedNew => "of them new",
            Self::Instructions => "instructions",
        }
    }

    /// Its value as the table shows it.
    pub(super) fn show(self, value: f64) -> String {
        match self {
            Self::Total | Self::WaitP50 | Self::WaitP999 => time(value),
            Self::Growth => format!("{value:.2}x"),
            Self::Allocs | Self::WaitAllocs => format!("{value:.2}"),
            Self::Ns | Self::ShortNs | Self::CachedNs => number(value),
            Self::SlotBytes
            | Self::WaiterBytes
            | Self::Opened
            | Self::OpenedNew
            | Self::Instructions => number(value.round()).trim_end_matches(".0").to_string(),
        }
    }
}

/// The figures of one contender in one case, in the order to show them.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Figures(Vec<(Figure, f64)>);

impl Figures {
    /// These.
    pub(super) fn new(figures: impl Into<Vec<(Figure, f64)>>) -> Self {
        Self(figures.into())
    }

    /// The median of each figure over the rounds, which all have the same ones.
    pub(super) fn medians(rounds: &[Self]) -> Self {
        let figures = rounds.first().map_or(&[][..], |round| &round.0[..]);
        let medians = figures.iter().map(|&(figure, _)| {
            let samples = rounds.iter().filter_map(|round| round.value(figure));
            (figure, median(samples))
        });
        Self(medians.collect())
    }

    /// Adds one at the end.
    pub(super) fn push(&mut self, figure: Figure, value: f64) {
        self.0.push((figure, value));
    }

    /// Which there are.
    pub(super) fn kinds(&self) -> impl Iterator<Item = Figure> + '_ {
        self.0.iter().map(|&(figure, _)| figure)
    }

    /// The value of that one, if there is one.
    pub(super) fn value(&self, figure: Figure) -> Option<f64> {
        let found = self.0.iter().find(|(kind, _)| *kind == figure);
        found.map(|&(_, value)| value)
    }

    /// The time that contenders are compared by.
    pub(super) fn ns(&self) -> Option<f64> {
        self.value(Figure::Ns).or(self.value(Figure::Total))
    }

    /// All of them as a line of JSON.
    pub(super) fn line(&self, case: &'static str, name: &'static str) -> Line {
        let mut line = Line::new(case, name, self.ns().unwrap_or_default());
        for wait in [Figure::WaitP50, Figure::WaitP999] {
            let ns = self.value(wait).unwrap_or_default();
            line = line.with(wait.field(), ns.round() as u64);
        }
        for &(figure, value) in &self.0 {
            line = match figure {
                Figure::Ns | Figure::Total | Figure::WaitP50 | Figure::WaitP999 => line,
                Figure::ShortNs
                | Figure::CachedNs
                | Figure::Growth
                | Figure::Allocs
                | Figure::WaitAllocs => line.with(figure.field(), (value * 100.0).round() / 100.0),
                _ => line.with(figure.field(), value.round() as u64),
            };
        }
        line
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn medians_are_taken_of_each_figure_by_itself() {
        let rounds = [(10.0, 3.0), (30.0, 1.0), (20.0, 2.0)]
            .map(|(ns, opened)| Figures::new([(Figure::Ns, ns), (Figure::Opened, opened)]));
        let medians = Figures::medians(&rounds);
        assert_eq!(medians.value(Figure::Ns), Some(20.0));
        assert_eq!(medians.value(Figure::Opened), Some(2.0));
        assert_eq!(medians.value(Figure::Growth), None);
    }

    #[test]
    fn a_line_always_has_the_time_and_both_waits() {
        let figures = Figures::new([(Figure::Ns, 41.24), (Figure::Allocs, 0.0)]);
        assert_eq!(
            figures.line("uncontended", "pool-core").to_string(),
            r#"{"case":"uncontended","name":"pool-core","ns":41.2,"wait_p50_ns":0,"wait_p999_ns":0,"allocs":0.0}"#
        );
    }

    #[test]
    fn a_spike_says_how_many_it_opened_in_whole_numbers() {
        let figures = Figures::new([
            (Figure::Total, 2e7),
            (Figure::Opened, 9.0),
            (Figure::OpenedNew, 4.0),
        ]);
        let text = figures.line("spike", "pool-core").to_string();
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (read["opened"].as_i64(), read["opened_new"].as_i64()),
            (Some(9), Some(4))
        );
    }
}

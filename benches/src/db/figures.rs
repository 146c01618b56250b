//! What one round gave.

use std::time::Duration;

use benches::line::Line;
use benches::rounds::median;

/// Nanoseconds, and what else a case measures.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Figures {
    /// A lookup, all tasks together.
    pub(super) ns: f64,
    /// What one lookup in a hundred exceeds, from asking the pool to the row.
    pub(super) p99: f64,
    /// A write beside the lookups.
    pub(super) write: Option<f64>,
    /// Until the last caller was served.
    pub(super) total: Option<f64>,
    /// Connects begun.
    pub(super) connects: Option<f64>,
    /// The longest wait for a connection while another one could have been opened.
    pub(super) idle_wait: Option<f64>,
    /// The most connections that the server has listed.
    pub(super) listed: Option<f64>,
    /// The most bytes of memory above those before the first row.
    pub(super) peak: Option<f64>,
    /// What one hit in a hundred exceeds, by the same readers.
    pub(super) hit_p99: Option<f64>,
}

impl Figures {
    pub(super) fn new(ns: f64, p99: u64) -> Self {
        Self {
            ns,
            p99: p99 as f64,
            ..Self::default()
        }
    }

    pub(super) fn write(self, ns: f64) -> Self {
        Self {
            write: Some(ns),
            ..self
        }
    }

    pub(super) fn total(self, total: Duration) -> Self {
        Self {
            total: Some(total.as_nanos() as f64),
            ..self
        }
    }

    pub(super) fn connects(self, connects: usize) -> Self {
        Self {
            connects: Some(connects as f64),
            ..self
        }
    }

    pub(super) fn fleet(self, listed: u64, idle_wait: Duration) -> Self {
        Self {
            listed: Some(listed as f64),
            idle_wait: Some(idle_wait.as_nanos() as f64),
            ..self
        }
    }

    pub(super) fn peak(self, bytes: u64) -> Self {
        Self {
            peak: Some(bytes as f64),
            ..self
        }
    }

    pub(super) fn hit_p99(self, ns: u64) -> Self {
        Self {
            hit_p99: Some(ns as f64),
            ..self
        }
    }

    /// The median of each figure; of connects and of memory, of which each too many is one too many, the most.
    pub(super) fn median(rounds: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(rounds.iter().map(figure));
        let some = |figure: fn(&Self) -> Option<f64>| {
            let values: Vec<f64> = rounds.iter().filter_map(figure).collect();
            (!values.is_empty()).then(|| median(values))
        };
        let most =
            |figure: fn(&Self) -> Option<f64>| rounds.iter().filter_map(figure).reduce(f64::max);
        Self {
            ns: of(|figures| figures.ns),
            p99: of(|figures| figures.p99),
            write: some(|figures| figures.write),
            total: some(|figures| figures.total),
            connects: most(|figures| figures.connects),
            idle_wait: most(|figures| figures.idle_wait),
            listed: most(|figures| figures.listed),
            peak: most(|figures| figures.peak),
            hit_p99: some(|figures| figures.hit_p99),
        }
    }

    /// All of them as a line of JSON.
    pub(super) fn line(&self, case: &'static str, name: &'static str) -> Line {
        let mut line = Line::new(case, name, self.ns).with("p99_ns", self.p99 as u64);
        if let Some(write) = self.write {
            line = line.with("write_ns", write as u64);
        }
        if let Some(total) = self.total {
            line = line.with("total_ns", total as u64);
        }
        if let Some(connects) = self.connects {
            line = line.with("connects", connects as u64);
        }
        if let (Some(listed), Some(wait)) = (self.listed, self.idle_wait) {
            line = line
                .with("connections", listed as u64)
                .with("idle_wait_ns", wait as u64);
        }
        if let Some(peak) = self.peak {
            line = line.with("peak_bytes", peak as u64);
        }
        if let Some(hit) = self.hit_p99 {
            line = line.with("hit_p99_ns", hit as u64);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_has_its_own_median_and_connects_and_memory_their_most() {
        let rounds = [(1.0, 30, 16), (2.0, 10, 17), (9.0, 20, 16)]
            .map(|(ns, p99, most)| Figures::new(ns, p99).connects(most).peak(most as u64));
        let expected = Figures::new(2.0, 20).connects(17).peak(17);
        assert_eq!(Figures::median(&rounds), expected);
        let writes = [5.0, 7.0, 6.0].map(|ns| Figures::new(1.0, 1).write(ns));
        assert_eq!(Figures::median(&writes).write, Some(6.0));
    }

    #[test]
    fn a_line_has_what_the_case_measured() {
        let line = Figures::new(12.34, 56).line("pg64on8", "pool-db");
        assert_eq!(
            line.to_string(),
            r#"{"case":"pg64on8","name":"pool-db","ns":12.3,"p99_ns":56}"#
        );
        let figures = Figures::new(1.0, 2).total(Duration::from_nanos(3));
        let line = figures.connects(16).peak(9).line("cold1000", "sqlx");
        assert_eq!(
            line.to_string(),
            r#"{"case":"cold1000","name":"sqlx","ns":1.0,"p99_ns":2,"total_ns":3,"connects":16,"peak_bytes":9}"#
        );
    }
}

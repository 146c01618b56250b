//! What one round gave.

use benches::{line::Line, rounds::median};

/// Nanoseconds, and what else a case measures.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Figures {
    /// A job, or the mean of a lag.
    pub(super) ns: f64,
    pub(super) p99: f64,
    pub(super) worst: Option<f64>,
    pub(super) allocs: Option<f64>,
    pub(super) queued: Option<f64>,
    pub(super) alarms: Option<f64>,
    /// Nanoseconds of the simplest thing that could do it.
    pub(super) bare: Option<f64>,
}

impl Figures {
    pub(super) fn new(ns: f64, p99: u64) -> Self {
        Self {
            ns,
            p99: p99 as f64,
            ..Self::default()
        }
    }

    pub(super) fn worst(self, ns: u64) -> Self {
        Self {
            worst: Some(ns as f64),
            ..self
        }
    }

    pub(super) fn allocs(self, allocs: f64) -> Self {
        Self {
            allocs: Some(allocs),
            ..self
        }
    }

    pub(super) fn queued(self, most: usize) -> Self {
        Self {
            queued: Some(most as f64),
            ..self
        }
    }

    pub(super) fn alarms(self, alarms: u64) -> Self {
        Self {
            alarms: Some(alarms as f64),
            ..self
        }
    }

    pub(super) fn bare(self, ns: f64) -> Self {
        Self {
            bare: Some(ns),
            ..self
        }
    }

    /// The median of each figure.
    pub(super) fn median(rounds: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(rounds.iter().map(figure));
        let some = |figure: fn(&Self) -> Option<f64>| {
            let values: Vec<f64> = rounds.iter().filter_map(figure).collect();
            (!values.is_empty()).then(|| median(values))
        };
        Self {
            ns: of(|figures| figures.ns),
            p99: of(|figures| figures.p99),
            worst: some(|figures| figures.worst),
            allocs: some(|figures| figures.allocs),
            queued: some(|figures| figures.queued),
            alarms: some(|figures| figures.alarms),
            bare: some(|figures| figures.bare),
        }
    }

    pub(super) fn line(&self, case: &'static str, name: &'static str) -> Line {
        let mut line = Line::new(case, name, self.ns).with("p99_ns", self.p99 as u64);
        if let Some(worst) = self.worst {
            line = line.with("worst_ns", worst as u64);
        }
        if let Some(allocs) = self.allocs {
            line = line.with("allocs", (allocs * 100.0).round() / 100.0);
        }
        if let Some(queued) = self.queued {
            line = line.with("queued_max", queued as u64);
        }
        if let Some(alarms) = self.alarms {
            line = line.with("false_alarms", alarms as u64);
        }
        if let Some(bare) = self.bare {
            line = line.with("bare_ns", bare as u64);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_has_its_own_median() {
        let rounds = [(1.0, 30), (2.0, 10), (9.0, 20)].map(|(ns, p99)| Figures::new(ns, p99));
        assert_eq!(Figures::median(&rounds), Figures::new(2.0, 20));
        let worst = [5, 7, 6].map(|worst| Figures::new(1.0, 1).worst(worst));
        assert_eq!(Figures::median(&worst).worst, Some(6.0));
    }

    #[test]
    fn a_line_has_what_the_case_measured() {
        let line = Figures::new(12.34, 56)
            .worst(78)
            .line("lag", "idle")
            .to_string();
        assert_eq!(
            line,
            r#"{"case":"lag","name":"idle","ns":12.3,"p99_ns":56,"worst_ns":78}"#
        );
    }
}

//! How fast ours has to be, beside its peers in the same run.

use serde_json::{Value, json};

use super::case::Case;
use super::contender::Contender;
use super::figure::{Figure, Figures};

/// What ours may take at most, and what it took.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bar {
    /// The rule, in words.
    pub(super) rule: &'static str,
    /// Of what kind both values are.
    pub(super) figure: Figure,
    /// At most this.
    pub(super) limit: f64,
    /// It is this.
    pub(super) ours: f64,
}

impl Bar {
    pub(super) fn is_met(&self) -> bool {
        self.ours <= self.limit
    }

    /// As data.
    pub(super) fn json(&self) -> Value {
        let tenths = |value: f64| (value * 10.0).round() / 10.0;
        json!({
            "rule": self.rule,
            "at_most": tenths(self.limit),
            "ours": tenths(self.ours),
            "met": self.is_met(),
        })
    }
}

/// The bars of a case, by the figures of all that took part. A bar whose peer did not is left out.
pub(super) fn bars(case: Case, results: &[(Contender, Figures)]) -> Vec<Bar> {
    use Contender::{Bb8, Deadpool, Floor, Mobc, PoolCore};

    let value = |who: Contender, figure: Figure| {
        let found = results.iter().find(|(contender, _)| *contender == who);
        found.and_then(|(_, figures)| figures.value(figure))
    };
    let best = |peers: &[Contender]| {
        let times: Option<Vec<f64>> = peers.iter().map(|&peer| value(peer, Figure::Ns)).collect();
        times?.into_iter().reduce(f64::min)
    };
    let bar = |rule, figure, limit: Option<f64>| {
        let ours = value(PoolCore, figure)?;
        let limit = limit?;
        Some(Bar {
            rule,
            figure,
            limit,
            ours,
        })
    };
    let of_deadpool = |share: f64| value(Deadpool, Figure::Ns).map(|ns| share * ns);

    let bars = match case {
        Case::Uncontended => vec![
            bar(
                "0.15 of the faster of deadpool and bb8",
                Figure::Ns,
                best(&[Deadpool, Bb8]).map(|ns| 0.15 * ns),
            ),
            bar(
                "1.6x the floor",
                Figure::Ns,
                best(&[Floor]).map(|ns| 1.6 * ns),
            ),
            bar("allocates nothing", Figure::Allocs, Some(0.0)),
        ],
        Case::Parallel16 => vec![bar(
            "1/3 of the best peer",
            Figure::Ns,
            best(&[Deadpool, Bb8, Mobc]).map(|ns| ns / 3.0),
        )],
        Case::Contended64on8 => vec![
            bar("0.6 of deadpool", Figure::Ns, of_deadpool(0.6)),
            bar(
                "p99.9 wait no longer than deadpool's",
                Figure::WaitP999,
                value(Deadpool, Figure::WaitP999),
            ),
        ],
        Case::Handoff16on1 => vec![bar("0.85 of deadpool", Figure::Ns, of_deadpool(0.85))],
        Case::Storm10k => vec![
            bar("0.65 of deadpool", Figure::Ns, of_deadpool(0.65)),
            bar(
                "in order: p99.9 wait 1.2x the p50",
                Figure::WaitP999,
                value(PoolCore, Figure::WaitP50).map(|p50| 1.2 * p50),
            ),
        ],
        Case::Cancel => vec![
            bar("no longer than deadpool", Figure::Ns, of_deadpool(1.0)),
            bar(
                "twice what it costs in the short queue",
                Figure::Growth,
                Some(2.0),
            ),
            bar(
                "one allocation for a get that waits",
                Figure::WaitAllocs,
                Some(1.0),
            ),
        ],
        Case::Spike => vec![
            bar("all done in 30 ms", Figure::Total, Some(30e6)),
            bar(
                "10 opened, the warm ones included",
                Figure::Opened,
                Some(10.0),
            ),
        ],
    };
    bars.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storm(p50: f64, p999: f64, deadpool_ns: f64) -> Vec<(Contender, Figures)> {
        let ours = [
            (Figure::Ns, 700.0),
            (Figure::WaitP50, p50),
            (Figure::WaitP999, p999),
        ];
        vec![
            (Contender::PoolCore, Figures::new(ours)),
            (
                Contender::Deadpool,
                Figures::new([(Figure::Ns, deadpool_ns)]),
            ),
        ]
    }

    fn met(bars: &[Bar]) -> Vec<bool> {
        bars.iter().map(Bar::is_met).collect()
    }

    #[test]
    fn a_storm_out_of_order_misses_its_second_bar() {
        let in_order = bars(Case::Storm10k, &storm(7e6, 8.3e6, 1_100.0));
        assert_eq!(met(&in_order), [true, true]);
        let out_of_order = bars(Case::Storm10k, &storm(7e6, 8.5e6, 1_100.0));
        assert_eq!(met(&out_of_order), [true, false]);
    }

    #[test]
    fn a_limit_follows_the_peer_of_the_same_run() {
        let slower_peer = bars(Case::Storm10k, &storm(1.0, 1.0, 1_100.0));
        let faster_peer = bars(Case::Storm10k, &storm(1.0, 1.0, 1_000.0));
        assert_eq!((met(&slower_peer)[0], met(&faster_peer)[0]), (true, false));
    }

    #[test]
    fn a_bar_without_its_peer_is_left_out() {
        let alone = [(Contender::PoolCore, Figures::new([(Figure::Ns, 1.0)]))];
        assert_eq!(bars(Case::Handoff16on1, &alone), []);
    }
}

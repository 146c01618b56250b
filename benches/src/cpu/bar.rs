//! How fast ours has to be, beside its peers in the same run.

use super::{case::Case, figures::Figures, peer::Peer};

/// What ours may take at most, and what it took.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bar {
    pub(super) rule: &'static str,
    pub(super) limit: f64,
    pub(super) ours: f64,
    /// Nanoseconds, or a number of something?
    pub(super) is_time: bool,
}

impl Bar {
    pub(super) fn is_met(&self) -> bool {
        self.ours <= self.limit
    }
}

/// The bars of a case. One whose peer did not take part is left out.
pub(super) fn bars(case: Case, results: &[(Peer, Figures)]) -> Vec<Bar> {
    use Peer::{Blocking, Idle, PoolCpu, RayonOneshot, SpawnBlocking, SpawnBlocking2, TokioRayon};

    let of = |peer: Peer| {
        results
            .iter()
            .find(|(who, _)| *who == peer)
            .map(|(_, figures)| *figures)
    };
    let Some(ours) = of(PoolCpu) else {
        return Vec::new();
    };
    let ns = |peer, share: f64| of(peer).map(|figures| figures.ns * share);
    let p99 = |peer, share: f64| of(peer).map(|figures| figures.p99 * share);
    let best = |peers: &[Peer], figure: fn(&Figures) -> f64| {
        let all = peers.iter().filter_map(|peer| of(*peer));
        all.map(|figures| figure(&figures)).reduce(f64::min)
    };
    let others = [
        SpawnBlocking,
        SpawnBlocking2,
        RayonOneshot,
        TokioRayon,
        Blocking,
    ];
    let bar = |rule, ours, limit: Option<f64>| {
        limit.map(|limit| Bar {
            rule,
            limit,
            ours,
            is_time: true,
        })
    };
    let number = |rule, ours: Option<f64>, limit: f64| {
        ours.map(|ours| Bar {
            rule,
            limit,
            ours,
            is_time: false,
        })
    };
    let bars = match case {
        Case::Sequential => vec![
            bar(
                "1/3 of spawn_blocking",
                ours.ns,
                ns(SpawnBlocking, 1.0 / 3.0),
            ),
            bar("0.9 of rayon+oneshot", ours.ns, ns(RayonOneshot, 0.9)),
        ],
        Case::Tasks64Empty => vec![
            bar(
                "1/2 of spawn_blocking with 2 threads",
                ours.ns,
                ns(SpawnBlocking2, 0.5),
            ),
            bar("1/4 of spawn_blocking", ours.ns, ns(SpawnBlocking, 0.25)),
            bar(
                "the best other",
                ours.ns,
                best(&others, |figures| figures.ns),
            ),
        ],
        Case::Tasks64For50us => {
            vec![bar(
                "p99 of the best other",
                ours.p99,
                best(&others, |figures| figures.p99),
            )]
        }
        Case::Burst512 | Case::Burst100k => vec![
            bar("1/2 of spawn_blocking", ours.ns, ns(SpawnBlocking, 0.5)),
            bar(
                "1/2 of spawn_blocking with 2 threads",
                ours.ns,
                ns(SpawnBlocking2, 0.5),
            ),
            number(
                "queued at most: the queue, and a job a worker",
                ours.queued,
                1024.0 + 2.0,
            ),
        ],
        Case::Lag => vec![
            bar("p99 1.3x idle", ours.p99, p99(Idle, 1.3)),
            bar(
                "worst 4x idle",
                ours.worst.unwrap_or(f64::MAX),
                of(Idle)
                    .and_then(|idle| idle.worst)
                    .map(|worst| 4.0 * worst),
            ),
            bar(
                "p99 1/50 of spawn_blocking",
                ours.p99,
                p99(SpawnBlocking, 1.0 / 50.0),
            ),
        ],
        Case::Allocs => vec![number("one allocation", ours.allocs, 1.0)],
        Case::Stall => vec![bar(
            "the worst within 20 ms",
            ours.worst.unwrap_or(f64::MAX),
            Some(20e6),
        )],
        Case::Watchdog => vec![
            bar("0.5 % of a core", ours.ns, Some(5e6)),
            number("no false alarm", ours.alarms, 0.0),
        ],
        Case::LagMonitor => vec![bar(
            "0.9 of a bare loop of timers",
            ours.ns,
            ours.bare.map(|bare| 0.9 * bare),
        )],
    };
    bars.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_follows_the_peers_of_the_same_run() {
        let results = |rayon| {
            vec![
                (Peer::PoolCpu, Figures::new(9.0, 0)),
                (Peer::SpawnBlocking, Figures::new(30.0, 0)),
                (Peer::RayonOneshot, Figures::new(rayon, 0)),
            ]
        };
        let met = |rayon| {
            bars(Case::Sequential, &results(rayon))
                .iter()
                .map(Bar::is_met)
                .collect::<Vec<_>>()
        };
        assert_eq!(met(11.0), [true, true]);
        assert_eq!(met(9.5), [true, false]);
    }

    #[test]
    fn a_bar_without_its_peer_is_left_out() {
        let alone = [(Peer::PoolCpu, Figures::new(1.0, 1))];
        assert_eq!(bars(Case::Burst512, &alone), []);
        assert_eq!(bars(Case::Lag, &[(Peer::Idle, Figures::new(1.0, 1))]), []);
    }
}

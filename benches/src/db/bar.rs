//! How fast ours has to be, beside its peers in the same run.

use serde_json::{Value, json};

use super::case::Case;
use super::cold;
use super::contender::Contender;
use super::figures::Figures;

/// What ours may take at most, and what it took.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bar {
    /// The rule, in words.
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

/// The bars of a case. One whose peer did not take part is left out.
pub(super) fn bars(case: Case, results: &[(Contender, Figures)]) -> Vec<Bar> {
    use Contender::{Bb8Postgres, DeadpoolPostgres, DeadpoolSqlite, PoolDb, Sqlx};

    let of = |peer: Contender| {
        let found = results.iter().find(|(who, _)| *who == peer);
        found.map(|(_, figures)| *figures)
    };
    let Some(ours) = of(PoolDb) else {
        return Vec::new();
    };
    let ns = |rule, peer, share: f64| {
        of(peer).map(|figures| Bar {
            rule,
            limit: figures.ns * share,
            ours: ours.ns,
            is_time: true,
        })
    };
    let lowest_p99 = |peers: &[Contender]| {
        let all = peers.iter().filter_map(|peer| of(*peer));
        let best = all.map(|figures| figures.p99).reduce(f64::min);
        best.map(|limit| Bar {
            rule: "p99 no longer than any other pool's",
            limit,
            ours: ours.p99,
            is_time: true,
        })
    };
    let bars = match case {
        Case::Pg64on8 => vec![
            ns("the throughput of deadpool-postgres", DeadpoolPostgres, 1.0),
            ns("the throughput of bb8-postgres", Bb8Postgres, 1.0),
            ns("1.3 times the throughput of sqlx", Sqlx, 1.0 / 1.3),
            lowest_p99(&[DeadpoolPostgres, Bb8Postgres, Sqlx]),
        ],
        Case::Sqlite => vec![
            ns("twice the reads of deadpool-sqlite", DeadpoolSqlite, 0.5),
            ns("twice the reads of sqlx", Sqlx, 0.5),
        ],
        Case::Cold1000 => vec![ours.connects.map(|connects| Bar {
            rule: "connects",
            limit: f64::from(cold::SIZE),
            ours: connects,
            is_time: false,
        })],
    };
    bars.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(case: Case, results: &[(Contender, Figures)]) -> Vec<bool> {
        bars(case, results).iter().map(Bar::is_met).collect()
    }

    #[test]
    fn a_limit_follows_the_peers_of_the_same_run() {
        let results = |sqlx_ns, bb8_p99| {
            vec![
                (Contender::PoolDb, Figures::new(10.0, 50)),
                (Contender::DeadpoolPostgres, Figures::new(10.0, 70)),
                (Contender::Bb8Postgres, Figures::new(9.0, bb8_p99)),
                (Contender::Sqlx, Figures::new(sqlx_ns, 99)),
                (Contender::Bare, Figures::new(1.0, 1)),
            ]
        };
        let all = met(Case::Pg64on8, &results(13.1, 51));
        assert_eq!(all, [true, false, true, true]);
        let fewer = met(Case::Pg64on8, &results(12.9, 49));
        assert_eq!(fewer, [true, false, false, false]);
    }

    #[test]
    fn a_connect_too_many_misses() {
        let connects = |connects| {
            let figures = Figures::new(1.0, 1).connects(connects);
            met(Case::Cold1000, &[(Contender::PoolDb, figures)])
        };
        assert_eq!((connects(16), connects(17)), (vec![true], vec![false]));
    }

    #[test]
    fn a_bar_without_its_peer_is_left_out() {
        let alone = [(Contender::PoolDb, Figures::new(1.0, 1))];
        assert_eq!(bars(Case::Pg64on8, &alone), []);
        assert_eq!(bars(Case::Sqlite, &alone), []);
        let without_ours = [(Contender::Sqlx, Figures::new(1.0, 1).connects(16))];
        assert_eq!(bars(Case::Cold1000, &without_ours), []);
    }
}

//! How fast ours has to be, beside its peers in the same run.

use serde_json::{Value, json};

use super::case::Case;
use super::cold;
use super::contender::Contender;
use super::figures::Figures;
use super::fleet;

/// What ours may take at most, and what it took.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bar {
    /// The rule, in words.
    pub(super) rule: &'static str,
    pub(super) limit: f64,
    pub(super) ours: f64,
    pub(super) unit: Unit,
}

/// What the figures of a bar count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Nanoseconds,
    Bytes,
    /// Of whatever the rule names.
    Number,
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
    use Contender::{
        Bare, Bb8Postgres, DeadpoolPostgres, DeadpoolRedis, DeadpoolSqlite, PoolDb, PoolDbPlain,
        Sqlx,
    };

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
            unit: Unit::Nanoseconds,
        })
    };
    let best_ns = |rule, peers: &[Contender], share: f64| {
        let all = peers.iter().filter_map(|peer| of(*peer));
        let best = all.map(|figures| figures.ns).reduce(f64::min);
        best.map(|best| Bar {
            rule,
            limit: best * share,
            ours: ours.ns,
            unit: Unit::Nanoseconds,
        })
    };
    let lowest_p99 = |peers: &[Contender]| {
        let all = peers.iter().filter_map(|peer| of(*peer));
        let best = all.map(|figures| figures.p99).reduce(f64::min);
        best.map(|limit| Bar {
            rule: "p99 no longer than any other pool's",
            limit,
            ours: ours.p99,
            unit: Unit::Nanoseconds,
        })
    };
    let bars = match case {
        Case::Pg64on8 => vec![
            ns("the throughput of deadpool-postgres", DeadpoolPostgres, 1.0),
            ns("the throughput of bb8-postgres", Bb8Postgres, 1.0),
            ns("1.3 times the throughput of sqlx", Sqlx, 1.0 / 1.3),
            lowest_p99(&[DeadpoolPostgres, Bb8Postgres, Sqlx]),
        ],
        Case::PgPipelined => vec![best_ns(
            "1.7 times the throughput of the best exclusive pool",
            &[PoolDbPlain, DeadpoolPostgres, Bb8Postgres, Sqlx],
            1.0 / 1.7,
        )],
        Case::Redis64 => vec![
            ns(
                "4 times the throughput of deadpool-redis",
                DeadpoolRedis,
                0.25,
            ),
            ns("within 10 % of a bare connection", Bare, 1.1),
        ],
        Case::Sqlx64on8 => vec![ns("1.2 times the throughput of sqlx", Sqlx, 1.0 / 1.2)],
        Case::SqliteGroup => vec![ns("5 times as many as single writes", PoolDbPlain, 0.2)],
        Case::Cache => vec![
            ns("1.2 times moka's get", Bare, 1.2),
            ours.hit_p99.map(|hit| Bar {
                rule: "p99 as it expires: twice that of a hit",
                limit: 2.0 * hit,
                ours: ours.p99,
                unit: Unit::Nanoseconds,
            }),
        ],
        Case::Ndjson | Case::NdjsonSqlite => vec![ours.peak.map(|peak| Bar {
            rule: "memory above idle",
            limit: MEMORY,
            ours: peak,
            unit: Unit::Bytes,
        })],
        Case::Sqlite => vec![
            ns("twice the reads of deadpool-sqlite", DeadpoolSqlite, 0.5),
            ns("twice the reads of sqlx", Sqlx, 0.5),
        ],
        Case::Fleet => vec![
            ours.listed.map(|listed| Bar {
                rule: "connections, as the server counts",
                limit: f64::from(fleet::CONNECTIONS),
                ours: listed,
                unit: Unit::Number,
            }),
            ours.idle_wait.map(|wait| Bar {
                rule: "the longest wait while a seat is free",
                limit: fleet::PATIENCE.as_nanos() as f64,
                ours: wait,
                unit: Unit::Nanoseconds,
            }),
        ],
        Case::Cold1000 => vec![ours.connects.map(|connects| Bar {
            rule: "connects",
            limit: f64::from(cold::SIZE),
            ours: connects,
            unit: Unit::Number,
        })],
    };
    bars.into_iter().flatten().collect()
}

/// Bytes that an export may take, however many its rows are.
const MEMORY: f64 = 32.0 * 1024.0 * 1024.0;

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
    fn sharing_is_measured_against_the_best_exclusive_pool() {
        let verdict = |plain_ns| {
            let results = [
                (Contender::PoolDb, Figures::new(10.0, 1)),
                (Contender::PoolDbPlain, Figures::new(plain_ns, 1)),
                (Contender::DeadpoolPostgres, Figures::new(17.1, 1)),
                (Contender::Sqlx, Figures::new(99.0, 1)),
                (Contender::Bare, Figures::new(1.0, 1)),
            ];
            met(Case::PgPipelined, &results)
        };
        assert_eq!((verdict(17.2), verdict(16.9)), (vec![true], vec![false]));
    }

    #[test]
    fn connections_of_sqlx_are_measured_against_its_own_pool() {
        let verdict = |sqlx_ns| {
            let results = [
                (Contender::PoolDb, Figures::new(10.0, 1)),
                (Contender::Sqlx, Figures::new(sqlx_ns, 1)),
            ];
            met(Case::Sqlx64on8, &results)
        };
        assert_eq!((verdict(12.1), verdict(11.9)), (vec![true], vec![false]));
    }

    #[test]
    fn a_group_is_measured_against_single_writes() {
        let verdict = |plain_ns| {
            let results = [
                (Contender::PoolDb, Figures::new(10.0, 1)),
                (Contender::PoolDbPlain, Figures::new(plain_ns, 1)),
            ];
            met(Case::SqliteGroup, &results)
        };
        assert_eq!((verdict(50.0), verdict(49.0)), (vec![true], vec![false]));
    }

    #[test]
    fn redis_is_measured_against_the_peer_and_the_bare_connection() {
        let verdict = |deadpool_ns, bare_ns| {
            let results = [
                (Contender::PoolDb, Figures::new(10.0, 1)),
                (Contender::DeadpoolRedis, Figures::new(deadpool_ns, 1)),
                (Contender::Bare, Figures::new(bare_ns, 1)),
            ];
            met(Case::Redis64, &results)
        };
        assert_eq!(verdict(40.0, 9.2), [true, true]);
        assert_eq!(verdict(39.0, 9.0), [false, false]);
    }

    #[test]
    fn a_cache_is_measured_against_moka_and_its_own_hits() {
        let verdict = |ns, p99| {
            let results = [
                (Contender::PoolDb, Figures::new(ns, p99).hit_p99(100)),
                (Contender::Bare, Figures::new(10.0, 1)),
            ];
            met(Case::Cache, &results)
        };
        assert_eq!(verdict(11.9, 199), [true, true]);
        assert_eq!(verdict(12.1, 201), [false, false]);
    }

    #[test]
    fn memory_has_a_bound_of_its_own() {
        let verdict = |bytes| {
            let figures = Figures::new(1.0, 1).peak(bytes);
            met(Case::Ndjson, &[(Contender::PoolDb, figures)])
        };
        assert_eq!(
            (verdict(32 << 20), verdict((32 << 20) + 1)),
            (vec![true], vec![false])
        );
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

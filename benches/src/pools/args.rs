//! The command line.

use clap::Parser;

use super::case::Case;
use super::contender::Contender;

/// Ours beside its peers on the same work, in one run.
#[derive(Debug, Parser)]
#[command(name = "pools")]
pub(super) struct Args {
    /// Only these cases, by commas
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(super) case: Vec<Case>,

    /// Only these pools, by commas
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(super) peer: Vec<Contender>,

    /// How often each pool does each case; the medians are reported
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(super) rounds: u16,

    /// One round of very little, to see that all of it runs: the figures are worth nothing
    #[arg(long, conflicts_with = "rounds")]
    pub(super) quick: bool,

    /// A line of JSON for each case and pool instead of the tables
    #[arg(long)]
    pub(super) json: bool,

    /// Only `uncontended`, and its instructions counted, for which valgrind has to be there
    #[arg(long, conflicts_with_all = ["case", "quick"])]
    pub(super) instructions: bool,

    /// Only so many gets and returns of one pool, for whatever watches from outside
    #[arg(long, hide = true, requires = "peer")]
    pub(super) count: Option<usize>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parse(args: &str) -> Result<Args, String> {
        Args::try_parse_from(args.split(' ')).map_err(|error| error.to_string())
    }

    #[test]
    fn cases_and_pools_are_named_as_in_the_report() {
        let args = parse("pools --case contended64on8,storm10k --peer pool-core,bb8").unwrap();
        assert_eq!(args.case, [Case::Contended64on8, Case::Storm10k]);
        assert_eq!(args.peer, [Contender::PoolCore, Contender::Bb8]);
        for case in <Case as clap::ValueEnum>::value_variants() {
            let args = parse(&format!("pools --case {}", case.name())).unwrap();
            assert_eq!(args.case, [*case]);
        }
        for contender in <Contender as clap::ValueEnum>::value_variants() {
            let args = parse(&format!("pools --peer {}", contender.name())).unwrap();
            assert_eq!(args.peer, [*contender]);
        }
    }

    #[test]
    fn what_is_not_known_is_answered_with_what_is() {
        let error = parse("pools --case storm").unwrap_err();
        assert!(
            error.contains("'storm'") && error.contains("storm10k"),
            "{error}"
        );
        let error = parse("pools --rounds 0").unwrap_err();
        assert!(error.contains('0') && error.contains("1..=1000"), "{error}");
        assert!(parse("pools --quick --rounds 3").is_err());
    }
}

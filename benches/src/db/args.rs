//! The command line.

use clap::Parser;

use super::case::Case;
use super::contender::Contender;

/// Pools of database connections, ours beside its peers on the same work, in one run. Starts its own PostgreSQL, which must be
/// installed.
#[derive(Debug, Parser)]
#[command(name = "db")]
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

    /// How many seconds the fleet's processes come and go, in one round
    #[arg(long, default_value_t = 10, conflicts_with = "quick", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(super) fleet_for: u64,

    /// A process of the fleet, on this server
    #[arg(long, hide = true)]
    pub(super) fleet_member: Option<String>,

    /// A line of JSON for each case and pool instead of the tables
    #[arg(long)]
    pub(super) json: bool,

    /// Only the export from this server or file, in this process, for the case that measures its memory
    #[arg(long, hide = true, requires = "rows")]
    pub(super) export: Option<String>,

    /// How many rows the export must have
    #[arg(long, hide = true, requires = "export")]
    pub(super) rows: Option<u32>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::ValueEnum;

    use super::*;

    #[test]
    fn cases_and_pools_are_named_as_in_the_report() {
        let parse = |args: &str| Args::try_parse_from(args.split(' '));
        for case in Case::value_variants() {
            let args = parse(&format!("db --case {}", case.name())).unwrap();
            assert_eq!(args.case, [*case]);
        }
        for contender in Contender::value_variants() {
            let args = parse(&format!("db --peer {}", contender.name())).unwrap();
            assert_eq!(args.peer, [*contender]);
        }
        assert!(parse("db --rounds 0").is_err());
        assert!(parse("db --quick --rounds 3").is_err());
    }
}

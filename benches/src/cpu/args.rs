//! The command line.

use clap::Parser;

use super::{case::Case, peer::Peer};

/// Ours beside its peers on the same jobs, in one run.
#[derive(Debug, Parser)]
#[command(name = "cpu")]
pub(super) struct Args {
    /// Only these cases, by commas
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(super) case: Vec<Case>,

    /// Only these peers, by commas
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(super) peer: Vec<Peer>,

    /// How often each does each case; the medians are reported
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(super) rounds: u16,

    /// One round of very little, to see that all of it runs: the figures are worth nothing
    #[arg(long, conflicts_with = "rounds")]
    pub(super) quick: bool,

    /// A line of JSON for each case and peer instead of the tables
    #[arg(long)]
    pub(super) json: bool,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::ValueEnum;

    use super::*;

    #[test]
    fn cases_and_peers_are_named_as_in_the_report() {
        let parse = |args: &str| Args::try_parse_from(args.split(' '));
        for case in Case::value_variants() {
            assert_eq!(
                parse(&format!("cpu --case {}", case.name())).unwrap().case,
                [*case]
            );
        }
        for peer in Peer::value_variants() {
            assert_eq!(
                parse(&format!("cpu --peer {}", peer.name())).unwrap().peer,
                [*peer]
            );
        }
        assert!(parse("cpu --rounds 0").is_err());
        assert!(parse("cpu --quick --rounds 3").is_err());
    }
}

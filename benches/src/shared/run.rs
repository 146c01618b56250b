//! From the command line to the report.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use super::case::{Bar, Case, Side};
use super::keyed;
use super::memory::{Taken, fan_out_of};
use super::work::Failure;
use crate::line::Line;
use crate::rounds::{interleave, median};
use crate::table::{Table, number, time};

/// What stands beside the pool, each beside its measure, in one run.
#[derive(Debug, Parser)]
#[command(name = "shared")]
struct Args {
    /// Only these cases, by commas
    #[arg(long, value_enum, value_delimiter = ',')]
    case: Vec<Case>,

    /// How often each side does each case; the medians are reported
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,

    /// One round of very little, to see that all of it runs: the figures are worth nothing
    #[arg(long, conflicts_with = "rounds")]
    quick: bool,

    /// A line of JSON for each case and side instead of the table
    #[arg(long)]
    json: bool,
}

/// Does what the command line asks. Fails with a line on standard error and exit code 1; with 2 when
/// the command line itself is wrong.
#[must_use]
pub fn main() -> ExitCode {
    match run(&Args::parse(), &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is closed too.
            let _closed = writeln!(io::stderr(), "shared: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    let cases = match args.case.is_empty() {
        true => Case::value_variants().to_vec(),
        false => args.case.clone(),
    };
    let rounds = if args.quick {
        1
    } else {
        usize::from(args.rounds)
    };
    let keyed = cases.contains(&Case::KeyedRandom);
    let keyed_bytes = match keyed {
        true => Some(keyed::bytes(args.quick)?),
        false => None,
    };
    let mut table = Table::new(["case", "ours", "measure", "", "ratio", "at most", ""]);
    for &case in &cases {
        let sides = [Side::Ours, Side::Measure];
        let results = interleave(rounds, &sides, |side| case.run(side, args.quick))?;
        let [ours, theirs] = [0, 1].map(|side: usize| median(results[side].iter().copied()));
        if args.json {
            for (side, ns) in [(Side::Ours, ours), (Side::Measure, theirs)] {
                let mut line = Line::new(case.name(), case.contestant(side), ns);
                if let (Case::KeyedRandom, Side::Ours, Some(bytes)) = (case, side, keyed_bytes) {
                    line = line.with("bytes_per_idle_key", bytes.round());
                }
                if let (Side::Ours, Some(bar)) = (side, case.bar()) {
                    line = match bar {
                        Bar::Times(most) => line.with("at_most_times", most),
                        Bar::Ns(most) => line.with("at_most_ns", most),
                    };
                    line = line.with("met", bar.is_met(ours, theirs));
                }
                writeln!(out, "{line}")?;
            }
            continue;
        }
        let ratio = ours / theirs;
        let bar = case.bar();
        table.row([
            case.name().to_string(),
            time(ours),
            time(theirs),
            case.contestant(Side::Measure).to_string(),
            format!("{ratio:.2}"),
            match bar {
                Some(Bar::Times(most)) => format!("{most:.2}"),
                Some(Bar::Ns(most)) => time(most),
                None => String::new(),
            },
            match bar.map(|bar| bar.is_met(ours, theirs)) {
                Some(true) => "pass",
                Some(false) => "MISS",
                None => "",
            }
            .to_string(),
        ]);
    }
    if !args.json {
        write!(out, "{table}")?;
        if let Some(bytes) = keyed_bytes {
            let verdict = if bytes <= keyed::BYTES {
                "pass"
            } else {
                "MISS"
            };
            let (bytes, bar) = (number(bytes), number(keyed::BYTES));
            writeln!(
                out,
                "  an idle key: {bytes} bytes, at most {bar}: {verdict}"
            )?;
        }
    }
    if keyed {
        let map = keyed::map_of_pools(args.quick)?;
        if args.json {
            let line = Line::new(Case::KeyedRandom.name(), "HashMap of Pools", map.ns);
            writeln!(
                out,
                "{}",
                line.with("bytes_per_idle_key", map.bytes.round())
            )?;
        } else {
            let (ns, bytes) = (time(map.ns), number(map.bytes));
            writeln!(
                out,
                "  a HashMap of as many pools, without a bound in common: {ns}, {bytes} bytes a key"
            )?;
        }
    }
    if cases.contains(&Case::FanOut) {
        constant_memory(args, out)?;
    }
    Ok(())
}

/// Ten million items, and what they hold beside what a thousand do.
fn constant_memory(args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    let many = if args.quick { 100_000 } else { 10_000_000 };
    for items in [1_000, many] {
        let Taken {
            ns,
            most_bytes,
            allocations,
        } = fan_out_of(items)?;
        if args.json {
            let line = Line::new("fan-out-memory", "fan_out", ns)
                .with("items", items)
                .with("most_bytes", most_bytes)
                .with("allocations", allocations);
            writeln!(out, "{line}")?;
            continue;
        }
        writeln!(
            out,
            "  fan-out over {} items, limit 16: {} bytes at most, {allocations} allocations in all",
            number(items as f64),
            number(most_bytes as f64)
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_case_runs_and_says_both_sides() {
        let args = Args::try_parse_from(["shared", "--quick", "--json"]).unwrap();
        let mut out = Vec::new();
        run(&args, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        // And two of memory, and what a map of pools takes.
        assert_eq!(text.lines().count(), 2 * Case::value_variants().len() + 3);
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(line["ns"].as_f64().unwrap() > 0.0, "{line}");
            let has_bar = line["at_most_times"].is_f64() || line["at_most_ns"].is_f64();
            assert_eq!(has_bar, line["met"].is_boolean(), "{line}");
        }
        let bars = text.lines().filter(|line| line.contains("\"met\":"));
        let cases = Case::value_variants().iter();
        assert_eq!(bars.count(), cases.filter_map(|case| case.bar()).count());
    }
}

//! The figures as tables, or as lines of JSON.

use std::io::{self, Write};

use serde_json::Value;

use super::bar::{Bar, bars};
use super::case::{Case, Scale};
use super::contender::Contender;
use super::figure::{Figure, Figures};
use crate::table::{Table, number};

/// Writes each case as it ends; at the end, how ours stands.
#[derive(Debug)]
pub(super) struct Report<W> {
    out: W,
    json: bool,
    bars: Vec<(Case, Bar)>,
}

impl<W: Write> Report<W> {
    /// A report to `out`: lines of JSON and nothing else, or tables.
    pub(super) fn new(out: W, json: bool) -> Self {
        let bars = Vec::new();
        Self { out, json, bars }
    }

    /// What is compared, and how.
    pub(super) fn opening(&mut self, scale: Scale, rounds: usize) -> io::Result<()> {
        let how = match (self.json, scale) {
            (true, _) => return Ok(()),
            (false, Scale::Quick) => {
                "one round of very little, so the figures are worth nothing".into()
            }
            (false, Scale::Full) => {
                format!("medians of {rounds} rounds, another pool first in each")
            }
        };
        writeln!(self.out, "One get and return: {how}.")
    }

    /// The figures of one case.
    pub(super) fn case(
        &mut self,
        case: Case,
        scale: Scale,
        results: &[(Contender, Figures)],
    ) -> io::Result<()> {
        let bars = bars(case, results);
        if self.json {
            for (contender, figures) in results {
                let mut line = figures.line(case.name(), contender.name());
                if *contender == Contender::PoolCore {
                    let bars: Vec<Value> = bars.iter().map(Bar::json).collect();
                    line = line.with("bars", bars);
                }
                writeln!(self.out, "{line}")?;
            }
            return self.out.flush();
        }
        self.bars.extend(bars.into_iter().map(|bar| (case, bar)));
        writeln!(self.out, "\n{}: {}", case.name(), case.title(scale))?;
        write!(self.out, "{}", table(results))?;
        self.out.flush()
    }

    /// A remark that belongs to the last case.
    pub(super) fn note(&mut self, note: &str) -> io::Result<()> {
        match self.json {
            true => Ok(()),
            false => writeln!(self.out, "  {note}"),
        }
    }

    /// Every bar, and whether it is met.
    pub(super) fn closing(&mut self) -> io::Result<()> {
        if self.json || self.bars.is_empty() {
            return Ok(());
        }
        let mut table = Table::new(["bar", "at most", "ours", ""]);
        for (case, bar) in &self.bars {
            let verdict = if bar.is_met() { "pass" } else { "MISS" };
            table.row([
                format!("{}: {}", case.name(), bar.rule),
                bar.figure.show(bar.limit),
                bar.figure.show(bar.ours),
                verdict.to_string(),
            ]);
        }
        let met = self.bars.iter().filter(|(_, bar)| bar.is_met()).count();
        write!(self.out, "\n{table}")?;
        writeln!(self.out, "\n{met} of {} bars met", self.bars.len())
    }

    /// What it means that others had that share of the cores meanwhile.
    pub(super) fn busy(&mut self, others: f64) -> io::Result<()> {
        if self.json || others < BUSY {
            return Ok(());
        }
        let percent = 100.0 * others;
        writeln!(
            self.out,
            "\nOther processes used {percent:.0} % of the cores meanwhile: run it again when the \
             machine is quiet."
        )
    }
}

/// Others' share of the cores from which on it is worth a word.
const BUSY: f64 = 0.05;

/// A row for each contender; after the time, how many times ours that is.
fn table(results: &[(Contender, Figures)]) -> Table {
    let kinds: Vec<Figure> = match results.first() {
        Some((_, figures)) => figures.kinds().collect(),
        None => Vec::new(),
    };
    let ours = results
        .iter()
        .find(|(contender, _)| *contender == Contender::PoolCore)
        .and_then(|(_, figures)| figures.ns());

    let mut head: Vec<&str> = kinds.iter().map(|figure| figure.head()).collect();
    head.insert(0, "");
    head.insert(2.min(head.len()), "x ours");
    let mut table = Table::new(head);
    for (contender, figures) in results {
        let mut row = vec![contender.name().to_string()];
        for &figure in &kinds {
            row.push(match figures.value(figure) {
                Some(value) => figure.show(value),
                None => String::new(),
            });
        }
        let ratio = match (figures.ns(), ours) {
            (Some(ns), Some(ours)) if ours > 0.0 => number(ns / ours),
            _ => String::new(),
        };
        row.insert(2.min(row.len()), ratio);
        table.row(row);
    }
    table
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::table::WIDTH;

    fn results() -> Vec<(Contender, Figures)> {
        let figures = |ns| {
            Figures::new([
                (Figure::Ns, ns),
                (Figure::WaitP50, 123_456_789.0),
                (Figure::WaitP999, 123_456_789.0),
            ])
        };
        vec![
            (Contender::PoolCore, figures(1_000.0)),
            (Contender::Deadpool, figures(2_500.0)),
        ]
    }

    fn written(json: bool) -> String {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out, json);
        report.opening(Scale::Full, 5).unwrap();
        report
            .case(Case::Contended64on8, Scale::Full, &results())
            .unwrap();
        report.note("a remark").unwrap();
        report.closing().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_tables_give_ratios_and_verdicts_within_their_width() {
        let text = written(false);
        let row = text
            .lines()
            .find(|line| line.contains("  deadpool "))
            .unwrap();
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(cells[..3], ["deadpool", "2,500", "2.5"]);
        let bar = text.lines().find(|line| line.contains("0.6 of deadpool"));
        assert!(
            bar.is_some_and(|bar| bar.ends_with(" 1,000  pass")),
            "{text}"
        );
        assert!(text.ends_with("2 of 2 bars met\n"), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
    }

    #[test]
    fn figures_from_a_busy_machine_are_marked_as_such() {
        let said = |others| {
            let mut out = Vec::new();
            Report::new(&mut out, false).busy(others).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert!(said(0.38).contains("38 %") && said(0.38).len() < WIDTH);
        assert_eq!(said(0.01), "");
    }

    #[test]
    fn json_is_a_line_for_each_contender_and_the_bars_are_in_ours() {
        let lines: Vec<Value> = written(true)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let names: Vec<&str> = lines
            .iter()
            .map(|line| line["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["pool-core", "deadpool"]);
        let bar = &lines[0]["bars"][0];
        assert_eq!(bar["rule"], "0.6 of deadpool");
        assert_eq!(
            (&bar["at_most"], &bar["met"]),
            (&1_500.0.into(), &true.into())
        );
        assert!(lines[1].get("bars").is_none());
    }
}

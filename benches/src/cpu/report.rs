//! The figures as tables, or as lines of JSON.

use std::io::{self, Write};

use benches::table::{Table, number, time};

use super::{
    bar::{Bar, bars},
    case::Case,
    figures::Figures,
    peer::Peer,
};

/// Writes each case as it ends; at the end, how ours stands.
#[derive(Debug)]
pub(super) struct Report<W> {
    out: W,
    json: bool,
    bars: Vec<(Case, Bar)>,
}

impl<W: Write> Report<W> {
    pub(super) fn new(out: W, json: bool) -> Self {
        Self {
            out,
            json,
            bars: Vec::new(),
        }
    }

    pub(super) fn opening(&mut self, rounds: usize, quick: bool) -> io::Result<()> {
        match (self.json, quick) {
            (true, _) => Ok(()),
            (_, true) => writeln!(
                self.out,
                "One round of very little: the figures are worth nothing."
            ),
            (_, false) => writeln!(
                self.out,
                "One job: medians of {rounds} rounds, another peer first in each."
            ),
        }
    }

    /// The figures of one case.
    pub(super) fn case(&mut self, case: Case, results: &[(Peer, Figures)]) -> io::Result<()> {
        if self.json {
            for (peer, figures) in results {
                writeln!(self.out, "{}", figures.line(case.name(), peer.name()))?;
            }
            return self.out.flush();
        }
        self.bars
            .extend(bars(case, results).into_iter().map(|bar| (case, bar)));
        writeln!(self.out, "\n{}: {}", case.name(), case.title())?;
        write!(self.out, "{}", table(results))?;
        self.out.flush()
    }

    /// Every bar, and whether it is met.
    pub(super) fn closing(&mut self) -> io::Result<()> {
        if self.json || self.bars.is_empty() {
            return Ok(());
        }
        let mut table = Table::new(["bar", "at most", "ours", ""]);
        for (case, bar) in &self.bars {
            let show = |value| {
                if bar.is_time {
                    time(value)
                } else {
                    number(value)
                }
            };
            let verdict = if bar.is_met() { "pass" } else { "MISS" };
            let rule = format!("{}: {}", case.name(), bar.rule);
            table.row([rule, show(bar.limit), show(bar.ours), verdict.to_owned()]);
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

/// A row for each; after the time, how many times ours that is.
fn table(results: &[(Peer, Figures)]) -> Table {
    let ours = results
        .iter()
        .find(|(peer, _)| *peer == Peer::PoolCpu)
        .map(|(_, figures)| figures.ns);
    let has = |figure: fn(&Figures) -> Option<f64>| {
        results.iter().any(|(_, figures)| figure(figures).is_some())
    };
    let (worst, allocs, queued) = (has(|f| f.worst), has(|f| f.allocs), has(|f| f.queued));
    let (alarms, bare) = (has(|f| f.alarms), has(|f| f.bare));
    let mut head = vec!["", "mean", "x ours", "p99"];
    for (shown, name) in [
        (worst, "worst"),
        (allocs, "allocations"),
        (queued, "queued at most"),
        (alarms, "false alarms"),
        (bare, "bare loop"),
    ] {
        if shown {
            head.push(name);
        }
    }
    let mut table = Table::new(head);
    for (peer, figures) in results {
        let ratio = ours
            .filter(|ours| *ours > 0.0)
            .map(|ours| number(figures.ns / ours));
        let mut row = vec![
            peer.name().to_owned(),
            time(figures.ns),
            ratio.unwrap_or_default(),
            time(figures.p99),
        ];
        if worst {
            row.push(figures.worst.map(time).unwrap_or_default());
        }
        if allocs {
            row.push(figures.allocs.map(number).unwrap_or_default());
        }
        if queued {
            row.push(figures.queued.map(number).unwrap_or_default());
        }
        if alarms {
            row.push(figures.alarms.map(number).unwrap_or_default());
        }
        if bare {
            row.push(figures.bare.map(time).unwrap_or_default());
        }
        table.row(row);
    }
    table
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use benches::table::WIDTH;

    use super::*;

    fn written(json: bool) -> String {
        let results = [
            (Peer::PoolCpu, Figures::new(1_500.0, 123_456_789).worst(1)),
            (
                Peer::SpawnBlocking,
                Figures::new(15_000.0, 123_456_789).worst(987_654_321),
            ),
        ];
        let mut out = Vec::new();
        let mut report = Report::new(&mut out, json);
        report.opening(5, false).unwrap();
        report.case(Case::Sequential, &results).unwrap();
        report.closing().unwrap();
        report.busy(0.5).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_tables_give_ratios_and_verdicts_within_their_width() {
        let text = written(false);
        assert!(
            text.contains("1.5 µs") && text.contains("10.0") && text.contains("pass"),
            "{text}"
        );
        assert!(
            text.contains("1 of 1 bars met") && text.contains("50 %"),
            "{text}"
        );
        assert!(
            text.lines().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
    }

    #[test]
    fn json_is_a_line_for_each_peer_and_nothing_else() {
        let lines: Vec<serde_json::Value> = written(true)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[1]["name"], "spawn_blocking");
        assert_eq!(lines[0]["p99_ns"], 123_456_789);
        assert_eq!(lines.len(), 2);
    }
}

//! The figures as tables, or as lines of JSON.

use std::io::{self, Write};

use benches::table::{Table, number, time};
use serde_json::Value;

use super::bar::{Bar, Unit, bars};
use super::case::{Case, Scale};
use super::contender::Contender;
use super::figures::Figures;

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
            (false, Scale::Full(_)) => {
                format!("medians of {rounds} rounds, another pool first in each")
            }
        };
        writeln!(self.out, "A row by the pool, on 2 worker threads: {how}.")
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
                if *contender == Contender::PoolDb {
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

    /// Every bar, and whether it is met.
    pub(super) fn closing(&mut self) -> io::Result<()> {
        if self.json || self.bars.is_empty() {
            return Ok(());
        }
        let mut table = Table::new(["bar", "at most", "ours", ""]);
        for (case, bar) in &self.bars {
            let show = |value| match bar.unit {
                Unit::Nanoseconds => time(value),
                Unit::Bytes => mebibytes(value),
                Unit::Number => format!("{value}"),
            };
            let verdict = if bar.is_met() { "pass" } else { "MISS" };
            let rule = format!("{}: {}", case.name(), bar.rule);
            table.row([rule, show(bar.limit), show(bar.ours), verdict.to_string()]);
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
    let ours = results
        .iter()
        .find(|(contender, _)| *contender == Contender::PoolDb)
        .map(|(_, figures)| figures.ns);
    let has = |figure: fn(&Figures) -> Option<f64>| {
        results.iter().any(|(_, figures)| figure(figures).is_some())
    };
    let more: Vec<Column> = COLUMNS
        .into_iter()
        .filter(|column| has(column.figure))
        .collect();
    let mut head = vec!["", "a row", "x ours", "p99"];
    head.extend(more.iter().map(|column| column.head));
    let mut table = Table::new(head);
    for (contender, figures) in results {
        let ratio = ours
            .filter(|ours| *ours > 0.0)
            .map(|ours| format!("{:.2}", figures.ns / ours));
        let mut row = vec![
            contender.name().to_string(),
            time(figures.ns),
            ratio.unwrap_or_default(),
            time(figures.p99),
        ];
        row.extend(more.iter().map(|column| match (column.figure)(figures) {
            Some(value) => (column.show)(value),
            None => String::new(),
        }));
        table.row(row);
    }
    table
}

/// A column that only some cases have.
#[derive(Debug, Clone, Copy)]
struct Column {
    head: &'static str,
    figure: fn(&Figures) -> Option<f64>,
    show: fn(f64) -> String,
}

const COLUMNS: [Column; 7] = [
    Column {
        head: "a write",
        figure: |figures| figures.write,
        show: time,
    },
    Column {
        head: "all served",
        figure: |figures| figures.total,
        show: time,
    },
    Column {
        head: "connects, at most",
        figure: |figures| figures.connects,
        show: |connects| number(connects).trim_end_matches(".0").to_string(),
    },
    Column {
        head: "connections, at most",
        figure: |figures| figures.listed,
        show: |listed| format!("{listed}"),
    },
    Column {
        head: "longest with a seat free",
        figure: |figures| figures.idle_wait,
        show: time,
    },
    Column {
        head: "memory, at most",
        figure: |figures| figures.peak,
        show: mebibytes,
    },
    Column {
        head: "p99 of hits",
        figure: |figures| figures.hit_p99,
        show: time,
    },
];

fn mebibytes(bytes: f64) -> String {
    format!("{} MiB", number(bytes / f64::from(1 << 20)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;
    use benches::table::WIDTH;

    fn results() -> Vec<(Contender, Figures)> {
        let figures = |ns| {
            Figures::new(ns, 123_456_789)
                .write(456_789.0)
                .total(Duration::from_millis(987))
                .connects(1_016)
        };
        vec![
            (Contender::PoolDb, figures(10_000.0)),
            (Contender::DeadpoolPostgres, figures(10_250.0)),
        ]
    }

    fn written(json: bool) -> String {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out, json);
        report.opening(Scale::Full(Duration::ZERO), 5).unwrap();
        for case in [Case::Pg64on8, Case::Cold1000] {
            report
                .case(case, Scale::Full(Duration::ZERO), &results())
                .unwrap();
        }
        report.closing().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_tables_give_ratios_and_verdicts_within_their_width() {
        let text = written(false);
        let row = text
            .lines()
            .find(|line| line.contains("  deadpool-postgres "))
            .unwrap();
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(cells[..4], ["deadpool-postgres", "10.2", "µs", "1.02"]);
        assert_eq!(cells.last(), Some(&"1,016"));
        let bar = |end: &str| text.lines().any(|line| line.ends_with(end));
        assert!(bar("10.2 µs  10.0 µs  pass") && bar("1016  MISS"), "{text}");
        assert!(text.ends_with("2 of 3 bars met\n"), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
    }

    #[test]
    fn memory_is_told_in_mebibytes() {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out, false);
        let results = [(Contender::PoolDb, Figures::new(1_000.0, 9).peak(5 << 19))];
        report
            .case(Case::Ndjson, Scale::Full(Duration::ZERO), &results)
            .unwrap();
        report.closing().unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains("memory, at most") && text.contains("32.0 MiB  2.5 MiB  pass"),
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
        assert_eq!(lines.len(), 4);
        assert_eq!(
            (&lines[0]["name"], &lines[1]["name"]),
            (&"pool-db".into(), &"deadpool-postgres".into())
        );
        assert_eq!(lines[1]["p99_ns"], 123_456_789);
        assert_eq!(lines[0]["bars"][0]["met"], true);
        assert_eq!(lines[2]["bars"][0]["met"], false);
        assert!(lines[1].get("bars").is_none());
    }
}

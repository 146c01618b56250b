//! The comparison as a person reads it, and as a program does.

use std::time::Duration;

use serde::Serialize;

use crate::bystander;
use crate::compare::Comparison;
use crate::contender::{CLIENTS, Measured};
use crate::way::{Path, Way};

/// The rows as JSON, on one line.
///
/// # Errors
/// Never in practice: every field is a number or a name.
pub(crate) fn json(comparison: &Comparison) -> serde_json::Result<String> {
    serde_json::to_string(&JsonReport {
        rows: comparison.rows.iter().map(JsonRow::of).collect(),
    })
}

/// The table, how ours compares, what went wrong, and what the columns mean. No line is longer than [`COLUMNS`].
pub(crate) fn table(comparison: &Comparison) -> String {
    let blocks = [
        main_table(&comparison.rows),
        ratio_table(&comparison.rows),
        comparison.rows.iter().filter_map(errors).collect(),
        legend(comparison),
    ];
    let blocks = blocks
        .into_iter()
        .filter(|lines| !lines.is_empty())
        .map(|lines| lines.join("\n"));
    blocks.collect::<Vec<_>>().join("\n\n")
}

#[derive(Debug, Serialize)]
struct JsonReport {
    rows: Vec<JsonRow>,
}

#[derive(Debug, Serialize)]
struct JsonRow {
    path: Path,
    way: Way,
    rps: f64,
    p50_us: u64,
    p99_us: u64,
    p999_us: u64,
    opens: u64,
    peak: u64,
    errors: u64,
    lag_p99_us: u64,
    bystander_p99_us: u64,
}

impl JsonRow {
    fn of(row: &Measured) -> Self {
        let us = |time: Option<Duration>| time.map_or(0, |time| time.as_micros() as u64);
        Self {
            path: row.path,
            way: row.way,
            rps: (row.rps * 10.0).round() / 10.0,
            p50_us: us(row.p50),
            p99_us: us(row.p99),
            p999_us: us(row.p999),
            opens: row.opens,
            peak: row.peak,
            errors: row.errors.count(),
            lag_p99_us: us(row.lag_p99),
            bystander_p99_us: us(row.bystander_p99),
        }
    }
}

fn main_table(rows: &[Measured]) -> Vec<String> {
    let mut cells = vec![
        [
            "",
            "",
            "requests",
            "p50",
            "p99",
            "p99.9",
            "",
            "",
            "",
            "lag p99",
            "bystander",
        ]
        .map(String::from),
        [
            "path", "way", "a second", "ms", "ms", "ms", "opens", "peak", "errors", "ms", "p99 ms",
        ]
        .map(String::from),
    ];
    for row in rows {
        cells.push([
            row.path.to_string(),
            row.way.to_string(),
            count(row.rps.round() as u64),
            ms(row.p50),
            ms(row.p99),
            ms(row.p999),
            count(row.opens),
            count(row.peak),
            count(row.errors.count()),
            ms(row.lag_p99),
            ms(row.bystander_p99),
        ]);
    }
    aligned(&cells)
}

/// Ours against each of the others.
fn ratio_table(rows: &[Measured]) -> Vec<String> {
    let mut cells = vec![
        [
            "",
            "pooled against",
            "requests",
            "p99",
            "lag p99",
            "bystander p99",
        ]
        .map(String::from),
    ];
    for other in rows.iter().filter(|row| row.way != Way::Pooled) {
        let Some(ours) = rows
            .iter()
            .find(|row| row.path == other.path && row.way == Way::Pooled)
        else {
            continue;
        };
        cells.push([
            other.path.to_string(),
            other.way.to_string(),
            if other.rps > 0.0 {
                format!("{:.2}x", ours.rps / other.rps)
            } else {
                NONE.into()
            },
            ratio(ours.p99, other.p99),
            ratio(ours.lag_p99, other.lag_p99),
            ratio(ours.bystander_p99, other.bystander_p99),
        ]);
    }
    if cells.len() > 1 {
        aligned(&cells)
    } else {
        Vec::new()
    }
}

fn errors(row: &Measured) -> Option<String> {
    let example = row.errors.most_common()?;
    let (count, slowest) = (count(row.errors.count()), ms(Some(row.errors.slowest())));
    let text = format!("{count} errors, each within {slowest} ms, most of them: {example}");
    Some(wrapped(&format!("{} {}:", row.path, row.way), 2, &text))
}

fn legend(comparison: &Comparison) -> Vec<String> {
    let clients = format!("{CLIENTS} clients, each asks again as soon as it is answered");
    let machine = format!(
        "{} cores, shared with the load and the upstream",
        comparison.workers
    );
    let time = format!(
        "{} s a row, {:.0} s in all",
        comparison.seconds.as_secs_f64(),
        comparison.took.as_secs_f64()
    );
    let lines = [
        (
            "opens, peak",
            "connections opened (http: handshakes made) or threads started; the most at once"
                .to_owned(),
        ),
        (
            "lag",
            format!(
                "how late a 1 ms timer fires on the service's runtime, which has {} threads",
                comparison.workers
            ),
        ),
        (
            "bystander",
            format!(
                "GET /healthz every {} ms from another thread, timed from when it is due",
                bystander::INTERVAL.as_millis()
            ),
        ),
        ("load", format!("{clients}; {machine}; {time}")),
        ("db", comparison.database.clone()),
    ];
    lines
        .into_iter()
        .map(|(what, text)| wrapped(&format!("{what:12}"), 13, &text))
        .collect()
}

/// Rows of cells as lines, the columns two spaces apart: the first two columns to the left, the numbers to the right.
fn aligned<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
    let line = |row: &[String; N]| {
        let cells = row
            .iter()
            .zip(widths)
            .enumerate()
            .map(|(column, (cell, width))| {
                if column < 2 {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Milliseconds with three digits that mean something.
fn ms(time: Option<Duration>) -> String {
    let Some(time) = time else { return NONE.into() };
    let ms = time.as_secs_f64() * 1e3;
    match ms {
        ..9.995 => format!("{ms:.2}"),
        9.995..99.95 => format!("{ms:.1}"),
        _ => count(ms.round() as u64),
    }
}

/// A number with its thousands set apart, in at most seven characters.
fn count(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        1_000..1_000_000 => format!("{},{:03}", number / 1_000, number % 1_000),
        _ => format!("{:.1}M", number as f64 / 1e6),
    }
}

/// How many times as long, or which part of it.
fn ratio(ours: Option<Duration>, other: Option<Duration>) -> String {
    let (Some(ours), Some(other)) = (ours, other) else {
        return NONE.into();
    };
    match ours.as_secs_f64() / other.as_secs_f64() {
        ratio if !ratio.is_normal() => NONE.into(),
        ratio @ 1.0.. => format!("{ratio:.1}x"),
        ratio @ 0.1.. => format!("1/{:.1}", 1.0 / ratio),
        ratio => format!("1/{}", count((1.0 / ratio).round() as u64)),
    }
}

/// The text after its title, in lines of at most [`COLUMNS`], broken between words, all but the first set in.
fn wrapped(title: &str, indent: usize, text: &str) -> String {
    let mut lines = vec![title.to_owned()];
    let words = text.split(' ').flat_map(|word| {
        // A word that fits no line is broken where it must be.
        let letters: Vec<char> = word.chars().collect();
        letters
            .chunks(COLUMNS - indent)
            .map(String::from_iter)
            .collect::<Vec<_>>()
    });
    for word in words {
        let line = lines.last().map_or(0, |line| line.chars().count());
        match lines.last_mut() {
            Some(line_so_far) if line + 1 + word.chars().count() <= COLUMNS => {
                line_so_far.push(' ');
                line_so_far.push_str(&word);
            }
            _ => lines.push(format!("{:indent$}{word}", "")),
        }
    }
    lines.join("\n")
}

const NONE: &str = "-";
const COLUMNS: usize = 100;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::errors::Errors;

    fn row(path: Path, way: Way, rps: f64, ms: u64) -> Measured {
        Measured {
            path,
            way,
            rps,
            p50: Some(Duration::from_millis(ms)),
            p99: Some(Duration::from_millis(2 * ms)),
            p999: Some(Duration::from_millis(3 * ms)),
            opens: 12,
            peak: 2,
            errors: Errors::default(),
            lag_p99: Some(Duration::from_micros(1_234)),
            bystander_p99: Some(Duration::from_millis(ms)),
        }
    }

    fn comparison(rows: Vec<Measured>) -> Comparison {
        Comparison {
            rows,
            workers: 2,
            seconds: Duration::from_millis(3_500),
            database: format!("SQLite, /{}/users.sqlite", "a-long-folder/".repeat(12)),
            took: Duration::from_secs(30),
        }
    }

    #[test]
    fn json_has_exactly_the_agreed_shape() {
        let mut none = row(Path::Cpu, Way::SpawnBlocking, 0.0, 0);
        (none.p50, none.p99, none.p999, none.bystander_p99) = (None, None, None, None);
        let comparison = comparison(vec![row(Path::Db, Way::Naive, 1234.56, 7), none]);
        assert_eq!(
            json(&comparison).unwrap(),
            "{\"rows\":[{\"path\":\"db\",\"way\":\"naive\",\"rps\":1234.6,\"p50_us\":7000,\"p99_us\":14000,\"p999_us\":21000,\
             \"opens\":12,\"peak\":2,\"errors\":0,\"lag_p99_us\":1234,\"bystander_p99_us\":7000},\
             {\"path\":\"cpu\",\"way\":\"spawn_blocking\",\"rps\":0.0,\"p50_us\":0,\"p99_us\":0,\"p999_us\":0,\
             \"opens\":12,\"peak\":2,\"errors\":0,\"lag_p99_us\":1234,\"bystander_p99_us\":0}]}"
        );
    }

    #[test]
    fn no_line_is_wider_than_100_columns_and_none_has_colour() {
        let mut worst = row(Path::Cpu, Way::SpawnBlocking, 999_999.0, 9_999);
        (worst.opens, worst.peak) = (123_456_789, 99_999);
        worst.lag_p99 = Some(Duration::from_secs(99));
        worst.errors.record(
            &format!("503: {}", "no connection within 2 s and so on ".repeat(9)),
            Duration::from_secs(10),
        );
        let text = table(&comparison(vec![
            worst,
            row(Path::Cpu, Way::Pooled, 0.5, 1),
        ]));
        assert!(
            text.lines().all(|line| line.chars().count() <= COLUMNS),
            "{text}"
        );
        assert!(
            text.chars().all(|c| c == '\n' || (' '..='~').contains(&c)),
            "{text}"
        );
    }

    #[test]
    fn the_table_is_what_a_person_reads() {
        let rows = vec![
            row(Path::Db, Way::Naive, 5_242.4, 12),
            row(Path::Db, Way::Pooled, 43_113.0, 1),
        ];
        let text = table(&comparison(rows));
        let expected = [
            "              requests   p50   p99  p99.9                       lag p99  bystander",
            "path  way     a second    ms    ms     ms  opens  peak  errors       ms     p99 ms",
            "db    naive      5,242  12.0  24.0   36.0     12     2       0     1.23       12.0",
            "db    pooled    43,113  1.00  2.00   3.00     12     2       0     1.23       1.00",
            "",
            "    pooled against  requests   p99  lag p99  bystander p99",
            "db  naive              8.22x  1/12     1.0x           1/12",
            "",
        ];
        assert_eq!(
            text.lines().take(expected.len()).collect::<Vec<_>>(),
            expected
        );
    }

    #[test]
    fn errors_are_told_with_their_reason() {
        let mut failing = row(Path::Db, Way::Pooled, 0.0, 1);
        (failing.p50, failing.p99, failing.p999) = (None, None, None);
        failing.errors.record(
            "503 Service Unavailable: database: connection refused",
            Duration::from_millis(2_000),
        );
        let text = table(&comparison(vec![failing]));
        let told = "db pooled: 1 errors, each within 2,000 ms, most of them: 503 Service Unavailable: database:\n  connection refused";
        assert!(text.contains(told), "{text}");
        assert!(
            text.contains("db    pooled         0    -    -      -     12     2       1"),
            "{text}"
        );
    }

    #[test]
    fn numbers_are_short() {
        let ms = |us| ms(Some(Duration::from_micros(us)));
        assert_eq!(
            [
                ms(0),
                ms(52),
                ms(9_994),
                ms(12_340),
                ms(99_960),
                ms(1_234_000)
            ],
            ["0.00", "0.05", "9.99", "12.3", "100", "1,234"]
        );
        assert_eq!(
            [count(999), count(1_000), count(999_999), count(1_250_000)],
            ["999", "1,000", "999,999", "1.2M"]
        );
        let part = |ours, other| {
            ratio(
                Some(Duration::from_micros(ours)),
                Some(Duration::from_micros(other)),
            )
        };
        assert_eq!(
            [part(3, 2), part(1, 2), part(10, 14_460), part(1, 0)],
            ["1.5x", "1/2.0", "1/1,446", "-"]
        );
    }
}

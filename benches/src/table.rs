//! A table that reads well at 100 columns and without colour.
//!
//! ```
//! # use benches::table::{Table, number};
//! let mut table = Table::new(["name", "ns"]);
//! table.row(["floor", &number(27.04)]);
//! table.row(["mobc", &number(1284.2)]);
//! assert_eq!(table.to_string(), "  name      ns\n  floor   27.0\n  mobc   1,284\n");
//! ```

use std::fmt;

/// The widest that a report should be.
pub const WIDTH: usize = 100;

/// Rows under a head: the first column to the left, the others, being figures, to the right.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with nothing below its head.
    #[must_use]
    pub fn new<Cell: Into<String>>(head: impl IntoIterator<Item = Cell>) -> Self {
        let mut table = Self { rows: Vec::new() };
        table.row(head);
        table
    }

    /// Adds a row at the end. One with fewer cells than others is empty to the right.
    pub fn row<Cell: Into<String>>(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                line += &match column {
                    0 => format!("  {cell:<width$}"),
                    _ => format!("  {cell:>width$}"),
                };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A figure with one decimal below 100 and with none above, its thousands apart.
#[must_use]
pub fn number(value: f64) -> String {
    if value.abs() < 99.95 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", digits.as_str()),
    };
    let mut grouped = String::from(sign);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A time in the unit that keeps it short: `640 ns`, `12.3 µs`, `156 ms`, `2.1 s`.
#[must_use]
pub fn time(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "µs"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    format!("{} {unit}", number(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_line_up_to_the_right() {
        let mut table = Table::new(["name", "ns", "wait"]);
        table.row(["a longer name", "1"]);
        table.row(["µ", "1,000", "2 µs"]);
        let expected = "  name              ns  wait\n\
                        \u{20} a longer name      1\n\
                        \u{20} µ              1,000  2 µs\n";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn numbers_keep_three_digits_or_their_thousands() {
        let written = [0.04, 41.26, 99.96, 998.6, 34_992.4, 1_234_567.0, -1_500.0].map(number);
        assert_eq!(
            written,
            ["0.0", "41.3", "100", "999", "34,992", "1,234,567", "-1,500"]
        );
    }

    #[test]
    fn times_are_written_in_the_unit_that_fits() {
        let written = [640.0, 12_345.0, 155_800_000.0, 2.1e9].map(time);
        assert_eq!(written, ["640 ns", "12.3 µs", "156 ms", "2.1 s"]);
    }
}

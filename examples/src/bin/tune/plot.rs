//! The picture for a terminal: a bar a size, for the throughput and for the slowest calls. It has no colours, and reads the same in a
//! file.

use crate::level::Level;

/// What it is drawn with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Glyphs {
    /// Eighths of blocks.
    Unicode,
    /// For terminals and files that have nothing else.
    Ascii,
}

/// The picture, no line longer than `columns` (but the numbers are always there). `chosen` is marked.
pub(crate) fn plot(
    levels: &[Level],
    chosen: Option<u32>,
    columns: usize,
    glyphs: Glyphs,
) -> String {
    let rate = Column::of(levels, "queries/s", |level| level.per_second);
    let p99 = Column::of(levels, "p99 ms", |level| level.call_ms.p99);
    let size = levels
        .iter()
        .map(|level| level.size.to_string().len())
        .fold("size".len(), usize::max);
    let fixed = 2 + size + 2 + rate.width + 1 + 2 + p99.width + 1;
    let bar = (columns.saturating_sub(fixed) / 2).min(WIDEST);
    let mark = match glyphs {
        Glyphs::Unicode => "▶",
        Glyphs::Ascii => ">",
    };
    let mut lines = vec![format!(
        "  {:>size$}  {:>rate$} {:bar$}  {:>p99$}",
        "size",
        rate.title,
        "",
        p99.title,
        rate = rate.width,
        p99 = p99.width,
    )];
    for (row, level) in levels.iter().enumerate() {
        let mark = if Some(level.size) == chosen {
            mark
        } else {
            " "
        };
        let line = format!(
            "{mark} {:>size$}  {:>rate_width$} {}  {:>p99_width$} {}",
            level.size,
            rate.numbers[row],
            glyphs.bar(rate.parts[row], bar),
            p99.numbers[row],
            glyphs.bar(p99.parts[row], bar),
            rate_width = rate.width,
            p99_width = p99.width,
        );
        lines.push(line);
    }
    let lines = lines.iter().map(|line| line.trim_end());
    lines.collect::<Vec<_>>().join("\n")
}

/// Numbers, and what part of the largest each is.
struct Column {
    title: &'static str,
    numbers: Vec<String>,
    parts: Vec<f64>,
    width: usize,
}

impl Column {
    fn of(levels: &[Level], title: &'static str, value: fn(&Level) -> f64) -> Self {
        let most = levels.iter().map(value).fold(0.0, f64::max);
        let part = |level| {
            if most > 0.0 { value(level) / most } else { 0.0 }
        };
        let numbers: Vec<String> = levels.iter().map(|level| number(value(level))).collect();
        let width = numbers
            .iter()
            .map(String::len)
            .fold(title.len(), usize::max);
        Self {
            title,
            numbers,
            parts: levels.iter().map(part).collect(),
            width,
        }
    }
}

impl Glyphs {
    /// A bar that fills `part` of `width` columns, with spaces behind it.
    fn bar(self, part: f64, width: usize) -> String {
        const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
        let mut bar = match self {
            Self::Unicode => {
                let eighths = (part * width as f64 * 8.0).round() as usize;
                let mut bar = "█".repeat(eighths / 8);
                if !eighths.is_multiple_of(8) {
                    bar.push(EIGHTHS[eighths % 8]);
                }
                bar
            }
            Self::Ascii => "#".repeat((part * width as f64).round() as usize),
        };
        let used = bar.chars().count();
        bar.extend(std::iter::repeat_n(' ', width.saturating_sub(used)));
        bar
    }
}

/// A number with three digits that mean something, and its thousands set apart.
pub(crate) fn number(value: f64) -> String {
    match value {
        ..9.995 => format!("{value:.2}"),
        9.995..99.95 => format!("{value:.1}"),
        _ => {
            let digits = format!("{value:.0}");
            let grouped = digits.as_bytes().rchunks(3).rev();
            let groups: Vec<&str> = grouped
                .filter_map(|group| str::from_utf8(group).ok())
                .collect();
            groups.join(",")
        }
    }
}

/// So that one sees where a bar ends, on the widest screen too.
const WIDEST: usize = 50;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::level::tests::level;

    fn levels() -> Vec<Level> {
        vec![
            level(1, &[1000.0], 64.0),
            level(2, &[2000.0], 32.0),
            level(16, &[1900.0], 48.5),
        ]
    }

    #[test]
    fn it_is_what_a_person_reads() {
        let expected = [
            "  size  queries/s               p99 ms",
            "     1      1,000 ######          64.0 ############",
            "> 2      ",
        ];
        let text = plot(&levels(), Some(2), 52, Glyphs::Ascii);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], expected[0]);
        assert_eq!(lines[1], expected[1]);
        assert_eq!(lines[2], ">    2      2,000 ############    32.0 ######");
        assert_eq!(lines[3], "    16      1,900 ###########     48.5 #########");
        let text = plot(&levels(), Some(2), 52, Glyphs::Unicode);
        assert!(
            text.contains("▶    2      2,000 ████████████    32.0 ██████\n"),
            "{text}"
        );
        assert!(
            text.contains("    16      1,900 ███████████▍    48.5 █████████▏"),
            "{text}"
        );
    }

    #[test]
    fn no_line_is_wider_than_the_screen_and_a_narrow_one_has_the_numbers() {
        for columns in [0, 10, 37, 60, 80, 200, 10_000] {
            let text = plot(&levels(), None, columns, Glyphs::Unicode);
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= columns.max(38), "{columns}:\n{text}");
            assert!(text.contains("2,000") && text.contains("48.5"), "{text}");
            assert!(!text.contains('▶') && !text.contains('\u{1b}'), "{text}");
        }
    }

    #[test]
    fn what_is_nothing_has_no_bar_and_no_level_no_row() {
        let text = plot(&[level(1, &[0.0], 0.0)], Some(1), 80, Glyphs::Ascii);
        assert!(!text.contains('#'), "{text}");
        assert_eq!(plot(&[], None, 80, Glyphs::Ascii).lines().count(), 1);
    }

    #[test]
    fn a_number_has_three_digits_that_mean_something() {
        for (value, text) in [
            (0.0, "0.00"),
            (1.234, "1.23"),
            (12.34, "12.3"),
            (99.96, "100"),
            (123_456.7, "123,457"),
            (1_234_567.0, "1,234,567"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}

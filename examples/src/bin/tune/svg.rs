//! The picture as an SVG file: one that stands alone, light or dark as its reader, and told in words to those who do not see it.

use std::fmt::Write;

use crate::law::Law;
use crate::level::Level;
use crate::plot::number;

/// What it shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Picture<'a> {
    /// The database and the query.
    pub(crate) subject: &'a str,
    /// The answer, in a sentence.
    pub(crate) answer: &'a str,
    pub(crate) levels: &'a [Level],
    pub(crate) chosen: Option<u32>,
    pub(crate) law: Option<Law>,
}

impl Picture<'_> {
    /// The file.
    pub(crate) fn svg(&self) -> String {
        let mut svg = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="title desc" font-family="system-ui, sans-serif" font-size="13">
<title id="title">Throughput and p99 by the size of the pool: {}</title>
<desc id="desc">{}</desc>
{STYLE}
<rect class="page" width="{WIDTH}" height="{HEIGHT}"/>
"#,
            escaped(self.subject),
            escaped(&self.told()),
        );
        let mut rates = Panel::new(self.levels, 64.0, "queries a second");
        rates.mark(self.chosen);
        if let Some(law) = self.law {
            rates.curve(&law);
        }
        rates.whiskers();
        rates.line("rate", Mark::Circle, |level| level.per_second);
        let mut times = Panel::new(self.levels, 296.0, "p99 in milliseconds");
        times.mark(self.chosen);
        times.line("call", Mark::Circle, |level| level.call_ms.p99);
        times.line("wait", Mark::Square, |level| level.wait_ms.p99);
        times.line("query", Mark::Triangle, |level| level.query_ms.p99);
        // Each panel knows its scale once all of its lines are known.
        svg.push_str(&text(
            LEFT,
            24.0,
            "head",
            "start",
            &shortened(self.subject, 66),
        ));
        svg.push_str(&text(
            LEFT,
            44.0,
            "answer",
            "start",
            &shortened(self.answer, 92),
        ));
        svg.push_str(&rates.svg(if self.law.is_some() {
            &[
                (
                    "rate",
                    Some(Mark::Circle),
                    "measured, and from the slowest to the fastest round",
                ),
                ("law", None, "Universal Scalability Law"),
            ]
        } else {
            &[(
                "rate",
                Some(Mark::Circle),
                "measured, and from the slowest to the fastest round",
            )]
        }));
        svg.push_str(&times.svg(&[
            ("call", Some(Mark::Circle), "the whole call"),
            ("wait", Some(Mark::Square), "its wait for a connection"),
            ("query", Some(Mark::Triangle), "its query"),
        ]));
        svg.push_str(&text(
            f64::midpoint(LEFT, RIGHT),
            HEIGHT - 12.0,
            "axis",
            "middle",
            "connections in the pool",
        ));
        svg.push_str("</svg>\n");
        svg
    }

    /// The picture in words.
    fn told(&self) -> String {
        let mut told = self.answer.to_owned();
        for level in self.levels {
            let _ = write!(
                told,
                " Size {}: {} queries a second, p99 {} ms.",
                level.size,
                number(level.per_second),
                number(level.call_ms.p99)
            );
        }
        told
    }
}

#[derive(Clone, Copy, Debug)]
enum Mark {
    Circle,
    Square,
    Triangle,
}

impl Mark {
    fn svg(self, class: &str, x: f64, y: f64) -> String {
        match self {
            Self::Circle => {
                format!("<circle class=\"{class} dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>\n")
            }
            Self::Square => format!(
                "<rect class=\"{class} dot\" x=\"{:.1}\" y=\"{:.1}\" width=\"7\" height=\"7\"/>\n",
                x - 3.5,
                y - 3.5
            ),
            Self::Triangle => format!(
                "<path class=\"{class} dot\" d=\"M{:.1} {:.1}l4.5 8h-9z\"/>\n",
                x,
                y - 4.5
            ),
        }
    }
}

/// One of the two diagrams, above the same axis of sizes.
struct Panel<'a> {
    levels: &'a [Level],
    top: f64,
    title: &'static str,
    chosen: Option<u32>,
    lines: Vec<(&'static str, Mark, Vec<f64>)>,
    /// From and to, for each size.
    whiskers: Vec<(f64, f64)>,
    /// By the place between the sizes.
    curve: Vec<(f64, f64)>,
}

impl<'a> Panel<'a> {
    fn new(levels: &'a [Level], top: f64, title: &'static str) -> Self {
        Self {
            levels,
            top,
            title,
            chosen: None,
            lines: Vec::new(),
            whiskers: Vec::new(),
            curve: Vec::new(),
        }
    }

    fn mark(&mut self, chosen: Option<u32>) {
        self.chosen = chosen;
    }

    fn line(&mut self, class: &'static str, mark: Mark, value: impl Fn(&Level) -> f64) {
        let values = self.levels.iter().map(value).collect();
        self.lines.push((class, mark, values));
    }

    fn whiskers(&mut self) {
        let ends = self.levels.iter().map(|level| {
            let rounds = level.rounds.iter().copied();
            (
                rounds.clone().fold(f64::MAX, f64::min),
                rounds.fold(0.0, f64::max),
            )
        });
        self.whiskers = ends.collect();
    }

    fn curve(&mut self, law: &Law) {
        let (Some(first), Some(last)) = (self.levels.first(), self.levels.last()) else {
            return;
        };
        let (first, last) = (f64::from(first.size), f64::from(last.size));
        let points = (0..=60).map(|step| {
            let size = first * (last / first).powf(f64::from(step) / 60.0);
            (size, law.at(size))
        });
        self.curve = points.collect();
    }

    /// Sizes double at equal distances.
    fn x(&self, size: f64) -> f64 {
        let of = |level: Option<&Level>| f64::from(level.map_or(1, |level| level.size)).log2();
        let (first, last) = (of(self.levels.first()), of(self.levels.last()));
        let place = if last > first {
            (size.log2() - first) / (last - first)
        } else {
            0.5
        };
        LEFT + 16.0 + place * (RIGHT - LEFT - 32.0)
    }

    /// The step between lines of the grid, and how many there are up to above all values.
    fn scale(&self) -> (f64, u32) {
        let lines = self.lines.iter().flat_map(|(_, _, values)| values);
        let most = lines
            .copied()
            .chain(self.whiskers.iter().map(|(_, to)| *to));
        let most = most.fold(0.0, f64::max);
        if !most.is_finite() || most <= 0.0 {
            return (1.0, 1);
        }
        let rough = most / 4.0;
        let power = 10_f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * power);
        let step = steps
            .into_iter()
            .find(|step| *step >= rough)
            .unwrap_or(rough);
        (step, (most / step).ceil().max(1.0) as u32)
    }

    fn svg(&self, legend: &[(&str, Option<Mark>, &str)]) -> String {
        let (step, steps) = self.scale();
        let top = self.top + 34.0;
        let bottom = self.top + TALL;
        let y = |value: f64| {
            let part = (value / (step * f64::from(steps))).clamp(0.0, 1.05);
            bottom - part * (bottom - top)
        };
        let mut svg = String::new();
        svg.push_str(&text(LEFT, self.top + 14.0, "axis", "start", self.title));
        let mut from = RIGHT;
        for (class, mark, meaning) in legend.iter().rev() {
            svg.push_str(&text(from, self.top + 14.0, "small", "end", meaning));
            // Letters are about this wide.
            let key = from - meaning.chars().count() as f64 * 6.2 - 14.0;
            match mark {
                Some(mark) => svg.push_str(&mark.svg(class, key, self.top + 10.0)),
                None => {
                    let _ = writeln!(
                        svg,
                        "<path class=\"{class} stroke\" d=\"M{:.1} {:.1}h18\"/>",
                        key - 10.0,
                        self.top + 10.0
                    );
                }
            }
            from = key - 24.0;
        }
        for line in 0..=steps {
            let value = step * f64::from(line);
            let at = y(value);
            let _ = writeln!(svg, "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/>");
            let label = if value == 0.0 {
                "0".to_owned()
            } else {
                tidy(value)
            };
            svg.push_str(&text(LEFT - 8.0, at + 4.0, "small", "end", &label));
        }
        let mut last = f64::MIN;
        for level in self.levels {
            let x = self.x(f64::from(level.size));
            let _ = writeln!(svg, "<path class=\"tick\" d=\"M{x:.1} {bottom:.1}v5\"/>");
            // Labels that would touch are left out, but not that of the answer.
            if x - last > 22.0 || self.chosen == Some(level.size) {
                svg.push_str(&text(
                    x,
                    bottom + 19.0,
                    "small",
                    "middle",
                    &level.size.to_string(),
                ));
                last = x;
            }
        }
        if let Some(chosen) = self.chosen {
            let x = self.x(f64::from(chosen));
            let _ = writeln!(
                svg,
                "<path class=\"chosen\" d=\"M{x:.1} {top:.1}V{bottom:.1}\"/>"
            );
            let anchor = if x > f64::midpoint(LEFT, RIGHT) {
                "end"
            } else {
                "start"
            };
            let aside = if anchor == "end" { -6.0 } else { 6.0 };
            let label = format!("size {chosen}");
            svg.push_str(&text(x + aside, bottom - 8.0, "label", anchor, &label));
        }
        if !self.curve.is_empty() {
            let points = self
                .curve
                .iter()
                .map(|(size, value)| (self.x(*size), y(*value)));
            svg.push_str(&path("law stroke", points));
        }
        for (level, (low, high)) in self.levels.iter().zip(&self.whiskers) {
            let x = self.x(f64::from(level.size));
            let _ = writeln!(
                svg,
                "<path class=\"rate stroke\" d=\"M{x:.1} {:.1}V{:.1}\"/>",
                y(*low),
                y(*high)
            );
        }
        for (class, mark, values) in &self.lines {
            let points = self.levels.iter().zip(values);
            let points: Vec<(f64, f64)> = points
                .map(|(level, value)| (self.x(f64::from(level.size)), y(*value)))
                .collect();
            svg.push_str(&path(&format!("{class} stroke"), points.iter().copied()));
            for (x, y) in points {
                svg.push_str(&mark.svg(class, x, y));
            }
        }
        svg
    }
}

fn path(class: &str, points: impl Iterator<Item = (f64, f64)>) -> String {
    let mut d = String::new();
    for (x, y) in points {
        let letter = if d.is_empty() { 'M' } else { 'L' };
        let _ = write!(d, "{letter}{x:.1} {y:.1}");
    }
    format!("<path class=\"{class}\" d=\"{d}\"/>\n")
}

fn text(x: f64, y: f64, class: &str, anchor: &str, text: &str) -> String {
    let text = escaped(text);
    format!(
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>\n"
    )
}

/// The number of a line of the grid.
fn tidy(value: f64) -> String {
    if value >= 100.0 {
        return number(value);
    }
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What XML takes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // No control character may stand in XML 1.0, but for these.
            '\n' | '\r' | '\t' => escaped.push(' '),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                escaped.push('\u{fffd}');
            }
            letter => escaped.push(letter),
        }
    }
    escaped
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most - 1).collect();
    short.push('…');
    short
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 540.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 740.0;
/// How tall a panel is, with its title and without the labels of the sizes.
const TALL: f64 = 190.0;
/// Lines differ in their dashes and marks too, for those who do not tell their colours apart.
const STYLE: &str = "<style>
.page { fill: #ffffff } text { fill: #1f2328 } .small { fill: #59636e } .label { fill: #cf222e }
.grid { stroke: #d8dee4 } .tick, .law { stroke: #59636e } .chosen { stroke: #cf222e }
.rate, .call { stroke: #0b62c4 } .wait { stroke: #b35900 } .query { stroke: #1a7f37 }
.rate.dot, .call.dot { fill: #0b62c4 } .wait.dot { fill: #b35900 } .query.dot { fill: #1a7f37 }
.head { font-size: 15px; font-weight: 600 } .axis, .label { font-weight: 600 } .small { font-size: 12px }
.grid, .tick { fill: none } .chosen { fill: none; stroke-width: 1.5; stroke-dasharray: 5 4 } .stroke { fill: none; stroke-width: 2 } .dot { stroke: none }
.wait.stroke { stroke-dasharray: 6 3 } .query.stroke { stroke-dasharray: 2 2 } .law { stroke-width: 1.5; stroke-dasharray: 2 3 }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117 } text { fill: #e6edf3 } .small { fill: #9198a1 } .label { fill: #ff7b72 }
.grid { stroke: #30363d } .tick, .law { stroke: #9198a1 } .chosen { stroke: #ff7b72 }
.rate, .call { stroke: #6cb0ff } .wait { stroke: #f0a35e } .query { stroke: #57c76f }
.rate.dot, .call.dot { fill: #6cb0ff } .wait.dot { fill: #f0a35e } .query.dot { fill: #57c76f }
.dot { stroke: none }
}
</style>";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::level::tests::level;

    fn levels() -> Vec<Level> {
        vec![
            level(1, &[900.0, 1100.0], 20.0),
            level(2, &[2000.0, 2000.0], 9.0),
            level(8, &[1800.0, 2100.0], 11.0),
        ]
    }

    fn picture(levels: &[Level], chosen: Option<u32>) -> String {
        let picture = Picture {
            subject: "SELECT 'a' < \"b\" & c\u{7}",
            answer: "Take 2.",
            levels,
            chosen,
            law: Law::fit(levels),
        };
        picture.svg()
    }

    /// Each begun element is ended, in the right order.
    fn is_well_formed(svg: &str) -> bool {
        let mut open = Vec::new();
        for part in svg.split('<').skip(1) {
            let Some((tag, _)) = part.split_once('>') else {
                return false;
            };
            let name = tag.split([' ', '\n']).next().unwrap();
            if let Some(name) = name.strip_prefix('/') {
                if open.pop() != Some(name) {
                    return false;
                }
            } else if !tag.ends_with('/') {
                open.push(name);
            }
        }
        open.is_empty()
    }

    #[test]
    fn it_is_well_formed_and_tells_what_it_shows() {
        let svg = picture(&levels(), Some(2));
        assert!(is_well_formed(&svg), "{svg}");
        for part in [
            "role=\"img\" aria-labelledby=\"title desc\"",
            "<title id=\"title\">Throughput and p99 by the size of the pool: SELECT 'a' &lt; &quot;b&quot; &amp; c\u{fffd}</title>",
            "Take 2. Size 1: 1,000 queries a second, p99 20.0 ms.",
            "prefers-color-scheme: dark",
            ">size 2</text>",
            ">connections in the pool</text>",
            ">queries a second</text>",
            ">p99 in milliseconds</text>",
            ">2,000</text>",
        ] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert!(
            !svg.contains("href") && !svg.contains("url("),
            "it stands alone"
        );
    }

    #[test]
    fn what_is_higher_is_drawn_higher() {
        let svg = picture(&levels(), None);
        let rates: Vec<f64> = svg
            .lines()
            .filter(|line| line.contains("rate dot"))
            .filter_map(|line| line.split("cy=\"").nth(1)?.split('"').next()?.parse().ok())
            .collect();
        // The first is that of the legend.
        let [_, one, two, eight] = rates[..] else {
            panic!("{svg}")
        };
        assert!(two < eight && eight < one, "{rates:?}");
        assert!(!svg.contains("class=\"chosen\""), "{svg}");
    }

    #[test]
    fn nothing_and_a_single_size_are_drawn_too() {
        for levels in [
            vec![],
            vec![level(4, &[0.0], 0.0)],
            vec![level(4, &[5.0], 1.0)],
        ] {
            let svg = picture(&levels, levels.first().map(|level| level.size));
            assert!(is_well_formed(&svg), "{svg}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn a_scale_ends_above_the_largest_value_in_round_steps() {
        for most in [0.003, 0.7, 1.0, 9.9, 10.1, 43_113.0, 2.5e6] {
            let levels = [level(1, &[1.0], most)];
            let mut panel = Panel::new(&levels, 0.0, "");
            panel.line("call", Mark::Circle, |level| level.call_ms.p99);
            let (step, steps) = panel.scale();
            assert!(
                step * f64::from(steps) >= most * 0.999,
                "{most}: {step} {steps}"
            );
            assert!((1..=6).contains(&steps), "{most}: {step} {steps}");
        }
    }

    #[test]
    fn a_long_subject_is_cut() {
        assert_eq!(shortened("abc", 3), "abc");
        assert_eq!(shortened("äbcd", 3), "äb…");
    }
}

//! The answer, as a person reads it and as a program does.

use serde::Serialize;

use crate::advice::{Advice, Confidence, Verdict};
use crate::law::Law;
use crate::level::Level;
use crate::load::Load;
use crate::plot::{Glyphs, number, plot};
use crate::ramp::Ramp;
use crate::svg::Picture;

/// All that is told.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) database: String,
    pub(crate) query: String,
    tasks: u32,
    think_ms: f64,
    seconds: f64,
    rounds: u32,
    /// False if Ctrl-C ended it.
    complete: bool,
    notes: Vec<String>,
    levels: Vec<Level>,
    law: Option<Law>,
    /// Where the law has its highest throughput.
    peak: Option<f64>,
    advice: Advice,
    processes: u32,
    /// What to set in each of the processes.
    set: Option<u32>,
}

/// What the measure was told, beside the load.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) database: String,
    pub(crate) query: String,
    pub(crate) rounds: u32,
    pub(crate) within: f64,
    pub(crate) processes: u32,
}

impl Report {
    pub(crate) fn new(asked: Asked, load: &Load, ramp: Ramp) -> Self {
        let advice = Advice::of(&ramp.levels, asked.within);
        let law = Law::fit(&ramp.levels).filter(|law| law.explains >= EXPLAINS);
        Self {
            database: asked.database,
            query: asked.query,
            tasks: load.tasks,
            think_ms: load.think.as_secs_f64() * 1e3,
            seconds: load.seconds.as_secs_f64(),
            rounds: asked.rounds,
            complete: ramp.is_complete,
            notes: ramp.notes,
            peak: law.and_then(|law| law.peak()),
            law,
            set: advice.size.map(|size| size.div_ceil(asked.processes)),
            processes: asked.processes,
            advice,
            levels: ramp.levels,
        }
    }

    /// One line of JSON.
    ///
    /// # Errors
    /// Never in practice: every field is a number or a text.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    pub(crate) fn svg(&self) -> String {
        let subject = format!("{}, {}", self.query, self.database);
        let picture = Picture {
            subject: &subject,
            answer: &self.answer(),
            levels: &self.levels,
            chosen: self.advice.size,
            law: self.law,
        };
        picture.svg()
    }

    /// The picture, the figures and the answer, no line longer than `columns` where that can be.
    pub(crate) fn text(&self, columns: usize, glyphs: Glyphs) -> String {
        let think = if self.think_ms > 0.0 {
            format!(", each pauses {} ms after an answer", number(self.think_ms))
        } else {
            ", each asks again at once".to_owned()
        };
        let head = format!(
            "{} on {}. {} tasks{think}; {} rounds, {} s at each size.",
            self.query, self.database, self.tasks, self.rounds, self.seconds
        );
        let mut blocks = vec![
            wrapped(&head, columns),
            plot(&self.levels, self.advice.size, columns, glyphs),
            self.figures(),
            wrapped(&self.answer(), columns),
        ];
        let law = self.law_told();
        for sentence in self.advice.why.iter().chain(&law).chain(&self.notes) {
            blocks.push(wrapped(sentence, columns));
        }
        if let (Some(set), Some(size)) = (self.set, self.advice.size) {
            blocks.push(self.told_to_set(set, size, columns));
        }
        blocks.join("\n\n")
    }

    /// In one sentence.
    fn answer(&self) -> String {
        let confidence = match self.advice.confidence {
            Confidence::High => "each round by itself says the same, or its neighbour".to_owned(),
            Confidence::Low => format!(
                "not sure: the rounds by themselves say {}",
                listed(&self.advice.each_round)
            ),
            Confidence::None => "one round does not tell how sure that is".to_owned(),
        };
        match (self.advice.verdict, self.advice.size) {
            (Verdict::Knee, Some(size)) => {
                format!("{size} connections are enough ({confidence}).")
            }
            (Verdict::StillRising, Some(size)) => {
                format!(
                    "At least {size} connections ({confidence}): measure more, with a larger --max or --sizes."
                )
            }
            _ => "There is not enough data for an answer.".to_owned(),
        }
    }

    fn told_to_set(&self, set: u32, size: u32, columns: usize) -> String {
        let level = self.levels.iter().find(|level| level.size == size);
        let in_use = level.map_or(0.0, Level::in_use);
        let mut told = wrapped(
            &format!(
                "By Little's law {} of them are in use at a time ({} queries a second, {} ms each on average).",
                number(in_use),
                number(level.map_or(0.0, |level| level.per_second)),
                number(level.map_or(0.0, |level| level.query_ms.mean)),
            ),
            columns,
        );
        told.push_str(&format!("\n\n  POOL_DB_MAX_SIZE={set}\n\n"));
        let shares = if self.processes == 1 {
            format!(
                "That is for one process. The server sees all of them: with {} processes each gets {} (--processes says how many there are).",
                4,
                size.div_ceil(4)
            )
        } else {
            format!(
                "In each of {} processes, which share the {size} that the server can use.",
                self.processes
            )
        };
        told.push_str(&wrapped(&shares, columns));
        told
    }

    /// The numbers of the picture, and more of them.
    fn figures(&self) -> String {
        let titles = [
            "size",
            "queries/s",
            "rounds",
            "call p50",
            "p99",
            "wait p50",
            "p99",
            "query p50",
            "p99 ms",
            "errors",
        ];
        let mut rows = vec![titles.map(str::to_owned)];
        for level in &self.levels {
            rows.push([
                level.size.to_string(),
                number(level.per_second),
                format!("±{:.0} %", level.noise * 100.0),
                number(level.call_ms.p50),
                number(level.call_ms.p99),
                number(level.wait_ms.p50),
                number(level.wait_ms.p99),
                number(level.query_ms.p50),
                number(level.query_ms.p99),
                level.errors.to_string(),
            ]);
        }
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..titles.len()).map(width).collect();
        let lines = rows.iter().map(|row| {
            let cells = row.iter().zip(&widths);
            let cells = cells.map(|(cell, width)| format!("{cell:>width$}"));
            cells.collect::<Vec<_>>().join("  ")
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// What the law says beside the rule.
    fn law_told(&self) -> Option<String> {
        let law = self.law?;
        let peak = match self.peak {
            Some(peak) => format!("it has its peak at {peak:.0}"),
            None => "it has no peak".to_owned(),
        };
        Some(format!(
            "The Universal Scalability Law fits these figures (R² {:.2}): {:.1} % of the work is done by one at a time, {:.3} % is lost to each \
             pair that disturbs each other, and {peak}.",
            law.explains,
            law.contention * 100.0,
            law.crosstalk * 100.0,
        ))
    }
}

fn listed(sizes: &[u32]) -> String {
    let sizes: Vec<String> = sizes.iter().map(u32::to_string).collect();
    sizes.join(", ")
}

/// Broken between words. A word that is longer than a line has a line of its own.
fn wrapped(text: &str, columns: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

/// A fit that explains less is not shown.
const EXPLAINS: f64 = 0.9;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::level::tests::level;
    use crate::values::Values;

    fn report(rates: &[(u32, f64)], processes: u32) -> Report {
        let asked = Asked {
            database: "a database".to_owned(),
            query: "SELECT 1".to_owned(),
            rounds: 2,
            within: 0.05,
            processes,
        };
        let load = Load {
            tasks: 64,
            think: Duration::from_millis(5),
            seconds: Duration::from_secs(1),
            values: Arc::new(Values::none()),
        };
        let levels = rates
            .iter()
            .map(|(size, rate)| level(*size, &[*rate, *rate], 8.0));
        let ramp = Ramp {
            levels: levels.collect(),
            notes: vec!["Ctrl-C ended it in round 2 of 2.".to_owned()],
            is_complete: false,
        };
        Report::new(asked, &load, ramp)
    }

    const CURVE: [(u32, f64); 5] = [(1, 1e3), (2, 1.9e3), (4, 3e3), (8, 3.1e3), (16, 2.5e3)];

    #[test]
    fn a_person_is_told_what_to_set_and_why() {
        let text = report(&CURVE, 1).text(80, Glyphs::Ascii);
        for part in [
            "SELECT 1 on a database. 64 tasks, each pauses 5.00 ms after an answer;",
            "\n>    4 ",
            "4 connections are enough (each round by itself says the same",
            "\n\n  POOL_DB_MAX_SIZE=4\n\n",
            "with 4 processes each gets 1",
            "Universal Scalability Law",
            "Ctrl-C ended it",
            "Little's law",
        ] {
            let is_there = text.contains(part) || text.replace('\n', " ").contains(part);
            assert!(is_there, "{part}: {text}");
        }
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 100, "{text}");
    }

    #[test]
    fn processes_share_what_the_server_can_use() {
        let report = report(&CURVE, 3);
        assert_eq!((report.advice.size, report.set), (Some(4), Some(2)));
        let text = report.text(80, Glyphs::Unicode);
        assert!(text.contains("POOL_DB_MAX_SIZE=2"), "{text}");
        let flat = text.replace('\n', " ");
        assert!(
            flat.contains("In each of 3 processes, which share the 4"),
            "{text}"
        );
    }

    #[test]
    fn without_an_answer_nothing_is_to_be_set() {
        let report = report(&CURVE[..2], 1);
        let text = report.text(80, Glyphs::Unicode);
        assert!(text.contains("not enough data"), "{text}");
        assert!(!text.contains("POOL_DB_MAX_SIZE"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert_eq!(json["advice"]["verdict"], "not_enough_data");
        assert!(json["set"].is_null() && json["law"].is_null());
    }

    #[test]
    fn a_program_reads_the_same() {
        let json: serde_json::Value =
            serde_json::from_str(&report(&CURVE, 2).json().unwrap()).unwrap();
        assert_eq!(json["advice"]["size"], 4);
        assert_eq!(json["advice"]["confidence"], "high");
        assert_eq!(
            (&json["set"], &json["complete"]),
            (&2.into(), &false.into())
        );
        assert_eq!(json["levels"][2]["per_second"], 3000.0);
        assert_eq!(json["levels"][2]["call_ms"]["p99"], 8.0);
        assert_eq!(json["levels"][2]["rounds"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrapped("aa bb  cc", 5), "aa bb\ncc");
        assert_eq!(wrapped("aaaaaaa b", 3), "aaaaaaa\nb");
    }
}

//! Which size to take, why, and how sure that is.
//!
//! The knee is the smallest size whose throughput cannot be told from the best one: the least that gets all that there is to get.
//! That is the knee of Raj Jain ("The Art of Computer Systems Performance Analysis", 1991, 3.3), chosen as the one-standard-error rule
//! chooses among models (Breiman, Friedman, Olshen, Stone: "Classification and Regression Trees", 1984): of what is as good as the
//! best, within the noise of the measure, take the simplest.

use serde::Serialize;

use crate::level::{Level, median};

/// What is advised.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Advice {
    pub(crate) verdict: Verdict,
    /// The size to set. None where the verdict is [`Verdict::NotEnoughData`].
    pub(crate) size: Option<u32>,
    pub(crate) confidence: Confidence,
    /// The size with the highest throughput.
    pub(crate) best: Option<u32>,
    /// Throughputs that are apart by less than this part of the best one count as the same.
    pub(crate) tolerance: f64,
    /// How far rounds of the same size are apart, in the middle of all sizes.
    pub(crate) noise: f64,
    /// What each round by itself would have chosen.
    pub(crate) each_round: Vec<u32>,
    /// Sentences.
    pub(crate) why: Vec<String>,
}

/// What kind of answer that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// More connections bring nothing.
    Knee,
    /// The throughput still rises at the largest size.
    StillRising,
    /// What was measured says nothing.
    NotEnoughData,
}

/// How sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Confidence {
    /// Each round by itself would have chosen this size or its neighbour.
    High,
    /// The rounds do not agree.
    Low,
    /// There was one round, or there is no answer.
    None,
}

impl Advice {
    /// `within` is the part of the throughput that is given up for fewer connections, at least; the noise may make it more.
    pub(crate) fn of(levels: &[Level], within: f64) -> Self {
        let sound: Vec<&Level> = levels.iter().filter(|level| is_sound(level)).collect();
        let noises: Vec<f64> = sound.iter().map(|level| level.noise).collect();
        let noise = median(&noises).unwrap_or(0.0);
        let tolerance = within.max(noise);
        let mut advice = Self {
            verdict: Verdict::NotEnoughData,
            size: None,
            confidence: Confidence::None,
            best: best(&sound, |level| level.per_second).map(|level| level.size),
            tolerance,
            noise,
            each_round: Vec::new(),
            why: Vec::new(),
        };
        for level in levels.iter().filter(|level| !is_sound(level)) {
            advice.why.push(unsound(level));
        }
        if let Some(lack) = lack(&sound, noise) {
            advice.why.push(lack);
            return advice;
        }
        if let Some(knee) = knee(&sound, tolerance, |level| level.per_second) {
            advice.choose(&sound, knee);
        }
        advice
    }

    fn choose(&mut self, sound: &[&Level], knee: &Level) {
        let smallest_p99 = plateau(sound, self.tolerance, |level| level.per_second)
            .map(|level| level.call_ms.p99)
            .fold(f64::MAX, f64::min);
        let calm = |level: &&&Level| level.call_ms.p99 <= smallest_p99 * TAIL;
        let chosen = plateau(sound, self.tolerance, |level| level.per_second)
            .find(|level| calm(&level))
            .unwrap_or(knee);
        let rounds = sound.iter().map(|level| level.rounds.len()).min();
        for round in 0..rounds.unwrap_or(0) {
            if let Some(level) = knee_of_round(sound, self.tolerance, round) {
                self.each_round.push(level.size);
            }
        }
        self.size = Some(chosen.size);
        let place = |size| sound.iter().position(|level| level.size == size);
        let near = |size: &u32| match (place(*size), place(knee.size)) {
            (Some(one), Some(other)) => one.abs_diff(other) <= 1,
            _ => false,
        };
        self.confidence = match self.each_round.len() {
            0 | 1 => Confidence::None,
            _ if self.each_round.iter().all(near) => Confidence::High,
            _ => Confidence::Low,
        };
        let largest = sound.last().map(|level| level.size);
        let percent = (self.tolerance * 100.0).round();
        if largest == Some(chosen.size) && largest == self.best {
            self.verdict = Verdict::StillRising;
            self.why.push(format!(
                "The throughput still rises at {}, the largest size that was measured: the knee is there or above it.",
                chosen.size
            ));
        } else {
            self.verdict = Verdict::Knee;
            self.why.push(format!(
                "It is the smallest size within {percent} % of the best throughput (that of {}): more connections bring no more queries.",
                self.best.unwrap_or(chosen.size)
            ));
        }
        if chosen.size != knee.size {
            self.why.push(format!(
                "{} has that throughput too, but its slowest calls (p99) take {:.1} times as long as here.",
                knee.size,
                knee.call_ms.p99 / chosen.call_ms.p99.max(1e-9)
            ));
        }
        if chosen.wait_ms.p99 < chosen.query_ms.p50 / 10.0 {
            self.why.push(
                "Callers hardly wait for a connection at this size, so it is the load (--tasks, --think) that ends here, and not the server: \
                 with more tasks the knee may be higher."
                    .to_owned(),
            );
        }
    }
}

/// Whether so few calls failed that the figures are those of the query.
fn is_sound(level: &Level) -> bool {
    level.per_second > 0.0 && level.errors * 100 <= level.runs
}

fn unsound(level: &Level) -> String {
    let of = level.runs + level.errors;
    match &level.error {
        Some(error) => format!(
            "Size {} does not count: {} of {of} calls failed, the first with: {error}.",
            level.size, level.errors
        ),
        None => format!(
            "Size {} does not count: no query ended in time.",
            level.size
        ),
    }
}

/// Why nothing can be said, if so.
fn lack(sound: &[&Level], noise: f64) -> Option<String> {
    if sound.len() < SIZES {
        return Some(format!(
            "{} sizes were measured, and the shape of a curve shows from {SIZES} on.",
            sound.len()
        ));
    }
    let scarce = sound.iter().min_by_key(|level| level.runs)?;
    if scarce.runs < RUNS {
        return Some(format!(
            "Size {} ran the query {} times in all, and a p99 needs {RUNS}: make --seconds {} times as long.",
            scarce.size,
            scarce.runs,
            RUNS.div_ceil(scarce.runs.max(1)).max(2)
        ));
    }
    if noise > NOISE {
        return Some(format!(
            "Rounds of the same size are {:.0} % off their median: something else uses the machine or the server. Measure when it is \
             quiet, or with longer --seconds.",
            noise * 100.0
        ));
    }
    None
}

fn knee_of_round<'a>(sound: &[&'a Level], tolerance: f64, round: usize) -> Option<&'a Level> {
    knee(sound, tolerance, |level| {
        level.rounds.get(round).copied().unwrap_or(0.0)
    })
}

/// The smallest size that has the best throughput but for `tolerance`.
fn knee<'a>(
    levels: &[&'a Level],
    tolerance: f64,
    rate: impl Fn(&Level) -> f64 + Copy,
) -> Option<&'a Level> {
    plateau(levels, tolerance, rate).next()
}

/// The sizes that have it, the smallest first.
fn plateau<'a>(
    levels: &[&'a Level],
    tolerance: f64,
    rate: impl Fn(&Level) -> f64 + Copy,
) -> impl Iterator<Item = &'a Level> {
    let enough = best(levels, rate).map_or(0.0, rate) * (1.0 - tolerance);
    let levels = levels.iter().copied();
    levels.filter(move |level| rate(level) >= enough)
}

fn best<'a>(levels: &[&'a Level], rate: impl Fn(&Level) -> f64) -> Option<&'a Level> {
    let levels = levels.iter().copied();
    levels.max_by(|one, other| rate(one).total_cmp(&rate(other)))
}

/// Fewer sizes than these have no shape.
const SIZES: usize = 3;
/// Fewer runs than these have no p99.
const RUNS: u64 = 100;
/// With more noise than this nothing is told.
const NOISE: f64 = 0.25;
/// A size whose slowest calls take longer than this many times those of another one with the same throughput is not taken.
const TAIL: f64 = 1.5;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::level::tests::level;

    fn curve(rates: &[(u32, f64)]) -> Vec<Level> {
        let around = |rate: f64| [rate, rate * 1.01, rate * 0.99];
        rates
            .iter()
            .map(|(size, rate)| level(*size, &around(*rate), 10.0))
            .collect()
    }

    fn says(advice: &Advice, part: &str) -> bool {
        advice.why.iter().any(|why| why.contains(part))
    }

    #[test]
    fn the_knee_is_the_smallest_size_that_has_the_best_throughput() {
        let levels = curve(&[
            (1, 1e3),
            (2, 2e3),
            (4, 3.9e3),
            (8, 4e3),
            (16, 4.05e3),
            (32, 3.5e3),
        ]);
        let advice = Advice::of(&levels, 0.05);
        assert_eq!((advice.verdict, advice.size), (Verdict::Knee, Some(4)));
        assert_eq!(
            (advice.best, advice.confidence),
            (Some(16), Confidence::High)
        );
        assert_eq!(advice.each_round, [4, 4, 4]);
        assert!(says(&advice, "within 5 %"), "{advice:?}");
    }

    #[test]
    fn one_connection_may_be_all_that_it_takes() {
        let levels = curve(&[(1, 1e3), (2, 9e2), (4, 8e2)]);
        let advice = Advice::of(&levels, 0.05);
        assert_eq!((advice.verdict, advice.size), (Verdict::Knee, Some(1)));
    }

    #[test]
    fn what_still_rises_has_its_knee_beyond() {
        let levels = curve(&[(1, 1e3), (2, 2e3), (4, 4e3), (8, 8e3)]);
        let advice = Advice::of(&levels, 0.05);
        assert_eq!(
            (advice.verdict, advice.size),
            (Verdict::StillRising, Some(8))
        );
        assert!(
            says(&advice, "the largest size that was measured"),
            "{advice:?}"
        );
    }

    #[test]
    fn a_size_with_a_long_tail_gives_way_to_one_without() {
        let mut levels = curve(&[(1, 1e3), (2, 3.9e3), (4, 4e3), (8, 4e3)]);
        levels[1].call_ms.p99 = 16.0;
        let advice = Advice::of(&levels, 0.05);
        assert_eq!((advice.verdict, advice.size), (Verdict::Knee, Some(4)));
        assert!(says(&advice, "2 has that throughput too"), "{advice:?}");
        levels[1].call_ms.p99 = 14.0;
        assert_eq!(Advice::of(&levels, 0.05).size, Some(2));
    }

    #[test]
    fn differences_within_the_noise_count_for_nothing() {
        let rounds = |rate: f64| [rate * 0.85, rate, rate * 1.15];
        let levels: Vec<Level> = [(1, 500.0), (2, 900.0), (4, 1000.0), (8, 980.0)]
            .map(|(size, rate)| level(size, &rounds(rate), 10.0))
            .into();
        let advice = Advice::of(&levels, 0.05);
        assert_eq!((advice.size, advice.verdict), (Some(2), Verdict::Knee));
        assert!((advice.tolerance - 0.15).abs() < 0.01, "{advice:?}");
    }

    #[test]
    fn rounds_that_do_not_agree_are_told() {
        let levels = vec![
            level(1, &[1000.0, 500.0, 1000.0], 10.0),
            level(2, &[900.0, 900.0, 900.0], 10.0),
            level(4, &[900.0, 1000.0, 950.0], 10.0),
            level(8, &[800.0, 1000.0, 960.0], 10.0),
            level(16, &[800.0, 1300.0, 970.0], 10.0),
        ];
        let advice = Advice::of(&levels, 0.05);
        assert_eq!(advice.each_round, [1, 16, 1]);
        assert_eq!(advice.confidence, Confidence::Low, "{advice:?}");
        let one: Vec<Level> = [(1, 500.0), (2, 900.0), (4, 900.0)]
            .map(|(size, rate)| level(size, &[rate], 10.0))
            .into();
        assert_eq!(Advice::of(&one, 0.05).confidence, Confidence::None);
    }

    #[test]
    fn too_little_to_say_anything_is_an_answer() {
        let two = curve(&[(1, 1e3), (2, 2e3)]);
        let scarce = curve(&[(1, 10.0), (2, 20.0), (4, 40.0)]);
        let wild: Vec<Level> = [1, 2, 4]
            .map(|size| level(size, &[500.0, 1000.0, 2000.0], 1.0))
            .into();
        for (levels, why) in [
            (&[][..], "0 sizes"),
            (&two, "2 sizes"),
            (&scarce, "--seconds 4 times"),
            (&wild, "something else uses"),
        ] {
            let advice = Advice::of(levels, 0.05);
            assert_eq!(
                (advice.verdict, advice.size),
                (Verdict::NotEnoughData, None)
            );
            assert!(says(&advice, why), "{advice:?}");
        }
    }

    #[test]
    fn a_size_whose_calls_fail_does_not_count() {
        let mut levels = curve(&[(1, 1e3), (2, 2e3), (4, 2.01e3), (8, 9e3)]);
        levels[3].errors = 400;
        levels[3].error = Some("too many connections".to_owned());
        let advice = Advice::of(&levels, 0.05);
        assert_eq!((advice.size, advice.best), (Some(2), Some(4)));
        assert!(
            says(&advice, "the first with: too many connections"),
            "{advice:?}"
        );
        let idle = level(16, &[0.0], 0.0);
        levels.push(idle);
        assert!(says(&Advice::of(&levels, 0.05), "Size 16 does not count"));
    }

    #[test]
    fn a_load_that_does_not_fill_the_pool_is_told() {
        let mut levels = curve(&[(1, 1e3), (2, 2e3), (4, 2e3)]);
        assert!(!says(&Advice::of(&levels, 0.05), "--tasks"));
        levels[1].wait_ms.p99 = 0.1;
        assert!(says(&Advice::of(&levels, 0.05), "--tasks"));
    }
}

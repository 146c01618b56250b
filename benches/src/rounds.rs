//! Fair turns on a machine that is never quiet, and what to make of the figures.
//!
//! One long run a contestant would charge each with whatever else the machine did meanwhile. Short
//! rounds spread that over all of them, and the median forgets the worst of it.

/// Runs every contestant once a round, and starts each round one contestant further on, so that
/// none always follows the same neighbour. Gives each contestant's results, in the order given.
///
/// ```
/// # use benches::rounds::interleave;
/// let mut order = String::new();
/// let results = interleave(2, &['a', 'b'], |name| {
///     order.push(name);
///     Ok::<_, std::convert::Infallible>(order.len())
/// });
/// assert_eq!(results, Ok(vec![vec![1, 4], vec![2, 3]]));
/// assert_eq!(order, "abba");
/// ```
///
/// # Errors
/// The first error of a contestant, which ends the rounds.
pub fn interleave<C: Copy, T, E>(
    rounds: usize,
    contestants: &[C],
    mut run: impl FnMut(C) -> Result<T, E>,
) -> Result<Vec<Vec<T>>, E> {
    let mut results: Vec<Vec<T>> = contestants.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for turn in 0..contestants.len() {
            let place = (round + turn) % contestants.len();
            results[place].push(run(contestants[place])?);
        }
    }
    Ok(results)
}

/// The middle of `samples`, or the mean of the two in the middle; 0 of none.
///
/// ```
/// # use benches::rounds::median;
/// assert_eq!(median([9.0, 1.0, 2.0]), 2.0);
/// assert_eq!(median([4.0, 1.0]), 2.5);
/// ```
#[must_use]
pub fn median(samples: impl IntoIterator<Item = f64>) -> f64 {
    let mut samples: Vec<f64> = samples.into_iter().collect();
    samples.sort_by(f64::total_cmp);
    let middle = samples.len() / 2;
    match samples.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => samples[middle],
        _ => (samples[middle - 1] + samples[middle]) / 2.0,
    }
}

/// The smallest sample that at least `share` (0 to 1) of all are not above; 0 of none.
///
/// ```
/// # use benches::rounds::percentile;
/// let waits: Vec<u64> = (1..=1000).collect();
/// assert_eq!(percentile(&waits, 0.5), 500);
/// assert_eq!(percentile(&waits, 0.999), 999);
/// ```
#[must_use]
pub fn percentile(sorted: &[u64], share: f64) -> u64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    match sorted.len() {
        0 => 0,
        len => sorted[rank.clamp(1, len) - 1],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contestant_comes_first_in_turn() {
        let mut order = Vec::new();
        let results = interleave(3, &[0, 1, 2], |name| {
            order.push(name);
            Ok::<_, ()>(name)
        });
        assert_eq!(order, [0, 1, 2, 1, 2, 0, 2, 0, 1]);
        assert_eq!(results, Ok(vec![vec![0; 3], vec![1; 3], vec![2; 3]]));
    }

    #[test]
    fn an_error_ends_the_rounds() {
        let mut turns = 0;
        let results = interleave(5, &["good", "bad"], |name| {
            turns += 1;
            if name == "bad" { Err("no") } else { Ok(()) }
        });
        assert_eq!(results, Err("no"));
        assert_eq!(turns, 2);
    }

    #[test]
    fn a_median_is_not_moved_by_one_wild_round() {
        assert_eq!(median([10.0, 11.0, 9.0, 10.0, 9000.0]), 10.0);
        assert_eq!(median([3.0]), 3.0);
        assert_eq!(median([]), 0.0);
    }

    #[test]
    fn a_percentile_is_a_sample_that_was_taken() {
        assert_eq!(percentile(&[7], 0.999), 7);
        assert_eq!(percentile(&[1, 2], 0.5), 1);
        assert_eq!(percentile(&[1, 2], 0.51), 2);
        assert_eq!(percentile(&[1, 2, 3], 0.0), 1);
        assert_eq!(percentile(&[1, 2, 3], 1.0), 3);
        assert_eq!(percentile(&[], 0.5), 0);
    }
}

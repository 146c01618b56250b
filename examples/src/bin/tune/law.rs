//! The Universal Scalability Law, fitted to what was measured.
//!
//! Neil J. Gunther: "Guerrilla Capacity Planning", Springer 2007; "A General Theory of Computational Scalability Based on Rational
//! Functions", arXiv:0808.1431. With `n` connections the throughput is
//!
//! ```text
//! X(n) = rate * n / (1 + contention * (n - 1) + crosstalk * n * (n - 1))
//! ```
//!
//! `contention` is the part of the work that only one can do at a time (Amdahl's law, which bounds the throughput). `crosstalk` is
//! what each pair costs each other (caches, locks that bounce), and makes the throughput fall again.

use serde::Serialize;

use crate::level::Level;

/// The law, with the coefficients that fit best.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Law {
    /// What one connection does by itself, in queries a second.
    pub(crate) rate: f64,
    /// Gunther's sigma.
    pub(crate) contention: f64,
    /// Gunther's kappa.
    pub(crate) crosstalk: f64,
    /// How much of what differs between the sizes the law explains: R², 1 is all of it.
    pub(crate) explains: f64,
}

impl Law {
    /// None for fewer than four sizes, as the law has three coefficients, and where nothing fits.
    ///
    /// `n / X(n)` is linear in the coefficients, so this is a linear least squares fit. Each equation is divided by its right side, so that
    /// one percent off counts the same at each size. No coefficient is negative: one that would be is left out.
    pub(crate) fn fit(levels: &[Level]) -> Option<Self> {
        let points: Vec<(f64, f64)> = levels
            .iter()
            .filter(|level| level.per_second > 0.0)
            .map(|level| (f64::from(level.size), level.per_second))
            .collect();
        if points.len() < 4 {
            return None;
        }
        let subsets = [[true, true], [true, false], [false, true], [false, false]];
        let laws = subsets
            .into_iter()
            .filter_map(|terms| Self::with(&points, terms));
        let best = laws.max_by(|one, other| one.explains.total_cmp(&other.explains))?;
        best.explains.is_finite().then_some(best)
    }

    fn with(points: &[(f64, f64)], terms: [bool; 2]) -> Option<Self> {
        let mut normal = [[0.0; 4]; 3];
        for (n, rate) in points {
            let time = n / rate;
            let term = |used: bool, value: f64| if used { value / time } else { 0.0 };
            let row = [
                1.0 / time,
                term(terms[0], n - 1.0),
                term(terms[1], n * (n - 1.0)),
            ];
            for (i, line) in normal.iter_mut().enumerate() {
                for (cell, other) in line.iter_mut().zip(row.into_iter().chain([1.0])) {
                    *cell += row[i] * other;
                }
            }
        }
        for (i, used) in [(1, terms[0]), (2, terms[1])] {
            if !used {
                normal[i][i] = 1.0;
            }
        }
        let [base, contention, crosstalk] = solved(normal)?;
        if base <= 0.0 || contention < 0.0 || crosstalk < 0.0 {
            return None;
        }
        let mut law = Self {
            rate: 1.0 / base,
            contention: contention / base,
            crosstalk: crosstalk / base,
            explains: 0.0,
        };
        let mean = points.iter().map(|(_, rate)| rate).sum::<f64>() / points.len() as f64;
        let squares = |of: &dyn Fn(f64) -> f64| {
            let off = points.iter().map(|(n, rate)| (rate - of(*n)).powi(2));
            off.sum::<f64>()
        };
        let (left, whole) = (squares(&|n| law.at(n)), squares(&|_| mean));
        law.explains = if whole > 0.0 { 1.0 - left / whole } else { 1.0 };
        Some(law)
    }

    /// The throughput that the law says for `n` connections.
    pub(crate) fn at(&self, n: f64) -> f64 {
        self.rate * n / (1.0 + self.contention * (n - 1.0) + self.crosstalk * n * (n - 1.0))
    }

    /// With how many connections the throughput is highest. None where it only ever rises.
    pub(crate) fn peak(&self) -> Option<f64> {
        if self.contention >= 1.0 {
            return Some(1.0);
        }
        let peak = ((1.0 - self.contention) / self.crosstalk).sqrt();
        // Beyond this it is flat for all that can be measured.
        (peak < 1e4).then(|| peak.max(1.0))
    }
}

/// Solves three linear equations by Gauss's elimination. None where they have not one solution.
fn solved(mut rows: [[f64; 4]; 3]) -> Option<[f64; 3]> {
    for column in 0..3 {
        let pivot = (column..3).max_by(|one, other| {
            rows[*one][column]
                .abs()
                .total_cmp(&rows[*other][column].abs())
        })?;
        rows.swap(column, pivot);
        if rows[column][column].abs() < 1e-300 {
            return None;
        }
        for row in 0..3 {
            if row != column {
                let factor = rows[row][column] / rows[column][column];
                let pivot = rows[column];
                for (cell, above) in rows[row].iter_mut().zip(pivot) {
                    *cell -= factor * above;
                }
            }
        }
    }
    let solution = [0, 1, 2].map(|i| rows[i][3] / rows[i][i]);
    solution.iter().all(|x| x.is_finite()).then_some(solution)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::level::tests::level;

    const SIZES: [u32; 8] = [1, 2, 3, 4, 6, 8, 16, 32];

    fn levels(law: &Law) -> Vec<Level> {
        let exact = |size: u32| Level {
            per_second: law.at(f64::from(size)),
            ..level(size, &[1.0], 1.0)
        };
        SIZES.into_iter().map(exact).collect()
    }

    fn law(contention: f64, crosstalk: f64) -> Law {
        Law {
            rate: 1000.0,
            contention,
            crosstalk,
            explains: 1.0,
        }
    }

    #[test]
    fn the_coefficients_that_made_the_points_are_found_again() {
        for made in [
            law(0.05, 0.002),
            law(0.3, 0.0),
            law(0.0, 0.01),
            law(0.0, 0.0),
        ] {
            let found = Law::fit(&levels(&made)).unwrap();
            assert!((found.rate / made.rate - 1.0).abs() < 1e-6, "{found:?}");
            assert!(
                (found.contention - made.contention).abs() < 1e-6,
                "{found:?}"
            );
            assert!((found.crosstalk - made.crosstalk).abs() < 1e-6, "{found:?}");
            assert!(found.explains > 0.999, "{found:?}");
        }
    }

    #[test]
    fn the_peak_is_where_the_throughput_is_highest() {
        let law = law(0.1, 0.001);
        let peak = law.peak().unwrap();
        assert!((peak - 30.0).abs() < 1e-9);
        assert!(law.at(peak) > law.at(peak + 1.0) && law.at(peak) > law.at(peak - 1.0));
    }

    #[test]
    fn what_only_rises_has_no_peak_and_what_only_falls_has_it_at_one() {
        assert_eq!(law(0.1, 0.0).peak(), None);
        assert_eq!(law(0.0, 0.0).peak(), None);
        assert_eq!(law(1.5, 0.1).peak(), Some(1.0));
        assert_eq!(law(0.9, 50.0).peak(), Some(1.0));
    }

    #[test]
    fn too_few_sizes_fit_nothing() {
        let levels = levels(&law(0.1, 0.001));
        assert!(Law::fit(&levels[..3]).is_none());
        assert!(Law::fit(&[]).is_none());
        let idle: Vec<Level> = SIZES.map(|size| level(size, &[0.0], 0.0)).into();
        assert!(Law::fit(&idle).is_none());
    }

    #[test]
    fn what_is_faster_than_linear_is_fitted_without_negative_coefficients() {
        let levels: Vec<Level> = SIZES
            .map(|size| level(size, &[f64::from(size).powf(1.2) * 100.0], 1.0))
            .into();
        let found = Law::fit(&levels).unwrap();
        assert!(
            found.contention >= 0.0 && found.crosstalk >= 0.0,
            "{found:?}"
        );
    }
}

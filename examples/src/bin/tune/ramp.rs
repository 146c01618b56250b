//! The ramp: each size in turn, in several rounds.

use std::time::Duration;

use indicatif::ProgressBar;

use crate::failure::{Failure, reason};
use crate::level::{Level, Window};
use crate::load::{CLOSE, Load};
use crate::signals::Signals;
use crate::target::Target;

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Ramp {
    /// The sizes that were measured, the smallest first.
    pub(crate) levels: Vec<Level>,
    /// What the reader must know of how it went.
    pub(crate) notes: Vec<String>,
    /// Whether all of it was measured.
    pub(crate) is_complete: bool,
}

/// Measures each of the sizes once a round. Every other round goes down, so that what changes with time (caches that fill, a machine
/// that slows down) does not look like an effect of the size.
///
/// # Errors
/// When nothing was measured.
pub(crate) async fn climb<T: Target>(
    target: &T,
    load: &Load,
    sizes: &[u32],
    rounds: u32,
    signals: &mut Signals,
    bar: &ProgressBar,
) -> Result<Ramp, Failure> {
    let mut windows: Vec<(u32, Vec<Window>)> =
        sizes.iter().map(|size| (*size, Vec::new())).collect();
    let mut ramp = Ramp {
        is_complete: true,
        ..Ramp::default()
    };
    'rounds: for round in 0..rounds {
        let count = windows.len();
        for step in 0..count {
            let place = if round.is_multiple_of(2) {
                step
            } else {
                count - 1 - step
            };
            let Some((size, measured)) = windows.get_mut(place) else {
                break; // There is no room for it.
            };
            bar.set_message(format!("round {} of {rounds}, size {size}", round + 1));
            let outcome = tokio::select! {
                biased;
                signal = signals.next() => {
                    let note = format!("{signal} ended it in round {} of {rounds}.", round + 1);
                    ramp.notes.push(note);
                    ramp.is_complete = false;
                    break 'rounds;
                }
                outcome = measure(target, load, *size) => outcome,
            };
            bar.inc(1);
            match outcome {
                Ok(window) => measured.push(window),
                Err(Failure::Run(why)) if place > 0 && round == 0 => {
                    ramp.notes.push(format!(
                        "The ramp ends below {size}, as {size} connections could not be opened: {why}."
                    ));
                    windows.truncate(place);
                }
                Err(Failure::Run(why)) if round > 0 => ramp
                    .notes
                    .push(format!("Round {} has no size {size}: {why}.", round + 1)),
                Err(failure) => return Err(failure),
            }
        }
    }
    let levels = windows.iter();
    ramp.levels = levels
        .filter_map(|(size, windows)| Level::of(*size, windows))
        .collect();
    if ramp.levels.is_empty() {
        let notes = ramp.notes.join(" ");
        return Err(Failure::Run(format!("nothing was measured: {notes}")));
    }
    Ok(ramp)
}

/// Measures a pool of its own, and closes it, so that the next one has the server to itself.
async fn measure<T: Target>(target: &T, load: &Load, size: u32) -> Result<Window, Failure> {
    let pool = target
        .pool(size, load.tasks.max(size))
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let outcome = load.on(target, &pool).await;
    drop(pool.drain(CLOSE).await);
    outcome.map_err(|error| Failure::Run(reason(&error)))
}

/// How long it takes, but for connecting.
pub(crate) fn duration(load: &Load, sizes: &[u32], rounds: u32) -> Duration {
    load.seconds.mul_f64(1.25) * rounds * sizes.len() as u32
}

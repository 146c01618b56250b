//! What becomes of a resource that comes back from a lease.

use super::caught;
use crate::observe::CloseReason;

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is good as it is.
    Keep,
    /// It is made clean first.
    Reset,
    Close(CloseReason),
}

/// Asks the manager. A panic in it means that the resource is not to be trusted.
#[inline]
pub(crate) fn verdict<T>(
    item: &mut T,
    tainted: bool,
    is_broken: impl FnOnce(&mut T) -> bool,
    needs_reset: impl FnOnce(&mut T) -> bool,
) -> Verdict {
    let mut asked = CloseReason::Broken;
    let said = caught(|| {
        if is_broken(item) {
            return Verdict::Close(CloseReason::Broken);
        }
        asked = CloseReason::ResetFailed;
        match (needs_reset(item), tainted) {
            (true, _) => Verdict::Reset,
            (false, true) => Verdict::Close(CloseReason::Tainted),
            (false, false) => Verdict::Keep,
        }
    });
    said.unwrap_or(Verdict::Close(asked))
}

/// Asks the manager whether a call on the resource was dropped half-way. A panic in it means that nobody knows.
#[inline]
pub(crate) fn is_interrupted(ask: impl FnOnce() -> bool) -> bool {
    caught(ask).unwrap_or(true)
}

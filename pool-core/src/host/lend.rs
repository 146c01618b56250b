//! Decides what happens to a resource that is returned.

use super::caught;
use crate::observe::CloseReason;

/// What happens to a returned resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The resource is good as it is.
    Keep,
    /// The resource is reset first.
    Reset,
    Close(CloseReason),
}

/// Asks the manager. If the manager panics, the resource is closed.
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

/// Asks the manager whether a call on the resource was dropped before it ended. If the manager panics, the answer is yes.
#[inline]
pub(crate) fn is_interrupted(ask: impl FnOnce() -> bool) -> bool {
    caught(ask).unwrap_or(true)
}

//! The progress of a fan-out.

/// The progress of a fan-out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Items that were started.
    pub started: usize,
    /// Started items that have ended.
    pub done: usize,
    /// Started items that ended with an error.
    pub failed: usize,
    /// The total number of items, if the source knows it.
    pub total: Option<usize>,
}

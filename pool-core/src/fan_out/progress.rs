//! How far a fan-out has come.

/// How far a fan-out has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Items that were taken up.
    pub started: usize,
    /// Of those, how many have ended.
    pub done: usize,
    /// Of those, how many with an error.
    pub failed: usize,
    /// How many there are in all, where the source knows.
    pub total: Option<usize>,
}

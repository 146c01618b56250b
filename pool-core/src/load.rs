//! The load of a shared connection.

/// The load of a connection, by which a get chooses.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) used: u32,
    /// How many shares the connection takes. Not 0.
    pub(crate) of: u32,
    pub(crate) serial: u64,
}

impl Load {
    /// Whether this load is less than `other`, or equal with a younger connection.
    #[inline]
    pub(crate) fn comes_before(self, other: Self) -> bool {
        let ours = u64::from(self.used) * u64::from(other.of);
        let theirs = u64::from(other.used) * u64::from(self.of);
        ours < theirs || (ours == theirs && self.serial > other.serial)
    }
}

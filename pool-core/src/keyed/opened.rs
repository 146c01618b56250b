//! What an open of a [`MixedPool`](super::MixedPool) results in.

use std::fmt;

use super::grant::Lends;

/// What a [`MixedManager`](super::MixedManager) opened: a connection for one caller at a time, or one that many callers share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_enums,
    reason = "a connection is for one caller or for many: callers match on it"
)]
pub enum Opened<O, S> {
    /// A connection for one caller at a time: HTTP/1.1, a database connection.
    One(O),
    /// A connection that many callers share: HTTP/2, a pipeline.
    Many(S),
}

impl<O, S> Opened<O, S> {
    /// Returns the connection of a lease.
    #[inline]
    pub(super) fn one(&self) -> &O {
        match self {
            Self::One(one) => one,
            Self::Many(_) => unreachable!("{LEASED}"),
        }
    }

    /// Returns the connection of a lease.
    #[inline]
    pub(super) fn one_mut(&mut self) -> &mut O {
        match self {
            Self::One(one) => one,
            Self::Many(_) => unreachable!("{LEASED}"),
        }
    }

    /// Returns the connection of a lease that is taken out of the pool.
    pub(super) fn into_one(self) -> O {
        match self {
            Self::One(one) => one,
            Self::Many(_) => unreachable!("{LEASED}"),
        }
    }
}

const LEASED: &str = "a connection that is shared is not leased, checked or reset";

impl<O, S: Clone + fmt::Debug> Lends for Opened<O, S> {
    type Share = S;

    #[inline]
    fn share(&self) -> Option<S> {
        match self {
            Self::One(_) => None,
            Self::Many(shared) => Some(shared.clone()),
        }
    }

    #[inline]
    fn is_shared(&self) -> bool {
        matches!(self, Self::Many(_))
    }
}

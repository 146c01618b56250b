//! The right to one connection of the fleet.

use std::{fmt, sync::Arc};

use super::Member;

/// The right to one connection among those of all processes. Its drop gives the seat back.
///
/// The control session holds the seat's lock for as long as this lives. So the seat stays taken whatever a caller does on the
/// connection itself: another `application_name`, `DISCARD ALL`, `pg_advisory_unlock_all()`.
pub(in super::super) struct Seat {
    member: Arc<Member>,
    /// The number of this right within the process, which is never used again.
    id: u64,
    pub(super) number: u32,
    /// A connection was begun, and it is not known that there is none. The server may still be about to list it.
    pub(super) is_doubtful: bool,
    /// The lock was refused.
    pub(super) is_refused: bool,
}

impl Seat {
    pub(super) const fn new(member: Arc<Member>, id: u64, number: u32) -> Self {
        Self {
            member,
            id,
            number,
            is_doubtful: false,
            is_refused: false,
        }
    }

    pub(super) const fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.is_refused {
            self.member.refused(self.id);
        } else {
            self.member.freed(self.id, self.is_doubtful);
        }
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seat").field(&self.number).finish()
    }
}

//! What shares the connections that a server can serve among the processes that use it. The page for users is `docs/fleet.md`.
//!
//! Each process has one control session, whose name is `shop#0/NEED`, and each pooled connection has a seat, a number in its name:
//! `shop#17`. A seat is taken as long as the server lists a session of that name, or any control session has the seat's advisory
//! lock. The process that has a connection has both. So it stays counted while a caller has renamed the session or has dropped all
//! locks of it, which are another session's; and while the control session is lost, for the name is still there. A process that
//! dies leaves nothing behind that would have to expire: the server ends its sessions.
//!
//! To open a connection, under the pool's own bound:
//!
//! ```text
//! look          n processes; cap = C - max(n + 1, processes); at least `cap` taken: no room
//! lock s        a free seat; refused: another one
//! look again    in a new statement. Taken with s > cap: unlock, no room. s has a session: unlock, another seat
//! connect       as `shop#s`, to the server of the control session
//! look again    s has more than one session, or the lock is gone: close, no room
//! ```
//!
//! Two processes that open at once each have a lock before they look, so at least one of them sees both. The server repeats its
//! first list of sessions within a transaction, so each look is one. The last look is for a process that was stopped between its
//! lock and its connect, for so long that the server has ended its control session.

mod census;
mod control;
mod member;
mod seat;
mod settings;
mod share;
mod status;
mod task;

pub(super) use member::Member;
pub(super) use seat::Seat;
pub use settings::Fleet;
pub use status::{FleetLimit, FleetState, FleetStatus};

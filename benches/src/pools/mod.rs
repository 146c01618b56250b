//! Pools of things: ours, deadpool, bb8 and mobc, beside the least that a pool can do.
//!
//! Each pool is one implementation of one trait, all of them hold the same resource from the same
//! source, and a case is a function that is generic over the trait: what differs between two rows
//! of the report is the pool.
//!
//! | where | what |
//! |---|---|
//! | `peer` | the trait, the resource and its source |
//! | `ours`, `deadpool`, `bb8`, `mobc`, `floor`, `semaphore` | a pool each, at its best settings |
//! | `alone`, `crowd`, `cancel`, `spike` | a kind of work each; `memory` what is taken from the heap |
//! | `case` | which work, how much of it, on which runtime |
//! | `contender` | from a pool's name to its type |
//! | `figure`, `bar`, `report` | what was measured, what it should be, and how it is shown |

mod alone;
mod args;
mod bar;
mod bb8;
mod cancel;
mod case;
mod contender;
mod crowd;
mod deadpool;
mod failure;
mod figure;
mod floor;
mod instructions;
mod memory;
mod mobc;
mod ours;
mod peer;
mod queue;
mod report;
mod run;
mod semaphore;
mod spike;
#[cfg(test)]
mod toy;

pub use run::main;

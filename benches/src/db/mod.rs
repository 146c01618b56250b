//! Pools of database connections: ours, deadpool, bb8 and sqlx, on servers that the bench starts (PostgreSQL, Redis) and on a SQLite file.
//!
//! Each pool is one implementation of one trait, all of them ask for the same rows, and a case is a function that is generic over
//! the trait: what differs between two rows of the report is the pool, and the driver that it comes with.
//!
//! | where | what |
//! |---|---|
//! | `peer` | the traits |
//! | `postgres`, `sqlite` | the pools of each database, at their best settings |
//! | `crowd` | many tasks that look rows up, or do something else |
//! | `select`, `cold`, `mixed`, `group`, `cache`, `ndjson`, `redis` | a kind of work each; the last with its pools |
//! | `fleet` | processes that share a server |
//! | `resident` | the memory of a process |
//! | `server`, `slow`, `file` | the PostgreSQL server, a way to it on which a connect takes long, the SQLite file |
//! | `case` | which work, how much of it |
//! | `contender` | from a pool's name to its type |
//! | `figures`, `bar`, `report` | what was measured, what it should be, and how it is shown |

mod args;
mod bar;
mod cache;
mod case;
mod cold;
mod contender;
mod crowd;
mod failure;
mod figures;
mod file;
mod fleet;
mod group;
mod mixed;
mod ndjson;
mod peer;
mod postgres;
mod redis;
mod report;
mod resident;
mod run;
mod select;
mod server;
mod slow;
mod sqlite;

pub(crate) use run::main;

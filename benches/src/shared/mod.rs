//! What stands beside the pool: permits, fan-out, shared connections, single flight, each beside its
//! measure on the same work.

mod case;
mod keyed;
mod memory;
mod mixed;
mod run;
mod work;

pub use run::main;

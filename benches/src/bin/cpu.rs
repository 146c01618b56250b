//! Measures ways to get work off the executor: `cargo run --release -p benches --bin cpu -- --help`.

use std::process::ExitCode;

use benches::alloc::Counting;

#[path = "../cpu/mod.rs"]
mod cpu;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    cpu::main()
}

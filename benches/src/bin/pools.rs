//! Measures pools of things: `cargo run --release -p benches --bin pools -- --help`.

use std::process::ExitCode;

use benches::alloc::Counting;
use benches::pools;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    pools::main()
}

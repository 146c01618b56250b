//! Measures what stands beside the pool: `cargo run --release -p benches --bin shared -- --help`.

use std::process::ExitCode;

use benches::alloc::Counting;
use benches::shared;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    shared::main()
}

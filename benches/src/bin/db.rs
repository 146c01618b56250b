//! Measures pools of database connections: `cargo run --release -p benches --bin db -- --help`.

use std::process::ExitCode;

#[path = "../db/mod.rs"]
mod db;

fn main() -> ExitCode {
    db::main()
}

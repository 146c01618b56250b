//! Managers of other pools, run by this one.
#![cfg(all(feature = "deadpool", feature = "bb8"))]
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod bb8;
mod deadpool;

use std::fmt;

/// An error as most have it.
#[derive(Debug)]
struct Spoken(&'static str);

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Spoken {}

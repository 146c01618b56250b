//! A parameter that does not fit into its type.

use std::{error::Error, fmt};

/// Why the parameter cannot be sent. Nothing was sent.
#[derive(Debug)]
pub(crate) struct Unfit(pub(crate) String);

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Unfit {}

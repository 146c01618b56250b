//! Why the program ends without having done its job: one line, and the exit code that belongs to it.

use std::error::Error;
use std::fmt;

/// A reason to stop, as it is shown to the user.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What was asked makes no sense: exit code 2.
    Usage(String),
    /// What was asked could not be done: exit code 1.
    Run(String),
}

impl Failure {
    /// "`doing`: the error: what caused it".
    pub(crate) fn run(doing: impl fmt::Display, error: &(dyn Error + 'static)) -> Self {
        Self::Run(format!("{doing}: {}", reason(error)))
    }

    /// The process's exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Run(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Run(text) => f.write_str(text),
        }
    }
}

/// An error and its causes on one line. A cause that has been told already is not told twice.
pub(crate) fn reason(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text.replace('\n', " ")
}

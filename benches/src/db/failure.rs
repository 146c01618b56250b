//! Why a figure could not be had.

use std::error::Error;
use std::fmt;

/// What went wrong, in words, with its causes. Any error becomes one by `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure(String);

impl Failure {
    /// Something that needs its own words.
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// The same, with where it happened in front.
    pub(super) fn at(self, place: impl fmt::Display) -> Self {
        Self(format!("{place}: {self}"))
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut words = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Some errors say their cause themselves.
            if !words.contains(&text) {
                words = format!("{words}: {text}");
            }
            cause = error.source();
        }
        Self(words)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug)]
    struct Outer(&'static str, io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.1)
        }
    }

    #[test]
    fn a_failure_says_each_cause_once() {
        let words = |outer| Failure::from(Outer(outer, io::Error::other("disk gone"))).to_string();
        assert_eq!(words("db error"), "db error: disk gone");
        assert_eq!(words("db error (disk gone)"), "db error (disk gone)");
        let placed = Failure::new("no").at("bb8-postgres in cold1000");
        assert_eq!(placed.to_string(), "bb8-postgres in cold1000: no");
    }
}

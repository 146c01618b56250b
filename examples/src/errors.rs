//! What went wrong during a row.

use std::collections::HashMap;
use std::time::Duration;

/// Errors, counted by what they say. Two texts that differ in their numbers only count as the same, and the first
/// of them is kept.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    kinds: HashMap<String, (u64, String)>,
    slowest: Duration,
}

impl Errors {
    /// Counts an error that came `after` so long.
    pub(crate) fn record(&mut self, text: &str, after: Duration) {
        let kind = self
            .kinds
            .entry(without_numbers(text))
            .or_insert_with(|| (0, text.to_owned()));
        kind.0 += 1;
        self.slowest = self.slowest.max(after);
    }

    pub(crate) fn append(&mut self, other: Self) {
        for (kind, (count, text)) in other.kinds {
            self.kinds.entry(kind).or_insert((0, text)).0 += count;
        }
        self.slowest = self.slowest.max(other.slowest);
    }

    pub(crate) fn count(&self) -> u64 {
        self.kinds.values().map(|(count, _)| count).sum()
    }

    /// How long the slowest of them took to come.
    pub(crate) fn slowest(&self) -> Duration {
        self.slowest
    }

    /// An example of the most frequent kind.
    pub(crate) fn most_common(&self) -> Option<&str> {
        self.kinds
            .values()
            .max_by_key(|(count, _)| *count)
            .map(|(_, text)| text.as_str())
    }
}

fn without_numbers(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_differ_in_numbers_are_one_kind() {
        let mut errors = Errors::default();
        errors.record("refused", Duration::from_millis(3));
        errors.record("waited 2001 ms", Duration::from_millis(2001));
        let mut more = Errors::default();
        more.record("waited 2013 ms", Duration::from_millis(2013));
        errors.append(more);
        assert_eq!(errors.count(), 3);
        assert_eq!(errors.most_common(), Some("waited 2001 ms"));
        assert_eq!(errors.slowest(), Duration::from_millis(2013));
    }

    #[test]
    fn none_is_none() {
        assert_eq!(Errors::default().count(), 0);
        assert_eq!(Errors::default().most_common(), None);
    }
}

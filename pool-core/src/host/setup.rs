//! What every builder has beside its settings: an observer, metric names, and the environments that it read.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

#[cfg(feature = "metrics")]
use crate::observe::MetricNames;
use crate::{config::__Sources, observe::Observer};

/// What every builder has beside its settings.
pub(crate) struct Setup {
    pub(crate) name: Arc<str>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    #[cfg(feature = "metrics")]
    pub(crate) metric_names: MetricNames,
    /// The default name, in place of the default of this crate.
    word: Option<&'static str>,
    /// The key of the whole pool, reported like the field `pool.key` of a keyed pool.
    pub(crate) key: Option<Arc<str>>,
    pub(crate) sources: __Sources,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self {
            name: Arc::default(),
            observer: None,
            #[cfg(feature = "metrics")]
            metric_names: MetricNames::default(),
            word: None,
            key: None,
            sources: __Sources::default(),
        }
    }

    /// Sets the name. Without a given name, takes `default`, with a number appended if another pool has that name. Metrics need
    /// distinct names.
    pub(crate) fn named(mut self, name: Option<&str>, default: &'static str) -> Self {
        let word = self.word.unwrap_or(default);
        self.name = name.map_or_else(|| __name_for(word), Into::into);
        self
    }

    /// Sets the default name, for a pool without a given name.
    pub(crate) fn word(&mut self, word: &'static str) {
        self.word = Some(word);
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Generates the methods of a builder with a field `setup`: the observer and the metric names.
macro_rules! observing {
    () => {
        /// Sets the observer, which the pool notifies of events: see [`Observer`](crate::observe::Observer).
        pub fn observer(mut self, observer: impl crate::observe::Observer) -> Self {
            self.setup.observer = Some(std::sync::Arc::new(observer));
            self
        }

        /// Sets the names under which the pool is published (feature `metrics`). Default:
        /// [`MetricNames::Database`](crate::observe::MetricNames::Database).
        #[cfg(feature = "metrics")]
        pub fn metric_names(mut self, names: crate::observe::MetricNames) -> Self {
            self.setup.metric_names = names;
            self
        }
    };
}
pub(crate) use observing;

/// Returns `default`, or `default` with the lowest number that no other pool has: two pools of one name would overwrite each
/// other's metrics. The name is taken as long as the returned `Arc` is kept. For the crates of this workspace.
#[doc(hidden)]
pub fn __name_for(default: &'static str) -> Arc<str> {
    // For each word, the names that were made of it, by their numbers.
    static NAMES: Mutex<BTreeMap<&str, Vec<Weak<str>>>> = Mutex::new(BTreeMap::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let names = names.entry(default).or_default();
    let free = names.iter().position(|name| name.strong_count() == 0);
    let index = free.unwrap_or(names.len());
    let name: Arc<str> = match index {
        0 => default.into(),
        _ => format!("{default}-{}", index + 1).into(),
    };
    match names.get_mut(index) {
        Some(gone) => *gone = Arc::downgrade(&name),
        None => names.push(Arc::downgrade(&name)),
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_without_a_name_are_told_apart_while_they_are_there() {
        let of = |name: Option<&str>| Setup::new().named(name, "a pool of tests").name;
        let (one, two, three) = (of(None), of(None), of(None));
        assert_eq!(&*one, "a pool of tests");
        assert_eq!((&*two, &*three), ("a pool of tests-2", "a pool of tests-3"));
        drop(two);
        assert_eq!(&*of(None), "a pool of tests-2");
        assert_eq!(
            &*of(Some("a pool of tests")),
            "a pool of tests",
            "as it was given"
        );
    }
    #[test]
    fn thousands_without_a_name_have_a_number_each() {
        let names: Vec<_> = (0..3_000).map(|_| __name_for("many of tests")).collect();
        let apart: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(apart.len(), names.len());
        assert_eq!(&**names.last().unwrap_or(&names[0]), "many of tests-3000");
    }
}

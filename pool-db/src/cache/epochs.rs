//! Which entries are invalid: an invalidation has a number, and what a load found is valid if the load began after it.
//!
//! An entry is judged without a lock: by its own life, by the tags that it holds, and by two numbers of the whole cache. The lock is
//! taken by loads and invalidations only. A load that began before an invalidation can end after it, and have tags that nobody knew
//! before: so a tag is remembered for as long as a load runs that began before the tag was invalidated.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// The invalidations of a cache.
pub(super) struct Epochs<K> {
    /// The number of the last invalidation.
    last: AtomicU64,
    /// What began before this number is invalid.
    cleared: AtomicU64,
    /// What began before this number may be out of date, as messages were missed.
    missed: AtomicU64,
    /// When they were missed.
    missed_at: AtomicU64,
    /// Nothing else is locked while it is held, and no code of the user runs but `Hash` and `Eq` of the keys.
    state: Mutex<State<K>>,
}

struct State<K> {
    /// The load that runs, by key.
    loads: HashMap<K, Arc<Life>>,
    /// How many loads run, by the number at which they began.
    began: BTreeMap<u64, usize>,
    tags: HashMap<Arc<str>, Arc<Tag>>,
    /// So many tags are looked through for those that can be forgotten.
    prune_at: usize,
}

/// The life of what one load found.
#[derive(Debug)]
pub(super) struct Life {
    /// The number of the last invalidation when the load began.
    began: u64,
    dead: AtomicBool,
}

/// A tag, shared by all entries that have it.
#[derive(Debug, Default)]
pub(super) struct Tag {
    /// The number of its last invalidation.
    last: AtomicU64,
}

/// A load that runs. Its key is known to invalidations until this is dropped.
pub(super) struct Running<'a, K: Hash + Eq> {
    epochs: &'a Epochs<K>,
    key: &'a K,
    life: Arc<Life>,
}

/// What decides whether an entry is valid.
#[derive(Debug)]
pub(super) struct Validity {
    life: Arc<Life>,
    tags: Box<[Arc<Tag>]>,
}

impl<K: Hash + Eq + Clone> Epochs<K> {
    pub(super) fn new() -> Self {
        Self {
            last: AtomicU64::new(0),
            cleared: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            missed_at: AtomicU64::new(0),
            state: Mutex::new(State {
                loads: HashMap::new(),
                began: BTreeMap::new(),
                tags: HashMap::new(),
                prune_at: PRUNE_FROM,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the last invalidation.
    pub(super) fn last(&self) -> u64 {
        // Ordering: Acquire pairs with the Release in `next`. Whoever knows that an invalidation ended has its number or a later one.
        self.last.load(Ordering::Acquire)
    }

    /// Takes the next number. The lock is held, so numbers are taken in order.
    fn next(&self, _: &mut State<K>) -> u64 {
        // Ordering: Release, see `last`.
        self.last.fetch_add(1, Ordering::Release) + 1
    }

    /// A load of `key` begins.
    pub(super) fn begin<'a>(&'a self, key: &'a K) -> Running<'a, K> {
        let mut state = self.lock();
        let life = Arc::new(Life {
            began: self.last(),
            dead: AtomicBool::new(false),
        });
        *state.began.entry(life.began).or_default() += 1;
        // A flight has one load a key; the one before, if it were still there, counts among those that began.
        let before = state.loads.insert(key.clone(), Arc::clone(&life));
        drop(state);
        drop(before);
        Running {
            epochs: self,
            key,
            life,
        }
    }

    /// Invalidates what the running load of `key` will find. The caller removes what was found before.
    pub(super) fn invalidate(&self, key: &K) {
        let mut state = self.lock();
        self.next(&mut state);
        if let Some(life) = state.loads.get(key) {
            // Ordering: Release pairs with the Acquire in `is_valid`.
            life.dead.store(true, Ordering::Release);
        }
    }

    /// Invalidates all entries with this tag, and what running loads will find with it.
    pub(super) fn invalidate_tag(&self, tag: &str) {
        let mut state = self.lock();
        let number = self.next(&mut state);
        if let Some(known) = state.tags.get(tag) {
            // Ordering: Release pairs with the Acquire in `is_valid`.
            known.last.store(number, Ordering::Release);
        } else if !state.began.is_empty() {
            let known = Arc::new(Tag::default());
            known.last.store(number, Ordering::Release);
            state.tags.insert(tag.into(), known);
            state.prune();
        }
    }

    /// Invalidates everything.
    pub(super) fn clear(&self) {
        let mut state = self.lock();
        let number = self.next(&mut state);
        // Ordering: Release pairs with the Acquire in `is_valid`.
        self.cleared.store(number, Ordering::Release);
    }

    /// Invalidations may have been missed until now: everything is fresh no longer.
    pub(super) fn missed(&self, now: u64) {
        let mut state = self.lock();
        let number = self.next(&mut state);
        self.missed_at.store(now, Ordering::Relaxed);
        // Ordering: Release pairs with the Acquire in `fresh_until`: whoever sees the number sees the time.
        self.missed.store(number, Ordering::Release);
    }

    /// Whether an entry is valid.
    pub(super) fn is_valid(&self, of: &Validity) -> bool {
        // Ordering: Acquire on all of them. Whoever was told that an invalidation ended sees what it stored.
        let began = of.life.began;
        !of.life.dead.load(Ordering::Acquire)
            && self.cleared.load(Ordering::Acquire) <= began
            && of
                .tags
                .iter()
                .all(|tag| tag.last.load(Ordering::Acquire) <= began)
    }

    /// Until when an entry is fresh that would be so until `fresh_until`.
    pub(super) fn fresh_until(&self, of: &Validity, fresh_until: u64) -> u64 {
        // Ordering: Acquire, see `missed`.
        if self.missed.load(Ordering::Acquire) <= of.life.began {
            return fresh_until;
        }
        fresh_until.min(self.missed_at.load(Ordering::Relaxed))
    }

    /// How many tags are known.
    #[cfg(test)]
    fn tags(&self) -> usize {
        self.lock().tags.len()
    }
}

impl<K> State<K> {
    /// Forgets tags that no entry has, and that no running load can have without knowing of their invalidation.
    fn prune(&mut self) {
        if self.tags.len() < self.prune_at {
            return;
        }
        let oldest = self.began.keys().next().copied().unwrap_or(u64::MAX);
        self.tags.retain(|_, tag| {
            // Ordering: Relaxed. It is stored under this lock.
            Arc::strong_count(tag) > 1 || tag.last.load(Ordering::Relaxed) > oldest
        });
        self.prune_at = PRUNE_FROM.max(2 * self.tags.len());
    }
}

impl<K: Hash + Eq + Clone> Running<'_, K> {
    /// The load found something with these tags. What it found is there, or given up, before this is dropped.
    pub(super) fn found<'t>(&self, tags: impl Iterator<Item = &'t str>) -> Validity {
        let mut state = self.epochs.lock();
        let known = |tag: &str| match state.tags.get(tag) {
            Some(known) => Arc::clone(known),
            None => Arc::clone(state.tags.entry(tag.into()).or_default()),
        };
        let tags = tags.map(known).collect();
        state.prune();
        drop(state);
        Validity {
            life: Arc::clone(&self.life),
            tags,
        }
    }
}

impl<K: Hash + Eq> Drop for Running<'_, K> {
    fn drop(&mut self) {
        let state = self.epochs.state.lock();
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        let mut removed = None;
        if state
            .loads
            .get(self.key)
            .is_some_and(|life| Arc::ptr_eq(life, &self.life))
        {
            removed = state.loads.remove_entry(self.key);
        }
        if let Some(count) = state.began.get_mut(&self.life.began) {
            *count -= 1;
            if *count == 0 {
                state.began.remove(&self.life.began);
            }
        }
        drop(state);
        drop(mem::take(&mut removed));
    }
}

impl Validity {
    /// The number of the last invalidation when the load began.
    pub(super) fn began(&self) -> u64 {
        self.life.began
    }
}

/// Fewer tags are not looked through.
const PRUNE_FROM: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_began_before_an_invalidation_is_invalid_also_by_a_tag_that_comes_later() {
        let epochs = Epochs::new();
        let load = epochs.begin(&1);
        epochs.invalidate_tag("late");
        let other = load.found(["other"].into_iter());
        let late = load.found(["other", "late"].into_iter());
        drop(load);
        assert!(epochs.is_valid(&other) && !epochs.is_valid(&late));
        let load = epochs.begin(&1);
        let again = load.found(["late"].into_iter());
        drop(load);
        assert!(epochs.is_valid(&again));
        epochs.invalidate_tag("late");
        assert!(!epochs.is_valid(&again) && epochs.is_valid(&other));
        epochs.clear();
        assert!(!epochs.is_valid(&other));
    }

    #[test]
    fn a_key_is_invalidated_while_it_loads_and_no_other_is() {
        let epochs = Epochs::new();
        let (one, two) = (epochs.begin(&1), epochs.begin(&2));
        epochs.invalidate(&1);
        let none = || std::iter::empty();
        assert!(!epochs.is_valid(&one.found(none())));
        assert!(epochs.is_valid(&two.found(none())));
        drop((one, two));
        assert!(epochs.lock().loads.is_empty() && epochs.lock().began.is_empty());
    }

    #[test]
    fn tags_that_nothing_can_have_any_more_are_forgotten() {
        let epochs = Epochs::new();
        let load = epochs.begin(&1);
        let kept = load.found(["kept"].into_iter());
        for tag in 0..10_000 {
            epochs.invalidate_tag(&tag.to_string());
        }
        assert_eq!(epochs.tags(), 10_001, "a load runs that may have them");
        drop(load);
        let load = epochs.begin(&1);
        drop(load.found(["a", "b"].into_iter()));
        for tag in 10_000..20_000 {
            epochs.invalidate_tag(&tag.to_string());
        }
        drop(load);
        let load = epochs.begin(&1);
        for tag in 20_000..50_000 {
            drop(load.found([tag.to_string().as_str()].into_iter()));
        }
        assert!(epochs.tags() <= 2 * PRUNE_FROM, "{}", epochs.tags());
        epochs.invalidate_tag("kept");
        assert!(!epochs.is_valid(&kept));
    }

    #[test]
    fn what_was_missed_ends_the_freshness_of_what_was_there() {
        let epochs = Epochs::new();
        let load = epochs.begin(&1);
        let before = load.found(std::iter::empty());
        drop(load);
        epochs.missed(50);
        let load = epochs.begin(&1);
        let after = load.found(std::iter::empty());
        drop(load);
        assert_eq!(epochs.fresh_until(&before, 100), 50);
        assert_eq!(epochs.fresh_until(&before, 40), 40);
        assert_eq!(epochs.fresh_until(&after, 100), 100);
        assert!(epochs.is_valid(&before), "stale, not invalid");
    }
}

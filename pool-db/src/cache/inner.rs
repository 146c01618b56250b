//! What the handles of a cache share: how an entry is judged, and how one is loaded.

use std::{
    hash::Hash,
    panic::AssertUnwindSafe,
    sync::{Arc, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};

use futures_util::FutureExt;
use moka::{future::Cache as Memory, notification::RemovalCause};
use pool_core::{ConfigError, Flight};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};

use super::{
    CacheConfig, CacheStatus, LoadError, Loaded,
    builder::Make,
    config::CENTURY,
    entry::{Content, Entry},
    epochs::{Epochs, Running},
    second::{Found, Look, Second, Wish},
    status::Counters,
};

/// What the handles of a cache share.
pub(super) struct Inner<K, V, E> {
    pub(super) name: Arc<str>,
    pub(super) config: CacheConfig,
    /// It bounds the size and drops what is not read. Whether an entry may be served is decided here.
    pub(super) memory: Memory<K, Arc<Entry<V, E>>>,
    pub(super) epochs: Epochs<K>,
    flight: Flight<K, Arc<Entry<V, E>>, LoadError<E>>,
    pub(super) second: Option<Box<dyn Second<K, V>>>,
    pub(super) counters: Arc<Counters>,
    times: Times,
    built: Instant,
    #[cfg(feature = "metrics")]
    pub(super) publisher: super::publisher::Publisher,
}

/// The settings in nanoseconds, as a hit needs them.
struct Times {
    revalidate: u64,
    longest_stale: u64,
}

/// What may be done with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fresh,
    /// It is served, and refreshed in the background.
    Stale,
    /// It is served, as a load failed a moment ago.
    StaleOnError,
    /// It is served if a load fails.
    IfAllFails,
    Gone,
}

impl<K, V, E> Inner<K, V, E>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    pub(super) fn new(
        name: Arc<str>,
        config: CacheConfig,
        weigher: Option<Box<dyn Fn(&K, &V) -> u32 + Send + Sync>>,
        second: Option<Make<K, V, E>>,
    ) -> Result<Arc<Self>, ConfigError> {
        let waits = [config.remote_timeout * 2, config.load_timeout];
        let waits = waits.into_iter().chain(config.lease_wait);
        let longest = waits.fold(Duration::from_secs(1), Duration::saturating_add);
        let flight = Flight::builder()
            .name(&*name)
            .max_waiters(config.max_waiters)
            // Two loads at most, which end by themselves: this is a bound of last resort.
            .timeout(longest.saturating_mul(2))
            .build()?;
        let counters = Arc::new(Counters::default());
        let counting = Arc::clone(&counters);
        let mut memory = Memory::builder()
            .max_capacity(config.max_size)
            .eviction_listener(move |_, _, cause| {
                if matches!(cause, RemovalCause::Size | RemovalCause::Expired) {
                    counting.evicted.add();
                }
            });
        if let Some(idle) = config.idle_timeout {
            memory = memory.time_to_idle(idle);
        }
        // After this time nobody can be served from an entry.
        let longest = longest_life(&config);
        if longest < CENTURY {
            memory = memory.time_to_live(longest);
        }
        if let Some(weigh) = weigher {
            memory = memory.weigher(move |key, entry: &Arc<Entry<V, E>>| match &entry.content {
                Content::Value(value) => weigh(key, value),
                Content::Absent | Content::Failed(_) => 1,
            });
        }
        let memory = memory.build();
        let nanos = |time: Option<Duration>| time.map_or(0, nanos);
        let times = Times {
            revalidate: nanos(config.stale_while_revalidate),
            longest_stale: nanos(Some(config.longest_stale())),
        };
        Ok(Arc::new_cyclic(|this: &Weak<Self>| Self {
            second: second.map(|make| make(this, &config, Arc::clone(&counters))),
            #[cfg(feature = "metrics")]
            publisher: super::publisher::Publisher::new(),
            name,
            config,
            memory,
            epochs: Epochs::new(),
            flight,
            counters,
            times,
            built: Instant::now(),
        }))
    }

    /// Nanoseconds since the cache was built.
    pub(super) fn now(&self) -> u64 {
        nanos(self.built.elapsed())
    }

    /// What may be done with an entry now.
    pub(super) fn judge(&self, entry: &Entry<V, E>, now: u64) -> Verdict {
        if !self.epochs.is_valid(&entry.validity) {
            return Verdict::Gone;
        }
        let fresh_until = self.epochs.fresh_until(&entry.validity, entry.fresh_until);
        if now < fresh_until {
            return Verdict::Fresh;
        }
        if !entry.is_value() {
            return Verdict::Gone;
        }
        let stale = now - fresh_until;
        if stale < self.times.revalidate {
            Verdict::Stale
        } else if stale >= self.times.longest_stale {
            Verdict::Gone
        } else if now < entry.retry_at.load(Relaxed) {
            Verdict::StaleOnError
        } else {
            Verdict::IfAllFails
        }
    }

    /// Finds the value for a key that the memory had no fresh entry for.
    ///
    /// `absent` says whether "there is none" will do; else that is never returned.
    pub(super) async fn find<F, R>(
        self: &Arc<Self>,
        key: &K,
        held: Option<Arc<Entry<V, E>>>,
        absent: bool,
        load: F,
    ) -> Result<Option<V>, LoadError<E>>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
    {
        let now = self.now();
        let verdict = held.as_ref().map(|entry| (entry, self.judge(entry, now)));
        let mut spare = None;
        match verdict {
            Some((entry, Verdict::Fresh)) => match &entry.content {
                Content::Value(value) => {
                    self.counters.hits.add();
                    return Ok(Some(value.clone()));
                }
                Content::Absent if absent => {
                    self.counters.negative_hits.add();
                    return Ok(None);
                }
                Content::Failed(error) => {
                    self.counters.error_hits.add();
                    return Err(error.clone());
                }
                Content::Absent => {}
            },
            Some((entry, Verdict::Stale)) => {
                if let Content::Value(value) = &entry.content {
                    self.counters.stale.add();
                    self.refresh(key, entry, now, load);
                    return Ok(Some(value.clone()));
                }
            }
            Some((entry, Verdict::StaleOnError)) => {
                if let Content::Value(value) = &entry.content {
                    self.counters.stale_on_error.add();
                    return Ok(Some(value.clone()));
                }
            }
            Some((entry, Verdict::IfAllFails)) => spare = Some(Arc::clone(entry)),
            Some((_, Verdict::Gone)) | None => {}
        }
        self.counters.misses.add();
        #[cfg(feature = "metrics")]
        self.publish_if_due(now);
        let mut load = Some(load);
        // What began after this has seen all invalidations that ended before this call.
        let asked = self.epochs.last();
        loop {
            let found = self.fly(key, absent, false, &mut load).await;
            let entry = match found {
                Ok(entry) => entry,
                Err(error) => return self.fall_back(spare, error),
            };
            // This call joined a load that began before an invalidation, which ended before this call began. There is one such load at
            // most: the next one begins after it.
            let is_late = entry.validity.began() < asked && !self.epochs.is_valid(&entry.validity);
            // The other call would have taken "there is none".
            let is_other = !absent && matches!(entry.content, Content::Absent);
            if (is_late || is_other) && load.is_some() {
                continue;
            }
            return match &entry.content {
                Content::Value(value) => Ok(Some(value.clone())),
                Content::Absent => Ok(None),
                Content::Failed(error) => Err(error.clone()),
            };
        }
    }

    /// A stale value, if there is one that may be served as the load failed.
    fn fall_back(
        &self,
        spare: Option<Arc<Entry<V, E>>>,
        error: LoadError<E>,
    ) -> Result<Option<V>, LoadError<E>> {
        let Some(entry) = spare.filter(|_| !error.is_reentrant()) else {
            return Err(error);
        };
        match &entry.content {
            Content::Value(value) if self.judge(&entry, self.now()) != Verdict::Gone => {
                self.counters.stale_on_error.add();
                Ok(Some(value.clone()))
            }
            _ => Err(error),
        }
    }

    /// Loads the key in the background, unless that is being done.
    fn refresh<F, R>(self: &Arc<Self>, key: &K, entry: &Arc<Entry<V, E>>, now: u64, load: F)
    where
        F: FnOnce() -> R + Send + 'static,
        R: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
    {
        if now < entry.retry_at.load(Relaxed) {
            return;
        }
        let (Some(refreshing), Ok(runtime)) = (entry.refresh(), Handle::try_current()) else {
            return;
        };
        self.counters.refreshes.add();
        let (this, key) = (Arc::clone(self), key.clone());
        let task = async move {
            // It is counted, and the entry says when to try again.
            drop(this.fly(&key, true, true, &mut Some(load)).await);
            drop(refreshing);
        };
        drop(runtime.spawn(task));
    }

    /// Loads the key, or waits for the load of another call.
    async fn fly<F, R>(
        self: &Arc<Self>,
        key: &K,
        absent: bool,
        refresh: bool,
        load: &mut Option<F>,
    ) -> Result<Arc<Entry<V, E>>, LoadError<E>>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
    {
        let wish = Wish {
            stale: match self.config.stale_while_revalidate {
                Some(stale) if !refresh => stale,
                _ => Duration::ZERO,
            },
            absent,
        };
        let compute = || {
            let (this, key, load) = (Arc::clone(self), key.clone(), load.take());
            async move { this.compute(&key, wish, load).await }
        };
        let found = self.flight.run(key.clone(), compute).await;
        found.map_err(|error| LoadError::of_flight(&self.name, error))
    }

    /// Asks the second layer, and loads the key if that has nothing. This is the computation of the flight.
    async fn compute<F, R>(
        &self,
        key: &K,
        wish: Wish,
        load: Option<F>,
    ) -> Result<Arc<Entry<V, E>>, LoadError<E>>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
    {
        // Before anything is read: what is invalidated from now on is not stored.
        let running = self.epochs.begin(key);
        let mut fill = None;
        if let Some(second) = &self.second {
            second.listen();
            match second.look(key, wish).await {
                Look::Found(found) => return Ok(self.keep_found(key, &running, found).await),
                Look::Load(there) => fill = there,
            }
        }
        self.counters.loads.add();
        let limit = self.config.load_timeout;
        let run = AssertUnwindSafe(async {
            match load {
                Some(load) => load().await.map(Some),
                None => Ok(None),
            }
        });
        let error = match timeout(limit, run.catch_unwind()).await {
            Ok(Ok(Ok(Some(loaded)))) => {
                return Ok(self.keep_loaded(key, &running, loaded, fill).await);
            }
            Ok(Ok(Ok(None))) => LoadError::panicked(&self.name, "there is nothing to load with"),
            Ok(Ok(Err(error))) => LoadError::failed(&self.name, error),
            Ok(Err(panic)) => LoadError::panicked(&self.name, message(&*panic)),
            Err(_) => LoadError::timeout(&self.name, limit),
        };
        self.counters.load_failures.add();
        self.keep_failure(key, &running, &error).await;
        Err(error)
    }

    async fn keep_loaded(
        &self,
        key: &K,
        running: &Running<'_, K>,
        loaded: Loaded<V>,
        fill: Option<Box<dyn super::second::Fill<V>>>,
    ) -> Arc<Entry<V, E>> {
        let fresh = self.fresh_for(&loaded);
        // What the process does not keep is not kept elsewhere.
        if let (Some(fill), Some(fresh)) = (fill, fresh) {
            // Nobody waits for it: it is bounded, and what was invalidated meanwhile is refused there.
            drop(tokio::spawn(fill.fill(&loaded, fresh)));
        }
        let content = loaded.value.map_or(Content::Absent, Content::Value);
        let until = fresh.map(|fresh| self.now().saturating_add(nanos(fresh)));
        self.keep(key, running, content, &loaded.tags, until).await
    }

    async fn keep_found(
        &self,
        key: &K,
        running: &Running<'_, K>,
        found: Found<V>,
    ) -> Arc<Entry<V, E>> {
        let content = found.value.map_or(Content::Absent, Content::Value);
        let now = self.now();
        let until = now.saturating_add(nanos(found.fresh));
        let until = until.saturating_sub(nanos(found.overdue));
        self.keep(key, running, content, &found.tags, Some(until))
            .await
    }

    /// Notes that a load failed, if others shall not try it again at once.
    async fn keep_failure(&self, key: &K, running: &Running<'_, K>, error: &LoadError<E>) {
        let Some(backoff) = self.config.error_backoff else {
            return;
        };
        let now = self.now();
        let old = self.memory.get(key).await;
        let old = old.filter(|entry| entry.is_value() && self.judge(entry, now) != Verdict::Gone);
        match old {
            Some(entry) => {
                let retry_at = now.saturating_add(nanos(backoff));
                entry.retry_at.store(retry_at, Relaxed);
            }
            None => {
                let content = Content::Failed(error.clone());
                let until = now.saturating_add(nanos(backoff));
                drop(self.keep(key, running, content, &[], Some(until)).await);
            }
        }
    }

    /// Makes an entry, which is stored if there is a time `until` which it is fresh.
    async fn keep(
        &self,
        key: &K,
        running: &Running<'_, K>,
        content: Content<V, E>,
        tags: &[String],
        until: Option<u64>,
    ) -> Arc<Entry<V, E>> {
        let own = self.second.as_ref().map(|second| second.tag_of(key));
        let tags = tags.iter().map(|tag| format!("{TAG}{tag}"));
        let tags: Vec<String> = tags.collect();
        let tags = tags.iter().map(String::as_str).chain(own.as_deref());
        let validity = running.found(tags);
        let fresh_until = until.unwrap_or_default().min(u64::MAX / 2);
        let entry = Arc::new(Entry::new(content, validity, fresh_until));
        if until.is_some() && self.epochs.is_valid(&entry.validity) {
            // If it is invalidated now, it is stored as what it is: invalid.
            self.memory.insert(key.clone(), Arc::clone(&entry)).await;
        }
        entry
    }

    /// How long what was loaded is fresh; `None` if it is not to be stored.
    fn fresh_for(&self, loaded: &Loaded<V>) -> Option<Duration> {
        let most = match loaded.is_absent() {
            true => self.config.negative_ttl?,
            false => self.config.ttl,
        };
        let ttl = loaded.ttl.map_or(most, |ttl| ttl.min(most));
        if ttl.is_zero() {
            return None;
        }
        let factor = 1.0 + self.config.ttl_jitter * (2.0 * fastrand::f64() - 1.0);
        // A float that is too large becomes the largest number.
        let fresh = nanos(ttl.min(CENTURY)) as f64 * factor;
        Some(Duration::from_nanos(fresh as u64))
    }

    /// Whether a call can be served from `entry` at once and in the usual way: the way of a hit.
    pub(super) fn hit(&self, entry: &Entry<V, E>) -> Option<V> {
        let Content::Value(value) = &entry.content else {
            return None;
        };
        let now = self.now();
        if self.judge(entry, now) != Verdict::Fresh {
            return None;
        }
        self.counters.hits.add();
        #[cfg(feature = "metrics")]
        self.publish_if_due(now);
        Some(value.clone())
    }

    pub(super) fn status(&self) -> CacheStatus {
        let flight = self.flight.status();
        CacheStatus {
            entries: self.memory.entry_count(),
            weight: self.memory.weighted_size(),
            waiting: flight.waiting,
            coalesced: flight.joined,
            remote_shut: self.second.as_ref().is_some_and(|it| it.is_shut()),
            ..self.counters.snapshot()
        }
    }
}

#[cfg(feature = "metrics")]
impl<K, V, E> Inner<K, V, E> {
    pub(super) fn flight_status(&self) -> pool_core::FlightStatus {
        self.flight.status()
    }
}

/// For how long an entry may be of use at most.
pub(super) fn longest_life(config: &CacheConfig) -> Duration {
    let most = |ttl: Duration| ttl.saturating_add(ttl.min(CENTURY).mul_f64(config.ttl_jitter));
    let value = most(config.ttl).saturating_add(config.longest_stale());
    let absent = config.negative_ttl.map_or(Duration::ZERO, most);
    value
        .max(absent)
        .max(config.error_backoff.unwrap_or_default())
}

/// In nanoseconds; a time that is too long is 292 years, to which another can be added.
pub(super) fn nanos(time: Duration) -> u64 {
    // No arithmetic of 128 bits: each hit asks for the time.
    let whole = time.as_secs().saturating_mul(1_000_000_000);
    let nanos = whole.saturating_add(time.subsec_nanos().into());
    nanos.min(u64::MAX / 2)
}

/// What a panic said.
fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let owned = || panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(owned).unwrap_or("no message")
}

/// Before the tags of users, so that they differ from those of keys.
pub(super) const TAG: &str = "t:";

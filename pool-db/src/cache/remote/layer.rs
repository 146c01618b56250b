//! Redis as the second layer: what the cache asks of it, within its time.

use std::{
    fmt::Display,
    hash::Hash,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, Weak, atomic::AtomicBool},
    time::Duration,
};

use bytes::Bytes;
use redis::{Cmd, Value};
use tokio::{
    runtime::Handle,
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    super::{
        CacheConfig, Loaded, NotTold,
        inner::{Inner, TAG, nanos},
        second::{Boxed, Fill, Found, Invalidation, Look, Second, Wish},
        status::Counters,
    },
    Codec,
    breaker::Breaker,
    listener::{self, Hears},
    pending::Pending,
    scripts::Script,
};
use crate::redis::Shared;

/// Redis as the second layer of one cache.
pub(super) struct Layer<C> {
    core: Arc<Core>,
    codec: Arc<C>,
    cache: Weak<dyn Hears>,
}

/// What the layer shares with tasks of its own.
pub(super) struct Core {
    pub(super) redis: Shared,
    pub(super) names: Names,
    /// Which process this is, in messages.
    pub(super) origin: String,
    pub(super) pending: Pending,
    pub(super) listening: AtomicBool,
    listener: Mutex<Option<AbortHandle>>,
    breaker: Breaker,
    counters: Arc<Counters>,
    config: CacheConfig,
    built: Instant,
    look: Script,
    fill: Script,
    release: Script,
    invalidate: Script,
}

/// The names of keys.
pub(super) struct Names {
    base: String,
    state: String,
    pub(super) channel: String,
}

/// The right to load a key for all processes, which may not have been given yet.
struct Lease {
    core: Arc<Core>,
    key: String,
    token: String,
    /// Whether the server may have it.
    is_asked: bool,
}

/// Where what a load found goes.
struct Filler<C> {
    lease: Lease,
    codec: Arc<C>,
    /// The incarnation and the number when the load began.
    began: (String, String),
    /// The key as text.
    text: String,
}

/// What a look had for an answer.
enum Answer {
    Value {
        bytes: Option<Bytes>,
        fresh: i64,
        tags: Vec<String>,
    },
    Load {
        is_busy: bool,
        began: (String, String),
    },
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        let base = format!("{{{prefix}}}:");
        Self {
            state: format!("{base}s"),
            channel: format!("{base}c"),
            base,
        }
    }
}

impl<C> Layer<C> {
    pub(super) fn new<K, V, E>(
        redis: Shared,
        prefix: &str,
        codec: C,
        cache: Weak<Inner<K, V, E>>,
        config: &CacheConfig,
        counters: Arc<Counters>,
    ) -> Self
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
        E: Send + Sync + 'static,
    {
        let core = Core {
            redis,
            names: Names::new(prefix),
            origin: token(),
            pending: Pending::default(),
            listening: AtomicBool::new(false),
            listener: Mutex::default(),
            breaker: Breaker::default(),
            counters,
            config: config.clone(),
            built: Instant::now(),
            look: Script::look(),
            fill: Script::fill(),
            release: Script::release(),
            invalidate: Script::invalidate(),
        };
        Self {
            core: Arc::new(core),
            codec: Arc::new(codec),
            cache,
        }
    }
}

impl<C> Drop for Layer<C> {
    fn drop(&mut self) {
        let listener = self.core.listener.lock();
        let listener = listener.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(listener) = listener {
            listener.abort();
        }
    }
}

impl Core {
    pub(super) fn set_listener(&self, task: AbortHandle) {
        let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        *listener = Some(task);
    }

    /// Runs a script within the time of an operation. `None` if there was no answer, which is counted.
    async fn call(
        &self,
        script: &Script,
        keys: &[&str],
        args: impl Fn(&mut Cmd) + Send,
    ) -> Option<Value> {
        let (now, retry) = (
            || nanos(self.built.elapsed()),
            nanos(self.config.remote_retry),
        );
        if !self.breaker.admits(now(), retry) {
            self.counters.remote_skipped.add();
            return None;
        }
        let call = script.run(&self.redis, keys, args);
        match timeout(self.config.remote_timeout, call).await {
            Ok(Ok(answer)) => {
                self.breaker.succeeded();
                Some(answer)
            }
            Ok(Err(error)) => {
                self.counters.remote_errors.add();
                // A server that says no costs no time.
                match error.is_database() {
                    true => self.breaker.succeeded(),
                    false => self.breaker.failed(now(), retry),
                }
                None
            }
            Err(_) => {
                self.counters.remote_timeouts.add();
                self.breaker.failed(now(), retry);
                None
            }
        }
    }

    /// Sends what was invalidated. Whether all of it was sent.
    async fn flush(&self) -> bool {
        let _turn = self.pending.turn.lock().await;
        loop {
            let (first, notes) = self.pending.next();
            if notes.is_empty() {
                return true;
            }
            let (names, seed) = (&self.names, seed());
            let args = |call: &mut Cmd| {
                call.arg("").arg(&names.channel).arg(&self.origin);
                call.arg(seed).arg(&names.base);
                for note in &notes {
                    call.arg(&**note);
                }
            };
            let sent = self.call(&self.invalidate, &[&names.state], args).await;
            if sent.is_none() {
                return false;
            }
            self.pending.sent(first, notes.len());
        }
    }

    /// The same, within the time of an operation.
    pub(super) async fn flush_in_time(&self) -> bool {
        let flushed = timeout(self.config.remote_timeout, self.flush()).await;
        flushed.unwrap_or(false)
    }

    async fn ask(&self, lease: &mut Lease, text: &str, wish: Wish) -> Option<Answer> {
        let names = &self.names;
        let value = format!("{}v:{text}", names.base);
        let hold = match self.config.lease_wait {
            Some(_) => millis(self.config.lease_time).max(1),
            None => 0,
        };
        let seed = seed();
        lease.is_asked = hold > 0;
        let (token, key) = (lease.token.clone(), lease.key.clone());
        let args = |call: &mut Cmd| {
            call.arg(&token).arg(hold).arg(text).arg(seed);
            call.arg(millis(wish.stale)).arg(u8::from(wish.absent));
        };
        let keys = [names.state.as_str(), &value, &key];
        let answer = self.call(&self.look, &keys, args).await?;
        let answer = parse(answer);
        if answer.is_none() {
            self.counters.remote_errors.add();
        }
        // The server said that the lease is somebody else's, or that there is no need of one.
        lease.is_asked = lease.is_asked
            && !matches!(
                answer,
                Some(Answer::Value { .. } | Answer::Load { is_busy: true, .. })
            );
        answer
    }
}

impl<K, V, C> Second<K, V> for Layer<C>
where
    K: Display + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    C: Codec<V>,
{
    fn look<'a>(&'a self, key: &'a K, wish: Wish) -> Boxed<'a, Look<V>> {
        let text = key.to_string();
        Box::pin(async move {
            let core = &self.core;
            // What is there may be invalid, until it was told so.
            if !core.pending.is_empty() && !core.flush_in_time().await {
                return Look::Load(None);
            }
            let mut lease = Lease {
                core: Arc::clone(core),
                key: format!("{}l:{text}", core.names.base),
                token: token(),
                is_asked: false,
            };
            let begin = Instant::now();
            let mut pause = FIRST_PAUSE;
            loop {
                let Some(answer) = core.ask(&mut lease, &text, wish).await else {
                    return Look::Load(None);
                };
                let (is_busy, began) = match answer {
                    Answer::Value { bytes, fresh, tags } => {
                        let Some(found) = self.found(bytes, fresh, tags) else {
                            core.counters.remote_errors.add();
                            return Look::Load(None);
                        };
                        core.counters.remote_hits.add();
                        return Look::Found(found);
                    }
                    Answer::Load { is_busy, began } => (is_busy, began),
                };
                let wait = core.config.lease_wait.unwrap_or_default();
                let left = wait.saturating_sub(begin.elapsed());
                if is_busy && !left.is_zero() {
                    if pause == FIRST_PAUSE {
                        core.counters.lease_waits.add();
                    }
                    sleep(pause.mul_f64(0.5 + fastrand::f64()).min(left)).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                    continue;
                }
                if is_busy {
                    core.counters.lease_fallbacks.add();
                }
                core.counters.remote_misses.add();
                let codec = Arc::clone(&self.codec);
                return Look::Load(Some(Box::new(Filler {
                    lease,
                    codec,
                    began,
                    text,
                })));
            }
        })
    }

    fn note(&self, what: Invalidation<'_, K>) {
        self.core.pending.push(match what {
            Invalidation::Key(key) => format!("k:{key}").into(),
            Invalidation::Tag(tag) => format!("{TAG}{tag}").into(),
            Invalidation::All => "*".into(),
        });
    }

    fn send<'a>(&'a self) -> Boxed<'a, Result<(), NotTold>> {
        Box::pin(async {
            match self.core.flush_in_time().await {
                true => Ok(()),
                false => Err(NotTold),
            }
        })
    }

    fn tag_of(&self, key: &K) -> Arc<str> {
        format!("k:{key}").into()
    }

    fn listen(&self) {
        listener::listen(&self.core, &self.cache);
    }

    fn is_shut(&self) -> bool {
        self.core.breaker.is_shut()
    }
}

impl<C> Layer<C> {
    fn found<V>(&self, bytes: Option<Bytes>, fresh: i64, tags: Vec<String>) -> Option<Found<V>>
    where
        C: Codec<V>,
    {
        let value = match bytes {
            // A codec that panics has not understood the value.
            Some(bytes) => {
                let decode = AssertUnwindSafe(|| self.codec.decode(bytes));
                Some(catch_unwind(decode).ok().flatten()?)
            }
            None => None,
        };
        Some(Found {
            value,
            fresh: Duration::from_millis(u64::try_from(fresh).unwrap_or(0)),
            overdue: Duration::from_millis(u64::try_from(-fresh).unwrap_or(0)),
            tags,
        })
    }
}

impl<V, C> Fill<V> for Filler<C>
where
    V: Clone + Send + Sync + 'static,
    C: Codec<V>,
{
    fn fill(self: Box<Self>, loaded: &Loaded<V>, fresh: Duration) -> Boxed<'static, ()> {
        let loaded = loaded.clone();
        Box::pin(async move {
            let Self {
                mut lease,
                codec,
                began: (i, n),
                text,
            } = *self;
            let (kind, bytes) = match &loaded.value {
                Some(value) => {
                    let encode = AssertUnwindSafe(|| codec.encode(value));
                    let Some(bytes) = catch_unwind(encode).ok().flatten() else {
                        // The drop of the lease ends it.
                        return;
                    };
                    ("v", bytes)
                }
                None => ("n", Bytes::new()),
            };
            let core = Arc::clone(&lease.core);
            let keep = match loaded.is_absent() {
                true => fresh,
                false => fresh.saturating_add(core.config.longest_stale()),
            };
            let value = format!("{}v:{text}", core.names.base);
            let keys = [core.names.state.as_str(), &value, &lease.key];
            let seed = seed();
            let args = |call: &mut Cmd| {
                call.arg(&lease.token).arg(&i).arg(&n).arg(seed).arg(&text);
                call.arg(kind).arg(&*bytes);
                call.arg(millis(fresh).max(1)).arg(millis(keep).max(1));
                for tag in &loaded.tags {
                    call.arg(format!("{TAG}{tag}"));
                }
            };
            if core.call(&core.fill, &keys, args).await.is_some() {
                lease.is_asked = false;
            }
        })
    }
}

/// Ends the lease, if the server may have it.
impl Drop for Lease {
    fn drop(&mut self) {
        let (true, Ok(runtime)) = (self.is_asked, Handle::try_current()) else {
            return;
        };
        let core = Arc::clone(&self.core);
        let (key, token) = (
            std::mem::take(&mut self.key),
            std::mem::take(&mut self.token),
        );
        drop(runtime.spawn(async move {
            // If it cannot be ended, it ends by itself.
            let args = |call: &mut Cmd| {
                call.arg(&token);
            };
            drop(core.call(&core.release, &[&key], args).await);
        }));
    }
}

impl<K, V, E> Hears for Inner<K, V, E>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    fn invalidated(&self, what: &str) {
        self.counters.invalidations.add();
        self.epochs.invalidate_tag(what);
    }

    fn cleared(&self) {
        self.counters.invalidations.add();
        self.epochs.clear();
        self.memory.invalidate_all();
    }

    fn missed(&self) {
        self.counters.gaps.add();
        self.epochs.missed(self.now());
    }
}

/// Reads the answer of a look.
fn parse(answer: Value) -> Option<Answer> {
    let Value::Array(parts) = answer else {
        return None;
    };
    let mut parts = parts.into_iter();
    let text = |part: Option<Value>| match part? {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        _ => None,
    };
    let what = text(parts.next())?;
    if what != "v" {
        let began = (text(parts.next())?, text(parts.next())?);
        return Some(Answer::Load {
            is_busy: what == "b",
            began,
        });
    }
    let kind = text(parts.next())?;
    let (Some(Value::Int(fresh)), Some(Value::BulkString(bytes))) = (parts.next(), parts.next())
    else {
        return None;
    };
    let tags = parts.map(|tag| Some(text(Some(tag))?.strip_prefix(TAG)?.to_owned()));
    Some(Answer::Value {
        bytes: (kind == "v").then(|| bytes.into()),
        fresh,
        tags: tags.collect::<Option<_>>()?,
    })
}

fn millis(time: Duration) -> u64 {
    // Redis adds the time of the day to it.
    u64::try_from(time.as_millis()).map_or(LONGEST, |millis| millis.min(LONGEST))
}

/// What no other process has.
fn token() -> String {
    format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
}

/// The name of an incarnation: a number that a float has exactly.
fn seed() -> u64 {
    fastrand::u64(1..1 << 52)
}

/// The first and the longest pause between two looks at what another process loads.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(50);
/// 100 years, in milliseconds.
const LONGEST: u64 = 100 * 365 * 24 * 60 * 60 * 1000;

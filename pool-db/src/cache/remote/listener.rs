//! Hears the invalidations of other processes.

use std::{
    sync::{Arc, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};

use futures_util::StreamExt;
use tokio::{
    runtime::Handle,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::layer::Core;

/// What a cache does with the messages of other processes.
pub(super) trait Hears: Send + Sync + 'static {
    /// A key (`k:..`) or a tag (`t:..`) was invalidated.
    fn invalidated(&self, what: &str);

    /// Everything was.
    fn cleared(&self);

    /// Messages may have been missed until now.
    fn missed(&self);
}

/// Says, however the task ends, that nobody listens any more.
struct Listening {
    core: Arc<Core>,
    cache: Weak<dyn Hears>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(cache) = self.cache.upgrade() {
            cache.missed();
        }
        self.core.listening.store(false, Relaxed);
    }
}

/// Begins to listen on this runtime, if nobody does.
pub(super) fn listen(core: &Arc<Core>, cache: &Weak<dyn Hears>) {
    // Ordering: Relaxed in all of it. It guards no data, only that one task is spawned.
    if core.listening.load(Relaxed) || core.listening.swap(true, Relaxed) {
        return;
    }
    let listening = Listening {
        core: Arc::clone(core),
        cache: Weak::clone(cache),
    };
    if let Ok(runtime) = Handle::try_current() {
        let task = runtime.spawn(run(listening));
        core.set_listener(task.abort_handle());
    }
}

/// Listens until the cache is gone.
async fn run(listening: Listening) {
    let Listening { core, cache } = &listening;
    let mut pause = SHORTEST;
    while cache.strong_count() > 0 {
        match timeout(PATIENCE, core.redis.subscribe(&core.names.channel)).await {
            Ok(Ok(subscription)) => {
                pause = SHORTEST;
                // Nobody knows what was sent before.
                if let Some(cache) = cache.upgrade() {
                    cache.missed();
                }
                hear(core, cache, subscription).await;
                if let Some(cache) = cache.upgrade() {
                    cache.missed();
                }
            }
            Ok(Err(_)) | Err(_) => pause = (pause * 2).min(LONGEST),
        }
        sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
    }
}

/// Hears until the connection is lost or silent, or the cache is gone.
async fn hear(core: &Core, cache: &Weak<dyn Hears>, subscription: redis::aio::PubSub) {
    let (mut asking, mut messages) = subscription.split();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            message = messages.next() => message,
            _ = ticks.tick() => {
                if cache.strong_count() == 0 {
                    return;
                }
                let pong: Result<Result<redis::Value, _>, _> = timeout(PATIENCE, asking.ping()).await;
                if !matches!(pong, Ok(Ok(_))) {
                    return;
                }
                if !core.pending.is_empty() {
                    // What is not sent now is tried at the next tick.
                    core.flush_in_time().await;
                }
                continue;
            }
        };
        let (Some(message), Some(cache)) = (message, cache.upgrade()) else {
            return;
        };
        let text = message.get_payload_bytes();
        let text = std::str::from_utf8(text).unwrap_or_default();
        match text.split_once(' ') {
            // This process has done it already.
            Some((origin, _)) if origin == core.origin => {}
            Some((_, "*")) => cache.cleared(),
            Some((_, what)) if what.starts_with("k:") || what.starts_with("t:") => {
                cache.invalidated(what);
            }
            // Somebody says something that this version does not understand.
            _ => cache.missed(),
        }
    }
}

/// How often the connection is tried.
const TICK: Duration = Duration::from_secs(1);
/// How long it may be silent, or take to open.
const PATIENCE: Duration = Duration::from_secs(3);
/// The shortest and the longest pause before it is opened again.
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

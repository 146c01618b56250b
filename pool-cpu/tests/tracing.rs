//! A job runs in its caller's span.

#![cfg(feature = "tracing")]
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    collections::HashMap,
    fmt::Debug,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, ThreadId},
};

use futures_util::FutureExt;
#[cfg(feature = "json")]
use futures_util::StreamExt;
use pool_cpu::CpuPool;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_core::span::Current;

/// Records the spans of each thread, and the spans in which each event was logged.
#[derive(Clone, Default)]
struct Recorder(Arc<Inner>);

#[derive(Default)]
struct Inner {
    next: AtomicU64,
    spans: Mutex<HashMap<u64, &'static Metadata<'static>>>,
    stacks: Mutex<HashMap<ThreadId, Vec<u64>>>,
    events: Mutex<Vec<(String, Vec<&'static str>, Level)>>,
    /// How many further events end in a panic.
    #[cfg(feature = "lag")]
    panics: AtomicU64,
}

impl Subscriber for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.0.spans.lock().unwrap().insert(id, span.metadata());
        Id::from_u64(id)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Message(String);
        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        #[cfg(feature = "lag")]
        if *event.metadata().level() == Level::WARN && self.0.panics.swap(0, Ordering::Relaxed) > 0
        {
            std::panic::resume_unwind(Box::new("a subscriber may"));
        }
        let spans = self.0.spans.lock().unwrap();
        let stacks = self.0.stacks.lock().unwrap();
        let stack = stacks.get(&thread::current().id()).into_iter().flatten();
        let below = stack.map(|id| spans[id].name()).collect();
        self.0
            .events
            .lock()
            .unwrap()
            .push((message.0, below, *event.metadata().level()));
    }

    fn current_span(&self) -> Current {
        let stacks = self.0.stacks.lock().unwrap();
        let innermost = stacks
            .get(&thread::current().id())
            .and_then(|stack| stack.last());
        match innermost {
            Some(id) => Current::new(Id::from_u64(*id), self.0.spans.lock().unwrap()[id]),
            None => Current::none(),
        }
    }

    fn enter(&self, span: &Id) {
        let mut stacks = self.0.stacks.lock().unwrap();
        stacks
            .entry(thread::current().id())
            .or_default()
            .push(span.into_u64());
    }

    fn exit(&self, span: &Id) {
        let mut stacks = self.0.stacks.lock().unwrap();
        if let Some(stack) = stacks.get_mut(&thread::current().id()) {
            stack.retain(|id| *id != span.into_u64());
        }
    }
}

/// The recorder of this process. The messages distinguish the events.
fn recorder() -> &'static Recorder {
    static RECORDER: LazyLock<Recorder> = LazyLock::new(|| {
        let recorder = Recorder::default();
        tracing::subscriber::set_global_default(recorder.clone()).unwrap();
        recorder
    });
    &RECORDER
}

impl Recorder {
    /// The spans in which the event with this message was logged.
    fn below(&self, message: &str) -> Vec<&'static str> {
        let events = self.0.events.lock().unwrap();
        let event = events.iter().find(|event| event.0 == message);
        event.expect(message).1.clone()
    }
}

#[test]
fn what_a_job_logs_is_below_the_span_of_its_caller() {
    let recorder = recorder();
    let cpu = CpuPool::builder().threads(1).build().unwrap();
    let request = tracing::info_span!("request");
    request
        .in_scope(|| cpu.job("hash").run_sync(|| tracing::info!("hashing")))
        .unwrap();
    let spawned = request.in_scope(|| cpu.try_run(|| tracing::info!("spawned")).unwrap());
    drop(request);
    cpu.run_sync(|| tracing::info!("alone")).unwrap();
    drop(spawned);
    assert_eq!(recorder.below("hashing"), ["request", "pool.job"]);
    assert_eq!(recorder.below("spawned"), ["request", "pool.job"]);
    assert_eq!(recorder.below("alone"), ["pool.job"]);
}

#[tokio::test]
async fn the_span_is_that_of_the_call_wherever_its_future_is_polled() {
    let recorder = recorder();
    let cpu = CpuPool::builder().threads(1).queue(0).build().unwrap();
    let request = tracing::info_span!("caller");
    let run = request.in_scope(|| cpu.run(|| tracing::info!("run")));
    run.await.unwrap();
    let with = request.in_scope(|| cpu.job("").run_with(|_| tracing::info!("run_with")));
    with.await.unwrap();
    let chunks = request.in_scope(|| cpu.for_each_chunk([1], 1, |_| tracing::info!("chunk")));
    chunks.await.unwrap();
    // One job finds a place at once, and one job has to wait for a place.
    for (message, busy) in [("enqueued", false), ("in line", true)] {
        let (go, gate) = std::sync::mpsc::channel::<()>();
        let held = busy.then(|| cpu.try_run(move || gate.recv().ok()).unwrap());
        let mut enqueue = Box::pin(
            request.in_scope(|| cpu.job("").enqueue(move || tracing::info!("{}", message))),
        );
        if busy {
            assert!(enqueue.as_mut().now_or_never().is_none());
        }
        drop(go);
        if let Some(held) = held {
            held.await.unwrap();
        }
        enqueue.await.unwrap().await.unwrap();
    }
    for message in ["run", "run_with", "chunk", "enqueued", "in line"] {
        assert_eq!(recorder.below(message), ["caller", "pool.job"], "{message}");
    }
}

#[cfg(feature = "json")]
#[tokio::test]
async fn json_is_below_the_span_of_whoever_asked_for_it() {
    /// A value that logs when it is encoded.
    struct Loud(&'static str);
    impl serde::Serialize for Loud {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            tracing::info!("{}", self.0);
            serializer.collect_seq(0..100_000)
        }
    }
    let recorder = recorder();
    let cpu = CpuPool::builder().threads(1).build().unwrap();
    let request = tracing::info_span!("body");
    let rows = futures_util::stream::iter([Loud("a row")]);
    let mut body = request.in_scope(|| pool_cpu::json::lines(&cpu, rows));
    body.next().await.unwrap().unwrap();
    assert_eq!(recorder.below("a row"), ["body", "pool.job"]);
}

#[cfg(feature = "lag")]
#[test]
fn a_stall_is_one_warning_and_its_end_says_how_long_it_took_even_if_a_subscriber_panics() {
    use std::{sync::mpsc, time::Duration};

    use pool_cpu::lag::Watchdog;

    const LONG: Duration = Duration::from_secs(20);

    let recorder = recorder();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let (say, seen) = mpsc::channel();
    let (end, ended) = mpsc::channel();
    let watchdog = Watchdog::builder()
        .threshold(Duration::from_millis(20))
        .on_stall(move |_| say.send(()).unwrap())
        .on_end(move |stall| end.send(stall.lasted).unwrap())
        .watch(runtime.handle())
        .unwrap();
    let stall = |hold: Duration| {
        let (go, gate) = mpsc::channel::<()>();
        let held = runtime.spawn(async move { gate.recv().ok() });
        seen.recv_timeout(LONG).expect("nobody looks any more");
        while watchdog.stalls().now[0].lasted < hold {
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(go);
        runtime.block_on(held).unwrap();
        ended.recv_timeout(LONG).expect("nobody looks any more")
    };
    recorder.0.panics.store(1, Ordering::Relaxed);
    stall(Duration::ZERO);
    let lasted = stall(Duration::from_millis(100));
    assert_eq!(watchdog.stalls().count, 2);
    drop(watchdog);
    let events = recorder.0.events.lock().unwrap();
    let about = |level: Level| {
        let of_level = events.iter().filter(move |event| event.2 == level);
        let messages = of_level.map(|event| event.0.as_str());
        let ours = messages.filter(|message| message.starts_with("worker 0 of the runtime"));
        ours.collect::<Vec<_>>()
    };
    // The warning of the first stall was lost in the subscriber's panic.
    let warnings = about(Level::WARN);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("has had no scheduler checkpoint for "));
    let ends = about(Level::INFO);
    assert_eq!(ends.len(), 2, "{ends:?}");
    assert!(ends[1].contains(&format!("{lasted:.0?}")), "{ends:?}");
    assert!(lasted >= Duration::from_millis(100), "{lasted:?} in all");
}

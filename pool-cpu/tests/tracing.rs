//! The caller's span goes with the job.

#![cfg(feature = "tracing")]
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    collections::HashMap,
    fmt::Debug,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, ThreadId},
};

use pool_cpu::CpuPool;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_core::span::Current;

/// Keeps which spans each thread is in, and what an event was logged below.
#[derive(Clone, Default)]
struct Recorder(Arc<Inner>);

#[derive(Default)]
struct Inner {
    next: AtomicU64,
    spans: Mutex<HashMap<u64, &'static Metadata<'static>>>,
    stacks: Mutex<HashMap<ThreadId, Vec<u64>>>,
    events: Mutex<Vec<(String, Vec<&'static str>)>>,
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
        let spans = self.0.spans.lock().unwrap();
        let stacks = self.0.stacks.lock().unwrap();
        let stack = stacks.get(&thread::current().id()).into_iter().flatten();
        let below = stack.map(|id| spans[id].name()).collect();
        self.0.events.lock().unwrap().push((message.0, below));
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

#[test]
fn what_a_job_logs_is_below_the_span_of_its_caller() {
    let recorder = Recorder::default();
    tracing::subscriber::set_global_default(recorder.clone()).unwrap();
    let cpu = CpuPool::builder().threads(1).build().unwrap();
    let request = tracing::info_span!("request");
    request
        .in_scope(|| cpu.job("hash").run_sync(|| tracing::info!("hashing")))
        .unwrap();
    let spawned = request.in_scope(|| cpu.try_run(|| tracing::info!("spawned")).unwrap());
    drop(request);
    cpu.run_sync(|| tracing::info!("alone")).unwrap();
    drop(spawned);
    let events = recorder.0.events.lock().unwrap();
    let below = |message: &str| {
        events
            .iter()
            .find(|event| event.0 == message)
            .unwrap()
            .1
            .clone()
    };
    assert_eq!(below("hashing"), ["request", "pool.job"]);
    assert_eq!(below("spawned"), ["request", "pool.job"]);
    assert_eq!(below("alone"), ["pool.job"]);
}

//! A subscriber and a recorder that keep all that they are told.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, LocalRecorderGuard, Metadata, Recorder,
    SharedString, Unit, set_default_local_recorder,
};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::DefaultGuard,
};
use tracing_subscriber::{
    Layer, Registry, filter::LevelFilter, layer::Context, layer::SubscriberExt,
    registry::LookupSpan,
};

use super::SECRET;

/// Nothing here takes that long.
const SOON: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, Default)]
pub(crate) struct Told(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    spans: Vec<Span>,
    /// The fields of all spans and events, whatever their target.
    said: Vec<String>,
    /// The labels of each duration.
    durations: Vec<(String, BTreeMap<String, String>, f64)>,
    units: BTreeMap<String, Option<Unit>>,
    /// How often a histogram was looked up.
    lookups: BTreeMap<String, usize>,
}

#[derive(Clone, Debug)]
pub(crate) struct Span {
    id: Id,
    pub(crate) name: &'static str,
    pub(crate) target: &'static str,
    pub(crate) level: Level,
    pub(crate) parent: Option<String>,
    pub(crate) fields: BTreeMap<String, String>,
    pub(crate) is_closed: bool,
}

/// As long as it is there, this thread tells the book.
pub(crate) struct On<'a> {
    _subscriber: DefaultGuard,
    _recorder: LocalRecorderGuard<'a>,
}

impl Told {
    pub(crate) fn start(&self) -> On<'_> {
        self.start_at(LevelFilter::TRACE)
    }

    pub(crate) fn start_at(&self, level: LevelFilter) -> On<'_> {
        let subscriber = Registry::default().with(self.clone().with_filter(level));
        On {
            _subscriber: tracing::subscriber::set_default(subscriber),
            _recorder: set_default_local_recorder(self),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap()
    }

    /// What was reported since it was last asked: of each operation its name, its `error.type` and its rows. Both reports agree.
    pub(crate) fn operations(&self) -> Vec<String> {
        // The span of a call that was dropped is open for as long as the worker that stops it is within it.
        let begin = Instant::now();
        let are_open = || {
            self.book()
                .spans
                .iter()
                .any(|span| span.name == "db.query" && !span.is_closed)
        };
        while are_open() && begin.elapsed() < SOON {
            thread::sleep(Duration::from_millis(1));
        }
        let mut book = self.book();
        let named = |span: &Span, name: &str| {
            let value = span.fields.get(name).cloned();
            value.unwrap_or_else(|| "-".to_owned())
        };
        let (queries, others) = std::mem::take(&mut book.spans)
            .into_iter()
            .partition::<Vec<_>, _>(|span| span.name == "db.query");
        book.spans = others;
        let mut spans = Vec::new();
        for span in &queries {
            assert!(span.is_closed, "{span:?}");
            assert_eq!((span.target, span.level), ("pool_core", Level::DEBUG));
            let took: f64 = span.fields["took_ms"].parse().unwrap();
            assert!(took >= 0.0, "{span:?}");
            let known = [
                "pool.name",
                "db.system.name",
                "db.operation.name",
                "db.response.returned_rows",
                "error.type",
                "took_ms",
            ];
            assert!(
                span.fields.keys().all(|name| known.contains(&&**name)),
                "{span:?}"
            );
            let labels = [
                "pool.name",
                "db.system.name",
                "db.operation.name",
                "error.type",
            ];
            spans.push(labels.map(|name| named(span, name)));
        }
        let durations = std::mem::take(&mut book.durations);
        let mut recorded: Vec<_> = durations
            .iter()
            .map(|(name, labels, seconds)| {
                assert_eq!(name, "db.client.operation.duration");
                assert!((0.0..600.0).contains(seconds), "{seconds}");
                let named = |name| labels.get(name).cloned().unwrap_or_else(|| "-".to_owned());
                [
                    "pool.name",
                    "db.system.name",
                    "db.operation.name",
                    "error.type",
                ]
                .map(named)
            })
            .collect();
        drop(book);
        recorded.sort();
        spans.sort();
        assert_eq!(recorded, spans, "a record and a span each");
        let told = queries.iter().map(|span| {
            let words = [
                "db.operation.name",
                "error.type",
                "db.response.returned_rows",
            ];
            words.map(|name| named(span, name)).join(" ")
        });
        let told = told.collect();
        self.assert_no_secret();
        told
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.book().spans.clone()
    }

    pub(crate) fn unit(&self, name: &str) -> Option<Unit> {
        self.book().units.get(name).copied().flatten()
    }

    pub(crate) fn lookups(&self, name: &str) -> usize {
        self.book().lookups.get(name).copied().unwrap_or_default()
    }

    /// The names of the histograms of durations, and forgets them.
    pub(crate) fn take_metrics(&self) -> Vec<String> {
        let durations = std::mem::take(&mut self.book().durations);
        durations.into_iter().map(|(name, _, _)| name).collect()
    }

    pub(crate) fn assert_no_secret(&self) {
        let all = format!("{:?}", self.book());
        assert!(!all.contains(SECRET), "{all}");
        assert!(!all.contains("SELECT"), "{all}");
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Told {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let parent = context.span(id).unwrap().parent();
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let metadata = attributes.metadata();
        let mut book = self.book();
        book.said.push(format!("{fields:?}"));
        book.spans.push(Span {
            id: id.clone(),
            name: metadata.name(),
            target: metadata.target(),
            level: *metadata.level(),
            parent: parent.map(|parent| parent.name().to_owned()),
            fields: fields.0,
            is_closed: false,
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        let mut book = self.book();
        book.said.push(format!("{fields:?}"));
        if let Some(span) = book.open(id) {
            span.fields.extend(fields.0);
        }
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        if let Some(span) = self.book().open(&id) {
            span.is_closed = true;
        }
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // The driver's own events, which pass through the `log` crate, are not the pool's.
        if event.metadata().target() == "pool_core" {
            let mut fields = Fields::default();
            event.record(&mut fields);
            self.book().said.push(format!("{fields:?}"));
        }
    }
}

impl Book {
    /// The registry uses an id again when its span is closed.
    fn open(&mut self, id: &Id) -> Option<&mut Span> {
        self.spans
            .iter_mut()
            .find(|span| span.id == *id && !span.is_closed)
    }
}

#[derive(Debug, Default)]
struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

impl Recorder for Told {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.book().units.insert(name.as_str().to_owned(), unit);
    }

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let mut book = self.book();
        *book.lookups.entry(key.name().to_owned()).or_default() += 1;
        drop(book);
        if !key.name().contains("operation") {
            return Histogram::noop();
        }
        let labels = key.labels();
        Histogram::from_arc(Arc::new(Durations {
            name: key.name().to_owned(),
            labels: labels
                .map(|label| (label.key().to_owned(), label.value().to_owned()))
                .collect(),
            told: self.clone(),
        }))
    }
}

struct Durations {
    name: String,
    labels: BTreeMap<String, String>,
    told: Told,
}

impl HistogramFn for Durations {
    fn record(&self, value: f64) {
        let duration = (self.name.clone(), self.labels.clone(), value);
        self.told.book().durations.push(duration);
    }
}

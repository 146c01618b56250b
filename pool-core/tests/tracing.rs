//! What a pool says through `tracing`: to whom, how often, and that it keeps secrets.
#![cfg(feature = "tracing")]
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
};

use common::{Act, Backend, MS, Oops, SEC, Thing, Things, hush, settle};
use pool_core::{
    Builder, Config, Gauge, KeyedManager, KeyedPool, Manager, Pool, SharedConfig, SharedManager,
    SharedPool, Usage,
};
use tokio::time::sleep;
use tracing::{
    Event, Instrument, Level, Subscriber,
    field::{Field, Visit},
    info_span,
    span::{Attributes, Id, Record},
    subscriber::DefaultGuard,
};
use tracing_subscriber::{
    Layer, Registry, filter::LevelFilter, layer::Context, layer::SubscriberExt,
    registry::LookupSpan,
};

#[tokio::test(start_paused = true)]
async fn a_get_that_finds_an_idle_one_says_nothing() {
    let (log, _on) = Log::start(LevelFilter::TRACE);
    let pool = pool(&Backend::new()).build().unwrap();
    drop(pool.get().await.unwrap());
    log.clear();
    for _ in 0..1000 {
        drop(pool.get().await.unwrap());
        drop(pool.try_get().unwrap());
    }
    assert!(log.spans().is_empty(), "{log:?}");
    assert!(log.events().is_empty(), "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn a_get_that_waits_is_a_span_of_its_caller() {
    let (log, _on) = Log::start(LevelFilter::DEBUG);
    let pool = pool(&Backend::new()).max_size(1).build().unwrap();
    let held = pool.get().await.unwrap();
    log.clear();
    let waiter =
        async { pool.get().label("login").await.map(drop) }.instrument(info_span!("request"));
    let (waited, ()) = tokio::join!(waiter, async {
        sleep(30 * MS).await;
        drop(held);
    });
    waited.unwrap();

    let span = log.only_span("pool.get");
    assert_eq!((span.level, span.target), (Level::DEBUG, "pool_core"));
    assert_eq!(span.parent.as_deref(), Some("request"));
    assert!(span.closed);
    assert_eq!(
        span.fields,
        fields([
            ("pool.name", "db"),
            ("label", "login"),
            ("wait_ms", "30.0"),
            ("outcome", "ok")
        ])
    );
}

#[tokio::test(start_paused = true)]
async fn an_open_is_a_span_of_its_own_around_what_the_manager_says() {
    let (log, _on) = Log::start(LevelFilter::DEBUG);
    let pool = named(Talker).build().unwrap();
    async { pool.get().await.map(drop) }
        .instrument(info_span!("request"))
        .await
        .unwrap();

    let span = log.only_span("pool.connect");
    assert_eq!((span.level, span.target), (Level::DEBUG, "pool_core"));
    assert_eq!(span.parent, None, "an open is nobody's but the pool's");
    assert!(span.closed);
    assert_eq!(
        span.fields,
        fields([("pool.name", "db"), ("took_ms", "20.0"), ("outcome", "ok")])
    );
    let said = log.only_event("said by the manager");
    assert_eq!(said.span.as_deref(), Some("pool.connect"));
}

#[tokio::test(start_paused = true)]
async fn every_end_of_a_wait_has_its_word() {
    let (log, _on) = Log::start(LevelFilter::DEBUG);
    let backend = Backend::new();
    let pool = pool(&backend).max_size(1).build().unwrap();
    let held = pool.get().await.unwrap();
    log.clear();
    let ended = |log: &Log| {
        let mut span = log.only_span("pool.get");
        log.clear();
        assert!(span.closed);
        let field = |name| span.fields.remove(name).unwrap_or_default();
        ["outcome", "phase", "wait_ms"].map(field)
    };

    pool.get().timeout(40 * MS).await.unwrap_err();
    assert_eq!(ended(&log), ["timeout", "wait", "40.0"]);

    tokio::time::timeout(5 * MS, pool.get()).await.unwrap_err();
    assert_eq!(ended(&log), ["cancelled", "", "5.0"]);

    let waiter = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().await.map(drop) }
    });
    settle().await;
    pool.close();
    waiter.await.unwrap().unwrap_err();
    assert_eq!(ended(&log), ["closed", "", "0.0"]);

    // Those that are refused at once did not wait.
    pool.get().await.unwrap_err();
    assert!(log.spans().is_empty(), "{log:?}");
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_handed_a_broken_one_goes_on_in_its_span() {
    let (log, _on) = Log::start(LevelFilter::DEBUG);
    let backend = Backend::new();
    let pool = pool(&backend).max_size(1).build().unwrap();
    let mut held = pool.get().await.unwrap();
    log.clear();
    backend.on_create(Act::Take(50 * MS));
    let (waited, ()) = tokio::join!(pool.get(), async {
        sleep(30 * MS).await;
        held.broken = true;
        drop(held);
    });
    waited.unwrap();
    assert_eq!(log.only_span("pool.get").fields["wait_ms"], "80.0");
}

#[tokio::test(start_paused = true)]
async fn a_slow_get_is_warned_of_once_and_a_quick_one_is_not() {
    // As a service runs: spans are off.
    let (log, _on) = Log::start(LevelFilter::WARN);
    let pool = pool(&Backend::new())
        .max_size(1)
        .slow_get(Some(SEC))
        .build()
        .unwrap();
    for (held_for, warnings) in [(900 * MS, 0), (1100 * MS, 1)] {
        let held = pool.get().await.unwrap();
        let (waited, ()) = tokio::join!(pool.get().label("report"), async {
            sleep(held_for).await;
            drop(held);
        });
        drop(waited.unwrap());
        assert_eq!(log.events().len(), warnings, "{log:?}");
    }
    assert!(log.spans().is_empty());

    let slow = log.only_event("slow get");
    assert_eq!((slow.level, slow.target), (Level::WARN, "pool_core"));
    let of = |name: &str| slow.fields[name].as_str();
    assert_eq!(
        [
            of("pool.name"),
            of("label"),
            of("outcome"),
            of("max_size"),
            of("leased"),
            of("waiting")
        ],
        ["db", "report", "ok", "1", "1", "0"]
    );
    assert!(of("place").contains("tests/tracing.rs:"), "{slow:?}");
    let waited: f64 = of("wait_ms").parse().unwrap();
    assert!((1090.0..=1110.0).contains(&waited), "{waited}");
}

#[tokio::test(start_paused = true)]
async fn a_get_that_gave_up_is_slow_too_unless_that_is_off() {
    let (log, _on) = Log::start(LevelFilter::WARN);
    for (slow_get, warnings) in [(None, 0), (Some(SEC), 1)] {
        let pool = pool(&Backend::new())
            .max_size(1)
            .slow_get(slow_get)
            .build()
            .unwrap();
        let _held = pool.get().await.unwrap();
        pool.get().timeout(3 * SEC).await.unwrap_err();
        assert_eq!(log.events().len(), warnings, "{log:?}");
    }
    let slow = log.only_event("slow get");
    assert_eq!(
        (&*slow.fields["outcome"], &*slow.fields["phase"]),
        ("timeout", "wait")
    );
}

#[tokio::test(start_paused = true)]
async fn a_leak_is_warned_of_once() {
    let (log, _on) = Log::start(LevelFilter::WARN);
    let pool = pool(&Backend::new()).leak_after(Some(SEC)).build().unwrap();
    // A lease of the pool's very first nanosecond would count as older than the pool.
    sleep(MS).await;
    let _forgotten = pool.get().label("import").await.unwrap();
    sleep(60 * SEC).await;
    assert_eq!(log.events().len(), 1, "{log:?}");
    let leak = log.only_event("lease not returned");
    assert_eq!((leak.level, leak.target), (Level::WARN, "pool_core"));
    assert_eq!(
        (&*leak.fields["pool.name"], &*leak.fields["label"]),
        ("db", "import")
    );
    assert!(
        leak.fields["place"].contains("tests/tracing.rs:"),
        "{leak:?}"
    );
    let held: f64 = leak.fields["held_ms"].parse().unwrap();
    assert!((1000.0..=1500.0).contains(&held), "{held}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_one_warning_and_its_end_one_line() {
    hush();
    let (log, _on) = Log::start(LevelFilter::DEBUG);
    let backend = Backend::new();
    let pool = pool(&backend)
        .max_size(1)
        .create_timeout(SEC)
        .build()
        .unwrap();
    for _ in 0..2 {
        log.clear();
        for act in [Act::Fail("connection refused"), Act::Panic, Act::Hang] {
            backend.on_create(act);
            let before = log.spans().len();
            while log.spans().iter().filter(|span| span.closed).count() <= before {
                drop(pool.get().timeout(10 * SEC).await);
                sleep(100 * MS).await;
            }
        }
        backend.on_create(Act::Succeed);
        let lease = common::get(&pool).await;
        drop(lease);

        let first = log.only_event("cannot open a resource");
        assert_eq!(
            (first.level, &*first.fields["error"]),
            (Level::WARN, "connection refused")
        );
        assert_eq!(first.span.as_deref(), Some("pool.connect"));
        let more = log.events_of("still cannot open a resource");
        assert!(more.iter().all(|event| event.level == Level::DEBUG));
        assert!(
            more.iter()
                .any(|event| event.fields["error"].contains("panicked")),
            "{more:?}"
        );
        assert!(
            more.iter()
                .any(|event| event.fields["error"].contains("longer than 1s")),
            "{more:?}"
        );
        let end = log.only_event("can open again");
        assert_eq!(end.level, Level::INFO);
        assert_eq!(end.fields["failures"], (more.len() + 1).to_string());
        let outcomes: Vec<_> = log
            .spans_of("pool.connect")
            .into_iter()
            .map(|mut span| span.fields.remove("outcome").unwrap())
            .collect();
        for outcome in ["failed", "panicked", "timeout", "ok"] {
            assert!(
                outcomes.iter().any(|it| it == outcome),
                "{outcome} is not in {outcomes:?}"
            );
        }
        pool.retire_all();
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_that_the_end_of_the_pool_stops_says_so() {
    let (log, _on) = Log::start(LevelFilter::DEBUG);
    let backend = Backend::new();
    backend.on_create(Act::Hang);
    let pool = pool(&backend).build().unwrap();
    pool.get().timeout(10 * MS).await.unwrap_err();
    pool.close();
    settle().await;
    let span = log.only_span("pool.connect");
    assert_eq!((&*span.fields["outcome"], span.closed), ("abandoned", true));
}

/// The same things for every key, of which one hangs.
struct Shards(Things);

impl KeyedManager<String> for Shards {
    type Resource = Thing;
    type Error = Oops;

    async fn create(&self, key: &String) -> Result<Thing, Oops> {
        if key == "hangs" {
            std::future::pending::<()>().await;
        }
        self.0.create().await
    }

    async fn check(&self, thing: &mut Thing, usage: &Usage) -> Result<(), Oops> {
        self.0.check(thing, usage).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_keyed_pool_says_whose_a_get_an_open_and_a_leak_is_if_keys_have_names() {
    for named in [true, false] {
        let (log, _on) = Log::start(LevelFilter::DEBUG);
        let config = Config::new().max_size(1).leak_after(Some(SEC));
        let mut builder = KeyedPool::builder(Shards(Things(Backend::new())))
            .name("db")
            .config(config)
            .max_total(2);
        if named {
            builder = builder.key_name(|key: &String| key.to_uppercase());
        }
        let pool = builder.build().unwrap();
        let with = |mut of: BTreeMap<String, String>, key: &str| {
            if named {
                of.insert("pool.key".to_owned(), key.to_owned());
            }
            of
        };
        let held = pool.get("a").await.unwrap();
        let opened = log.only_span("pool.connect");
        assert_eq!((opened.level, opened.parent), (Level::DEBUG, None));
        let expected = fields([("pool.name", "db"), ("took_ms", "0.0"), ("outcome", "ok")]);
        assert_eq!(opened.fields, with(expected, "A"));
        log.clear();
        drop(pool.try_get("a").unwrap_err());
        assert!(log.spans().is_empty(), "{log:?}");

        let waiter = async {
            pool.get("a")
                .label("login")
                .timeout(30 * MS)
                .await
                .map(drop)
        };
        waiter.instrument(info_span!("request")).await.unwrap_err();
        let get = log.only_span("pool.get");
        assert_eq!(get.parent.as_deref(), Some("request"));
        let expected = fields([
            ("pool.name", "db"),
            ("label", "login"),
            ("wait_ms", "30.0"),
            ("outcome", "timeout"),
            ("phase", "wait"),
        ]);
        assert_eq!(get.fields, with(expected, "A"));
        log.clear();
        drop(pool.get("hangs").timeout(MS).await.unwrap_err());
        sleep(2 * SEC).await;
        let leaks = log.events();
        assert_eq!((leaks.len(), leaks[0].level), (1, Level::WARN));
        assert_eq!(leaks[0].fields.contains_key("pool.key"), named);
        drop(held);
        pool.close();
        settle().await;
        let hung = log.only_span("pool.connect");
        let expected = fields([("pool.name", "db"), ("outcome", "abandoned")]);
        assert_eq!(hung.fields, with(expected, "HANGS"));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_that_a_manager_or_a_resource_holds_is_told() {
    const SECRET: &str = "hunter2";

    #[derive(Debug)]
    struct Vault(&'static str, bool);

    impl Manager for Vault {
        type Resource = Self;
        type Error = std::io::Error;
        async fn create(&self) -> Result<Self, std::io::Error> {
            sleep(10 * MS).await;
            if self.1 {
                Ok(Self(self.0, true))
            } else {
                Err(std::io::Error::other("login refused"))
            }
        }
        async fn check(&self, _: &mut Self, _: &Usage) -> Result<(), std::io::Error> {
            Ok(())
        }
    }

    let (log, _on) = Log::start(LevelFilter::TRACE);
    for works in [true, false] {
        let pool = named(Vault(SECRET, works))
            .max_size(1)
            .slow_get(Some(MS))
            .leak_after(Some(MS))
            .build()
            .unwrap();
        let _held = pool.get().timeout(SEC).await;
        pool.get().timeout(SEC).await.unwrap_err();
    }
    assert!(!log.events_of("slow get").is_empty());
    assert!(!log.events_of("lease not returned").is_empty());
    assert!(!log.events_of("cannot open a resource").is_empty());
    assert!(!format!("{log:?}").contains(SECRET));
}

struct Talker;

impl Manager for Talker {
    type Resource = ();
    type Error = std::io::Error;

    async fn create(&self) -> Result<(), std::io::Error> {
        sleep(20 * MS).await;
        tracing::info!("said by the manager");
        Ok(())
    }

    async fn check(&self, (): &mut (), _: &Usage) -> Result<(), std::io::Error> {
        Ok(())
    }
}

/// Connections that one at a time may have.
struct Streams(Mutex<u32>);

impl SharedManager for Streams {
    type Resource = ();
    type Error = std::io::Error;

    async fn create(&self, _: Gauge) -> Result<(), std::io::Error> {
        let mut fails = self.0.lock().unwrap();
        if *fails == 0 {
            return Ok(());
        }
        *fails -= 1;
        Err(std::io::Error::other("refused"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_shared_pool_says_what_a_pool_says() {
    let (log, _on) = Log::start(LevelFilter::DEBUG);
    let builder = SharedPool::builder(Streams(Mutex::new(1))).name("h2");
    let config = SharedConfig::new().max_size(1).slow_get(Some(SEC));
    let pool = builder.config(config).build().unwrap();
    let held = pool.get().await.unwrap();
    let connects = log.spans_of("pool.connect");
    let outcomes: Vec<_> = connects
        .iter()
        .map(|span| &*span.fields["outcome"])
        .collect();
    assert_eq!(outcomes, ["failed", "ok"]);
    assert_eq!(log.only_event("cannot open a resource").level, Level::WARN);
    log.clear();

    drop(pool.try_get().map(drop).unwrap_err());
    let waiter = async { pool.get().await.map(drop) }.instrument(info_span!("request"));
    let (waited, ()) = tokio::join!(waiter, async {
        sleep(2 * SEC).await;
        drop(held);
    });
    waited.unwrap();
    let span = log.only_span("pool.get");
    assert_eq!(span.parent.as_deref(), Some("request"));
    assert_eq!(
        (&*span.fields["outcome"], &*span.fields["pool.name"]),
        ("ok", "h2")
    );
    let slow = log.only_event("slow get");
    assert_eq!(
        (&*slow.fields["max_size"], &*slow.fields["leased"]),
        ("1", "1")
    );
    assert!(
        slow.fields["place"].contains("tests/tracing.rs:"),
        "{slow:?}"
    );

    log.clear();
    let _held = pool.get().await.unwrap();
    assert!(
        log.spans().is_empty(),
        "one that finds a share says nothing"
    );
    pool.get().timeout(MS).await.map(drop).unwrap_err();
    drop(tokio::time::timeout(MS, pool.get()).await);
    let words = log.spans_of("pool.get");
    let words: Vec<_> = words.iter().map(|span| &*span.fields["outcome"]).collect();
    assert_eq!(words, ["timeout", "cancelled"]);
}

fn pool(backend: &Arc<Backend>) -> Builder<Things> {
    named(Things(Arc::clone(backend)))
}

fn named<M: Manager>(manager: M) -> Builder<M> {
    Pool::builder(manager).name("db")
}

fn fields<const N: usize>(of: [(&str, &str); N]) -> BTreeMap<String, String> {
    of.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// Everything that was said on this thread since the start.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    spans: Vec<Line>,
    events: Vec<Line>,
}

#[derive(Clone, Debug)]
struct Line {
    id: Option<Id>,
    name: &'static str,
    level: Level,
    target: &'static str,
    fields: BTreeMap<String, String>,
    /// Of a span.
    parent: Option<String>,
    closed: bool,
    /// In which an event was.
    span: Option<String>,
}

impl Log {
    fn start(level: LevelFilter) -> (Self, DefaultGuard) {
        let log = Self::default();
        let subscriber = Registry::default().with(log.clone().with_filter(level));
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn clear(&self) {
        *self.0.lock().unwrap() = Lines::default();
    }

    fn spans(&self) -> Vec<Line> {
        let ours = |line: &&Line| line.target == "pool_core";
        self.0
            .lock()
            .unwrap()
            .spans
            .iter()
            .filter(ours)
            .cloned()
            .collect()
    }

    fn spans_of(&self, name: &str) -> Vec<Line> {
        self.spans()
            .into_iter()
            .filter(|span| span.name == name)
            .collect()
    }

    fn only_span(&self, name: &str) -> Line {
        let [span] = self
            .spans_of(name)
            .try_into()
            .unwrap_or_else(|_| panic!("{name}: {self:#?}"));
        span
    }

    fn events(&self) -> Vec<Line> {
        self.0.lock().unwrap().events.clone()
    }

    fn events_of(&self, message: &str) -> Vec<Line> {
        let said = |event: &Line| event.fields["message"] == message;
        self.events().into_iter().filter(said).collect()
    }

    fn only_event(&self, message: &str) -> Line {
        let [event] = self
            .events_of(message)
            .try_into()
            .unwrap_or_else(|_| panic!("{message}: {self:#?}"));
        event
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Log {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        let mut line = Line::of(attributes.metadata());
        attributes.record(&mut line);
        line.id = Some(id.clone());
        line.parent = span.parent().map(|parent| parent.name().to_owned());
        self.0.lock().unwrap().spans.push(line);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        if let Some(line) = open(&mut self.0.lock().unwrap().spans, id) {
            values.record(line);
        }
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        if let Some(line) = open(&mut self.0.lock().unwrap().spans, &id) {
            line.closed = true;
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Line::of(event.metadata());
        event.record(&mut line);
        line.span = context.event_span(event).map(|span| span.name().to_owned());
        self.0.lock().unwrap().events.push(line);
    }
}

/// The registry uses an id again when its span is closed.
fn open<'a>(spans: &'a mut [Line], id: &Id) -> Option<&'a mut Line> {
    spans
        .iter_mut()
        .find(|line| line.id.as_ref() == Some(id) && !line.closed)
}

impl Line {
    fn of(metadata: &tracing::Metadata<'static>) -> Self {
        Self {
            id: None,
            name: metadata.name(),
            level: *metadata.level(),
            target: metadata.target(),
            fields: BTreeMap::new(),
            parent: None,
            closed: false,
            span: None,
        }
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields
            .insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields
            .insert(field.name().to_owned(), format!("{value:?}"));
    }
}

//! A thousand callers want the same page in the same moment: a `Limiter` lets in so many and no more, and of those a `Flight` has one
//! render the page for all.
//!
//! Then a page that cannot be made, and one that takes too long: who is told what.
//!
//! ```sh
//! cargo run -p pool-core --example hot_key
//! HOT_KEY_CALLERS=5000 DOOR_LIMIT=1000 DOOR_MAX_WAITERS=0 cargo run -p pool-core --example hot_key
//! ```

use std::{
    collections::{BTreeMap, HashMap},
    error::Error,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use pool_core::{Env, Flight, FlightError, LimitError, Limiter};
use tokio::{task::JoinSet, time::sleep};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Page {
    Hot,
    Missing,
    Slow,
}

/// Why a caller has no page.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Door(#[from] LimitError),
    #[error(transparent)]
    Page(#[from] FlightError<io::Error>),
}

impl Refusal {
    fn status(&self) -> u16 {
        match self {
            Self::Door(_) => 503, // with `Retry-After`
            Self::Page(page) if page.error().is_some() => 502,
            Self::Page(page) if page.is_timeout() => 504,
            Self::Page(page) if page.is_overloaded() => 503,
            Self::Page(_) => 500,
        }
    }
}

struct Service {
    door: Limiter,
    flight: Flight<Page, Arc<str>, io::Error>,
    cache: Mutex<HashMap<Page, Arc<str>>>,
    /// So many have come to the door once all that are on their way have.
    expected: AtomicUsize,
}

impl Service {
    async fn page(self: Arc<Self>, page: Page, within: Duration) -> Result<Arc<str>, Refusal> {
        let _permit = self.door.acquire().await?; // until the answer is sent
        if let Some(text) = self.cached(page) {
            return Ok(text);
        }
        let me = Arc::clone(&self);
        let render = move || async move {
            // Once more: it may have come between the look above and this flight.
            if let Some(text) = me.cached(page) {
                return Ok(text);
            }
            let text = me.render(page).await?;
            let mut cache = me.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.insert(page, Arc::clone(&text));
            Ok(text)
        };
        Ok(self.flight.run(page, render).timeout(within).await?)
    }

    fn cached(&self, page: Page) -> Option<Arc<str>> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.get(&page).cloned()
    }

    async fn render(&self, page: Page) -> io::Result<Arc<str>> {
        // It takes as long as all callers take to come, so that the numbers are the same on every machine.
        while !self.all_have_come() {
            sleep(Duration::from_millis(1)).await;
        }
        match page {
            Page::Hot => Ok("<h1>today only</h1>".into()),
            Page::Missing => Err(io::Error::other("its template is missing")),
            Page::Slow => std::future::pending().await,
        }
    }

    /// Are all sent away, in line, or waiting for the page?
    fn all_have_come(&self) -> bool {
        let inside = self.door.status().in_use as usize;
        self.come() >= self.expected.load(Relaxed) && self.flight.status().waiting >= inside
    }

    fn come(&self) -> usize {
        let door = self.door.status();
        door.in_use as usize + door.waiting + (door.overloaded + door.timeouts) as usize
    }
}

/// So many ask for a page at once. How many were told what.
async fn ask(service: &Arc<Service>, callers: usize, page: Page, within: Duration) -> Vec<String> {
    service.expected.store(service.come() + callers, Relaxed);
    let mut calls = JoinSet::new();
    for _ in 0..callers {
        calls.spawn(Arc::clone(service).page(page, within));
    }
    let mut told = BTreeMap::new();
    for outcome in calls.join_all().await {
        let what = match outcome {
            Ok(text) => format!("200: {text}"),
            Err(refusal) => format!("{}: {refusal}", refusal.status()),
        };
        *told.entry(what).or_insert(0) += 1;
    }
    let told = told
        .into_iter()
        .map(|(what, callers)| format!("  {callers} x {what}"));
    let started = service.flight.status().started;
    let head = format!("{callers} ask for {page:?}; computations so far: {started}");
    std::iter::once(head).chain(told).collect()
}

pub(crate) async fn run() -> Result<Vec<String>, Box<dyn Error + Send + Sync>> {
    let mut env = Env::read("HOT_KEY")?;
    let callers = env.take("CALLERS")?.unwrap_or(1000);
    env.finish()?;
    let door = Limiter::builder(100)
        .max_waiters(400)
        .acquire_timeout(Duration::from_secs(30));
    let service = Arc::new(Service {
        door: door.env("DOOR")?.build()?,
        flight: Flight::builder().env("PAGES")?.build()?,
        cache: Mutex::default(),
        expected: AtomicUsize::new(0),
    });
    let (patient, hasty) = (Duration::from_secs(30), Duration::from_millis(100));
    let mut report = ask(&service, callers, Page::Hot, patient).await;
    report.extend(ask(&service, 50, Page::Missing, patient).await);
    report.extend(ask(&service, 50, Page::Slow, hasty).await);
    Ok(report)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    println!("{}", run().await?.join("\n"));
    Ok(())
}

//! What the features say of the same.

#[cfg(feature = "metrics")]
mod metrics {
    use std::{
        collections::BTreeMap,
        sync::{
            Arc, Mutex,
            atomic::{AtomicU64, Ordering::SeqCst},
        },
    };

    use metrics::{
        Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
        set_default_local_recorder,
    };
    use pool_core::{KeyedPool, Pool, SharedPool, observe::CloseReason};
    use tokio::time::sleep;

    use crate::{
        common::SEC,
        counts,
        face::{Books, Face, Keeper},
    };

    /// What was counted under each name and label.
    #[derive(Clone, Default)]
    struct Published(Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>);

    impl Published {
        fn of(&self, name: &str) -> u64 {
            let all = self.0.lock().unwrap();
            all.get(name).map_or(0, |count| count.load(SeqCst))
        }
    }

    impl Recorder for Published {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            // By its own label: all are of one pool.
            let own = key
                .labels()
                .find(|label| !label.key().ends_with("pool.name") && label.key() != "pool");
            let name = own.map_or_else(String::new, |own| format!(" {}", own.value()));
            let name = format!("{}{name}", key.name());
            let mut all = self.0.lock().unwrap();
            Counter::from_arc(Arc::clone(all.entry(name).or_default()))
        }

        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    fn is_what_the_status_says<F: Face>() {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let told = Published::default();
            let _on = set_default_local_recorder(&told);
            let books = Arc::new(Books::default());
            let pool = F::new(&books, counts::config());
            counts::storm(&pool, &books, 9).await;
            sleep(60 * SEC).await;
            let of = pool.status();
            for (name, count) in [
                ("pool.gets", of.gets),
                ("pool.waited", of.waited),
                ("pool.overloaded", of.overloaded),
                ("pool.shed", of.shed),
                ("pool.failed_fast", of.failed_fast),
                ("pool.reclaimed", of.reclaimed),
                ("pool.open_failures", of.open_failures),
            ] {
                assert_eq!(told.of(name), count, "{name}");
            }
            for reason in CloseReason::ALL {
                let published = told.of(&format!("pool.closed {reason}"));
                assert_eq!(published, of.closed.by(reason), "{reason}: {of:?}");
            }
            for phase in counts::PHASES {
                let name = format!("db.client.connection.timeouts {phase}");
                assert_eq!(told.of(&name), of.timeouts_in(phase), "{phase}");
            }
        });
    }

    #[test]
    fn what_a_pool_publishes_is_what_its_status_says() {
        is_what_the_status_says::<Pool<Keeper>>();
    }

    #[test]
    fn what_a_keyed_pool_publishes_is_what_its_status_says() {
        is_what_the_status_says::<KeyedPool<u32, Keeper>>();
    }

    #[test]
    fn what_a_shared_pool_publishes_is_what_its_status_says() {
        is_what_the_status_says::<SharedPool<Keeper>>();
    }
}

#[cfg(feature = "tracing")]
mod tracing {
    use std::{
        pin::pin,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering::SeqCst},
        },
    };

    use pool_core::{Config, KeyedPool, Pool};
    use tokio::time::{Instant, sleep};
    use tracing::{Event, Level, Subscriber};
    use tracing_subscriber::{Layer, Registry, layer::Context, layer::SubscriberExt};

    use crate::{
        common::{MS, poll_once},
        face::{Books, Face, Keeper},
    };

    /// Counts warnings of slow gets.
    #[derive(Clone, Default)]
    struct Slow(Arc<AtomicU32>);

    impl<S: Subscriber> Layer<S> for Slow {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let slow = event.metadata().level() == &Level::WARN;
            self.0.fetch_add(slow.into(), SeqCst);
        }
    }

    /// On the real clock, where there is a tick: what takes 3 ms at least is slow.
    fn no_slow_get_is_missed<F: Face>() {
        let slow = Slow::default();
        let _on = tracing::subscriber::set_default(Registry::default().with(slow.clone()));
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().build().unwrap();
        runtime.block_on(async {
            let config = Config::new().max_size(1).slow_get(Some(MS));
            let pool = F::new(&Arc::new(Books::default()), config);
            drop(pool.get(None).await.unwrap());
            let before = slow.0.load(SeqCst);
            for _ in 0..200 {
                let held = pool.get(None).await.unwrap();
                let mut get = pin!(pool.get(None));
                assert!(poll_once(get.as_mut()).await.is_pending());
                // The get waits from here on, however long this thread stood still before.
                let began = Instant::now();
                sleep(3 * MS).await;
                assert!(began.elapsed() >= 3 * MS);
                drop(held);
                drop(get.await.unwrap());
            }
            assert_eq!(slow.0.load(SeqCst) - before, 200);
        });
    }

    #[test]
    fn no_slow_get_of_a_pool_is_missed() {
        no_slow_get_is_missed::<Pool<Keeper>>();
    }

    #[test]
    fn no_slow_get_of_a_keyed_pool_is_missed() {
        no_slow_get_is_missed::<KeyedPool<u32, Keeper>>();
    }
}

//! The longest and the shortest of every setting of time, through a get, a wait, a return and the keeper's rounds.
#![allow(clippy::unwrap_used)]

use std::{convert::Infallible, time::Duration};

use pool_core::{Config, Manager, Pool, Usage};
use tokio::time::{sleep, timeout};

struct Unit;

impl Manager for Unit {
    type Resource = ();
    type Error = Infallible;

    async fn create(&self) -> Result<(), Infallible> {
        Ok(())
    }

    async fn check(&self, (): &mut (), _: &Usage) -> Result<(), Infallible> {
        Ok(())
    }
}

const LONGEST: Duration = Duration::MAX;
const SHORTEST: Duration = Duration::from_nanos(1);

async fn goes_round(name: &str, config: Config) {
    let pool = Pool::builder(Unit).config(config).max_size(1).build();
    // What cannot be is an error of the setting.
    let Ok(pool) = pool else { return };
    let round = async {
        for _ in 0..3 {
            let held = pool.get().await;
            let waits = tokio::spawn({
                let pool = pool.clone();
                async move { drop(pool.get().await) }
            });
            sleep(Duration::from_millis(25)).await;
            drop(held);
            waits.await.unwrap();
            sleep(Duration::from_millis(700)).await;
            let _open = pool.status().open;
        }
    };
    let ended = timeout(Duration::from_secs(600), round).await;
    assert!(ended.is_ok(), "{name}");
    assert!(pool.status().open <= 1, "{name}");
}

#[tokio::test(start_paused = true)]
async fn the_longest_and_the_shortest_of_every_setting_of_time_go_round() {
    for span in [
        LONGEST,
        SHORTEST,
        Duration::from_secs(u64::MAX / 10),
        Duration::from_nanos(u64::MAX),
    ] {
        let of = Config::new;
        let all = [
            ("shed_target", of().shed_target(Some(span))),
            (
                "acquire_timeout",
                of().acquire_timeout(span.max(Duration::from_secs(1))),
            ),
            ("create_timeout", of().create_timeout(span)),
            ("close_timeout", of().close_timeout(span)),
            ("check_after", of().check_after(span)),
            ("idle_timeout", of().idle_timeout(Some(span))),
            ("keepalive", of().keepalive(Some(span))),
            ("leak_after", of().leak_after(Some(span))),
            ("reclaim_after", of().reclaim_after(span)),
        ];
        for (name, config) in all {
            goes_round(&format!("{name} of {span:?}"), config).await;
        }
    }
}

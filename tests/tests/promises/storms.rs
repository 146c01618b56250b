//! What it says of itself adds up at every moment of a storm.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use tokio::{
    task::yield_now,
    time::{sleep, timeout},
};

use crate::{
    backend::{Act, Backend, Stage},
    face::{Face, Lends, Limit, MS, SEC, all_of, checked_always, ends_well, mend, threads, until},
};

/// Users that come and go on several threads, and one who looks.
async fn storm<L: Lends>(
    pool: &L,
    users: u64,
    rounds: u32,
    use_it: impl Fn(&mut fastrand::Rng, &mut L::Lease) + Clone + Send + 'static,
) {
    let over = Arc::new(AtomicBool::new(false));
    let looks = tokio::spawn({
        let (pool, over) = (pool.clone(), Arc::clone(&over));
        async move {
            let mut looks = 0_u32;
            while !over.load(SeqCst) {
                assert_eq!(pool.mistake(), None);
                looks += 1;
                yield_now().await;
            }
            looks
        }
    });
    let users: Vec<_> = (0..users)
        .map(|number| {
            let (pool, use_it) = (pool.clone(), use_it.clone());
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(number);
                for _ in 0..rounds {
                    let get = pool.get(Limit::Within(random.u32(..20) * MS));
                    let patience = random.u32(1..30) * MS;
                    if let Ok(Ok(mut lease)) = timeout(patience, get).await {
                        use_it(&mut random, &mut lease);
                        match random.u32(..3) {
                            0 => yield_now().await,
                            1 => sleep(random.u32(..3) * MS).await,
                            _ => {}
                        }
                    }
                }
            })
        })
        .collect();
    for user in users {
        user.await.unwrap();
    }
    over.store(true, SeqCst);
    assert!(looks.await.unwrap() > 0);
}

pub(crate) fn its_counts_add_up_at_every_moment<L: Lends>() {
    threads(3).block_on(async {
        let pool = L::of(3);
        storm(&pool, 24, 40, |_, _| {}).await;
        until("all came back", || pool.out() == 0).await;
        assert_eq!((pool.in_line(), pool.mistake()), (0, None));
        drop(all_of(&pool, 3).await);
    });
}

pub(crate) fn its_counts_add_up_whatever_the_backend_does<F: Face>() {
    threads(3).block_on(async {
        let random = Arc::new(Mutex::new(fastrand::Rng::with_seed(5)));
        let (backend, limit) = (Backend::new(), 20 * MS);
        let config = checked_always(4).create_timeout(limit).check_timeout(limit);
        let pool = F::new(&backend, config.reset_timeout(limit).close_timeout(limit));
        for stage in Stage::ALL {
            backend.on(stage, Act::Any(Arc::clone(&random)));
        }
        storm(&pool, 24, 60, |random, lease| {
            F::thing(lease).dirty.store(random.bool(), SeqCst);
            match random.u32(..8) {
                0 => F::taint(lease),
                1 => F::thing(lease).breaks(),
                _ => {}
            }
        })
        .await;
        mend(&backend);
        // What died takes no place: its last share may come back when another is long open.
        assert!(
            !F::TENDS || backend.most_held() <= 4,
            "{}",
            backend.most_held()
        );
        sleep(SEC).await;
        ends_well(pool, 4).await;
    });
}

//! Calls that are dropped half-way, by callers who know nothing of it.
#![allow(clippy::unwrap_used)]

use std::{convert::Infallible, time::Duration};

use pool_core::{
    Calls, Gauge, Held, KeyedManager, KeyedPool, Manager, MixedLease, MixedManager, MixedPool,
    Opened, Pool, Usage, observe::CloseReason,
};
use tokio::time::timeout;

/// What is asked next gets the reply to what was asked before, if that was not waited for.
#[derive(Default)]
struct Wire {
    calls: Calls,
    replies: Vec<u32>,
}

impl Wire {
    async fn ask(&mut self, what: u32, takes: Duration) -> u32 {
        let Self { calls, replies } = self;
        let call = async {
            replies.push(what);
            tokio::time::sleep(takes).await;
            replies.remove(0)
        };
        calls.run(call).await
    }
}

/// `cleans`: it can read off what is left on the wire.
struct Wires {
    cleans: bool,
}

macro_rules! manages {
    ($manager:ty { $($opens:item)+ }) => {
        impl $manager for Wires {
            type Error = Infallible;

            $($opens)+

            async fn check(&self, _: &mut Wire, _: &Usage) -> Result<(), Infallible> {
                Ok(())
            }

            fn is_interrupted(&self, wire: &mut Wire) -> bool {
                assert!(wire.replies.len() < 3, "told to panic");
                wire.calls.is_interrupted()
            }

            fn needs_reset(&self, _: &mut Wire, usage: &Usage) -> bool {
                self.cleans && usage.tainted
            }

            async fn reset(&self, wire: &mut Wire, _: &Usage) -> Result<(), Infallible> {
                wire.replies.clear();
                wire.calls.clear();
                Ok(())
            }
        }
    };
}

manages!(Manager {
    type Resource = Wire;

    async fn create(&self) -> Result<Wire, Infallible> {
        Ok(Wire::default())
    }
});
manages!(KeyedManager<u8> {
    type Resource = Wire;

    async fn create(&self, _: &u8) -> Result<Wire, Infallible> {
        Ok(Wire::default())
    }
});
manages!(MixedManager<u8> {
    type One = Wire;
    type Many = ();

    async fn create(&self, _: &u8, _: Gauge) -> Result<Opened<Wire, ()>, Infallible> {
        Ok(Opened::One(Wire::default()))
    }
});

/// What is had of a mixed pool whose connections are all for one at a time.
fn alone<M: MixedManager<u8>>(held: Held<u8, M>) -> MixedLease<u8, M> {
    match held {
        Held::One(lease) => lease,
        Held::Many(_) => panic!("nothing is shared"),
    }
}

const MS: Duration = Duration::from_millis(1);

/// A lease on which a call is dropped, and the answer to a question of whoever comes next.
macro_rules! the_next_has_its_own_answer {
    ($get:expr) => {{
        let mut wire = $get.await.unwrap();
        assert_eq!(wire.ask(1, MS).await, 1);
        assert!(timeout(MS, wire.ask(2, 10 * MS)).await.is_err());
        drop(wire);
        let mut next = $get.await.unwrap();
        assert_eq!(next.ask(3, MS).await, 3);
        drop(next);
    }};
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_dropped_half_way_is_not_the_next_user_s() {
    for cleans in [false, true] {
        let pool = Pool::builder(Wires { cleans }).max_size(1).build().unwrap();
        the_next_has_its_own_answer!(pool.get());
        let status = pool.status();
        let closed = status.closed.by(CloseReason::Tainted);
        assert_eq!(
            (status.opened, closed),
            if cleans { (1, 0) } else { (2, 1) }
        );
        let pool = KeyedPool::builder(Wires { cleans })
            .max_size(1)
            .build()
            .unwrap();
        the_next_has_its_own_answer!(pool.get(&7));
        let status = pool.status();
        let closed = status.closed.by(CloseReason::Tainted);
        assert_eq!(
            (status.opened, closed),
            if cleans { (1, 0) } else { (2, 1) }
        );
        let pool = MixedPool::builder(Wires { cleans })
            .max_size(1)
            .build()
            .unwrap();
        the_next_has_its_own_answer!(async { pool.get(&7).await.map(alone) });
        let status = pool.status().connections;
        let closed = status.closed.by(CloseReason::Tainted);
        assert_eq!(
            (status.opened, closed),
            if cleans { (1, 0) } else { (2, 1) }
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_panics_when_it_is_asked_does_not_know_and_so_it_is_closed() {
    let pool = Pool::builder(Wires { cleans: false })
        .max_size(1)
        .build()
        .unwrap();
    pool.get().await.unwrap().replies = vec![1, 2, 3];
    assert!(pool.get().await.unwrap().replies.is_empty());
    assert_eq!(pool.status().closed.by(CloseReason::Tainted), 1);
    let pool = KeyedPool::builder(Wires { cleans: false })
        .max_size(1)
        .build()
        .unwrap();
    pool.get(&7).await.unwrap().replies = vec![1, 2, 3];
    assert!(pool.get(&7).await.unwrap().replies.is_empty());
    assert_eq!(pool.status().closed.by(CloseReason::Tainted), 1);
    let pool = MixedPool::builder(Wires { cleans: false })
        .max_size(1)
        .build()
        .unwrap();
    alone(pool.get(&7).await.unwrap()).replies = vec![1, 2, 3];
    assert!(alone(pool.get(&7).await.unwrap()).replies.is_empty());
    let closed = pool.status().connections.closed;
    assert_eq!(closed.by(CloseReason::Tainted), 1);
}

#[tokio::test]
async fn a_call_inside_of_another_leaves_it_running() {
    let mut calls = Calls::new();
    assert!(!calls.is_interrupted());
    assert_eq!(calls.run(async { 7 }).await, 7);
    assert!(!calls.is_interrupted());
    let pending = timeout(MS, calls.run(std::future::pending::<()>())).await;
    assert!(pending.is_err() && calls.is_interrupted());
    assert_eq!(calls.run(async { 7 }).await, 7);
    assert!(calls.is_interrupted(), "what was left is still there");
    calls.clear();
    assert!(!calls.is_interrupted());
}

/// Says of each resource that a call on it was dropped, and never that there is anything to clean.
struct Liar;

macro_rules! lies {
    ($manager:ty { $($opens:item)+ }) => {
        impl $manager for Liar {
            type Error = Infallible;

            $($opens)+

            async fn check(&self, (): &mut (), _: &Usage) -> Result<(), Infallible> {
                Ok(())
            }

            fn is_interrupted(&self, (): &mut ()) -> bool {
                true
            }
        }
    };
}

lies!(Manager {
    type Resource = ();

    async fn create(&self) -> Result<(), Infallible> {
        Ok(())
    }
});
lies!(KeyedManager<u8> {
    type Resource = ();

    async fn create(&self, _: &u8) -> Result<(), Infallible> {
        Ok(())
    }
});
lies!(MixedManager<u8> {
    type One = ();
    type Many = ();

    async fn create(&self, _: &u8, _: Gauge) -> Result<Opened<(), ()>, Infallible> {
        Ok(Opened::One(()))
    }
});

#[tokio::test(start_paused = true)]
async fn a_manager_that_says_so_of_all_costs_an_open_a_lease_and_no_place() {
    const MANY: u64 = 10_000;
    macro_rules! in_a_tight_loop {
        ($pool:ident $(. $of:ident)?, $get:expr) => {{
            for _ in 0..MANY {
                drop($get.await.unwrap());
            }
            let status = $pool.status()$(.$of)?;
            assert_eq!(
                (status.opened, status.leased, status.timeouts()),
                (MANY, 0, 0)
            );
            assert!($pool.drain(MS * 1_000).await.is_complete());
            assert_eq!($pool.status()$(.$of)?.closed.by(CloseReason::Tainted), MANY);
        }};
    }
    let pool = Pool::builder(Liar).max_size(2).build().unwrap();
    in_a_tight_loop!(pool, pool.get());
    let pool = KeyedPool::builder(Liar).max_size(2).build().unwrap();
    in_a_tight_loop!(pool, pool.get(&7));
    let pool = MixedPool::builder(Liar).max_size(2).build().unwrap();
    in_a_tight_loop!(pool.connections, pool.get(&7));
}

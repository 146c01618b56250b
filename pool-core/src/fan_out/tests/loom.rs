//! A ring and a poll in every interleaving, and a seeded bug that the model must find.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Poll, Waker},
};

use loom::thread;

use crate::{
    engine::{
        mutation::{self, Mutation},
        tests::{block_on, model, models},
    },
    fan_out::bells::{Bells, answer},
};

const BOUND: Option<usize> = Some(3);

models! {
    /// The item at a place is polled after every step for which its bell was rung, whenever that happens.
    no_ring_is_lost(BOUND) {
        let bells = Bells::new();
        let places = [0, 1].map(|place| (bells.bell(place), Arc::new(AtomicU32::new(0))));
        let ringers = places.clone().map(|(bell, steps)| {
            let waker = Waker::from(bell);
            thread::spawn(move || for _ in 0..2 {
                steps.fetch_add(1, SeqCst);
                waker.wake_by_ref();
            })
        });
        let (mut rung, mut seen) = (Vec::new(), [0, 0]);
        block_on(poll_fn(|context| {
            for listens in [false, true] {
                bells.collect(&mut rung);
                for place in rung.drain(..) {
                    let (bell, steps) = &places[place as usize];
                    seen[place as usize] = answer(bell, || steps.load(SeqCst));
                }
                if seen == [2, 2] {
                    return Poll::Ready(());
                }
                if !listens {
                    bells.listen(context.waker());
                }
            }
            Poll::Pending
        }));
        ringers.into_iter().for_each(|ringer| ringer.join().unwrap());
    }, caught by mutant_bell_is_cleared_after_the_poll = BellIsClearedAfterThePoll;
}

//! Spawned jobs that wait for a place without being polled.

use super::*;
use crate::{
    engine::tests::bed::Bed,
    mutation::{self, Mutation},
};

models! {
    /// A place is freed while a job whose handle is dropped begins to wait for it. The job runs.
    a_place_against_a_spawned_job_that_joins_the_line(BOUND) {
        let bed = Bed::fixed(1, 0);
        let first = bed.try_run(|| ()).expect("there is room");
        let ran = std::sync::Arc::new(AtomicUsize::new(0));
        let spawner = bed.spawn({
            let ran = ran.clone();
            move |workers| drop(workers.job("").spawn(move || ran.fetch_add(1, Relaxed)))
        });
        drop(first);
        spawner.join().unwrap();
        bed.start(0);
        bed.finish();
        assert_eq!(ran.load(Relaxed), 1);
    }, caught by mutant_errand_forgets_call = ErrandForgetsCall;

    /// A caller aborts its spawned job while a place is freed. The job runs or not, and the caller gets the result or the error.
    an_abort_against_a_place_for_a_spawned_job(BOUND) {
        let bed = Bed::fixed(1, 0);
        let first = bed.try_run(|| ()).expect("there is room");
        let item = Counted::default();
        let spawned = item.item();
        let mut job = bed.job("").spawn(move || drop(spawned));
        let giver = bed.spawn(move |_| drop(first));
        job.abort();
        assert!(matches!(poll_once(&mut job), Poll::Ready(Err(error)) if error.is_cancelled()));
        giver.join().unwrap();
        assert_eq!(item.dropped(), 1);
        drop(job);
        bed.start(0);
        bed.finish();
    }, caught by mutant_abort_keeps_place = CancelKeepsPlace;
}

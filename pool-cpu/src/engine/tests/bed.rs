//! A pool whose threads belong to a model.
#![cfg_attr(
    not(pool_loom),
    allow(dead_code, reason = "a part is for loom's models only")
)]

use std::{io, ops::Deref, time::Duration};

#[cfg(pool_loom)]
use loom::thread;
#[cfg(pool_shuttle)]
use shuttle::thread;

use crate::{
    Workers,
    crew::{Crew, Elastic, Start},
    engine::{Core, Plan},
    hooks::Hooks,
    nice::Nice,
    sync::{Arc, Mutex},
    worker,
};

/// The last handle of a pool, and its worker threads.
pub(crate) struct Bed {
    workers: Workers,
    threads: Threads,
}

type Threads = Arc<Mutex<Vec<thread::JoinHandle<()>>>>;

impl Bed {
    /// A pool whose workers are started by the model.
    pub(crate) fn fixed(workers: usize, queue: usize) -> Self {
        Self::resident(plan(workers, queue))
    }

    /// Like `fixed`, but the workers help each other with parallel work. There is no rayon, so they find none.
    pub(crate) fn helpful(workers: usize, queue: usize) -> Self {
        Self::resident(Plan {
            helpful: true,
            ..plan(workers, queue)
        })
    }

    fn resident(plan: Plan) -> Self {
        let crew = Crew::fixed(plan.workers);
        Self {
            workers: Workers::new(Arc::new(Core::new(plan, crew))),
            threads: Arc::new(Mutex::new(Vec::new())),
        }
    }

    /// A pool that starts its own workers, and lets them leave as soon as they are idle.
    pub(crate) fn elastic(max: usize, queue: usize) -> Self {
        let threads = Arc::new(Mutex::new(Vec::new()));
        let started = Arc::clone(&threads);
        let start = move |core: &Arc<Core>, me| {
            let core = Arc::clone(core);
            started
                .lock()
                .push(thread::spawn(move || worker::work_enlisted(&core, me)));
            Ok(())
        };
        Self::starting(max, queue, threads, Box::new(start))
    }

    /// A pool that counts the threads that it starts. The threads do nothing.
    pub(crate) fn idle(max: usize, queue: usize) -> Self {
        let threads = Arc::new(Mutex::new(Vec::new()));
        Self::starting(max, queue, threads, Box::new(|_, _| Ok(())))
    }

    /// A pool on a system that fails to start threads.
    pub(crate) fn barren(max: usize, queue: usize) -> Self {
        let threads = Arc::new(Mutex::new(Vec::new()));
        let refuse = |_: &Arc<Core>, _| Err(io::ErrorKind::WouldBlock.into());
        Self::starting(max, queue, threads, Box::new(refuse))
    }

    fn starting(max: usize, queue: usize, threads: Threads, start: Start) -> Self {
        let crew = Crew::elastic(Elastic {
            min: 0,
            max,
            idle_timeout: Duration::from_secs(1),
            start,
        });
        let core = Arc::new(Core::new(plan(max, queue), crew));
        Self {
            workers: Workers::new(core),
            threads,
        }
    }

    /// Starts worker number `me`.
    pub(crate) fn start(&self, me: usize) {
        let core = Arc::clone(self.core());
        self.threads
            .lock()
            .push(thread::spawn(move || worker::work(&core, me)));
    }

    /// Runs worker number `me` on this thread, until it leaves.
    ///
    /// If a model needs something to happen between two steps of a worker, this is only one preemption away, because the worker is
    /// the thread that runs first.
    pub(crate) fn work(&self, me: usize) {
        worker::work(self.core(), me);
    }

    /// The pool with `workers` workers, all started.
    pub(crate) fn started(workers: usize, queue: usize) -> Self {
        let bed = Self::fixed(workers, queue);
        (0..workers).for_each(|me| bed.start(me));
        bed
    }

    /// Runs `f` on a thread of its own.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Workers) -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let workers = self.workers.clone();
        thread::spawn(move || f(&workers))
    }

    /// Drops the last handle, waits until all workers have left, and checks that every place is free and no job is left.
    pub(crate) fn finish(self) {
        let core = Arc::clone(self.core());
        drop(self.workers);
        loop {
            let Some(thread) = self.threads.lock().pop() else {
                break;
            };
            thread.join().unwrap();
        }
        assert!(
            core.queue.is_empty() || core.queue.live() == 0,
            "jobs were left behind"
        );
        assert_eq!(core.free_places(), core.all_places(), "places were lost");
    }
}

impl Deref for Bed {
    type Target = Workers;

    fn deref(&self) -> &Workers {
        &self.workers
    }
}

fn plan(workers: usize, queue: usize) -> Plan {
    Plan {
        name: Arc::from("model"),
        workers,
        queue,
        max_waiting: None,
        queue_timeout: None,
        background_age: Duration::from_secs(1),
        idle_yields: 0,
        helpful: false,
        nice: Nice::from_here(0),
        hooks: Hooks::default(),
    }
}

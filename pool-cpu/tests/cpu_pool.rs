//! The guarantees of a `CpuPool`, tested through its public interface.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use pool_cpu::{CpuPool, Shutdown};

fn pool(threads: usize, queue: usize) -> CpuPool {
    CpuPool::builder()
        .threads(threads)
        .queue(queue)
        .build()
        .unwrap()
}

/// Submits a job that holds its worker until it is released.
fn hold(cpu: &CpuPool) -> (mpsc::Sender<()>, pool_cpu::JobHandle<()>) {
    let (go, gate) = mpsc::channel::<()>();
    let (started, begun) = mpsc::channel();
    // A long timeout, whatever the pool's setting, because a busy machine may take long to begin this job.
    let job = cpu
        .job("")
        .queue_timeout(Duration::from_secs(60))
        .try_run(move || {
            started.send(()).unwrap();
            gate.recv().ok();
        })
        .unwrap();
    begun.recv().unwrap();
    (go, job)
}

#[tokio::test]
async fn a_job_runs_and_gives_its_result() {
    let cpu = pool(2, 8);
    assert_eq!(cpu.run(|| 6 * 7).await.unwrap(), 42);
    assert_eq!(cpu.run_sync(|| 1).unwrap_or(0), 1);
}

#[tokio::test]
async fn a_panic_is_an_error_with_its_message_and_the_worker_lives_on() {
    let cpu = pool(1, 8);
    for _ in 0..3 {
        let error = cpu
            .job("parse")
            .run(|| -> u8 { panic!("no digit in {:?}", "x") })
            .await
            .unwrap_err();
        assert!(error.is_panic());
        assert_eq!(error.panic_message(), Some("no digit in \"x\""));
        assert_eq!(error.label(), "parse");
    }
    assert_eq!(cpu.run(|| 1).await.unwrap(), 1);
}

#[tokio::test]
async fn a_full_queue_gives_the_closure_back() {
    let cpu = pool(1, 1);
    let (go, held) = hold(&cpu);
    let queued = cpu.try_run(|| 1).unwrap();
    let rejected = cpu.try_run(|| 2).unwrap_err();
    assert!(rejected.error().is_overloaded());
    assert_eq!((rejected.into_closure())(), 2);
    go.send(()).unwrap();
    held.await.unwrap();
    assert_eq!(queued.await.unwrap(), 1);
}

#[tokio::test]
async fn run_waits_for_a_place_in_order() {
    let cpu = pool(1, 0);
    let (go, held) = hold(&cpu);
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let waiting: Vec<_> = (0..5)
        .map(|n| {
            let (cpu, order) = (cpu.clone(), Arc::clone(&order));
            tokio::spawn(async move { cpu.run(move || order.lock().unwrap().push(n)).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    go.send(()).unwrap();
    held.await.unwrap();
    for job in waiting {
        job.await.unwrap().unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn dropping_the_future_of_a_queued_job_drops_it_and_frees_its_place_at_once() {
    let cpu = pool(1, 1);
    let (go, held) = hold(&cpu);
    let ran = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ran);
    let queued = cpu
        .try_run(move || count.fetch_add(1, Ordering::Relaxed))
        .unwrap();
    assert_eq!(Arc::strong_count(&ran), 2);
    drop(queued);
    assert_eq!(Arc::strong_count(&ran), 1, "the closure is dropped at once");
    let next = cpu.try_run(|| 7).expect("its place is free");
    go.send(()).unwrap();
    held.await.unwrap();
    assert_eq!(next.await.unwrap(), 7);
    assert_eq!(ran.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_job_that_waits_too_long_gets_an_error_and_never_runs() {
    let cpu = CpuPool::builder()
        .threads(1)
        .queue(4)
        .queue_timeout(Duration::from_millis(30))
        .build()
        .unwrap();
    let (go, held) = hold(&cpu);
    let ran = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ran);
    let error = cpu
        .run(move || count.fetch_add(1, Ordering::Relaxed))
        .await
        .unwrap_err();
    assert!(error.is_queue_timeout(), "{error}");
    go.send(()).unwrap();
    held.await.unwrap();
    assert_eq!(ran.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn waiting_for_ones_own_pool_is_an_error_not_a_deadlock() {
    let cpu = pool(1, 4);
    let inner = cpu.clone();
    let error = cpu
        .run(move || inner.run_sync(|| 1))
        .await
        .unwrap()
        .unwrap_err();
    assert!(error.is_self_wait());
}

#[tokio::test]
async fn a_shutdown_drains_the_queue_and_refuses_what_comes_later() {
    let cpu = pool(1, 8);
    let jobs: Vec<_> = (0..5).map(|n| cpu.try_run(move || n).unwrap()).collect();
    let report = cpu.shutdown(Shutdown::Drain, Duration::from_secs(5)).await;
    assert!(report.is_clean(), "{report:?}");
    for (n, job) in jobs.into_iter().enumerate() {
        assert_eq!(job.await.unwrap(), n);
    }
    assert!(cpu.run(|| 1).await.unwrap_err().is_closed());
}

#[tokio::test]
async fn a_drain_that_is_over_time_says_how_many_are_left_and_the_report_which() {
    let cpu = pool(2, 4);
    let (go, held) = hold(&cpu);
    let drained = cpu.drain(Duration::from_millis(30)).await;
    assert!(!drained.is_complete() && drained.leased.is_empty());
    assert!((1..=2).contains(&drained.left), "{drained:?}");
    assert!(cpu.run(|| ()).await.unwrap_err().is_closed());
    let report = cpu.shutdown(Shutdown::Drain, Duration::ZERO).await;
    assert_eq!(report.still_running.len(), 1);
    drop(go);
    held.await.unwrap();
    assert!(cpu.drain(Duration::from_secs(10)).await.is_complete());
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_ever_and_says_what_still_runs() {
    let cpu = pool(1, 8);
    let (go, held) = hold(&cpu);
    let queued = cpu.try_run(|| 1).unwrap();
    let report = cpu
        .shutdown(Shutdown::Drain, Duration::from_millis(30))
        .await;
    assert_eq!((report.dropped, report.still_running.len()), (1, 1));
    assert!(queued.await.unwrap_err().is_closed());
    go.send(()).unwrap();
    held.await.unwrap();
}

#[tokio::test]
async fn normal_jobs_come_before_background_ones_that_came_first() {
    let cpu = CpuPool::builder()
        .threads(1)
        .queue(16)
        .background_age(Duration::from_secs(60))
        .build()
        .unwrap();
    let (go, held) = hold(&cpu);
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let order = Arc::clone(&order);
        move || order.lock().unwrap().push(name)
    };
    let late = [
        cpu.job("").background().try_run(note("background")),
        cpu.job("").background().try_run(note("background")),
    ];
    let early = [cpu.try_run(note("normal")), cpu.try_run(note("normal"))];
    go.send(()).unwrap();
    held.await.unwrap();
    for job in late.into_iter().chain(early) {
        job.unwrap().await.unwrap();
    }
    assert_eq!(
        *order.lock().unwrap(),
        ["normal", "normal", "background", "background"]
    );
}

#[tokio::test]
async fn a_background_job_that_has_aged_gets_one_pick_in_four() {
    let cpu = CpuPool::builder()
        .threads(1)
        .queue(64)
        .background_age(Duration::ZERO)
        .build()
        .unwrap();
    let (go, held) = hold(&cpu);
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let note = |name: char| {
        let order = Arc::clone(&order);
        move || order.lock().unwrap().push(name)
    };
    let mut jobs: Vec<_> = (0..4)
        .map(|_| cpu.job("").background().try_run(note('b')).unwrap())
        .collect();
    jobs.extend((0..16).map(|_| cpu.try_run(note('n')).unwrap()));
    go.send(()).unwrap();
    held.await.unwrap();
    for job in jobs {
        job.await.unwrap();
    }
    let order: String = order.lock().unwrap().iter().collect();
    let last = order.rfind('b').unwrap();
    assert!(
        (10..=16).contains(&last),
        "neither starved nor first: {order}"
    );
}

#[tokio::test]
async fn background_jobs_that_were_given_up_take_no_turn_from_one_that_waits() {
    let cpu = CpuPool::builder()
        .threads(1)
        .queue(100)
        .background_age(Duration::ZERO)
        .build()
        .unwrap();
    let (go, held) = hold(&cpu);
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let note = |name: char| {
        let order = Arc::clone(&order);
        move || order.lock().unwrap().push(name)
    };
    for _ in 0..60 {
        drop(cpu.job("").background().try_run(note('x')).unwrap());
    }
    let mut jobs = vec![cpu.job("").background().try_run(note('b')).unwrap()];
    jobs.extend((0..40).map(|_| cpu.try_run(note('n')).unwrap()));
    go.send(()).unwrap();
    held.await.unwrap();
    for job in jobs {
        job.await.unwrap();
    }
    let order: String = order.lock().unwrap().iter().collect();
    assert!(order.find('b') <= Some(4), "it waited for shells: {order}");
    assert_eq!((order.len(), cpu.status().queued), (41, 0));
}

#[tokio::test]
async fn background_jobs_do_not_take_the_places_of_normal_ones() {
    let cpu = pool(1, 1);
    let (go, held) = hold(&cpu);
    let mut background = Vec::new();
    while let Ok(job) = cpu.job("").background().try_run(|| ()) {
        background.push(job);
    }
    let normal = cpu.try_run(|| 7).expect("it has places of its own");
    go.send(()).unwrap();
    held.await.unwrap();
    assert_eq!(normal.await.unwrap(), 7);
    for job in background {
        job.await.unwrap();
    }
}

#[tokio::test]
async fn tenants_take_turns_at_the_places() {
    let cpu = pool(1, 0);
    let (go, held) = hold(&cpu);
    let order = Arc::new(std::sync::Mutex::new(String::new()));
    let mut waiting = Vec::new();
    for tenant in ['a', 'a', 'a', 'a', 'a', 'a', 'b', 'b'] {
        let (cpu, order) = (cpu.clone(), Arc::clone(&order));
        waiting.push(tokio::spawn(async move {
            cpu.job("")
                .tenant(tenant)
                .run(move || order.lock().unwrap().push(tenant))
                .await
        }));
        tokio::task::yield_now().await;
    }
    go.send(()).unwrap();
    held.await.unwrap();
    for job in waiting {
        job.await.unwrap().unwrap();
    }
    let order = order.lock().unwrap();
    assert!(
        order.rfind('b') <= Some(4),
        "one that asks for little waited for all of: {order}"
    );
}

#[tokio::test]
async fn a_job_that_has_spent_its_budget_is_told_and_keeps_its_place() {
    let cpu = pool(1, 0);
    let (noticed, wait) = mpsc::channel();
    let job = cpu
        .job("slow")
        .budget(Duration::from_millis(20))
        .run_with(move |ctx| {
            while !ctx.is_cancelled() {
                std::thread::yield_now();
            }
            noticed.send(()).unwrap();
            std::thread::sleep(Duration::from_millis(30));
        });
    let error = job.await.unwrap_err();
    assert!(error.is_run_timeout() && error.is_timeout(), "{error}");
    assert!(cpu.try_run(|| ()).is_err(), "it still runs");
    wait.recv().unwrap();
    cpu.run(|| ()).await.unwrap();
    let status = cpu.status();
    assert_eq!((status.overrun, status.completed), (1, 2));
}

#[tokio::test]
async fn a_running_job_is_told_that_its_caller_is_gone() {
    let cpu = pool(1, 0);
    let (started, begun) = tokio::sync::oneshot::channel();
    let (noticed, wait) = tokio::sync::oneshot::channel();
    let job = cpu.job("").run_with(move |ctx| {
        started.send(()).unwrap();
        while !ctx.is_cancelled() {
            std::thread::yield_now();
        }
        noticed.send(()).unwrap();
    });
    tokio::select! {
        _ = job => panic!("it waits for a cancel"),
        _ = begun => {}
    }
    wait.await.unwrap();
}

#[tokio::test]
async fn others_get_in_between_two_chunks() {
    let cpu = pool(1, 8);
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (chunks, other) = (Arc::clone(&order), Arc::clone(&order));
    let (started, begun) = tokio::sync::oneshot::channel();
    let (submitted, submit) = mpsc::channel();
    let mut started = Some(started);
    let long = cpu.for_each_chunk(0..200, 1, move |chunk| {
        if let Some(started) = started.take() {
            started.send(()).unwrap();
            submit.recv().unwrap();
        }
        chunks.lock().unwrap().extend(chunk);
    });
    let between = async {
        begun.await.unwrap();
        let job = cpu.try_run(move || other.lock().unwrap().push(1000));
        submitted.send(()).unwrap();
        job.unwrap().await
    };
    let (long, between) = tokio::join!(long, between);
    long.unwrap();
    between.unwrap();
    let order = order.lock().unwrap().clone();
    let at = order.iter().position(|n| *n == 1000).unwrap();
    assert!(at < 10, "it came after {at} chunks");
    assert!(order.iter().filter(|n| **n < 1000).copied().eq(0..200));
    assert!(
        cpu.for_each_chunk([1], 0, drop)
            .await
            .unwrap_err()
            .is_invalid()
    );
}

#[tokio::test]
async fn a_line_that_is_full_is_an_error_at_once() {
    let cpu = CpuPool::builder()
        .threads(1)
        .queue(0)
        .max_waiters(1)
        .build()
        .unwrap();
    let (go, held) = hold(&cpu);
    let (first, second) = (cpu.run(|| 1), cpu.run(|| 2));
    let (first, second) = tokio::join!(first, async {
        let answer = second.await;
        go.send(()).unwrap();
        answer
    });
    assert_eq!(first.unwrap(), 1);
    assert!(second.unwrap_err().is_overloaded());
    held.await.unwrap();
}

#[tokio::test]
async fn a_pool_whose_handles_are_gone_runs_what_it_has_taken() {
    let cpu = pool(1, 8);
    let (go, held) = hold(&cpu);
    let queued = cpu.try_run(|| 7).unwrap();
    drop(cpu);
    go.send(()).unwrap();
    held.await.unwrap();
    assert_eq!(queued.await.unwrap(), 7);
}

#[tokio::test]
async fn what_is_spawned_runs_without_being_awaited_or_held() {
    let (send, receive) = tokio::sync::oneshot::channel();
    drop(pool_cpu::spawn(move || send.send(7)));
    assert_eq!(receive.await.unwrap(), 7);
    assert_eq!(pool_cpu::spawn(|| 8).await.unwrap(), 8);
    assert!(
        pool_cpu::spawn(|| panic!("no"))
            .await
            .map(|(): ()| ())
            .unwrap_err()
            .is_panic()
    );
    let other = pool(1, 1);
    assert!(
        pool_cpu::set_default_pool(other).is_err(),
        "there is one already"
    );
}

#[tokio::test]
async fn jobs_that_are_given_up_are_counted_wherever_they_wait() {
    let cpu = pool(1, 1);
    let (go, held) = hold(&cpu);
    let queued = cpu.try_run(|| ()).unwrap();
    let mut in_line = Box::pin(cpu.run(|| ()));
    assert!(futures_util::FutureExt::now_or_never(in_line.as_mut()).is_none());
    assert_eq!((cpu.status().queued, cpu.status().waiting), (1, 1));
    drop((in_line, queued));
    // A future that is never polled submits no job.
    drop(cpu.run(|| ()));
    drop(cpu.try_run(|| ()).unwrap());
    let status = cpu.status();
    assert_eq!((status.cancelled, status.queued, status.waiting), (3, 0, 0));
    go.send(()).unwrap();
    held.await.unwrap();
}

#[test]
fn futures_of_a_pool_need_no_runtime() {
    let cpu = pool(1, 8);
    let sum = futures_util::FutureExt::now_or_never(async { 1 }).unwrap();
    let jobs = futures_util::future::join_all((0..100).map(|n| cpu.run(move || n)));
    let results: Result<Vec<_>, _> = std::thread::scope(|scope| {
        let wait = scope.spawn(|| block_on(jobs));
        wait.join().unwrap().into_iter().collect()
    });
    assert_eq!(results.unwrap().into_iter().sum::<u64>() + sum, 4951);
}

/// A minimal executor.
fn block_on<F: std::future::Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = std::pin::pin!(future);
    let waker = std::task::Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = std::task::Context::from_waker(&waker);
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        std::thread::park();
    }
}

#[tokio::test]
async fn a_job_that_may_take_no_time_at_all_is_refused_by_name_however_it_is_asked_for() {
    let cpu = CpuPool::builder().name("cpu").threads(1).build().unwrap();
    let jobs = [
        (
            "queue_timeout",
            cpu.job("none").queue_timeout(Duration::ZERO),
        ),
        ("budget", cpu.job("none").budget(Duration::ZERO)),
    ];
    for (setting, job) in jobs {
        let errors = [
            job.run(|| ()).await.unwrap_err(),
            job.enqueue(|| ()).await.map(drop).unwrap_err(),
            job.try_run(|| ()).unwrap_err().into_error(),
            job.spawn(|| ()).await.unwrap_err(),
            job.run_sync(|| ()).unwrap_err(),
            job.for_each_chunk(0..3, 1, |_| ()).await.unwrap_err(),
        ];
        for error in errors {
            assert!(error.is_invalid(), "{error:?}");
            assert_eq!(
                error.to_string(),
                format!(
                    "job `none` for pool `cpu` is invalid: {setting} is 0s, but must be longer than nothing"
                )
            );
        }
    }
    assert_eq!(cpu.status().completed, 0);
}

#[tokio::test]
async fn a_future_that_has_given_its_result_says_so_when_it_is_polled_again() {
    let cpu = CpuPool::builder().name("cpu").threads(1).build().unwrap();
    let mut run = cpu.run(|| 7);
    assert_eq!((&mut run).await.unwrap(), 7);
    let mut handle = cpu.try_run(|| 7).unwrap();
    assert_eq!((&mut handle).await.unwrap(), 7);
    let mut spawned = cpu.job("").spawn(|| 7);
    assert_eq!((&mut spawned).await.unwrap(), 7);
    for again in [(&mut run).await, (&mut handle).await, (&mut spawned).await] {
        let error = again.unwrap_err();
        assert_eq!(
            error.to_string(),
            "job of pool `cpu` was polled after it had returned its result"
        );
    }
    assert_eq!(cpu.status().completed, 3);
}

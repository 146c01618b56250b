//! The free functions, on a default pool that was made by hand and is full.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    task::{Context, Waker},
};

use pool_cpu::CpuPool;

#[tokio::test]
async fn what_is_spawned_on_a_full_pool_waits_in_its_handle() {
    let cpu = CpuPool::builder().threads(1).queue(0).build().unwrap();
    pool_cpu::set_default_pool(cpu.clone()).unwrap();
    assert_eq!(pool_cpu::default_pool().unwrap().name(), cpu.name());
    let (go, gate) = mpsc::channel::<()>();
    let held = pool_cpu::spawn(move || gate.recv().ok());

    let ran = Arc::new(AtomicUsize::new(0));
    let spawn = || {
        let ran = Arc::clone(&ran);
        pool_cpu::spawn(move || ran.fetch_add(1, Relaxed))
    };
    let (mut aborted, mut dropped, mut awaited) = (spawn(), spawn(), spawn());
    for job in [&mut dropped, &mut awaited, &mut aborted] {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(std::pin::Pin::new(&mut *job).poll(&mut cx).is_pending());
        assert!(!job.is_finished());
    }
    assert_eq!((cpu.stats().waiting, cpu.stats().rejected), (3, 0));
    drop(dropped);
    aborted.abort();
    assert!(aborted.await.unwrap_err().is_cancelled());
    assert_eq!((cpu.stats().waiting, cpu.stats().cancelled), (1, 2));
    go.send(()).unwrap();
    held.await.unwrap();
    assert_eq!(awaited.await.unwrap(), 0);
    assert_eq!(ran.load(Relaxed), 1, "who gives up his place does not run");
}

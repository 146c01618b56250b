//! The scheduling priority of threads.

/// How much lower the priority of a pool's threads is than the priority of the thread that built the pool.
///
/// Linux keeps a priority for each thread, and a new thread inherits the priority of the thread that starts it. Threads of a pool
/// may start other threads of the pool, so the priority is stored as an absolute value, and not as a step down from the starting
/// thread. One case differs: a process without the permission to raise priorities cannot raise the priority of a thread that a
/// nicer thread has started. Such a thread keeps the priority that it inherited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nice {
    by: u16,
    /// The priority of the thread that builds the pool.
    #[cfg(target_os = "linux")]
    from: i32,
}

impl Nice {
    /// A priority that is lower by `by` than that of the current thread.
    pub(crate) fn from_here(by: u16) -> Self {
        Self {
            by,
            #[cfg(target_os = "linux")]
            from: current(),
        }
    }
}

/// Sets the priority of the current thread, or the lowest priority that exists. Only has an effect on Linux.
pub(crate) fn lower_priority(nice: Nice) {
    #[cfg(target_os = "linux")]
    {
        let priority = nice.from.saturating_add(i32::from(nice.by));
        if priority == current() {
            return;
        }
        // SAFETY: the call only takes numbers and touches no memory of this process. 0 means the current thread.
        #[allow(unsafe_code)]
        unsafe {
            // Lowering the priority is always allowed, and stops at the lowest priority. Raising it, on a thread that a nicer
            // thread has started, may be refused; the priority then stays as it is.
            libc::setpriority(libc::PRIO_PROCESS, 0, priority);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = nice.by;
}

/// The priority of the current thread.
#[cfg(target_os = "linux")]
fn current() -> i32 {
    // SAFETY: the call only takes numbers and touches no memory of this process. 0 means the current thread.
    #[allow(unsafe_code)]
    unsafe {
        libc::getpriority(libc::PRIO_PROCESS, 0)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Reads the 19th field of `/proc/thread-self/stat`, which is the 17th field after the name in brackets.
    fn niceness() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let after_name = stat.rsplit(')').next().unwrap();
        after_name
            .split_whitespace()
            .nth(16)
            .unwrap()
            .parse()
            .unwrap()
    }

    #[test]
    fn only_the_current_thread_becomes_nicer() {
        let before = niceness();
        let nice = Nice::from_here(3);
        let inside = std::thread::spawn(move || {
            lower_priority(nice);
            // A thread that this thread starts has the same priority, and not three steps less.
            let next = std::thread::spawn(move || {
                lower_priority(nice);
                niceness()
            });
            (niceness(), next.join().unwrap())
        });
        let lower = (before + 3).min(19);
        assert_eq!(inside.join().unwrap(), (lower, lower));
        assert_eq!(niceness(), before);
    }
}

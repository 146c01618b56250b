//! The priority of the current thread.

/// How much lower the priority of a pool's threads is than that of the thread which built it.
///
/// Linux keeps a priority for each thread, and a thread begins with that of the one that started it. Threads of a pool are started by
/// others of it too, so it is not a step down from there, but a priority of its own. Only one that is started by a nicer thread than it
/// is to be, in a process that may not raise priorities, stays as nice as that one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nice {
    by: u16,
    /// The priority of the thread that builds the pool.
    #[cfg(target_os = "linux")]
    from: i32,
}

impl Nice {
    /// So much lower than that of this thread.
    pub(crate) fn from_here(by: u16) -> Self {
        Self {
            by,
            #[cfg(target_os = "linux")]
            from: current(),
        }
    }
}

/// Gives the current thread that priority, or the lowest that there is. Elsewhere than on Linux this does nothing.
pub(crate) fn lower_priority(nice: Nice) {
    #[cfg(target_os = "linux")]
    {
        let priority = nice.from.saturating_add(i32::from(nice.by));
        if priority == current() {
            return;
        }
        // SAFETY: it takes numbers and touches no memory of ours. 0 is the current thread.
        #[allow(unsafe_code)]
        unsafe {
            // To lower a priority is always allowed; a step too far stops at the lowest. To raise it again, on a thread that a nicer
            // one has started, may not be: then it stays as it is.
            libc::setpriority(libc::PRIO_PROCESS, 0, priority);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = nice.by;
}

/// The priority of the current thread.
#[cfg(target_os = "linux")]
fn current() -> i32 {
    // SAFETY: it takes numbers and touches no memory of ours. 0 is the current thread.
    #[allow(unsafe_code)]
    unsafe {
        libc::getpriority(libc::PRIO_PROCESS, 0)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The 19th field of `/proc/thread-self/stat`, the 17th after the name in brackets.
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
            // A thread that this one starts has the same, not three steps below that.
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

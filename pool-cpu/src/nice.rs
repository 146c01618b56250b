//! The priority of the current thread.

/// Lowers the priority of the current thread by `by` steps, down to the lowest at most. Linux keeps
/// a priority for each thread; elsewhere this does nothing.
pub(crate) fn lower_priority(by: u16) {
    #[cfg(target_os = "linux")]
    if by > 0 {
        // SAFETY: `nice` takes a number and touches no memory of ours.
        #[allow(unsafe_code)]
        unsafe {
            // To lower a priority is always allowed; a step too far stops at the lowest.
            libc::nice(libc::c_int::from(by));
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = by;
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
        let inside = std::thread::spawn(|| {
            lower_priority(3);
            niceness()
        });
        assert_eq!(inside.join().unwrap(), (before + 3).min(19));
        assert_eq!(niceness(), before);
    }
}

//! What makes a PostgreSQL session as good as new, whichever driver sends it.

/// `DISCARD ALL` without the parts that drop the prepared statements.
///
/// The settings are restored in a transaction of their own: what follows runs as the session's transactions begin by default, and
/// not as the last caller had it, such as read-only. Nothing restores the sequence of random numbers, so it begins anywhere.
pub(crate) fn clean() -> String {
    let seed = fastrand::f64();
    format!(
        "BEGIN; CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; COMMIT; UNLISTEN *; \
         SELECT pg_catalog.pg_advisory_unlock_all(); SELECT pg_catalog.setseed({seed}); \
         DISCARD TEMP; DISCARD SEQUENCES;"
    )
}

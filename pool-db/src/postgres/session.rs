//! What is known of a connection's session on the server.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
};

use tokio::{sync::Notify, time::Instant};

use super::{session_attrs::SessionAttrs, trust::Standing};

/// The state of a session on the server, as the messages that went by tell it.
///
/// The task that reads and writes the socket updates it. The holder of the connection reads it.
// Ordering: `Relaxed` is enough for all of these. An answer reaches the holder through the driver's channel, after the bytes of the
// answer were looked at, and the channel makes these writes visible. What was not answered yet is known by `unanswered` and
// `abandoned`: the holder then asks the server, and waits for that answer.
#[derive(Debug, Default)]
pub(super) struct Session {
    status: AtomicU8,
    /// How many requests were written and not answered.
    unanswered: AtomicU32,
    /// Whether a request's future was dropped before its answer. It may not even have been written yet.
    abandoned: AtomicBool,
    /// Whether requests were sent whose answers nobody waits for.
    unseen: AtomicBool,
    /// Whether a `COPY` has begun since [`take_copy`](Self::take_copy).
    copies: AtomicBool,
    /// Whether the holder sends the data of a `COPY` itself.
    may_copy_in: AtomicBool,
    /// Whether the holder has done so since the session was settled.
    was_copied_to: AtomicBool,
    left: AtomicU8,
    /// Whether the server has dropped the statements that the driver keeps for itself.
    is_useless: AtomicBool,
    /// Whether the server said that it ends the connection.
    is_ending: AtomicBool,
    /// Whether the pool itself is cleaning: what is completed now leaves nothing.
    is_cleaning: AtomicBool,
    /// Whether the pool itself has prepared statements by SQL, for the callers.
    keeps_statements: AtomicBool,
    was_rolled_back: AtomicBool,
    /// Whether a statement was refused because its transaction lost against another (40001, 40P01), since one began.
    has_lost: AtomicBool,
    /// How many requests were written. It wraps around.
    written: AtomicU32,
    /// Whether nothing was written since the connection was returned to the pool, and when that was: in milliseconds since `began`.
    rests: AtomicBool,
    rested_at: AtomicU64,
    began: Began,
    /// How often the statements of this session were dropped.
    epoch: AtomicU32,
    process_id: AtomicI32,
    /// Whether no statement gets its name on the server.
    is_unnamed: AtomicBool,
    is_standby: AtomicU8,
    is_read_only: AtomicU8,
    /// Whether a statement was refused because the server, or its transaction, only reads (25006).
    was_refused_writes: AtomicBool,
    /// Whether the server has said that its role, or its default for writes, is another one than when the session began.
    has_other_role: AtomicBool,
    /// Whether the pool itself ends the connection.
    parts: AtomicBool,
    standing: Arc<Standing>,
    /// The era of the server in which the connection was opened or last checked.
    era: AtomicU64,
    /// How many requests were answered. It wraps.
    answered: AtomicU32,
    /// Whether a statement was completed that must not share its connection.
    is_strayed: AtomicBool,
    /// Whether the server was ever in a transaction after an answer.
    was_in_transaction: AtomicBool,
    /// Told once, at the end of the task that drives the connection.
    end: Notify,
    pub(super) lost: OnceLock<tokio_postgres::Error>,
}

/// When a session began.
#[derive(Debug)]
struct Began(Instant);

impl Began {
    /// How many milliseconds it is old.
    fn elapsed(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Default for Began {
    fn default() -> Self {
        Self(Instant::now())
    }
}

/// After how many milliseconds it is worth a system call to look whether the server has said goodbye meanwhile. A server that ends
/// a connection which has just been used is not told from one that ends it in use.
const REST: u64 = 5;

/// The status of a session in the server's last `ReadyForQuery`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Status {
    /// In no transaction.
    #[default]
    Idle,
    InTransaction,
    /// In a transaction in which a statement has failed. It can only be rolled back.
    Failed,
}

/// What statements may have left on a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left(u8);

impl Left {
    /// Settings, locks, temporary tables, cursors, notifications.
    pub(super) const SETTINGS: Self = Self(1);
    /// Statements that SQL has prepared.
    pub(super) const STATEMENTS: Self = Self(2);
    /// Whatever there is: what code on the server does is not known.
    pub(super) const ANYTHING: Self = Self(3);
}

/// What the messages tell: the side of [`Wire`](super::wire::Wire).
impl Session {
    /// Whether this is the first write after a rest.
    pub(super) fn take_rest(&self) -> bool {
        self.rests.load(Relaxed)
            && self.rests.swap(false, Relaxed)
            && self.began.elapsed() - self.rested_at.load(Relaxed) >= REST
    }

    /// The write did not take place.
    pub(super) fn rests_again(&self) {
        self.rests.store(true, Relaxed);
    }

    /// A request was written.
    pub(super) fn asks(&self) {
        self.unanswered.fetch_add(1, Relaxed);
        self.writes();
    }

    /// Something was written that may take effect.
    pub(super) fn writes(&self) {
        self.written.fetch_add(1, Relaxed);
    }

    /// The server ignores a request that was counted.
    pub(super) fn is_ignored(&self) {
        self.unanswered.fetch_sub(1, Relaxed);
    }

    /// The server waits for requests. `answers` says whether it has answered one.
    pub(super) fn is_ready(&self, status: Status, answers: bool) {
        self.status.store(status as u8, Relaxed);
        if status != Status::Idle {
            self.was_in_transaction.store(true, Relaxed);
        }
        if answers {
            self.unanswered.fetch_sub(1, Relaxed);
            self.answered.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn has_id(&self, process_id: i32) {
        self.process_id.store(process_id, Relaxed);
    }

    /// A `COPY` has begun.
    pub(super) fn copies(&self) {
        self.copies.store(true, Relaxed);
    }

    pub(super) fn may_copy_in(&self) -> bool {
        self.may_copy_in.load(Relaxed)
    }

    pub(super) fn was_copied_to(&self) -> bool {
        self.was_copied_to.load(Relaxed)
    }

    pub(super) fn is_standby(&self, is: bool) {
        self.has_role(&self.is_standby, is);
    }

    pub(super) fn is_read_only_by_default(&self, is: bool) {
        self.has_role(&self.is_read_only, is);
    }

    fn has_role(&self, part: &AtomicU8, is: bool) {
        let before = is_known(part.swap(known(is), Relaxed));
        if before.is_some_and(|was| was != is) {
            self.has_other_role.store(true, Relaxed);
        }
    }

    pub(super) fn leaves(&self, left: Left) {
        if !self.is_cleaning.load(Relaxed) {
            self.left.fetch_or(left.0, Relaxed);
        } else if left.0 & Left::STATEMENTS.0 != 0 {
            self.keeps_statements.store(true, Relaxed);
        }
    }

    /// The server has refused a request, with a SQLSTATE.
    pub(super) fn refused(&self, is_fatal: bool, code: &[u8]) {
        if is_fatal {
            self.is_ending.store(true, Relaxed);
        }
        match code {
            b"25006" => self.was_refused_writes.store(true, Relaxed),
            // The server stops, has crashed, or starts. Or an administrator has ended this one backend.
            b"57P01" | b"57P02" | b"57P03" if is_fatal => self.standing.doubt(self.era()),
            b"40001" | b"40P01" => self.has_lost.store(true, Relaxed),
            // A prepared statement is gone. The driver may miss one of its own, and would miss it for ever.
            b"26000" => self.is_useless.store(true, Relaxed),
            _ => {}
        }
    }

    /// A statement was completed that must not share its connection, whatever it has left.
    pub(super) fn strays(&self) {
        if !self.is_cleaning.load(Relaxed) {
            self.is_strayed.store(true, Relaxed);
        }
    }

    /// A statement was completed. `is_rowless` says that it returned no rows to the client, whatever its tag says.
    pub(super) fn completed(&self, tag: &str, is_rowless: bool) {
        if !Effect::may_share(tag, is_rowless) {
            self.strays();
        }
        match Effect::of(tag, is_rowless) {
            Effect::None => {}
            Effect::Begins => {
                self.was_rolled_back.store(false, Relaxed);
                self.has_lost.store(false, Relaxed);
            }
            Effect::RollsBack => self.was_rolled_back.store(true, Relaxed),
            Effect::Leaves(left) => self.leaves(left),
            Effect::Spoils if self.is_cleaning.load(Relaxed) => {}
            Effect::Spoils => {
                self.epoch.fetch_add(1, Relaxed);
                self.is_useless.store(true, Relaxed);
            }
        }
    }
}

/// What the holder of the connection asks and says.
impl Session {
    /// Nobody holds the connection from now on, until something is written to it.
    pub(super) fn rests(&self) {
        self.rested_at.store(self.began.elapsed(), Relaxed);
        self.rests.store(true, Relaxed);
    }

    /// The id of the server's process, or what a proxy says in its place.
    pub(super) fn process_id(&self) -> i32 {
        self.process_id.load(Relaxed)
    }

    /// From now on no statement gets its name on the server. Nothing may be being written.
    pub(super) fn let_be_unnamed(&self) {
        self.is_unnamed.store(true, Relaxed);
    }

    /// Whether no statement gets its name on the server.
    pub(super) fn is_unnamed(&self) -> bool {
        self.is_unnamed.load(Relaxed)
    }

    pub(super) fn status(&self) -> Status {
        match self.status.load(Relaxed) {
            0 => Status::Idle,
            1 => Status::InTransaction,
            _ => Status::Failed,
        }
    }

    /// Records that nobody waits for the answer to a request any more.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Relaxed);
    }

    /// Records that a request is sent whose answer nobody waits for.
    pub(super) fn unseen(&self) {
        self.unseen.store(true, Relaxed);
    }

    /// Whether the server may still work on a request that nobody waits for.
    pub(super) fn may_be_busy(&self) -> bool {
        self.was_abandoned() || self.unseen.load(Relaxed) || self.unanswered.load(Relaxed) > 0
    }

    /// Whether a request was abandoned since the session was [`settled`](Self::settled).
    pub(super) fn was_abandoned(&self) -> bool {
        self.abandoned.load(Relaxed)
    }

    /// The last request that was sent has been answered, and so have all before it.
    pub(super) fn settled(&self) {
        self.abandoned.store(false, Relaxed);
        self.unseen.store(false, Relaxed);
    }

    /// Whether a `COPY` has begun since the last call.
    pub(super) fn take_copy(&self) -> bool {
        self.copies.swap(false, Relaxed)
    }

    /// Lets the holder send the data of a `COPY`, or ends that.
    pub(super) fn let_copy_in(&self, may: bool) {
        self.may_copy_in.store(may, Relaxed);
        if may {
            self.was_copied_to.store(true, Relaxed);
        }
    }

    /// Whether the last transaction that has ended was rolled back, whatever was asked for.
    pub(super) fn was_rolled_back(&self) -> bool {
        self.was_rolled_back.load(Relaxed)
    }

    /// Whether a statement was refused because its transaction lost against another one.
    pub(super) fn has_lost(&self) -> bool {
        self.has_lost.load(Relaxed)
    }

    /// How many requests were written. It wraps around.
    pub(super) fn written(&self) -> u32 {
        self.written.load(Relaxed)
    }

    /// Whether the connection cannot be used by another caller, whatever is done to it.
    pub(super) fn is_spoilt(&self) -> bool {
        self.is_ending.load(Relaxed) || self.is_useless.load(Relaxed)
    }

    /// Changes whenever all statements of the session were dropped.
    pub(super) fn epoch(&self) -> u32 {
        self.epoch.load(Relaxed)
    }

    /// Whether the server only reads: a standby, or one that was switched to that. `None` if it did not say (before version 14).
    pub(super) fn only_reads(&self) -> Option<bool> {
        let standby = is_known(self.is_standby.load(Relaxed))?;
        Some(standby || is_known(self.is_read_only.load(Relaxed))?)
    }

    /// Whether the server is a standby. `None` if it did not say (before version 14).
    pub(super) fn is_in_recovery(&self) -> Option<bool> {
        is_known(self.is_standby.load(Relaxed))
    }

    /// Whether the server may no longer be what the pool wants.
    pub(super) fn must_be_judged(&self) -> bool {
        self.was_refused_writes.load(Relaxed)
            || self.has_other_role.load(Relaxed)
            || self.is_doubted()
    }

    /// Whether a statement was refused since the last call, because the server or its transaction only reads.
    pub(super) fn take_refused_writes(&self) -> bool {
        self.was_refused_writes.swap(false, Relaxed)
    }

    /// Whether the server is what `wanted` says, as far as it said. `None` if it did not (before version 14).
    pub(super) fn suits(&self, wanted: SessionAttrs) -> Option<bool> {
        match wanted {
            SessionAttrs::Any | SessionAttrs::PreferStandby => Some(true),
            SessionAttrs::ReadWrite => self.only_reads().map(|only| !only),
            SessionAttrs::ReadOnly => self.only_reads(),
            SessionAttrs::Primary => self.is_in_recovery().map(|is| !is),
            SessionAttrs::Standby => self.is_in_recovery(),
        }
    }

    pub(super) fn has_left(&self, left: Left) -> bool {
        self.left.load(Relaxed) & left.0 != 0
    }

    /// Whether there may be statements that SQL has prepared, by a caller or by the pool.
    pub(super) fn has_statements(&self) -> bool {
        self.has_left(Left::STATEMENTS) || self.keeps_statements.load(Relaxed)
    }

    pub(super) fn has_left_something(&self) -> bool {
        self.left.load(Relaxed) != 0
    }

    /// How many requests were answered so far. It wraps.
    pub(super) fn answered(&self) -> u32 {
        self.answered.load(Relaxed)
    }

    /// Whether others must not use the connection at the same time any more: a statement was completed, or something is left, that a
    /// [`Shareable`](super::Shareable) statement cannot have caused by its text, or the server cannot be used further.
    pub(super) fn is_unfit_to_share(&self) -> bool {
        self.is_strayed.load(Relaxed)
            || self.has_left_something()
            || self.is_spoilt()
            || self.was_refused_writes.load(Relaxed)
            || self.has_other_role.load(Relaxed)
    }

    /// Whether the server was ever in a transaction after an answer. What was run then may be rolled back.
    pub(super) fn was_in_transaction(&self) -> bool {
        self.was_in_transaction.load(Relaxed)
    }

    /// The task that drives the connection has ended.
    pub(super) fn ended(&self) {
        self.end.notify_one();
    }

    /// Waits for the end of the connection, on behalf of one task.
    pub(super) async fn ends(&self) {
        self.end.notified().await;
    }

    /// Begins to clean: what the statements of the pool do leaves nothing. The drop of the result ends that.
    pub(super) fn clean(&self) -> Cleaning<'_> {
        self.is_cleaning.store(true, Relaxed);
        Cleaning(self)
    }
}

/// What the connections to one server tell each other.
impl Session {
    /// The session of a connection that is about to be opened to the server with this standing.
    pub(super) fn new(standing: Arc<Standing>) -> Self {
        Self {
            era: standing.era().into(),
            standing,
            ..Self::default()
        }
    }

    /// What is known of the server.
    pub(super) const fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    pub(super) fn era(&self) -> u64 {
        self.era.load(Relaxed)
    }

    /// The server was what it should be in this era.
    pub(super) fn was_good_in(&self, era: u64) {
        self.has_other_role.store(false, Relaxed);
        self.era.store(era, Relaxed);
    }

    /// Whether another connection has met something since this one was opened or checked.
    pub(super) fn is_doubted(&self) -> bool {
        self.standing.is_doubted(self.era())
    }

    /// Whether the server was found to be of no use since this connection was opened or checked.
    pub(super) fn is_condemned(&self) -> bool {
        self.standing.is_condemned(self.era())
    }

    /// Waits until the server was found to be of no use since this connection was opened.
    pub(super) async fn condemned(&self) {
        self.standing.condemned(self.era()).await;
    }

    /// Tells the other connections if the server says that it is a standby where a primary is `wanted`, or the reverse. A server
    /// before version 14 does not say so. What else it reports may be the doing of a caller.
    pub(super) fn pass_on_its_role(&self, wanted: SessionAttrs) {
        let other = match wanted {
            SessionAttrs::ReadWrite | SessionAttrs::Primary => Some(true),
            SessionAttrs::Standby => Some(false),
            SessionAttrs::Any | SessionAttrs::ReadOnly | SessionAttrs::PreferStandby => None,
        };
        if other.is_some() && self.is_in_recovery() == other {
            self.standing.condemn(self.era());
        }
    }

    /// The pool ends the connection.
    pub(super) fn parts(&self) {
        self.parts.store(true, Relaxed);
    }

    /// The connection is gone. If that came as a surprise to a caller, the other connections may be gone as well.
    pub(super) fn is_gone(&self) {
        let is_expected = [&self.rests, &self.parts, &self.is_ending]
            .iter()
            .any(|flag| flag.load(Relaxed));
        if !is_expected {
            self.standing.doubt(self.era());
        }
    }
}

/// A session that is being cleaned.
#[derive(Debug)]
pub(super) struct Cleaning<'a>(&'a Session);

impl Cleaning<'_> {
    /// Everything is as it was when the session began.
    pub(super) fn done(self) {
        self.0.left.store(0, Relaxed);
    }
}

impl Drop for Cleaning<'_> {
    fn drop(&mut self) {
        self.0.is_cleaning.store(false, Relaxed);
    }
}

/// What a completed statement does to its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    None,
    Begins,
    RollsBack,
    Leaves(Left),
    /// Nothing can make the session as good as new.
    Spoils,
}

impl Effect {
    /// Whether a statement with this tag may run on a connection that others use at the same time.
    fn may_share(tag: &str, is_rowless: bool) -> bool {
        match tag.split(' ').next() {
            Some("SELECT") => !is_rowless,
            Some("INSERT" | "UPDATE" | "DELETE" | "MERGE") => true,
            _ => false,
        }
    }

    /// The effect of a statement by the tag of its completion ([`CommandComplete`]), such as `INSERT 0 1`. A tag that is not known
    /// to leave nothing leaves something.
    ///
    /// `EXPLAIN` says nothing of the statement that `EXPLAIN ANALYZE` runs. `SELECT` is also the tag of `SELECT .. INTO` and `CREATE
    /// TABLE .. AS`, which return no rows.
    ///
    /// [`CommandComplete`]: https://www.postgresql.org/docs/current/protocol-message-formats.html
    fn of(tag: &str, is_rowless: bool) -> Self {
        let is_count = |c: char| c.is_ascii_digit() || c == ' ';
        match tag.trim_end_matches(is_count) {
            "SELECT" if is_rowless => Self::Leaves(Left::ANYTHING),
            "BEGIN" | "START TRANSACTION" | "COMMIT" => Self::Begins,
            "ROLLBACK" => Self::RollsBack,
            "PREPARE" => Self::Leaves(Left::STATEMENTS),
            // The driver has statements of its own, and does not notice that they are gone. A library stays loaded.
            "DISCARD ALL" | "DEALLOCATE ALL" | "LOAD" => Self::Spoils,
            tag if HARMLESS.contains(&tag) => Self::None,
            tag if tag.starts_with("DROP ") || tag.starts_with("ALTER ") => Self::None,
            "SET" | "RESET" | "LISTEN" | "DECLARE CURSOR" => Self::Leaves(Left::SETTINGS),
            tag if tag.starts_with("CREATE ") => Self::Leaves(Left::SETTINGS),
            // `DO`, `CALL` and `EXPLAIN` run what may prepare statements as well.
            _ => Self::Leaves(Left::ANYTHING),
        }
    }
}

/// The tags of statements that leave nothing.
const HARMLESS: [&str; 33] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "MERGE",
    "SHOW",
    "FETCH",
    "MOVE",
    "COPY",
    "SAVEPOINT",
    "RELEASE",
    "SET CONSTRAINTS",
    "LOCK TABLE",
    "NOTIFY",
    "UNLISTEN",
    "CLOSE CURSOR",
    "CLOSE CURSOR ALL",
    "DEALLOCATE",
    "DISCARD PLANS",
    "DISCARD SEQUENCES",
    "DISCARD TEMP",
    "PREPARE TRANSACTION",
    "COMMIT PREPARED",
    "ROLLBACK PREPARED",
    "TRUNCATE TABLE",
    "ANALYZE",
    "VACUUM",
    "CHECKPOINT",
    "REFRESH MATERIALIZED VIEW",
    "REINDEX",
    "CLUSTER",
    "COMMENT",
    "GRANT",
];

const fn known(is: bool) -> u8 {
    1 + is as u8
}

const fn is_known(said: u8) -> Option<bool> {
    match said {
        0 => None,
        1 => Some(false),
        _ => Some(true),
    }
}

/// Why the connection ended, as an error that can be returned.
#[derive(Debug)]
pub(super) struct Lost(pub(super) std::sync::Arc<Session>);

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.lost.get() {
            Some(error) if !error.is_closed() => error.fmt(f),
            _ => f.write_str("the server hung up"),
        }
    }
}

impl std::error::Error for Lost {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(self.0.lost.get()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_a_statement_says_what_it_leaves() {
        let leaves = Effect::Leaves(Left::SETTINGS);
        let anything = Effect::Leaves(Left::ANYTHING);
        for (tag, effect) in [
            ("SELECT 5", Effect::None),
            ("INSERT 0 1", Effect::None),
            ("BEGIN", Effect::Begins),
            ("COMMIT", Effect::Begins),
            ("ROLLBACK", Effect::RollsBack),
            ("ROLLBACK PREPARED", Effect::None),
            ("SET", leaves),
            ("RESET", leaves),
            ("LISTEN", leaves),
            ("DECLARE CURSOR", leaves),
            ("CREATE TABLE", leaves),
            ("CREATE FUNCTION", leaves),
            ("EXPLAIN", anything),
            ("DO", anything),
            ("CALL", anything),
            ("SOMETHING NEW 7", anything),
            ("", anything),
            ("PREPARE", Effect::Leaves(Left::STATEMENTS)),
            ("PREPARE TRANSACTION", Effect::None),
            ("DEALLOCATE", Effect::None),
            ("DEALLOCATE ALL", Effect::Spoils),
            ("DISCARD ALL", Effect::Spoils),
            ("LOAD", Effect::Spoils),
            ("DROP TABLE", Effect::None),
            ("ALTER TABLE", Effect::None),
        ] {
            assert_eq!(Effect::of(tag, false), effect, "{tag}");
        }
        assert_eq!(Effect::of("SELECT 0", true), anything);
        assert_eq!(Effect::of("INSERT 0 1", true), Effect::None);
    }

    #[test]
    fn what_the_pool_does_to_clean_leaves_nothing() {
        let session = Session::default();
        session.completed("SET", false);
        session.completed("PREPARE", false);
        let cleaning = session.clean();
        session.completed("RESET", false);
        session.completed("DISCARD ALL", false);
        assert!(session.has_left(Left::SETTINGS) && session.has_left(Left::STATEMENTS));
        cleaning.done();
        assert!(!session.has_left_something() && !session.is_spoilt());
        drop(session.clean());
        session.completed("SET", false);
        assert!(session.has_left_something(), "the cleaning is over");
    }

    #[test]
    fn only_plain_statements_leave_a_connection_fit_to_be_shared() {
        for (tag, is_rowless, is_fit) in [
            ("SELECT 5", false, true),
            ("SELECT 5", true, false),
            ("INSERT 0 1", true, true),
            ("UPDATE 1", true, true),
            ("DELETE 1", false, true),
            ("MERGE 1", true, true),
            ("SHOW", false, false),
            ("BEGIN", true, false),
            ("COPY 1", true, false),
            ("LOCK TABLE", true, false),
            ("SELECTED", false, false),
            ("", true, false),
        ] {
            let session = Session::default();
            let cleaning = session.clean();
            session.completed("SET", true);
            cleaning.done();
            assert!(!session.is_unfit_to_share());
            session.completed(tag, is_rowless);
            assert_eq!(!session.is_unfit_to_share(), is_fit, "{tag}");
        }
        let session = Session::default();
        session.leaves(Left::SETTINGS);
        assert!(session.is_unfit_to_share());
        let session = Session::default();
        session.refused(false, b"25006");
        assert!(session.is_unfit_to_share());
        let session = Session::default();
        session.is_ready(Status::InTransaction, true);
        session.is_ready(Status::Idle, true);
        assert!(session.was_in_transaction() && session.answered() == 2);
    }

    #[test]
    fn a_session_is_busy_until_what_was_given_up_has_settled() {
        let session = Session::default();
        assert!(!session.may_be_busy());
        session.abandon();
        assert!(session.may_be_busy() && session.was_abandoned());
        session.settled();
        assert!(!session.may_be_busy());
        session.unseen();
        assert!(session.may_be_busy() && !session.was_abandoned());
    }
}

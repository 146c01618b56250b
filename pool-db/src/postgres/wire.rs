//! Reads the headers of the messages between the driver and the server.
//!
//! The driver does not say whether the server is in a transaction, whether it still works on a request whose future was dropped, or
//! what a statement has done to the session. The protocol says all of that ([message formats]). A [`Wire`] is fed with the bytes
//! that go by in both directions, skips what it does not need, and writes what it learns into the [`Session`].
//!
//! It does no I/O and knows no clock.
//!
//! [message formats]: https://www.postgresql.org/docs/current/protocol-message-formats.html

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use super::session::{Left, Session, Status};

/// What is known of the messages in both directions of one connection.
#[derive(Debug)]
pub(super) struct Wire {
    session: Arc<Session>,
    from_driver: Frames,
    from_server: Frames,
    /// What the driver has sent and the server has not answered, in order.
    expected: VecDeque<Expected>,
    /// The statements without a row description, by the hash of their name: what they return, they do not return to the driver.
    rowless: HashSet<u64>,
    /// The statements that are a `SET LOCAL`, whose effect ends with the transaction, by the hash of their name. Their tag is `SET`.
    local: HashSet<u64>,
    /// The statements with a name that an [`Unnamed`](super::unnamed::Unnamed) keeps, by the hash of their name.
    unnamed: HashSet<u64>,
    /// Where the messages end that the driver is not to read, within the bytes that were received last. They have no body.
    left_out: Vec<usize>,
    /// Whether the current result of a simple query has a row description.
    has_rows: bool,
    /// Whether the server takes the data of a `COPY`.
    copies_in: bool,
    /// Whether the driver has ended a `COPY` before the server has said that it takes its data.
    ends_early: bool,
    /// Whether a first `ReadyForQuery` has come. Before it, parameters are reported for the first time.
    has_started: bool,
}

/// A message of the driver that the server answers.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    /// A simple query or a function call. `ReadyForQuery` ends its answer.
    Query,
    /// The description of a statement (its name's hash) or, without a name, of a portal.
    Description(Option<u64>),
    /// A statement's text. `is_ours` says that it was sent without the driver's doing.
    Parse { is_ours: bool },
    /// The execution of a statement, by the hash of its name. `is_local` says that it is a `SET LOCAL`.
    Execution { name: u64, is_local: bool },
    /// A `Sync`. `ReadyForQuery` answers it.
    Sync,
}

/// What must be written to the server in the driver's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The driver takes the answers from now on for those of other requests. The connection must end.
    End,
    /// The server waits for the data of a `COPY` that nobody sends: `CopyFail`, and `Sync` if the driver's was ignored.
    CopyFail { and_sync: bool },
}

impl Wire {
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self {
            session,
            from_driver: Frames::untyped(),
            from_server: Frames::typed(),
            expected: VecDeque::new(),
            rowless: HashSet::new(),
            local: HashSet::new(),
            unnamed: HashSet::new(),
            left_out: Vec::new(),
            has_rows: false,
            copies_in: false,
            ends_early: false,
            has_started: false,
        }
    }

    pub(super) const fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// How much of what the driver is about to write is to be written, or left out.
    ///
    /// When a `COPY .. FROM STDIN` is refused, the driver ends the data all the same, by a message that the server ignores and a
    /// `Sync` that the server answers. The driver does not expect that answer, and would take it for that of its next request. So
    /// both messages are left out.
    pub(super) fn passes(&self, bytes: &[u8]) -> Passes {
        let Some(mut at) = self.from_driver.rest(bytes) else {
            return Passes::Only(bytes.len());
        };
        while let Some([kind, length @ ..]) =
            bytes.get(at..).and_then(<[u8]>::first_chunk::<HEADER>)
        {
            let whole = (u32::from_be_bytes(*length) as usize).saturating_add(1);
            if self.is_late_end(*kind) {
                return if at == 0 {
                    Passes::Not(bytes.len().min(whole.saturating_add(HEADER)))
                } else {
                    Passes::Only(at)
                };
            }
            at = at.saturating_add(whole);
        }
        Passes::Only(bytes.len())
    }

    /// Whether a message ends a `COPY` that the server has refused.
    fn is_late_end(&self, kind: u8) -> bool {
        ENDS.contains(&kind) && !self.copies_in && !self.is_executing()
    }

    /// Whether the server has not answered the first statement that was sent.
    fn is_executing(&self) -> bool {
        let of_first = self.expected.iter().take_while(|it| **it != Expected::Sync);
        let executes = |it: &Expected| matches!(it, Expected::Execution { .. } | Expected::Query);
        of_first.into_iter().any(executes)
    }

    /// Whether the driver has sent whole messages only, so that another may be written behind them.
    pub(super) const fn is_between_messages(&self) -> bool {
        self.from_driver.is_between_messages()
    }

    /// Bytes that the driver has written.
    pub(super) fn sent(&mut self, mut bytes: &[u8]) {
        while let Some(message) = self.from_driver.next(&mut bytes, wants_of_driver) {
            match message.kind {
                b'Q' | b'F' => self.expect(Expected::Query),
                b'S' => self.expect(Expected::Sync),
                // The server runs a statement, and commits a `COMMIT`, before it has the `Sync`.
                b'E' => self.session.writes(),
                kind if ENDS.contains(&kind) => self.ends_early = !self.copies_in,
                b'P' => {
                    // A `Parse` has one statement, so its beginning says what the whole is.
                    let name = hash(&message.head);
                    if is_local(after_text(&message.head)) {
                        self.local.insert(name);
                    } else {
                        self.local.remove(&name);
                    }
                    if self.session.is_unnamed() && message.head.first() != Some(&0) {
                        self.unnamed.insert(name);
                    }
                    self.expect(Expected::Parse { is_ours: false });
                }
                b'D' => match message.head.split_first() {
                    Some((b'S', name)) => {
                        let name = hash(name);
                        self.expect(Expected::Description(Some(name)));
                    }
                    _ => self.expect(Expected::Description(None)),
                },
                b'B' => {
                    let name = hash(after_text(&message.head));
                    let is_local = self.local.contains(&name);
                    if self.unnamed.contains(&name) {
                        self.expect(Expected::Parse { is_ours: true });
                    }
                    self.expect(Expected::Execution { name, is_local });
                }
                b'C' => {
                    if let Some((b'S', name)) = message.head.split_first() {
                        let name = hash(name);
                        self.rowless.remove(&name);
                        self.local.remove(&name);
                        self.unnamed.remove(&name);
                    }
                }
                UNTYPED if message.head.get(..4) == Some(&TLS_REQUEST) => {
                    // The next message has no type either. The server answers this one with a single byte.
                    self.from_driver = Frames::untyped();
                    self.from_server.skip_a_byte();
                }
                _ => {}
            }
            self.from_driver.reuse(message);
        }
    }

    /// Bytes that the server has sent. Returns what must be answered in the driver's place.
    #[must_use]
    pub(super) fn received(&mut self, mut bytes: &[u8]) -> Option<Answer> {
        let mut answer = None;
        let count = bytes.len();
        self.left_out.clear();
        while let Some(message) = self.from_server.next(&mut bytes, wants_of_server) {
            match message.kind {
                b'1' => {
                    let parsed =
                        self.current(|expected| matches!(expected, Expected::Parse { .. }));
                    if parsed == Some(Expected::Parse { is_ours: true }) {
                        self.left_out.push(count - bytes.len());
                    }
                }
                b'Z' => self.ready(&message.head),
                b'C' => self.completed(&message.head),
                b'T' => self.described(true),
                b'n' => self.described(false),
                b'G' => answer = self.copies_in().or(answer),
                b'H' | b'W' => self.session.copies(),
                b'S' => self.parameter(&message.head),
                b'E' => {
                    self.refused(&message.head);
                    if self.ends_early {
                        answer = Some(Answer::End);
                    }
                }
                b'K' => {
                    if let Some((id, _)) = message.head.split_first_chunk() {
                        self.session.has_id(i32::from_be_bytes(*id));
                    }
                }
                _ => {}
            }
            self.from_server.reuse(message);
        }
        answer
    }

    /// Where the messages end that the driver is not to read, within the bytes that were received last.
    pub(super) fn left_out(&self) -> &[usize] {
        &self.left_out
    }

    /// How many of the bytes that were received last belong to a message that the driver may not be to read.
    pub(super) const fn undecided(&self) -> usize {
        if self.from_server.have < HEADER && self.from_server.header[0] == b'1' {
            self.from_server.have
        } else {
            0
        }
    }

    fn expect(&mut self, what: Expected) {
        if matches!(what, Expected::Query | Expected::Sync) {
            self.session.asks();
        }
        self.expected.push_back(what);
    }

    /// The server has answered everything up to the first `Sync` or query, and waits for more.
    fn ready(&mut self, head: &[u8]) {
        self.has_rows = false;
        (self.copies_in, self.ends_early) = (false, false);
        self.has_started = true;
        let mut had_one = false;
        while let Some(first) = self.expected.pop_front() {
            if matches!(first, Expected::Query | Expected::Sync) {
                had_one = true;
                break;
            }
        }
        let status = match head {
            b"I" => Status::Idle,
            b"T" => Status::InTransaction,
            _ => Status::Failed,
        };
        self.session.is_ready(status, had_one);
    }

    /// A statement was described: with the columns of its rows, or as one without rows.
    fn described(&mut self, has_rows: bool) {
        match self.current(|expected| matches!(expected, Expected::Description(_))) {
            Some(Expected::Description(Some(name))) => {
                if has_rows {
                    self.rowless.remove(&name);
                } else {
                    self.rowless.insert(name);
                }
            }
            Some(_) => {}
            None => self.has_rows |= has_rows,
        }
    }

    /// A statement has ended without an error.
    fn completed(&mut self, head: &[u8]) {
        let tag = text(head);
        let executed = self.current(|expected| matches!(expected, Expected::Execution { .. }));
        let is_rowless = match executed {
            Some(Expected::Execution { is_local: true, .. }) if tag == "SET" => {
                self.session.strays();
                return;
            }
            Some(Expected::Execution { name, .. }) => self.rowless.contains(&name),
            // The portal of an earlier bind, which returns rows, or a simple query.
            _ => self.expected.front() == Some(&Expected::Query) && !self.has_rows,
        };
        self.has_rows = false;
        self.session.completed(tag, is_rowless);
    }

    /// The server waits for the data of a `COPY .. FROM STDIN`.
    fn copies_in(&mut self) -> Option<Answer> {
        let is_simple = self.expected.front() == Some(&Expected::Query);
        if !is_simple {
            // The server ignores the `Sync` that was sent with the statement.
            let sync = self.expected.iter().position(|it| *it == Expected::Sync);
            if let Some(sync) = sync {
                self.expected.remove(sync);
                self.session.is_ignored();
            }
        }
        self.session.copies();
        let has_ended = std::mem::take(&mut self.ends_early);
        self.copies_in = !has_ended;
        let answer = Answer::CopyFail {
            and_sync: !is_simple,
        };
        (!self.session.may_copy_in() && !has_ended).then_some(answer)
    }

    fn parameter(&mut self, head: &[u8]) {
        let mut parts = head.split(|byte| *byte == 0);
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
            return;
        };
        match name {
            b"in_hot_standby" => self.session.is_standby(value == b"on"),
            b"default_transaction_read_only" => {
                self.session.is_read_only_by_default(value == b"on");
            }
            _ => {}
        }
        if self.has_started && name != b"in_hot_standby" {
            self.session.leaves(Left::SETTINGS);
        }
    }

    fn refused(&mut self, head: &[u8]) {
        let (mut severity, mut code) = (&b""[..], &b""[..]);
        for field in head.split(|byte| *byte == 0) {
            match field.split_first() {
                Some((b'V', text)) => severity = text,
                Some((b'C', text)) => code = text,
                _ => {}
            }
        }
        self.session
            .refused(matches!(severity, b"FATAL" | b"PANIC"), code);
    }

    /// Takes the first expected message of a kind, if the server is answering the messages before a `Sync`.
    fn current(&mut self, is_kind: impl Fn(&Expected) -> bool) -> Option<Expected> {
        let ends = |it: &Expected| matches!(it, Expected::Sync | Expected::Query);
        let end = self.expected.iter().position(ends);
        let found = self.expected.iter().position(is_kind)?;
        (end.is_none_or(|end| found < end))
            .then(|| self.expected.remove(found))
            .flatten()
    }
}

/// What of the driver's bytes is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passes {
    /// The first ones, for now.
    Only(usize),
    /// Not the first ones.
    Not(usize),
}

/// Splits a stream of bytes into messages, and keeps the first bytes of those that are wanted.
#[derive(Debug)]
struct Frames {
    header: [u8; HEADER],
    /// How much of the header is there.
    have: usize,
    /// How many bytes of the message's body are still to come, once its header is there.
    left: usize,
    /// The bytes of the body to keep, and those that are there.
    wanted: usize,
    head: Vec<u8>,
    /// Whether the next message begins with its length, as the very first of a connection does.
    is_untyped: bool,
    skips: usize,
}

/// One message.
struct Message {
    kind: u8,
    /// The first bytes of its body.
    head: Vec<u8>,
}

impl Frames {
    const fn typed() -> Self {
        Self {
            header: [0; HEADER],
            have: 0,
            left: 0,
            wanted: 0,
            head: Vec::new(),
            is_untyped: false,
            skips: 0,
        }
    }

    const fn untyped() -> Self {
        let mut frames = Self::typed();
        frames.header[0] = UNTYPED;
        frames.have = 1;
        frames.is_untyped = true;
        frames
    }

    const fn skip_a_byte(&mut self) {
        self.skips += 1;
    }

    const fn is_between_messages(&self) -> bool {
        self.have == 0
    }

    /// How many bytes belong to the message that has begun, if `bytes` come next. `None` if they do not even end its header.
    fn rest(&self, bytes: &[u8]) -> Option<usize> {
        match self.have {
            0 => Some(0),
            HEADER => Some(self.left),
            have => {
                let mut header = self.header;
                let missing = HEADER - have;
                header[have..].copy_from_slice(bytes.get(..missing)?);
                let [_, length @ ..] = header;
                let body = (u32::from_be_bytes(length) as usize).saturating_sub(4);
                Some(missing.saturating_add(body))
            }
        }
    }

    /// Takes back the memory of a message.
    fn reuse(&mut self, message: Message) {
        self.head = message.head;
        self.head.clear();
    }

    /// Takes bytes up to the end of a message, and returns that message. `None` if the bytes end before.
    fn next(&mut self, bytes: &mut &[u8], wants: impl Fn(u8) -> usize) -> Option<Message> {
        let skipped = self.skips.min(bytes.len());
        self.skips -= skipped;
        *bytes = &bytes[skipped..];
        if self.have < HEADER {
            let part = take(bytes, HEADER - self.have);
            self.header[self.have..self.have + part.len()].copy_from_slice(part);
            self.have += part.len();
            if self.have < HEADER {
                return None;
            }
            let [kind, length @ ..] = self.header;
            // The length contains itself. A server that sends less breaks the protocol, and the driver ends the connection.
            self.left = (u32::from_be_bytes(length) as usize).saturating_sub(4);
            self.wanted = wants(kind).min(self.left);
        }
        let body = take(bytes, self.left);
        self.left -= body.len();
        let missing = self.wanted - self.head.len();
        self.head
            .extend_from_slice(&body[..missing.min(body.len())]);
        if self.left > 0 {
            return None;
        }
        self.have = 0;
        self.is_untyped = false;
        Some(Message {
            kind: self.header[0],
            head: std::mem::take(&mut self.head),
        })
    }
}

/// Takes up to `count` bytes.
fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count.min(bytes.len()));
    *bytes = rest;
    taken
}

/// The hash of a name up to a zero (FNV-1a). The driver numbers its statements, so nobody chooses names that collide.
fn hash(name: &[u8]) -> u64 {
    let name = name.iter().take_while(|byte| **byte != 0);
    name.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The bytes after the first text, which a zero ends.
fn after_text(head: &[u8]) -> &[u8] {
    let end = head.iter().position(|byte| *byte == 0);
    end.map_or(&[], |end| &head[end + 1..])
}

/// Whether a statement begins with `SET LOCAL`.
fn is_local(sql: &[u8]) -> bool {
    let mut words = text(sql).split_ascii_whitespace();
    ["set", "local"]
        .iter()
        .all(|word| words.next().is_some_and(|it| it.eq_ignore_ascii_case(word)))
}

/// The text up to a zero. Its last character may be cut off.
fn text(head: &[u8]) -> &str {
    let end = head.iter().position(|byte| *byte == 0);
    let text = &head[..end.unwrap_or(head.len())];
    match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&text[..error.valid_up_to()]).unwrap_or_default(),
    }
}

/// How many bytes of a message of the driver are of interest.
const fn wants_of_driver(kind: u8) -> usize {
    match kind {
        b'P' | b'D' | b'B' | b'C' => NAMES,
        UNTYPED => 4,
        _ => 0,
    }
}

/// How many bytes of a message of the server are of interest.
const fn wants_of_server(kind: u8) -> usize {
    match kind {
        b'Z' => 1,
        b'K' => 8,
        b'C' => 64,
        b'S' => NAMES,
        b'E' => 128,
        _ => 0,
    }
}

/// `CopyFail` and `CopyDone`.
const ENDS: [u8; 2] = [b'f', b'c'];
/// A type and a length.
pub(super) const HEADER: usize = 5;
/// The messages that begin a connection have no type. No type is 0.
const UNTYPED: u8 = 0;
/// The code of `SSLRequest`.
const TLS_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();
/// Two names of PostgreSQL, which have at most 63 bytes each. The driver's names of statements are shorter.
const NAMES: usize = 160;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A connection that has started.
    fn wire() -> Wire {
        let mut wire = Wire::new(Arc::default());
        let startup = [&20_u32.to_be_bytes()[..], b"\0\x03\0\0user\0me\0\0\0\0\0"].concat();
        wire.sent(&startup[..20]);
        let hello = [
            message(b'R', b"\0\0\0\0"),
            message(b'S', b"TimeZone\0UTC\0"),
            message(b'S', b"in_hot_standby\0off\0"),
            message(b'S', b"default_transaction_read_only\0off\0"),
            message(b'K', &[0, 0, 1, 7, 0, 0, 0, 9]),
            message(b'Z', b"I"),
        ];
        assert_eq!(wire.received(&hello.concat()), None);
        wire
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap_or_default();
        [&[kind], &length.to_be_bytes()[..], body].concat()
    }

    /// What the driver sends to run a statement that it has prepared by name.
    fn execute(name: &str) -> Vec<u8> {
        let bind = format!("\0{name}\0\0\0\0\0\0\0");
        [
            message(b'B', bind.as_bytes()),
            message(b'E', b"\0\0\0\0\0"),
            message(b'S', b""),
        ]
        .concat()
    }

    /// Prepares a statement, which has rows or not.
    fn prepare(wire: &mut Wire, name: &str, sql: &str, has_rows: bool) {
        let parse = format!("{name}\0{sql}\0\0\0");
        wire.sent(&message(b'P', parse.as_bytes()));
        wire.sent(&message(b'D', format!("S{name}\0").as_bytes()));
        wire.sent(&message(b'S', b""));
        let description = if has_rows { b'T' } else { b'n' };
        let answer = [
            message(b'1', b""),
            message(b't', b"\0\0"),
            message(description, b"\0\0"),
            message(b'Z', b"I"),
        ];
        assert_eq!(wire.received(&answer.concat()), None);
    }

    fn answer(tag: &str, status: &[u8]) -> Vec<u8> {
        [
            message(b'2', b""),
            message(b'C', format!("{tag}\0").as_bytes()),
            message(b'Z', status),
        ]
        .concat()
    }

    #[test]
    fn a_connection_that_has_started_is_idle_and_clean() {
        let wire = wire();
        let session = wire.session();
        assert_eq!(session.status(), Status::Idle);
        assert_eq!(session.process_id(), 263);
        assert_eq!(session.only_reads(), Some(false));
        assert!(!session.may_be_busy() && !session.has_left_something());
    }

    #[test]
    fn messages_may_come_in_any_pieces() {
        for size in 1..9 {
            let mut wire = wire();
            let sent = [message(b'Q', b"BEGIN; SET x = 1\0"), execute("s1")].concat();
            sent.chunks(size).for_each(|part| wire.sent(part));
            assert!(wire.is_between_messages());
            assert!(wire.session().may_be_busy());
            let received = [
                message(b'C', b"BEGIN\0"),
                message(b'C', b"SET\0"),
                message(b'Z', b"T"),
                answer("INSERT 0 1", b"T"),
            ]
            .concat();
            for part in received.chunks(size) {
                assert_eq!(wire.received(part), None);
            }
            assert_eq!(wire.session().status(), Status::InTransaction);
            assert!(!wire.session().may_be_busy());
            assert!(wire.session().has_left(Left::SETTINGS));
        }
    }

    #[test]
    fn every_request_is_busy_until_its_own_answer() {
        let mut wire = wire();
        wire.sent(&execute("s1"));
        wire.sent(&execute("s2"));
        assert_eq!(wire.received(&answer("SELECT 1", b"I")), None);
        assert!(wire.session().may_be_busy());
        let failed = [
            message(b'E', b"SERROR\0VERROR\0C25006\0Mno\0\0"),
            message(b'Z', b"I"),
        ];
        assert_eq!(wire.received(&failed.concat()), None);
        assert!(!wire.session().may_be_busy());
        assert!(wire.session().must_be_judged());
        assert!(wire.session().take_refused_writes());
        assert!(!wire.session().must_be_judged());
    }

    #[test]
    fn rows_that_do_not_come_to_the_client_went_into_a_table() {
        for (has_rows, leaves) in [(true, false), (false, true)] {
            let mut wire = wire();
            prepare(&mut wire, "s1", "SELECT", has_rows);
            wire.sent(&execute("s1"));
            assert_eq!(wire.received(&answer("SELECT 0", b"I")), None);
            assert_eq!(wire.session().has_left_something(), leaves);

            let mut wire = self::wire();
            wire.sent(&message(b'Q', b"SELECT\0"));
            if has_rows {
                assert_eq!(wire.received(&message(b'T', b"\0\0")), None);
            }
            assert_eq!(wire.received(&answer("SELECT 0", b"I")), None);
            assert_eq!(wire.session().has_left_something(), leaves);
        }
    }

    #[test]
    fn an_error_ends_what_was_expected_up_to_the_next_sync_only() {
        let mut wire = wire();
        prepare(&mut wire, "into", "SELECT 1 INTO TEMP t", false);
        prepare(&mut wire, "plain", "SELECT 1", true);
        wire.sent(&execute("plain"));
        wire.sent(&execute("into"));
        let failed = [message(b'E', b"VERROR\0C42601\0\0"), message(b'Z', b"I")];
        assert_eq!(wire.received(&failed.concat()), None);
        assert!(!wire.session().has_left_something());
        assert_eq!(wire.received(&answer("SELECT 1", b"I")), None);
        assert!(wire.session().has_left_something());
    }

    #[test]
    fn a_set_local_leaves_nothing_and_another_statement_of_its_name_does() {
        let mut wire = wire();
        prepare(&mut wire, "s1", "\n set LOCAL x = 1", false);
        wire.sent(&execute("s1"));
        assert_eq!(wire.received(&answer("SET", b"T")), None);
        assert!(!wire.session().has_left_something());
        prepare(&mut wire, "s1", "SET localtime = 1", false);
        wire.sent(&execute("s1"));
        assert_eq!(wire.received(&answer("SET", b"I")), None);
        assert!(wire.session().has_left_something());
    }

    #[test]
    fn statements_without_a_name_that_are_sent_together_are_told_apart() {
        let parse = |sql: &str| message(b'P', format!("\0{sql}\0\0\0").as_bytes());
        for (sent, leaves) in [
            (["SET x = 1", "SET LOCAL y = 1"], true),
            (["SET LOCAL y = 1", "SET LOCAL y = 1"], false),
        ] {
            let mut wire = wire();
            for sql in sent {
                wire.sent(&[parse(sql), execute("")].concat());
            }
            for _ in sent {
                let done = [message(b'1', b""), answer("SET", b"I")].concat();
                assert_eq!(wire.received(&done), None);
                assert_eq!(wire.left_out(), [0; 0]);
            }
            assert_eq!(wire.session().has_left_something(), leaves, "{sent:?}");
        }
    }

    #[test]
    fn the_answers_to_what_the_driver_did_not_send_are_left_out() {
        let mut wire = wire();
        wire.session().let_be_unnamed();
        prepare(&mut wire, "s1", "SELECT 1", true);
        assert_eq!(wire.left_out(), [0; 0], "the driver has sent this one");
        let parsed = message(b'1', b"");
        // The second of three is refused: nothing is left out of its answer, and the third is not mistaken for it.
        for _ in 0..3 {
            wire.sent(&execute("s1"));
        }
        let done = [parsed.clone(), answer("SELECT 1", b"I")].concat();
        let refused = [message(b'E', b"VERROR\0C42P01\0\0"), message(b'Z', b"I")].concat();
        assert_eq!(
            wire.received(&[&done[..], &refused, &done[..2]].concat()),
            None
        );
        assert_eq!(wire.left_out(), [parsed.len()]);
        assert_eq!(wire.undecided(), 2);
        assert_eq!(wire.received(&done[2..]), None);
        assert_eq!(
            (wire.left_out(), wire.undecided()),
            (&[parsed.len() - 2][..], 0)
        );
        assert!(!wire.session().may_be_busy() && !wire.session().has_left_something());
        // A statement that is closed, and one that the driver sends with its text, are the driver's own.
        wire.sent(&message(b'C', b"Ss1\0"));
        wire.sent(&message(b'P', b"\0SELECT 1\0\0\0"));
        wire.sent(&execute(""));
        assert_eq!(wire.received(&done), None);
        assert_eq!(wire.left_out(), [0; 0]);
    }

    #[test]
    fn a_copy_that_nobody_feeds_is_ended_and_counts_once() {
        for (sent, and_sync) in [
            (execute("s1"), true),
            (message(b'Q', b"COPY t FROM STDIN\0"), false),
        ] {
            let mut wire = wire();
            wire.sent(&sent);
            let copies = message(b'G', b"\0\0\0");
            assert_eq!(wire.received(&copies), Some(Answer::CopyFail { and_sync }));
            wire.sent(&message(b'f', b"\0"));
            if and_sync {
                wire.sent(&message(b'S', b""));
            }
            assert!(wire.session().may_be_busy());
            let failed = [message(b'E', b"VERROR\0C57014\0\0"), message(b'Z', b"I")];
            assert_eq!(wire.received(&failed.concat()), None);
            assert!(!wire.session().may_be_busy());
        }
    }

    #[test]
    fn a_copy_that_the_holder_feeds_is_left_to_it() {
        let mut wire = wire();
        wire.session().let_copy_in(true);
        wire.sent(&execute("s1"));
        assert_eq!(wire.received(&message(b'G', b"\0\0\0")), None);
        wire.sent(&message(b'd', &[0; 1000]));
        wire.sent(&message(b'c', b""));
        wire.sent(&message(b'S', b""));
        assert!(wire.session().may_be_busy());
        assert_eq!(wire.received(&answer("COPY 3", b"I")), None);
        assert!(!wire.session().may_be_busy() && !wire.session().has_left_something());
    }

    #[test]
    fn the_end_of_a_copy_that_was_refused_is_left_out() {
        let end = [message(b'f', b"\0"), message(b'S', b"")].concat();
        let next = message(b'Q', b"SELECT 1\0");
        let refused = [message(b'E', b"VERROR\0C42P01\0\0"), message(b'Z', b"I")].concat();

        let mut wire = wire();
        wire.session().let_copy_in(true);
        wire.sent(&execute("s1"));
        assert_eq!(wire.received(&refused), None);
        let both = [&next[..], &end, &next].concat();
        assert_eq!(wire.passes(&both), Passes::Only(next.len()));
        assert_eq!(wire.passes(&both[next.len()..]), Passes::Not(end.len()));
        assert_eq!(wire.passes(&next), Passes::Only(next.len()));

        // While the server copies, the end is one.
        let mut wire = self::wire();
        wire.session().let_copy_in(true);
        wire.sent(&execute("s1"));
        assert_eq!(wire.received(&message(b'G', b"\0\0\0")), None);
        assert_eq!(wire.passes(&end), Passes::Only(end.len()));

        // It was given up before the server has said anything: the end may be one, or the driver is confused.
        for (answers, expected) in [
            (message(b'G', b"\0\0\0"), None),
            (refused, Some(Answer::End)),
        ] {
            let mut wire = self::wire();
            wire.session().let_copy_in(true);
            wire.sent(&execute("s1"));
            assert_eq!(wire.passes(&end), Passes::Only(end.len()));
            wire.sent(&end);
            assert_eq!(wire.received(&answers), expected);
        }
    }

    #[test]
    fn a_setting_that_the_server_reports_later_is_left_behind() {
        let mut wire = wire();
        assert!(!wire.session().must_be_judged());
        assert_eq!(wire.received(&message(b'S', b"in_hot_standby\0on\0")), None);
        assert!(!wire.session().has_left_something());
        assert!(wire.session().must_be_judged());
        assert_eq!(wire.session().only_reads(), Some(true));
        assert_eq!(wire.received(&message(b'S', b"TimeZone\0CET\0")), None);
        assert!(wire.session().has_left_something());
    }

    #[test]
    fn a_server_that_stops_is_doubted_and_one_that_ends_an_idle_session_is_not() {
        for (code, doubts) in [
            ("57P01", true),
            ("57P02", true),
            ("57P03", true),
            ("57P05", false),
            ("25P03", false),
        ] {
            let mut wire = wire();
            let body = format!("SFATAL\0VFATAL\0C{code}\0Mno\0\0");
            assert_eq!(wire.received(&message(b'E', body.as_bytes())), None);
            assert_eq!(wire.session().is_doubted(), doubts, "{code}");
            assert!(!wire.session().is_condemned());
            // The end of the connection adds nothing.
            wire.session().is_gone();
            assert_eq!(wire.session().is_doubted(), doubts, "{code}");
        }
    }

    #[test]
    fn a_refused_offer_of_tls_leaves_the_messages_readable() {
        let session = Arc::<Session>::default();
        let mut wire = Wire::new(Arc::clone(&session));
        wire.sent(&[&8_u32.to_be_bytes()[..], &TLS_REQUEST].concat());
        assert_eq!(wire.received(b"N"), None);
        wire.sent(&[&9_u32.to_be_bytes()[..], b"\0\x03\0\0\0"].concat());
        assert_eq!(wire.received(&message(b'Z', b"I")), None);
        wire.sent(&execute("s1"));
        assert_eq!(wire.received(&answer("BEGIN", b"T")), None);
        assert_eq!(session.status(), Status::InTransaction);
        assert!(!session.may_be_busy());
    }

    #[test]
    fn a_server_that_breaks_the_protocol_is_left_to_the_driver() {
        let mut wire = wire();
        assert_eq!(wire.received(&[b'C', 0, 0, 0, 0]), None);
        assert_eq!(wire.received(&message(b'K', b"\0")), None);
        assert_eq!(wire.received(&message(b'S', b"x")), None);
        assert_eq!(wire.received(&message(b'Z', b"")), None);
        assert_eq!(wire.received(&message(b'Z', b"I")), None);
        assert!(!wire.session().may_be_busy());
    }

    #[test]
    fn an_execution_is_written_before_its_sync_is() {
        let mut wire = wire();
        let before = wire.session().written();
        let all = execute("s1");
        wire.sent(&all[..all.len() - SYNC]);
        assert_ne!(wire.session().written(), before);
    }

    #[test]
    fn answers_to_nothing_are_not_counted() {
        let mut wire = wire();
        for _ in 0..3 {
            assert_eq!(wire.received(&message(b'Z', b"I")), None);
            assert!(!wire.session().may_be_busy());
        }
        // A `COPY` that nobody has asked for: no `Sync` is taken back.
        assert!(wire.received(&message(b'G', b"\0\0\0")).is_some());
        assert!(!wire.session().may_be_busy());
        wire.sent(&execute("s1"));
        assert!(wire.session().may_be_busy());
        assert_eq!(wire.received(&answer("SELECT 1", b"I")), None);
        assert!(!wire.session().may_be_busy());
    }

    /// A message with a likely kind, and a body of any kind.
    fn any_message() -> impl Strategy<Value = Vec<u8>> {
        let kinds = b"ZCTnGHWSEK12tDPBQFSfcdXsRA\0".to_vec();
        let bodies = prop_oneof![
            Just(Vec::new()),
            Just(b"I".to_vec()),
            Just(b"SET\0".to_vec()),
            Just(b"Ss1\0".to_vec()),
            Just(b"s1\0SET LOCAL x\0".to_vec()),
            Just(b"VERROR\0C42601\0\0".to_vec()),
            Just(vec![0; 300]),
            prop::collection::vec(any::<u8>(), 0..40),
        ];
        let whole =
            (prop::sample::select(kinds), bodies).prop_map(|(kind, body)| message(kind, &body));
        prop_oneof![4 => whole, 1 => Just(execute("s1"))]
    }

    /// What goes by in one direction, cut into pieces.
    fn pieces(
        of: impl Strategy<Value = Vec<u8>>,
    ) -> impl Strategy<Value = Vec<(bool, Vec<u8>, usize)>> {
        prop::collection::vec((any::<bool>(), of, 1_usize..40), 0..60)
    }

    fn feed(wire: &mut Wire, from_driver: bool, bytes: &[u8], cut: usize) {
        for part in bytes.chunks(cut) {
            if from_driver {
                match wire.passes(part) {
                    Passes::Only(count) | Passes::Not(count) => assert!(count <= part.len()),
                }
                wire.sent(part);
            } else {
                let _ = wire.received(part);
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_is_sent_and_answered_the_counts_come_to_nothing(
            steps in pieces(any_message()), copies in any::<bool>()
        ) {
            let mut wire = wire();
            wire.session().let_copy_in(copies);
            for (from_driver, bytes, cut) in steps {
                feed(&mut wire, from_driver, &bytes, cut);
                let is_asked = |it: &&Expected| matches!(it, Expected::Query | Expected::Sync);
                let asked = wire.expected.iter().filter(is_asked).count();
                prop_assert_eq!(wire.session().may_be_busy(), asked > 0);
            }
            for _ in 0..=wire.expected.len() {
                let _ = wire.received(&message(b'Z', b"I"));
            }
            prop_assert!(!wire.session().may_be_busy());
        }

        #[test]
        fn garbage_is_survived(steps in pieces(prop::collection::vec(any::<u8>(), 0..60))) {
            let mut wire = Wire::new(Arc::default());
            wire.session().let_copy_in(true);
            for (from_driver, bytes, cut) in steps {
                feed(&mut wire, from_driver, &bytes, cut);
            }
        }

        /// A socket takes as much as it likes of what the driver writes.
        #[test]
        fn only_the_ends_of_refused_copies_are_left_out_however_the_socket_takes_them(
            kinds in prop::collection::vec((0..3, 0_usize..200), 0..20),
            takes in prop::collection::vec(1_usize..60, 1..8),
        ) {
            let (mut written, mut expected) = (Vec::new(), Vec::new());
            for (kind, length) in kinds {
                let next = match kind {
                    // The length is the letter of an end.
                    0 => message(b'd', &vec![b'f'; length]),
                    1 => [message(b'f', b"\0"), message(b'S', b"")].concat(),
                    _ => message(b'H', b""),
                };
                if kind != 1 {
                    expected.extend_from_slice(&next);
                }
                written.extend(next);
            }
            let mut wire = wire();
            wire.session().let_copy_in(true);
            let (mut rest, mut sent) = (&written[..], Vec::new());
            for take in takes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let count = match wire.passes(rest) {
                    Passes::Not(count) => count,
                    Passes::Only(count) => {
                        let count = count.min(*take);
                        wire.sent(&rest[..count]);
                        sent.extend_from_slice(&rest[..count]);
                        count
                    }
                };
                rest = &rest[count..];
            }
            prop_assert_eq!(sent, expected);
        }
    }

    /// The bytes of a `Sync`.
    const SYNC: usize = 5;
}

//! Makes the driver's named statements unnamed ones.
//!
//! The driver gives each statement that it prepares a name, and runs it later by that name. Behind a proxy that lends a server's
//! connection for one transaction, the server of the run may be another one, which does not know the name. So the name never gets
//! there: an [`Unnamed`] stands between the driver and the server, keeps the text of each statement by its name, and sends the text
//! along with each run, as the unnamed statement:
//!
//! ```text
//! the driver writes                      the server gets
//! Parse s1 TEXT, Describe s1, Sync       Parse "" TEXT, Describe "", Sync
//! Bind s1, Execute, Sync                 Parse "" TEXT, Bind "", Execute, Sync
//! Close s1, Sync                         Close "", Sync
//! ```
//!
//! The server answers the additional `Parse` with a `ParseComplete`, which is left out of what the driver reads. That holds for the
//! statements of the pool, for those by which the driver looks up types, and for those that a caller prepares with the driver.

use std::collections::HashMap;

use bytes::{Buf as _, Bytes, BytesMut};

use super::wire::HEADER;

/// What the driver's messages become, and what the server's leave out.
#[derive(Debug, Default)]
pub(super) struct Unnamed {
    /// What follows the name in the `Parse` of each statement: its text and the types of its parameters.
    statements: HashMap<Bytes, Bytes>,
    /// The beginning of a message of the driver.
    begun: BytesMut,
    /// How much of a message that stays as it is has not come yet.
    passing: usize,
    /// What is to be written to the server.
    out: BytesMut,
    /// What was read from the server. The driver has not.
    read: BytesMut,
}

impl Unnamed {
    /// Takes bytes that the driver writes.
    pub(super) fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.passing > 0 {
                let passed = split(&mut bytes, self.passing);
                self.out.extend_from_slice(passed);
                self.passing -= passed.len();
                continue;
            }
            if self.begun.len() < HEADER {
                let part = split(&mut bytes, HEADER - self.begun.len());
                self.begun.extend_from_slice(part);
                if self.begun.len() < HEADER {
                    return;
                }
            }
            let whole = self.whole();
            if !matches!(self.begun[0], b'P' | b'B' | b'D' | b'C') {
                self.passing = whole - self.begun.len();
                self.out.unsplit(self.begun.split());
                continue;
            }
            let part = split(&mut bytes, whole - self.begun.len());
            self.begun.extend_from_slice(part);
            if self.begun.len() == whole {
                let message = self.begun.split().freeze();
                self.message(&message);
            }
        }
    }

    /// Writes a message that the driver does not know of.
    pub(super) fn add(&mut self, message: &[u8]) {
        self.out.extend_from_slice(message);
    }

    /// What is to be written to the server.
    pub(super) fn to_write(&self) -> &[u8] {
        &self.out
    }

    /// The server got the first bytes of that.
    pub(super) fn wrote(&mut self, count: usize) {
        self.out.advance(count);
    }

    /// Takes bytes of the server, of which the messages with these ends are left out. They have a header only.
    pub(super) fn read(&mut self, bytes: &[u8], left_out: &[usize]) {
        let base = self.read.len();
        self.read.extend_from_slice(bytes);
        for end in left_out.iter().rev() {
            // The message may have begun in what was read earlier.
            let end = base + end;
            let length = self.read.len();
            self.read.copy_within(end.., end - HEADER);
            self.read.truncate(length - HEADER);
        }
    }

    /// Gives the driver what it may read, but for the last bytes.
    pub(super) fn take(&mut self, most: usize, but: usize) -> Bytes {
        let count = most.min(self.read.len().saturating_sub(but));
        self.read.split_to(count).freeze()
    }

    /// The length of the message that has begun, with its header.
    fn whole(&self) -> usize {
        let length = self.begun.get(1..HEADER).and_then(<[u8]>::first_chunk::<4>);
        length.map_or(HEADER, |length| {
            (1 + u32::from_be_bytes(*length) as usize).max(HEADER)
        })
    }

    /// Writes a message of the driver that may name a statement.
    fn message(&mut self, message: &Bytes) {
        let body = message.slice(HEADER..);
        let done = match message[0] {
            b'P' => self.parse(&body),
            b'B' => self.bind(&body),
            kind => self.by_kind(kind, &body),
        };
        if done.is_none() {
            self.out.extend_from_slice(message);
        }
    }

    /// `None` if the message stays as it is.
    fn parse(&mut self, body: &Bytes) -> Option<()> {
        let (name, rest) = text(body)?;
        if name.is_empty() {
            return None;
        }
        self.send(b'P', &[b"\0", &rest]);
        self.statements.insert(name, rest);
        Some(())
    }

    fn bind(&mut self, body: &Bytes) -> Option<()> {
        let (portal, rest) = text(body)?;
        let (name, values) = text(&rest)?;
        let statement = self.statements.get(&name)?.clone();
        self.send(b'P', &[b"\0", &statement]);
        self.send(b'B', &[&portal, b"\0\0", &values]);
        Some(())
    }

    /// `Describe` and `Close`.
    fn by_kind(&mut self, kind: u8, body: &Bytes) -> Option<()> {
        let name = body.strip_prefix(b"S")?;
        let (name, _) = text(&body.slice_ref(name))?;
        let is_known = if kind == b'C' {
            self.statements.remove(&name).is_some()
        } else {
            self.statements.contains_key(&name)
        };
        is_known.then(|| self.send(kind, &[b"S\0"]))
    }

    fn send(&mut self, kind: u8, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        // Each part is of a message that was not longer, but for a few bytes.
        let length = u32::try_from(length + 4).unwrap_or(u32::MAX);
        self.out.extend_from_slice(&[kind]);
        self.out.extend_from_slice(&length.to_be_bytes());
        for part in parts {
            self.out.extend_from_slice(part);
        }
    }
}

/// Takes up to `count` bytes.
fn split<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count.min(bytes.len()));
    *bytes = rest;
    taken
}

/// Splits at the zero that ends a text.
fn text(bytes: &Bytes) -> Option<(Bytes, Bytes)> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((bytes.slice(..end), bytes.slice(end + 1..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap_or_default();
        [&[kind], &length.to_be_bytes()[..], body].concat()
    }

    /// What the server gets, if the driver writes pieces of a length.
    fn written(unnamed: &mut Unnamed, messages: &[Vec<u8>], piece: usize) -> Vec<u8> {
        let mut got = Vec::new();
        for piece in messages.concat().chunks(piece) {
            unnamed.write(piece);
            // The socket takes what it likes.
            let count = unnamed.to_write().len().min(piece.len() + 3);
            got.extend_from_slice(&unnamed.to_write()[..count]);
            unnamed.wrote(count);
        }
        got.extend_from_slice(unnamed.to_write());
        unnamed.wrote(unnamed.to_write().len());
        got
    }

    #[test]
    fn each_run_brings_its_text_along_however_the_bytes_are_cut() {
        let parse = |name: &str| message(b'P', format!("{name}\0SELECT $1\0\0\x01ABCD").as_bytes());
        let bind = |name: &str| message(b'B', format!("p\0{name}\0\0\x01\0\x01rest").as_bytes());
        let on = |kind, name: &str| message(kind, format!("S{name}\0").as_bytes());
        let (execute, sync) = (message(b'E', b"p\0\0\0\0\0"), message(b'S', b""));
        let data = message(b'd', b"Ps1\0 is no message");
        for piece in [1, 2, 3, 7, 64, 4096] {
            let mut unnamed = Unnamed::default();
            let sent = [parse("s1"), on(b'D', "s1"), sync.clone(), data.clone()];
            let got = [parse(""), on(b'D', ""), sync.clone(), data.clone()];
            assert_eq!(written(&mut unnamed, &sent, piece), got.concat());
            for _ in 0..2 {
                let sent = [bind("s1"), execute.clone(), sync.clone()];
                let got = [parse(""), bind(""), execute.clone(), sync.clone()];
                assert_eq!(written(&mut unnamed, &sent, piece), got.concat());
            }
            let sent = [on(b'C', "s1"), sync.clone()];
            let got = [on(b'C', ""), sync.clone()];
            assert_eq!(written(&mut unnamed, &sent, piece), got.concat());
            assert!(unnamed.statements.is_empty());
        }
    }

    #[test]
    fn what_names_no_statement_that_was_prepared_stays_as_it_is() {
        let mut unnamed = Unnamed::default();
        let sent = [
            message(b'P', b"\0SELECT 1\0\0\0"),
            message(b'B', b"\0\0\0\0\0\0\0\0"),
            message(b'D', b"S\0"),
            message(b'D', b"Pportal\0"),
            message(b'C', b"Ss9\0"),
            message(b'B', b"\0s9\0\0\0\0\0\0\0"),
            message(b'P', b"broken"),
            message(b'Q', b"SELECT 1\0"),
            message(b'X', b""),
        ];
        assert_eq!(written(&mut unnamed, &sent, 4096), sent.concat());
    }

    #[test]
    fn what_is_left_out_may_be_cut_anywhere() {
        let all = b"abcde1____fgh1____i";
        for cut in 0..all.len() {
            let mut unnamed = Unnamed::default();
            let (first, second) = all.split_at(cut);
            let ends = |from: usize, to: usize| -> Vec<usize> {
                let ends = [10, 18].into_iter();
                ends.filter(|end| (from + 1..=to).contains(end))
                    .map(|end| end - from)
                    .collect()
            };
            unnamed.read(first, &ends(0, cut));
            unnamed.read(second, &ends(cut, all.len()));
            assert_eq!(&*unnamed.take(3, 0), b"abc");
            assert_eq!(&*unnamed.take(100, 2), b"defg".get(..4).unwrap_or_default());
            assert_eq!(&*unnamed.take(100, 0), b"hi");
        }
    }
}

//! What commands leave on a connection.

use std::ops::{BitOr, BitOrAssign};

use redis::{Arg, Cmd};

use super::shareable::{Word, blocks};

/// What was left on a connection: a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Left(u16);

impl Left {
    pub(super) const NOTHING: Self = Self(0);
    /// A transaction was begun.
    pub(super) const TRANSACTION: Self = Self(1);
    /// Keys are watched.
    pub(super) const WATCH: Self = Self(1 << 1);
    /// Another database was selected.
    const DATABASE: Self = Self(1 << 2);
    /// Another user has logged in, or none.
    const USER: Self = Self(1 << 3);
    /// The name of the client, or what it says of its library.
    const NAME: Self = Self(1 << 4);
    /// The server tracks the keys that are read.
    const TRACKING: Self = Self(1 << 5);
    /// The version of the protocol.
    const PROTOCOL: Self = Self(1 << 6);
    /// The client is spared in an eviction of clients, or touches no keys.
    pub(super) const EVICTION: Self = Self(1 << 7);
    /// `READONLY` or `ASKING` of a cluster.
    const CLUSTER: Self = Self(1 << 8);
    /// The connection cannot be used again.
    pub(super) const SPOILT: Self = Self(1 << 9);

    pub(super) const fn is_nothing(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn has(self, part: Self) -> bool {
        self.0 & part.0 != 0
    }

    /// Whether there is nothing but what belongs to a transaction.
    pub(super) const fn is_only_a_transaction(self) -> bool {
        self.0 & !(Self::TRANSACTION.0 | Self::WATCH.0) == 0
    }

    const fn without(self, part: Self) -> Self {
        Self(self.0 & !part.0)
    }
}

impl BitOr for Left {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Left {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

/// What a command does to a connection that only its caller has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// It leaves something, if the server does not refuse it. Nothing, mostly.
    Leaves(Left),
    /// `EXEC` and `DISCARD`.
    Ends,
    /// `UNWATCH`.
    Unwatches,
    /// It waits on the server until something is there.
    Waits,
    /// The driver could not tell its answers from those of others. Says what to use instead.
    Unfit(&'static str),
}

impl Deed {
    pub(super) fn of(cmd: &Cmd) -> Self {
        let mut words = cmd.args_iter().map(|arg| match arg {
            Arg::Simple(arg) => Word::new(arg),
            _ => Word::default(),
        });
        let Some(name) = words.next() else {
            return Self::Unfit("the server does not answer a command without a name");
        };
        match name.bytes() {
            b"MULTI" => Self::Leaves(Left::TRANSACTION),
            b"WATCH" => Self::Leaves(Left::WATCH),
            b"EXEC" | b"DISCARD" => Self::Ends,
            b"UNWATCH" => Self::Unwatches,
            b"SELECT" => Self::Leaves(Left::DATABASE),
            b"AUTH" => Self::Leaves(Left::USER),
            b"HELLO" => Self::Leaves(Left::PROTOCOL | Left::USER | Left::NAME),
            b"RESET" => Self::Leaves(Left::DATABASE | Left::USER | Left::PROTOCOL | Left::NAME),
            b"READONLY" | b"READWRITE" | b"ASKING" => Self::Leaves(Left::CLUSTER),
            b"QUIT" | b"SHUTDOWN" | b"POST" | b"HOST:" => Self::Leaves(Left::SPOILT),
            b"CLIENT" => Self::of_client(words.next()),
            b"SCRIPT" => match words.next() {
                Some(sub) if sub.bytes() == b"DEBUG" => Self::Leaves(Left::SPOILT),
                _ => Self::Leaves(Left::NOTHING),
            },
            b"SUBSCRIBE" | b"PSUBSCRIBE" | b"SSUBSCRIBE" | b"UNSUBSCRIBE" | b"PUNSUBSCRIBE"
            | b"SUNSUBSCRIBE" => {
                Self::Unfit("messages would follow it: subscribe with `redis::Pool::subscriber`")
            }
            b"MONITOR" | b"SYNC" | b"PSYNC" | b"REPLCONF" => Self::Unfit(
                "a stream of other answers would follow it: use a connection of the driver that is in no pool",
            ),
            b"BLPOP" | b"BRPOP" | b"BRPOPLPUSH" | b"BLMOVE" | b"BLMPOP" | b"BZPOPMIN"
            | b"BZPOPMAX" | b"BZMPOP" | b"WAIT" | b"WAITAOF" => Self::Waits,
            b"XREAD" | b"XREADGROUP" if blocks(&mut words).is_some() => Self::Waits,
            _ => Self::Leaves(Left::NOTHING),
        }
    }

    fn of_client(sub: Option<Word>) -> Self {
        let Some(sub) = sub else {
            return Self::Leaves(Left::NOTHING);
        };
        Self::Leaves(match sub.bytes() {
            b"ID" | b"INFO" | b"LIST" | b"GETNAME" | b"GETREDIR" | b"TRACKINGINFO" | b"HELP"
            | b"KILL" | b"UNBLOCK" | b"PAUSE" | b"UNPAUSE" => Left::NOTHING,
            b"SETNAME" | b"SETINFO" => Left::NAME,
            b"TRACKING" | b"CACHING" => Left::TRACKING,
            b"NO-EVICT" | b"NO-TOUCH" => Left::EVICTION,
            b"REPLY" => {
                return Self::Unfit(
                    "the driver waits for each answer: `Cmd::set_no_response` does not",
                );
            }
            // One of a later server.
            _ => Left::SPOILT,
        })
    }

    /// Returns what is left after the deed was asked for, whether or not it is done.
    pub(super) fn asked(self, left: Left) -> Left {
        match self {
            Self::Leaves(more) => left | more,
            _ => left,
        }
    }

    /// Returns what is left after the server's answer. `before` is what was left before the request.
    pub(super) fn answered(self, before: Left, is_error: bool) -> Left {
        match self {
            Self::Leaves(_) if is_error => before,
            // Without a transaction they are refused, and leave what is watched.
            Self::Ends if before.has(Left::TRANSACTION) => {
                before.without(Left::TRANSACTION | Left::WATCH)
            }
            // In a transaction it is only queued.
            Self::Unwatches if !before.has(Left::TRANSACTION) && !is_error => {
                before.without(Left::WATCH)
            }
            deed => deed.asked(before),
        }
    }
}

#[cfg(test)]
mod tests {
    use redis::cmd;

    use super::*;

    fn run(text: &str) -> Left {
        let mut left = Left::NOTHING;
        for line in text.split(';') {
            let (line, is_error) = match line.strip_suffix('!') {
                Some(line) => (line, true),
                None => (line, false),
            };
            let mut words = line.split(' ');
            let mut command = cmd(words.next().unwrap_or_default());
            for word in words {
                command.arg(word);
            }
            left = Deed::of(&command).answered(left, is_error);
        }
        left
    }

    #[test]
    fn what_is_left_follows_from_the_commands_and_their_answers() {
        for (text, left) in [
            ("GET k", Left::NOTHING),
            ("watch k", Left::WATCH),
            ("WATCH k!", Left::NOTHING),
            ("WATCH k;UNWATCH", Left::NOTHING),
            ("WATCH k;UNWATCH!", Left::WATCH),
            ("WATCH k;MULTI", Left::WATCH | Left::TRANSACTION),
            ("WATCH k;MULTI;UNWATCH", Left::WATCH | Left::TRANSACTION),
            ("WATCH k;MULTI;SET a b;EXEC", Left::NOTHING),
            ("WATCH k;MULTI;EXEC!", Left::NOTHING),
            ("WATCH k;EXEC!", Left::WATCH),
            ("MULTI;DISCARD", Left::NOTHING),
            ("MULTI;SELECT 1;EXEC", Left::DATABASE),
            ("SELECT 99!", Left::NOTHING),
            ("client setname x", Left::NAME),
            ("CLIENT NO-EVICT on", Left::EVICTION),
            ("CLIENT LIST", Left::NOTHING),
            ("CLIENT FUTURE", Left::SPOILT),
            ("SCRIPT DEBUG yes", Left::SPOILT),
            ("SCRIPT LOAD x", Left::NOTHING),
            ("XREAD COUNT 1 STREAMS s 0", Left::NOTHING),
        ] {
            assert_eq!(run(text), left, "{text}");
        }
    }

    #[test]
    fn what_the_driver_cannot_follow_is_unfit_and_what_waits_is_known() {
        let of = |name: &str, args: &[&str]| {
            let mut command = cmd(name);
            command.arg(args);
            Deed::of(&command)
        };
        for (name, args) in [
            ("subscribe", &["c"][..]),
            ("MONITOR", &[]),
            ("CLIENT", &["reply", "off"]),
        ] {
            assert!(matches!(of(name, args), Deed::Unfit(_)), "{name}");
        }
        assert!(matches!(Deed::of(&Cmd::new()), Deed::Unfit(_)));
        assert_eq!(of("blpop", &["k", "0"]), Deed::Waits);
        assert_eq!(
            of("XREAD", &["block", "0", "streams", "s", "$"]),
            Deed::Waits
        );
    }
}

//! Which commands may share a connection.

use redis::{Arg, Cmd, Pipeline};

use crate::Error;

/// Refuses a command that does not belong on a connection which others use too.
///
/// # Errors
/// The command changes the connection, holds it up, is answered more than once or not at all, or is longer than `max_bytes`.
pub(super) fn one(cmd: &Cmd, max_bytes: usize) -> Result<(), Error> {
    let mut length = max_bytes;
    check(cmd, &mut length).map_err(|error| error.of(max_bytes))
}

/// Refuses a pipeline as [`one`] does a command. `offset` and `count` say which of the answers the driver asks for.
pub(super) fn all(
    pipeline: &Pipeline,
    offset: usize,
    count: usize,
    max_bytes: usize,
) -> Result<(), Error> {
    counts(pipeline, offset, count)?;
    let mut length = max_bytes;
    pipeline
        .cmd_iter()
        .try_for_each(|cmd| check(cmd, &mut length))
        .map_err(|error| error.of(max_bytes))
}

/// Refuses a pipeline of which other answers are asked for than it has: those that are left over would go to the next request.
pub(super) fn counts(pipeline: &Pipeline, offset: usize, count: usize) -> Result<(), Error> {
    let commands = pipeline.len();
    let asked = if pipeline.is_transaction() {
        (commands + 1, 1)
    } else {
        (0, commands)
    };
    if commands == 0 || (offset, count) != asked {
        let why = "a pipeline that is empty, or of which not all answers are asked for";
        return Err(Error::unfit(why.to_owned()));
    }
    Ok(())
}

/// Why a command cannot share a connection.
#[derive(Debug, PartialEq, Eq)]
enum Unfit {
    Command(String, Effect),
    /// No word at all: the server does not answer it.
    Empty,
    Length,
}

/// What a command does to those that it would share a connection with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// It waits on the server.
    Blocks,
    /// It begins, ends or guards a transaction of several requests.
    Transaction,
    /// Messages follow it.
    Messages,
    /// It changes what later commands on the connection do.
    Session,
    /// The server closes the connection.
    Closes,
}

impl Unfit {
    fn of(&self, max_bytes: usize) -> Error {
        Error::unfit(match self {
            Self::Command(name, effect) => {
                let (why, instead) = match effect {
                    Effect::Blocks => (
                        "it holds up all others until it is answered",
                        "use a connection of a `redis::Pool`",
                    ),
                    Effect::Transaction => (
                        "commands of others would get into the transaction",
                        "use `redis::pipe().atomic()`, which sends a transaction as one request, or a connection of a `redis::Pool`",
                    ),
                    Effect::Messages => (
                        "messages would follow it",
                        "subscribe on a connection of a `redis::Pool`",
                    ),
                    Effect::Session => (
                        "it changes the connection for all others",
                        "set it on the builder, or use a connection of a `redis::Pool`",
                    ),
                    Effect::Closes => (
                        "the server closes the connection, and with it the calls of all others",
                        "use a connection of a `redis::Pool`",
                    ),
                };
                format!("`{name}` cannot share a connection, as {why}: {instead}")
            }
            Self::Empty => "a command without a name: the server does not answer it".to_owned(),
            Self::Length => format!(
                "the request is longer than {max_bytes} bytes (max_bytes): it would hold up all others. Use a connection of a \
                 `redis::Pool`"
            ),
        })
    }
}

fn check(cmd: &Cmd, left: &mut usize) -> Result<(), Unfit> {
    let mut args = cmd.args_iter();
    let name = match args.next() {
        None => return Err(Unfit::Empty),
        Some(Arg::Simple(name)) => Word::new(name),
        // The number of a cursor is no command.
        Some(_) => Word::default(),
    };
    for arg in cmd.args_iter() {
        let length = if let Arg::Simple(arg) = arg {
            arg.len()
        } else {
            0
        };
        // The server and the network have about that much to do with each argument, also if it is empty.
        *left = left.checked_sub(length + FRAME).ok_or(Unfit::Length)?;
    }
    let words = args.map(|arg| match arg {
        Arg::Simple(arg) => Word::new(arg),
        _ => Word::default(),
    });
    match effect(&name, words) {
        None => Ok(()),
        Some((effect, sub)) => {
            let mut text = name.text();
            if let Some(sub) = sub {
                text.push(' ');
                text.push_str(&sub.text());
            }
            Err(Unfit::Command(text, effect))
        }
    }
}

/// Returns what a command does, with its second word if that is what decides.
fn effect(name: &Word, mut args: impl Iterator<Item = Word>) -> Option<(Effect, Option<Word>)> {
    let effect = match name.bytes() {
        b"BLPOP" | b"BRPOP" | b"BRPOPLPUSH" | b"BLMOVE" | b"BLMPOP" | b"BZPOPMIN" | b"BZPOPMAX"
        | b"BZMPOP" | b"WAIT" | b"WAITAOF" => Effect::Blocks,
        b"XREAD" | b"XREADGROUP" => return blocks(args).map(|word| (Effect::Blocks, Some(word))),
        b"MULTI" | b"EXEC" | b"DISCARD" | b"WATCH" | b"UNWATCH" => Effect::Transaction,
        b"SUBSCRIBE" | b"PSUBSCRIBE" | b"SSUBSCRIBE" | b"UNSUBSCRIBE" | b"PUNSUBSCRIBE"
        | b"SUNSUBSCRIBE" | b"MONITOR" | b"SYNC" | b"PSYNC" | b"REPLCONF" => Effect::Messages,
        b"SELECT" | b"AUTH" | b"HELLO" | b"RESET" | b"ASKING" | b"READONLY" | b"READWRITE" => {
            Effect::Session
        }
        // The server takes a request of HTTP for an attack.
        b"QUIT" | b"SHUTDOWN" | b"POST" | b"HOST:" => Effect::Closes,
        b"CLIENT" => {
            let sub = args.next()?;
            return match sub.bytes() {
                b"ID" | b"INFO" | b"LIST" | b"GETNAME" | b"GETREDIR" | b"TRACKINGINFO"
                | b"HELP" | b"KILL" | b"UNBLOCK" | b"PAUSE" | b"UNPAUSE" => None,
                _ => Some((Effect::Session, Some(sub))),
            };
        }
        b"SCRIPT" => {
            let sub = args.next()?;
            return (sub.bytes() == b"DEBUG").then_some((Effect::Session, Some(sub)));
        }
        _ => return None,
    };
    Some((effect, None))
}

/// Returns the option that makes a read of a stream wait, if it is there. The options are read as the server reads them.
pub(super) fn blocks(mut args: impl Iterator<Item = Word>) -> Option<Word> {
    while let Some(word) = args.next() {
        match word.bytes() {
            b"BLOCK" => return Some(word),
            b"COUNT" => drop(args.next()),
            b"GROUP" => drop((args.next(), args.next())),
            b"NOACK" => {}
            // The names of streams follow, or else the server refuses the command.
            _ => break,
        }
    }
    None
}

/// The beginning of an argument, in upper case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Word {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Word {
    pub(super) fn new(text: &[u8]) -> Self {
        let mut word = Self::default();
        // What is longer is none of the words that are known.
        if text.len() <= LONGEST {
            word.length = text.len();
            for (to, from) in word.bytes.iter_mut().zip(text) {
                *to = from.to_ascii_uppercase();
            }
        }
        word
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }
}

/// No word that is known is longer: `SUNSUBSCRIBE`, `PUNSUBSCRIBE`, `TRACKINGINFO`.
const LONGEST: usize = 12;

/// What an argument has beside its bytes, in the protocol.
const FRAME: usize = 8;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use redis::{cmd, pipe};

    use super::*;

    const MAX: usize = 1 << 20;

    fn line(text: &str) -> Cmd {
        let mut words = text.split(' ');
        let mut cmd = cmd(words.next().unwrap());
        for word in words {
            cmd.arg(word);
        }
        cmd
    }

    fn says(text: &str) -> String {
        let error = one(&line(text), MAX).unwrap_err();
        assert!(!error.may_have_happened(), "{error}");
        // It is no different in a pipeline, whichever.
        let mut many = pipe();
        many.cmd("GET").arg("k").add_command(line(text));
        assert_eq!(
            all(&many, 0, 2, MAX).unwrap_err().to_string(),
            error.to_string()
        );
        many.atomic();
        assert_eq!(
            all(&many, 3, 1, MAX).unwrap_err().to_string(),
            error.to_string()
        );
        error.to_string()
    }

    #[test]
    fn what_holds_up_or_changes_the_connection_is_refused_with_what_to_use_instead() {
        for (text, name) in [
            ("BLPOP k 0", "BLPOP"),
            ("blpop k 0", "BLPOP"),
            ("bZpOpMiN k 0", "BZPOPMIN"),
            ("WAIT 1 0", "WAIT"),
            ("XREAD BLOCK 0 STREAMS s $", "XREAD BLOCK"),
            ("xread count 2 block 0 streams s $", "XREAD BLOCK"),
            (
                "XREADGROUP GROUP g c COUNT 1 BLOCK 5 STREAMS s >",
                "XREADGROUP BLOCK",
            ),
            (
                "XREADGROUP GROUP g c NOACK block 5 STREAMS s >",
                "XREADGROUP BLOCK",
            ),
            (
                "XREADGROUP BLOCK 5 GROUP g c STREAMS s >",
                "XREADGROUP BLOCK",
            ),
            ("MULTI", "MULTI"),
            ("watch k", "WATCH"),
            ("SUBSCRIBE a", "SUBSCRIBE"),
            ("punsubscribe", "PUNSUBSCRIBE"),
            ("MONITOR", "MONITOR"),
            ("SELECT 1", "SELECT"),
            ("HELLO 3", "HELLO"),
            ("client reply off", "CLIENT REPLY"),
            ("CLIENT SETNAME x", "CLIENT SETNAME"),
            ("CLIENT NO-EVICT on", "CLIENT NO-EVICT"),
            ("CLIENT TRACKING on", "CLIENT TRACKING"),
            ("script debug yes", "SCRIPT DEBUG"),
            ("post /", "POST"),
            ("Host: redis", "HOST:"),
            ("quit", "QUIT"),
        ] {
            let says = says(text);
            assert!(
                says.starts_with(&format!("`{name}` cannot share a connection, as ")),
                "{text}: {says}"
            );
            assert!(says.contains("redis::Pool"), "{says}");
        }
    }

    #[test]
    fn other_commands_pass() {
        for text in [
            "GET k",
            "SET BLOCK MULTI",
            "XREAD COUNT 2 STREAMS BLOCK 0",
            "XREADGROUP GROUP BLOCK BLOCK STREAMS s >",
            "XREAD COUNT BLOCK STREAMS s 0",
            "EVAL redis.call('SELECT',1) 0",
            "SCRIPT LOAD x",
            "SCRIPT",
            "CLIENT",
            "CLIENT ID",
            "client kill id 3",
            "CLUSTER INFO",
            "PUBLISH c m",
            "MULTIS",
            "averyverylongnameofacommand x",
            "",
        ] {
            one(&line(text), MAX).unwrap();
        }
        let mut scan = cmd("SCAN");
        scan.cursor_arg(7);
        one(&scan, MAX).unwrap();
    }

    #[test]
    fn a_request_whose_answers_do_not_match_is_refused() {
        let nameless = Cmd::new();
        assert!(
            one(&nameless, MAX)
                .unwrap_err()
                .to_string()
                .contains("without a name")
        );
        let mut many = pipe();
        many.cmd("GET").arg("a");
        all(&many, 0, 1, MAX).unwrap();
        for (offset, count) in [(0, 0), (0, 2), (1, 0), (1, 1)] {
            assert!(all(&many, offset, count, MAX).is_err(), "{offset} {count}");
        }
        many.add_command(nameless);
        assert!(all(&many, 0, 2, MAX).is_err(), "it has one answer only");
        assert!(all(&pipe(), 0, 0, MAX).is_err());
        assert!(all(pipe().atomic(), 1, 1, MAX).is_err());
    }

    #[test]
    fn a_request_is_bounded_in_its_length() {
        let value = |length| {
            let mut set = cmd("SET");
            set.arg("k").arg(vec![0_u8; length]);
            set
        };
        let rest = MAX - 4 - 3 * FRAME;
        one(&value(rest), MAX).unwrap();
        let error = one(&value(rest + 1), MAX).unwrap_err();
        assert!(error.to_string().contains("max_bytes"), "{error}");
        let mut many = pipe();
        many.add_command(value(rest / 2))
            .add_command(value(rest / 2));
        assert!(all(&many, 0, 2, MAX).is_err());
    }
}

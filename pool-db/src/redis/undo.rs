//! Puts back what was taken for a caller that is gone.

use redis::{Arg, Cmd, Value, cmd};

use super::shareable::Word;

/// How the element that a command has taken is put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undo {
    /// Nothing was taken, or it is in another key of the server.
    Nothing,
    /// To the front of a list.
    Front,
    /// To the back of a list.
    Back,
    /// Into a sorted set.
    Sorted,
}

impl Undo {
    pub(super) fn of(cmd: &Cmd) -> Self {
        let mut words = cmd.args_iter().map(|arg| match arg {
            Arg::Simple(arg) => Word::new(arg),
            _ => Word::default(),
        });
        match words.next().unwrap_or_default().bytes() {
            b"BLPOP" => Self::Front,
            b"BRPOP" => Self::Back,
            b"BZPOPMIN" | b"BZPOPMAX" | b"BZMPOP" => Self::Sorted,
            b"BLMPOP" => {
                // The timeout, the number of keys, the keys, the side.
                let text = |arg| match arg {
                    Arg::Simple(arg) => std::str::from_utf8(arg).ok(),
                    _ => None,
                };
                let keys = cmd.args_iter().nth(2).and_then(text);
                let keys = keys.and_then(|keys| keys.parse::<usize>().ok());
                let side = keys.and_then(|keys| cmd.args_iter().nth(keys.checked_add(3)?));
                match side {
                    Some(Arg::Simple(side)) if side.eq_ignore_ascii_case(b"RIGHT") => Self::Back,
                    _ => Self::Front,
                }
            }
            _ => Self::Nothing,
        }
    }

    /// Returns the command that puts back what `answer` has brought, if it has brought anything.
    pub(super) fn command(self, answer: Value) -> Option<Cmd> {
        let mut parts = items(answer)?.into_iter();
        let key = bytes(parts.next()?)?;
        let mut rest: Vec<Value> = parts.collect();
        // `BLMPOP` and `BZMPOP` have a list of elements.
        if let [Value::Array(elements)] = &mut *rest {
            rest = std::mem::take(elements);
        }
        let (name, elements) = match self {
            Self::Nothing => return None,
            Self::Front => ("LPUSH", rest),
            Self::Back => ("RPUSH", rest),
            Self::Sorted => ("ZADD", rest),
        };
        let mut back = cmd(name);
        back.arg(key);
        if self != Self::Sorted {
            // What was taken last is put back first.
            for element in elements.into_iter().rev() {
                back.arg(bytes(element)?);
            }
            return Some(back);
        }
        // What has come back by now is newer.
        back.arg("NX");
        let mut flat = Vec::new();
        for element in elements {
            match element {
                Value::Array(pair) => flat.extend(pair),
                value => flat.push(value),
            }
        }
        let mut flat = flat.into_iter();
        while let (Some(member), Some(score)) = (flat.next(), flat.next()) {
            back.arg(bytes(score)?).arg(bytes(member)?);
        }
        Some(back)
    }
}

fn items(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) if items.len() > 1 => Some(items),
        _ => None,
    }
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        Value::Double(score) => Some(score.to_string().into_bytes()),
        Value::Int(score) => Some(score.to_string().into_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn undone(line: &str, answer: &str) -> Option<String> {
        let mut words = line.split(' ');
        let mut command = cmd(words.next().unwrap());
        for word in words {
            command.arg(word);
        }
        let answer = redis::parse_redis_value(answer.as_bytes()).unwrap();
        let back = Undo::of(&command).command(answer)?;
        let words = back.args_iter().map(|arg| match arg {
            Arg::Simple(arg) => String::from_utf8_lossy(arg).into_owned(),
            _ => String::new(),
        });
        Some(words.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn what_was_taken_is_put_back_where_it_was() {
        let pair = "*2\r\n$1\r\nk\r\n$1\r\na\r\n";
        let many = "*2\r\n$1\r\nk\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n";
        let scored = "*3\r\n$1\r\nk\r\n$1\r\na\r\n$3\r\n1.5\r\n";
        let double = "*3\r\n$1\r\nk\r\n$1\r\na\r\n,1.5\r\n";
        let pairs =
            "*2\r\n$1\r\nk\r\n*2\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n*2\r\n$1\r\nb\r\n$1\r\n2\r\n";
        for (line, answer, back) in [
            ("BLPOP k 0", pair, Some("LPUSH k a")),
            ("brpop j k 0", pair, Some("RPUSH k a")),
            ("BLPOP k 0", "*-1\r\n", None),
            ("BLPOP k 0", "-UNBLOCKED x\r\n", None),
            ("BLMPOP 0 1 k LEFT COUNT 2", many, Some("LPUSH k b a")),
            (
                "BLMPOP 0 2 RIGHT k right COUNT 2",
                many,
                Some("RPUSH k b a"),
            ),
            ("BZPOPMIN k 0", scored, Some("ZADD k NX 1.5 a")),
            ("BZPOPMAX k 0", double, Some("ZADD k NX 1.5 a")),
            ("BZMPOP 0 1 k MIN COUNT 2", pairs, Some("ZADD k NX 1 a 2 b")),
            ("BLMOVE k j LEFT LEFT 0", "$1\r\na\r\n", None),
            ("XREAD BLOCK 0 STREAMS s 0", many, None),
        ] {
            assert_eq!(undone(line, answer).as_deref(), back, "{line}");
        }
    }
}

//! Addresses of Redis servers.

use std::{fmt, path::PathBuf};

use pool_core::ConfigError;

use super::{Protocol, secret::Secret};
use crate::address::{bad_address, percent_decoded, shown};

/// Where a server is, and what the address says about the connections to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) place: Place,
    pub(super) tls: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) db: Option<u32>,
    pub(super) protocol: Option<Protocol>,
}

/// Where connections are made to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Host(Host),
    /// The path of a socket of Unix.
    Socket(PathBuf),
    /// Sentinels, which know the master of a service.
    Sentinel {
        sentinels: Vec<Host>,
        service: String,
    },
}

/// A name or an address of a host, without brackets, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) port: u16,
}

impl Location {
    /// Parses an address. `setting` is the setting or variable that it came from.
    ///
    /// # Errors
    /// It is none. The error shows nothing of it but its scheme and its length.
    pub(super) fn parse(setting: &str, text: &str) -> Result<Self, ConfigError> {
        parse(text).map_err(|expected| bad_address(setting, text, expected))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = shown(&self.name);
        if name.contains(':') {
            write!(f, "[{name}]:{}", self.port)
        } else {
            write!(f, "{name}:{}", self.port)
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => host.fmt(f),
            Self::Socket(path) => f.write_str(&shown(&path.to_string_lossy())),
            Self::Sentinel { sentinels, service } => {
                write!(f, "the master of {} by ", shown(service))?;
                for (n, host) in sentinels.iter().enumerate() {
                    f.write_str(if n == 0 { "" } else { "," })?;
                    host.fmt(f)?;
                }
                Ok(())
            }
        }
    }
}

fn parse(text: &str) -> Result<Location, &'static str> {
    let (scheme, rest) = text.split_once(':').ok_or(EXPECTED)?;
    let (kind, tls) = match scheme.to_ascii_lowercase().as_str() {
        "redis" | "valkey" => (Kind::Host, false),
        "rediss" | "valkeys" => (Kind::Host, true),
        "redis+sentinel" => (Kind::Sentinel, false),
        "rediss+sentinel" => (Kind::Sentinel, true),
        "redis+unix" | "valkey+unix" | "unix" => (Kind::Socket, false),
        _ => return Err(EXPECTED),
    };
    if rest.contains('#') {
        return Err("an address without a fragment (`#` is written as %23)");
    }
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query)),
        None => (rest, None),
    };
    let mut location = Location {
        place: Place::Socket(PathBuf::new()),
        tls,
        user: None,
        password: None,
        db: None,
        protocol: None,
    };
    match (kind, rest.strip_prefix("//")) {
        (Kind::Socket, after) => location.place = Place::Socket(socket(after.unwrap_or(rest))?),
        (_, None) => return Err(EXPECTED),
        (Kind::Host, Some(rest)) => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let hosts = location.take_user(authority)?;
            location.place = Place::Host(host(hosts, DEFAULT_PORT)?);
            location.take_db(path)?;
        }
        (Kind::Sentinel, Some(rest)) => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let hosts = location.take_user(authority)?;
            let (service, db) = path.split_once('/').unwrap_or((path, ""));
            let service = decoded(service)?;
            if service.is_empty() {
                return Err(
                    "an address that names the service: redis+sentinel://host,host/service",
                );
            }
            let sentinels = hosts.split(',').map(|text| host(text, SENTINEL_PORT));
            let sentinels = sentinels.collect::<Result<_, _>>()?;
            location.place = Place::Sentinel { sentinels, service };
            location.take_db(db)?;
        }
    }
    for pair in query.into_iter().flat_map(|query| query.split('&')) {
        if !pair.is_empty() {
            location.take_parameter(pair, kind)?;
        }
    }
    Ok(location)
}

impl Location {
    /// Takes the user and the password from an authority, and returns the rest of it.
    fn take_user<'a>(&mut self, authority: &'a str) -> Result<&'a str, &'static str> {
        let Some((user, hosts)) = authority.rsplit_once('@') else {
            return Ok(authority);
        };
        let (user, password) = match user.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (user, None),
        };
        self.user = Some(decoded(user)?).filter(|user| !user.is_empty());
        self.password = password.map(decoded).transpose()?.map(Secret);
        if self.user.is_some() && self.password.is_none() {
            return Err("an address with a password for its user: user:password@");
        }
        Ok(hosts)
    }

    fn take_db(&mut self, text: &str) -> Result<(), &'static str> {
        let text = text.strip_suffix('/').unwrap_or(text);
        if !text.is_empty() {
            self.db = Some(parse_db(text).ok_or(DB)?);
        }
        Ok(())
    }

    fn take_parameter(&mut self, pair: &str, kind: Kind) -> Result<(), &'static str> {
        let (name, value) = pair.split_once('=').ok_or(PARAMETERS)?;
        let value = decoded(value)?;
        match name {
            "protocol" => self.protocol = Some(Protocol::parse(&value).ok_or(PROTOCOLS)?),
            "db" if self.db.is_none() => self.db = Some(parse_db(&value).ok_or(DB)?),
            "user" if kind == Kind::Socket => self.user = Some(value),
            "pass" | "password" if kind == Kind::Socket => self.password = Some(Secret(value)),
            _ => return Err(PARAMETERS),
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Host,
    Socket,
    Sentinel,
}

fn socket(text: &str) -> Result<PathBuf, &'static str> {
    let path = decoded(text)?;
    if !path.starts_with('/') || path.len() < 2 || path.contains('\0') {
        return Err("an absolute path of a socket: redis+unix:///run/redis.sock");
    }
    Ok(path.into())
}

fn host(text: &str, default_port: u16) -> Result<Host, &'static str> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (name, port) = rest.split_once(']').ok_or(HOST)?;
            name.parse::<std::net::Ipv6Addr>().map_err(|_| HOST)?;
            match port {
                "" => (name, None),
                port => (name, Some(port.strip_prefix(':').ok_or(HOST)?)),
            }
        }
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.:".contains(letter);
    if name.is_empty() || !name.chars().all(is_plain) {
        return Err(HOST);
    }
    let port = match port {
        None => default_port,
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(PORT)?,
    };
    Ok(Host {
        name: name.to_owned(),
        port,
    })
}

/// Parses the number of a database.
pub(super) fn parse_db(text: &str) -> Option<u32> {
    // Redis keeps it in 31 bits.
    text.parse().ok().filter(|db| i32::try_from(*db).is_ok())
}

fn decoded(text: &str) -> Result<String, &'static str> {
    let bytes = percent_decoded(text).ok_or(
        "an address whose `%` are followed by two hexadecimal digits (a `%` itself is %25)",
    )?;
    String::from_utf8(bytes).map_err(|_| "an address in Unicode")
}

pub(super) const EXPECTED: &str = "an address: redis://user:password@host:port/db, rediss:// for TLS, redis+unix:///path, or \
     redis+sentinel://host,host/service";
const HOST: &str = "an address whose host is a name, an IPv4 address or [an IPv6 address] (in a password, `@`, `/`, `?` and `:` are \
     written as %40, %2F, %3F and %3A)";
const PORT: &str = "an address whose port is from 1 to 65535";
const DB: &str = "an address whose database is a number, as in redis://host/1";
const PARAMETERS: &str =
    "an address whose parameters are `protocol` and `db`, and for a socket `user` and `pass`";
const PROTOCOLS: &str = "an address whose `protocol` is resp2 or resp3";
const DEFAULT_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn location(text: &str) -> Location {
        Location::parse("url", text).unwrap()
    }

    fn at(name: &str, port: u16) -> Host {
        Host {
            name: name.to_owned(),
            port,
        }
    }

    #[test]
    fn an_address_is_taken_apart() {
        let plain = Location {
            place: Place::Host(at("db.example", 6379)),
            tls: false,
            user: None,
            password: None,
            db: None,
            protocol: None,
        };
        assert_eq!(location("redis://db.example"), plain);
        assert_eq!(location("REDIS://db.example/"), plain);
        let all = Location {
            place: Place::Host(at("::1", 7000)),
            tls: true,
            user: Some("me".to_owned()),
            password: Some(Secret("p@ss:/?#%".to_owned())),
            db: Some(3),
            protocol: Some(Protocol::Resp3),
        };
        assert_eq!(
            location("rediss://me:p%40ss%3A%2F%3F%23%25@[::1]:7000/3?protocol=resp3"),
            all
        );
        // Only the last `@` ends a password.
        let loose = location("redis://:p@ss@h");
        assert_eq!(loose.password, Some(Secret("p@ss".to_owned())));
        assert_eq!(loose.user, None);
        let socket = Location {
            place: Place::Socket("/run/r s.sock".into()),
            user: Some("me".to_owned()),
            password: Some(Secret("x&y".to_owned())),
            db: Some(2),
            ..plain.clone()
        };
        for scheme in ["redis+unix://", "unix:", "unix://"] {
            let text = format!("{scheme}/run/r%20s.sock?db=2&user=me&pass=x%26y");
            assert_eq!(location(&text), socket);
        }
        let sentinel = Location {
            place: Place::Sentinel {
                sentinels: vec![at("a", 26379), at("::2", 5000)],
                service: "my master".to_owned(),
            },
            db: Some(1),
            ..plain
        };
        assert_eq!(
            location("redis+sentinel://a,[::2]:5000/my%20master/1"),
            sentinel
        );
    }

    #[test]
    fn what_is_no_address_is_refused_without_a_word_of_it() {
        for text in [
            "",
            "topsecret",
            "redis",
            "redis:",
            "redis:topsecret",
            "redis:/topsecret",
            "redis://",
            "redis:///1",
            "redis://:topsecret@",
            "redis://u:topsecret@:6379",
            "redis://topsecret@h",
            "redis://u:topsecret@h:port",
            "redis://u:topsecret@h:0",
            "redis://u:topsecret@h:65536",
            "redis://u:topsecret@h:-1",
            "redis://u:topsecret@h:",
            "redis://u:topsecret@h/one",
            "redis://u:topsecret@h/-1",
            "redis://u:topsecret@h/2147483648",
            "redis://u:topsecret@h/1/2",
            "redis://u:top/secret@h",
            "redis://u:top?secret@h",
            "redis://u:top#secret@h",
            "redis://u:topsecret%@h",
            "redis://u:topsecret%ff@h",
            "redis://u:topsecret@[::1",
            "redis://u:topsecret@[nonsense]",
            "redis://u:topsecret@[::1]7",
            "redis://u:topsecret@a b",
            "redis://u:topsecret@h,g",
            "redis://u:topsecret@h?protocol=topsecret",
            "redis://u:topsecret@h?topsecret",
            "redis://u:topsecret@h?topsecret=1",
            "redis://u:topsecret@h/1?db=2",
            "redis://h?pass=topsecret",
            "redis+unix://topsecret",
            "redis+unix:///",
            "unix:",
            "unix:///a%00topsecret",
            "redis+sentinel://u:topsecret@h",
            "redis+sentinel://u:topsecret@h/",
            "redis+sentinel://u:topsecret@h,/topsecret",
            "redis+sentinel:///topsecret",
            "http://u:topsecret@h",
            "postgres://u:topsecret@h",
            "mysql:topsecret",
            "redis+tls://u:topsecret@h",
        ] {
            let error = Location::parse("POOL_REDIS_URL", text).unwrap_err();
            let error = error.to_string();
            assert!(error.starts_with("POOL_REDIS_URL is "), "{error}");
            assert!(error.contains("but must be an a"), "{text}: {error}");
            assert!(!error.contains("secret"), "{text}: {error}");
        }
    }

    #[test]
    fn no_password_is_shown() {
        let debug = format!("{:?}", location("redis://me:topsecret@h"));
        assert!(
            debug.contains("me") && !debug.contains("topsecret"),
            "{debug}"
        );
    }
}

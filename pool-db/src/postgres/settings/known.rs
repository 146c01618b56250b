//! The options of libpq: their names, their variables, and what their values may be.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use pool_core::{__checks::near, FromEnv};

use crate::postgres::{session_attrs::SessionAttrs, tls::SslMode};

/// An option of libpq.
pub(super) struct Known {
    pub(super) name: &'static str,
    pub(super) variable: Option<&'static str>,
    pub(super) kind: Kind,
}

/// What the value of an option may be.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Any text.
    Text,
    /// A password, whose bytes need not be UTF-8.
    Secret,
    Hosts,
    Addresses,
    Ports,
    /// Seconds; 0 or less is none.
    Seconds,
    Milliseconds,
    Count,
    Flag,
    /// One of some words.
    Word(fn(&str) -> bool, &'static str),
    /// An option that this crate does not have, but for these values, which change nothing here.
    Only(&'static [&'static str], &'static str),
    /// An option that this crate does not have. To leave it out in silence could be unsafe.
    Refused(&'static str),
}

impl Kind {
    /// Returns what the value must be, if it is not.
    pub(super) fn refuses(self, text: &str) -> Option<String> {
        let (is_valid, expected) = match self {
            Self::Text | Self::Secret => return None,
            Self::Hosts => (
                text.split(',').all(is_host),
                "host names, addresses or directories of sockets, separated by commas",
            ),
            Self::Addresses => (
                text.split(',')
                    .all(|part| part.is_empty() || part.parse::<IpAddr>().is_ok()),
                "IP addresses, separated by commas",
            ),
            Self::Ports => (
                text.split(',')
                    .all(|part| part.is_empty() || part.parse::<u16>().is_ok_and(|port| port > 0)),
                "port numbers from 1 to 65535, separated by commas",
            ),
            Self::Seconds => (
                seconds(text).is_some(),
                "seconds as a number; 0 or less for none",
            ),
            Self::Milliseconds => (
                text.parse::<i64>().is_ok(),
                "milliseconds as a whole number; 0 or less for the default of the system",
            ),
            Self::Count => (
                text.parse::<u32>().is_ok(),
                "a whole number; 0 for the default of the system",
            ),
            Self::Flag => (matches!(text, "0" | "1"), "0 or 1"),
            Self::Word(is_valid, expected) => (is_valid(text), expected),
            Self::Only(values, why) => {
                let is_valid = values.iter().any(|value| value.eq_ignore_ascii_case(text));
                return (!is_valid).then(|| format!("{} or left out: {why}", values.join(", ")));
            }
            Self::Refused(why) => return Some(format!("left out: {why}")),
        };
        (!is_valid).then(|| expected.to_owned())
    }
}

/// Parses seconds; `Some(None)` for no limit.
pub(super) fn seconds(text: &str) -> Option<Option<Duration>> {
    let number: f64 = text.parse().ok()?;
    if number <= 0.0 {
        return Some(None);
    }
    Duration::try_from_secs_f64(number).ok().map(Some)
}

/// Whether the text can be a host: a name, an address, or the directory of a socket. Empty is the default.
fn is_host(text: &str) -> bool {
    let is_plain = |letter: char| letter.is_alphanumeric() || "-._".contains(letter);
    let is_address = || {
        text.contains(':')
            && text
                .split('%')
                .next()
                .is_some_and(|part| part.parse::<Ipv6Addr>().is_ok())
    };
    text.starts_with('/') || text.chars().all(is_plain) || is_address()
}

pub(super) fn known(name: &str) -> Option<&'static Known> {
    let name = match name {
        // The driver's own name for it.
        "keepalives_retries" => "keepalives_count",
        name => name,
    };
    OPTIONS.iter().find(|known| known.name == name)
}

/// Whether the name is an option of libpq, or of the drivers whose addresses are lists with `;`, in any case.
pub(super) fn is_known_in_any_case(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace([' ', '-'], "_");
    known(&name).is_some() || FOREIGN.iter().any(|(foreign, _)| *foreign == name)
}

/// Says what an unknown option may have been meant to be. Its name is not shown unless it is known elsewhere: in a malformed address
/// it may be a part of the password.
pub(super) fn unknown(name: &str) -> String {
    let lower = name.to_ascii_lowercase().replace([' ', '-'], "_");
    if known(&lower).is_some() {
        return format!("an option is unknown; did you mean `{lower}`?");
    }
    if let Some((foreign, instead)) = FOREIGN.iter().find(|(foreign, _)| *foreign == lower) {
        return format!("the option `{foreign}` is unknown; write {instead}");
    }
    let names: Vec<String> = OPTIONS.iter().map(|known| known.name.to_owned()).collect();
    let near = near(&lower, &names);
    let length = name.chars().count();
    if near.is_empty() {
        format!(
            "an option with a name of {length} characters is unknown, and not shown, as it may be a part of a password; the page of \
             `pool_db::postgres` has all options"
        )
    } else {
        let near: Vec<_> = near.iter().map(|name| format!("`{name}`")).collect();
        format!(
            "an option with a name of {length} characters is unknown; did you mean {}?",
            near.join(" or ")
        )
    }
}

const fn option(name: &'static str, variable: &'static str, kind: Kind) -> Known {
    Known {
        name,
        variable: Some(variable),
        kind,
    }
}

const fn bare(name: &'static str, kind: Kind) -> Known {
    Known {
        name,
        variable: None,
        kind,
    }
}

macro_rules! words {
    ($($word:literal)|+, $expected:literal) => {
        Kind::Word(|text| matches!(text, $($word)|+), $expected)
    };
}

/// All options of libpq 18.
pub(super) const OPTIONS: &[Known] = &[
    option("host", "PGHOST", Kind::Hosts),
    option("hostaddr", "PGHOSTADDR", Kind::Addresses),
    option("port", "PGPORT", Kind::Ports),
    option("dbname", "PGDATABASE", Kind::Text),
    option("user", "PGUSER", Kind::Text),
    option("password", "PGPASSWORD", Kind::Secret),
    option("passfile", "PGPASSFILE", Kind::Text),
    option("service", "PGSERVICE", Kind::Text),
    option("servicefile", "PGSERVICEFILE", Kind::Text),
    option("connect_timeout", "PGCONNECT_TIMEOUT", Kind::Seconds),
    option("application_name", "PGAPPNAME", Kind::Text),
    bare("fallback_application_name", Kind::Text),
    option("options", "PGOPTIONS", Kind::Text),
    option(
        "target_session_attrs",
        "PGTARGETSESSIONATTRS",
        Kind::Word(
            |text| SessionAttrs::parse(text).is_some(),
            SessionAttrs::EXPECTED,
        ),
    ),
    option(
        "load_balance_hosts",
        "PGLOADBALANCEHOSTS",
        words!("disable" | "random", "disable or random"),
    ),
    bare("keepalives", Kind::Flag),
    bare("keepalives_idle", Kind::Seconds),
    bare("keepalives_interval", Kind::Seconds),
    bare("keepalives_count", Kind::Count),
    bare("tcp_user_timeout", Kind::Milliseconds),
    option(
        "sslmode",
        "PGSSLMODE",
        Kind::Word(|text| SslMode::parse(text).is_some(), SslMode::EXPECTED),
    ),
    option(
        "sslnegotiation",
        "PGSSLNEGOTIATION",
        words!("postgres" | "direct", "postgres or direct"),
    ),
    option("sslrootcert", "PGSSLROOTCERT", Kind::Text),
    option("sslcert", "PGSSLCERT", Kind::Text),
    option("sslkey", "PGSSLKEY", Kind::Text),
    option(
        "channel_binding",
        "PGCHANNELBINDING",
        words!(
            "disable" | "prefer" | "require",
            "disable, prefer or require"
        ),
    ),
    bare(
        "sslpassword",
        Kind::Refused("encrypted keys are not supported; give sslkey a file that is not encrypted"),
    ),
    option(
        "sslcrl",
        "PGSSLCRL",
        Kind::Refused("revocation lists are not supported"),
    ),
    option(
        "sslcrldir",
        "PGSSLCRLDIR",
        Kind::Refused("revocation lists are not supported"),
    ),
    bare("sslkeylogfile", Kind::Refused("keys are not logged")),
    bare(
        "sslcompression",
        Kind::Only(&["0"], "TLS is not compressed"),
    ),
    option(
        "sslsni",
        "PGSSLSNI",
        Kind::Only(&["1"], "the name of the host is always sent"),
    ),
    option(
        "sslcertmode",
        "PGSSLCERTMODE",
        Kind::Only(
            &["allow"],
            "a certificate is sent if the server asks for it and sslcert is set",
        ),
    ),
    option(
        "ssl_min_protocol_version",
        "PGSSLMINPROTOCOLVERSION",
        Kind::Only(
            &["TLSv1", "TLSv1.1", "TLSv1.2"],
            "TLS 1.2 and 1.3 are spoken",
        ),
    ),
    option(
        "ssl_max_protocol_version",
        "PGSSLMAXPROTOCOLVERSION",
        Kind::Only(&["TLSv1.3"], "TLS 1.2 and 1.3 are spoken"),
    ),
    option(
        "gssencmode",
        "PGGSSENCMODE",
        Kind::Only(&["disable", "prefer"], "GSSAPI is not supported"),
    ),
    bare("krbsrvname", Kind::Refused("GSSAPI is not supported")),
    bare("gsslib", Kind::Refused("GSSAPI is not supported")),
    bare(
        "gssdelegation",
        Kind::Only(&["0"], "GSSAPI is not supported"),
    ),
    option(
        "requirepeer",
        "PGREQUIREPEER",
        Kind::Refused("the owner of a socket is not checked"),
    ),
    option(
        "require_auth",
        "PGREQUIREAUTH",
        Kind::Refused("methods of authentication cannot be chosen"),
    ),
    bare(
        "client_encoding",
        Kind::Only(&["UTF8", "UTF-8", "auto"], "text is always UTF-8"),
    ),
    bare(
        "replication",
        Kind::Only(
            &["false", "off", "no", "0"],
            "the replication protocol is not supported",
        ),
    ),
    option(
        "min_protocol_version",
        "PGMINPROTOCOLVERSION",
        Kind::Only(&["3.0"], "protocol 3.0 is spoken"),
    ),
    option(
        "max_protocol_version",
        "PGMAXPROTOCOLVERSION",
        Kind::Only(&["3.0", "3.2", "latest"], "protocol 3.0 is spoken"),
    ),
    bare(
        "scram_client_key",
        Kind::Refused("keys of SCRAM are not supported; set password"),
    ),
    bare(
        "scram_server_key",
        Kind::Refused("keys of SCRAM are not supported; set password"),
    ),
    bare("oauth_issuer", Kind::Refused("OAuth is not supported")),
    bare("oauth_client_id", Kind::Refused("OAuth is not supported")),
    bare(
        "oauth_client_secret",
        Kind::Refused("OAuth is not supported"),
    ),
    bare("oauth_scope", Kind::Refused("OAuth is not supported")),
];

/// Options of other libraries, and what to write instead.
const FOREIGN: [(&str, &str); 33] = [
    ("ssl", "sslmode=require"),
    ("ssl_mode", "sslmode"),
    ("server", "host"),
    ("hostname", "host"),
    ("data_source", "host"),
    ("address", "host"),
    ("database", "dbname"),
    ("initial_catalog", "dbname"),
    ("username", "user"),
    ("user_id", "user"),
    ("userid", "user"),
    ("uid", "user"),
    ("pwd", "password"),
    ("passwd", "password"),
    ("pass", "password"),
    ("timeout", "connect_timeout"),
    ("schema", SEARCH_PATH),
    ("currentschema", SEARCH_PATH),
    ("search_path", SEARCH_PATH),
    ("statement_timeout", STARTUP),
    ("lock_timeout", STARTUP),
    ("idle_in_transaction_session_timeout", STARTUP),
    ("timezone", STARTUP),
    ("connection_limit", "max_size as a setting of the pool"),
    ("max_connections", "max_size as a setting of the pool"),
    ("pool_size", "max_size as a setting of the pool"),
    ("pool_max", "max_size as a setting of the pool"),
    ("pool_max_conns", "max_size as a setting of the pool"),
    ("max_pool_size", "max_size as a setting of the pool"),
    ("maximum_pool_size", "max_size as a setting of the pool"),
    ("pool_timeout", "acquire_timeout as a setting of the pool"),
    ("pgbouncer", "statement_cache=0 as a setting of the pool"),
    (
        "statement_cache_capacity",
        "statement_cache as a setting of the pool",
    ),
];
const SEARCH_PATH: &str = "options=-csearch_path=SCHEMA, with %3D for the second `=` in a URL";
const STARTUP: &str = "options=-cNAME=VALUE, with %3D for the second `=` in a URL";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;
    use crate::postgres::settings::LIBPQ;

    #[test]
    fn every_option_and_variable_is_read_and_on_the_page() {
        let page = include_str!("options.md");
        let names: BTreeSet<_> = OPTIONS.iter().map(|known| known.name).collect();
        assert_eq!(names.len(), OPTIONS.len(), "a name is there twice");
        for known in OPTIONS {
            assert!(
                page.contains(&format!("`{}`", known.name)),
                "{}",
                known.name
            );
            if let Some(variable) = known.variable {
                assert!(page.contains(&format!("`{variable}`")), "{variable}");
            }
        }
        let read: BTreeSet<_> = OPTIONS.iter().filter_map(|known| known.variable).collect();
        let listed: BTreeSet<_> = LIBPQ
            .into_iter()
            .filter(|name| *name != "PGSYSCONFDIR")
            .collect();
        assert_eq!(read, listed);
    }

    #[test]
    fn values_are_checked_by_their_kinds() {
        for (name, valid, invalid) in [
            ("host", "a-b.example,/run/pg,::1,_x,café", "a b"),
            ("host", ",", "h;password=x"),
            ("host", "10.0.0.1", "u@h"),
            ("host", "fe80::1%eth0", "h:5432"),
            ("hostaddr", "10.0.0.1,::1,", "localhost"),
            ("port", "1,,65535", "65536"),
            ("port", "5432", "0"),
            ("connect_timeout", "2", "2s"),
            ("connect_timeout", "-1", "NaN"),
            ("connect_timeout", "0.5", "inf"),
            ("tcp_user_timeout", "-1", "1.5"),
            ("keepalives", "1", "on"),
            ("keepalives_count", "0", "-1"),
            ("target_session_attrs", "prefer-standby", "master"),
            ("load_balance_hosts", "random", "yes"),
            ("sslmode", "allow", "Require"),
            ("sslnegotiation", "direct", "requiredirect"),
            ("channel_binding", "require", "on"),
            ("gssencmode", "prefer", "require"),
            ("client_encoding", "utf8", "LATIN1"),
            ("ssl_min_protocol_version", "TLSv1.2", "TLSv1.3"),
        ] {
            let kind = known(name).unwrap().kind;
            assert_eq!(kind.refuses(valid), None, "{name}={valid}");
            assert!(kind.refuses(invalid).is_some(), "{name}={invalid}");
        }
        assert_eq!(
            seconds("1e300"),
            None,
            "it would be longer than a duration can be"
        );
        assert_eq!(
            known("sslcrl").unwrap().kind.refuses("x").unwrap(),
            "left out: revocation lists are not supported"
        );
    }

    #[test]
    fn an_unknown_option_is_told_what_it_may_have_been() {
        for (name, says) in [
            ("Password", "did you mean `password`?"),
            (
                "ssl-mode",
                "the option `ssl_mode` is unknown; write sslmode",
            ),
            ("sslmod", "did you mean `sslmode`?"),
            ("aplication_name", "did you mean `application_name`?"),
            ("session_attrs", "did you mean `target_session_attrs`?"),
            ("schema", "write options=-csearch_path=SCHEMA"),
            (
                "pool_max",
                "the option `pool_max` is unknown; write max_size",
            ),
            ("statement_timeout", "write options=-cNAME=VALUE"),
            (
                "topsecret",
                "an option with a name of 9 characters is unknown, and not shown",
            ),
        ] {
            let said = unknown(name);
            assert!(
                said.contains(says) && !said.contains("topsecret"),
                "{name}: {said}"
            );
        }
        assert_eq!(
            known("keepalives_retries").unwrap().name,
            "keepalives_count"
        );
    }
}

//! The origin of a request: scheme, host and port.

use std::fmt;

use http::{HeaderValue, Uri, uri::Scheme};

use crate::error::Error;

/// Scheme, host and port. Requests to the same origin share connections.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    tls: bool,
    /// In lower case. An IPv6 address keeps its brackets.
    host: Box<str>,
    port: u16,
}

impl Origin {
    /// Returns the origin of `uri`.
    pub(crate) fn of(uri: &Uri) -> Result<Self, Error> {
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) => {
                return Err(Error::request(format!(
                    "the scheme `{scheme}` is not served: it may be `http` or `https`"
                )));
            }
            None => {
                return Err(Error::request(format!(
                    "`{}` has no scheme: a URL may be `http://host[:port]/path` or `https://host[:port]/path`",
                    uri.path()
                )));
            }
        };
        if tls && cfg!(not(feature = "tls")) {
            return Err(Error::request(
                "the scheme `https` needs this crate's feature `tls`".to_owned(),
            ));
        }
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            // The message does not show the URL, because it contains a password.
            return Err(Error::request(
                "the URL has credentials before its host: they may be sent in the header `authorization`".to_owned(),
            ));
        }
        let host = uri.host().unwrap_or("");
        // The host is followed by nothing, by `:`, or by `:` and the port. `Uri` accepts a port that is not a number.
        let port = match authority
            .strip_prefix(host)
            .unwrap_or("")
            .trim_start_matches(':')
        {
            "" => default_port(tls),
            port => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| {
                Error::request(format!(
                    "the URL has the port `{port}`: it may be a number from 1 to 65535"
                ))
            })?,
        };
        if host.is_empty() {
            return Err(Error::request(format!(
                "`{uri}` has no host: a URL may be `http://host[:port]/path`"
            )));
        }
        Ok(Self {
            tls,
            host: host.to_ascii_lowercase().into(),
            port,
        })
    }

    #[cfg(feature = "tls")]
    pub(crate) const fn tls(&self) -> bool {
        self.tls
    }

    /// The host name for certificates and metrics: an IPv6 address has no brackets.
    #[cfg(any(feature = "tls", feature = "metrics"))]
    pub(crate) fn name(&self) -> &str {
        self.host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(&self.host)
    }

    #[cfg(feature = "metrics")]
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// The URI that a connector connects to.
    pub(crate) fn uri(&self) -> Result<Uri, Error> {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}:{}/", self.host, self.port)
            .parse()
            .map_err(|error: http::uri::InvalidUri| {
                Error::request(format!("`{self}` is not a valid origin: {error}"))
            })
    }

    /// The value of the header `host`.
    pub(crate) fn host_header(&self) -> Result<HeaderValue, Error> {
        self.authority()
            .try_into()
            .map_err(|error: http::header::InvalidHeaderValue| {
                Error::request(format!("`{self}` is not a valid origin: {error}"))
            })
    }

    fn authority(&self) -> String {
        if self.port == default_port(self.tls) {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}",
            if self.tls { "https" } else { "http" },
            self.authority()
        )
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn origin(url: &str) -> Origin {
        Origin::of(&url.parse().unwrap()).unwrap()
    }

    fn refusal(url: &str) -> String {
        Origin::of(&url.parse().unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn a_default_port_and_the_case_of_a_host_make_no_difference() {
        assert_eq!(
            origin("http://Example.com/a"),
            origin("http://example.COM:80/b?c")
        );
        assert_ne!(
            origin("http://example.com/"),
            origin("http://example.com:81/")
        );
        assert_eq!(
            origin("http://example.com:81/").to_string(),
            "http://example.com:81"
        );
        assert_eq!(origin("http://[::1]:80/").to_string(), "http://[::1]");
        assert_eq!(
            origin("http://example.com:/").to_string(),
            "http://example.com"
        );
    }

    #[cfg(feature = "tls")]
    #[test]
    fn a_scheme_makes_an_origin_of_its_own() {
        assert_ne!(
            origin("http://example.com:443/"),
            origin("https://example.com/")
        );
        assert_eq!(origin("https://[::1]/").name(), "::1");
    }

    #[test]
    fn a_url_that_leads_nowhere_is_told_what_it_may_be() {
        assert!(
            refusal("ftp://example.com/")
                .contains("`ftp` is not served: it may be `http` or `https`")
        );
        assert!(refusal("/only/a/path").contains("a URL may be `http://host[:port]/path`"));
        assert!(
            refusal("http://example.com:99999/")
                .contains("`99999`: it may be a number from 1 to 65535")
        );
        assert!(refusal("http://example.com:0/").contains("`0`: it may be"));
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_repeated() {
        let refusal = refusal("http://user:secret@example.com/");
        assert!(
            refusal.contains("authorization") && !refusal.contains("secret"),
            "{refusal}"
        );
    }
}

//! The servers that an address names.

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
};

use pool_core::ConfigError;

use super::options::Options;

/// One server of the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::postgres) struct Target {
    pub(in crate::postgres) host: Host,
    /// The address to connect to, in place of a look-up of the host's name.
    pub(in crate::postgres) hostaddr: Option<IpAddr>,
    pub(in crate::postgres) port: u16,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::postgres) enum Host {
    /// A name or an address. The certificate of the server is for it.
    Tcp(String),
    /// The directory of a socket `.s.PGSQL.{port}`.
    Unix(PathBuf),
}

impl Target {
    /// Returns the servers in the order of the address: at least one.
    ///
    /// # Errors
    /// There are not as many hosts, addresses and ports as they must be.
    pub(super) fn all(options: &Options) -> Result<Vec<Self>, ConfigError> {
        let list = |option| {
            options
                .text(option)
                .map_or(Vec::new(), |text| text.split(',').collect())
        };
        let (hosts, addresses, ports): (Vec<&str>, Vec<&str>, Vec<&str>) =
            (list("host"), list("hostaddr"), list("port"));
        let count = hosts.len().max(addresses.len()).max(1);
        if hosts.len() != count && !hosts.is_empty()
            || addresses.len() != count && !addresses.is_empty()
        {
            let expected = format!("as many as there are hosts: {}", hosts.len());
            return Err(options.wrong("hostaddr", &expected));
        }
        if ports.len() > 1 && ports.len() != count {
            let expected =
                format!("one port for all hosts, or as many as there are hosts: {count}");
            return Err(options.wrong("port", &expected));
        }
        let target = |index: usize| {
            let port = ports
                .get(index)
                .or(ports.first())
                .and_then(|port| port.parse().ok());
            let port = port.unwrap_or(DEFAULT_PORT);
            let hostaddr: Option<IpAddr> = addresses
                .get(index)
                .and_then(|address| address.parse().ok());
            let host = match (hosts.get(index).copied().unwrap_or_default(), hostaddr) {
                ("", Some(address)) => Host::Tcp(address.to_string()),
                ("", None) => Host::usual(port),
                (path, _) if path.starts_with('/') => Host::Unix(path.into()),
                (name, _) => Host::Tcp(name.to_owned()),
            };
            Self {
                host,
                hostaddr,
                port,
            }
        };
        Ok((0..count).map(target).collect())
    }

    /// Returns the text that a password file has for the server.
    pub(super) fn in_passfile(&self) -> String {
        match &self.host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        }
    }

    /// Whether the server is reached through a socket of this machine, which is never encrypted.
    pub(in crate::postgres) const fn is_local(&self) -> bool {
        matches!(self.host, Host::Unix(_)) && self.hostaddr.is_none()
    }
}

impl Host {
    /// Returns the host of an address that names none: the directory of the socket if there is one, or else this machine.
    fn usual(port: u16) -> Self {
        let has_socket = Path::new(SOCKETS).join(format!(".s.PGSQL.{port}")).exists();
        if has_socket {
            Self::Unix(SOCKETS.into())
        } else {
            Self::Tcp("localhost".to_owned())
        }
    }
}

/// `db.example:5432`, `[::1]:5432` or `/run/postgresql:5432`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Tcp(name) if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            Host::Tcp(name) => write!(f, "{name}:{}", self.port),
            Host::Unix(path) => write!(f, "{}:{}", path.display(), self.port),
        }
    }
}

pub(super) const DEFAULT_PORT: u16 = 5432;
const SOCKETS: &str = "/var/run/postgresql";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn all(address: &str) -> Vec<String> {
        let targets = Target::all(&Options::parse("url", address).unwrap()).unwrap();
        let text = |target: &Target| {
            let address = target
                .hostaddr
                .map_or(String::new(), |address| format!(" at {address}"));
            format!("{target}{address}")
        };
        targets.iter().map(text).collect()
    }

    #[test]
    fn hosts_addresses_and_ports_belong_together_by_their_places() {
        for (address, targets) in [
            ("postgres://h", &["h:5432"][..]),
            ("postgres://a:1,b,[::1]:3/db", &["a:1", "b:5432", "[::1]:3"]),
            ("postgres://a,b/?port=7", &["a:7", "b:7"]),
            ("host=a,/run/pg port=1,", &["a:1", "/run/pg:5432"]),
            ("host=::1", &["[::1]:5432"]),
            ("host=fe80::1%eth0", &["[fe80::1%eth0]:5432"]),
            (
                "hostaddr=10.0.0.1,::1 port=1,2",
                &["10.0.0.1:1 at 10.0.0.1", "[::1]:2 at ::1"],
            ),
            (
                "host=a,b hostaddr=10.0.0.1,",
                &["a:5432 at 10.0.0.1", "b:5432"],
            ),
            ("postgres://%2Frun%2Fpg:6/db", &["/run/pg:6"]),
        ] {
            assert_eq!(all(address), targets, "{address}");
        }
    }

    #[test]
    fn without_a_host_it_is_this_machine() {
        let targets =
            Target::all(&Options::parse("url", "postgres:///db?port=1").unwrap()).unwrap();
        // Nothing listens on port 1 of the usual directory.
        assert_eq!(targets[0].host, Host::Tcp("localhost".to_owned()));
        assert_eq!((targets.len(), targets[0].port), (1, 1));
    }
}

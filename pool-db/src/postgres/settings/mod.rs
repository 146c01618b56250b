//! The settings of a connection, from an address, a service and libpq's variables.
//!
//! The page of the options is `options.md`, which the documentation of the driver shows.

mod complete;
mod driver;
mod keywords;
mod known;
mod options;
mod target;

use std::{fmt, time::Duration};

use pool_core::ConfigError;
use tokio_postgres::Config;

pub(super) use options::Options;
pub(super) use target::{Host, Target};

use super::{passfile::Passfile, session_attrs::SessionAttrs, tls::Tls};
use crate::address::shown;

/// The settings of a connection.
#[derive(Clone)]
pub(super) struct Settings {
    /// The servers, in the order of the address: at least one.
    pub(super) targets: Vec<Target>,
    pub(super) session_attrs: SessionAttrs,
    /// Whether the servers are tried in a random order.
    pub(super) is_shuffled: bool,
    /// How long an attempt to connect to one address may take.
    pub(super) connect_timeout: Option<Duration>,
    /// How long sent data may stay unacknowledged. `None`: the default of the system.
    pub(super) tcp_user_timeout: Option<Duration>,
    /// `None`: off.
    pub(super) keepalives: Option<Keepalives>,
    pub(super) tls: Tls,
    /// User, password, database, options, application name, and how to authenticate.
    pub(super) session: Config,
    passfile: Option<Passfile>,
}

/// The probes that are sent on an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keepalives {
    pub(super) idle: Duration,
    /// `None`: the default of the system.
    pub(super) interval: Option<Duration>,
    /// `None`: the default of the system.
    pub(super) count: Option<u32>,
}

impl Settings {
    /// Returns the password of the file for the server, if no password is set.
    fn password_of(&self, target: &Target) -> Result<Option<&str>, ConfigError> {
        let Some(file) = &self.passfile else {
            return Ok(None);
        };
        let own;
        let user = match self.session.get_user() {
            Some(user) => user,
            None => {
                // The driver's default, and so is the database.
                own = whoami::username().unwrap_or_default();
                &own
            }
        };
        let database = self.session.get_dbname().unwrap_or(user);
        file.password(&target.in_passfile(), target.port, database, user)
    }

    /// Returns the user, servers and database, for error messages.
    pub(super) fn target(&self) -> String {
        let hosts: Vec<_> = self.targets.iter().map(ToString::to_string).collect();
        let database = self.session.get_dbname();
        let database = database.map_or(String::new(), |name| format!("/{}", shown(name)));
        let user = self.session.get_user();
        let user = user.map_or(String::new(), |user| format!(" as {}", shown(user)));
        format!("postgres at {}{database}{user}", hosts.join(","))
    }
}

/// Shows no password and no option of the session.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("target", &self.target())
            .field("session_attrs", &self.session_attrs)
            .field("tls", &self.tls)
            .field("passfile", &self.passfile)
            .finish_non_exhaustive()
    }
}

/// The variables that [`Options::fill`] reads.
pub(super) const LIBPQ: [&str; 32] = [
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGDATABASE",
    "PGUSER",
    "PGPASSWORD",
    "PGPASSFILE",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGSYSCONFDIR",
    "PGCONNECT_TIMEOUT",
    "PGAPPNAME",
    "PGOPTIONS",
    "PGTARGETSESSIONATTRS",
    "PGLOADBALANCEHOSTS",
    "PGSSLMODE",
    "PGSSLNEGOTIATION",
    "PGSSLROOTCERT",
    "PGSSLCERT",
    "PGSSLKEY",
    "PGCHANNELBINDING",
    "PGSSLCRL",
    "PGSSLCRLDIR",
    "PGSSLSNI",
    "PGSSLCERTMODE",
    "PGSSLMINPROTOCOLVERSION",
    "PGSSLMAXPROTOCOLVERSION",
    "PGGSSENCMODE",
    "PGREQUIREPEER",
    "PGREQUIREAUTH",
    "PGMINPROTOCOLVERSION",
    "PGMAXPROTOCOLVERSION",
];
pub(super) const EXPECTED: &str =
    "`postgres://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE` or libpq's `host=HOST user=USER`";

#[cfg(test)]
mod tests;

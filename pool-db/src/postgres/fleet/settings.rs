//! How a pool shares a server with other processes: the settings.

use pool_core::{__checks::at_least_one, ConfigError, Env};

use super::super::Builder;

/// How a pool whose `max_size` is `auto` shares the server's connections with the same pool in other processes. See the page of the
/// [fleet](super::super::_fleet).
///
/// ```
/// use pool_db::postgres::{Fleet, Pool};
///
/// let pool = Pool::builder()
///     .url("postgres://me@db.example/shop")
///     .fleet(Fleet::new().name("shop").fraction(0.5))
///     .build()?;
/// # Ok::<(), pool_db::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "`Builder::fleet` takes it"]
pub struct Fleet {
    pub(super) name: Option<String>,
    pub(super) fraction: f64,
    pub(super) max_connections: Option<u32>,
    pub(super) processes: u32,
}

impl Fleet {
    /// Returns the defaults.
    pub const fn new() -> Self {
        Self {
            name: None,
            fraction: 0.8,
            max_connections: None,
            processes: 1,
        }
    }

    /// What the pools that share have in common: those with the same name in the same database share. 1 to 40 printable ASCII
    /// characters, without `#` and `\`. `{PREFIX}_FLEET_NAME`.
    ///
    /// Default: the `application_name` of the address, else the name of the pool that was set or derived from the prefix, else
    /// `pool`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Which part of the server's own limit (`max_connections`, without what is reserved) the fleet may have. The rest is left to
    /// other clients. More than 0, at most 1. `{PREFIX}_FLEET_FRACTION`. Default: 0.8.
    ///
    /// The `CONNECTION LIMIT` of the role and of the database count in full.
    pub const fn fraction(mut self, fraction: f64) -> Self {
        self.fraction = fraction;
        self
    }

    /// How many connections all processes may have together, if that is less than what the server's limits say. At least 3: that is
    /// one process with one connection, and room for another to join. `None` (`off`) means that only the server limits the fleet.
    /// `{PREFIX}_FLEET_MAX_CONNECTIONS`. Default: `None`.
    pub fn max_connections(mut self, most: impl Into<Option<u32>>) -> Self {
        self.max_connections = most.into();
        self
    }

    /// How many processes there are at most, with those that a deployment starts before it ends the old ones: so many connections are
    /// kept for their control sessions. At least 1. `{PREFIX}_FLEET_PROCESSES`. Default: 1.
    ///
    /// One connection is always kept, for a process that joins. A process cannot look before it has a connection. So if more
    /// processes than these join at the same moment, or while a process that has stopped does not give way, each is over the bound
    /// for the instant that it takes to look, leaves, and comes again after a few seconds. With this set, that never happens. Nor
    /// does it with a `CONNECTION LIMIT` of the role.
    pub const fn processes(mut self, most: u32) -> Self {
        self.processes = most;
        self
    }

    /// Reads the settings from the environment, on top of those in `fleet`.
    pub(in super::super) fn read(
        fleet: &mut Option<Self>,
        env: &mut Env,
    ) -> Result<(), ConfigError> {
        let mut own = fleet.clone().unwrap_or_default();
        let mut first = None;
        let mut was_set = |name: &'static str| {
            first.get_or_insert(name);
        };
        if let Some(name) = env.take("FLEET_NAME")? {
            own.name = Some(name);
            was_set("FLEET_NAME");
        }
        if let Some(fraction) = env.take("FLEET_FRACTION")? {
            own.fraction = fraction;
            was_set("FLEET_FRACTION");
        }
        if let Some(most) = env.take_with("FLEET_MAX_CONNECTIONS", MOST, |text| match text {
            "off" => Some(None),
            number => number.parse().ok().map(Some),
        })? {
            own.max_connections = most;
            was_set("FLEET_MAX_CONNECTIONS");
        }
        if let Some(most) = env.take("FLEET_PROCESSES")? {
            own.processes = most;
            was_set("FLEET_PROCESSES");
        }
        match (fleet, first) {
            (Some(fleet), _) => *fleet = own,
            (None, None) => {}
            (None, Some(name)) => {
                let name = env.name_of(name);
                return Err(ConfigError::secret(
                    name,
                    "left out, unless max_size is auto",
                ));
            }
        }
        Ok(())
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if !(self.fraction > 0.0 && self.fraction <= 1.0) {
            let expected = "more than 0 and at most 1";
            return Err(ConfigError::new(
                "fleet_fraction",
                self.fraction.to_string(),
                expected,
            ));
        }
        if let Some(most @ 0..3) = self.max_connections {
            return Err(ConfigError::new(
                "fleet_max_connections",
                most.to_string(),
                MOST,
            ));
        }
        at_least_one("fleet_processes", self.processes)?;
        match self.max_connections {
            Some(most) if most <= self.processes => {
                let expected = format!("more than fleet_processes, which is {}", self.processes);
                Err(ConfigError::new(
                    "fleet_max_connections",
                    most.to_string(),
                    expected,
                ))
            }
            _ => Ok(()),
        }
    }

    /// The name, if it can be part of an `application_name`.
    pub(super) fn checked_name(
        &self,
        application: Option<&str>,
        pool: Option<&str>,
    ) -> Result<String, ConfigError> {
        let own = self.name.as_deref().or(application).or(pool);
        let name = own.unwrap_or("pool");
        let is_fit = |byte: u8| (b' '..=b'~').contains(&byte) && !matches!(byte, b'#' | b'\\');
        if (1..=40).contains(&name.len()) && name.bytes().all(is_fit) {
            Ok(name.to_owned())
        } else {
            let expected = "1 to 40 printable ASCII characters without # and \\";
            Err(ConfigError::new(
                "fleet_name",
                format!("{name:?}"),
                expected,
            ))
        }
    }
}

impl Default for Fleet {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// Makes this pool share the server's connections with the same pool in other processes: its size is this process's share.
    /// `{PREFIX}_MAX_SIZE=auto` does the same with the default settings.
    ///
    /// A [`max_size`](Self::max_size) that is set after this call is the most that this process takes of its share. Default: no
    /// such bound. See the page of the [fleet](super::super::_fleet).
    pub fn fleet(mut self, fleet: Fleet) -> Self {
        self.join(fleet);
        self
    }

    /// [`fleet`](Self::fleet) with the default settings.
    pub fn max_size_auto(self) -> Self {
        self.fleet(Fleet::new())
    }

    pub(in super::super) fn join(&mut self, fleet: Fleet) {
        self.settings.fleet = Some(fleet);
        self.config = std::mem::take(&mut self.config).max_size(u32::MAX);
    }
}

const MOST: &str = "at least 3, or off";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{
        super::super::{FleetState, Pool},
        *,
    };
    use crate::environment::Environment;

    const URL: (&str, &str) = ("DATABASE_URL", "postgres://h/db?application_name=shop");

    fn built(vars: &[(&str, &str)]) -> Result<Pool, ConfigError> {
        let vars = [&[URL], vars].concat();
        let (env, beside) = Environment::of(&vars);
        Builder::new().apply(env, beside)?.build()
    }

    #[test]
    fn the_environment_says_how_processes_share() {
        let pool = built(&[("POOL_DB_MAX_SIZE", " auto "), ("POOL_DB_MIN_IDLE", "2")]).unwrap();
        let status = pool.fleet().unwrap();
        assert_eq!(
            (&*status.name, status.state),
            ("shop", FleetState::NotJoined)
        );
        // The server was not asked yet.
        assert_eq!((pool.status().max_size, status.processes), (2, 0));
        assert!(
            built(&[("POOL_DB_MAX_SIZE", "7")])
                .unwrap()
                .fleet()
                .is_none()
        );
        let (env, beside) = Environment::of(&[
            URL,
            ("POOL_DB_MAX_SIZE", "auto"),
            ("POOL_DB_FLEET_NAME", "it's"),
            ("POOL_DB_FLEET_FRACTION", "0.5"),
            ("POOL_DB_FLEET_MAX_CONNECTIONS", "12"),
            ("POOL_DB_FLEET_PROCESSES", "6"),
        ]);
        let builder = Builder::new().apply(env, beside).unwrap();
        let set = Fleet::new()
            .name("it's")
            .fraction(0.5)
            .max_connections(12)
            .processes(6);
        assert_eq!(builder.settings.fleet, Some(set));
        assert_eq!(builder.build().unwrap().fleet().unwrap().name, "it's");
    }

    #[test]
    fn the_name_is_that_of_the_session_or_of_the_pool() {
        let name = |builder: Builder| {
            builder
                .max_size_auto()
                .build()
                .map(|pool| pool.fleet().unwrap().name)
        };
        let url = || Builder::new().url("postgres://h/db");
        assert_eq!(name(url()).unwrap(), "pool");
        assert_eq!(name(url().name("orders")).unwrap(), "orders");
        assert_eq!(
            name(Builder::new().url(URL.1).name("orders")).unwrap(),
            "shop"
        );
        assert!(name(url().name("a#b")).is_err());
    }

    #[test]
    fn what_is_out_of_its_range_is_named() {
        let auto = ("POOL_DB_MAX_SIZE", "auto");
        for (vars, says) in [
            (
                &[("POOL_DB_FLEET_NAME", "shop")][..],
                "POOL_DB_FLEET_NAME must be left out, unless max_size is auto",
            ),
            (
                &[auto, ("POOL_DB_FLEET_NAME", "a#b")],
                "POOL_DB_FLEET_NAME is \"a#b\", but must be 1 to 40 printable ASCII",
            ),
            (
                &[auto, ("POOL_DB_FLEET_NAME", "")],
                "POOL_DB_FLEET_NAME is \"\"",
            ),
            (
                &[auto, ("POOL_DB_FLEET_FRACTION", "0")],
                "POOL_DB_FLEET_FRACTION is 0, but must be more than 0 and at most 1",
            ),
            (
                &[auto, ("POOL_DB_FLEET_FRACTION", "1.01")],
                "POOL_DB_FLEET_FRACTION is 1.01",
            ),
            (
                &[auto, ("POOL_DB_FLEET_FRACTION", "NaN")],
                "POOL_DB_FLEET_FRACTION is",
            ),
            (
                &[auto, ("POOL_DB_FLEET_MAX_CONNECTIONS", "2")],
                "POOL_DB_FLEET_MAX_CONNECTIONS is 2, but must be at least 3, or off",
            ),
            (
                &[auto, ("POOL_DB_FLEET_MAX_CONNECTIONS", "x")],
                "POOL_DB_FLEET_MAX_CONNECTIONS is \"x\", but must be at least 3, or off",
            ),
            (
                &[
                    auto,
                    ("POOL_DB_FLEET_MAX_CONNECTIONS", "5"),
                    ("POOL_DB_FLEET_PROCESSES", "5"),
                ],
                "POOL_DB_FLEET_MAX_CONNECTIONS is 5, but must be more than fleet_processes, which is 5",
            ),
            (
                &[auto, ("POOL_DB_FLEET_PROCESSES", "0")],
                "POOL_DB_FLEET_PROCESSES is 0",
            ),
            (
                &[("POOL_DB_MAX_SIZE", "Auto")],
                "POOL_DB_MAX_SIZE is \"Auto\"",
            ),
        ] {
            let error = built(vars).unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        }
    }
}

//! What SQLite adds to the face of all drivers.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use pool_core::{__checks::no_zeros, __name_for, ConfigError, Env};
use pool_cpu::BlockingPool;

use super::{
    Builder, Connection, Manager, Pool, Reset, Writer,
    location::{Access, EXPECTED, Location},
    on_open::OnOpen,
    session::{Plan, Session},
};
use crate::{Driver, address::Address, driver::sealed::Sealed};

/// SQLite, by rusqlite. The type only names the driver: `pool_db::Pool<Sqlite>` is [`sqlite::Pool`](Pool).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Sqlite;

/// The settings of a [`Builder`] that only this driver has. The setters of the builder set them.
#[derive(Clone, Debug)]
pub struct DriverSettings {
    /// The file, in place of the address.
    pub(super) path: Option<PathBuf>,
    pub(super) read_only: bool,
    pub(super) busy_timeout: Duration,
    pub(super) statement_cache: usize,
    pub(super) threads: Option<usize>,
    pub(super) reset: Reset,
    pub(super) on_open: Option<OnOpen>,
    pub(super) group_commit: Option<usize>,
    pub(super) optimize_every: Option<Duration>,
    pub(super) pragmas: Vec<(String, String)>,
}

impl DriverSettings {
    /// Adds a pragma, in place of one of the same name.
    pub(super) fn pragma(&mut self, name: String, value: String) {
        self.pragmas.retain(|(set, _)| *set != name);
        self.pragmas.push((name, value));
    }

    /// Returns the pragmas that were set, and the defaults of those that were not.
    fn all_pragmas(&self, location: &Location, access: Access) -> Vec<(String, String)> {
        let has_log = *location != Location::Memory && access != Access::ReadOnly;
        let wal = has_log.then_some(("journal_mode", "wal"));
        let defaults = wal
            .into_iter()
            .chain([("synchronous", "normal"), ("foreign_keys", "on")]);
        let is_set = |name: &str| self.pragmas.iter().any(|(set, _)| set == name);
        let defaults = defaults.filter(|(name, _)| !is_set(name));
        defaults
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .chain(self.pragmas.clone())
            .collect()
    }
}

impl Default for DriverSettings {
    fn default() -> Self {
        Self {
            path: None,
            read_only: false,
            busy_timeout: Duration::from_secs(5),
            statement_cache: 64,
            threads: None,
            reset: Reset::Seen,
            on_open: None,
            group_commit: None,
            optimize_every: Some(Duration::from_secs(3600)),
            pragmas: Vec::new(),
        }
    }
}

impl Sealed for Sqlite {}

impl Driver for Sqlite {
    type Manager = Manager;
    type Connection = Connection;
    type Settings = DriverSettings;
    type Beside = Writer;

    const WORD: &'static str = "sqlite";

    fn read(
        builder: &mut Builder,
        url: Option<(String, String)>,
        env: &mut Env,
    ) -> Result<(), ConfigError> {
        let own = &mut builder.settings;
        match (env.take::<String>("PATH")?, url) {
            (Some(_), Some((name, _))) if name == env.name_of("URL") => {
                let expected = format!("left out where {name} is set");
                return Err(ConfigError::secret(env.name_of("PATH"), expected));
            }
            (Some(path), _) => (own.path, builder.url) = (Some(path.into()), None),
            (None, Some((name, url))) => {
                Location::parse(&name, &url)?;
                builder.url = Some(Address(url));
            }
            (None, None) => {}
        }
        if let Some(read_only) = env.take("READ_ONLY")? {
            own.read_only = read_only;
        }
        if let Some(limit) = env.take("BUSY_TIMEOUT")? {
            own.busy_timeout = limit;
        }
        if let Some(capacity) = env.take("STATEMENT_CACHE")? {
            own.statement_cache = capacity;
        }
        if let Some(threads) = env.take("THREADS")? {
            own.threads = threads;
        }
        if let Some(policy) = env.take_with("RESET", Reset::EXPECTED, Reset::parse)? {
            own.reset = policy;
        }
        if let Some(most) = env.take_with("GROUP_COMMIT", GROUP_COMMIT, parse_group_commit)? {
            own.group_commit = most;
        }
        if let Some(every) = env.take("OPTIMIZE_EVERY")? {
            own.optimize_every = every;
        }
        let pragmas = env.take_with("PRAGMAS", PRAGMAS, parse_pragmas)?;
        for (name, value) in pragmas.into_iter().flatten() {
            own.pragma(name, value);
        }
        Ok(())
    }

    fn build(builder: Builder) -> Result<Pool, ConfigError> {
        let own = &builder.settings;
        let (location, access) = location(&builder)?;
        if i32::try_from(own.busy_timeout.as_millis()).is_err() {
            return Err(ConfigError::new(
                "busy_timeout",
                format!("{:?}", own.busy_timeout),
                "at most 24 days",
            ));
        }
        no_zeros([("optimize_every", own.optimize_every.into())])?;
        let plan = Arc::new(Plan::new(
            location.source(access),
            own.busy_timeout,
            own.statement_cache,
            own.all_pragmas(&location, access),
            own.reset,
            own.on_open.clone(),
            own.optimize_every.filter(|_| access != Access::ReadOnly),
        ));
        let anchor = match location {
            Location::File(_) => None,
            Location::Memory => Some(Mutex::new(open_anchor(&plan)?)),
        };
        let name = builder.config.get_name();
        let name: Arc<str> = name.map_or_else(|| __name_for(Self::WORD), Into::into);
        let max_size = builder.config.get_max_size() as usize;
        let workers = BlockingPool::builder()
            .name(&*name)
            .max_threads(own.threads.unwrap_or(max_size))
            // One job for each connection, and one for each connection that is being closed after its place was freed.
            .queue(2 * max_size)
            // `query_timeout` or a timeout of the pool already bounds each wait.
            .queue_timeout(None)
            .build()
            .map_err(|error| match (error.setting(), error.value()) {
                ("max_threads", Some(threads)) => {
                    ConfigError::new("threads", threads, error.expected())
                }
                _ => error,
            })?;
        let most = match own.group_commit {
            Some(0) => return Err(ConfigError::new("group_commit", "0", "at least 1, or off")),
            Some(most) => most,
            None => 1,
        };
        let anchor = anchor.map(Arc::new);
        let manager = |name: Arc<str>, workers| Manager {
            workers,
            operations: {
                let operations = builder.operations("sqlite");
                operations.are_of(&name);
                operations
            },
            query_timeout: builder.query_timeout,
            target: format!("sqlite {location}"),
            plan: Arc::clone(&plan),
            _name: name,
            _anchor: anchor.clone(),
        };
        let writer = match access {
            Access::ReadOnly => None,
            Access::ReadWrite | Access::Create => {
                let name = format!("{name}-writer");
                let workers = BlockingPool::builder()
                    .name(&*name)
                    .max_threads(1)
                    .queue(2)
                    .queue_timeout(None)
                    .build()?;
                // It is opened by the first write.
                let alone = builder.clone().name(&*name).max_size(1).min_idle(0);
                Some(alone.core(manager(name.into(), workers))?)
            }
        };
        let named = builder.clone().name(&*name);
        let pool = named.core(manager(name, workers))?;
        Ok(Pool::new(pool, Writer::new(writer, most)))
    }

    fn pools(beside: &Writer) -> &[pool_core::Pool<Manager>] {
        beside.pools()
    }
}

fn location(builder: &Builder) -> Result<(Location, Access), ConfigError> {
    let own = &builder.settings;
    let (location, access) = match (&builder.url, &own.path) {
        (Some(Address(url)), _) => Location::parse("url", url)?,
        (None, Some(path)) => (Location::File(path.clone()), None),
        (None, None) => {
            let expected =
                format!("set, as DATABASE_URL in the environment or in code: {EXPECTED}");
            return Err(ConfigError::secret("url", expected));
        }
    };
    let access = if own.read_only {
        Access::ReadOnly
    } else {
        access.unwrap_or(Access::Create)
    };
    if location == Location::Memory && access == Access::ReadOnly {
        return Err(ConfigError::new(
            "read_only",
            "true",
            "false for a database in memory, which begins empty",
        ));
    }
    Ok((location, access))
}

/// Parses names and values, in the order in which they are set.
fn parse_pragmas(text: &str) -> Option<Vec<(String, String)>> {
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let pragma = |part: &str| {
        let (name, value) = part.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        (!name.is_empty() && !value.is_empty()).then(|| (name.to_owned(), value.to_owned()))
    };
    parts.map(pragma).collect()
}

fn parse_group_commit(text: &str) -> Option<Option<usize>> {
    match text {
        "off" => Some(None),
        most => most.parse().ok().map(Some),
    }
}

const GROUP_COMMIT: &str = "a number of writes, or off";

const PRAGMAS: &str = "names and values, as mmap_size=0, cache_size=-2000";

/// Opens the connection that keeps a database in memory alive. Does no I/O.
fn open_anchor(plan: &Arc<Plan>) -> Result<Session, ConfigError> {
    Session::anchor(plan).map_err(|error| {
        ConfigError::new(
            "pragmas",
            format!("{:?}", plan.pragmas),
            format!("ones that SQLite takes ({error})"),
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_pragma_replaces_the_default_of_its_name() {
        let pragmas = |builder: Builder| {
            let (location, access) = location(&builder).unwrap();
            builder
                .settings
                .all_pragmas(&location, access)
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>()
        };
        let file = Builder::new().path("app.db");
        assert_eq!(
            pragmas(file.clone()),
            ["journal_mode=wal", "synchronous=normal", "foreign_keys=on"]
        );
        assert_eq!(
            pragmas(
                file.clone()
                    .pragma("journal_mode", "delete")
                    .pragma("mmap_size", "1000")
            ),
            [
                "synchronous=normal",
                "foreign_keys=on",
                "journal_mode=delete",
                "mmap_size=1000"
            ]
        );
        assert_eq!(
            pragmas(file.read_only(true)),
            ["synchronous=normal", "foreign_keys=on"]
        );
    }

    #[test]
    fn the_address_that_was_set_last_counts() {
        let target = |builder: Builder| builder.build().unwrap().manager().target.clone();
        let builder = Builder::new();
        assert_eq!(
            target(builder.clone().url("sqlite:a.db").path("b.db")),
            "sqlite b.db"
        );
        assert_eq!(
            target(builder.clone().path("b.db").url("sqlite:a.db")),
            "sqlite a.db"
        );
        assert_eq!(target(builder.path("b.db").memory()), "sqlite :memory:");
    }
}

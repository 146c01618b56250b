//! What the service stands on: its database, and how its pools are set. Code says what suits it, and over that the
//! environment says more.

use std::path::Path;
use std::time::Duration;

use pool_core::{ConfigError, Env};
use pool_cpu::CpuConfig;

use crate::data::Source;
use crate::failure::Failure;

/// All of it. Read at the start, so that a bad setting is told before anything is done.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) database: Source,
    pub(crate) http: pool_http::Config,
    pub(crate) cpu: CpuConfig,
}

impl Settings {
    /// Reads `DATABASE_URL`, `POOL_DB_*`, `POOL_HTTP_*` and `POOL_CPU_*`. Without an
    /// address the users are in a SQLite file, in `data_dir` if there is one.
    ///
    /// # Errors
    /// [`Failure::Usage`] for a value that cannot be used, or a name that no setting has.
    pub(crate) fn read(data_dir: Option<&Path>) -> Result<Self, Failure> {
        let read = || {
            Ok::<_, ConfigError>(Self {
                database: Source::read(data_dir, PATIENCE)?,
                http: http()?,
                cpu: cpu()?,
            })
        };
        read().map_err(|error| Failure::Usage(error.to_string()))
    }
}

fn http() -> Result<pool_http::Config, ConfigError> {
    let mut config = pool_http::Config::new()
        .acquire_timeout(PATIENCE)
        .timeout(2 * PATIENCE);
    let mut env = Env::read("POOL_HTTP")?;
    config.apply_env(&mut env)?;
    env.finish()?;
    config.validate().map_err(|error| env.blame(error))?;
    Ok(config)
}

fn cpu() -> Result<CpuConfig, ConfigError> {
    // A hash takes long anyway and can wait a little for the runtime's own threads; a request cannot wait for a hash.
    let mut config = CpuConfig::new().nice(10).queue_timeout(2 * PATIENCE);
    let mut env = Env::read("POOL_CPU")?;
    config.apply_env(&mut env)?;
    env.finish()?;
    config.validate().map_err(|error| env.blame(error))?;
    Ok(config)
}

/// How long a request may wait for a connection, and again for the database's answer.
const PATIENCE: Duration = Duration::from_secs(2);

//! The settings of a fan-out.

use std::time::Duration;

use crate::{
    __settings,
    config::{
        ConfigError,
        checks::{named, no_zeros},
    },
};

__settings! {
    {
        /// The settings of a [`FanOut`](super::FanOut), as plain data.
        ///
        /// ```
        /// use std::time::Duration;
        /// use pool_core::{fan_out, fan_out::FanOutConfig};
        ///
        /// # #[tokio::main(flavor = "current_thread")]
        /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// // Reads IMPORT_LIMIT and IMPORT_EACH_WITHIN once, for all imports.
        /// let config = FanOutConfig::from_env("IMPORT")?;
        /// let lengths = fan_out(["a", "bc"]).config(&config).map(|line| async move { Ok::<_, std::io::Error>(line.len()) });
        /// assert_eq!(lengths.await?, [1, 2]);
        /// # Ok(())
        /// # }
        /// ```
        FanOutConfig for ;
    }

    /// How many items run at once. `None` (`auto`) means 16; [on a pool](super::FanOut::on) its `max_size`. At least 1.
    ///
    /// Default: `None`.
    limit / get_limit(impl Into<Option<usize>>): Option<usize> = None, "LIMIT";

    /// How long one item may take, including the wait for its lease. An item that takes longer is dropped and ends with
    /// [`ItemError::is_timeout`](super::ItemError::is_timeout). Needs a tokio runtime. `None` (`off`) means without limit. Not
    /// zero.
    ///
    /// Default: `None`.
    each_within / get_each_within(impl Into<Option<Duration>>): Option<Duration> = None, "EACH_WITHIN";
}

impl FanOutConfig {
    /// Checks whether a fan-out can run with these settings.
    ///
    /// # Errors
    /// The error names the first setting that is out of its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        named(self.name.as_deref())?;
        if self.limit == Some(0) {
            return Err(ConfigError::new("limit", "0", "at least 1, or auto"));
        }
        no_zeros([("each_within", self.each_within.into())])
    }
}

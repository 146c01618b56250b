//! Building a client.

use std::{fmt, sync::Arc};

use pool_core::{ConfigError, Env};

use crate::{client::Client, config::Config, counters::Counters, dial::Dialer};

/// Builds a [`Client`]: from code, from the environment, from a [`Config`].
///
/// ```
/// use std::time::Duration;
/// use pool_http::Client;
///
/// let client = Client::builder().max_per_origin(50).acquire_timeout(Duration::from_secs(2)).build()?;
/// # Ok::<(), pool_http::ConfigError>(())
/// ```
#[derive(Default)]
#[must_use = "`build` makes the client"]
pub struct Builder {
    pub(crate) config: Config,
    /// What reading the environment brought, if it failed: told by `build`.
    env_error: Option<ConfigError>,
    #[cfg(feature = "tls")]
    tls: Option<crate::tls::Tls>,
    /// In DER.
    #[cfg(feature = "tls")]
    roots: Vec<Vec<u8>>,
}

impl Builder {
    /// The defaults.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Replaces all the settings.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Overrides the settings with what the environment holds under `prefix`: `POOL_HTTP` reads `POOL_HTTP_MAX_PER_ORIGIN` and
    /// the rest. A bad value, or a name that no setting has, is an error of [`build`](Self::build).
    pub fn env(mut self, prefix: &str) -> Self {
        let result = Env::read(prefix).and_then(|mut env| {
            self.config.apply_env(&mut env)?;
            env.finish()
        });
        self.env_error = self.env_error.or(result.err());
        self
    }

    /// Trusts one more certificate authority, beside Mozilla's: one X.509 certificate in DER. Not together with
    /// [`tls_config`](Self::tls_config), which has roots of its own.
    #[cfg(feature = "tls")]
    pub fn add_root_certificate(mut self, der: impl AsRef<[u8]>) -> Self {
        self.roots.push(der.as_ref().to_vec());
        self
    }

    /// Uses this configuration for TLS: roots, client certificates, versions, session store. Only its ALPN is overridden.
    #[cfg(feature = "tls")]
    pub fn tls_config(mut self, config: Arc<rustls::ClientConfig>) -> Self {
        self.tls = Some(crate::tls::Tls::new(config));
        self
    }

    /// The client. It connects to nothing before its first request.
    ///
    /// # Errors
    ///
    /// The first setting that is out of its range, with its name, what it was and what it may be.
    pub fn build(self) -> Result<Client, ConfigError> {
        if let Some(error) = self.env_error {
            return Err(error);
        }
        self.config.validate()?;
        let counters = Arc::new(Counters::default());
        #[cfg(feature = "tls")]
        let tls = match self.tls {
            Some(_) if !self.roots.is_empty() => {
                let roots = format!("given, beside {} root certificates", self.roots.len());
                return Err(ConfigError::new(
                    "tls_config",
                    roots,
                    "given alone, with those certificates among its own roots",
                ));
            }
            Some(tls) => tls,
            None => crate::tls::Tls::with_roots(&self.roots)?,
        };
        let dialer = Dialer::new(
            &self.config,
            #[cfg(feature = "tls")]
            tls,
            Arc::clone(&counters),
        );
        Ok(Client::new(self.config, dialer, counters))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

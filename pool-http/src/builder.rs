//! The builder of a client.

use std::{fmt, sync::Arc};

use pool_core::{__Sources, ConfigError, Env};

use crate::{client::Client, config::Config, counters::Counters, dial::Dialer};

/// Builds a [`Client`] from code, from the environment, or from a [`Config`]. Every setting of [`Config`] has a method here.
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
    sources: __Sources,
    #[cfg(feature = "tls")]
    tls: Option<crate::tls::Tls>,
    /// Additional root certificates, each in DER.
    #[cfg(feature = "tls")]
    roots: Vec<Vec<u8>>,
}

impl Builder {
    /// Creates a builder with the default settings.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Takes all settings from `config`. It replaces the settings that were set before, but keeps the name if `config` has none.
    /// Settings that are set after this call override it.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config.__in_place_of(self.config);
        self
    }

    /// Overrides the settings so far with the environment variables under `prefix`: `UPSTREAM` reads `UPSTREAM_MAX_PER_ORIGIN` and
    /// so on.
    ///
    /// # Errors
    ///
    /// A variable has a value that is invalid for its setting, or a variable under the prefix names no setting.
    pub fn env(self, prefix: &str) -> Result<Self, ConfigError> {
        self.apply(Env::read(prefix)?)
    }

    fn apply(mut self, env: Env) -> Result<Self, ConfigError> {
        self.sources.read(env, |env| self.config.apply_env(env))?;
        Ok(self)
    }

    /// Trusts one more certificate authority besides Mozilla's. Takes one X.509 certificate in DER. Cannot be combined with
    /// [`tls_config`](Self::tls_config), which has its own roots.
    #[cfg(feature = "tls")]
    pub fn add_root_certificate(mut self, der: impl AsRef<[u8]>) -> Self {
        self.roots.push(der.as_ref().to_vec());
        self
    }

    /// Uses `config` for TLS: roots, client certificates, versions and session store. Only its ALPN protocols are overridden.
    #[cfg(feature = "tls")]
    pub fn tls_config(mut self, config: Arc<rustls::ClientConfig>) -> Self {
        self.tls = Some(crate::tls::Tls::new(config));
        self
    }

    /// Builds the client. The client opens no connection before its first request.
    ///
    /// # Errors
    ///
    /// The error names the first setting that is out of its range, its value and the values that are allowed.
    pub fn build(self) -> Result<Client, ConfigError> {
        let valid = self.config.validate();
        valid.map_err(|error| self.sources.blame(error))?;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Client, ConfigError> {
        let env = Env::from_vars("UPSTREAM", vars.iter().copied());
        Builder::new().apply(env)?.build()
    }

    #[test]
    fn every_setting_is_the_same_by_setter_by_environment_and_by_serde() {
        let seconds = Duration::from_secs;
        let table: [(&str, &str, fn(Builder) -> Builder); 14] = [
            ("NAME", "api", |of| of.name("api")),
            ("MAX_PER_ORIGIN", "7", |of| of.max_per_origin(7)),
            ("MAX_ORIGINS", "8", |of| of.max_origins(8)),
            ("MAX_WAITERS", "9", |of| of.max_waiters(9)),
            ("ACQUIRE_TIMEOUT", "1s", |of| {
                of.acquire_timeout(Duration::from_secs(1))
            }),
            ("CONNECT_TIMEOUT", "2s", |of| {
                of.connect_timeout(Duration::from_secs(2))
            }),
            ("TLS_TIMEOUT", "3s", |of| {
                of.tls_timeout(Duration::from_secs(3))
            }),
            ("HEADER_TIMEOUT", "4s", |of| {
                of.header_timeout(Duration::from_secs(4))
            }),
            ("BODY_TIMEOUT", "off", |of| of.body_timeout(None)),
            ("TIMEOUT", "5s", |of| of.timeout(Duration::from_secs(5))),
            ("IDLE_TIMEOUT", "off", |of| of.idle_timeout(None)),
            ("MAX_LIFETIME", "7s", |of| {
                of.max_lifetime(Duration::from_secs(7))
            }),
            ("DRAIN_BYTES", "10", |of| of.drain_bytes(10)),
            ("DRAIN_TIME", "8s", |of| {
                of.drain_time(Duration::from_secs(8))
            }),
        ];
        for (name, text, set) in table {
            let by_setter = set(Builder::new().name("api")).config;
            assert_ne!(by_setter, Config::new(), "{name}");
            let vars = [("P_NAME", "api"), (&*format!("P_{name}"), text)];
            let env = Env::from_vars("P", vars);
            let by_env = Builder::new().apply(env).unwrap().config;
            assert_eq!(by_env, by_setter, "{name}");
            #[cfg(feature = "serde")]
            {
                let map = format!(r#"{{"name": "api", "{}": "{text}"}}"#, name.to_lowercase());
                let map = map.replacen(r#""name": "api", "name""#, r#""name""#, 1);
                let by_serde: Config = serde_json::from_str(&map).unwrap();
                assert_eq!(by_serde, by_setter, "{name}");
                let shown = serde_json::to_string(&by_serde).unwrap();
                assert_eq!(serde_json::from_str::<Config>(&shown).unwrap(), by_setter);
            }
        }
        let one_by_one = Builder::new().timeout(seconds(1));
        let all = one_by_one.name("kept").config(Config::new().max_origins(3));
        assert_eq!(all.config, Config::new().name("kept").max_origins(3));
    }

    #[test]
    fn what_is_wrong_is_told_by_the_name_of_its_variable() {
        for (name, value, says) in [
            (
                "UPSTREAM_MAX_PER_ORIGIN",
                "0",
                "UPSTREAM_MAX_PER_ORIGIN is 0, but must be at least 1",
            ),
            (
                "UPSTREAM_BODY_TIMEOUT",
                "0s",
                "UPSTREAM_BODY_TIMEOUT is 0s, but must be longer than zero, or off",
            ),
            (
                "UPSTREAM_BODY_TIMEOUT",
                "none",
                "UPSTREAM_BODY_TIMEOUT is \"none\", but must be a duration with its unit, as 250ms, 30s or 5m, or off",
            ),
            (
                "UPSTREAM_MAX_PER_ORIGN",
                "secret",
                "UPSTREAM_MAX_PER_ORIGN must be left out: no setting has this name; did you mean UPSTREAM_MAX_PER_ORIGIN?",
            ),
        ] {
            assert_eq!(read(&[(name, value)]).unwrap_err().to_string(), says);
        }
        #[cfg(feature = "serde")]
        {
            let error = serde_json::from_str::<Config>(r#"{"max_per_orign": 7}"#).unwrap_err();
            let says = error.to_string();
            assert!(says.contains("did you mean max_per_origin?"), "{says}");
        }
    }

    #[test]
    fn a_client_is_called_by_its_prefix_and_what_kubernetes_sets_is_not_looked_at() {
        let vars = [
            ("UPSTREAM_SERVICE_HOST", "10.0.0.11"),
            ("UPSTREAM_PORT", "tcp://10.0.0.11:80"),
            ("UPSTREAM_PORT_80_TCP_ADDR", "10.0.0.11"),
        ];
        assert_eq!(read(&vars).unwrap().name(), "upstream");
        let named = read(&[("UPSTREAM_NAME", "partner")]).unwrap();
        assert_eq!(named.name(), "partner");
    }

    #[test]
    fn clients_without_a_name_are_told_apart() {
        let [one, two] = [1, 2].map(|_| Client::builder().build().unwrap());
        assert!(one.name().starts_with("http") && two.name().starts_with("http"));
        assert_ne!(one.name(), two.name());
    }
}

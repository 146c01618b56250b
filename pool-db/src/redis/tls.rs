//! TLS with rustls.

use std::{path::PathBuf, sync::Arc};

use pool_core::ConfigError;
use rustls::ClientConfig;
use tokio_rustls::TlsConnector;

use crate::pem::{File, Roots, certificates, private_key, trusted};

/// The files of TLS, as they were set.
#[derive(Clone, Debug, Default)]
pub(super) struct Tls {
    /// The trusted roots. `None`: Mozilla's.
    pub(super) roots: Option<Roots>,
    /// The certificate that is shown to the server, and its key.
    pub(super) certificate: Option<File>,
    pub(super) key: Option<File>,
}

impl Tls {
    /// Whether anything was set.
    pub(super) const fn is_set(&self) -> bool {
        self.roots.is_some() || self.certificate.is_some() || self.key.is_some()
    }

    /// Reads the certificates.
    ///
    /// # Errors
    /// A file cannot be read, or does not hold what it must. The error names the setting and the file.
    pub(super) fn connector(&self) -> Result<TlsConnector, ConfigError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = trusted(self.roots.as_ref(), "root_certificate")?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| {
                ConfigError::secret("url", format!("one that rustls can do ({error})"))
            })?
            .with_root_certificates(roots);
        let config = match (&self.certificate, &self.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let chain = certificates(certificate)?;
                let what = format!("the key of the certificate in {}", certificate.shown());
                builder
                    .with_client_auth_cert(chain, private_key(key)?)
                    .map_err(|error| key.bad(&what, &error))?
            }
            (Some(_), None) => {
                return Err(ConfigError::secret(
                    "client_key",
                    "set, as client_certificate is",
                ));
            }
            (None, Some(_)) => {
                return Err(ConfigError::secret(
                    "client_certificate",
                    "set, as client_key is",
                ));
            }
        };
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

/// Names a file that a setting points to.
pub(super) fn file(setting: impl Into<String>, path: PathBuf) -> File {
    File {
        path,
        setting: setting.into(),
    }
}

/// The roots of the store of the system, or of a file.
pub(super) fn roots(setting: impl Into<String>, path: PathBuf) -> Roots {
    if path.as_os_str() == "system" {
        Roots::System
    } else {
        Roots::File(file(setting, path))
    }
}

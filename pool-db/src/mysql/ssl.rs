//! TLS with rustls, with the words of MySQL and of the other drivers.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Once,
};

use mysql_async::{ClientIdentity, SslOpts};
use pool_core::{ConfigError, FromEnv};
use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::address::shown_path;

/// Whether a connection is encrypted, and how the server must prove its identity: `--ssl-mode` of MySQL's own clients.
///
/// The names of MySQL and those of PostgreSQL's `sslmode` both work, in any case and with `-` or `_`: `VERIFY_IDENTITY` is
/// `verify-full`, and `PREFERRED` is `prefer`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SslMode {
    /// `disabled`: the connection is not encrypted.
    Disable,
    /// `preferred`: the connection is encrypted if the server supports it. The server's identity is not verified, so a man in the
    /// middle can read the traffic.
    #[default]
    Prefer,
    /// `required`: the connection must be encrypted. The server's identity is not verified, unless a root certificate is set; then
    /// this is `VerifyCa`.
    Require,
    /// `verify-ca`: the connection must be encrypted, and the server's certificate must be signed by a trusted authority.
    VerifyCa,
    /// `verify-full` or `verify-identity`: as `verify-ca`, and the certificate must be for the host of the address. Only this mode is
    /// safe over a network.
    VerifyFull,
}

impl FromEnv for SslMode {
    const EXPECTED: &'static str =
        "disabled, preferred, required, verify-ca or verify-full (as well: verify-identity)";

    fn from_env(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().replace('_', "-").as_str() {
            "disable" | "disabled" => Some(Self::Disable),
            "prefer" | "preferred" => Some(Self::Prefer),
            "require" | "required" => Some(Self::Require),
            "verify-ca" => Some(Self::VerifyCa),
            "verify-full" | "verify-identity" => Some(Self::VerifyFull),
            _ => None,
        }
    }
}

/// A file, and the setting that named it.
#[derive(Clone)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) setting: String,
}

/// What is read of the files.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) mode: SslMode,
    roots: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// A file cannot be read, or does not hold what it must. The error names the setting and the file.
    pub(super) fn read(
        mode: SslMode,
        roots: Option<&File>,
        certificate: Option<&File>,
        key: Option<&File>,
    ) -> Result<Self, ConfigError> {
        let mode = match mode {
            SslMode::Require if roots.is_some() => SslMode::VerifyCa,
            mode => mode,
        };
        let roots = roots.map(File::certificates).transpose()?;
        let identity = match (certificate, key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                let chain = certificate.certificates()?;
                Some((chain, key.key()?))
            }
            (Some(certificate), None) => {
                let expected = format!("set, as {} is", certificate.setting);
                return Err(ConfigError::secret("client_key", expected));
            }
            (None, Some(key)) => {
                let expected = format!("set, as {} is", key.setting);
                return Err(ConfigError::secret("client_certificate", expected));
            }
        };
        Ok(Self {
            mode,
            roots,
            identity,
        })
    }

    /// The driver's options for a handshake. `None`: without TLS. `name` is the name that the certificate must be for, in place of
    /// the host.
    pub(super) fn options(&self, name: Option<&str>) -> Option<SslOpts> {
        if self.mode == SslMode::Disable {
            return None;
        }
        choose_provider();
        let verifies = matches!(self.mode, SslMode::VerifyCa | SslMode::VerifyFull);
        let mut options = SslOpts::default().with_danger_accept_invalid_certs(!verifies);
        if let Some(roots) = &self.roots {
            options = options
                .with_root_certs(vec![roots.clone().into()])
                .with_disable_built_in_roots(true);
        }
        if let Some((chain, key)) = &self.identity {
            let identity = ClientIdentity::new(chain.clone().into(), key.clone().into());
            options = options.with_client_identity(Some(identity));
        }
        if let Some(name) = name {
            options = options.with_danger_tls_hostname_override(Some(name.to_owned()));
        }
        Some(options)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("mode", &self.mode)
            .field("has_roots", &self.roots.is_some())
            .field("has_identity", &self.identity.is_some())
            .finish()
    }
}

impl File {
    fn shown(&self) -> String {
        shown_path(&self.path)
    }

    fn bad(&self, what: &str, why: impl fmt::Display) -> ConfigError {
        let expected = format!("a PEM file with {what} ({why})");
        ConfigError::new(&self.setting, self.shown(), expected)
    }

    fn bytes(&self, what: &str) -> Result<Vec<u8>, ConfigError> {
        std::fs::read(&self.path).map_err(|error| self.bad(what, error))
    }

    fn certificates(&self) -> Result<Vec<u8>, ConfigError> {
        let what = "certificates";
        let bytes = self.bytes(what)?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        // The reader's own text for it can quote the file, which may be the one with the key.
        let found = found.map_err(|_| self.bad(what, "it is malformed"))?;
        if found.is_empty() {
            return Err(self.bad(what, "it holds none"));
        }
        let mut roots = RootCertStore::empty();
        for certificate in found {
            roots
                .add(certificate)
                .map_err(|error| self.bad(what, error))?;
        }
        Ok(bytes)
    }

    fn key(&self) -> Result<Vec<u8>, ConfigError> {
        let what = "a private key that is not encrypted";
        let bytes = self.bytes(what)?;
        let has = |word: &str| {
            let word = word.as_bytes();
            bytes.windows(word.len()).any(|part| part == word)
        };
        if has("BEGIN ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED") {
            return Err(self.bad(what, "it is encrypted"));
        }
        // The reader's own text can quote the file.
        PrivateKeyDer::from_pem_slice(&bytes)
            .map_err(|_| self.bad(what, "it holds none, or is malformed"))?;
        Ok(bytes)
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl From<(&Path, &str)> for File {
    fn from((path, setting): (&Path, &str)) -> Self {
        Self {
            path: path.to_owned(),
            setting: setting.to_owned(),
        }
    }
}

/// The driver takes the cryptography that the process has chosen. Where several are compiled in and none is chosen, rustls would
/// panic. So one is chosen, unless there is one.
fn choose_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if CryptoProvider::get_default().is_none() {
            // Another thread may have chosen meanwhile: then there is one.
            drop(rustls::crypto::ring::default_provider().install_default());
        }
    });
}

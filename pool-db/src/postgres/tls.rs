//! TLS with rustls, with libpq's settings.

use std::{
    fmt::Debug,
    path::{Path, PathBuf},
    sync::Arc,
};

use pool_core::{ConfigError, FromEnv};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::settings::SSL_MODES;

/// Whether a connection is encrypted, and how the server must prove its identity: libpq's `sslmode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SslMode {
    /// `disable`: the connection is not encrypted.
    Disable,
    /// `prefer`: the connection is encrypted if the server supports it. The server's identity is not verified, so a man in the
    /// middle can read the traffic.
    #[default]
    Prefer,
    /// `require`: the connection must be encrypted. The server's identity is not verified, unless a root certificate is set; then
    /// this is `VerifyCa`.
    Require,
    /// `verify-ca`: the connection must be encrypted, and the server's certificate must be signed by a trusted authority.
    VerifyCa,
    /// `verify-full`: as `verify-ca`, and the certificate must be for the host of the address. Only this mode is safe over a
    /// network.
    VerifyFull,
}

impl FromEnv for SslMode {
    const EXPECTED: &'static str = SSL_MODES;

    fn from_env(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

/// The TLS settings.
#[derive(Clone, Debug, Default)]
pub(super) struct Tls {
    pub(super) mode: Option<SslMode>,
    /// The trusted roots: a PEM file, or libpq's word `system`.
    pub(super) root_certificate: Option<PathBuf>,
    /// The client certificate, which is presented to the server together with the key.
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

impl SslMode {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "disable" => Some(Self::Disable),
            "prefer" => Some(Self::Prefer),
            "require" => Some(Self::Require),
            "verify-ca" => Some(Self::VerifyCa),
            "verify-full" => Some(Self::VerifyFull),
            _ => None,
        }
    }

    /// The mode for the driver, which leaves the certificate to this crate.
    pub(super) const fn for_driver(self) -> tokio_postgres::config::SslMode {
        match self {
            Self::Disable => tokio_postgres::config::SslMode::Disable,
            Self::Prefer => tokio_postgres::config::SslMode::Prefer,
            Self::Require | Self::VerifyCa | Self::VerifyFull => {
                tokio_postgres::config::SslMode::Require
            }
        }
    }
}

impl Tls {
    pub(super) fn connector(&self) -> Result<MakeRustlsConnect, ConfigError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let broken = |error: Error| {
            ConfigError::new(
                "sslmode",
                format!("{:?}", self.mode),
                format!("one that rustls can do ({error})"),
            )
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(broken)?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(&provider)?);
        let mut config = match (&self.certificate, &self.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let chain = certificates("sslcert", certificate)?;
                let secret = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| bad_file("sslkey", key, "a private key", &error))?;
                builder
                    .with_client_auth_cert(chain, secret)
                    .map_err(|error| bad_file("sslkey", key, "the key of sslcert", &error))?
            }
            (Some(_), None) => return Err(ConfigError::secret("sslkey", "set, as sslcert is")),
            (None, Some(_)) => return Err(ConfigError::secret("sslcert", "set, as sslkey is")),
        };
        // libpq sends this too. The server requires it for a handshake without a preceding `SSLRequest`.
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(MakeRustlsConnect::new(config))
    }

    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, ConfigError> {
        let mode = self.mode.unwrap_or_default();
        let verifies = matches!(mode, SslMode::VerifyCa | SslMode::VerifyFull);
        if mode == SslMode::Disable || (!verifies && self.root_certificate.is_none()) {
            return Ok(Arc::new(Anyone(Arc::clone(provider))));
        }
        let chain = WebPkiServerVerifier::builder_with_provider(
            Arc::new(self.roots()?),
            Arc::clone(provider),
        )
        .build()
        .map_err(|error| {
            ConfigError::new(
                "sslrootcert",
                format!("{:?}", self.root_certificate),
                format!("certificates to trust ({error})"),
            )
        })?;
        if mode == SslMode::VerifyFull {
            Ok(chain)
        } else {
            Ok(Arc::new(AnyName(chain)))
        }
    }

    /// Returns the roots of the file, or Mozilla's root certificates.
    fn roots(&self) -> Result<RootCertStore, ConfigError> {
        let mut roots = RootCertStore::empty();
        match &self.root_certificate {
            Some(path) if path.as_os_str() != "system" => {
                for certificate in certificates("sslrootcert", path)? {
                    roots.add(certificate).map_err(|error| {
                        bad_file("sslrootcert", path, "certificates to trust", &error)
                    })?;
                }
            }
            _ => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        }
        Ok(roots)
    }
}

fn certificates(setting: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let what = "certificates";
    let found =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = found.map_err(|error| bad_file(setting, path, what, &error))?;
    if found.is_empty() {
        return Err(bad_file(setting, path, what, &"it holds none"));
    }
    Ok(found)
}

fn bad_file(setting: &str, path: &Path, what: &str, why: &dyn std::fmt::Display) -> ConfigError {
    ConfigError::new(
        setting,
        path.display().to_string(),
        format!("a PEM file with {what} ({why})"),
    )
}

/// Accepts any certificate, for `prefer` and `require`.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

/// Accepts a certificate that is signed by a trusted authority, under any name, for `verify-ca`.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // webpki checks the name last, after the chain was found valid.
        match self
            .0
            .verify_server_cert(certificate, between, name, ocsp, now)
        {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tls(mode: SslMode) -> Tls {
        Tls {
            mode: Some(mode),
            ..Tls::default()
        }
    }

    #[test]
    fn every_mode_has_a_connector_without_any_file() {
        for mode in ["disable", "prefer", "require", "verify-ca", "verify-full"] {
            tls(SslMode::parse(mode).unwrap()).connector().unwrap();
        }
        assert_eq!(SslMode::parse("allow"), None);
    }

    #[test]
    fn a_file_that_holds_no_certificate_is_named() {
        let says = |tls: Tls| tls.connector().err().unwrap().to_string();
        let missing = Tls {
            root_certificate: Some("/nowhere.pem".into()),
            ..tls(SslMode::VerifyFull)
        };
        assert!(
            says(missing).starts_with(
                "sslrootcert is /nowhere.pem, but must be a PEM file with certificates"
            )
        );
        let empty = tempfile::NamedTempFile::new().unwrap();
        let empty = Tls {
            root_certificate: Some(empty.path().into()),
            ..tls(SslMode::Require)
        };
        assert!(says(empty).ends_with("(it holds none)"));
        let keyless = Tls {
            certificate: Some("/nowhere.pem".into()),
            ..tls(SslMode::Require)
        };
        assert_eq!(says(keyless), "sslkey must be set, as sslcert is");
    }
}

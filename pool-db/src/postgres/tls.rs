//! TLS with rustls, with libpq's settings.

use std::{fmt::Debug, sync::Arc};

use pool_core::{ConfigError, FromEnv};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio_postgres::config::SslMode as DriverMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::pem::{File, Roots, certificates, private_key, trusted};

/// Whether a connection is encrypted, and how the server must prove its identity: libpq's `sslmode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SslMode {
    /// `disable`: the connection is not encrypted.
    Disable,
    /// `allow`: the connection is encrypted only if the server refuses one that is not. Two attempts are made, the first without
    /// TLS. It protects nothing, and is there for servers that demand it.
    Allow,
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
    const EXPECTED: &'static str = "disable, allow, prefer, require, verify-ca or verify-full";

    fn from_env(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

/// The TLS settings.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    pub(super) mode: SslMode,
    /// The trusted roots. `None`: Mozilla's, if the mode verifies certificates.
    pub(super) roots: Option<Roots>,
    /// The client certificate, which is presented to the server together with the key.
    pub(super) certificate: Option<File>,
    pub(super) key: Option<File>,
}

impl SslMode {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "disable" => Some(Self::Disable),
            "allow" => Some(Self::Allow),
            "prefer" => Some(Self::Prefer),
            "require" => Some(Self::Require),
            "verify-ca" => Some(Self::VerifyCa),
            "verify-full" => Some(Self::VerifyFull),
            _ => None,
        }
    }

    /// Returns libpq's text for the mode: `verify-full`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }

    /// Returns the driver's mode of the first attempt to connect, and of those that follow if the server answers with an error. The
    /// driver leaves the certificate to this crate.
    pub(super) const fn attempts(self) -> (DriverMode, &'static [DriverMode]) {
        match self {
            Self::Disable => (DriverMode::Disable, &[]),
            Self::Allow => (DriverMode::Disable, &[DriverMode::Require]),
            Self::Prefer => (DriverMode::Prefer, &[]),
            Self::Require | Self::VerifyCa | Self::VerifyFull => (DriverMode::Require, &[]),
        }
    }
}

impl Tls {
    /// Reads the certificates.
    ///
    /// # Errors
    /// A file cannot be read, or does not hold what it must. The error names the setting and the file.
    pub(super) fn connector(&self) -> Result<MakeRustlsConnect, ConfigError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let broken = |error: Error| {
            let expected = format!("one that rustls can do ({error})");
            ConfigError::new("sslmode", self.mode.as_str(), expected)
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(broken)?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(&provider)?);
        let mut config = match (&self.certificate, &self.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let chain = certificates(certificate)?;
                let what = format!("the key of the certificate in {}", certificate.shown());
                builder
                    .with_client_auth_cert(chain, private_key(key)?)
                    .map_err(|error| key.bad(&what, &error))?
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
        let verifies = matches!(self.mode, SslMode::VerifyCa | SslMode::VerifyFull);
        if self.mode == SslMode::Disable || (!verifies && self.roots.is_none()) {
            return Ok(Arc::new(Anyone(Arc::clone(provider))));
        }
        let roots = Arc::new(trusted(self.roots.as_ref(), "sslrootcert")?);
        let chain = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
            .build()
            .map_err(|error| {
                ConfigError::secret("sslrootcert", format!("certificates to trust ({error})"))
            })?;
        if self.mode == SslMode::VerifyFull {
            Ok(chain)
        } else {
            Ok(Arc::new(AnyName(chain)))
        }
    }
}

/// Accepts any certificate, for `allow`, `prefer` and `require`.
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
    use std::{fs, path::PathBuf};

    use super::*;

    fn tls(mode: SslMode) -> Tls {
        Tls {
            mode,
            roots: None,
            certificate: None,
            key: None,
        }
    }

    fn file(setting: &str, path: impl Into<PathBuf>) -> File {
        let setting = setting.to_owned();
        File {
            path: path.into(),
            setting,
        }
    }

    fn says(tls: &Tls) -> String {
        tls.connector().err().unwrap().to_string()
    }

    #[test]
    fn every_mode_has_its_text_and_a_connector_without_any_file() {
        for mode in [
            "disable",
            "allow",
            "prefer",
            "require",
            "verify-ca",
            "verify-full",
        ] {
            let parsed = SslMode::parse(mode).unwrap();
            assert_eq!(parsed.as_str(), mode);
            assert!(SslMode::EXPECTED.contains(mode));
            tls(parsed).connector().unwrap();
        }
        assert_eq!(SslMode::parse("verify_full"), None);
        assert_eq!(SslMode::default(), SslMode::Prefer);
    }

    #[test]
    fn a_file_that_holds_no_certificate_is_named() {
        let missing = Tls {
            roots: Some(Roots::File(file("PGSSLROOTCERT", "/nowhere.pem"))),
            ..tls(SslMode::VerifyFull)
        };
        assert!(says(&missing).starts_with(
            "PGSSLROOTCERT is /nowhere.pem, but must be a PEM file with certificates"
        ));
        let empty = tempfile::NamedTempFile::new().unwrap();
        let empty = Tls {
            roots: Some(Roots::File(file("sslrootcert", empty.path()))),
            ..tls(SslMode::Require)
        };
        assert!(says(&empty).ends_with("(it holds none)"));
        let keyless = Tls {
            certificate: Some(file("sslcert", "/nowhere.pem")),
            ..tls(SslMode::Require)
        };
        assert_eq!(says(&keyless), "sslkey must be set, as sslcert is");
        let key_only = Tls {
            key: Some(file("sslkey", "/nowhere.pem")),
            ..tls(SslMode::Require)
        };
        assert_eq!(says(&key_only), "sslcert must be set, as sslkey is");
    }

    #[test]
    fn a_client_certificate_needs_its_own_key_that_is_not_encrypted() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str, text: &[u8]| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let [own, other] =
            [(), ()].map(|()| rcgen::generate_simple_self_signed(vec!["me".to_owned()]).unwrap());
        let certificate = at("client.crt", own.cert.pem().as_bytes());
        let own_pem = own.signing_key.serialize_pem();
        let traditional = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        let malformed = own_pem.replace('M', "!topsecret");
        for (name, text, says_this) in [
            ("pem", own_pem.as_bytes(), None),
            ("der", &own.signing_key.serialize_der(), None),
            (
                "other",
                other.signing_key.serialize_pem().as_bytes(),
                Some(
                    "PGSSLKEY is DIR/other, but must be a PEM file with the key of the certificate in DIR/client.crt",
                ),
            ),
            (
                "encrypted",
                own_pem
                    .replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")
                    .as_bytes(),
                Some(
                    "PGSSLKEY is DIR/encrypted, but must be a PEM file with a private key that is not encrypted (it is encrypted)",
                ),
            ),
            (
                "old",
                traditional.as_bytes(),
                Some(
                    "PGSSLKEY is DIR/old, but must be a PEM file with a private key that is not encrypted (it is encrypted)",
                ),
            ),
            (
                "none",
                own.cert.pem().as_bytes(),
                Some(
                    "PGSSLKEY is DIR/none, but must be a PEM file with a private key that is not encrypted (it holds none)",
                ),
            ),
            (
                "malformed",
                malformed.as_bytes(),
                Some(
                    "PGSSLKEY is DIR/malformed, but must be a PEM file with a private key that is not encrypted (it is malformed)",
                ),
            ),
            (
                "noise",
                b"topsecret",
                Some("PGSSLKEY is DIR/noise, but must be a PEM file with a private key"),
            ),
        ] {
            let tls = Tls {
                certificate: Some(file("PGSSLCERT", &certificate)),
                key: Some(file("PGSSLKEY", at(name, text))),
                ..tls(SslMode::Require)
            };
            match (tls.connector(), says_this) {
                (Ok(_), None) => {}
                (Err(error), Some(says)) => {
                    let error = error
                        .to_string()
                        .replace(directory.path().to_str().unwrap(), "DIR");
                    assert!(
                        error.starts_with(says) && !error.contains("topsecret"),
                        "{error}"
                    );
                }
                (Ok(_), Some(says)) => panic!("{name} is taken: {says}"),
                (Err(error), None) => panic!("{name}: {error}"),
            }
        }
    }
}

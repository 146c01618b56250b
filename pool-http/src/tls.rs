//! TLS with rustls, on the ring provider.

use std::{io, sync::Arc};

use pool_core::ConfigError;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::socket::Socket;

/// The TLS configuration. All connections of a client share it, so that a handshake can resume the session of another connection.
#[derive(Clone)]
pub(crate) struct Tls(TlsConnector);

impl Tls {
    /// Uses the user's configuration. Only its ALPN protocols are replaced.
    pub(crate) fn new(config: Arc<ClientConfig>) -> Self {
        Self(config.into())
    }

    /// Trusts Mozilla's roots and the `extra` roots, each in DER.
    pub(crate) fn with_roots(extra: &[Vec<u8>]) -> Result<Self, ConfigError> {
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        for der in extra {
            roots
                .add(CertificateDer::from(der.as_slice()).into_owned())
                .map_err(|error| {
                    ConfigError::new(
                        "root_certificate",
                        format!("{} bytes ({error})", der.len()),
                        "one X.509 certificate in DER",
                    )
                })?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| {
                ConfigError::new(
                    "tls",
                    error.to_string(),
                    "a provider that has TLS 1.2 or 1.3",
                )
            })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self::new(Arc::new(config)))
    }

    pub(crate) async fn handshake(
        &self,
        socket: Socket,
        name: &str,
    ) -> io::Result<TlsStream<Socket>> {
        let name = ServerName::try_from(name.to_owned()).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("`{name}`: {error}"))
        })?;
        // Whatever protocols the configuration offers, this client only speaks HTTP/1.1.
        self.0
            .with_alpn(vec![b"http/1.1".to_vec()])
            .connect(name, socket)
            .await
    }
}

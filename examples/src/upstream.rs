//! The upstream: an HTTPS server on loopback, with a certificate of its own made at start.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Path;
use axum::routing::get;
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{self, Runtime};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::failure::Failure;
use crate::meter::Meter;

/// A server that runs, on threads of its own, until it is dropped.
#[derive(Debug)]
pub(crate) struct Upstream {
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    handshakes: Meter,
    runtime: Option<Runtime>,
}

/// What it answers.
#[derive(Debug, Serialize)]
struct Quote {
    id: u32,
    price: String,
    currency: &'static str,
}

impl Upstream {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// When the system has no port or thread for it.
    pub(crate) fn start() -> Result<Self, Failure> {
        let failed = |error: &(dyn std::error::Error + 'static)| {
            Failure::run("cannot start the upstream", error)
        };
        let identity = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])
            .map_err(|error| failed(&error))?;
        let certificate = identity.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(identity.signing_key.serialize_der().into());
        let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error))?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .map_err(|error| failed(&error))?;
        let runtime = runtime::Builder::new_multi_thread()
            .thread_name("upstream")
            .enable_all()
            .build()
            .map_err(|error| failed(&error))?;
        let (listener, address) = listen(&runtime).map_err(|error| failed(&error))?;
        let handshakes = Meter::default();
        runtime.spawn(accept(
            listener,
            TlsAcceptor::from(Arc::new(tls)),
            handshakes.clone(),
        ));
        Ok(Self {
            address,
            certificate,
            handshakes,
            runtime: Some(runtime),
        })
    }

    /// Where it listens, on 127.0.0.1.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate that its clients are to trust.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The handshakes that it has completed, and the connections that are open.
    pub(crate) fn handshakes(&self) -> &Meter {
        &self.handshakes
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        // Not waited for: its connections belong to clients that have gone.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// On `runtime`, but without waiting on it: this may be called from another runtime's thread.
fn listen(runtime: &Runtime) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let _on_runtime = runtime.enter();
    Ok((TcpListener::from_std(listener)?, address))
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, handshakes: Meter) {
    let router = Router::new().route("/quote/{id}", get(quote));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(
                    stream,
                    tls.clone(),
                    handshakes.clone(),
                    router.clone(),
                ));
            }
            // No file descriptor left, as a rule: one may be free again soon.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(stream: TcpStream, tls: TlsAcceptor, handshakes: Meter, router: Router) {
    // A client that gives up half-way is no concern of the server's.
    let Ok(()) = stream.set_nodelay(true) else {
        return;
    };
    let Ok(Ok(stream)) = timeout(HANDSHAKE, tls.accept(stream)).await else {
        return;
    };
    let _open = handshakes.open();
    let _ended = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
}

/// A price that is the same for everybody who asks for the same id.
async fn quote(Path(id): Path<u32>) -> Json<Quote> {
    let cents = 1_000 + u64::from(id) * 7_919 % 9_000;
    Json(Quote {
        id,
        price: format!("{}.{:02}", cents / 100, cents % 100),
        currency: "EUR",
    })
}

const HANDSHAKE: Duration = Duration::from_secs(10);

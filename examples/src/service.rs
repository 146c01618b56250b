//! The service: its routes, and what each of them needs from the one who does the work.

use std::fmt;
use std::future::IntoFuture;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::data::User;
use crate::failure::{Failure, reason};

/// Finds users.
pub(crate) trait Users: Send + Sync + 'static {
    /// The user with this id, if there is one.
    fn find(&self, id: i64) -> BoxFuture<'_, Result<Option<User>, Unavailable>>;
}

/// Asks the upstream.
pub(crate) trait Quotes: Send + Sync + 'static {
    /// What the upstream says of this id, as JSON.
    fn quote(&self, id: u32) -> BoxFuture<'_, Result<Bytes, Unavailable>>;
}

/// Compares passwords.
pub(crate) trait Logins: Send + Sync + 'static {
    /// Is this the password?
    fn check(&self, password: String) -> BoxFuture<'_, Result<bool, Unavailable>>;
}

/// What the service depends on did not do its part: 503, with the reason as the body.
#[derive(Debug)]
pub(crate) struct Unavailable(String);

impl Unavailable {
    pub(crate) fn new(what: impl fmt::Display, error: &(dyn std::error::Error + 'static)) -> Self {
        Self(format!("{what}: {}", reason(error)))
    }

    pub(crate) fn because(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl IntoResponse for Unavailable {
    fn into_response(self) -> Response {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            [(header::RETRY_AFTER, "1")],
            self.0,
        )
            .into_response()
    }
}

/// Takes the service's port on 127.0.0.1; 0 is a free one.
///
/// # Errors
/// When it is in use or not allowed.
pub(crate) fn listen(port: u16) -> Result<TcpListener, Failure> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address)
        .map_err(|error| Failure::run(format!("cannot listen on {address}"), &error))
}

/// Where it listens.
///
/// # Errors
/// When the system has forgotten.
pub(crate) fn address(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener
        .local_addr()
        .map_err(|error| Failure::run("the listening port is gone", &error))
}

/// Serves the routes on the runtime that this is called on, until `stop`, and then until every request in flight is
/// answered. The listener stays open for another server.
///
/// # Errors
/// When the system has no file descriptor for it.
pub(crate) fn serve(
    listener: &TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<JoinHandle<io::Result<()>>, Failure> {
    let share = || {
        let listener = listener.try_clone()?;
        listener.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(listener)
    };
    let listener = share().map_err(|error| Failure::run("cannot listen", &error))?;
    // Answers go out at once; a socket that refuses the option is only slower.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    Ok(tokio::spawn(
        axum::serve(listener, router)
            .with_graceful_shutdown(stop)
            .into_future(),
    ))
}

/// `GET /healthz`.
pub(crate) fn health() -> Router {
    Router::new().route("/healthz", get(async || "ok"))
}

/// `GET /users/{id}`.
pub(crate) fn users(users: Arc<dyn Users>) -> Router {
    Router::new()
        .route("/users/{id}", get(find_user))
        .with_state(users)
}

/// `GET /quote/{id}`.
pub(crate) fn quotes(quotes: Arc<dyn Quotes>) -> Router {
    Router::new()
        .route("/quote/{id}", get(get_quote))
        .with_state(quotes)
}

/// `POST /login`.
pub(crate) fn logins(logins: Arc<dyn Logins>) -> Router {
    Router::new()
        .route("/login", post(log_in))
        .with_state(logins)
}

async fn find_user(
    State(users): State<Arc<dyn Users>>,
    Path(id): Path<i64>,
) -> Result<Response, Unavailable> {
    Ok(match users.find(id).await? {
        Some(user) => Json(user).into_response(),
        None => (StatusCode::NOT_FOUND, format!("there is no user {id}")).into_response(),
    })
}

async fn get_quote(
    State(quotes): State<Arc<dyn Quotes>>,
    Path(id): Path<u32>,
) -> Result<Response, Unavailable> {
    let body = quotes.quote(id).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

async fn log_in(
    State(logins): State<Arc<dyn Logins>>,
    Json(login): Json<Login>,
) -> Result<Response, Unavailable> {
    // A name that nobody has costs the same hash, so that the time of the answer does not tell which names exist.
    let right = logins.check(login.password).await?;
    Ok(if right && login.name == NAME {
        Json(Welcome { welcome: NAME }).into_response()
    } else {
        (StatusCode::UNAUTHORIZED, "wrong name or password").into_response()
    })
}

#[derive(Debug, Deserialize)]
struct Login {
    name: String,
    password: String,
}

#[derive(Debug, Serialize)]
struct Welcome {
    welcome: &'static str,
}

/// The one user who can log in.
const NAME: &str = "demo";
/// The password of that user.
pub(crate) const PASSWORD: &str = "correct horse battery staple";
/// A body for `/login` that gets in.
pub(crate) const RIGHT_LOGIN: &str = r#"{"name":"demo","password":"correct horse battery staple"}"#;

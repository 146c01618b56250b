//! A service on axum through all four pools: logins from SQLite, hashes checked off the executor, prices from an upstream.
//!
//! A limiter stands at the door, who cannot be served now is told so by 503 with `Retry-After`, and the end loses no request. By
//! default it serves on a free port, asks itself, says what came back and what the pools counted, and ends; its upstream is in this
//! program. With `serve` it stays until Ctrl-C.
//!
//! ```sh
//! cargo run -p examples --example axum_service
//! LISTEN=127.0.0.1:8080 DATABASE_URL=sqlite:users.db cargo run -p examples --example axum_service serve
//! USERS_DB_MAX_SIZE=2 USERS_DB_MAX_WAITERS=3 HASHING_THREADS=1 DOOR_LIMIT=8 cargo run -p examples --example axum_service
//! ```

use std::{
    env, error::Error, future::IntoFuture, io, net::SocketAddr, process::ExitCode, time::Duration,
};

use argon2::{
    Argon2, PasswordHasher, PasswordVerifier,
    password_hash::phc::{self, PasswordHash},
};
use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::{StatusCode, header::RETRY_AFTER},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use pool_core::{ConfigError, Drained, LimitError, Limiter};
use pool_cpu::CpuPool;
use pool_db::sqlite::{
    Pool,
    rusqlite::{Connection, OptionalExtension},
};
use pool_http::Client;
use serde::Deserialize;
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::JoinSet,
    time::{sleep, timeout},
};

/// What the handlers have. A clone is cheap, and is the same pool.
#[derive(Clone)]
struct Pools {
    door: Limiter,
    users: Pool,
    hashing: CpuPool,
    upstream: Client,
    /// Where the upstream is.
    prices: SocketAddr,
}

impl Pools {
    /// With defaults of this service's own, and what the environment says instead. Nobody is to wait for longer than `soon`.
    fn from_env(prices: SocketAddr, soon: Duration) -> Result<Self, ConfigError> {
        let door = Limiter::builder(64).acquire_timeout(soon);
        // A login takes tens of milliseconds of a core: a long line of them is of no use to anybody.
        let users = Pool::builder().memory().max_size(4).max_waiters(16);
        let users = users.acquire_timeout(soon).env("USERS_DB")?; // or DATABASE_URL
        let upstream = Client::builder().max_per_origin(16).acquire_timeout(soon);
        Ok(Self {
            door: door.env("DOOR")?.build()?,
            users: users.build()?,
            hashing: CpuPool::builder().env("HASHING")?.build()?,
            upstream: upstream.env("UPSTREAM")?.build()?,
            prices,
        })
    }

    /// Makes what the handlers need, and so finds out at the start whether it can.
    async fn prepare(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        let hash = || Argon2::default().hash_password(PASSWORD.as_bytes());
        let hash = self.hashing.job("sign up").run(hash).await??.to_string();
        let sign_up = move |db: &mut Connection| {
            db.execute_batch(
                "CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, hash TEXT)",
            )?;
            db.execute("INSERT OR IGNORE INTO users VALUES ('ada', ?1)", [hash])
        };
        self.users.run(sign_up).await?;
        Ok(())
    }

    async fn drain(&self, within: Duration) -> Drained {
        let (users, hashing) = (self.users.drain(within), self.hashing.drain(within));
        let ends = tokio::join!(users, hashing, self.upstream.drain(within));
        [ends.0, ends.1, ends.2].into_iter().collect()
    }
}

/// Why a request has no answer.
struct Refusal(StatusCode, String);

/// Whatever there was no room or no time for may come again, and anything else is an error: by the same names in all pools.
macro_rules! refusals {
    ($($error:ty: $($is:ident)|+, else $status:ident;)+) => {$(
        impl From<$error> for Refusal {
            fn from(error: $error) -> Self {
                let is_later = $(error.$is())||+;
                let status = if is_later { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::$status };
                Self(status, error.to_string())
            }
        }
    )+};
}
refusals! {
    LimitError: is_timeout | is_overloaded | is_closed, else INTERNAL_SERVER_ERROR;
    pool_cpu::Error: is_timeout | is_overloaded | is_closed, else INTERNAL_SERVER_ERROR;
    pool_db::Error: is_timeout | is_overloaded | is_closed | is_connect, else INTERNAL_SERVER_ERROR;
    pool_http::Error: is_timeout | is_overloaded | is_closed | is_connect, else BAD_GATEWAY;
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, why) = self;
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            eprintln!("axum_service: {why}"); // which is nobody's business outside
            return status.into_response();
        }
        let again = status == StatusCode::SERVICE_UNAVAILABLE;
        (status, again.then_some([(RETRY_AFTER, "1")]), why).into_response()
    }
}

async fn at_the_door(State(pools): State<Pools>, request: Request, next: Next) -> Response {
    match pools.door.acquire().await {
        Ok(_permit) => next.run(request).await,
        Err(error) => Refusal::from(error).into_response(),
    }
}

#[derive(Deserialize)]
struct Login {
    name: String,
    password: String,
}

async fn log_in(
    State(pools): State<Pools>,
    Json(login): Json<Login>,
) -> Result<StatusCode, Refusal> {
    let Login { name, password } = login;
    let find = move |db: &mut Connection| {
        let mut find = db.prepare_cached("SELECT hash FROM users WHERE name = ?1")?;
        let hash = find.query_row([name], |row| row.get::<_, String>(0));
        hash.optional()
    };
    // The connection is back before the hash is checked, which takes a thousand times as long.
    let hash = pools.users.run(find).await?;
    let check = move || {
        // A name that nobody has costs the same, so that the time of an answer does not tell who is a user.
        let is_user = hash.is_some();
        let hash = PasswordHash::new(hash.as_deref().unwrap_or(NOBODYS))?;
        let checked = Argon2::default().verify_password(password.as_bytes(), &hash);
        Ok::<_, phc::Error>(is_user && checked.is_ok())
    };
    Ok(match pools.hashing.job("login").run(check).await? {
        Ok(true) => StatusCode::OK,
        Ok(false) => StatusCode::UNAUTHORIZED,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR, // what is stored is no hash
    })
}

async fn price(State(pools): State<Pools>, Path(item): Path<u32>) -> Result<String, Refusal> {
    let url = format!("http://{}/{item}", pools.prices);
    let answer = pools.upstream.get(url).send().await?;
    Ok(format!(
        "{} euros",
        answer.into_body().limit(64).text().await?
    ))
}

fn routes(pools: &Pools) -> Router {
    let door = middleware::from_fn_with_state(pools.clone(), at_the_door);
    Router::new()
        .route("/login", post(log_in))
        .route("/price/{item}", get(price))
        .layer(door)
        .route("/healthz", get(async || "ok")) // not at the door: who is busy is not ill
        .with_state(pools.clone())
}

/// Serves until Ctrl-C, or until it has asked itself; then what has begun is answered, and everything closed.
pub(crate) async fn run(
    soon: Duration,
    stays: bool,
) -> Result<Vec<String>, Box<dyn Error + Send + Sync>> {
    let pools = Pools::from_env(start_upstream().await?, soon)?;
    pools.prepare().await?;
    let address = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:0".to_owned());
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, routes(&pools));
    let server = server.with_graceful_shutdown(async { drop(stopped.await) });
    let server = tokio::spawn(server.into_future());

    let mut report = Vec::new();
    if stays {
        println!("http://{address}; Ctrl-C ends it");
        tokio::signal::ctrl_c().await?;
    } else {
        report = ask(&pools, address).await?;
    }
    drop(stop);
    match timeout(GRACE, server).await {
        Ok(ended) => ended??,
        Err(_) => report.push(format!("not all was answered within {GRACE:?}")),
    }
    let left = pools.drain(GRACE).await.left;
    report.push(format!("left at the end: {left}"));

    let (door, users) = (pools.door.status(), pools.users.status());
    let (waited, refused) = (door.waited, door.overloaded + door.timeouts);
    report.push(format!("door: {waited} waited, {refused} refused"));
    let (gets, opened, waited) = (users.gets, users.opened, users.waited);
    let refused = users.overloaded + users.timeouts();
    report.push(format!(
        "users: {gets} gets over {opened} connections, {waited} waited, {refused} refused"
    ));
    let opened = pools.upstream.status().totals.opened;
    report.push(format!("upstream: {opened} connections"));
    report.extend(pools.hashing.status().jobs.iter().map(|job| {
        let (count, label) = (job.completed, job.label);
        let (wait, run) = (job.wait.percentile(50.0), job.run.percentile(50.0));
        format!("hashing: {count} of `{label}`, half of them within {run:.0?}, after {wait:.0?}")
    }));
    Ok(report)
}

/// A few requests to the service, and what came back.
async fn ask(
    pools: &Pools,
    service: SocketAddr,
) -> Result<Vec<String>, Box<dyn Error + Send + Sync>> {
    let client = Client::builder().name("caller").build()?;
    let mut report = Vec::new();
    for (what, password) in [("right", PASSWORD), ("wrong", "guess")] {
        let (status, _) = login(&client, service, password).await?;
        report.push(format!("the {what} password: {status}"));
    }
    let price = client.get(format!("http://{service}/price/7"));
    let price = price.send().await?.into_body().text().await?;
    report.push(format!("the price of 7: {price}"));

    // Somebody has all connections, and ever more log in: they wait, until there is no room to wait in.
    let mut held = Vec::new();
    for _ in 0..pools.users.status().max_size {
        held.push(pools.users.get().label("held").await?);
    }
    let mut logins = JoinSet::new();
    let (status, again) = loop {
        let client = client.clone();
        logins.spawn(async move { login(&client, service, PASSWORD).await });
        tokio::select! {
            Some(answered) = logins.join_next() => break answered??,
            () = sleep(Duration::from_millis(10)) => {}
        }
    };
    report.push(format!("no connection: {status}, again in {again} s"));
    drop(held);
    let mut let_in = 0;
    while let Some(answered) = logins.join_next().await {
        let_in += u32::from(answered??.0 == StatusCode::OK);
    }
    report.push(format!("of those who waited: {let_in} let in"));
    Ok(report)
}

/// Logs ada in: the status, and in how many seconds to come again.
async fn login(
    client: &Client,
    service: SocketAddr,
    password: &str,
) -> Result<(StatusCode, String), Box<dyn Error + Send + Sync>> {
    let login = format!(r#"{{"name": "ada", "password": "{password}"}}"#);
    let request = client.post(format!("http://{service}/login")).body(login);
    let request = request.header("content-type", "application/json");
    let answer = request.send().await?;
    let again = answer.headers().get(RETRY_AFTER);
    let again = again.map_or(Ok(""), |again| again.to_str())?.to_owned();
    Ok((answer.status(), again))
}

/// Somebody else's service.
async fn start_upstream() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let price = async |Path(item): Path<u32>| item.saturating_mul(3).to_string();
    let routes = Router::new().route("/{item}", get(price));
    tokio::spawn(axum::serve(listener, routes).into_future());
    Ok(address)
}

#[tokio::main]
async fn main() -> ExitCode {
    let stays = env::args().nth(1).is_some_and(|word| word == "serve");
    match run(Duration::from_secs(2), stays).await {
        Ok(report) => println!("{}", report.join("\n")),
        Err(error) => {
            eprintln!("axum_service: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// What has begun has so long to end.
const GRACE: Duration = Duration::from_secs(10);
const PASSWORD: &str = "correct horse battery staple";
/// A hash of the same cost as anybody's, and of no password.
pub(crate) const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5cyBzYWx0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

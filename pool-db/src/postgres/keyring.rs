//! Asks a provider for credentials, once for all who need them, and keeps the answer.

use std::{
    collections::HashMap,
    error::Error as StdError,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use pool_core::{ConfigError, Flight, FlightError};
use tokio::time::{Instant, timeout};
use tokio_postgres::Config;

use super::{Builder, Credentials, Pool};
use crate::{caught::caught, error::reason};

/// What a provider is asked for: the credentials for new connections to this server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct CredentialsRequest {
    /// The name or address of the host as the settings have it, or the directory of a Unix domain socket.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The user in the settings.
    pub user: Option<String>,
    /// The database.
    pub database: Option<String>,
}

/// The function of [`Builder::credentials`].
#[derive(Clone)]
pub(super) struct Provider(
    Arc<
        dyn Fn(
                CredentialsRequest,
            ) -> Pin<
                Box<
                    dyn Future<Output = Result<Credentials, Box<dyn StdError + Send + Sync>>>
                        + Send,
                >,
            > + Send
            + Sync,
    >,
);

impl Builder {
    /// Sets an async function that returns the user and password for new connections, in place of those in the address: from a
    /// vault, a cloud's token service, or a file that is rewritten.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use pool_db::postgres::{Credentials, Pool};
    ///
    /// # async fn token_for(host: &str) -> Result<String, std::io::Error> { Ok(host.to_owned()) }
    /// # fn main() -> Result<(), pool_db::Error> {
    /// let pool = Pool::builder()
    ///     .url("postgres://app@db.example/orders")
    ///     .credentials(|request| async move {
    ///         let token = token_for(&request.host).await?;
    ///         Ok::<_, std::io::Error>(Credentials::password(token).valid_for(Duration::from_secs(900)))
    ///     })
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The provider is asked once for each host and port of the settings, however many connections are opened at once. Its answer is
    /// used until shortly before its end ([`Credentials::valid_for`]), until the server refuses it (SQLSTATE 28P01 or 28000, or 08P01 from `PgBouncer`), or
    /// until [`Pool::rotate_credentials`]. When the server refuses it, the provider is asked again, and if it then gives other
    /// credentials, the connect is tried once more.
    ///
    /// An error or a panic of the provider, or no answer within [`credentials_timeout`](Self::credentials_timeout), is a failed
    /// connect, whose error says so: the pool backs off as from a server that refuses connections. The texts of the provider's errors
    /// and panics are shown, so keep secrets out of them. Credentials are never shown.
    ///
    /// Sessions that are open go on with what they have logged in with.
    pub fn credentials<F, R, E>(mut self, provider: F) -> Self
    where
        F: Fn(CredentialsRequest) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Credentials, E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        self.settings.credentials = Some(Provider(Arc::new(move |request| {
            let asked = provider(request);
            Box::pin(async move { asked.await.map_err(Into::into) })
        })));
        self
    }

    /// How long the provider of [`credentials`](Self::credentials) may take. Not zero, and shorter than `create_timeout`, which bounds
    /// the whole connect. Default: half of `create_timeout`.
    pub const fn credentials_timeout(mut self, limit: Duration) -> Self {
        self.settings.credentials_timeout = Some(limit);
        self
    }
}

impl Pool {
    /// Forgets the credentials from the provider of [`Builder::credentials`], so that the next connection asks for new ones. It does
    /// nothing without a provider.
    ///
    /// Open connections stay until their `max_lifetime`: rotate before the old password ends, and no caller notices. To replace
    /// the connections too, as after a leak of the password, call [`retire_all`](crate::Pool::retire_all) afterwards.
    ///
    /// ```no_run
    /// # fn example(pool: &pool_db::postgres::Pool) {
    /// pool.rotate_credentials();
    /// pool.retire_all();
    /// # }
    /// ```
    pub fn rotate_credentials(&self) {
        self.manager().dial.rotate_credentials();
    }
}

/// A provider, and what it has answered.
pub(super) struct Keyring {
    limit: Duration,
    kept: Arc<Mutex<HashMap<CredentialsRequest, Kept>>>,
    provider: Provider,
    flight: Flight<(CredentialsRequest, u64), Arc<Login>, ProviderError>,
}

/// What is kept for a request. No user code runs under its lock.
#[derive(Default)]
struct Kept {
    /// Changes whenever the credentials are forgotten, so that an answer to an earlier question is not kept.
    round: u64,
    login: Option<Arc<Login>>,
}

/// Credentials in use.
pub(super) struct Login {
    credentials: Credentials,
    ends: Option<Instant>,
}

impl Keyring {
    /// Keeps the answers of `provider`, which must come in time for a connect within `create_timeout`.
    pub(super) fn new(
        provider: Provider,
        limit: Option<Duration>,
        create_timeout: Duration,
    ) -> Result<Self, ConfigError> {
        let limit = limit.unwrap_or(create_timeout / 2);
        if limit >= create_timeout {
            let expected = format!("shorter than create_timeout ({create_timeout:?})");
            let value = format!("{limit:?}");
            return Err(ConfigError::new("credentials_timeout", value, expected));
        }
        // Each computation has a limit of its own. This one is for computations that nothing drives.
        let patience = limit.saturating_mul(2);
        let flight = Flight::builder().name("credentials").timeout(patience);
        Ok(Self {
            limit,
            kept: Arc::default(),
            provider,
            flight: flight.build()?,
        })
    }

    /// The credentials for a request: those that are kept, or new ones.
    pub(super) async fn login(
        &self,
        request: &CredentialsRequest,
    ) -> Result<Arc<Login>, Arc<ProviderError>> {
        let round = match fresh(&self.kept, request) {
            Ok(login) => return Ok(login),
            Err(round) => round,
        };
        let (kept, provider, limit) = (Arc::clone(&self.kept), self.provider.clone(), self.limit);
        let asks = request.clone();
        let ask = move || async move {
            // Another computation may have ended since this caller looked.
            if let Ok(login) = fresh(&kept, &asks) {
                return Ok(login);
            }
            let credentials = provider.ask(asks.clone(), limit).await?;
            let usable_for = credentials.usable_for(SystemTime::now());
            let login = Arc::new(Login {
                credentials,
                ends: usable_for.and_then(|time| Instant::now().checked_add(time)),
            });
            if let Some(kept) = locked(&kept).get_mut(&asks)
                && kept.round == round
            {
                kept.login = Some(Arc::clone(&login));
            }
            Ok(login)
        };
        let got = self.flight.run((request.clone(), round), ask).await;
        got.map_err(|error: FlightError<_>| {
            error
                .shared_error()
                .unwrap_or_else(|| Arc::new(ProviderError::Flight(error.to_string())))
        })
    }

    /// Other credentials than `refused`, which the server has refused. `None` if the provider has no others.
    pub(super) async fn instead_of(
        &self,
        refused: &Arc<Login>,
        request: &CredentialsRequest,
    ) -> Result<Option<Arc<Login>>, Arc<ProviderError>> {
        if let Some(kept) = locked(&self.kept).get_mut(request)
            && let Some(login) = &kept.login
            && Arc::ptr_eq(login, refused)
        {
            kept.forget();
        }
        let login = self.login(request).await?;
        Ok((!login.is_same(refused)).then_some(login))
    }

    pub(super) fn forget_all(&self) {
        locked(&self.kept).values_mut().for_each(Kept::forget);
    }
}

impl Kept {
    fn forget(&mut self) {
        self.round += 1;
        self.login = None;
    }
}

impl Login {
    /// Puts these credentials in the place of those that the settings have.
    pub(super) fn replace_in(&self, config: &mut Config) {
        if let Some(user) = &self.credentials.user {
            config.user(user);
        }
        match &self.credentials.password {
            Some(password) => {
                config.password(password);
            }
            // The settings take no password back.
            None if config.get_password().is_some() => {
                config.password("");
            }
            None => {}
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        let [own, other] = [self, other].map(|login| &login.credentials);
        (&own.user, &own.password) == (&other.user, &other.password)
    }
}

impl Provider {
    async fn ask(
        &self,
        request: CredentialsRequest,
        limit: Duration,
    ) -> Result<Credentials, ProviderError> {
        match timeout(limit, caught(async { (self.0)(request).await })).await {
            Ok(Ok(Ok(credentials))) => Ok(credentials),
            Ok(Ok(Err(error))) => Err(ProviderError::Failed(error)),
            Ok(Err(panic)) => Err(ProviderError::Panicked(panic)),
            Err(_) => Err(ProviderError::Late(limit)),
        }
    }
}

/// Why there are no credentials.
#[derive(Debug)]
pub(super) enum ProviderError {
    Failed(Box<dyn StdError + Send + Sync>),
    Panicked(String),
    Late(Duration),
    Flight(String),
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => {
                let why = reason(&**error);
                write!(f, "the provider of the credentials failed: {why}")
            }
            Self::Panicked(message) => {
                write!(f, "the provider of the credentials panicked: {message}")
            }
            Self::Late(limit) => {
                let what = "the provider of the credentials did not answer within";
                write!(f, "{what} {limit:?} (credentials_timeout)")
            }
            Self::Flight(why) => write!(f, "the credentials could not be asked for: {why}"),
        }
    }
}

impl StdError for ProviderError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            // The text contains it. It is there to be looked at.
            Self::Failed(error) => Some(&**error),
            _ => None,
        }
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Provider")
    }
}

fn locked(
    kept: &Mutex<HashMap<CredentialsRequest, Kept>>,
) -> MutexGuard<'_, HashMap<CredentialsRequest, Kept>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The credentials that are kept, or the round in which they must be asked for.
fn fresh(
    kept: &Mutex<HashMap<CredentialsRequest, Kept>>,
    request: &CredentialsRequest,
) -> Result<Arc<Login>, u64> {
    let now = Instant::now();
    let mut kept = locked(kept);
    let kept = kept.entry(request.clone()).or_default();
    match &kept.login {
        Some(login) if login.ends.is_none_or(|ends| now < ends) => Ok(Arc::clone(login)),
        _ => Err(kept.round),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_time_of_the_provider_is_part_of_the_time_to_open() {
        let built = |builder: Builder| {
            let provider = |_| async { Ok::<_, std::io::Error>(Credentials::password("secret")) };
            builder
                .url("postgres://h")
                .create_timeout(Duration::from_secs(3))
                .credentials(provider)
                .build()
        };
        let pool = built(Builder::new()).unwrap();
        let keyring = pool.manager().dial.credentials.as_ref().unwrap();
        assert_eq!(keyring.limit, Duration::from_millis(1500));
        for (limit, says) in [
            (
                Duration::from_secs(3),
                "credentials_timeout is 3s, but must be shorter than create_timeout (3s)",
            ),
            (
                Duration::ZERO,
                "credentials_timeout is 0s, but must be longer than zero",
            ),
        ] {
            let error = built(Builder::new().credentials_timeout(limit)).unwrap_err();
            assert_eq!(error.to_string(), says);
        }
    }

    #[test]
    fn credentials_replace_those_of_the_settings() {
        let replaced = |credentials: Credentials, mut config: Config| {
            let login = Login {
                credentials,
                ends: None,
            };
            login.replace_in(&mut config);
            let password = config.get_password().map(<[u8]>::to_vec);
            (config.get_user().map(str::to_owned), password)
        };
        let text = |text: &str| Some(text.to_owned());
        let mut config = Config::new();
        config.user("address").password("address-secret");
        let token = Credentials::password("token").user("lease");
        assert_eq!(
            replaced(token, config.clone()),
            (text("lease"), Some(b"token".to_vec()))
        );
        let none = Credentials::without_password();
        assert_eq!(
            replaced(none.clone(), config),
            (text("address"), Some(Vec::new()))
        );
        assert_eq!(replaced(none, Config::new()), (None, None));
    }
}

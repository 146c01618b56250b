//! How a server is to be.

use super::Server;

/// How a [`Server`] is to be.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    pub(super) password: Option<String>,
    pub(super) tls: bool,
    pub(super) settings: Vec<(String, String)>,
}

impl Builder {
    /// Asks clients for this password (by SCRAM). Default: everybody is let in.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Lets in clients that use TLS, and no others. Default: no TLS.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Sets one of PostgreSQL's own settings, such as `max_connections`.
    pub fn setting(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.settings.push((name.into(), value.to_string()));
        self
    }

    /// Makes the database and starts the server; returns when it answers.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start, saying why.
    #[track_caller]
    pub fn start(self) -> Server {
        let mut server = Server::empty(self);
        server.create();
        server.launch();
        server
    }
}

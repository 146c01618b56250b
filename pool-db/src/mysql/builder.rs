//! The settings of a builder that only MySQL has.

use std::path::{Path, PathBuf};

use super::{Builder, Reset, SslMode, ssl::File};

impl Builder {
    /// Sets the name or the address of the server. Takes precedence over the address, as do all of these.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        (self.settings.over.host, self.settings.over.socket) = (Some(host.into()), None);
        self
    }

    /// Sets the port of the server. Default: 3306.
    pub const fn port(mut self, port: u16) -> Self {
        self.settings.over.port = Some(port);
        self
    }

    /// Sets the file of the server's Unix domain socket, in place of a host and a port. TLS is not used on it.
    pub fn socket(mut self, file: impl Into<PathBuf>) -> Self {
        (self.settings.over.socket, self.settings.over.host) = (Some(file.into()), None);
        self
    }

    /// Sets the user. Default: `root`.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.settings.over.user = Some(user.into());
        self
    }

    /// Sets the password. Default: none. It is never shown.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.settings.over.password = Some(password.into());
        self
    }

    /// Sets the database in which names are looked up. Default: none.
    pub fn database(mut self, name: impl Into<String>) -> Self {
        self.settings.over.database = Some(name.into());
        self
    }

    /// Sets whether connections are encrypted, and how the server must prove its identity.
    ///
    /// Default: `preferred`, as for MySQL's own clients.
    pub fn ssl_mode(mut self, mode: impl Into<Option<SslMode>>) -> Self {
        self.settings.over.ssl_mode = mode.into();
        self
    }

    /// Sets the PEM file of trusted root certificates. Default, if certificates are verified: Mozilla's root certificates.
    pub fn root_certificate(mut self, file: impl AsRef<Path>) -> Self {
        self.settings.over.root_certificate = Some((file.as_ref(), "root_certificate").into());
        self
    }

    /// Sets the PEM files of the certificate that is shown to the server, and of its private key. Default: none.
    pub fn client_certificate(
        mut self,
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Self {
        let over = &mut self.settings.over;
        over.client_certificate = Some(File::from((certificate.as_ref(), "client_certificate")));
        over.client_key = Some(File::from((key.as_ref(), "client_key")));
        self
    }

    /// How many prepared statements each connection keeps. The least recently used statement is closed first. 0 disables the cache:
    /// each statement is prepared for each run, and closed after it. Default: 128.
    ///
    /// [`Reset::Always`] empties the cache between two leases.
    pub const fn statement_cache(mut self, capacity: usize) -> Self {
        self.settings.over.statement_cache = Some(capacity);
        self
    }

    /// Sets the time zone of the session: an offset such as `+00:00`, or a name that the server knows. Default: the server's.
    pub fn time_zone(mut self, zone: impl Into<String>) -> Self {
        self.settings.over.time_zone = Some(zone.into());
        self
    }

    /// Sets what is cleaned between two callers, which is what one caller may leave to the next. Default: [`Reset::Always`].
    pub const fn reset(mut self, policy: Reset) -> Self {
        self.settings.reset = policy;
        self
    }
}

//! How a server is to be.

use super::Server;
use crate::Certificate;

/// How a [`Server`] is to be.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    pub(super) password: Option<String>,
    pub(super) certificate: Option<Certificate>,
    pub(super) client_certificate: Option<ClientCertificate>,
    pub(super) access: Vec<String>,
    pub(super) socket: bool,
    pub(super) settings: Vec<(String, String)>,
}

/// What a client has to prove by a certificate of its own, which the authority of the server's has signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientCertificate {
    /// That it has any (`clientcert=verify-ca`), beside the password if there is one.
    Any,
    /// Which user it is (`cert`): the certificate's name is the user's. No password is asked for.
    User,
}

impl Builder {
    /// Asks clients for this password (by SCRAM). Default: everybody is let in.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Lets in clients that use TLS, and no others. Default: no TLS.
    pub fn tls(self) -> Self {
        self.certificate(Certificate::generate())
    }

    /// The same with this certificate, which need not be a good one.
    pub fn certificate(mut self, certificate: Certificate) -> Self {
        self.certificate = Some(certificate);
        self
    }

    /// Asks clients for a certificate too, such as [`Server::client_certificate`] makes. Needs TLS. Default: none.
    pub fn client_certificate(mut self, demand: ClientCertificate) -> Self {
        self.client_certificate = Some(demand);
        self
    }

    /// Adds a line to `pg_hba.conf`, before that for everybody: `host all ali 127.0.0.1/32 md5`. The first that fits
    /// a client counts.
    pub fn access(mut self, line: impl Into<String>) -> Self {
        self.access.push(line.into());
        self
    }

    /// Listens on a Unix socket too, in the folder [`Server::socket`]. Default: only on TCP.
    pub fn socket(mut self) -> Self {
        self.socket = true;
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
    /// When PostgreSQL is not installed or does not start, saying why, or when clients are to have certificates
    /// without TLS.
    #[track_caller]
    pub fn start(self) -> Server {
        assert!(
            self.certificate.is_some() || self.client_certificate.is_none(),
            "certificates of clients need TLS"
        );
        let mut server = Server::empty(self);
        server.create();
        server.launch();
        server
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::psql;

    #[test]
    fn an_expired_certificate_is_found_out() {
        let server = Server::builder()
            .certificate(Certificate::expired())
            .start();
        let said = refused(&verified(&server, "verify-full"));
        assert!(said.contains("certificate verify failed"), "{said}");
        // The harness itself is above that.
        assert_eq!(server.sql(OURS), "t");
    }

    #[test]
    fn a_certificate_for_another_name_is_found_out() {
        let server = Server::builder()
            .certificate(Certificate::named("db.example"))
            .start();
        let said = refused(&verified(&server, "verify-full"));
        assert!(said.contains("does not match host name"), "{said}");
        assert_eq!(ask(&verified(&server, "verify-ca"), OURS), "t");
        assert_eq!(server.sql(OURS), "t");
    }

    #[test]
    fn a_client_without_a_certificate_of_the_authority_is_refused() {
        let server = Server::builder()
            .tls()
            .client_certificate(ClientCertificate::Any)
            .password("sesame")
            .start();
        let url = verified(&server, "verify-full");
        let none = refused(&format!("{url}&sslcert=none&sslkey=none"));
        assert!(
            none.contains("requires a valid client certificate"),
            "{none}"
        );
        let stranger = Server::builder().tls().start();
        let theirs = refused(&with_certificate(&url, &stranger, "postgres"));
        assert!(theirs.contains("unknown ca"), "{theirs}");
        let ours = with_certificate(&url, &server, "anybody");
        assert_eq!(ask(&ours, "SELECT current_user"), "postgres");
        let guessed = refused(&ours.replace(&server.url(), &server.url().replace("%73", "%74")));
        assert!(
            guessed.contains("password authentication failed"),
            "{guessed}"
        );
    }

    #[test]
    fn a_certificate_can_say_which_user_it_is() {
        let server = Server::builder()
            .tls()
            .client_certificate(ClientCertificate::User)
            .start();
        server.sql("CREATE ROLE ali LOGIN");
        let ali = |at: &Server| verified(at, "verify-full").replace("//postgres@", "//ali@");
        let known = with_certificate(&ali(&server), &server, "ali");
        assert_eq!(ask(&known, "SELECT current_user"), "ali");
        let said = refused(&with_certificate(&ali(&server), &server, "kasim"));
        assert!(said.contains("certificate authentication failed"), "{said}");
        // A replica shows one itself, and takes those that its primary takes.
        let replica = server.replica();
        let known = with_certificate(&ali(&replica), &server, "ali");
        assert_eq!(ask(&known, OURS), "t");
    }

    #[test]
    #[should_panic(expected = "certificates of clients need TLS")]
    fn certificates_of_clients_need_tls() {
        Server::builder()
            .client_certificate(ClientCertificate::Any)
            .start();
    }

    #[test]
    fn the_first_line_of_access_that_fits_counts() {
        let server = Server::builder()
            .access("host all kasim 127.0.0.1/32 reject")
            .access("host all ali 127.0.0.1/32 md5")
            .start();
        server.sql(
            "CREATE ROLE kasim LOGIN; SET password_encryption = 'md5';
             CREATE ROLE ali LOGIN PASSWORD 'baba'",
        );
        let url = |user: &str| server.url().replace("//postgres@", &format!("//{user}@"));
        assert_eq!(ask(&url("ali:baba"), "SELECT current_user"), "ali");
        let said = refused(&url("ali:kasim"));
        assert!(said.contains("password authentication failed"), "{said}");
        let said = refused(&url("kasim"));
        assert!(said.contains("rejects connection"), "{said}");
    }

    #[test]
    fn a_unix_socket_is_listened_on_too() {
        let server = Server::builder().socket().password("sesame").start();
        let (folder, port) = (server.socket().to_owned(), server.port());
        assert!(folder.as_os_str().len() < 40, "{folder:?}");
        let url = format!(
            "postgres://postgres:sesame@/postgres?host={}&port={port}",
            folder.display()
        );
        assert_eq!(ask(&url, "SELECT inet_server_addr() IS NULL"), "t");
        let said = refused(&url.replace("sesame", "simsala"));
        assert!(said.contains("password authentication failed"), "{said}");
        drop(server);
        assert!(!folder.exists());
    }

    const OURS: &str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

    /// The address of `server` for a client that trusts its authority.
    fn verified(server: &Server, mode: &str) -> String {
        let authority = server.authority();
        format!(
            "{}?sslmode={mode}&sslrootcert={}",
            server.url(),
            authority.display()
        )
    }

    fn with_certificate(url: &str, server: &Server, user: &str) -> String {
        let (certificate, key) = server.client_certificate(user);
        format!(
            "{url}&sslcert={}&sslkey={}",
            certificate.display(),
            key.display()
        )
    }

    #[track_caller]
    fn ask(url: &str, sql: &str) -> String {
        psql::run(psql::command(url, sql), sql)
    }

    /// Why nobody gets in at `url`.
    #[track_caller]
    fn refused(url: &str) -> String {
        let output = psql::command(url, "SELECT 1").output().unwrap();
        assert!(!output.status.success(), "{url} lets in");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

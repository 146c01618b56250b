//! TLS certificates for servers on loopback, and for their clients.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// A certificate and the authority that signed it, both made on the spot: nobody trusts it who is not given
/// [`authority_pem`](Self::authority_pem).
#[derive(Clone, Debug)]
pub struct Certificate {
    authority: Arc<CertifiedIssuer<'static, KeyPair>>,
    certificate: String,
    key: String,
    sound: bool,
}

impl Certificate {
    /// A server's, for `localhost` and 127.0.0.1.
    ///
    /// # Panics
    /// When the random generator of the operating system fails.
    #[track_caller]
    pub fn generate() -> Self {
        Self::of_server(&LOOPBACK, false)
    }

    /// A server's, for `localhost` and 127.0.0.1, that was valid in the year 2000.
    ///
    /// # Panics
    /// When the random generator of the operating system fails.
    #[track_caller]
    pub fn expired() -> Self {
        Self::of_server(&LOOPBACK, true)
    }

    /// A server's, for `name`: for a server on loopback a wrong one.
    ///
    /// # Panics
    /// When `name` is none, or the random generator of the operating system fails.
    #[track_caller]
    pub fn named(name: &str) -> Self {
        Self::of_server(&[name], false)
    }

    /// A client's, for the user `name`, by the same authority.
    ///
    /// # Panics
    /// When the random generator of the operating system fails.
    #[track_caller]
    pub fn client(&self, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Self::signed(params, self.authority.clone(), true)
    }

    /// The authority's certificate, to be trusted.
    pub fn authority_pem(&self) -> String {
        self.authority.pem()
    }

    /// The certificate.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }

    /// Its private key.
    pub fn key_pem(&self) -> &str {
        &self.key
    }

    /// Whether a client on loopback that trusts the authority accepts it.
    pub(crate) fn is_sound(&self) -> bool {
        self.sound
    }

    #[track_caller]
    fn of_server(names: &[&str], expired: bool) -> Self {
        // An authority apart: clients refuse a certificate that signed itself as a server's.
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        // By a name of its own: two of one name are taken for each other, and a stranger's signature for a broken one.
        let name = format!("authority {:x}", RandomState::new().hash_one(names));
        params.distinguished_name.push(DnType::CommonName, name);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();

        let owned: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(owned).unwrap();
        params.distinguished_name.push(DnType::CommonName, names[0]);
        if expired {
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(2001, 1, 1);
        }
        let sound = !expired && names.contains(&LOOPBACK[1]);
        Self::signed(params, Arc::new(authority), sound)
    }

    #[track_caller]
    fn signed(
        params: CertificateParams,
        authority: Arc<CertifiedIssuer<'static, KeyPair>>,
        sound: bool,
    ) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &**authority).unwrap();
        Self {
            authority,
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            sound,
        }
    }
}

const LOOPBACK: [&str; 2] = ["localhost", "127.0.0.1"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Program;
    use std::fs;
    use std::process::Command;

    #[test]
    fn a_certificate_holds_for_loopback_by_its_own_authority() {
        let (ours, theirs) = (Certificate::generate(), Certificate::generate());
        assert_eq!(verified(&ours, &ours, SERVER), "OK");
        let localhost = ["-purpose", "sslserver", "-verify_hostname", "localhost"];
        assert_eq!(verified(&ours, &ours, localhost), "OK");
        assert!(ours.is_sound());
        let said = verified(&ours, &theirs, SERVER);
        assert!(said.contains("unable to get local issuer"), "{said}");
    }

    #[test]
    fn an_expired_certificate_is_nothing_but_expired() {
        let expired = Certificate::expired();
        assert!(!expired.is_sound());
        let said = verified(&expired, &expired, SERVER);
        assert!(said.contains("certificate has expired"), "{said}");
        let then = ["-attime", "960000000", "-verify_ip", "127.0.0.1"];
        assert_eq!(verified(&expired, &expired, then), "OK");
    }

    #[test]
    fn a_certificate_for_another_name_holds_for_that() {
        let named = Certificate::named("db.example");
        assert!(!named.is_sound());
        let said = verified(&named, &named, SERVER);
        assert!(said.contains("IP address mismatch"), "{said}");
        let there = ["-purpose", "sslserver", "-verify_hostname", "db.example"];
        assert_eq!(verified(&named, &named, there), "OK");
    }

    #[test]
    fn a_clients_certificate_is_by_the_servers_authority_and_no_servers() {
        let server = Certificate::generate();
        let client = server.client("ali");
        let purpose = ["-purpose", "sslclient", "-verify_name", "ssl_client"];
        assert_eq!(verified(&client, &server, purpose), "OK");
        let said = verified(&client, &server, SERVER);
        assert!(said.contains("certificate purpose"), "{said}");
        assert_ne!(client.key_pem(), server.key_pem());
    }

    const SERVER: [&str; 4] = ["-purpose", "sslserver", "-verify_ip", "127.0.0.1"];

    /// What OpenSSL says of `certificate` when it trusts the authority of `trusted`: OK, or why not.
    fn verified(certificate: &Certificate, trusted: &Certificate, demands: [&str; 4]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let (authority, file) = (folder.path().join("ca"), folder.path().join("certificate"));
        fs::write(&authority, trusted.authority_pem()).unwrap();
        fs::write(&file, certificate.certificate_pem()).unwrap();
        let mut openssl = Command::new(Program::new("openssl", "openssl").path());
        openssl
            .arg("verify")
            .args(demands)
            .args(["-no-CApath", "-no-CAstore"]);
        let output = openssl
            .arg("-CAfile")
            .arg(authority)
            .arg(file)
            .output()
            .unwrap();
        if output.status.success() {
            return "OK".to_owned();
        }
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

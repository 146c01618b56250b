//! TLS certificates for servers on loopback.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};

/// A server's certificate for `localhost` and 127.0.0.1, and the authority that signed it, both made on the
/// spot: no client trusts it unless it is given [`authority_pem`](Self::authority_pem).
#[derive(Debug)]
pub struct Certificate {
    authority: String,
    certificate: String,
    key: String,
}

impl Certificate {
    /// Makes one.
    ///
    /// # Panics
    /// When the random generator of the operating system fails.
    #[track_caller]
    pub fn generate() -> Self {
        // An authority apart: clients refuse a certificate that signed itself as a server's.
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "the authority of a test");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();

        let names = ["localhost", "127.0.0.1"].map(String::from);
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "localhost");
        let certificate = params.signed_by(&key, &authority).unwrap();
        Self {
            authority: authority.pem(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// The authority's certificate, for clients to trust.
    pub fn authority_pem(&self) -> &str {
        &self.authority
    }

    /// The server's certificate.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }

    /// The server's private key.
    pub fn key_pem(&self) -> &str {
        &self.key
    }
}

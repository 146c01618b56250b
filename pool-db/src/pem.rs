//! Certificates and keys, from PEM files and from the store of the system.

use std::{fmt::Debug, path::PathBuf};

use pool_core::ConfigError;
use rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};
use rustls_native_certs::CertificateResult;

use crate::address::shown_path;

/// Where trusted root certificates are read from.
#[derive(Clone, Debug)]
pub(crate) enum Roots {
    /// The store of the operating system.
    System,
    File(File),
}

/// A file, and the setting, variable or line that named it.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) setting: String,
}

/// Returns the trusted roots: Mozilla's, if `roots` is `None`. `setting` names the store of the system in an error.
///
/// # Errors
/// There are none, or they cannot be read.
pub(crate) fn trusted(roots: Option<&Roots>, setting: &str) -> Result<RootCertStore, ConfigError> {
    let mut store = RootCertStore::empty();
    match roots {
        Some(Roots::File(file)) => {
            for certificate in certificates(file)? {
                store
                    .add(certificate)
                    .map_err(|error| file.bad("certificates to trust", &error))?;
            }
        }
        Some(Roots::System) => {
            store = of_system(rustls_native_certs::load_native_certs(), setting)?
        }
        None => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    Ok(store)
}

impl File {
    pub(crate) fn shown(&self) -> String {
        shown_path(&self.path)
    }

    pub(crate) fn bad(&self, what: &str, why: &dyn std::fmt::Display) -> ConfigError {
        let expected = format!("a PEM file with {what} ({why})");
        ConfigError::new(&self.setting, self.shown(), expected)
    }
}

impl Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

/// Returns the roots of the system's store. As everywhere, those of them that cannot be understood are left out.
fn of_system(found: CertificateResult, setting: &str) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added > 0 {
        return Ok(roots);
    }
    let why: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
    let why = if why.is_empty() {
        "it is empty".to_owned()
    } else {
        why.join("; ")
    };
    let expected = format!("a file of certificates, as the store of the system has none ({why})");
    Err(ConfigError::new(setting, "system", expected))
}

/// Reads a key: PEM, or PKCS #8, PKCS #1 or SEC 1 in DER.
pub(crate) fn private_key(file: &File) -> Result<PrivateKeyDer<'static>, ConfigError> {
    let what = "a private key that is not encrypted";
    let bytes = std::fs::read(&file.path).map_err(|error| file.bad(what, &error))?;
    let has = |word: &str| {
        bytes
            .windows(word.len())
            .any(|part| part == word.as_bytes())
    };
    if has("BEGIN ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED") {
        return Err(file.bad(what, &"it is encrypted"));
    }
    if !has("-----BEGIN") {
        return PrivateKeyDer::try_from(bytes).map_err(|error| file.bad(what, &error));
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        // The reader's own text for it can quote the file.
        match error {
            pem::Error::NoItemsFound => file.bad(what, &"it holds none"),
            _ => file.bad(what, &"it is malformed"),
        }
    })
}

pub(crate) fn certificates(file: &File) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let what = "certificates";
    let found =
        CertificateDer::pem_file_iter(&file.path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = found.map_err(|error| match error {
        pem::Error::Io(error) => file.bad(what, &error),
        // The reader's own text for it can quote the file, which may be the one with the key.
        _ => file.bad(what, &"it is malformed"),
    })?;
    if found.is_empty() {
        return Err(file.bad(what, &"it holds none"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_roots_of_the_system_are_those_that_can_be_read_or_an_error_says_why_there_are_none() {
        let mut found = CertificateResult::default();
        let error = of_system(found, "sslrootcert").unwrap_err().to_string();
        assert_eq!(
            error,
            "sslrootcert is system, but must be a file of certificates, as the store of the system has none (it is empty)"
        );
        found = CertificateResult::default();
        let own = rcgen::generate_simple_self_signed(vec!["ca".to_owned()]).unwrap();
        found.certs = vec![CertificateDer::from(vec![1, 2, 3]), own.cert.der().clone()];
        assert_eq!(of_system(found, "sslrootcert").unwrap().len(), 1);
    }
}

//! HTTPS: reading the certificate and its key, and what is spoken with them.
//!
//! TLS 1.2 and 1.3 by rustls. iPXE speaks 1.2 at most: with an RSA certificate since February 2024 (ECDHE), with one of
//! an elliptic curve since December 2025. Older ones, which most distributions ship, cannot talk to us by https at all
//! (crates.md, section 4), so machines are told http unless the site's `advertise` says otherwise.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ServerConfig;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys};

/// The largest file that is read; a chain of certificates has a few thousand bytes.
const MAX_FILE: u64 = 1 << 20;

/// The size of a record with everything around it, in bytes. The largest there may be (RFC 8446, section 5.2) would take
/// four pages of memory and a few bytes of a fifth, for each client that reads slowly.
const RECORD: usize = 16 << 10;

/// What a client that can speak HTTP/2 may choose from (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [HTTP_2, b"http/1.1"];

/// The name of HTTP/2 among these (RFC 9113, section 3.2).
pub(super) const HTTP_2: &[u8] = b"h2";

/// Why there can be no HTTPS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}, which `http.{key}` of the site file names", path.display())]
    Read {
        /// The key of the site file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not PEM.
    #[error("{}, which `http.{key}` of the site file names, is not in PEM format", path.display())]
    Pem {
        /// The key of the site file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: pem::Error,
    },
    /// There is no certificate in the file.
    #[error(
        "{} has no certificate; `http.certificate` names a PEM file with the server's certificate first, and the ones that lead to its authority after it",
        .0.display()
    )]
    NoCertificate(PathBuf),
    /// There is no key in the file.
    #[error(
        "{} has no private key that can be used; `http.key` names a PEM file with one that needs no password (`openssl pkey -in OLD -out NEW` takes one off)",
        .0.display()
    )]
    NoKey(PathBuf),
    /// Everybody on this computer can read the key.
    #[error("everybody can read the private key {} (mode {mode:o}); make it private with `chmod o= {}`", path.display(), path.display())]
    ReadableKey {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The key is another certificate's.
    #[error(
        "the key {} does not belong to the certificate {}; name the key the certificate was made for",
        key.display(),
        certificate.display()
    )]
    Mismatch {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// A certificate or a key of a kind that is not supported, or damaged.
    #[error("the certificate {} and the key {} cannot be used", certificate.display(), key.display())]
    Unusable {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why.
        source: Error,
    },
}

/// What a server speaks with this certificate (a PEM file, its chain in it) and this key (a PEM file).
///
/// # Errors
/// When a file cannot be read or used, the key is not the certificate's, or everybody can read it.
pub fn load(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let unusable = |source| match source {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() }
        }
        source => TlsError::Unusable { certificate: certificate.to_owned(), key: key.to_owned(), source },
    };
    let chain = read_chain(certificate)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let certified = CertifiedKey::from_der(chain, read_key(key)?, &provider).map_err(unusable)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(unusable)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.max_fragment_size = Some(RECORD);
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(Arc::new(config))
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let (bytes, _) = read("certificate", path)?;
    let chain = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|source| TlsError::Pem { key: "certificate", path: path.to_owned(), source })?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(path.to_owned()));
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    const OTHERS: u32 = 0o007;
    let (bytes, mode) = read("key", path)?;
    if mode & OTHERS != 0 {
        return Err(TlsError::ReadableKey { path: path.to_owned(), mode: mode & 0o777 });
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|source| match source {
        pem::Error::NoItemsFound => TlsError::NoKey(path.to_owned()),
        source => TlsError::Pem { key: "key", path: path.to_owned(), source },
    })
}

/// The bytes of a file, and its mode.
fn read(key: &'static str, path: &Path) -> Result<(Vec<u8>, u32), TlsError> {
    let failed = |source| TlsError::Read { key, path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode();
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
    Ok((bytes, mode))
}

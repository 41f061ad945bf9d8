//! By which certificate a server is known, when it is not one from an authority.
//!
//! A cluster signs its own certificates. Where its authority is not at hand, the certificate itself is compared: that it
//! is exactly the one whose SHA-256 the site file has, and, as always in TLS, that the server holds its key. Its names and
//! dates say nothing then that the comparison has not said.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Url;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::model::fingerprint::Fingerprint;

/// How long a look at a certificate may take.
const LOOK: Duration = Duration::from_secs(5);

/// Trusts one certificate, or none, and remembers which one it saw.
#[derive(Debug)]
struct Comparison {
    wanted: Option<Fingerprint>,
    seen: Mutex<Option<Fingerprint>>,
    provider: Arc<CryptoProvider>,
}

impl Comparison {
    fn with(wanted: Option<Fingerprint>) -> Arc<Self> {
        Arc::new(Self { wanted, seen: Mutex::default(), provider: Arc::new(aws_lc_rs::default_provider()) })
    }

    fn config(self: &Arc<Self>) -> Result<ClientConfig, Error> {
        Ok(ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(self) as _)
            .with_no_client_auth())
    }
}

impl ServerCertVerifier for Comparison {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = Fingerprint::of(end_entity);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        if self.wanted == Some(shown) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A client that trusts this certificate and no other.
pub(super) fn only(fingerprint: Fingerprint) -> Result<ClientConfig, Error> {
    Comparison::with(Some(fingerprint)).config()
}

/// The certificate that a server shows; nothing when it cannot be had. Nothing is sent to the server.
pub(super) async fn shown_by(server: &str) -> Option<Fingerprint> {
    let url = Url::parse(server).ok()?;
    let (host, port) = (url.host_str()?.trim_matches(['[', ']']).to_owned(), url.port_or_known_default()?);
    let comparison = Comparison::with(None);
    let connector = TlsConnector::from(Arc::new(comparison.config().ok()?));
    let name = ServerName::try_from(host.clone()).ok()?;
    let look = async {
        let stream = TcpStream::connect((host.as_str(), port)).await.ok()?;
        // It ends with the certificate, which is refused.
        drop(connector.connect(name, stream).await);
        Some(())
    };
    tokio::time::timeout(LOOK, look).await.ok()??;
    let seen = comparison.seen.lock().unwrap_or_else(PoisonError::into_inner);
    *seen
}

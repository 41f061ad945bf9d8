//! A base URL that machines are told, asked for the first script: by HTTP, or by TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::serve::dhcp::SCRIPT_PATH;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// How much of an answer is looked at.
const BEGINNING: u64 = 64 << 10;

/// A base URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) is_tls: bool,
    /// A name, or an address without brackets.
    host: String,
    port: u16,
    /// Host and port, as the URL has them.
    authority: String,
    /// What stands before the path of the script.
    path: String,
}

impl Base {
    /// Takes a URL apart; nothing when it is none.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let is_tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        // An address of IPv6 has colons of its own.
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => authority.find(':').map_or((authority, ""), |at| authority.split_at(at)),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok()?,
            None if port.is_empty() && is_tls => 443,
            None if port.is_empty() => 80,
            None => return None,
        };
        let (host, authority, path) = (host.to_owned(), authority.to_owned(), path.to_owned());
        Some(Self { is_tls, host, port, authority, path }).filter(|base| !base.host.is_empty())
    }

    /// The base URL of a port of ours.
    pub(super) fn of(address: SocketAddr, is_tls: bool) -> Self {
        let (host, authority) = (address.ip().to_string(), address.to_string());
        Self { is_tls, host, port: address.port(), authority, path: String::new() }
    }

    /// The name or the address in it.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Takes the first script; says why it cannot be had.
    pub(super) async fn script(&self) -> Result<(), String> {
        let asked = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            if !self.is_tls {
                return self.ask(stream).await;
            }
            let name = ServerName::try_from(self.host.clone()).map_err(std::io::Error::other)?;
            let stream = TlsConnector::from(Arc::new(client()?)).connect(name, stream).await?;
            self.ask(stream).await
        };
        let answer =
            timeout(PATIENCE, asked).await.map_err(|_| "no answer".to_owned())?.map_err(|it| it.to_string())?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        if body.starts_with("#!ipxe") {
            return Ok(());
        }
        Err(format!("somebody else answers there ({})", head.lines().next().unwrap_or("nothing").escape_debug()))
    }

    async fn ask(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<String> {
        let Self { authority, path, .. } = self;
        let request = format!("GET {path}{SCRIPT_PATH} HTTP/1.0\r\nHost: {authority}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut answer = Vec::new();
        stream.take(BEGINNING).read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

impl std::fmt::Display for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { is_tls, authority, path, .. } = self;
        write!(f, "{}://{authority}{path}", if *is_tls { "https" } else { "http" })
    }
}

fn client() -> std::io::Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?;
    Ok(config.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))).with_no_client_auth())
}

/// Speaks to whoever has any certificate: whom machines trust is built into their iPXE and cannot be known here. Nothing
/// secret is said, and nothing that comes back is used.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> Option<(String, u16, String)> {
        Base::parse(url).map(|base| (base.host, base.port, base.path))
    }

    #[test]
    fn a_url_has_a_host_a_port_and_a_path() {
        let found = |host: &str, port, path: &str| Some((host.to_owned(), port, path.to_owned()));
        assert_eq!(parts("http://[::1]"), found("::1", 80, ""));
        assert_eq!(parts("http://[fe80::1]:8080/boot"), found("fe80::1", 8080, "/boot"));
        assert_eq!(parts("http://10.0.0.1:81"), found("10.0.0.1", 81, ""));
        assert_eq!(parts("https://boot.example.net/a/b"), found("boot.example.net", 443, "/a/b"));
        for wrong in ["10.0.0.1", "ftp://10.0.0.1", "http://", "http://[::1", "http://[::1]80", "http://boot:http"] {
            assert_eq!(parts(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_url_is_shown_as_it_was_written() {
        for url in ["http://[::1]", "https://boot.example.net:8443/a"] {
            assert_eq!(Base::parse(url).unwrap().to_string(), url);
        }
        assert_eq!(Base::of("[::1]:80".parse().unwrap(), false).to_string(), "http://[::1]:80");
    }

    #[tokio::test]
    async fn a_script_is_told_from_what_somebody_else_answers() {
        for (answer, said) in [
            ("HTTP/1.0 200 OK\r\n\r\n#!ipxe\n", Ok(())),
            ("HTTP/1.0 404 Not Found\r\n\r\n", Err("somebody else answers there (HTTP/1.0 404 Not Found)".to_owned())),
        ] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let base = Base::of(listener.local_addr().unwrap(), false);
            let served = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 512];
                let length = stream.read(&mut request).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
                String::from_utf8_lossy(&request[..length]).into_owned()
            });
            assert_eq!(base.script().await, said);
            assert!(served.await.unwrap().starts_with("GET /boot.ipxe HTTP/1.0\r\nHost: 127.0.0.1:"));
        }
    }
}

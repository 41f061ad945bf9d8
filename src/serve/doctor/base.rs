//! A base URL that machines are told, asked for the first script: by HTTP, or by TLS.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};

use crate::serve::dhcp::SCRIPT_PATH;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a script begins with.
const SCRIPT: &[u8] = b"#!ipxe";

/// A base URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base(Url);

impl Base {
    /// Reads a URL; nothing when it is none that machines could be told.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let is_http = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
        Url::parse(url).ok().filter(is_http).map(Self)
    }

    /// The base URL of a port of ours.
    pub(super) fn of(address: SocketAddr, is_tls: bool) -> Self {
        let scheme = if is_tls { "https" } else { "http" };
        // A URL has no place for the interface of a link-local address.
        let address = SocketAddr::new(address.ip(), address.port());
        Self(Url::parse(&format!("{scheme}://{address}")).expect("every address makes a URL"))
    }

    /// Whether it is asked by TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The address in it, unless it has a name.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.0.host_str()?.trim_matches(['[', ']']).parse().ok()
    }

    /// Takes the first script; says why it cannot be had.
    ///
    /// Whoever answers may have any certificate: whom machines trust is built into their iPXE and cannot be known here.
    /// Nothing secret is said, and nothing that comes back is used.
    pub(super) async fn script(&self) -> Result<(), String> {
        self.beginning().await.map_err(|error| reason(&error)).and_then(|(status, beginning)| {
            match beginning.starts_with(SCRIPT) {
                true => Ok(()),
                false => Err(format!("somebody else answers there ({status})")),
            }
        })
    }

    async fn beginning(&self) -> reqwest::Result<(StatusCode, Vec<u8>)> {
        // As iPXE asks: of the server itself, in the words of HTTP/1.1.
        let client = Client::builder().no_proxy().redirect(Policy::none()).http1_only().timeout(PATIENCE);
        let client = client.tls_danger_accept_invalid_certs(true).build()?;
        let mut answer = client.get(format!("{self}{SCRIPT_PATH}")).send().await?;
        let mut beginning = Vec::new();
        while beginning.len() < SCRIPT.len()
            && let Some(more) = answer.chunk().await?
        {
            beginning.extend_from_slice(&more);
        }
        Ok((answer.status(), beginning))
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// What is behind an error, without what the finding says already.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer".to_owned();
    }
    let first: &dyn std::error::Error = error;
    std::iter::successors(Some(first), |error| error.source()).last().unwrap_or(first).to_string()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn a_url_is_shown_as_it_was_written() {
        for url in ["http://[::1]", "http://10.0.0.1:81", "https://boot.example.net:8443/a"] {
            assert_eq!(Base::parse(url).unwrap().to_string(), url);
        }
        for (address, url) in [("[::1]:80", "http://[::1]"), ("[fe80::1%2]:8080", "http://[fe80::1]:8080")] {
            assert_eq!(Base::of(address.parse().unwrap(), false).to_string(), url);
        }
        for wrong in ["10.0.0.1", "ftp://10.0.0.1", "http://", "http://[::1", "http://[::1]80", "http://boot:http"] {
            assert_eq!(Base::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_address_is_told_from_a_name() {
        let address = |url| Base::parse(url).unwrap().address();
        assert_eq!(address("http://[fe80::1]:8080/boot"), Some("fe80::1".parse().unwrap()));
        assert_eq!(address("https://10.0.0.1:81"), Some([10, 0, 0, 1].into()));
        assert_eq!(address("http://boot.example.net"), None);
    }

    #[tokio::test]
    async fn a_script_is_told_from_what_somebody_else_answers() {
        for (answer, said) in [
            ("HTTP/1.0 200 OK\r\n\r\n#!ipxe\n", Ok(())),
            ("HTTP/1.0 404 Not Found\r\n\r\n", Err("somebody else answers there (404 Not Found)".to_owned())),
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
            assert!(served.await.unwrap().starts_with("GET /boot.ipxe HTTP/1.1\r\n"));
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_called_by_its_name() {
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let said = Base::of(closed, false).script().await.unwrap_err();
        assert!(said.contains("refused"), "{said}");
    }
}

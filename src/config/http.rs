//! `[http]`, checked.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::file::Http;
use super::{ConfigError, base_url};

/// Where HTTP listens when nothing is said: every address, the port firmware assumes.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 80);

/// RFC 9110, section 4.2.2.
const HTTPS_PORT: u16 = 443;

/// How many large files are sent at once when nothing is said. On a link of 1 Gbit/s each of so many still gets 60 KB
/// in the time of a retransmission, and what all have on the way fits into a switch.
const DEFAULT_TRANSFERS: usize = 256;

/// `[http]` after all checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// Where HTTP listens.
    pub listen: SocketAddr,
    /// The base URL machines are told, when it is not simply the address they reached; behind NAT, for instance.
    pub advertise: Option<String>,
    /// How many large files are sent at once.
    pub transfers: usize,
    /// HTTPS, if it is served.
    pub https: Option<HttpsSettings>,
}

/// How HTTPS is served; the files are read when serving starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsSettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// PEM file with the certificate and its chain.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
}

impl HttpSettings {
    pub(super) fn check(file: Http) -> Result<Self, ConfigError> {
        let listen = file.listen.unwrap_or(DEFAULT_LISTEN);
        let wrong = |key, value: String, why: &str| ConfigError::Value { key, value, why: why.to_owned() };
        let https = match (file.certificate, file.key, file.tls_listen) {
            (Some(certificate), Some(key), tls) => {
                let listen = tls.unwrap_or(SocketAddr::new(listen.ip(), HTTPS_PORT));
                Some(HttpsSettings { listen, certificate, key })
            }
            (Some(certificate), None, _) => {
                let why = "a certificate needs its private key; name that with `http.key`";
                return Err(wrong("http.certificate", certificate.display().to_string(), why));
            }
            (None, Some(key), _) => {
                let why = "a private key needs its certificate; name that with `http.certificate`";
                return Err(wrong("http.key", key.display().to_string(), why));
            }
            (None, None, Some(tls)) => {
                let why =
                    "TLS needs a certificate; name it with `http.certificate`, and its private key with `http.key`";
                return Err(wrong("http.tls-listen", tls.to_string(), why));
            }
            (None, None, None) => None,
        };
        if let Some(https) = https.as_ref().filter(|https| https.listen == listen && listen.port() != 0) {
            let why = "HTTP listens there; choose another port";
            return Err(wrong("http.tls-listen", https.listen.to_string(), why));
        }
        let transfers = file.transfers.unwrap_or(DEFAULT_TRANSFERS);
        if transfers == 0 {
            let why = "nobody could load a kernel; write how many large files may be sent at once, such as 256";
            return Err(wrong("http.transfers", transfers.to_string(), why));
        }
        let advertise = file.advertise.as_deref().map(|url| base_url("http.advertise", url)).transpose()?;
        Ok(Self { listen, advertise, transfers, https })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{File, Settings};
    use super::*;

    fn check(text: &str) -> Result<HttpSettings, ConfigError> {
        Settings::check(File::parse(text).unwrap()).map(|settings| settings.http)
    }

    #[test]
    fn a_certificate_and_its_key_are_enough_for_https() {
        let http = check("[http]\nlisten = \"10.0.0.1:8080\"\ncertificate = \"a.pem\"\nkey = \"k.pem\"").unwrap();
        let https = http.https.unwrap();
        assert_eq!(https.listen.to_string(), "10.0.0.1:443");
        assert_eq!((&*https.certificate, &*https.key), (Path::new("a.pem"), Path::new("k.pem")));
        let http = check("").unwrap();
        assert_eq!((http.listen.to_string(), http.transfers, http.https), ("0.0.0.0:80".to_owned(), 256, None));
    }

    #[test]
    fn the_files_start_at_the_site_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.toml");
        std::fs::write(&path, "[http]\ncertificate = \"tls/a.pem\"\nkey = \"/k.pem\"").unwrap();
        let https = Settings::load(Some(&path), File::default()).unwrap().http.https.unwrap();
        assert_eq!(https.certificate, folder.path().join("tls/a.pem"));
        assert_eq!(https.key, Path::new("/k.pem"));
    }

    #[test]
    fn what_cannot_be_meant_says_what_to_write() {
        for (text, said) in [
            ("certificate = \"a\"", "name that with `http.key`"),
            ("key = \"a\"", "name that with `http.certificate`"),
            ("tls-listen = \"0.0.0.0:443\"", "TLS needs a certificate"),
            ("tls-listen = \"0.0.0.0:80\"\ncertificate = \"a\"\nkey = \"k\"", "HTTP listens there"),
            ("transfers = 0", "`http.transfers` cannot be `0`"),
            ("advertise = \"boot\"", "`http.advertise` cannot be `boot`"),
        ] {
            let error = check(&format!("[http]\n{text}")).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}

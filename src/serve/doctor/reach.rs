//! The running server, asked from where machines ask it: at the addresses they are told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::base::Base;
use super::boot_server::boot_server;
use super::{Finding, Patient};
use crate::serve::dhcp::SCRIPT_PATH;
use crate::wire::tftp;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often a datagram is sent that may get lost.
const ATTEMPTS: u32 = 3;

/// Asks for the first script by HTTP and HTTPS, for a loader by TFTP, and on port 4011 what to boot.
pub async fn reach(patient: &Patient) -> Vec<Finding> {
    let mut findings = http(patient).await;
    findings.extend(https(patient).await);
    findings.extend(tftp(patient).await);
    findings.extend(boot_server(patient).await);
    findings
}

async fn http(patient: &Patient) -> Vec<Finding> {
    const FIX: &str = "machines are told this address: correct `http.advertise` or `http.listen`, or let the port pass the \
                       firewall";
    let bases = match &patient.advertise {
        Some(url) => match Base::parse(url) {
            Some(base) => vec![base],
            None => {
                let said = format!("machines are told {url}, which has no host and port that can be asked");
                return vec![Finding::wrong("http", said, "correct `http.advertise`")];
            }
        },
        None => ours(patient, patient.http).into_iter().map(|address| Base::of(address, false)).collect(),
    };
    if bases.is_empty() {
        return vec![nowhere("http")];
    }
    let mut findings = Vec::new();
    for base in bases {
        let script = format!("{base}{SCRIPT_PATH}");
        findings.push(match base.script().await {
            Ok(()) if base.is_tls() => {
                let fix = "the iPXE of most cards speaks plain HTTP only; `bivouac loaders list` shows what yours can";
                let said = format!("{script} is a script; whether iPXE trusts the certificate cannot be told here");
                Finding::doubtful("http", said, fix)
            }
            Ok(()) => Finding::good("http", format!("{script} is a script")),
            Err(why) => Finding::wrong("http", format!("{script} cannot be had: {why}"), FIX),
        });
    }
    findings
}

async fn https(patient: &Patient) -> Vec<Finding> {
    let Some(https) = &patient.https else { return Vec::new() };
    let mut findings = Vec::new();
    for address in ours(patient, https.listen) {
        let base = Base::of(address, true);
        let script = format!("{base}{SCRIPT_PATH}");
        findings.push(match base.script().await {
            Ok(()) => Finding::good("https", format!("{script} is a script")),
            Err(why) => {
                let fix = "look into the server's log, and let the port pass the firewall; a server that was started \
                           before `http.certificate` was set has to be restarted";
                Finding::wrong("https", format!("{script} cannot be had: {why}"), fix)
            }
        });
    }
    findings
}

/// What machines take by TFTP comes from the address at which DHCP was answered, whatever is advertised.
async fn tftp(patient: &Patient) -> Vec<Finding> {
    let (Some(listen), Some(loader)) = (patient.tftp, patient.loaders.iter().next()) else { return Vec::new() };
    let addresses = ours(patient, listen);
    if addresses.is_empty() {
        return vec![nowhere("tftp")];
    }
    let mut findings = Vec::new();
    for to in addresses {
        findings.push(match first_block(to, &loader.name).await {
            Ok(()) => Finding::good("tftp", format!("{} can be had from {to}", loader.name)),
            Err(why) => {
                let fix = format!(
                    "let UDP port {}, and the ports answers come from, pass the firewall; in a container use the host's \
                     network",
                    to.port()
                );
                Finding::wrong("tftp", format!("{} cannot be had from {to}: {why}", loader.name), fix)
            }
        });
    }
    findings
}

fn nowhere(about: &'static str) -> Finding {
    let fix = "give an interface an address and plug it in, or name one with `dhcp.interfaces`";
    Finding::doubtful(about, "not tried: this computer has no address that machines could be told", fix)
}

/// Where machines find a port of ours, as far as it can be known without one of them.
fn ours(patient: &Patient, listen: SocketAddr) -> Vec<SocketAddr> {
    if !listen.ip().is_unspecified() {
        return vec![listen];
    }
    let addresses = patient.addresses().into_iter();
    addresses.map(|address| SocketAddr::new(IpAddr::V4(address), listen.port())).collect()
}

/// Where this computer itself finds a port of ours.
pub(super) fn from_here(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        own => own,
    };
    SocketAddr::new(ip, listen.port())
}

/// Asks for a file by TFTP, as often as firmware would, and takes its first block.
pub(super) async fn first_block(to: SocketAddr, name: &str) -> Result<(), String> {
    let mut last = "no answer".to_owned();
    for _ in 0..ATTEMPTS {
        match timeout(PATIENCE / ATTEMPTS, one_packet(to, name)).await {
            Ok(Ok(bytes)) => {
                return match tftp::Packet::decode(&bytes) {
                    Ok(tftp::Packet::Error { message, .. }) => Err(format!("it says `{}`", message.escape_debug())),
                    Ok(_) => Ok(()),
                    Err(error) => Err(error.to_string()),
                };
            }
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => {}
        }
    }
    Err(last)
}

async fn one_packet(to: SocketAddr, name: &str) -> std::io::Result<Vec<u8>> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    let request = tftp::Packet::Read(tftp::Request::new(name)).encode();
    socket.send_to(&request, to).await?;
    let mut buffer = vec![0; 2048];
    let (length, peer) = socket.recv_from(&mut buffer).await?;
    buffer.truncate(length);
    // The rest is not wanted.
    let enough = tftp::Packet::Error { code: tftp::error_code::OTHER, message: "enough".to_owned() };
    socket.send_to(&enough.encode(), peer).await?;
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::super::{Verdict, patient};
    use super::*;

    #[tokio::test]
    async fn an_address_of_ipv6_and_a_name_are_asked_at_the_port_of_their_scheme() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let told = async |url: String| {
            let found = http(&Patient { advertise: Some(url), ..patient() }).await;
            (found[0].verdict, found[0].text.clone())
        };
        let (verdict, text) = told(format!("http://[::1]:{port}")).await;
        assert!(verdict == Verdict::Wrong && text.starts_with(&format!("http://[::1]:{port}/boot.ipxe cannot be had")));
        let (_, text) = told("http://[::1".to_owned()).await;
        assert_eq!(text, "machines are told http://[::1, which has no host and port that can be asked");
    }

    #[tokio::test]
    async fn a_loader_is_asked_for_where_dhcp_is_answered_whatever_is_advertised() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let to = server.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (_, peer) = server.recv_from(&mut buffer).await.unwrap();
                let block = tftp::Packet::Data { block: 1, data: b"loader" };
                server.send_to(&block.encode(), peer).await.unwrap();
            }
        });
        for url in ["http://[::1]", "http://boot.example.net"] {
            let patient = Patient { advertise: Some(url.to_owned()), tftp: Some(to), ..patient() };
            let found = tftp(&patient).await;
            assert_eq!(found, [Finding::good("tftp", format!("ipxe.efi can be had from {to}"))]);
        }
    }

    #[test]
    fn from_here_every_address_is_the_loopback() {
        for (listen, from) in [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"), ("10.0.0.1:80", "10.0.0.1:80")]
        {
            assert_eq!(from_here(listen.parse().unwrap()), from.parse().unwrap());
        }
    }
}

//! The running server, asked from where machines ask it: at the address they are told.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::{Finding, Patient};
use crate::serve::dhcp::SCRIPT_PATH;
use crate::wire::tftp;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often a datagram is sent that may get lost.
const ATTEMPTS: u32 = 3;

/// How much of an answer is looked at.
const BEGINNING: u64 = 64 << 10;

/// Asks for the first script by HTTP, and for a loader by TFTP.
pub async fn reach(patient: &Patient) -> Vec<Finding> {
    let mut findings = Vec::new();
    let base = patient.advertise.clone().or_else(|| own_base(patient));
    let Some(base) = base else {
        let fix = "name an interface, or set `http.advertise`";
        return vec![Finding::doubtful("http", "there is no address that machines could be told", fix)];
    };
    findings.push(match script(&base).await {
        Ok(said) => said,
        Err(why) => Finding::wrong(
            "http",
            format!("{base}{SCRIPT_PATH} cannot be had: {why}"),
            "machines are told this address: correct `http.advertise` or `http.listen`, or let the port pass the firewall",
        ),
    });
    let host = base.split("://").nth(1).and_then(|rest| rest.split(['/', ':']).next()).unwrap_or_default();
    let (Some(listen), Ok(address)) = (patient.tftp, host.parse::<Ipv4Addr>()) else { return findings };
    let Some(loader) = patient.loaders.iter().next() else { return findings };
    let to = SocketAddr::new(IpAddr::V4(address), listen.port());
    findings.push(match first_block(to, &loader.name).await {
        Ok(()) => Finding::good("tftp", format!("{} can be had from {to}", loader.name)),
        Err(why) => Finding::wrong(
            "tftp",
            format!("{} cannot be had from {to}: {why}", loader.name),
            "let UDP port 69, and the ports answers come from, pass the firewall; in a container use the host's network",
        ),
    });
    findings
}

/// The address machines would be told, as far as it can be known without one of them.
fn own_base(patient: &Patient) -> Option<String> {
    let own = Some(patient.http.ip()).filter(|ip| !ip.is_unspecified());
    let first = || patient.places().first().and_then(|place| place.addresses.first()).map(|it| IpAddr::V4(it.address));
    let address = own.or_else(first)?;
    Some(format!("http://{}", SocketAddr::new(address, patient.http.port())))
}

async fn script(base: &str) -> Result<Finding, String> {
    let Some(host) = base.strip_prefix("http://") else {
        let fix = "the iPXE of most cards speaks plain HTTP only; `bivouac loaders list` shows what yours can";
        return Ok(Finding::doubtful("http", format!("machines are told {base}, which was not tried"), fix));
    };
    let (authority, path) =
        host.split_once('/').map_or((host, String::new()), |(host, path)| (host, format!("/{path}")));
    let to = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
    let asked = async {
        let mut stream = TcpStream::connect(&to).await?;
        let request = format!("GET {path}{SCRIPT_PATH} HTTP/1.0\r\nHost: {authority}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(BEGINNING).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = timeout(PATIENCE, asked).await.map_err(|_| "no answer".to_owned())?.map_err(|it| it.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if body.starts_with("#!ipxe") {
        return Ok(Finding::good("http", format!("{base}{SCRIPT_PATH} is a script")));
    }
    Err(format!("somebody else answers there ({})", head.lines().next().unwrap_or("nothing").escape_debug()))
}

/// Asks for a file, as often as firmware would, and takes its first block.
async fn first_block(to: SocketAddr, name: &str) -> Result<(), String> {
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
    let socket = UdpSocket::bind("0.0.0.0:0").await?;
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

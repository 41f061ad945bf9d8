//! The boot server on port 4011, asked as firmware asks that was sent on to it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use dhcproto::v4::MessageType;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::network::{Heard, discover, own_mac};
use super::reach::from_here;
use super::{Finding, Patient};
use crate::model::firmware::{Firmware, Transport};
use crate::model::net::DhcpMode;
use crate::serve::dhcp::Listen;
use crate::serve::interfaces::Place;
use crate::serve::loaders::Loaders;
use crate::wire::dhcp::{Direction, Packet, code};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often a datagram is sent that may get lost.
const ATTEMPTS: u32 = 3;

/// The codes of option 93 that are tried, those of PCs first.
const ARCHITECTURES: [u16; 8] = [0, 7, 6, 11, 10, 27, 39, 25];

/// Who is asked, and as whom.
struct Question {
    /// Our address: what asks, and what answers.
    own: Ipv4Addr,
    to: SocketAddr,
    /// The interface, unless it is an address that is listened on.
    interface: Option<String>,
}

/// Asks which loader firmware shall take.
pub(super) async fn boot_server(patient: &Patient) -> Vec<Finding> {
    // Without a loader there is no answer, and with port 0 nobody knows where.
    let Some(architecture) = architecture(&patient.loaders).filter(|_| patient.pxe_port != 0) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for question in questions(patient) {
        let told = ask(&question, architecture).await;
        let place = question.interface.as_deref().map(|name| format!("{name}: ")).unwrap_or_default();
        findings.push(judge(&format!("{place}the boot server on UDP port {}", patient.pxe_port), told, patient));
    }
    findings
}

/// The first kind of firmware that is sent to boot servers and has a loader.
fn architecture(loaders: &Loaders) -> Option<u16> {
    ARCHITECTURES.into_iter().find(|code| {
        Firmware::from_code(*code).is_some_and(|(firmware, transport)| {
            transport == Transport::Pxe && firmware.asks_boot_server() && loaders.for_firmware(firmware).is_some()
        })
    })
}

fn questions(patient: &Patient) -> Vec<Question> {
    match &patient.dhcp {
        Listen::Address(_, mode) if !answers(*mode) => Vec::new(),
        Listen::Address(address, _) => {
            let to = from_here(SocketAddr::new(IpAddr::V4(*address), patient.pxe_port));
            let own = if address.is_unspecified() { Ipv4Addr::LOCALHOST } else { *address };
            vec![Question { own, to, interface: None }]
        }
        // What this computer sends to itself comes by the loopback, where a socket of an interface hears nothing. Broadcasts
        // are heard by the interface they leave by, which is the one that has the address they come from.
        _ => {
            let to = SocketAddr::new(IpAddr::V4(Ipv4Addr::BROADCAST), patient.pxe_port);
            let places = patient.places().into_iter().filter(|place| answers(place.mode));
            let question = |place: Place| {
                let own = place.addresses.first()?.address;
                Some(Question { own, to, interface: Some(place.name) })
            };
            places.filter_map(question).collect()
        }
    }
}

/// Whether a machine that nobody knows is answered, which the doctor is.
fn answers(mode: DhcpMode) -> bool {
    matches!(mode, DhcpMode::Proxy | DhcpMode::Full)
}

/// What the server names; why nothing.
async fn ask(question: &Question, architecture: u16) -> Result<Heard, String> {
    let mut last = "no answer".to_owned();
    for _ in 0..ATTEMPTS {
        match timeout(PATIENCE, one_answer(question, architecture)).await {
            Ok(Ok(heard)) => return Ok(heard),
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => {}
        }
    }
    Err(last)
}

async fn one_answer(question: &Question, architecture: u16) -> std::io::Result<Heard> {
    let Question { own, to, interface } = question;
    let socket = UdpSocket::bind((*own, 0)).await?;
    socket.set_broadcast(true)?;
    let mac = own_mac(interface.as_deref().unwrap_or("lo"));
    let mut request = discover(mac, architecture, 0xb1_70_40_00 | u32::from(architecture));
    request.options.put(code::MESSAGE_TYPE, &[MessageType::Request.into()]);
    socket.send_to(&request.encode(1472), to).await?;
    let mut buffer = [0; 2048];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer).await?;
        let Ok(answer) = Packet::decode(buffer.get(..length).unwrap_or_default()) else { continue };
        let is_answer = answer.direction == Direction::Reply && answer.message_type() == Some(MessageType::Ack);
        // Other boot servers hear a broadcast as well.
        if is_answer && answer.xid == request.xid && peer.ip() == IpAddr::V4(*own) {
            return Ok(Heard::of(*own, &answer));
        }
    }
}

fn judge(who: &str, told: Result<Heard, String>, patient: &Patient) -> Finding {
    match told {
        Ok(heard) if patient.loaders.by_name(&heard.file).is_some() => {
            Finding::good("pxe", format!("{who} names the loader {}", heard.file))
        }
        Ok(heard) if heard.file.is_empty() => {
            Finding::wrong("pxe", format!("{who} names no loader"), "look into the server's log")
        }
        Ok(heard) => {
            let said = format!("{who} names {}, which is none of the loaders that are here", heard.file);
            Finding::wrong("pxe", said, "restart the server, or stop the program that answers there in its place")
        }
        Err(why) => {
            silent("pxe", format!("{who} cannot be asked: {why}"), "UDP port 4011 (or `dhcp.pxe-port`)", patient)
        }
    }
}

/// A server that does not answer the doctor, on `ports`.
pub(super) fn silent(about: &'static str, said: String, ports: &str, patient: &Patient) -> Finding {
    if patient.is_ignoring_unknown {
        let fix = "`unknown-policy` is `ignore`, and nobody knows the doctor: take that out for a moment to try it";
        return Finding::doubtful(about, said, fix);
    }
    let fix = format!("let {ports} pass the firewall of this computer; look into the server's log");
    Finding::wrong(about, said, fix)
}

#[cfg(test)]
mod tests {
    use super::super::{Verdict, patient};
    use super::*;

    /// Answers one question as a server that names this file.
    async fn answering(file: &'static [u8]) -> u16 {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut buffer = [0; 2048];
            let (length, peer) = server.recv_from(&mut buffer).await.unwrap();
            let request = Packet::decode(&buffer[..length]).unwrap();
            assert_eq!(request.message_type(), Some(MessageType::Request));
            let mut answer = request.answer(MessageType::Ack);
            answer.file = file.into();
            server.send_to(&answer.encode(1472), peer).await.unwrap();
        });
        port
    }

    #[tokio::test]
    async fn a_boot_server_that_names_a_loader_is_good() {
        for (file, verdict, said) in [
            (&b"ipxe.efi"[..], Verdict::Good, "names the loader ipxe.efi"),
            (b"", Verdict::Wrong, "names no loader"),
            (b"pxelinux.0", Verdict::Wrong, "names pxelinux.0, which is none of the loaders that are here"),
        ] {
            let pxe_port = answering(file).await;
            let dhcp = Listen::Address(Ipv4Addr::LOCALHOST, DhcpMode::Proxy);
            let found = boot_server(&Patient { dhcp, pxe_port, ..patient() }).await;
            assert_eq!((found.len(), found[0].verdict), (1, verdict), "{found:?}");
            assert_eq!(found[0].text, format!("the boot server on UDP port {pxe_port} {said}"));
        }
        for mode in [DhcpMode::Off, DhcpMode::Reservations] {
            let dhcp = Listen::Address(Ipv4Addr::LOCALHOST, mode);
            assert!(boot_server(&Patient { dhcp, ..patient() }).await.is_empty(), "nobody answers the doctor");
        }
    }

    #[test]
    fn a_silent_server_is_wrong_unless_it_ignores_whom_nobody_knows() {
        let silent = |is_ignoring_unknown| {
            let patient = Patient { is_ignoring_unknown, ..patient() };
            judge("it", Err("no answer".to_owned()), &patient).verdict
        };
        assert_eq!((silent(false), silent(true)), (Verdict::Wrong, Verdict::Doubtful));
    }
}

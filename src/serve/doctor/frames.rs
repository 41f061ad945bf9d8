//! Whether frames of the usual size get through the network: a switch, a tunnel or a VLAN that takes less loses just the
//! large ones, so that machines get an address and a script, and no kernel.

use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::Finding;
use super::computer::USUAL_MTU;
use crate::serve::interfaces::Place;
use crate::wire::icmp;

/// An IPv4 header without options.
const IP_HEADER: usize = 20;

/// What always gets through.
const SMALL: usize = 64;

/// How often either size is sent: one packet may get lost.
const ATTEMPTS: u16 = 3;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// Asks `neighbours`, which are other computers in the networks of an interface, for echoes of small and of full frames.
/// Of one that answers neither nothing can be said.
pub(super) fn frames(place: &Place, neighbours: &[Ipv4Addr]) -> Vec<Finding> {
    neighbours.iter().filter_map(|to| try_one(place, *to).transpose()).map(|tried| told(place, tried)).collect()
}

fn told(place: &Place, tried: io::Result<Finding>) -> Finding {
    tried.unwrap_or_else(|error| {
        let said = format!("{}: whether full frames get through was not tried: {error}", place.name);
        Finding::doubtful("mtu", said, "ask as root, and let ICMP echoes pass the firewall")
    })
}

fn try_one(place: &Place, to: Ipv4Addr) -> io::Result<Option<Finding>> {
    const FULL: usize = USUAL_MTU as usize - IP_HEADER;
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    socket.bind_device(Some(place.name.as_bytes()))?;
    // A kernel that once learnt of a smaller way would cut what it sends there into pieces, which get through.
    socket.set_header_included_v4(true)?;
    if !echoes(&socket, to, SMALL)? {
        return Ok(None);
    }
    Ok(Some(judge(&place.name, to, echoes(&socket, to, FULL)?)))
}

fn judge(interface: &str, neighbour: Ipv4Addr, is_whole: bool) -> Finding {
    let path = format!("{interface}: frames of {USUAL_MTU} bytes");
    if is_whole {
        return Finding::good("mtu", format!("{path} get to {neighbour} and back"));
    }
    let fix = format!(
        "machines load kernels in such frames: set the MTU of every switch, bridge, tunnel and VLAN between to {USUAL_MTU} \
         or more"
    );
    Finding::wrong("mtu", format!("{path} do not get to {neighbour} and back, small ones do"), fix)
}

/// Whether `to` sends back a packet of `length` bytes without its IPv4 header.
fn echoes(socket: &Socket, to: Ipv4Addr, length: usize) -> io::Result<bool> {
    let identifier = u16::try_from(std::process::id() & 0xffff).unwrap_or_default();
    for number in 0..ATTEMPTS {
        // One that is larger than the interface takes is not sent at all.
        let packet = icmp::whole(to, &icmp::echo(identifier, number, length));
        match socket.send_to(&packet, &SocketAddrV4::new(to, 0).into()) {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(nix::libc::EMSGSIZE) => return Ok(false),
            Err(error) => return Err(error),
        }
        let end = Instant::now() + PATIENCE;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            socket.set_read_timeout(Some(left))?;
            let mut buffer = [0; 2048];
            match (&*socket).read(&mut buffer) {
                Ok(count) => {
                    let answer = buffer.get(..count).and_then(icmp::answer);
                    if answer.is_some_and(|(of, _, got)| (of, got) == (identifier, length)) {
                        return Ok(true);
                    }
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_network_that_loses_full_frames_is_wrong() {
        let to = Ipv4Addr::new(10, 0, 0, 254);
        let said = |is_whole| judge("eth0", to, is_whole);
        assert_eq!(said(true).text, "eth0: frames of 1500 bytes get to 10.0.0.254 and back");
        assert_eq!(said(false).verdict, Verdict::Wrong);
        assert_eq!(said(false).text, "eth0: frames of 1500 bytes do not get to 10.0.0.254 and back, small ones do");
    }
}

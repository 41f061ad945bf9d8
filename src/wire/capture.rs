//! Captures of network traffic (pcap and pcapng), as far as UDP over IPv4 goes.

use std::io::Read;
use std::time::Duration;

use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};

use super::ethernet::{self, Frame};
use super::udp::Datagram;

/// How much of a capture is in memory at once; no packet is larger.
const BUFFER: usize = 1 << 20;

/// Why a file cannot be read as a capture.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It is none, or ends in the middle of its first lines.
    #[error("this is no capture of tcpdump or Wireshark (pcap or pcapng)")]
    Format,
    /// It is damaged.
    #[error("the capture cannot be read further after {0} packets; it is cut off or damaged")]
    Damaged(u64),
    /// Its packets are of a kind nobody wrote a reader for.
    #[error(
        "the packets of this capture are of link type {0}; capture on one Ethernet interface, or on `any` of Linux"
    )]
    Link(i32),
}

/// Shows every UDP datagram over IPv4 to `take`, with its time since 1970, in the order of the file. Returns the number
/// of packets, of whatever kind.
///
/// # Errors
/// What is no capture, or one that is cut off; then what came before was shown.
pub fn datagrams(
    capture: impl Read + Send,
    mut take: impl FnMut(Duration, &Datagram<'_>),
) -> Result<u64, CaptureError> {
    let mut reader = create_reader(BUFFER, capture).map_err(|_| CaptureError::Format)?;
    let mut packets = 0;
    // A file of the older kind has one link type, of the newer one each of its interfaces.
    let mut links: Vec<Linktype> = Vec::new();
    let mut scales: Vec<(u64, u64)> = Vec::new();
    let mut nanoseconds = false;
    let mut refills_in_vain = 0;
    loop {
        let (length, block) = match reader.next() {
            Ok(next) => next,
            Err(PcapError::Eof) => return Ok(packets),
            Err(PcapError::Incomplete(_)) if refills_in_vain < 2 => {
                refills_in_vain += 1;
                reader.refill().map_err(|_| CaptureError::Damaged(packets))?;
                continue;
            }
            Err(_) => return Err(CaptureError::Damaged(packets)),
        };
        refills_in_vain = 0;
        let mut show = |link: Linktype, at: Duration, bytes: &[u8]| {
            packets += 1;
            let packet = network(link, bytes).ok_or(CaptureError::Link(link.0))?;
            if let Some(datagram) = packet.and_then(Datagram::read) {
                take(at, &datagram);
            }
            Ok(())
        };
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                nanoseconds = header.is_nanosecond_precision();
                links = vec![header.network];
            }
            PcapBlockOwned::Legacy(packet) => {
                let fraction = if nanoseconds { packet.ts_usec } else { packet.ts_usec.saturating_mul(1000) };
                let at = Duration::from_secs(packet.ts_sec.into()) + Duration::from_nanos(fraction.into());
                let link = links.first().copied().unwrap_or(Linktype::ETHERNET);
                show(link, at, packet.data)?;
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => {
                links.clear();
                scales.clear();
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                links.push(interface.linktype);
                scales.push((interface.ts_resolution().unwrap_or(1_000_000), 0));
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let at = packet.if_id as usize;
                let link = links.get(at).copied().unwrap_or(Linktype::ETHERNET);
                let per_second = scales.get(at).map_or(1_000_000, |scale| scale.0).max(1);
                let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                let rest = u128::from(ticks % per_second) * 1_000_000_000 / u128::from(per_second);
                let time = Duration::new(ticks / per_second, u32::try_from(rest).unwrap_or(0));
                let data = packet.data.get(..packet.caplen as usize).unwrap_or(packet.data);
                show(link, time, data)?;
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                let link = links.first().copied().unwrap_or(Linktype::ETHERNET);
                show(link, Duration::ZERO, packet.data)?;
            }
            PcapBlockOwned::NG(_) => {}
        }
        reader.consume(length);
    }
}

/// The IPv4 packet of a frame, if it carries one; nothing at all for a kind of link that is not known.
fn network(link: Linktype, frame: &[u8]) -> Option<Option<&[u8]>> {
    Some(match link {
        Linktype::ETHERNET => Frame::read(frame).map(|frame| frame.packet),
        // "Cooked": what `any` of Linux gives, in its older and newer form.
        Linktype::LINUX_SLL => ethernet::ipv4(frame.get(14..).unwrap_or_default()),
        Linktype::LINUX_SLL2 => frame.get(20..).filter(|_| frame.starts_with(&ethernet::IPV4)),
        Linktype::RAW | Linktype::IPV4 => Some(frame),
        Linktype::NULL | Linktype::LOOP => frame.get(4..),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;

    use proptest::prelude::*;

    use super::*;

    fn packet() -> Vec<u8> {
        let source: SocketAddrV4 = "10.0.0.2:68".parse().unwrap();
        Datagram { source, destination: "10.0.0.1:67".parse().unwrap(), payload: b"hello" }.write().unwrap()
    }

    /// A capture of the older kind.
    fn pcap(link: u32, frames: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
        bytes.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0]);
        bytes.extend(link.to_le_bytes());
        for frame in frames {
            let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
            bytes.extend(1_700_000_000_u32.to_le_bytes());
            bytes.extend(250_000_u32.to_le_bytes());
            bytes.extend(length);
            bytes.extend(length);
            bytes.extend(frame);
        }
        bytes
    }

    fn shown(capture: &[u8]) -> Result<Vec<(Duration, Vec<u8>)>, String> {
        let mut shown = Vec::new();
        let take = |at, datagram: &Datagram<'_>| shown.push((at, datagram.payload.to_vec()));
        datagrams(capture, take).map_err(|error| error.to_string())?;
        Ok(shown)
    }

    #[test]
    fn datagrams_are_found_on_every_kind_of_link() {
        let frame = |head: &[u8]| [head, &packet()].concat();
        let expected = vec![(Duration::new(1_700_000_000, 250_000_000), b"hello".to_vec())];
        let addresses = [0; 12];
        for (link, head) in [
            (1, [&addresses[..], &[8, 0]].concat()),
            (1, [&addresses[..], &[0x81, 0, 0, 20, 8, 0]].concat()),
            (1, [&addresses[..], &[0x88, 0xa8, 0, 1, 0x81, 0, 0, 20, 8, 0]].concat()),
            (113, [&[0; 14][..], &[8, 0]].concat()),
            (276, [&[8, 0][..], &[0; 18]].concat()),
            (101, vec![]),
            (0, vec![2, 0, 0, 0]),
        ] {
            assert_eq!(shown(&pcap(link, &[frame(&head)])), Ok(expected.clone()), "{link}");
        }
        let arp = [&addresses[..], &[8, 6, 0, 1]].concat();
        assert_eq!(shown(&pcap(1, &[arp, vec![], vec![0; 13]])), Ok(vec![]));
    }

    #[test]
    fn what_is_no_capture_says_so() {
        assert!(shown(b"hello, this is a text and no capture").unwrap_err().contains("no capture of tcpdump"));
        assert!(shown(b"").unwrap_err().contains("no capture of tcpdump"));
        assert!(shown(&pcap(147, &[packet()])).unwrap_err().contains("link type 147"));
        let whole = pcap(101, &[packet(), packet()]);
        assert!(shown(&whole[..whole.len() - 3]).unwrap_err().contains("after 1 packets"));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(mut bytes in prop::collection::vec(any::<u8>(), 0..300), head in 0..4) {
            match head {
                0 => bytes.splice(..0, pcap(1, &[])).for_each(drop),
                1 => bytes.splice(..0, [0x0a, 0x0d, 0x0d, 0x0a]).for_each(drop),
                2 => bytes.splice(..0, pcap(101, &[packet()])).for_each(drop),
                _ => {}
            }
            let _ = datagrams(&bytes[..], |_, _| ());
        }
    }
}

//! Captures of network traffic (pcap and pcapng), as far as UDP over IPv4 goes.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;

use pcap_parser::traits::PcapNGPacketBlock as _;
use pcap_parser::{Block, InterfaceDescriptionBlock, Linktype, PcapBlockOwned, PcapError, create_reader};

use super::ethernet::{self, Frame};
use super::udp::{self, Datagram};

/// How much of a capture is in memory at once; no packet is larger.
const BUFFER: usize = 1 << 20;

/// How many parts of a second times count that say nothing else (draft-ietf-opsawg-pcapng, `if_tsresol`).
const MICROSECONDS: u64 = 1_000_000;

/// Why a file cannot be read as a capture.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It is none, or ends in the middle of its first lines.
    #[error("this is no capture of tcpdump or Wireshark (pcap or pcapng)")]
    Format,
    /// It is damaged.
    #[error("the capture cannot be read further after {0} packets; it is cut off or damaged")]
    Damaged(u64),
    /// All of its packets are of a kind nobody wrote a reader for.
    #[error(
        "the packets of this capture are of link type {0}; capture on one Ethernet interface, or on `any` of Linux"
    )]
    Link(i32),
}

/// A datagram of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Captured<'a> {
    /// When it was sent, since 1970.
    pub at: Duration,
    /// The interface it was seen on, where the capture names it.
    pub interface: Option<&'a str>,
    /// The datagram.
    pub datagram: Datagram<'a>,
}

/// How many packets a capture has, and how many of them show no datagram although they may carry one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// All of them, of whatever kind.
    pub packets: u64,
    /// Those of which the end was not captured.
    pub cut: u64,
    /// Fragments, which are not put together.
    pub fragments: u64,
    /// Those of something else than IPv4.
    pub others: u64,
    /// Those of a link type nobody wrote a reader for, by its number.
    pub foreign: BTreeMap<i32, u64>,
}

/// Where packets of a capture come from.
#[derive(Debug)]
struct Interface {
    link: Linktype,
    /// How many parts of a second its times count.
    per_second: u64,
    name: Option<String>,
}

/// What a packet is to us.
enum Found<'a> {
    Datagram(Datagram<'a>),
    Cut,
    Fragment,
    /// It is IPv4, and carries no UDP that anybody could read.
    NoUdp,
    NoIpv4,
    Foreign,
}

/// Shows every UDP datagram over IPv4 to `take`, in the order of the file, and tells what else there is.
///
/// # Errors
/// What is no capture, one that is cut off, and one of which no packet can be read; then what came before was shown.
pub fn datagrams(capture: impl Read + Send, mut take: impl FnMut(&Captured<'_>)) -> Result<Contents, CaptureError> {
    let mut reader = create_reader(BUFFER, capture).map_err(|_| CaptureError::Format)?;
    let mut contents = Contents::default();
    // A file of the older kind has one, of the newer one as many as each of its sections says.
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut refills_in_vain = 0;
    loop {
        let (length, block) = match reader.next() {
            Ok(next) => next,
            Err(PcapError::Eof) => return contents.checked(),
            Err(PcapError::Incomplete(_)) if refills_in_vain < 2 => {
                refills_in_vain += 1;
                reader.refill().map_err(|_| CaptureError::Damaged(contents.packets))?;
                continue;
            }
            Err(_) => return Err(CaptureError::Damaged(contents.packets)),
        };
        refills_in_vain = 0;
        let mut show = |from: Option<&Interface>, at: Duration, bytes: &[u8]| {
            let link = from.map_or(Linktype::ETHERNET, |from| from.link);
            if let Some(datagram) = contents.add(link, bytes) {
                take(&Captured { at, interface: from.and_then(|from| from.name.as_deref()), datagram });
            }
        };
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let per_second = if header.is_nanosecond_precision() { 1_000_000_000 } else { MICROSECONDS };
                interfaces = vec![Interface { link: header.network, per_second, name: None }];
            }
            PcapBlockOwned::Legacy(packet) => {
                let from = interfaces.first();
                let at = Duration::from_secs(packet.ts_sec.into()) + time(packet.ts_usec.into(), from);
                show(from, at, packet.data);
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => interfaces.clear(),
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => interfaces.push(Interface::of(&interface)),
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let from = interfaces.get(packet.if_id as usize);
                let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                show(from, time(ticks, from), packet.packet_data());
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                show(interfaces.first(), Duration::ZERO, packet.packet_data());
            }
            PcapBlockOwned::NG(_) => {}
        }
        reader.consume(length);
    }
}

impl Interface {
    fn of(block: &InterfaceDescriptionBlock<'_>) -> Self {
        let name = block.if_name().and_then(Result::ok);
        Self {
            link: block.linktype,
            per_second: per_second(block.if_tsresol).unwrap_or(MICROSECONDS),
            name: name.map(|name| name.trim_end_matches('\0').to_owned()),
        }
    }
}

/// How many parts of a second are counted: a power of ten, or of two when the highest bit is set; nothing for a number that
/// nobody could count with.
fn per_second(resolution: u8) -> Option<u64> {
    let base: u64 = if resolution & 0x80 == 0 { 10 } else { 2 };
    base.checked_pow(u32::from(resolution & 0x7f))
}

/// So many parts of a second as times of that interface count.
fn time(ticks: u64, from: Option<&Interface>) -> Duration {
    let per_second = from.map_or(MICROSECONDS, |from| from.per_second);
    let rest = u128::from(ticks % per_second) * 1_000_000_000 / u128::from(per_second);
    Duration::new(ticks / per_second, u32::try_from(rest).unwrap_or(0))
}

impl Contents {
    /// Counts a packet; the datagram that it carries.
    fn add<'a>(&mut self, link: Linktype, frame: &'a [u8]) -> Option<Datagram<'a>> {
        self.packets += 1;
        match find(link, frame) {
            Found::Datagram(datagram) => return Some(datagram),
            Found::Cut => self.cut += 1,
            Found::Fragment => self.fragments += 1,
            Found::NoUdp => {}
            Found::NoIpv4 => self.others += 1,
            Found::Foreign => *self.foreign.entry(link.0).or_default() += 1,
        }
        None
    }

    /// The same, unless there is nothing in it but what cannot be read.
    fn checked(self) -> Result<Self, CaptureError> {
        let foreign: u64 = self.foreign.values().sum();
        match self.foreign.keys().next() {
            Some(link) if foreign == self.packets => Err(CaptureError::Link(*link)),
            _ => Ok(self),
        }
    }
}

fn find(link: Linktype, frame: &[u8]) -> Found<'_> {
    let Some(packet) = network(link, frame) else { return Found::Foreign };
    let is_version = |packet: &&[u8]| packet.first().is_none_or(|first| first >> 4 == 4);
    let Some(packet) = packet.filter(is_version) else { return Found::NoIpv4 };
    if let Some(datagram) = Datagram::read(packet) {
        return Found::Datagram(datagram);
    }
    match (packet.get(9), udp::is_fragment(packet), udp::number(packet, 2)) {
        (Some(protocol), ..) if *protocol != udp::UDP => Found::NoUdp,
        (_, Some(true), _) => Found::Fragment,
        // No link carries less than a header.
        (Some(_), _, Some(total)) if usize::from(total) <= packet.len() => Found::NoUdp,
        _ => Found::Cut,
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
pub(crate) mod tests {
    use std::net::SocketAddrV4;

    use proptest::prelude::*;

    use super::*;

    fn packet() -> Vec<u8> {
        let source: SocketAddrV4 = "10.0.0.2:68".parse().unwrap();
        Datagram { source, destination: "10.0.0.1:67".parse().unwrap(), payload: b"hello" }.write().unwrap()
    }

    /// A capture of the older kind.
    fn pcap(link: u32, frames: &[Vec<u8>]) -> Vec<u8> {
        older(0xa1b2_c3d4, u32::to_le_bytes, link, frames)
    }

    /// The same with another beginning, which says what its times count, in this order of bytes.
    fn older(magic: u32, bytes_of: fn(u32) -> [u8; 4], link: u32, frames: &[Vec<u8>]) -> Vec<u8> {
        // Version 2.4, in two numbers of two bytes.
        let version = if bytes_of(1) == [1, 0, 0, 0] { [2, 0, 4, 0] } else { [0, 2, 0, 4] };
        let mut bytes = [bytes_of(magic), version, [0; 4], [0; 4], bytes_of(0xffff), bytes_of(link)].concat();
        for frame in frames {
            let length = bytes_of(u32::try_from(frame.len()).unwrap());
            bytes.extend([bytes_of(1_700_000_000), bytes_of(250_000), length, length].concat());
            bytes.extend(frame);
        }
        bytes
    }

    /// A packet of a capture of the newer kind.
    pub(crate) struct Packet<'a> {
        pub(crate) interface: u32,
        pub(crate) ticks: u64,
        pub(crate) frame: &'a [u8],
    }

    /// A capture of the newer kind, in either order of bytes. An interface is its link type, what its times count, and
    /// its name.
    pub(crate) fn pcapng(is_big: bool, interfaces: &[(u16, u8, &str)], packets: &[Packet<'_>]) -> Vec<u8> {
        let two = |number: u16| if is_big { number.to_be_bytes() } else { number.to_le_bytes() };
        let four = |number: u32| if is_big { number.to_be_bytes() } else { number.to_le_bytes() };
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
        let padded = |bytes: &[u8]| [bytes, &vec![0; bytes.len().next_multiple_of(4) - bytes.len()]].concat();
        let block = |kind: u32, body: &[u8]| {
            let body = padded(body);
            let whole = four(length(&body) + 12);
            [&four(kind)[..], &whole, &body, &whole].concat()
        };
        let option = |code: u16, value: &[u8]| {
            [&two(code)[..], &two(u16::try_from(value.len()).unwrap()), &padded(value)].concat()
        };
        let mut bytes = block(0x0a0d_0d0a, &[&four(0x1a2b_3c4d)[..], &two(1), &two(0), &[0xff; 8]].concat());
        for (link, resolution, name) in interfaces {
            let options = [option(2, name.as_bytes()), option(9, &[*resolution]), option(0, &[])].concat();
            bytes.extend(block(1, &[&two(*link)[..], &two(0), &four(0), &options].concat()));
        }
        for Packet { interface, ticks, frame } in packets {
            let high = four(u32::try_from(ticks >> 32).unwrap());
            let low = four(u32::try_from(ticks & 0xffff_ffff).unwrap());
            let size = four(length(frame));
            bytes.extend(block(6, &[&four(*interface)[..], &high, &low, &size, &size, frame].concat()));
        }
        bytes
    }

    fn shown(capture: &[u8]) -> Result<Vec<(Duration, Vec<u8>)>, String> {
        let mut shown = Vec::new();
        let take = |seen: &Captured<'_>| shown.push((seen.at, seen.datagram.payload.to_vec()));
        datagrams(capture, take).map_err(|error| error.to_string())?;
        Ok(shown)
    }

    fn contents(capture: &[u8]) -> Contents {
        datagrams(capture, |_| ()).unwrap()
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
    fn captures_are_read_in_either_order_of_bytes_and_with_their_times() {
        let at = |nanoseconds| Ok(vec![(Duration::new(1_700_000_000, nanoseconds), b"hello".to_vec())]);
        for bytes_of in [u32::to_le_bytes, u32::to_be_bytes] {
            let capture = |magic| older(magic, bytes_of, 101, &[packet()]);
            assert_eq!(shown(&capture(0xa1b2_c3d4)), at(250_000_000));
            assert_eq!(shown(&capture(0xa1b2_3c4d)), at(250_000), "nanoseconds");
            assert_eq!(shown(&older(0xa1b2_c3d4, bytes_of, 1, &[])), Ok(vec![]));
        }
        // Microseconds, nanoseconds, whole seconds, and parts of which 2^10 are a second.
        for (resolution, ticks, nanoseconds) in [
            (6, 1_700_000_000_250_000, 250_000_000),
            (9, 1_700_000_000_000_000_007, 7),
            (0, 1_700_000_000, 0),
            (0x8a, (1_700_000_000 << 10) + 512, 500_000_000),
        ] {
            for is_big in [false, true] {
                let capture =
                    pcapng(is_big, &[(101, resolution, "eth1")], &[Packet { interface: 0, ticks, frame: &packet() }]);
                assert_eq!(shown(&capture), at(nanoseconds), "{resolution} {is_big}");
            }
        }
        assert_eq!(shown(&pcapng(false, &[], &[])), Ok(vec![]));
        assert_eq!(shown(&pcapng(true, &[(1, 6, "eth1")], &[])), Ok(vec![]));
    }

    #[test]
    fn packets_of_an_interface_that_cannot_be_read_hide_no_others() {
        let packet = packet();
        let seen = |interface| Packet { interface, ticks: 0, frame: &packet };
        let capture = pcapng(false, &[(147, 6, "usb0"), (101, 6, "eth1")], &[seen(0), seen(1), seen(0)]);
        let mut names = Vec::new();
        let found = datagrams(&capture[..], |seen| names.push(seen.interface.map(str::to_owned))).unwrap();
        assert_eq!(names, [Some("eth1".to_owned())]);
        assert_eq!((found.packets, found.foreign), (3, BTreeMap::from([(147, 2)])));
        let capture = pcapng(false, &[(147, 6, "usb0"), (101, 6, "eth1")], &[seen(0)]);
        assert!(shown(&capture).unwrap_err().contains("link type 147"), "nothing else is in it");
    }

    #[test]
    fn packets_that_show_no_datagram_are_counted_by_their_reason() {
        let whole = packet();
        let changed = |at: usize, value: u8| {
            let mut packet = whole.clone();
            packet[at] = value;
            packet
        };
        // Cut behind the header, in it, and before it; two fragments; TCP, and a length of UDP that does not fit.
        let frames = [
            whole[..30].to_vec(),
            whole[..12].to_vec(),
            Vec::new(),
            changed(6, 0x20),
            changed(7, 1),
            changed(9, 6),
            changed(25, 200),
            vec![0x60; 40],
            whole.clone(),
        ];
        let found = contents(&pcap(101, &frames));
        let expected = Contents { packets: 9, cut: 3, fragments: 2, others: 1, foreign: BTreeMap::new() };
        assert_eq!(found, expected);
        let ipv6 = [&[0; 12][..], &[0x86, 0xdd], &[0x60; 40]].concat();
        assert_eq!(contents(&pcap(1, &[ipv6])), Contents { packets: 1, others: 1, ..Contents::default() });
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
            let _ = datagrams(&bytes[..], |_| ());
        }
    }
}

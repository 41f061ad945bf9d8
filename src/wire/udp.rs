//! UDP datagrams in IPv4 packets (RFC 768, RFC 791), for sockets that see whole packets and for captures.

use std::net::{Ipv4Addr, SocketAddrV4};

/// An IPv4 header without options.
const IP_HEADER: usize = 20;

/// A UDP header.
const UDP_HEADER: usize = 8;

/// IANA "Assigned Internet Protocol Numbers".
pub(super) const UDP: u8 = 17;

/// How many routers a datagram may pass.
const TIME_TO_LIVE: u8 = 64;

/// A datagram of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub source: SocketAddrV4,
    /// Who it is for.
    pub destination: SocketAddrV4,
    /// What it carries.
    pub payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Reads an IPv4 packet that carries one whole UDP datagram. Checksums are the kernel's business.
    ///
    /// Nothing for anything else: other protocols, fragments, lengths that do not fit.
    #[must_use]
    pub fn read(packet: &'a [u8]) -> Option<Self> {
        let first = *packet.first()?;
        let header = usize::from(first & 15) * 4;
        let total = usize::from(number(packet, 2)?);
        if first >> 4 != 4 || header < IP_HEADER || is_fragment(packet)? || *packet.get(9)? != UDP {
            return None;
        }
        let udp = packet.get(header..total)?;
        let length = usize::from(number(udp, 4)?);
        Some(Self {
            source: SocketAddrV4::new(address(packet, 12)?, number(udp, 0)?),
            destination: SocketAddrV4::new(address(packet, 16)?, number(udp, 2)?),
            payload: udp.get(UDP_HEADER..length)?,
        })
    }

    /// The datagram as the UDP part of a packet, with its checksum; nothing when it is longer than a packet can be.
    #[must_use]
    pub fn write_udp(&self) -> Option<Vec<u8>> {
        let length = self.udp_length()?;
        let mut bytes = Vec::with_capacity(length.into());
        self.put_udp(&mut bytes, length)?;
        Some(bytes)
    }

    fn udp_length(&self) -> Option<u16> {
        u16::try_from(UDP_HEADER + self.payload.len()).ok()
    }

    fn put_udp(&self, bytes: &mut Vec<u8>, length: u16) -> Option<()> {
        let start = bytes.len();
        bytes.extend(self.source.port().to_be_bytes());
        bytes.extend(self.destination.port().to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend([0; 2]);
        bytes.extend(self.payload);
        // The checksum covers addresses, protocol and length as well (RFC 768, "pseudo header").
        let ends = sum(&self.source.ip().octets()) + sum(&self.destination.ip().octets());
        let sum = ends + u32::from(UDP) + u32::from(length) + sum(bytes.get(start..)?);
        // Zero would mean that there is none.
        let checksum = Some(folded(sum)).filter(|sum| *sum != 0).unwrap_or(u16::MAX);
        bytes.get_mut(start + 6..start + 8)?.copy_from_slice(&checksum.to_be_bytes());
        Some(())
    }

    /// The datagram as a whole IPv4 packet; nothing when it is longer than a packet can be.
    #[must_use]
    pub fn write(&self) -> Option<Vec<u8>> {
        let length = self.udp_length()?;
        let total = u16::try_from(IP_HEADER).ok()?.checked_add(length)?;
        let mut bytes = Vec::with_capacity(total.into());
        bytes.extend([0x45, 0]);
        bytes.extend(total.to_be_bytes());
        // No identification, and not to be cut into fragments.
        bytes.extend([0, 0, 0x40, 0, TIME_TO_LIVE, UDP, 0, 0]);
        bytes.extend(self.source.ip().octets());
        bytes.extend(self.destination.ip().octets());
        let checksum = folded(sum(&bytes));
        bytes.get_mut(10..12)?.copy_from_slice(&checksum.to_be_bytes());
        self.put_udp(&mut bytes, length)?;
        Some(bytes)
    }
}

/// Whether more fragments of an IPv4 packet follow, or this is not the first.
pub(super) fn is_fragment(packet: &[u8]) -> Option<bool> {
    Some(number(packet, 6)? & 0x3fff != 0)
}

pub(super) fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    Some((*bytes.get(at..)?.first_chunk::<4>()?).into())
}

/// The sum of RFC 1071 before it is folded. No packet is long enough for it to overflow.
pub(super) fn sum(bytes: &[u8]) -> u32 {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let whole: u32 = pairs.iter().map(|pair| u32::from(u16::from_be_bytes(*pair))).sum();
    whole + odd.first().map_or(0, |high| u32::from(*high) << 8)
}

/// What a checksum field holds for such a sum.
pub(super) fn folded(mut sum: u32) -> u16 {
    while let Some(carry) = Some(sum >> 16).filter(|carry| *carry != 0) {
        sum = (sum & 0xffff) + carry;
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn checksums_are_those_of_the_rfcs() {
        // The IPv4 header of a well-known worked example of RFC 1071's sum.
        let header = [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
        assert_eq!(folded(sum(&header)), 0xb861);
    }

    #[test]
    fn what_is_no_whole_datagram_is_nothing() {
        let datagram = Datagram {
            source: "10.0.0.1:67".parse().unwrap(),
            destination: "255.255.255.255:68".parse().unwrap(),
            payload: b"hello",
        };
        let good = datagram.write().unwrap();
        assert_eq!(Datagram::read(&good), Some(datagram));
        // Bytes behind the packet, as Ethernet pads short frames.
        assert_eq!(Datagram::read(&[&good[..], &[0; 20]].concat()), Some(datagram));
        for (at, value) in [(0, 0x65), (0, 0x44), (9, 6), (6, 0x20), (7, 1), (3, 27), (25, 200), (25, 3)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(Datagram::read(&bad), None, "byte {at} = {value}");
        }
        assert_eq!(Datagram { payload: &[0; 65_536], ..datagram }.write(), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_adds_up(
            source in any::<[u8; 4]>(),
            ports in any::<(u16, u16)>(),
            payload in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let datagram = Datagram {
                source: SocketAddrV4::new(source.into(), ports.0),
                destination: SocketAddrV4::new([10, 0, 0, 2].into(), ports.1),
                payload: &payload,
            };
            let bytes = datagram.write().unwrap();
            prop_assert_eq!(Datagram::read(&bytes), Some(datagram));
            prop_assert_eq!(folded(sum(&bytes[..20])), 0);
        }

        #[test]
        fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Datagram::read(&bytes);
        }
    }
}

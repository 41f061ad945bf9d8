//! Ethernet frames that carry IPv4 (RFC 894), with and without the tags of virtual networks.

use crate::model::mac::Mac;

/// Ethernet's number for IPv4.
pub(super) const IPV4: [u8; 2] = [0x08, 0x00];

/// Those for tags of virtual networks: IEEE 802.1Q and 802.1ad, and the one that switches used before there was the latter.
const TAGS: [[u8; 2]; 3] = [[0x81, 0x00], [0x88, 0xa8], [0x91, 0x00]];

/// Who hears a frame that is for everybody.
pub const BROADCAST: Mac = Mac([0xff; 6]);

/// A frame with an IPv4 packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The card it is for.
    pub destination: Mac,
    /// The card that sent it.
    pub source: Mac,
    /// The packet, and what short frames are padded with behind it.
    pub packet: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads a frame; nothing for one that carries anything else than IPv4, and for what is cut off.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (destination, rest) = bytes.split_first_chunk()?;
        let (source, rest) = rest.split_first_chunk()?;
        Some(Self { destination: Mac(*destination), source: Mac(*source), packet: ipv4(rest)? })
    }

    /// The frame without any tag, and without the padding that network cards add to short ones.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        [&self.destination.0[..], &self.source.0, &IPV4, self.packet].concat()
    }
}

/// The IPv4 packet behind the addresses of a frame, where its type and its tags are.
pub(super) fn ipv4(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let (kind, behind) = rest.split_first_chunk()?;
        match *kind {
            IPV4 => return Some(behind),
            kind if TAGS.contains(&kind) => rest = behind.get(2..)?,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ADDRESSES: [u8; 12] = [0x52, 0x54, 0, 1, 2, 3, 0x52, 0x55, 10, 0, 2, 2];

    #[test]
    fn a_frame_is_read_behind_its_tags() {
        let tags: [&[u8]; 3] =
            [&[0x81, 0, 0, 20], &[0x88, 0xa8, 0, 1, 0x81, 0, 0, 20], &[0x91, 0, 0, 1, 0x81, 0, 0, 20]];
        for kind in std::iter::once(vec![8, 0]).chain(tags.map(|tags| [tags, &[8, 0]].concat())) {
            let bytes = [&ADDRESSES[..], &kind, b"packet"].concat();
            let frame = Frame::read(&bytes).unwrap();
            assert_eq!(frame.destination.to_string(), "52:54:00:01:02:03");
            assert_eq!(frame.source.to_string(), "52:55:0a:00:02:02");
            assert_eq!(frame.packet, b"packet");
        }
    }

    #[test]
    fn what_is_cut_off_or_something_else_is_nothing() {
        let whole = [&ADDRESSES[..], &[0x81, 0, 0, 20, 8, 0]].concat();
        assert!(Frame::read(&whole).is_some_and(|frame| frame.packet.is_empty()));
        for length in 0..whole.len() {
            assert_eq!(Frame::read(&whole[..length]), None, "{length}");
        }
        // ARP and IPv6.
        for kind in [[8, 6], [0x86, 0xdd]] {
            assert_eq!(Frame::read(&[&ADDRESSES[..], &kind, &[0; 40]].concat()), None);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            destination in any::<[u8; 6]>(),
            source in any::<[u8; 6]>(),
            packet in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let frame = Frame { destination: Mac(destination), source: Mac(source), packet: &packet };
            let bytes = frame.write();
            prop_assert_eq!(Frame::read(&bytes), Some(frame));
        }

        #[test]
        fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Frame::read(&bytes);
        }
    }
}

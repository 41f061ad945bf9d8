//! ICMP's echo (RFC 792), for sockets that give and take packets with their IPv4 header.

use std::net::Ipv4Addr;

use super::udp::{folded, sum};

/// The type of a question.
const ECHO: u8 = 8;

/// The type of its answer.
const ECHO_REPLY: u8 = 0;

/// What a question and its answer begin with.
pub const HEADER: usize = 8;

/// A question with this identifier and number, `length` bytes long with its header.
#[must_use]
pub fn echo(identifier: u16, number: u16, length: usize) -> Vec<u8> {
    let mut bytes = vec![ECHO, 0, 0, 0];
    bytes.extend(identifier.to_be_bytes());
    bytes.extend(number.to_be_bytes());
    bytes.resize(length.max(HEADER), 0x5a);
    let checksum = folded(sum(&bytes)).to_be_bytes();
    bytes.iter_mut().skip(2).zip(checksum).for_each(|(byte, sum)| *byte = sum);
    bytes
}

/// A question to `to` in an IPv4 packet that nobody may cut into pieces (RFC 791, section 3.1). The kernel writes our
/// address, the length and the checksum into its header (raw(7)).
#[must_use]
pub fn whole(to: Ipv4Addr, question: &[u8]) -> Vec<u8> {
    /// Version 4, and five words of header.
    const FIRST: u8 = 0x45;
    /// The flag "do not fragment".
    const WHOLE: u8 = 0x40;
    const TIME_TO_LIVE: u8 = 64;
    const ICMP: u8 = 1;
    let [a, b, c, d] = to.octets();
    let header = [FIRST, 0, 0, 0, 0, 0, WHOLE, 0, TIME_TO_LIVE, ICMP, 0, 0, 0, 0, 0, 0, a, b, c, d];
    [&header, question].concat()
}

/// The identifier, the number and the length of the answer in an IPv4 packet; nothing when there is none. Checksums are
/// the kernel's business.
#[must_use]
pub fn answer(packet: &[u8]) -> Option<(u16, u16, usize)> {
    let first = *packet.first()?;
    let bytes = packet.get(usize::from(first & 15) * 4..).filter(|_| first >> 4 == 4)?;
    let number = |at: usize| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    (*bytes.first()? == ECHO_REPLY).then_some((number(4)?, number(6)?, bytes.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_question_is_what_ping_sends() {
        let bytes = echo(0x1234, 1, 64);
        assert_eq!((bytes.len(), &bytes[..2], &bytes[4..8]), (64, &[8, 0][..], &[0x12, 0x34, 0, 1][..]));
        assert_eq!(folded(sum(&bytes)), 0, "the sum over all of it, with the checksum");
    }

    #[test]
    fn nobody_may_cut_a_question_into_pieces() {
        let packet = whole([10, 0, 0, 9].into(), &echo(7, 2, 100));
        assert_eq!((packet.len(), packet[6] & 0x40), (120, 0x40));
        assert_eq!(packet[16..20], [10, 0, 0, 9]);
        assert_eq!(packet[20..], echo(7, 2, 100));
    }

    #[test]
    fn an_answer_is_found_behind_the_header_of_its_packet() {
        let mut bytes = echo(7, 2, 100);
        bytes[0] = ECHO_REPLY;
        let packet = |first: u8, header: usize| [vec![first; 1], vec![0; header - 1], bytes.clone()].concat();
        assert_eq!(answer(&packet(0x45, 20)), Some((7, 2, 100)));
        assert_eq!(answer(&packet(0x46, 24)), Some((7, 2, 100)));
        assert_eq!(answer(&packet(0x65, 20)), None);
        assert_eq!(answer(&[vec![0x45; 1], vec![0; 19], echo(7, 2, 100)].concat()), None, "a question");
    }

    proptest! {
        #[test]
        fn no_packet_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = answer(&bytes);
        }
    }
}

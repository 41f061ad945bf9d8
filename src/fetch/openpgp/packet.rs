//! Packets and the fields in them (RFC 4880, sections 3 and 4), each checked to be there before it is read.

use super::error::FormatError;

/// Bytes that are read from the front.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes that were not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(super) fn take(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], FormatError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(FormatError::Cut(field))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], FormatError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(FormatError::Cut(field))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, FormatError> {
        self.array(field).map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, FormatError> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, FormatError> {
        self.array(field).map(u32::from_be_bytes)
    }

    /// As many bytes as a length says; one that does not fit into memory is cut off in any case.
    pub(super) fn sized(&mut self, length: u32, field: &'static str) -> Result<&'a [u8], FormatError> {
        self.take(usize::try_from(length).unwrap_or(usize::MAX), field)
    }

    /// A multiprecision integer (RFC 4880, section 3.2), without leading zeros: some programs wrote them.
    pub(super) fn mpi(&mut self, field: &'static str) -> Result<&'a [u8], FormatError> {
        let bits = self.u16(field)?;
        let bytes = self.take(usize::from(bits.div_ceil(8)), field)?;
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
        Ok(bytes.get(zeros..).unwrap_or_default())
    }
}

/// The types of packets that mean something here (RFC 4880, section 4.3).
pub(super) mod tag {
    pub(in super::super) const SIGNATURE: u8 = 2;
    pub(in super::super) const ONE_PASS_SIGNATURE: u8 = 4;
    pub(in super::super) const SECRET_KEY: u8 = 5;
    pub(in super::super) const PUBLIC_KEY: u8 = 6;
    pub(in super::super) const SECRET_SUBKEY: u8 = 7;
    pub(in super::super) const COMPRESSED: u8 = 8;
    pub(in super::super) const MARKER: u8 = 10;
    pub(in super::super) const LITERAL: u8 = 11;
    pub(in super::super) const USER_ID: u8 = 13;
    pub(in super::super) const PUBLIC_SUBKEY: u8 = 14;
    /// RFC 9580, section 5.14.
    pub(in super::super) const PADDING: u8 = 21;
}

/// One packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    /// Its type, 0 to 63.
    pub(super) tag: u8,
    pub(super) body: &'a [u8],
}

/// The packets of a file, in order. There are at most half as many as bytes.
pub(super) fn read_packets(bytes: &[u8]) -> Result<Vec<Packet<'_>>, FormatError> {
    let mut reader = Reader::new(bytes);
    let mut packets = Vec::new();
    while !reader.rest().is_empty() {
        packets.push(read_packet(&mut reader)?);
    }
    Ok(packets)
}

fn read_packet<'a>(reader: &mut Reader<'a>) -> Result<Packet<'a>, FormatError> {
    const LENGTH: &str = "length of a packet";
    let head = reader.u8("header of a packet")?;
    if head & 0x80 == 0 {
        return Err(FormatError::Header(head));
    }
    let new_format = head & 0x40 != 0;
    let tag = if new_format { head & 0x3f } else { head >> 2 & 0x0f };
    let length = match (new_format, head & 3) {
        (true, _) => match reader.u8(LENGTH)? {
            // A power of two, and more parts to come.
            224..=254 => return Err(FormatError::Length(tag)),
            first => read_length(first, reader, LENGTH)?,
        },
        (false, 0) => u32::from(reader.u8(LENGTH)?),
        (false, 1) => u32::from(reader.u16(LENGTH)?),
        (false, 2) => reader.u32(LENGTH)?,
        // Up to the end of the file.
        (false, _) => return Err(FormatError::Length(tag)),
    };
    Ok(Packet { tag, body: reader.sized(length, "body of a packet")? })
}

/// A length of one, two or five bytes (RFC 4880, sections 4.2.2 and 5.2.3.1), whose first byte was read.
pub(super) fn read_length(first: u8, reader: &mut Reader<'_>, field: &'static str) -> Result<u32, FormatError> {
    match first {
        0..192 => Ok(u32::from(first)),
        192..255 => Ok(((u32::from(first) - 192) << 8) + u32::from(reader.u8(field)?) + 192),
        255 => reader.u32(field),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lengths(bytes: &[u8]) -> Result<Vec<(u8, usize)>, FormatError> {
        Ok(read_packets(bytes)?.iter().map(|packet| (packet.tag, packet.body.len())).collect())
    }

    fn packet(head: &[u8], body: usize) -> Vec<u8> {
        [head, &vec![0; body]].concat()
    }

    #[test]
    fn lengths_of_both_formats_are_read() {
        assert_eq!(lengths(&packet(&[0x88, 5], 5)), Ok(vec![(2, 5)]));
        assert_eq!(lengths(&packet(&[0x89, 1, 0], 256)), Ok(vec![(2, 256)]));
        assert_eq!(lengths(&packet(&[0x8a, 0, 1, 0, 0], 65536)), Ok(vec![(2, 65536)]));
        assert_eq!(lengths(&packet(&[0xc2, 191], 191)), Ok(vec![(2, 191)]));
        assert_eq!(lengths(&packet(&[0xc2, 192, 0], 192)), Ok(vec![(2, 192)]));
        assert_eq!(lengths(&packet(&[0xc2, 223, 255], 8383)), Ok(vec![(2, 8383)]));
        assert_eq!(lengths(&packet(&[0xff, 255, 0, 0, 0x20, 0xc0], 8384)), Ok(vec![(63, 8384)]));
        assert_eq!(lengths(&[packet(&[0x88, 1], 1), packet(&[0xca, 3], 3)].concat()), Ok(vec![(2, 1), (10, 3)]));
    }

    #[test]
    fn a_packet_that_is_cut_off_or_has_no_definite_length_is_refused() {
        assert_eq!(lengths(&[0x89, 1]), Err(FormatError::Cut("length of a packet")));
        assert_eq!(lengths(&[0xc2]), Err(FormatError::Cut("length of a packet")));
        assert_eq!(lengths(&[0xc2, 255, 0xff, 0xff, 0xff, 0xff, 1]), Err(FormatError::Cut("body of a packet")));
        assert_eq!(lengths(&packet(&[0x88, 2], 1)), Err(FormatError::Cut("body of a packet")));
        assert_eq!(lengths(&packet(&[0x8b], 9)), Err(FormatError::Length(2)));
        assert_eq!(lengths(&packet(&[0xc2, 224], 9)), Err(FormatError::Length(2)));
        assert_eq!(lengths(&[0x88, 0, b'\n']), Err(FormatError::Header(b'\n')));
    }

    #[test]
    fn an_integer_loses_its_leading_zeros() {
        assert_eq!(Reader::new(&[0, 9, 1, 255, 7]).mpi("number"), Ok(&[1, 255][..]));
        assert_eq!(Reader::new(&[0, 24, 0, 0, 5]).mpi("number"), Ok(&[5][..]));
        assert_eq!(Reader::new(&[0, 0]).mpi("number"), Ok(&[][..]));
        assert_eq!(Reader::new(&[0, 9, 1]).mpi("number"), Err(FormatError::Cut("number")));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read_packets(&bytes);
        }
    }
}

//! The 512-byte header of a tar member, in the form GNU tar calls `gnu` (tar(5): "GNU tar Archives").

use super::BLOCK;

/// What stands for GNU's form of header, and for POSIX's (ustar). Headers older than both have zeros there.
pub(super) const GNU: &[u8; 8] = b"ustar  \0";
pub(super) const POSIX: &[u8; 6] = b"ustar\0";

/// A header, field by field in their order.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) name: [u8; 100],
    pub(super) mode: [u8; 8],
    pub(super) uid: [u8; 8],
    pub(super) gid: [u8; 8],
    pub(super) size: [u8; 12],
    pub(super) mtime: [u8; 12],
    pub(super) checksum: [u8; 8],
    pub(super) kind: u8,
    pub(super) link: [u8; 100],
    pub(super) magic: [u8; 8],
    pub(super) uname: [u8; 32],
    pub(super) gname: [u8; 32],
    pub(super) major: [u8; 8],
    pub(super) minor: [u8; 8],
    /// What goes before the name in POSIX's form. GNU keeps other times there.
    pub(super) prefix: [u8; 155],
    rest: [u8; 12],
}

impl Header {
    /// A GNU header of a member of this kind, all numbers zero except the unused device numbers, which stay empty.
    pub(super) const fn new(kind: u8) -> Self {
        Self {
            name: [0; 100],
            mode: *b"0000000\0",
            uid: *b"0000000\0",
            gid: *b"0000000\0",
            size: *b"00000000000\0",
            mtime: *b"00000000000\0",
            checksum: *b"        ",
            kind,
            link: [0; 100],
            magic: *GNU,
            uname: [0; 32],
            gname: [0; 32],
            major: [0; 8],
            minor: [0; 8],
            prefix: [0; 155],
            rest: [0; 12],
        }
    }

    /// The header's bytes, with their checksum.
    pub(super) fn encode(mut self, out: &mut Vec<u8>) {
        self.checksum = number(self.sum());
        for field in self.fields() {
            out.extend_from_slice(field);
        }
    }

    /// Takes a block apart; nothing in it is checked.
    pub(super) fn decode(block: &[u8; BLOCK]) -> Self {
        let mut header = Self::new(0);
        let mut rest = block.as_slice();
        for field in header.fields_mut() {
            let (value, after) = rest.split_at(field.len());
            field.copy_from_slice(value);
            rest = after;
        }
        header
    }

    /// The sum of all bytes, those of the checksum taken as blanks.
    pub(super) fn sum(&self) -> u64 {
        let blank = Self { checksum: *b"        ", ..self.clone() };
        blank.fields().into_iter().flatten().map(|byte| u64::from(*byte)).sum()
    }

    const fn fields(&self) -> [&[u8]; 16] {
        [
            &self.name,
            &self.mode,
            &self.uid,
            &self.gid,
            &self.size,
            &self.mtime,
            &self.checksum,
            std::slice::from_ref(&self.kind),
            &self.link,
            &self.magic,
            &self.uname,
            &self.gname,
            &self.major,
            &self.minor,
            &self.prefix,
            &self.rest,
        ]
    }

    const fn fields_mut(&mut self) -> [&mut [u8]; 16] {
        [
            &mut self.name,
            &mut self.mode,
            &mut self.uid,
            &mut self.gid,
            &mut self.size,
            &mut self.mtime,
            &mut self.checksum,
            std::slice::from_mut(&mut self.kind),
            &mut self.link,
            &mut self.magic,
            &mut self.uname,
            &mut self.gname,
            &mut self.major,
            &mut self.minor,
            &mut self.prefix,
            &mut self.rest,
        ]
    }
}

/// A number as a header field: octal digits and a NUL, or, where these do not suffice, GNU's base-256 form: big-endian
/// bytes with the highest bit set. Fields of 8 bytes hold 2097151 in octal, fields of 12 bytes 8 GiB - 1.
pub(super) fn number<const LENGTH: usize>(value: u64) -> [u8; LENGTH] {
    let mut field = [0; LENGTH];
    let digits = LENGTH.saturating_sub(1);
    if value >> (3 * digits) == 0 {
        let mut left = value;
        for digit in field.iter_mut().rev().skip(1) {
            *digit = b'0' + u8::try_from(left & 7).unwrap_or_default();
            left >>= 3;
        }
    } else {
        for (byte, part) in field.iter_mut().rev().zip(value.to_be_bytes().into_iter().rev()) {
            *byte = part;
        }
        if let Some(first) = field.first_mut() {
            *first |= 0x80;
        }
    }
    field
}

/// The number in a header field: octal digits between blanks and NULs (nothing at all is zero), or base-256. `None`
/// when it is negative, larger than 64 bits, or no number.
pub(super) fn parse(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    if first & 0xc0 == 0xc0 {
        return None;
    }
    if first & 0x80 != 0 {
        return rest
            .iter()
            .try_fold(u64::from(first & 0x7f), |value, byte| Some(value.checked_mul(256)? | u64::from(*byte)));
    }
    let is_blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| *byte != b' ').unwrap_or(field.len());
    let digits = field.get(start..)?;
    let end = digits.iter().position(is_blank).unwrap_or(digits.len());
    let (digits, after) = digits.split_at(end);
    if !after.iter().all(is_blank) {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| match digit {
        b'0'..=b'7' => Some(value.checked_mul(8)? + u64::from(digit - b'0')),
        _ => None,
    })
}

/// The text of a header field: up to its first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_octal_as_long_as_they_fit_and_base_256_beyond() {
        assert_eq!(&number::<8>(0o755), b"0000755\0");
        assert_eq!(&number::<8>(2_097_151), b"7777777\0");
        assert_eq!(number::<8>(2_097_152), [0x80, 0, 0, 0, 0, 0x20, 0, 0]);
        assert_eq!(number::<8>(u32::MAX.into()), [0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(&number::<12>((8 << 30) - 1), b"77777777777\0");
        assert_eq!(number::<12>(8 << 30), [0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
    }

    #[test]
    fn numbers_are_read_as_any_tar_writes_them() {
        for (field, value) in [
            (b"0000755\0".as_slice(), Some(0o755)),
            (b"000755 \0", Some(0o755)),
            (b"   755 \0", Some(0o755)),
            (b"00000755", Some(0o755)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"0000855\0", None),
            (b"7 7\0\0\0\0\0", None),
            (b"-000001\0", None),
            (b"\x80\x01\0\0\0\0\0\0\0\0\0\0", None),
            (b"", None),
        ] {
            assert_eq!(parse(field), value, "{field:?}");
        }
    }

    #[test]
    fn a_header_is_one_block_and_comes_back_from_its_bytes() {
        let mut header = Header::new(b'0');
        header.mode = number(0o4711);
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        let block: &[u8; BLOCK] = bytes.as_slice().try_into().unwrap();
        let read = Header::decode(block);
        assert_eq!(parse(&read.checksum), Some(read.sum()));
        assert_eq!((parse(&read.mode), read.kind), (Some(0o4711), b'0'));
    }

    proptest! {
        #[test]
        fn any_number_comes_back(value: u64) {
            prop_assert_eq!(parse(&number::<12>(value)), Some(value));
            prop_assert_eq!(parse(&number::<8>(value >> 8)), Some(value >> 8));
        }

        #[test]
        fn no_field_makes_it_panic(field in proptest::collection::vec(any::<u8>(), 0..16)) {
            let _ = parse(&field);
        }
    }
}

//! The 512-byte header of a tar member, in the form GNU tar calls `gnu` (tar(5): "GNU tar Archives").

/// What stands for GNU's form of header.
const GNU: &[u8; 8] = b"ustar  \0";

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
    prefix: [u8; 155],
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

    /// The sum of all bytes, those of the checksum taken as blanks.
    fn sum(&self) -> u64 {
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

#[cfg(test)]
mod tests {
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
}

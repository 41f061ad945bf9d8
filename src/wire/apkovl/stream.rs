//! The tar within a gzip file of one or several members, never more of it than allowed.

use std::io::{self, Read};

use flate2::bufread::GzDecoder;

/// What a gzip member begins with (RFC 1952, section 2.3.1).
const MAGIC: &[u8] = &[0x1f, 0x8b];

/// A stream over gzip members in memory that ends where busybox's does: at the end of the bytes, or at something
/// between members that is no gzip.
#[derive(Debug)]
pub(super) struct Stream<'a> {
    /// `None` once all members are read.
    decoder: Option<GzDecoder<&'a [u8]>>,
    left: u64,
    is_exceeded: bool,
    has_garbage: bool,
}

impl<'a> Stream<'a> {
    /// A stream that gives `limit` bytes at most, or what the bytes look like when they are no gzip.
    pub(super) fn new(bytes: &'a [u8], limit: u64) -> Result<Self, &'static str> {
        if !bytes.starts_with(MAGIC) {
            return Err(looks(bytes));
        }
        Ok(Self { decoder: Some(GzDecoder::new(bytes)), left: limit, is_exceeded: false, has_garbage: false })
    }

    /// How many bytes it may still give.
    pub(super) const fn left(&self) -> u64 {
        self.left
    }

    /// Whether it failed because it would have given more than allowed.
    pub(super) const fn is_exceeded(&self) -> bool {
        self.is_exceeded
    }

    /// Whether it ended before something other than zeros.
    pub(super) const fn has_garbage(&self) -> bool {
        self.has_garbage
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(decoder) = &mut self.decoder {
            let length = decoder.read(buffer)?;
            if length > 0 {
                self.left = self.left.checked_sub(length as u64).ok_or_else(|| {
                    self.is_exceeded = true;
                    io::Error::other("unpacks to more than it may")
                })?;
                return Ok(length);
            }
            let rest = *decoder.get_ref();
            self.decoder = rest.starts_with(MAGIC).then(|| GzDecoder::new(rest));
            self.has_garbage = self.decoder.is_none() && rest.iter().any(|byte| *byte != 0);
        }
        Ok(0)
    }
}

/// What bytes that are no gzip look like.
fn looks(bytes: &[u8]) -> &'static str {
    let begins = |magic: &[u8]| bytes.starts_with(magic);
    match bytes {
        [] => "is empty",
        _ if begins(b"\xfd7zXZ") => "looks like xz",
        _ if begins(b"\x28\xb5\x2f\xfd") => "looks like zstd",
        _ if begins(b"BZh") => "looks like bzip2",
        _ if begins(b"Salted__") => "looks encrypted by lbu; decrypt it with openssl first",
        _ if begins(b"<") => "looks like a web page",
        _ if bytes.get(257..262) == Some(b"ustar") => "looks like tar without compression",
        _ => "looks like nothing known",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::gzip::gzip;

    fn read(bytes: &[u8], limit: u64) -> (io::Result<Vec<u8>>, bool, bool) {
        let mut stream = Stream::new(bytes, limit).unwrap();
        let mut out = Vec::new();
        let read = stream.read_to_end(&mut out).map(|_| out);
        (read, stream.is_exceeded(), stream.has_garbage())
    }

    #[test]
    fn members_are_read_as_one_and_only_zeros_may_follow() {
        let two = [gzip(b"one"), gzip(b""), gzip(b"two")].concat();
        for (after, garbage) in [(b"".as_slice(), false), (b"\0\0\0", false), (b"\0\0x", true), (b"x", true)] {
            let (read, _, has_garbage) = read(&[two.as_slice(), after].concat(), 100);
            assert_eq!((read.unwrap().as_slice(), has_garbage), (b"onetwo".as_slice(), garbage));
        }
        assert!(read(&[two.as_slice(), MAGIC, b"zzzzzzzzzzzz"].concat(), 100).0.is_err());
    }

    #[test]
    fn one_byte_more_than_allowed_is_an_error() {
        let bytes = gzip(&[0; 5000]);
        assert_eq!(read(&bytes, 5000).0.unwrap().len(), 5000);
        let (read, exceeded, _) = read(&bytes, 4999);
        assert!(read.is_err() && exceeded);
    }

    #[test]
    fn what_is_no_gzip_is_named() {
        let mut tar = vec![0; 600];
        tar[257..262].copy_from_slice(b"ustar");
        for (bytes, word) in [
            (b"".as_slice(), "empty"),
            (b"\xfd7zXZ\0", "xz"),
            (b"\x28\xb5\x2f\xfd", "zstd"),
            (b"BZh91AY", "bzip2"),
            (b"Salted__abcdefgh", "encrypted"),
            (b"<html>", "web page"),
            (&tar, "without compression"),
            (b"PK\x03\x04", "nothing known"),
        ] {
            assert!(Stream::new(bytes, 9).unwrap_err().contains(word), "{word}");
        }
    }
}

//! The tar within a gzip file of one or several members, never more of it than allowed.

use std::io::{self, BufRead, Chain, Cursor, Read};

use flate2::bufread::GzDecoder;

/// What a gzip member begins with (RFC 1952, section 2.3.1).
const MAGIC: &[u8] = &[0x1f, 0x8b];

/// How many bytes show what it is that is no gzip: up to the magic of a tar header.
const TELLING: usize = 262;

/// What was looked at already, and what follows.
type Source<R> = Chain<Cursor<Vec<u8>>, R>;

/// A stream over gzip members that ends where busybox's does: at the end of the bytes, or at something between members
/// that is no gzip. Of the compressed bytes it holds no more than the source's buffer.
#[derive(Debug)]
pub(super) struct Stream<R> {
    /// `None` once all members are read.
    decoder: Option<GzDecoder<Source<R>>>,
    left: u64,
    is_exceeded: bool,
    has_garbage: bool,
}

/// Why bytes make no stream.
#[derive(Debug)]
pub(super) enum NoStream {
    /// They are no gzip, and look like this.
    Foreign(&'static str),
    /// They cannot be read.
    Unread(io::Error),
}

impl<R: BufRead> Stream<R> {
    /// A stream that gives `limit` bytes at most, or what the bytes look like when they are no gzip.
    pub(super) fn new(source: R, limit: u64) -> Result<Self, NoStream> {
        let source = ahead(Cursor::new(Vec::new()).chain(source), TELLING).map_err(NoStream::Unread)?;
        let head = source.get_ref().0.get_ref();
        if !head.starts_with(MAGIC) {
            return Err(NoStream::Foreign(looks(head)));
        }
        Ok(Self { decoder: Some(GzDecoder::new(source)), left: limit, is_exceeded: false, has_garbage: false })
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

    /// Goes on after a gzip member.
    fn follow(&mut self, rest: Source<R>) -> io::Result<()> {
        let mut rest = ahead(rest, MAGIC.len())?;
        if rest.get_ref().0.get_ref().starts_with(MAGIC) {
            self.decoder = Some(GzDecoder::new(rest));
            return Ok(());
        }
        loop {
            let piece = rest.fill_buf()?;
            if piece.is_empty() || self.has_garbage {
                return Ok(());
            }
            self.has_garbage = piece.iter().any(|byte| *byte != 0);
            let length = piece.len();
            rest.consume(length);
        }
    }
}

/// The same source with its next bytes at hand: so many, where it has them.
fn ahead<R: BufRead>(source: Source<R>, length: usize) -> io::Result<Source<R>> {
    let (seen, mut rest) = source.into_inner();
    let mut head = Vec::new();
    // What was looked at before and not taken since comes first.
    let start = usize::try_from(seen.position()).unwrap_or(usize::MAX);
    head.extend_from_slice(seen.get_ref().get(start..).unwrap_or_default());
    let missing = length.saturating_sub(head.len());
    rest.by_ref().take(missing as u64).read_to_end(&mut head)?;
    Ok(Cursor::new(head).chain(rest))
}

impl<R: BufRead> Read for Stream<R> {
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
            if let Some(decoder) = self.decoder.take() {
                self.follow(decoder.into_inner())?;
            }
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
        // The smallest buffer there is, so that whatever can come in pieces does.
        let mut stream = Stream::new(io::BufReader::with_capacity(1, bytes), limit).unwrap();
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
            let error = Stream::new(bytes, 9).err();
            assert!(matches!(error, Some(NoStream::Foreign(looks)) if looks.contains(word)), "{word}");
        }
    }
}

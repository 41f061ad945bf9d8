//! Gzip members, one by one: apk signs and hashes compressed bytes, so their borders matter.

use std::io::{self, Read, Write as _};

use flate2::{Compression, GzBuilder, bufread::GzDecoder};

/// The compression level of everything written here. Only at this level, and in one write, does
/// the compressor give the same bytes for the same input however the input arrives.
const LEVEL: u32 = 9;

/// The operating system field of the header: Unix, always.
const UNIX: u8 = 3;

/// A gzip stream that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GzipError {
    /// Not gzip, or damaged.
    #[error("the gzip data is damaged or cut off")]
    Damaged(#[source] io::Error),
    /// It would take more memory than it may.
    #[error("the gzip data unpacks to more than {0} bytes")]
    TooLarge(u64),
}

/// The first gzip member of `bytes`: its content, and how many compressed bytes it takes.
pub(super) fn first_member(bytes: &[u8], limit: u64) -> Result<(Vec<u8>, usize), GzipError> {
    let mut decoder = GzDecoder::new(bytes);
    let mut content = Vec::new();
    decoder.by_ref().take(limit.saturating_add(1)).read_to_end(&mut content).map_err(GzipError::Damaged)?;
    if content.len() as u64 > limit {
        return Err(GzipError::TooLarge(limit));
    }
    let rest = decoder.into_inner();
    Ok((content, bytes.len() - rest.len()))
}

/// The first bytes that the first member of `bytes` unpacks to, at most `count` of them.
pub(super) fn peek(bytes: &[u8], count: u64) -> Result<Vec<u8>, GzipError> {
    let mut start = Vec::new();
    GzDecoder::new(bytes).take(count).read_to_end(&mut start).map_err(GzipError::Damaged)?;
    Ok(start)
}

/// One gzip member with `content`: no name, no time, the same bytes every time.
pub(super) fn compress(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().mtime(0).operating_system(UNIX).write(Vec::new(), Compression::new(LEVEL));
    encoder.write_all(content).and_then(|()| encoder.finish()).expect("writing into memory does not fail")
}

/// A reader that fails, rather than ends, once more than a limit was read from it.
pub(super) struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R> Bounded<R> {
    pub(super) fn new(inner: R, limit: u64) -> Self {
        Self { inner, left: limit }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buf)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => {
                self.left = left;
                Ok(count)
            }
            None => Err(io::Error::new(io::ErrorKind::FileTooLarge, "the data unpacks to more than it may")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn members_are_split_at_their_exact_border() {
        let (first, second) = (compress(b"first"), compress(b"second"));
        let both = [first.as_slice(), &second].concat();
        let (content, taken) = first_member(&both, 100).unwrap();
        assert_eq!((content.as_slice(), taken), (&b"first"[..], first.len()));
        let (content, taken) = first_member(&both[taken..], 100).unwrap();
        assert_eq!((content.as_slice(), taken), (&b"second"[..], second.len()));
    }

    #[test]
    fn the_header_carries_no_time_and_no_host() {
        assert_eq!(compress(b"x")[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3]);
    }

    #[test]
    fn content_over_the_limit_is_refused() {
        let packed = compress(&[0; 1000]);
        assert!(first_member(&packed, 1000).is_ok());
        assert!(matches!(first_member(&packed, 999), Err(GzipError::TooLarge(999))));
        assert_eq!(peek(&packed, 3).unwrap(), [0; 3]);
        let mut all = Vec::new();
        let error = Bounded::new(&[0; 10][..], 9).read_to_end(&mut all).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_member_cut_anywhere_is_damaged() {
        let packed = compress(b"some content");
        for length in 0..packed.len() {
            assert!(matches!(first_member(&packed[..length], 100), Err(GzipError::Damaged(_))));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, at in 0_usize..40, value: u8) {
            let _ = first_member(&bytes, 100);
            let mut packed = compress(&bytes);
            if let Some(byte) = packed.get_mut(at) {
                *byte = value;
            }
            let _ = first_member(&packed, 1000);
        }
    }
}

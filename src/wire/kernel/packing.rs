//! The forms a kernel is packed in.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;

/// The largest dictionary or window of a decoder, in KiB: the 128 MiB that Linux' own scripts ask for
/// (`scripts/xz_wrap.sh`, and `zstd --ultra -22` in `scripts/Makefile.lib`), and what else the xz decoder counts. A
/// decoder has no more of it in use than it has unpacked.
const MEMORY: u32 = (128 << 10) + 1024;

/// How bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    /// A gzip member (RFC 1952).
    Gzip,
    /// An xz stream.
    Xz,
    /// A zstd frame (RFC 8878).
    Zstd,
}

impl Packing {
    /// The form whose first bytes these are: the magic, and where it has bits that are always clear, those.
    pub(super) fn at(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x1f, 0x8b, 8, flags, ..] if flags & 0xe0 == 0 => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, 0, check, ..] if check & 0xf0 == 0 => Some(Self::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, descriptor, ..] if descriptor & 0x08 == 0 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Unpacks the first stream of the bytes; what follows it is left alone.
    pub(super) fn unpack<'a>(self, bytes: impl BufRead + 'a) -> Box<dyn Read + 'a> {
        match self {
            Self::Gzip => Box::new(GzDecoder::new(bytes)),
            Self::Xz => Box::new(XzReader::new_mem_limit(bytes, false, MEMORY)),
            Self::Zstd => match StreamingDecoder::new_with_max_window_size(bytes, u64::from(MEMORY) << 10) {
                Ok(decoder) => Box::new(decoder),
                Err(_) => Box::new(io::empty()),
            },
        }
    }
}

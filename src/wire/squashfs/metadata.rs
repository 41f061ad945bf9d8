//! The metadata of an image: inodes and listings, in blocks that are compressed one by one.

use std::io::{self, Read, Seek, SeekFrom};

use flate2::bufread::ZlibDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;

use super::SquashfsError;

/// Decompressed length of every metadata block but the last of a table, in bytes.
pub(super) const BLOCK: usize = 8192;

/// Set in the two bytes before a block that is stored as it is.
const STORED: u16 = 0x8000;

/// The largest dictionary or window of a decoder, in KiB. An image's own is at most 1 MiB, its largest block; the rest
/// is for what else the xz decoder counts.
const MEMORY: u32 = 1024 + 256;

/// How an image's blocks are compressed (`squashfs_fs.h`, `ZLIB_COMPRESSION` and following).
#[derive(Debug, Clone, Copy)]
pub(super) enum Compression {
    /// A zlib stream; named gzip by `mksquashfs`.
    Gzip,
    /// An xz stream, maybe with a BCJ filter.
    Xz,
    /// A zstd frame.
    Zstd,
}

impl Compression {
    /// The form with this number in the superblock.
    pub(super) const fn of(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::Gzip),
            4 => Some(Self::Xz),
            6 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Decompresses a metadata block, which may be damaged or a bomb.
    fn unpack(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut unpacked = Vec::with_capacity(BLOCK);
        let limit = BLOCK as u64 + 1;
        match self {
            Self::Gzip => ZlibDecoder::new(bytes).take(limit).read_to_end(&mut unpacked),
            Self::Xz => XzReader::new_mem_limit(bytes, false, MEMORY).take(limit).read_to_end(&mut unpacked),
            Self::Zstd => StreamingDecoder::new_with_max_window_size(bytes, u64::from(MEMORY) << 10)
                .map_err(io::Error::other)?
                .take(limit)
                .read_to_end(&mut unpacked),
        }?;
        if unpacked.len() > BLOCK {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it unpacks to more than 8192 bytes"));
        }
        Ok(unpacked)
    }
}

/// A place in the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// Where its block begins, in bytes from the start of the image.
    pub(super) block: u64,
    /// How many bytes of the decompressed block precede it.
    pub(super) offset: u16,
}

/// Reads metadata. Besides what is asked for, one block at a time is in memory.
#[derive(Debug)]
pub(super) struct Metadata<R> {
    pub(super) input: R,
    pub(super) compression: Compression,
}

impl<R: Read + Seek> Metadata<R> {
    /// The `length` bytes from a place on. The caller bounds `length`; one block is read for each 8 KiB of it, and at
    /// most one more, because only full blocks may be followed by another.
    pub(super) fn read(&mut self, from: Position, length: usize) -> Result<Vec<u8>, SquashfsError> {
        let mut bytes = Vec::with_capacity(length);
        let (mut start, mut skipped) = (from.block, usize::from(from.offset));
        loop {
            let (block, next) = self.block(start)?;
            let piece = block.get(skipped..).unwrap_or_default();
            bytes.extend(piece.iter().take(length - bytes.len()));
            if bytes.len() == length {
                return Ok(bytes);
            }
            if piece.is_empty() || block.len() < BLOCK {
                return Err(SquashfsError::BlockEnd { offset: start, length: block.len() });
            }
            (start, skipped) = (next, 0);
        }
    }

    /// A decompressed block, and where the next one begins.
    fn block(&mut self, offset: u64) -> Result<(Vec<u8>, u64), SquashfsError> {
        let failed = |source| SquashfsError::Read { offset, source };
        self.input.seek(SeekFrom::Start(offset)).map_err(failed)?;
        let mut head = [0; 2];
        self.input.read_exact(&mut head).map_err(failed)?;
        let head = u16::from_le_bytes(head);
        let length = usize::from(head & !STORED);
        if !(1..=BLOCK).contains(&length) {
            return Err(SquashfsError::BlockLength { offset, length });
        }
        let mut bytes = vec![0; length];
        self.input.read_exact(&mut bytes).map_err(failed)?;
        if head & STORED == 0 {
            bytes = self.compression.unpack(&bytes).map_err(|source| SquashfsError::Block { offset, source })?;
        }
        // Saturating, because no image has a byte there, which the next read will find.
        Ok((bytes, offset.saturating_add(2 + length as u64)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write as _};

    use flate2::Compression as Level;
    use flate2::write::ZlibEncoder;

    use super::*;

    /// A block as it is stored, with its length before it.
    fn block(bytes: &[u8], flag: u16) -> Vec<u8> {
        let length = u16::try_from(bytes.len()).unwrap() | flag;
        [&length.to_le_bytes(), bytes].concat()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Level::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(image: &[u8], offset: u16, length: usize) -> Result<Vec<u8>, String> {
        Metadata { input: Cursor::new(image), compression: Compression::Gzip }
            .read(Position { block: 0, offset }, length)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_read_goes_on_in_the_next_block_stored_or_not() {
        let image = [block(&[1; BLOCK], STORED), block(&zlib(&[2; BLOCK]), 0), block(&[3; 5], STORED)].concat();
        let third = image.len() - 7;
        assert_eq!(read(&image, 8190, 4), Ok(vec![1, 1, 2, 2]));
        assert_eq!(read(&image, 0, BLOCK), Ok(vec![1; BLOCK]));
        assert_eq!(read(&image, 8191, BLOCK + 6), Ok([&[1; 1][..], &[2; BLOCK], &[3; 5]].concat()));
        assert_eq!(
            read(&image, 8191, BLOCK + 7).unwrap_err(),
            format!("the metadata block at byte {third} of the squashfs image ends after 5 bytes, too early")
        );
    }

    #[test]
    fn a_place_behind_the_end_of_its_block_is_refused() {
        let image = [block(&[1; 100], STORED), block(&[2; 100], STORED)].concat();
        let refused = "the metadata block at byte 0 of the squashfs image ends after 100 bytes, too early";
        for (offset, length) in [(100, 1), (65_535, 1), (99, 2)] {
            assert_eq!(read(&image, offset, length).unwrap_err(), refused);
        }
    }

    #[test]
    fn a_block_of_no_bytes_or_of_too_many_is_refused() {
        assert_eq!(
            read(&block(&[], STORED), 0, 1).unwrap_err(),
            "the metadata block at byte 0 of the squashfs image claims 0 bytes; 1 to 8192 are possible"
        );
        assert!(read(&block(&[0; BLOCK + 1], STORED), 0, 1).unwrap_err().contains("claims 8193 bytes"));
        assert!(read(&block(&[0; BLOCK + 1], 0), 0, 1).unwrap_err().contains("claims 8193 bytes"));
    }

    #[test]
    fn a_block_that_is_cut_off_is_refused() {
        let image = block(&[1; 100], STORED);
        for length in 0..image.len() {
            assert_eq!(
                read(&image[..length], 0, 1).unwrap_err(),
                "the squashfs image ends or cannot be read at byte 0"
            );
        }
        assert_eq!(read(&image, 0, 1), Ok(vec![1]));
    }

    #[test]
    fn a_block_that_unpacks_to_too_much_is_refused() {
        let unpack = |bytes: &[u8]| Compression::Gzip.unpack(bytes).map_err(|error| error.to_string());
        assert_eq!(unpack(&zlib(&[0; BLOCK])), Ok(vec![0; BLOCK]));
        assert_eq!(unpack(&zlib(&[0; BLOCK + 1])), Err("it unpacks to more than 8192 bytes".to_owned()));
        assert_eq!(unpack(&zlib(&vec![0; 4 << 20])), Err("it unpacks to more than 8192 bytes".to_owned()));
        let bomb = include_bytes!("testdata/zeros.xz");
        let error = Compression::Xz.unpack(bomb).unwrap_err();
        assert_eq!(error.to_string(), "it unpacks to more than 8192 bytes");
        // A raw zstd frame: a window of 1 KiB, then run-length blocks of 128 KiB of zeros.
        let run = [(128 << 13 | 1 << 1) as u8, 0, 0x10, 0];
        let bomb = [&[0x28, 0xb5, 0x2f, 0xfd, 0, 0x38][..], &run.repeat(1000)].concat();
        assert!(Compression::Zstd.unpack(&bomb).is_err());
    }

    #[test]
    fn every_filter_of_machine_code_that_alpine_uses_is_undone() {
        let calls = include_bytes!("testdata/calls");
        for filtered in [
            &include_bytes!("testdata/calls-x86.xz")[..],
            include_bytes!("testdata/calls-arm.xz"),
            include_bytes!("testdata/calls-armthumb.xz"),
            include_bytes!("testdata/calls-arm64.xz"),
            include_bytes!("testdata/calls-powerpc.xz"),
        ] {
            assert_eq!(Compression::Xz.unpack(filtered).unwrap(), calls);
        }
    }

    #[test]
    fn a_decoder_that_asks_for_much_memory_is_refused() {
        let large = include_bytes!("testdata/dictionary.xz");
        assert_eq!(Compression::Xz.unpack(large).unwrap_err().kind(), io::ErrorKind::OutOfMemory);
        // Magic, no flags, a window of 1 GiB, the last block: raw, of no bytes.
        let zstd = [0x28, 0xb5, 0x2f, 0xfd, 0, 20 << 3, 1, 0, 0];
        assert!(Compression::Zstd.unpack(&zstd).unwrap_err().to_string().contains("window_size"));
        let small = [0x28, 0xb5, 0x2f, 0xfd, 0, 0, 1, 0, 0];
        assert_eq!(Compression::Zstd.unpack(&small).unwrap(), b"");
    }
}

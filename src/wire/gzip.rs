//! Gzip that gives the same bytes for the same input, wherever and whenever it is made.

use std::io::Write as _;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use flate2::{Compression, Crc, GzBuilder};

/// Compresses to one gzip member (RFC 1952) without time or name, marked as made on Unix.
///
/// The bytes are part of a bundle's identity. With this encoder they depend on how the input is cut into writes at
/// every level but the highest, so the input goes in by one write, at level 9; they also depend on the encoder's
/// version, which is why `flate2` is pinned and a test holds the digest of a known result.
#[must_use]
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().mtime(0).operating_system(3).write(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("writing to memory does not fail");
    encoder.finish().expect("writing to memory does not fail")
}

/// Compresses every piece to a member of its own, as [`gzip`] does, and joins them in their order: gzip again
/// (RFC 1952, section 2.2), whose bytes depend on where the pieces were cut but not on `threads`.
///
/// As many pieces are in memory at a time as there are threads, this one among them; fewer threads do when the system
/// gives no more.
#[must_use]
pub fn gzip_each(pieces: impl Iterator<Item = Vec<u8>> + Send, threads: NonZero<usize>) -> Vec<u8> {
    let pieces = Mutex::new(pieces.enumerate());
    // A piece is taken under the lock and compressed without it. Poisoned is as good as not: no one comes back to it.
    let next = || pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        let mut members = Vec::new();
        while let Some((place, piece)) = next() {
            members.push((place, gzip(&piece)));
        }
        members
    };
    let mut members = thread::scope(|scope| {
        let helpers: Vec<_> =
            (1..threads.get()).map_while(|_| thread::Builder::new().spawn_scoped(scope, work).ok()).collect();
        let mut members = work();
        for helper in helpers {
            members.extend(helper.join().expect("compressing does not panic"));
        }
        members
    });
    members.sort_unstable_by_key(|(place, _)| *place);
    let mut joined = Vec::with_capacity(members.iter().map(|(_, member)| member.len()).sum());
    members.iter().for_each(|(_, member)| joined.extend_from_slice(member));
    joined
}

/// The header of a member without time or name, made on Unix (RFC 1952, section 2.3).
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];

/// A last block with nothing in it (RFC 1951, section 3.2.4).
const LAST: [u8; 5] = [1, 0, 0, 0xff, 0xff];

/// How much a stored block holds at most.
const LONGEST_BLOCK: usize = 0xffff;

/// A piece of a gzip member that is stored as it is: what costs nothing to make, around contents that are compressed
/// already. Many members may have one piece in common.
#[derive(Debug)]
pub struct Stored {
    blocks: Bytes,
    crc: Crc,
}

impl Stored {
    /// Cuts bytes into blocks that others may follow.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut crc = Crc::new();
        crc.update(bytes);
        let mut blocks = Vec::with_capacity(bytes.len() + 5 * (bytes.len() / LONGEST_BLOCK + 1));
        for block in bytes.chunks(LONGEST_BLOCK) {
            let length = u16::try_from(block.len()).expect("no chunk is longer");
            blocks.push(0);
            blocks.extend_from_slice(&length.to_le_bytes());
            blocks.extend_from_slice(&(!length).to_le_bytes());
            blocks.extend_from_slice(block);
        }
        Self { blocks: blocks.into(), crc }
    }

    /// One gzip member of these pieces, to be sent one after the other.
    #[must_use]
    pub fn member(pieces: &[&Self]) -> Vec<Bytes> {
        let mut crc = Crc::new();
        let mut member = vec![Bytes::from_static(&HEADER)];
        for piece in pieces {
            crc.combine(&piece.crc);
            member.push(piece.blocks.clone());
        }
        // The length counts modulo 2^32, as the header's field does.
        let end = [&LAST[..], &crc.sum().to_le_bytes(), &crc.amount().to_le_bytes()].concat();
        member.push(end.into());
        member
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::model::digest::Digest;

    /// Compressible and long enough that the encoder's choices show.
    fn sample() -> Vec<u8> {
        (0..200_000_u32).flat_map(|it| (it.wrapping_mul(it) >> 7).to_le_bytes()).collect()
    }

    #[test]
    fn the_header_has_no_time_no_name_and_says_unix() {
        assert_eq!(gzip(b"x")[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3]);
    }

    #[test]
    fn what_went_in_comes_out() {
        let mut out = Vec::new();
        flate2::read::GzDecoder::new(gzip(&sample()).as_slice()).read_to_end(&mut out).unwrap();
        assert_eq!(out, sample());
    }

    #[test]
    fn the_encoder_is_still_the_one_that_published_bundles_were_made_with() {
        assert_eq!(
            Digest::of(&gzip(&sample())).to_string(),
            "848dd0832e78dad25dbbd3e0569bdb9cc4263e3b309693f0667c4c69d9e12614"
        );
    }

    #[test]
    fn stored_pieces_are_one_member_that_inflates_to_all_of_them() {
        for lengths in [[0, 0, 0], [1, 0, 3], [70_000, 65_535, 65_536], [5, 200_000, 7]] {
            let sample = sample();
            let parts = lengths.map(|length| &sample[..length]);
            let stored = parts.map(Stored::of);
            let member = Stored::member(&stored.each_ref()).concat();
            let mut out = Vec::new();
            flate2::bufread::GzDecoder::new(member.as_slice()).read_to_end(&mut out).unwrap();
            assert!(out == parts.concat(), "{lengths:?}");
        }
    }

    #[test]
    fn pieces_become_the_same_members_in_the_same_order_on_any_number_of_threads() {
        let sample = sample();
        let pieces = || sample.chunks(50_000).map(<[u8]>::to_vec);
        let expected: Vec<u8> = pieces().flat_map(|piece| gzip(&piece)).collect();
        for threads in [1, 2, 3, 50] {
            assert!(gzip_each(pieces(), NonZero::new(threads).unwrap()) == expected, "{threads} threads");
        }
        let mut out = Vec::new();
        flate2::read::MultiGzDecoder::new(expected.as_slice()).read_to_end(&mut out).unwrap();
        assert_eq!(out, sample);
    }
}

//! Gzip that gives the same bytes for the same input, wherever and whenever it is made.

use std::io::Write as _;

use flate2::{Compression, GzBuilder};

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
}

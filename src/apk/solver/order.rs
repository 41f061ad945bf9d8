//! The order in which apk lists names.
//!
//! apk keeps the names of all repositories in a hash table, and looks at those who depend on a name, or wait for it in an
//! install_if, in the order of that table. Where two names are equally urgent, which one is decided first hangs on it, and
//! so does now and then what is installed.

/// How many buckets the table has.
const BUCKETS: u32 = 20_000;

/// What hashing begins with.
const SEED: u32 = 5381;

/// The bucket of apk's table that a name is in; buckets are listed from 0 on.
pub(super) fn bucket(name: &str) -> u32 {
    murmur3(name.as_bytes(), SEED) % BUCKETS
}

/// MurmurHash3 in its form of 32 bits. As apk it takes words in the order of a little-endian machine, which those that
/// Alpine is built for are, but one.
fn murmur3(bytes: &[u8], seed: u32) -> u32 {
    let scramble = |word: u32| word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let (words, rest) = bytes.as_chunks::<4>();
    let mut hash = seed;
    for word in words {
        hash ^= scramble(u32::from_le_bytes(*word));
        hash = hash.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    let rest = rest.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
    hash ^= scramble(rest);
    // A name whose length does not fit cannot be in an index; for the hash only the low bits count.
    hash ^= u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published values for this hash.
    #[test]
    fn hashes_are_those_of_murmur3() {
        for (text, seed, expected) in [
            ("", 0, 0),
            ("", 1, 0x514e_28b7),
            ("test", 0, 0xba6b_d213),
            ("Hello, world!", 0, 0xc036_3e43),
            ("The quick brown fox jumps over the lazy dog", 0x9747_b28c, 0x2fa8_26cd),
        ] {
            assert_eq!(murmur3(text.as_bytes(), seed), expected, "{text}");
        }
    }

    #[test]
    fn every_name_is_in_one_of_the_buckets() {
        for name in ["", "a", "so:libc.musl-x86_64.so.1", "pc:gcr-base-3", "ä"] {
            assert!(bucket(name) < BUCKETS, "{name}");
        }
    }
}

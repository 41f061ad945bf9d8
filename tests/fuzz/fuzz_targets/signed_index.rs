//! Signed package indexes: never a panic, never memory without bound.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Only that it returns counts.
    let _ = bivouac::apk::SignedIndex::open(bytes, &bivouac::apk::KeyRing::new());
});

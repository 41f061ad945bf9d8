//! OpenPGP keys and signatures: never a panic, never memory without bound, and nothing is signed by chance.
#![no_main]

use bivouac::fetch::{DetachedSignature, FileHashes, ReleaseKey};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let key = ReleaseKey::parse(bytes);
    let signature = DetachedSignature::parse(bytes);
    // Both are read from the same bytes only by chance, so half of them is tried as well.
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let keys = key.into_iter().chain(ReleaseKey::parse(first)).collect();
    if let Ok(signature) = signature.or_else(|_| DetachedSignature::parse(second)) {
        let _ = signature.verify(&FileHashes::new(), &keys);
    }
});

//! Overlay archives: never a panic, never memory without bound; and what was read can be written and read again.
#![no_main]

use bivouac::wire::apkovl::{Limits, What, pack, read};
use bivouac::wire::gzip::gzip;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { unpacked: 1 << 20, entries: 1000, text: 1 << 16 };
    let _ = read(bytes, &limits);
    // Compressed here, because hardly any bytes have gzip's checksum.
    if let Ok(found) = read(&gzip(bytes)[..], &limits) {
        let again = read(&pack(&found.tree, 0)[..], &Limits::default()).expect("what was written can be read");
        assert_eq!(again.tree, found.tree);
        assert!(again.notes.iter().all(|note| matches!(note.what, What::LinkOwner(_))), "{:?}", again.notes);
    }
});

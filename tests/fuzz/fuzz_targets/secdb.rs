//! Security databases: never a panic, never memory without bound.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(database) = bivouac::apk::Secdb::parse(bytes) {
        let _ = database.fixed_between("openssl", "3.1.4-r0", "3.1.4-r5");
    }
});

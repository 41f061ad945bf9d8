//! Captures of network traffic: never a panic, never memory without bound.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Only that it returns counts.
    let _ = bivouac::wire::capture::datagrams(bytes, |_, _| ());
});

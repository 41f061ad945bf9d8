//! The file of leases: never a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = bivouac::serve::dhcp::journal::parse(text);
});

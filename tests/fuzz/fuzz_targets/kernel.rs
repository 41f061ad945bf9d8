//! Kernel images: never a panic, never memory without bound.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Only that it returns counts.
    let _ = bivouac::wire::kernel::release_in(std::io::Cursor::new(bytes));
});

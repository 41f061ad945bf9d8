//! iPXE binaries: never a panic, never memory without bound.
#![no_main]

use bivouac::wire::loader::Inspection;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let read = Inspection::of(bytes);
    // Only that it returns counts.
    let _ = (read.loads_on(), read.lacks_http());
});

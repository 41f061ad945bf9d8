//! Profile files: never a panic, never memory without bound.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    // Only that it returns counts.
    let _ = bivouac::model::profile::Profile::parse(text);
});

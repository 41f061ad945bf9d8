//! Profile files: never a panic, never memory without bound.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    use bivouac::model::profile::Profile;
    if let Ok(read) = Profile::read(text) {
        assert_eq!(read.problems.is_empty(), Profile::parse(text).is_ok());
    }
});

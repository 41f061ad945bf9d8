//! Paths of the caching mirror: never a panic, and nothing outside the four folders of a mirror's file.
#![no_main]

use bivouac::mirror::Place;

libfuzzer_sys::fuzz_target!(|path: &str| {
    if Place::parse(path).is_some() {
        assert_eq!(path.split('/').filter(|part| !part.is_empty() && !part.starts_with('.')).count(), 4);
        assert_eq!(path.matches('/').count(), 3);
    }
});

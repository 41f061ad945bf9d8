//! Paths of the caching mirror: never a panic, and nothing outside the four levels of a mirror.
#![no_main]

use bivouac::mirror::Place;

libfuzzer_sys::fuzz_target!(|path: &str| {
    let parts = |path: &str| path.split('/').filter(|part| !part.is_empty() && !part.starts_with('.')).count();
    match Place::parse(path) {
        Some(Place::Folder(folder)) => {
            assert_eq!(folder.path, path);
            assert!(path.is_empty() || path.ends_with('/'));
            assert_eq!(parts(path), path.matches('/').count());
            assert!(parts(path) <= 4);
        }
        Some(_) => {
            assert_eq!(parts(path), 4);
            assert_eq!(path.matches('/').count(), 3);
        }
        None => {}
    }
});

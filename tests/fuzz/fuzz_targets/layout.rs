//! Image layouts to import: never a panic, never memory without bound.
#![no_main]

use std::io::Cursor;
use std::path::Path;

use bivouac::store::oci::{Descriptor, Image, Index, members};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Only that they return counts.
    let _ = members(Path::new("FILE"), Cursor::new(bytes), bytes.len() as u64);
    if let Ok(index) = Index::decode(bytes) {
        let _ = index.images().map(|entry| (entry.sha256(), entry.size())).count();
    }
    if let Ok(image) = Image::decode(bytes) {
        let _ = (image.is_bundle(), image.config().sha256(), image.manifest().map(Descriptor::size), image.layers());
    }
});

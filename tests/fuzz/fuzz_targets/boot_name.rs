//! Names that other bootloaders ask for by TFTP: never a panic, and an address only where the name has one.
#![no_main]

use bivouac::model::hand_over::Asked;

libfuzzer_sys::fuzz_target!(|path: &str| {
    if let Some(Asked::Grub(Some(mac)) | Asked::Pxelinux(Some(mac))) = Asked::of_name(path) {
        let written = mac.to_string();
        assert!(path.to_ascii_lowercase().replace('-', ":").ends_with(&written), "{path} {written}");
    }
});

//! What a cluster of Proxmox says of its virtual machines and tasks: never a panic, and read back as it is written.
#![no_main]

use bivouac::model::fingerprint::Fingerprint;
use bivouac::proxmox::{Card, PropertyString, Smbios, Upid};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(parts) = text.parse::<PropertyString>() {
        assert_eq!(parts.to_string().parse(), Ok(parts));
    }
    // Only that it returns counts.
    let _ = text.parse::<Card>();
    if let Ok(smbios) = text.parse::<Smbios>() {
        let written = smbios.with("0e0d8d0f-6b5e-4f5a-8c3b-0123456789ab", "thin-01");
        assert_eq!(written.parse::<Smbios>().unwrap().serial.as_deref(), Some("thin-01"));
    }
    if let Ok(upid) = text.parse::<Upid>() {
        assert!(!upid.node().contains('/') && upid.as_str() == text);
    }
    if let Ok(fingerprint) = text.parse::<Fingerprint>() {
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
    }
});

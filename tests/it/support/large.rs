//! A published bundle with one large file, made without a build.

use std::time::SystemTime;

use bivouac::model::digest::Digest;
use bivouac::model::manifest::{BundleId, FORMAT, FileEntry, Manifest};
use bivouac::model::name::ChannelName;
use bivouac::store::{SiteParts, Store};

/// The name of the file.
pub const LARGE: &str = "modloop-large";

/// The name of the profile.
pub const PROFILE: &str = "large";

/// Publishes such a bundle.
pub fn publish_large(store: &Store, content: &[u8]) -> BundleId {
    let put = |name: &str, bytes: &[u8]| {
        let sha256 = store.put_bytes(bytes).unwrap();
        FileEntry { name: name.to_owned(), sha256, size: bytes.len() as u64 }
    };
    let text = |name: &str| put(name, name.as_bytes());
    let (kernel, initramfs, apkovl, index) =
        (text("vmlinuz-large"), text("initramfs-large"), text("large.apkovl.tar.gz"), text("APKINDEX"));
    let none = Digest::of(b"");
    let manifest = serde_json::json!({
        "format": FORMAT, "profile": PROFILE,
        "alpine": { "branch": "v3.24", "version": "3.24.1", "arch": "x86_64", "flavor": "virt" },
        "verified": {
            "tarball": none, "release_key": null, "kernel": null, "modloop_key": null, "index_keys": {}, "off": []
        },
        "kernel": kernel, "initramfs": initramfs, "modloop": put(LARGE, content), "apkovl": apkovl,
        "overlay": none, "kernel_args": ["quiet"], "world": [], "index": index, "packages": [],
    });
    let manifest: Manifest = serde_json::from_value(manifest).unwrap();
    let site = SiteParts { initrd: text("site.img"), index: text("signed") };
    store.publish(&manifest, &site, &ChannelName::default_channel(), SystemTime::now()).unwrap();
    manifest.id()
}

/// Bytes that do not compress, the same every time.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend((state ^ (state >> 29)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

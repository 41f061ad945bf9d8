//! What files are sent as. UEFI HTTP Boot goes by the content type, and only without one by the name (netboot.md, D4);
//! nobody else who boots looks at it.

use crate::model::script::SITE_INITRD;

/// Bytes that are nothing in particular.
pub(super) const BYTES: &str = "application/octet-stream";

/// The content type of a file of this name.
pub(super) fn of(name: &str) -> &'static str {
    let name = name.rsplit('/').next().unwrap_or(name);
    // An image of a disk to firmware; this one is an archive.
    if name == SITE_INITRD {
        return BYTES;
    }
    let (_, extension) = name.rsplit_once('.').unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "efi" => "application/efi",
        "iso" => "application/vnd.efi-iso",
        "img" => "application/vnd.efi-img",
        _ => BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_is_told_what_it_can_start() {
        for (name, kind) in [
            ("ipxe.efi", "application/efi"),
            ("v3.24/releases/x86_64/alpine-virt-3.24.0-x86_64.iso", "application/vnd.efi-iso"),
            ("DISK.IMG", "application/vnd.efi-img"),
            ("undionly.kpxe", BYTES),
            ("vmlinuz-lts", BYTES),
            ("efi", BYTES),
            ("a.efi/b", BYTES),
            ("", BYTES),
            (SITE_INITRD, BYTES),
        ] {
            assert_eq!(of(name), kind, "{name}");
        }
    }
}

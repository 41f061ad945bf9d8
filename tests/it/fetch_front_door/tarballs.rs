//! Tarballs that bite, each listed and signed as it is.

use bivouac::wire::cpio::Writer;
use bivouac::wire::gzip::gzip;
use tar::EntryType;

use super::hostile::refused;
use crate::support::alpine::{Member, initramfs, kernel, members, modloop, release, tarball};

/// Expects of a `fetch hello` of a tarball of these members to say exactly this below its first line.
fn members_refused(members: &[Member], expected: impl FnOnce(&[u8]) -> String) {
    let bytes = tarball(members);
    refused(|server, _| release(server, &bytes), |_| expected(&bytes));
}

/// The same for a good tarball with one more member in front.
fn member_refused(member: Member, expected: &str) {
    let all: Vec<_> = [member].into_iter().chain(members()).collect();
    members_refused(&all, |_| expected.to_owned());
}

#[test]
fn a_member_that_leads_out_of_its_folder() {
    for name in ["../../etc/passwd", "boot/../../x", "..", "boot\\..\\x"] {
        let said = format!("`{name}` in NAME does not have a plain relative name; the tarball is refused\n");
        member_refused(Member::file(name, b"x"), &said);
    }
}

#[test]
fn a_member_with_an_absolute_name() {
    let said = "`/etc/passwd` in NAME does not have a plain relative name; the tarball is refused\n";
    member_refused(Member::file("/etc/passwd", b"x"), said);
}

#[test]
fn a_member_that_is_a_link() {
    let said = "`boot/vmlinuz-virt` in NAME is not a regular file or a folder; the tarball is refused\n";
    for kind in [EntryType::Symlink, EntryType::Link] {
        member_refused(Member::of(kind, "boot/vmlinuz-virt"), said);
    }
    let said = "`boot/other` in NAME is not a regular file or a folder; the tarball is refused\n";
    member_refused(Member::of(EntryType::Symlink, "boot/other"), said);
}

#[test]
fn a_member_that_is_a_device_or_a_pipe() {
    let said = "`boot/other` in NAME is not a regular file or a folder; the tarball is refused\n";
    for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo] {
        member_refused(Member::of(kind, "boot/other"), said);
    }
}

#[test]
fn a_decompression_bomb() {
    // Within a member that is wanted, and within one that is not.
    for name in ["boot/modloop-virt", "boot/System.map-virt"] {
        members_refused(&[Member::file(name, &vec![0; 70 << 20])], |bomb| {
            let limit = 8 * bomb.len() + (64 << 20);
            format!("NAME unpacks to more than {limit} bytes; the tarball is refused\n")
        });
    }
}

#[test]
fn files_of_different_kernels() {
    let (one, two) = ("6.18.1-0-virt", "6.18.2-0-virt");
    let pem = "PEM";
    for (of_kernel, of_initramfs, of_modloop) in [(two, one, one), (one, two, one), (one, one, two)] {
        let set = [
            Member::file("boot/initramfs-virt", &initramfs(of_initramfs, ("a.rsa.pub", pem))),
            Member::file("boot/modloop-virt", &modloop(of_modloop)),
            Member::file("boot/vmlinuz-virt", &kernel(of_kernel)),
        ];
        members_refused(&set, |_| {
            format!(
                "flavor `virt` of NAME is not one set: it has a kernel of {of_kernel}, an initramfs with modules of \
                 {of_initramfs} and a modloop with modules of {of_modloop}; the tarball is refused\n"
            )
        });
    }
}

/// An apk key, and a signature by it of the bytes `modloop\n`; apk's signatures of that kind cannot be made by this
/// program, only checked.
pub(super) const MODLOOP_KEY: &str = include_str!("../../../src/fetch/testdata/modloop.rsa.pub");
const MODLOOP_SIGNATURE: &[u8] = include_bytes!("../../../src/fetch/testdata/modloop.sig");

/// A set whose modloop has these bytes, and whose initramfs brings a signature of it by the key `a.rsa.pub` and trusts
/// these keys.
pub(super) fn signed_modloop(modloop: &[u8], trusted: &[(&str, &str)]) -> [Member; 3] {
    let mut writer = Writer::new(0);
    for (name, pem) in trusted {
        writer.file(&format!("etc/apk/keys/{name}"), 0o644, pem.as_bytes()).unwrap();
    }
    writer.file("lib/modules/6.18.1-0-virt/modules.dep", 0o644, b"").unwrap();
    writer.file("var/cache/misc/modloop-virt.SIGN.RSA.a.rsa.pub", 0o644, MODLOOP_SIGNATURE).unwrap();
    [
        Member::file("boot/initramfs-virt", &gzip(&writer.finish())),
        Member::file("boot/modloop-virt", modloop),
        Member::file("boot/vmlinuz-virt", &kernel("6.18.1-0-virt")),
    ]
}

#[test]
fn a_modloop_whose_signature_is_wrong() {
    let image = modloop("6.18.1-0-virt");
    members_refused(&signed_modloop(&image, &[("a.rsa.pub", MODLOOP_KEY)]), |_| {
        "boot/modloop-virt of NAME is refused\ncaused by: the signature of modloop-virt by a.rsa.pub in the initramfs does \
         not fit it; do not use this release\n"
            .to_owned()
    });
    members_refused(&signed_modloop(&image, &[("b.rsa.pub", MODLOOP_KEY)]), |_| {
        "boot/modloop-virt of NAME is refused\ncaused by: modloop-virt is signed by a.rsa.pub, and the initramfs has no such \
         key\n"
            .to_owned()
    });
}

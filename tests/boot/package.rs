//! The Debian package on a Debian that systemd runs: installed, started, serving a boot, upgraded, removed, purged.
//!
//! The Debian is this computer's own below an overlay in memory (`systemd-nspawn --volatile=overlay`), with a network of its
//! own; that of `BIVOUAC_DEBIAN_ROOT`, such as debootstrap makes, when there is one. What happens in it is
//! `package.sh`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::site::Site;

/// The package of the program that is tested.
fn package() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = Command::new(root.join("scripts/package")).arg("--debug").output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let said = String::from_utf8(made.stdout).unwrap();
    root.join(said.lines().last().unwrap())
}

#[test]
fn the_debian_package_installs_serves_a_boot_and_leaves_nothing_behind() {
    let site = Site::publish();
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(package(), folder.path().join("bivouac.deb")).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/boot/package.sh");
    std::fs::copy(script, folder.path().join("package.sh")).unwrap();
    site.run(&["export", "hello@1", folder.path().join("hello.tar").to_str().unwrap()]);
    let debian = std::env::var("BIVOUAC_DEBIAN_ROOT").unwrap_or_else(|_| "/".to_owned());
    let Output { status, stdout, stderr } = Command::new("systemd-nspawn")
        .args(["--quiet", "--volatile=overlay", "--private-network", "--register=no", "--keep-unit", "--console=pipe"])
        .args([&format!("--directory={debian}"), &format!("--bind={}:/test", folder.path().display())])
        .args(["/lib/systemd/systemd", "systemd.run=/bin/sh /test/package.sh", "systemd.run_success_action=exit"])
        .args(["systemd.run_failure_action=exit"])
        .output()
        .unwrap();
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    let console = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(status.success() && log.ends_with("all is well\n"), "{log}\n{console}");
    for line in log.lines().filter(|line| line.contains("exposure level")) {
        println!("{line}");
    }
}

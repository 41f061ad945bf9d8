//! The Debian package on a Debian that systemd runs: installed, started, serving a boot, upgraded, removed, purged.
//!
//! The Debian is this computer's own below an overlay in memory, in a container with a network of its own; that of
//! `BIVOUAC_DEBIAN_ROOT`, such as debootstrap makes, when there is one. What happens in it is `package.sh`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::site::Site;

/// The package of the program that is tested.
fn package() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = Command::new(root.join("scripts/package")).arg("--debug").output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let said = String::from_utf8(made.stdout).unwrap();
    root.join(said.lines().last().unwrap())
}

/// Starts a container on an overlay: $0 is the Debian below it, $1 the folder of this test, and the rest is for
/// systemd-nspawn. All mounts end with the namespace; a test that hangs is ended.
const OVERLAID: &str = r#"set -e
mount -t tmpfs none "$1/root"
mkdir "$1/root/upper" "$1/root/work" "$1/root/all"
mount -t overlay none -o "lowerdir=$0,upperdir=$1/root/upper,workdir=$1/root/work" "$1/root/all"
: >"$1/root/all/etc/machine-id"
exec timeout 180 systemd-nspawn --directory="$1/root/all" --bind="$1:/test" "${@:2}""#;

/// The digest and the name of each file that a machine loads, one a line.
fn files(site: &Site) -> String {
    let manifest: serde_json::Value = serde_json::from_str(&site.run(&["show", "hello", "--json"])).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let parts = ["kernel", "initramfs", "modloop"].map(|part| &manifest[part]);
    let mut lines: Vec<_> = parts.iter().map(|it| format!("{} {}\n", text(&it["sha256"]), text(&it["name"]))).collect();
    for package in manifest["packages"].as_array().unwrap() {
        let (name, version) = (text(&package["name"]), text(&package["version"]));
        lines.push(format!("{} packages/x86_64/{name}-{version}.apk\n", text(&package["sha256"])));
    }
    lines.concat()
}

#[test]
fn the_debian_package_installs_serves_a_boot_and_leaves_nothing_behind() {
    let site = Site::publish();
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(package(), folder.path().join("bivouac.deb")).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/boot/package.sh");
    std::fs::copy(script, folder.path().join("package.sh")).unwrap();
    site.run(&["export", "hello@1", folder.path().join("hello.tar").to_str().unwrap()]);
    std::fs::write(folder.path().join("files"), files(&site)).unwrap();
    std::fs::create_dir(folder.path().join("root")).unwrap();
    let debian = std::env::var("BIVOUAC_DEBIAN_ROOT").unwrap_or_else(|_| "/".to_owned());
    let Output { status, stdout, stderr } = Command::new("unshare")
        .args(["--mount", "bash", "-c", OVERLAID, &debian])
        .arg(folder.path())
        .args(["--quiet", "--private-network", "--register=no", "--keep-unit", "--machine=bivouac"])
        .args(["--console=read-only", "/lib/systemd/systemd", "systemd.run=\"/bin/sh /test/package.sh\""])
        .args(["systemd.run_success_action=exit", "systemd.run_failure_action=exit"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    let console = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(status.success() && log.ends_with("all is well\n"), "{log}\n{console}");
}

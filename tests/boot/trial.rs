//! `try`, as continuous integration runs it: nobody who may do anything, no KVM, no terminal.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use crate::site::{Served, mirror, put_check};

/// Debian's user `nobody`.
const NOBODY: u32 = 65_534;

/// A folder of nobody's, with the program and all it needs.
struct Ci {
    folder: tempfile::TempDir,
    mirror: Served,
}

impl Ci {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let key = mirror().join("keys/release-key.asc");
        // What is built may be where nobody can get to.
        for part in
            [&repository.join("profiles"), &repository.join("overlays"), &key, Path::new(env!("CARGO_BIN_EXE_bivouac"))]
        {
            assert!(Command::new("cp").arg("-r").arg(part).arg(folder.path()).status().unwrap().success());
        }
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder, mirror: Served::start(mirror()) }
    }

    /// Runs `try` as nobody; what it said, and how it ended.
    #[expect(clippy::print_stdout, reason = "how long a boot takes is worth knowing and must not be asserted")]
    fn tries(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let chowned = Command::new("chown").args(["-R", &NOBODY.to_string()]).arg(self.folder.path()).status().unwrap();
        assert!(chowned.success());
        let Output { status, stdout, stderr } = Command::new("setpriv")
            .args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups", "--no-new-privs"])
            .arg(self.folder.path().join("bivouac"))
            .arg("try")
            .args(arguments)
            .args(["--mirror", &self.mirror.address, "--release-key", "release-key.asc"])
            .args(["--screenshot", "screen.png", "--console", "console.log"])
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = format!("{}\n== errors\n{}\n== console\n{}", text(&stdout), text(&stderr), self.console());
        println!("{}", text(&stdout).lines().find(|line| line.contains("healthy")).unwrap_or_default());
        (status.code(), said)
    }

    fn console(&self) -> String {
        let bytes = std::fs::read(self.folder.path().join("console.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The profile comes up healthy from this firmware, and nothing stays of the run but what was asked for.
    fn expect_healthy(&self, profile: &str, firmware: &str) {
        let (code, said) = self.tries(&[profile, "--firmware", firmware]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(&format!("{profile} is healthy: up after ")), "{said}");
        assert!(said.contains("  check-in     as it was told to\n"), "{said}");
        assert!(self.console().contains("Linux version"), "{said}");
        assert!(std::fs::read(self.folder.path().join("screen.png")).unwrap().starts_with(b"\x89PNG"), "{said}");
        let left = std::fs::read_dir(self.folder.path().join("state/try")).unwrap();
        assert_eq!(left.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>(), ["lock"]);
    }
}

#[test]
fn the_rescue_system_comes_up_by_bios_and_by_uefi() {
    let ci = Ci::new();
    ["bios", "uefi"].iter().for_each(|firmware| ci.expect_healthy("rescue", firmware));
}

/// UEFI that boots by HTTP; by PXE, the rescue system does.
#[test]
fn the_server_on_proxmox_comes_up_by_bios_and_by_uefi() {
    let ci = Ci::new();
    ["bios", "http"].iter().for_each(|firmware| ci.expect_healthy("proxmox-vm", firmware));
}

/// Left out of the checks of the day, which have each firmware once.
mod nightly {
    use super::Ci;

    #[test]
    fn each_system_comes_up_by_the_other_kind_of_uefi() {
        let ci = Ci::new();
        [("rescue", "http"), ("proxmox-vm", "uefi")]
            .iter()
            .for_each(|(name, firmware)| ci.expect_healthy(name, firmware));
    }
}

#[test]
fn a_profile_whose_required_check_fails_does_not_pass() {
    let ci = Ci::new();
    put_check(&ci.folder.path().join("profiles"), 1);
    let (code, said) = ci.tries(&["hello"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("hello is NOT healthy after ") && said.contains("required check display failed: no screen"),
        "{said}"
    );
}

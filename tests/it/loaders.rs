//! `bivouac loaders`: what iPXE binaries there are, adding and removing them, and who gets which.

use std::path::Path;

use crate::support::site::{Ran, Site};

const X64: u16 = 0x8664;
const ARM64: u16 = 0xaa64;

/// The features of iPXE 1.21.1 with DNS, HTTP and TFTP, as a binary has them.
const FEATURES: &[u8] = &[0xeb, 3, 1, 21, 1, 0x17, 1, 1, 0x13, 1, 1, 0x15, 1, 1];

/// As much of a UEFI program as anybody looks at, with these texts in it.
fn program(machine: u16, texts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = b"MZ".to_vec();
    bytes.resize(0x3c, 0);
    bytes.extend(0x40u32.to_le_bytes());
    bytes.extend(b"PE\0\0");
    bytes.extend(machine.to_le_bytes());
    // No sections, no optional header.
    bytes.resize(0x40 + 24, 0);
    for text in texts {
        bytes.push(0);
        bytes.extend(*text);
    }
    bytes.push(0);
    bytes
}

/// An iPXE with drivers of its own.
fn ipxe(machine: u16) -> Vec<u8> {
    program(machine, &[b"#!ipxe", b"1.21.1+ (g988d2)", b"ipxe.efi", b"virtio-net", b"imgverify", FEATURES])
}

/// An iPXE that uses the firmware's.
fn snponly(machine: u16) -> Vec<u8> {
    program(machine, &[b"#!ipxe", b"1.21.1+ (g988d2)", b"snponly.efi", b"SNPONLY", FEATURES])
}

/// A site whose distribution has loaders for BIOS and for UEFI on x86_64.
fn site() -> Site {
    let site = Site::new();
    put(&site, "lib/ipxe.efi", &ipxe(X64));
    put(&site, "lib/undionly.kpxe", &[&[0xea; 64][..], b"PXE->EB:", &[7; 64]].concat());
    site.write("bivouac.toml", "loaders = \"lib\"\n");
    site
}

fn put(site: &Site, name: &str, bytes: &[u8]) {
    let path = site.path(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Runs a command that must succeed.
fn done(site: &Site, arguments: &[&str]) -> String {
    let Ran { code, out, err } = site.run(arguments);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}: {out}");
    out
}

/// Runs a command that must fail, and returns what it said.
fn refused(site: &Site, arguments: &[&str]) -> String {
    let Ran { code, out, err } = site.run(arguments);
    assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {err}");
    assert!(!err.contains("panicked"), "{err}");
    err
}

fn json(site: &Site, arguments: &[&str]) -> serde_json::Value {
    serde_json::from_str(&done(site, arguments)).unwrap()
}

#[test]
fn the_list_tells_what_the_bytes_tell_and_no_more() {
    let site = site();
    put(&site, "lib/snponly.efi", b"cut short");
    let short = |name: &str| bivouac::model::digest::Digest::of(&std::fs::read(site.path(name)).unwrap()).short();
    let (bios, efi) = (short("lib/undionly.kpxe"), short("lib/ipxe.efi"));
    assert_eq!(
        done(&site, &["loaders"]),
        format!(
            "\
NAME           FIRMWARE     DRIVERS               VERSION           SHA-256       PATH               FEATURES
undionly.kpxe  BIOS         firmware's (by name)  -                 {bios}  lib/undionly.kpxe  -
ipxe.efi       UEFI x86_64  native                1.21.1+ (g988d2)  {efi}  lib/ipxe.efi       DNS HTTP TFTP imgverify

Machines get the first for their firmware, unless a [[loader]] rule says otherwise.
lib/snponly.efi is no loader: not a UEFI program
UEFI ARM64 machines cannot boot: no iPXE loader; take one with `bivouac loaders add`
"
        )
    );
    let list = json(&site, &["loaders", "list", "--json"]);
    let [bios, efi] = [0, 1].map(|place| list["loaders"][place].clone());
    assert_eq!((&bios["use"], &bios["use_known_by"]), (&"snponly".into(), &"name".into()));
    assert!(bios["version"].is_null() && bios["features"].is_null() && bios["commands"].is_null(), "{bios}");
    assert_eq!(
        (&efi["firmware"], &efi["use_known_by"], &efi["added"]),
        (&"efi-x64".into(), &"bytes".into(), &false.into())
    );
    assert_eq!(efi["features"], serde_json::json!(["DNS", "HTTP", "TFTP"]));
    assert_eq!(efi["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(list["missing"], serde_json::json!([{ "firmware": "efi-arm64", "debian_package": null }]));
    assert_eq!(list["refused"][0]["path"], "lib/snponly.efi");
}

#[test]
fn a_site_without_loaders_is_told_what_to_install_and_what_to_do() {
    let site = Site::new();
    std::fs::create_dir(site.path("none")).unwrap();
    let out = done(&site, &["loaders", "--loaders", "none"]);
    assert!(out.starts_with("There is no loader. `bivouac loaders add FILE` takes one.\n"), "{out}");
    assert!(out.contains("BIOS machines cannot boot: no iPXE loader; install `ipxe`\n"), "{out}");
    let error = refused(&site, &["loaders", "--loaders", "nowhere"]);
    assert!(
        error.starts_with("error: the folder of loaders cannot be used\ncaused by: cannot list nowhere"),
        "{error}"
    );
}

#[test]
fn an_added_loader_comes_before_the_systems_until_it_is_removed() {
    let site = site();
    let newer = program(X64, &[b"#!ipxe", b"virtio-net", b"newer", FEATURES]);
    put(&site, "build.bin", &newer);
    assert_eq!(
        done(&site, &["loaders", "add", "build.bin"]),
        "added state/loaders/ipxe.efi, for UEFI x86_64 machines, with iPXE's own drivers, iPXE 1.21.1\n\
         it now comes before lib/ipxe.efi\n\
         UEFI x86_64 machines get it, unless a [[loader]] rule says otherwise\n\
         restart `serve` if it runs: it reads loaders when it starts\n"
    );
    assert_eq!(std::fs::read(site.path("state/loaders/ipxe.efi")).unwrap(), newer);
    assert_eq!(
        done(&site, &["loaders", "add", "build.bin"]),
        "state/loaders/ipxe.efi is this file already; nothing changed\n"
    );
    let old = bivouac::model::digest::Digest::of(&newer);
    assert!(
        done(&site, &["loaders", "add", "lib/ipxe.efi"])
            .contains(&format!("it replaces a different file of that name, SHA-256 {old}\n"))
    );
    let list = json(&site, &["loaders", "--json"]);
    let added: Vec<&str> = list["loaders"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["added"] == true)
        .map(|one| one["path"].as_str().unwrap())
        .collect();
    assert_eq!(added, ["state/loaders/ipxe.efi"]);
    assert_eq!(
        done(&site, &["loaders", "remove", "ipxe.efi"]),
        "removed state/loaders/ipxe.efi\n\
         UEFI x86_64 machines get lib/ipxe.efi\n\
         restart `serve` if it runs: it reads loaders when it starts\n"
    );
    assert!(
        refused(&site, &["loaders", "remove", "ipxe.efi"])
            .contains("`ipxe.efi` was not added: it is lib/ipxe.efi; only what")
    );
    assert!(site.path("lib/ipxe.efi").exists());
}

#[test]
fn a_loader_of_the_other_kind_stands_beside_the_best() {
    let site = site();
    put(&site, "x.efi", &snponly(X64));
    let out = done(&site, &["loaders", "add", "x.efi"]);
    assert!(
        out.contains("added state/loaders/snponly.efi, for UEFI x86_64 machines, with the firmware's drivers"),
        "{out}"
    );
    assert!(
        out.contains("UEFI x86_64 machines get ipxe.efi, unless a [[loader]] rule says `use = \"snponly\"`\n"),
        "{out}"
    );
    put(&site, "ipxe.efi", &ipxe(ARM64));
    let out = done(&site, &["loaders", "add", "ipxe.efi"]);
    assert!(out.starts_with("added state/loaders/ipxe-arm64.efi, for UEFI ARM64 machines"), "{out}");
    let out = done(&site, &["loaders", "--state", "state", "add", "ipxe.efi", "--name", "ipxe-aarch64.efi"]);
    assert!(out.contains("state/loaders/ipxe-arm64.efi still comes before it\n"), "{out}");
}

#[test]
fn what_is_no_loader_is_not_added() {
    let site = site();
    put(&site, "ipxe.efi", b"<html>404</html>");
    put(&site, "grub.efi", &program(X64, &[b"grub"]));
    put(&site, "no-http.efi", &program(X64, &[b"#!ipxe", &[0xeb, 3, 1, 0, 0, 0x17, 1, 1, 0x15, 1, 1]]));
    put(&site, "bios.bin", &std::fs::read(site.path("lib/undionly.kpxe")).unwrap());
    put(&site, "x.efi", &ipxe(X64));
    for (arguments, said) in [
        (
            &["ipxe.efi"][..],
            "error: ipxe.efi is no loader\ncaused by: it is neither a UEFI program nor one for a PXE ROM\n",
        ),
        (&["grub.efi"], "caused by: it is not iPXE, or an iPXE that takes no scripts\n"),
        (&["no-http.efi"], "caused by: it is an iPXE without HTTP, and machines take their scripts by HTTP\n"),
        (
            &["bios.bin"],
            "cannot be told from its bytes or its name; give --name, one of undionly.kpxe, undionly.kkpxe, ipxe.pxe, ipxe.kpxe\n",
        ),
        (
            &["bios.bin", "--name", "ipxe.efi"],
            "`ipxe.efi` is not a name that is looked up for BIOS; use one of undionly.kpxe",
        ),
        (&["x.efi", "--name", "ipx.efi"], "did you mean `ipxe.efi`?\n"),
        (&["x.efi", "--name", "../ipxe.efi"], "is not a name that is looked up"),
        (
            &["x.efi", "--name", "snponly.efi"],
            "error: x.efi cannot be called `snponly.efi`: its drivers are iPXE's own",
        ),
        (&["missing.efi"], "caused by: cannot open missing.efi\n"),
    ] {
        let error = refused(&site, &[&["loaders", "add"], arguments].concat());
        assert!(error.contains(said), "{arguments:?}: {error}");
    }
    assert!(!site.path("state/loaders").exists());
    let out = done(&site, &["loaders", "add", "bios.bin", "--name", "undionly.kpxe"]);
    assert!(out.contains("it now comes before lib/undionly.kpxe\n"), "{out}");
}

#[test]
fn a_name_nobody_knows_cannot_be_removed() {
    let site = site();
    put(&site, "state/loaders/notes.txt", b"of the operator");
    for (name, said) in [
        ("ipx.efi", "error: there is no loader `ipx.efi`; did you mean `ipxe.efi`?\n"),
        ("notes.txt", "error: there is no loader `notes.txt`\n"),
        ("../../lib/ipxe.efi", "error: there is no loader `../../lib/ipxe.efi`\n"),
    ] {
        assert_eq!(refused(&site, &["loaders", "remove", name]), said);
    }
    assert!(site.path("state/loaders/notes.txt").exists() && site.path("lib/ipxe.efi").exists());
}

#[test]
fn the_first_rule_about_a_machine_decides_which_loader_it_gets() {
    let site = site();
    put(&site, "lib/snponly.efi", &snponly(X64));
    site.write(
        "bivouac.toml",
        "loaders = \"lib\"\n\
         [[loader]]\nmachines = [\"00:e0:4c:00:00:01\"]\nuse = \"ipxe\"\n\
         [[loader]]\nmachines = [\"00:e0:4c\"]\nuse = \"snponly\"\n\
         [[loader]]\nfirmware = \"bios-x86\"\nuse = \"ipxe\"\n",
    );
    let gets = |mac: &str, firmware: &str| {
        let list = json(&site, &["loaders", "--for", mac, "--firmware", firmware, "--json"]);
        let one = &list[0];
        (one["loader"].as_str().map(str::to_owned), one["rule"]["number"].as_u64(), one["as_wanted"].as_bool())
    };
    let is = |name: &str, rule, wanted| (Some(name.to_owned()), rule, Some(wanted));
    assert_eq!(gets("00:e0:4c:00:00:01", "efi-x64"), is("ipxe.efi", Some(1), true));
    assert_eq!(gets("00:e0:4c:00:00:02", "efi-x64"), is("snponly.efi", Some(2), true));
    assert_eq!(gets("52:54:00:00:00:02", "efi-x64"), is("ipxe.efi", None, true));
    assert_eq!(gets("52:54:00:00:00:02", "bios-x86"), is("undionly.kpxe", Some(3), false));
    assert_eq!(gets("52:54:00:00:00:02", "efi-arm64"), (None, None, None));
    assert_eq!(
        done(&site, &["loaders", "--for", "00-E0-4C-00-00-02"]),
        "\
FIRMWARE     LOADER         DRIVERS     PATH               RULE
BIOS         undionly.kpxe  firmware's  lib/undionly.kpxe  2 (snponly for 00:e0:4c)
UEFI x86_64  snponly.efi    firmware's  lib/snponly.efi    2 (snponly for 00:e0:4c)
"
    );
    let out = done(&site, &["loaders"]);
    assert!(out.contains("\nrule 2: snponly for 00:e0:4c\nrule 3: ipxe for every BIOS machine\n"), "{out}");
    let unmet = "wants `ipxe` for BIOS machines and there is none; they get undionly.kpxe, until `bivouac loaders add` brings one\n";
    assert!(out.contains(&format!("loader rule 1 of the site file {unmet}")), "{out}");
    assert!(out.contains(&format!("loader rule 3 of the site file {unmet}")), "{out}");
}

#[test]
fn a_machine_that_may_boot_from_its_disk_gets_a_loader_that_gives_it_back() {
    let site = site();
    put(&site, "lib/snponly.efi", &snponly(X64));
    site.write(
        "bivouac.toml",
        "loaders = \"lib\"\n[machines.\"52:54:00:00:00:01\"]\npolicy = \"local-disk\"\n\
         [machines.\"52:54:00:00:00:02\"]\npolicy = \"boot\"\n",
    );
    let row = |mac: &str| {
        let out = done(&site, &["loaders", "--for", mac, "--firmware", "efi-x64"]);
        out.lines().last().unwrap().split_whitespace().skip(2).collect::<Vec<_>>().join(" ")
    };
    let stays = "ipxe.efi native lib/ipxe.efi none, the best";
    assert_eq!(row("52:54:00:00:00:01"), "snponly.efi firmware's lib/snponly.efi none, it may go back to its firmware");
    assert_eq!(row("52:54:00:00:00:02"), stays);
    assert_eq!(row("52:54:00:00:00:03"), stays);
}

#[test]
fn flags_and_rules_that_make_no_sense_are_refused() {
    let site = site();
    let error = refused(&site, &["loaders", "--json", "add", "lib/ipxe.efi"]);
    assert!(error.contains("--for, --firmware and --json stand behind `loaders list`"), "{error}");
    assert!(refused(&site, &["loaders", "--firmware", "efi-x64"]).contains("--for <MAC>"));
    assert!(refused(&site, &["loaders", "--for", "52:54:00:00:00:01", "--firmware", "uefi"]).contains("`efi-x64`"));
    site.write("bivouac.toml", "[[loader]]\nuse = \"snponly\"\n");
    let error = refused(&site, &["loaders"]);
    assert!(
        error.contains("in rule 1, say for whom: machines = [\"00:e0:4c\"], firmware = \"efi-x64\", or both"),
        "{error}"
    );
}

#[test]
#[expect(clippy::print_stderr, reason = "says that it tests nothing here")]
fn the_loaders_of_debian_can_be_added() {
    let folder = Path::new("/usr/lib/ipxe");
    if !folder.join("snponly.efi").exists() {
        eprintln!("skipped: Debian's package `ipxe` is not installed");
        return;
    }
    let site = site();
    for (name, firmware) in [("snponly.efi", "UEFI x86_64"), ("ipxe.efi", "UEFI x86_64"), ("ipxe.pxe", "BIOS")] {
        let out = done(&site, &["loaders", "add", folder.join(name).to_str().unwrap()]);
        assert!(out.starts_with(&format!("added state/loaders/{name}, for {firmware} machines, with ")), "{out}");
    }
    for other in ["ipxe.lkrn", "ipxe.iso"] {
        let path = folder.join(other);
        if path.exists() {
            assert!(refused(&site, &["loaders", "add", path.to_str().unwrap()]).contains("is no loader"), "{other}");
        }
    }
}

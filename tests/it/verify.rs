//! `bivouac verify`: what a disk forgot is found, named, and can be put right.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::site::{Ran, Site};

fn verify(site: &Site, arguments: &[&str]) -> Ran {
    site.run(&[&["verify"], arguments].concat())
}

/// The file of the store that is the kernel or the modloop of `hello`.
fn blob(site: &Site, part: &str) -> PathBuf {
    let manifest: Value = serde_json::from_str(&site.run(&["show", "hello", "--json"]).out).unwrap();
    let digest = manifest[part]["sha256"].as_str().unwrap();
    site.path("state/store/blobs").join(&digest[..2]).join(digest)
}

/// Turns the first bit, as a disk does: neither length nor time change.
fn spoil(path: &PathBuf) {
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_is_as_it_was_stored_is_well() {
    let site = Site::published();
    let ran = verify(&site, &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.starts_with("1 bundle, ") && ran.out.ends_with(": all as they were stored\n"), "{}", ran.out);
    let json: Value = serde_json::from_str(&verify(&site, &["hello@1", "--json"]).out).unwrap();
    // Kernel, initramfs, modloop, overlay, index, and what the site added: an initrd, and the index it signed.
    assert!(json["files"].as_u64().unwrap() > 7, "{json}");
    assert_eq!((&json["bundles"], &json["damaged"]), (&1.into(), &serde_json::json!([])));
    let nowhere = Site::new();
    let ran = verify(&nowhere, &[]);
    assert_eq!((ran.code, ran.out.starts_with("0 bundles, 0 files, ")), (Some(0), true), "{ran:?}");
    assert!(!nowhere.path("state/store").exists(), "looking makes nothing");
}

#[test]
fn a_spoilt_and_a_missing_file_are_named_with_who_needs_them_and_an_import_puts_them_right() {
    let site = Site::published();
    assert_eq!(site.run(&["export", "hello", "FILE"]).code, Some(0));
    let (kernel, modloop) = (blob(&site, "kernel"), blob(&site, "modloop"));
    spoil(&modloop);
    fs::remove_file(&kernel).unwrap();
    let ran = verify(&site, &[]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let id = &site.run(&["list"]).out.lines().nth(1).unwrap().split_whitespace().nth(1).unwrap().to_owned();
    // As it stands in the store: the site's folder is where the program runs.
    let [kernel, modloop] = [&kernel, &modloop].map(|path| path.strip_prefix(site.path("")).unwrap().display());
    for said in [
        format!("{modloop} has other bytes than were stored\n    modloop-virt of hello {id}\n"),
        format!("{kernel} is missing\n    vmlinuz-virt of hello {id}\n"),
        ": 2 damaged\nnext: import the bundles again".to_owned(),
    ] {
        assert!(ran.out.contains(&said), "should say {said:?}:\n{}", ran.out);
    }
    let json: Value = serde_json::from_str(&verify(&site, &["--json", "hello"]).out).unwrap();
    let mut is: Vec<&str> = json["damaged"].as_array().unwrap().iter().map(|it| it["is"].as_str().unwrap()).collect();
    is.sort_unstable();
    assert_eq!(is, ["changed", "missing"]);
    let ran = site.run(&["import", "FILE"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(verify(&site, &[]).code, Some(0));
}

#[test]
fn what_is_removed_is_made_anew_by_a_build() {
    let site = Site::published();
    let modloop = blob(&site, "modloop");
    spoil(&modloop);
    assert_eq!(verify(&site, &["hello"]).code, Some(1));
    fs::remove_file(&modloop).unwrap();
    let ran = site.run(&["build", "hello"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(verify(&site, &[]).code, Some(0));
}

#[test]
fn what_the_site_added_is_found_too_and_is_made_anew_by_publishing() {
    let site = Site::published();
    let id = site.run(&["list"]).out.lines().nth(1).unwrap().split_whitespace().nth(1).unwrap().to_owned();
    let parts = fs::read_dir(site.path("state/store/sites")).unwrap().next().unwrap().unwrap().path();
    let list: Value = serde_json::from_str(&fs::read_to_string(&parts).unwrap()).unwrap();
    let digest = list["initrd"]["sha256"].as_str().unwrap();
    let initrd = site.path("state/store/blobs").join(&digest[..2]).join(digest);
    spoil(&initrd);
    let ran = verify(&site, &[]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains(&format!("    site.img of hello {id}\n")), "{}", ran.out);
    fs::remove_file(&initrd).unwrap();
    for command in ["build", "publish"] {
        let ran = site.run(&[command, "hello"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    assert_eq!(verify(&site, &[]).code, Some(0));
    // What was built last is what is published: its list is read, and told, once.
    fs::write(&parts, "nonsense").unwrap();
    let ran = verify(&site, &[]);
    assert_eq!(
        (ran.code, ran.out.matches(parts.file_name().unwrap().to_str().unwrap()).count()),
        (Some(1), 1),
        "{ran:?}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_told_with_what_to_do_and_hides_no_other() {
    let site = Site::published();
    let (kernel, modloop) = (blob(&site, "kernel"), blob(&site, "modloop"));
    // Root may read whatever is a file.
    fs::remove_file(&kernel).unwrap();
    fs::create_dir(&kernel).unwrap();
    let ran = verify(&site, &[]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let name = kernel.file_name().unwrap().to_str().unwrap();
    assert!(ran.out.contains(name) && ran.out.contains(": 1 damaged\nnext: what cannot be read"), "{}", ran.out);
    spoil(&modloop);
    let ran = verify(&site, &[]);
    assert!(ran.out.contains(": 2 damaged\nnext: import the bundles again"), "{}", ran.out);
}

#[test]
fn a_damaged_bundle_or_channel_hides_no_other_and_one_that_does_not_exist_is_said() {
    let site = Site::published();
    let store = site.path("state/store");
    let bundle = fs::read_dir(store.join("bundles")).unwrap().next().unwrap().unwrap().path();
    spoil(&bundle);
    fs::write(store.join("profiles/hello/channels/stable"), "nonsense").unwrap();
    let ran = verify(&site, &[]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let name = bundle.file_name().unwrap().to_str().unwrap();
    assert!(ran.out.contains(name) && ran.out.contains("channels/stable"), "{}", ran.out);
    // What the build left is the same bundle; nobody is told to remove records.
    assert!(ran.out.contains("1 bundle, ") && !ran.out.contains("remove"), "{}", ran.out);
    let ran = verify(&site, &["hello@7"]);
    assert!(ran.code == Some(2) && ran.err.contains("has no release 7"), "{ran:?}");
}

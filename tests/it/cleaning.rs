//! `bivouac gc`: what is used stays, what is not goes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bivouac::disk;

use crate::support::site::Site;

/// Files below a folder of the site's state, without locks.
fn files(site: &Site, folder: &str) -> Vec<String> {
    let walk = disk::walk(&site.path("state").join(folder)).unwrap();
    let files = walk.into_iter().filter(|it| it.kind == disk::Kind::File);
    let names = files.map(|it| it.relative.to_str().unwrap().to_owned());
    names.filter(|it| it != "lock").collect()
}

/// As if nothing had been used since 1970.
fn forget(site: &Site, folder: &str) {
    for name in files(site, folder) {
        // The files of a netboot set have a time of their own, which says that they are whole.
        if !name.starts_with("files/") {
            disk::set_time(&site.path("state").join(folder).join(name), UNIX_EPOCH).unwrap();
        }
    }
}

#[test]
fn what_is_used_stays_and_a_trial_removes_nothing() {
    let site = Site::published();
    let (cache, store) = (files(&site, "cache"), files(&site, "store"));
    let ran = site.run(&["gc"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "cache: nothing to remove\nstore: nothing to remove\n"));
    let ran = site.run(&["gc", "--unused", "0s", "--dry-run"]);
    assert!(ran.out.contains(" files would be removed, "), "{}", ran.out);
    assert_eq!((files(&site, "cache"), files(&site, "store")), (cache, store));
}

#[test]
fn what_lay_unused_goes_and_what_names_meant_stays() {
    let site = Site::published();
    let store = files(&site, "store");
    forget(&site, "cache");
    // What was used meanwhile is young again.
    site.unlock("hello");
    assert_eq!(site.run(&["build", "hello", "--offline"]).code, Some(0));
    let used = files(&site, "cache");
    assert_eq!(site.run(&["gc"]).code, Some(0));
    assert_eq!(files(&site, "cache"), used);

    forget(&site, "cache");
    let ran = site.run(&["gc", "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let said: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&said["dry_run"], &said["store"]["files"]), (&false.into(), &0.into()));
    assert_eq!(
        files(&site, "cache"),
        ["names/latest-stable-x86_64.json", "seen/latest-stable-x86_64.json", "seen/v3.24-x86_64.json"]
    );
    assert_eq!(files(&site, "store"), store);
    assert_eq!(site.run(&["build", "hello"]).code, Some(0));
}

#[test]
fn leftovers_of_crashes_go() {
    let site = Site::published();
    let old = SystemTime::now() - Duration::from_secs(40 * 24 * 60 * 60);
    for name in ["cache/files/0123", "cache/partial/x.tar.gz", "cache/releases/x.json", "store/blobs/00/left"] {
        site.write(&format!("state/{name}"), "half");
        disk::set_time(&site.path("state").join(name), old).unwrap();
    }
    site.write("state/cache/unpack/.tmp-x/vmlinuz-lts", "half");
    site.write("state/store/blobs/00/young", "half");
    let ran = site.run(&["gc"]);
    assert_eq!(ran.out, "cache: 3 files removed, 12 B\nstore: 1 file removed, 4 B\n");
    assert!(!site.path("state/cache/unpack/.tmp-x").exists() && site.path("state/store/blobs/00/young").exists());
    let ran = site.run(&["gc", "--unused", "soon"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("--unused <AGE>"), "{}", ran.err);
}

#[test]
fn a_site_without_state_has_nothing_to_clean_and_gets_none() {
    let site = Site::without_key();
    let ran = site.run(&["gc"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "cache: nothing to remove\nstore: nothing to remove\n"));
    assert!(!site.path("state").exists());
}

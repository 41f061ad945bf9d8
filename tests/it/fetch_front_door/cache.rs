//! What was fetched is used again: with how many requests, without reading large files, and without any network.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use super::{done, hasty_site, refusal, stable_list};
use crate::support::alpine::{LIST, SIGNATURE, TARBALL};
use crate::support::site::{MAIN, Site};

/// Writes a profile like `hello` of a certain release.
fn profile_of(site: &Site, name: &str, release: &str) {
    let text = format!("overlays = [\"base\"]\n[alpine]\nrelease = \"{release}\"\nflavor = \"virt\"\n");
    site.write(&format!("profiles/{name}/profile.toml"), &text);
}

/// Gives a file other bytes of the same number, and the time of change it had.
fn replace_unnoticed(path: &Path) {
    let before = fs::metadata(path).unwrap();
    let zeros = vec![0; usize::try_from(before.len()).unwrap()];
    assert_ne!(fs::read(path).unwrap(), zeros);
    fs::remove_file(path).unwrap();
    fs::write(path, zeros).unwrap();
    File::open(path).unwrap().set_modified(before.modified().unwrap()).unwrap();
}

#[test]
fn a_second_fetch_asks_for_the_list_and_an_exact_version_for_nothing() {
    let site = hasty_site();
    profile_of(&site, "exact", "3.24.1");
    profile_of(&site, "branch", "3.24");
    let said = done(site.run(&["fetch", "hello"]));
    assert_eq!(site.mirror.server.requests(), [stable_list().as_str(), SIGNATURE, TARBALL]);
    let cached = site.cached();
    for _ in 0..2 {
        assert_eq!(done(site.run(&["fetch", "hello"])), said);
        assert_eq!(site.mirror.server.requests(), [stable_list()]);
    }
    assert_eq!(site.cached(), cached);
    assert_eq!(done(site.run(&["fetch", "exact"])), said.replace("hello", "exact"));
    assert_eq!(site.mirror.server.requests(), Vec::<String>::new());
    assert_eq!(done(site.run(&["fetch", "branch"])), said.replace("hello", "branch"));
    assert_eq!(site.mirror.server.requests(), [LIST]);
}

#[test]
fn a_second_fetch_reads_no_large_file_and_a_build_compares_what_it_copies() {
    let site = hasty_site();
    let said = done(site.run(&["fetch", "hello"]));
    let built = done(site.run(&["build", "hello", "--state", "other"]));
    site.unlock("hello");
    site.mirror.server.requests();
    let files = site.path("state/cache/files");
    for name in bivouac::disk::list(&files).unwrap() {
        replace_unnoticed(&files.join(name));
    }
    assert_eq!(done(site.run(&["fetch", "hello"])), said);
    assert_eq!(site.mirror.server.requests(), [stable_list()], "a fetch that reads the files fetches them again");
    let ran = site.run(&["build", "hello"]);
    assert!(ran.err.contains(" was damaged; fetching it again"), "{}", ran.err);
    assert_eq!(done(ran), built);
    let again = site.mirror.server.requests().into_iter().filter(|it| it == TARBALL || it == SIGNATURE);
    assert_eq!(again.collect::<Vec<_>>(), [SIGNATURE, TARBALL]);
}

#[test]
fn a_large_file_that_something_touched_is_compared_and_fetched_again() {
    let site = hasty_site();
    let said = done(site.run(&["fetch", "hello"]));
    site.mirror.server.requests();
    let files = site.path("state/cache/files");
    for name in bivouac::disk::list(&files).unwrap() {
        let path = files.join(name);
        replace_unnoticed(&path);
        File::open(&path).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    }
    let ran = site.run(&["fetch", "hello"]);
    assert_eq!((ran.code, &ran.out), (Some(0), &said));
    assert!(ran.err.contains("a file of the cache is damaged; it is removed"), "{}", ran.err);
    assert_eq!(site.mirror.server.requests(), [stable_list().as_str(), SIGNATURE, TARBALL]);
}

#[test]
fn what_was_fetched_with_packages_builds_the_same_bundle_offline() {
    let site = hasty_site();
    let online = done(site.run(&["build", "hello", "--state", "online"]));
    let fetched = done(site.run(&["fetch", "hello", "--packages"]));
    assert!(fetched.contains("\nhello: 3 packages, "), "{fetched}");
    site.mirror.server.requests();
    assert_eq!(done(site.run(&["fetch", "hello", "--packages", "--offline"])), fetched);
    assert_eq!(done(site.run(&["build", "hello", "--offline"])), online);
    assert_eq!(site.mirror.server.requests(), Vec::<String>::new());
}

#[test]
fn offline_with_an_empty_cache_the_release_is_what_is_missing() {
    let site = hasty_site();
    for (command, work) in [("fetch", "fetch what profile `hello` needs"), ("build", "build profile `hello`")] {
        let expected = format!(
            "error: cannot {work}\ncaused by: Alpine latest-stable x86_64 virt cannot be had offline; run `bivouac fetch \
             --packages` once without --offline\n"
        );
        assert_eq!(refusal(&site.run(&[command, "hello", "--offline"])), expected);
    }
    let ran = site.run(&["fetch", "--list", "--offline"]);
    let refused = refusal(&ran);
    assert!(refused.contains("'--list' cannot be used with '--offline'"), "{refused}");
    assert_eq!(site.mirror.server.requests(), Vec::<String>::new());
}

#[test]
fn offline_without_packages_the_index_is_what_is_missing() {
    let site = hasty_site();
    done(site.run(&["fetch", "hello"]));
    let index = "the package index of v3.24/main/x86_64 cannot be had offline; run `bivouac fetch --packages` once without \
                 --offline\n";
    assert!(refusal(&site.run(&["build", "hello", "--offline"])).ends_with(index));
    assert!(refusal(&site.run(&["fetch", "hello", "--packages", "--offline"])).ends_with(index));
}

#[test]
fn offline_any_single_file_that_is_missing_is_named() {
    let site = hasty_site();
    let online = done(site.run(&["build", "hello", "--state", "online"]));
    site.unlock("hello");
    done(site.run(&["fetch", "hello", "--packages"]));
    site.mirror.server.requests();
    let copied = |from: &str, to: &str| {
        let copied = Command::new("cp").arg("-a").arg(site.path(from)).arg(site.path(to)).status().unwrap();
        assert!(copied.success());
    };
    let mut missing = Vec::new();
    for file in site.cached() {
        copied("state", "damaged");
        fs::remove_file(site.path("damaged/cache").join(&file)).unwrap();
        let ran = site.run(&["build", "hello", "--offline", "--state", "damaged"]);
        let said = match ran.code {
            Some(0) => {
                assert_eq!(ran.out, online);
                site.unlock("hello");
                "nothing".to_owned()
            }
            _ => {
                let what = refusal(&ran).strip_prefix("error: cannot build profile `hello`\ncaused by: ").unwrap();
                what.split_once(" cannot be had offline; ").unwrap().0.to_owned()
            }
        };
        missing.push(format!("{}: {said}", file.split_once('/').unwrap().0));
        fs::remove_dir_all(site.path("damaged")).unwrap();
    }
    missing.sort();
    assert_eq!(
        missing,
        [
            "files: Alpine latest-stable x86_64 virt (3.24.1 is in the cache, but a file of it is damaged or gone)",
            "files: Alpine latest-stable x86_64 virt (3.24.1 is in the cache, but a file of it is damaged or gone)",
            "files: Alpine latest-stable x86_64 virt (3.24.1 is in the cache, but a file of it is damaged or gone)",
            // Those of the other flavor.
            "files: nothing",
            "files: nothing",
            "files: nothing",
            "indexes: the package index of v3.24/main/x86_64",
            "names: Alpine latest-stable x86_64 virt (the cache has 3.24.1)",
            "packages: package alpine-base-1.0-r0.apk",
            "packages: package busybox-1.0-r0.apk",
            "packages: package openrc-1.0-r0.apk",
            "releases: Alpine latest-stable x86_64 virt (it meant 3.24.1, which was cleaned up since)",
            "seen: nothing",
            "seen: nothing",
        ]
    );
    // Several packages are named together.
    let packages = site.path("state/cache/packages");
    for name in bivouac::disk::list(&packages).unwrap() {
        fs::remove_file(packages.join(name)).unwrap();
    }
    assert_eq!(
        refusal(&site.run(&["build", "hello", "--offline"])),
        "error: cannot build profile `hello`\ncaused by: package alpine-base-1.0-r0.apk, package busybox-1.0-r0.apk, package \
         openrc-1.0-r0.apk cannot be had offline; run `bivouac fetch --packages` once without --offline\n"
    );
    assert_eq!(site.mirror.server.requests(), Vec::<String>::new());
    // The mirror has what is missing, and a fetch brings just that.
    done(site.run(&["fetch", "hello", "--packages"]));
    let mut requests = site.mirror.server.requests();
    requests.sort();
    let packages = ["alpine-base", "busybox", "openrc"].map(|name| format!("{MAIN}/{name}-1.0-r0.apk"));
    assert_eq!(requests, [vec![stable_list()], vec![format!("{MAIN}/APKINDEX.tar.gz")], packages.to_vec()].concat());
}

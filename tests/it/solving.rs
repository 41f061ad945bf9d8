//! `solve`: what a world installs, why, and what a person reads who asks for the impossible.

use bivouac::apk::{Identity, Index, write_index};

use crate::support::alpine::LIST;
use crate::support::site::{KEY, MAIN, Site, signing_key};

/// An index file of packages written as `name version field …`, with `_` for blanks in a field.
fn index(site: &Site, file: &str, packages: &[&str]) {
    let mut text = String::new();
    for package in packages {
        let mut words = package.split(' ');
        let (name, version) = (words.next().unwrap(), words.next().unwrap());
        let fields: String = words.map(|field| format!("{}\n", field.replace('_', " "))).collect();
        let identity = Identity::sha1(format!("{file} {package}").as_bytes());
        text.push_str(&format!("C:{identity}\nP:{name}\nV:{version}\nA:x86_64\nS:1\nI:4096\n{fields}\n"));
    }
    site.write(file, &text);
}

fn site() -> Site {
    let site = Site::new();
    index(
        &site,
        "stable",
        &[
            "openbox 3.6-r1 D:so:libx.so.1",
            "libx 1.2-r0 p:so:libx.so.1=1.2",
            "openbox-doc 3.6-r1 i:openbox=3.6-r1_docs",
            "docs 0.2-r5",
            "nano 7.2-r1",
        ],
    );
    index(&site, "edge", &["nano 8.0-r0"]);
    site
}

#[test]
fn a_world_is_solved_from_index_files_and_listed_by_name() {
    let site = site();
    let ran = site.run(&["solve", "--index", "stable", "--index", "@edge=edge", "openbox", "docs", "nano"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    assert_eq!(ran.out, "docs=0.2-r5\nlibx=1.2-r0\nnano=7.2-r1\nopenbox=3.6-r1\nopenbox-doc=3.6-r1\n");
    let ran = site.run(&["solve", "--index", "stable", "--index", "@edge=edge", "nano@edge"]);
    assert_eq!(ran.out, "nano=8.0-r0\n");
    let ran = site.run(&["solve", "--index", "stable", "--json", "openbox"]);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["installable"], true);
    assert_eq!(json["packages"][0]["name"], "libx");
    assert_eq!(json["packages"][0]["why"][0], "openbox needs `so:libx.so.1`");
}

#[test]
fn a_package_is_followed_back_to_the_world() {
    let site = site();
    let ran = site.run(&["solve", "--index", "stable", "--why", "libx", "openbox"]);
    assert_eq!(
        ran.out, "openbox=3.6-r1: the world asks for `openbox`\nlibx=1.2-r0: openbox needs `so:libx.so.1`\n",
        "{ran:?}"
    );
    let ran = site.run(&["solve", "--index", "stable", "--why", "nano", "openbox"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    assert!(ran.err.contains("`nano` is not among the packages that this world installs"), "{ran:?}");
}

#[test]
fn what_comes_along_is_followed_back_by_each_of_its_conditions() {
    let site = site();
    let ran = site.run(&["solve", "--index", "stable", "--why", "openbox-doc", "docs", "openbox"]);
    assert_eq!(
        ran.out,
        "docs=0.2-r5: the world asks for `docs`\n\
         openbox=3.6-r1: the world asks for `openbox`\n\
         openbox-doc=3.6-r1: comes along with openbox=3.6-r1 and docs\n",
        "{ran:?}"
    );
    let ran = site.run(&["solve", "--index", "stable", "--why", "openbox-doc", "--json", "docs", "openbox"]);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["chain"].as_array().unwrap().len(), 3, "{json}");
}

#[test]
fn an_index_file_that_is_empty_or_cut_off_is_refused_without_a_key_too() {
    let site = site();
    let records = std::fs::read_to_string(site.path("stable")).unwrap();
    let packages = Index::parse(&records).unwrap();
    let whole = write_index(packages.packages(), "stable");
    site.write("empty", "");
    std::fs::write(site.path("whole"), &whole).unwrap();
    std::fs::write(site.path("cut"), &whole[..whole.len() - 5]).unwrap();
    let solve = |file: &str| site.run(&["solve", "--index", file, "nano"]);
    assert_eq!(solve("whole").code, Some(0));
    for (file, part) in [("empty", "unexpected end of file"), ("cut", "the gzip data is damaged or cut off")] {
        let ran = solve(file);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{file}: {ran:?}");
        assert!(ran.err.contains(&format!("{file} cannot be used as a package index")), "{}", ran.err);
        assert!(ran.err.contains(part), "{}", ran.err);
    }
}

#[test]
fn an_unknown_tag_is_told_with_what_to_do() {
    let site = site();
    let ran = site.run(&["solve", "--index", "stable", "nano@edge"]);
    let text = "`nano@edge`: no repository has that tag; none has one at all, so leave it out, or give the tag to a repository";
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains(text), "{}", ran.err);
    let ran = site.run(&["solve", "--index", "@edge=stable", "nano@edgy"]);
    assert!(ran.err.contains("`nano@edgy`: no repository has that tag; did you mean `edge`?"), "{}", ran.err);
}

#[test]
fn what_cannot_be_installed_is_explained_and_ends_with_1() {
    let site = site();
    let ran = site.run(&["solve", "--index", "stable", "openbx", "nano>8"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    for part in ["`openbx`", "did you mean `openbox`?", "the world needs `nano>8`, but nano-7.2-r1 is another version"]
    {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    let ran = site.run(&["solve", "--index", "stable", "--json", "openbx"]);
    assert_eq!(ran.code, Some(1));
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["installable"], false);
}

#[test]
fn what_cannot_be_read_fails_with_2() {
    let site = site();
    site.write("adb", "ADBd");
    for (arguments, part) in [
        (&["--index", "adb", "nano"][..], "version 3 format (ADB)"),
        (&["--index", "missing", "nano"], "missing"),
        (&["--index", "stable", "nano", "!nano"], "keep one"),
        (&["--index", "stable", "nano="], "`nano=`"),
        (&["--index", "@edge", "nano"], "@TAG=FILE"),
    ] {
        let arguments = [&["solve"], arguments].concat();
        let ran = site.run(&arguments);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran:?}");
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    site.write(KEY, &signing_key().public_pem().unwrap());
    let ran = site.run(&["solve", "--index", "stable", "--key", KEY, "nano"]);
    assert_eq!(ran.code, Some(2), "a text has no signature: {ran:?}");
}

#[test]
fn a_release_is_solved_from_its_verified_indexes() {
    let site = Site::new();
    let ran = site.run(&["solve", "--release", "3.24", "--repository", "main", "alpine-base"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.lines().any(|line| line.starts_with("alpine-base=")), "{ran:?}");
}

#[test]
fn where_the_key_of_the_indexes_is_known_no_release_is_downloaded() {
    let site = Site::new();
    site.write(KEY, &signing_key().public_pem().unwrap());
    site.write("bivouac.toml", &format!("[verify]\npackage-keys = [\"{KEY}\"]\n"));
    for (release, asked) in [("3.24", None), ("latest-stable", Some(LIST.replace("v3.24", "latest-stable")))] {
        site.mirror.server.requests();
        let ran = site.run(&["solve", "--release", release, "--repository", "main", "nano"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "nano=1.0-r0\n"), "{ran:?}");
        let asked: Vec<String> = asked.into_iter().chain([format!("{MAIN}/APKINDEX.tar.gz")]).collect();
        assert_eq!(site.mirror.server.requests(), asked);
    }
}

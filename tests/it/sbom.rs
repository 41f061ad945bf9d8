//! `bivouac sbom`: what is in a bundle, as licence and vulnerability tools read it.

use bivouac::apk::{PackageWriter, PkgInfo};
use serde_json::{Value, json};

use crate::support::site::{Site, package};

/// The document of a bundle, and its bytes.
fn document(site: &Site, reference: &str) -> (Value, String) {
    let ran = site.run(&["sbom", reference]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{reference}");
    (serde_json::from_str(&ran.out).unwrap(), ran.out)
}

/// A text of each component, by name.
fn of_each(document: &Value, key: &str) -> Vec<(String, String)> {
    let components = document["components"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    components.iter().map(|it| (text(&it["name"]), text(&it[key]))).collect()
}

#[test]
fn it_lists_the_release_the_files_and_the_packages_of_a_bundle() {
    let site = Site::published();
    let (document, _) = document(&site, "hello");
    let manifest: Value = serde_json::from_str(&site.run(&["show", "hello", "--json"]).out).unwrap();

    assert_eq!((&document["bomFormat"], &document["specVersion"]), (&"CycloneDX".into(), &"1.6".into()));
    assert_eq!(document["metadata"]["component"]["name"], "hello");
    let kinds: Vec<(String, String)> = [
        ("alpine", "operating-system"),
        ("vmlinuz-virt", "file"),
        ("initramfs-virt", "file"),
        ("modloop-virt", "file"),
        ("hello.apkovl.tar.gz", "file"),
        ("APKINDEX.tar.gz", "file"),
        ("alpine-base", "library"),
        ("busybox", "library"),
        ("openrc", "library"),
    ]
    .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
    .into();
    assert_eq!(of_each(&document, "type"), kinds);
    let digests: Vec<&Value> =
        document["components"].as_array().unwrap().iter().map(|it| &it["hashes"][0]["content"]).collect();
    assert_eq!(*digests[1], manifest["kernel"]["sha256"]);
    assert_eq!(*digests[4], manifest["apkovl"]["sha256"]);
    assert_eq!(*digests[7], manifest["packages"][1]["sha256"]);
    let purl = "pkg:apk/alpine/busybox@1.0-r0?arch=x86_64&distro=alpine-3.24.1";
    assert!(of_each(&document, "purl").contains(&("busybox".to_owned(), purl.to_owned())));

    let needs = |reference: &str| {
        let all = document["dependencies"].as_array().unwrap();
        all.iter().find(|it| it["ref"] == reference).unwrap()["dependsOn"].clone()
    };
    let expected: Value = ["busybox-1.0-r0.apk", "openrc-1.0-r0.apk"].map(Value::from).into_iter().collect();
    assert_eq!(needs("alpine-base-1.0-r0.apk"), expected);
    assert_eq!(needs("alpine-3.24.1"), Value::from_iter(["alpine-base-1.0-r0.apk"]));
}

#[test]
fn the_same_bundle_gives_the_same_bytes_whatever_it_is_called_and_wherever_it_is() {
    let site = Site::new();
    assert_eq!(site.run(&["build", "hello"]).code, Some(0));
    let (value, staged) = document(&site, "hello");
    assert_eq!(site.run(&["publish", "hello"]).code, Some(0));
    let id = value["metadata"]["component"]["version"].as_str().unwrap();
    for reference in ["hello", "hello@1", "hello:stable", id, &id[..12]] {
        assert!(document(&site, reference).1 == staged, "{reference}");
    }
    assert!(value["metadata"].get("timestamp").is_none());

    assert_eq!(site.run(&["export", "hello", "FILE"]).code, Some(0));
    let other = Site::new();
    assert_eq!(other.run(&["import", site.path("FILE").to_str().unwrap()]).code, Some(0));
    assert!(document(&other, id).1 == staged);

    // Another bundle has another serial number.
    site.write("profiles/hello/root/etc/motd", "hi\n");
    assert_eq!(site.run(&["build", "hello"]).code, Some(0));
    assert_eq!(site.run(&["publish", "hello"]).code, Some(0));
    assert_ne!(document(&site, "hello").0["serialNumber"], value["serialNumber"]);
    assert!(document(&site, "hello@1").1 == staged);
}

#[test]
fn licence_origin_and_maintainer_of_a_package_are_in_it() {
    let site = Site::new();
    let info = PkgInfo {
        name: "nano-syntax".to_owned(),
        version: "8.1-r0".to_owned(),
        arch: "noarch".to_owned(),
        origin: "nano".to_owned(),
        license: "GPL-3.0-or-later or custom".to_owned(),
        maintainer: "Ada Example <ada@example.net>".to_owned(),
        url: "https://example.net/nano".to_owned(),
        ..PkgInfo::default()
    };
    let nano = PackageWriter::new(info).write().unwrap();
    site.mirror.offer_files(vec![package("alpine-base", &[]), nano]);
    site.write(
        "profiles/hello/profile.toml",
        "overlays = [\"base\"]\npackages = [\"nano-syntax\"]\n[alpine]\nflavor = \"virt\"\n",
    );
    let built = site.run(&["build", "hello"]);
    assert_eq!(built.code, Some(0), "{}", built.err);
    let (document, _) = document(&site, "hello");
    let nano = document["components"].as_array().unwrap().iter().find(|it| it["name"] == "nano-syntax").unwrap();
    assert_eq!(nano["licenses"], json!([{ "license": { "name": "GPL-3.0-or-later or custom" } }]));
    assert_eq!(nano["supplier"]["contact"][0]["email"], "ada@example.net");
    assert_eq!(nano["externalReferences"][0]["url"], "https://example.net/nano");
    assert_eq!(nano["purl"], "pkg:apk/alpine/nano-syntax@8.1-r0?arch=x86_64&distro=alpine-3.24.1&upstream=nano");
}

#[test]
fn what_is_no_bundle_is_refused_with_what_there_is() {
    let site = Site::published();
    for (reference, code, said) in [
        ("helo", 2, "profile `helo` has no release; run `bivouac publish helo`, or did you mean `hello`?"),
        ("hello@7", 2, "profile `hello` has no release 7; the newest is 1"),
        ("hello:beta", 2, "profile `hello` has no channel `beta`; it has stable"),
        ("hello@x", 2, "`x` is not a release number"),
        ("../hello", 2, "is not a name"),
        (&"0".repeat(64), 2, "is not in the store"),
    ] {
        let ran = site.run(&["sbom", reference]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(code), ""), "{reference}");
        assert!(ran.err.contains(said), "{reference}: {}", ran.err);
    }
}

#[test]
fn an_index_that_is_damaged_in_the_store_is_named() {
    let site = Site::published();
    let manifest: Value = serde_json::from_str(&site.run(&["show", "hello", "--json"]).out).unwrap();
    let digest = manifest["index"]["sha256"].as_str().unwrap();
    let path = site.path("state/store/blobs").join(&digest[..2]).join(digest);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&path, bytes).unwrap();
    let ran = site.run(&["sbom", "hello"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{}", ran.err);
    assert!(ran.err.starts_with("error: cannot list what is in bundle ") && ran.err.contains("index"), "{}", ran.err);
}

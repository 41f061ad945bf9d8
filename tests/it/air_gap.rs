//! Bundles that go to another site as a file: the same bytes each time, and nothing unverified at the other end.

use std::fs;
use std::path::{Path, PathBuf};

use bivouac::model::digest::Digest;
use serde_json::Value;
use tar::{EntryType, Header};

use crate::support::site::{Ran, Site};

/// Runs a command that must work.
fn works(site: &Site, arguments: &[&str]) -> Ran {
    let ran = site.run(arguments);
    assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.err);
    ran
}

/// The id of what a channel of a profile has.
fn id(site: &Site, reference: &str) -> String {
    Digest::of(works(site, &["show", reference, "--json"]).out.as_bytes()).to_string()
}

/// A site with `hello` published and exported to `FILE`.
fn exported() -> Site {
    let site = Site::published();
    works(&site, &["export", "hello", "FILE"]);
    site
}

/// Runs an import that must be refused with each of `parts`, and show no bundle.
fn refused(site: &Site, place: &Path, parts: &[&str]) {
    let ran = site.run(&["import", place.to_str().unwrap()]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert_eq!(ran.out, "");
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
    for part in parts {
        assert!(ran.err.contains(part), "should say {part:?}:\n{}", ran.err);
    }
    for folder in ["bundles", "staged"] {
        let folder = site.path("state/store").join(folder);
        assert!(!folder.exists() || fs::read_dir(&folder).unwrap().next().is_none(), "something is in {folder:?}");
    }
    // What was verified before may stay, and only that.
    let blobs = site.path("state/store/blobs");
    if blobs.exists() {
        for found in bivouac::disk::walk(&blobs).unwrap() {
            let path = blobs.join(&found.relative);
            if found.kind == bivouac::disk::Kind::File {
                let digest = Digest::of(&fs::read(&path).unwrap()).to_string();
                assert_eq!(path.file_name().unwrap().to_str(), Some(digest.as_str()));
            }
        }
    }
}

/// A member of an archive: name, kind, content.
type Member = (String, EntryType, Vec<u8>);

/// The members of an archive.
fn members(path: &Path) -> Vec<Member> {
    let mut archive = tar::Archive::new(fs::File::open(path).unwrap());
    let read = |entry: std::io::Result<tar::Entry<'_, fs::File>>| {
        let mut entry = entry.unwrap();
        let (name, mut content) = (entry.path().unwrap().display().to_string(), Vec::new());
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        (name, EntryType::Regular, content)
    };
    archive.entries().unwrap().map(read).collect()
}

/// Writes an archive without the checks that a well-meaning writer makes.
fn write(path: &Path, members: &[Member]) {
    let mut bytes = Vec::new();
    for (name, kind, content) in members {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    fs::write(path, bytes).unwrap();
}

/// The document a descriptor names.
fn named<'a>(members: &'a [Member], descriptor: &Value) -> &'a Vec<u8> {
    let hex = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    &members.iter().find(|(name, ..)| name.ends_with(hex)).unwrap().2
}

/// Replaces the one bundle's manifest, image and index by changed ones whose digests are right.
fn forge(members: &mut Vec<Member>, change_manifest: impl Fn(String) -> String, change_image: impl Fn(&mut Value)) {
    let describe = |descriptor: &mut Value, bytes: &[u8]| {
        descriptor["digest"] = format!("sha256:{}", Digest::of(bytes)).into();
        descriptor["size"] = bytes.len().into();
    };
    let mut index: Value = serde_json::from_slice(&members[1].2).unwrap();
    let mut image: Value = serde_json::from_slice(named(members, &index["manifests"][0])).unwrap();
    let own = named(members, &image["layers"][0]).clone();
    let own = change_manifest(String::from_utf8(own).unwrap()).into_bytes();
    describe(&mut image["layers"][0], &own);
    change_image(&mut image);
    let image = serde_json::to_vec(&image).unwrap();
    describe(&mut index["manifests"][0], &image);
    members[1].2 = serde_json::to_vec(&index).unwrap();
    for bytes in [own, image] {
        let name = format!("blobs/sha256/{}", Digest::of(&bytes));
        members.retain(|member| member.0 != name);
        members.push((name, EntryType::Regular, bytes));
    }
}

#[test]
fn an_exported_bundle_is_imported_published_and_served_elsewhere() {
    let (site, other) = (exported(), Site::new());
    let bundle = id(&site, "hello");
    let file = site.path("FILE");

    let imported = works(&other, &["import", file.to_str().unwrap()]);
    let lines: Vec<&str> = imported.out.lines().collect();
    assert!(lines[0].starts_with(&format!("imported hello {bundle}: 3 packages, ")), "{}", imported.out);
    assert!(lines[1].starts_with("files: 8 copied (") && lines[1].ends_with("), 0 in the store already"));
    assert_eq!(lines[2..], ["next: bivouac publish hello"]);

    let published = works(&other, &["publish", "hello"]);
    assert!(published.out.starts_with("hello@1 published: bundle "), "{}", published.out);
    assert_eq!(id(&other, "hello"), bundle, "the same bundle");
    let parts = |site: &Site| fs::read(site.path("state/store/sites").join(format!("{bundle}.json"))).unwrap();
    assert_ne!(parts(&site), parts(&other), "signed by the other site's own key");

    let server = other.serve(&["--dhcp", "off"]);
    for name in ["vmlinuz-virt", "modloop-virt", "site.img", "packages/x86_64/APKINDEX.tar.gz"] {
        assert!(server.get(&format!("/b/{bundle}/{name}")).starts_with("HTTP/1.0 200 OK"), "{name}");
    }
    let apk = format!("/b/{bundle}/packages/x86_64/busybox-1.0-r0.apk");
    assert!(server.get(&apk).starts_with("HTTP/1.0 200 OK"));
}

#[test]
fn the_same_bundle_gives_the_same_archive_at_every_site() {
    let site = exported();
    let first = fs::read(site.path("FILE")).unwrap();
    works(&site, &["export", "hello@1", "hello", "AGAIN"]);
    assert!(fs::read(site.path("AGAIN")).unwrap() == first);

    // Another key, another release number, and a way through an import.
    let other = Site::new();
    let [ours, theirs] = [&site, &other].map(|site| fs::read(site.path("state/keys/site.pem")).unwrap());
    assert_ne!(ours, theirs);
    other.write("profiles/hello/root/etc/motd", "another first release\n");
    works(&other, &["build", "hello"]);
    works(&other, &["publish", "hello"]);
    works(&other, &["import", site.path("FILE").to_str().unwrap()]);
    assert!(works(&other, &["publish", "hello"]).out.starts_with("hello@2 published: "));
    works(&other, &["export", "hello", "FILE"]);
    assert!(fs::read(other.path("FILE")).unwrap() == first);

    let text = String::from_utf8_lossy(&first);
    assert!(!text.contains(site.folder.path().to_str().unwrap()) && !text.contains("site.img"));
}

#[test]
fn a_site_that_only_builds_exports_what_it_built() {
    let site = Site::without_key();
    let said = site.run(&["export", "hello", "FILE"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("profile `hello` has no release"), "{}", said.err);
    works(&site, &["build", "hello"]);
    let ran = works(&site, &["export", "hello", "FILE"]);
    assert!(ran.out.starts_with("exported hello ") && ran.out.ends_with(" -> FILE\n"), "{}", ran.out);
    assert!(!site.path("state/keys").exists(), "an export makes no key");
    works(&Site::new(), &["import", site.path("FILE").to_str().unwrap()]);
}

#[test]
fn an_export_that_was_killed_is_gone_on_with() {
    let site = exported();
    let whole = fs::read(site.path("FILE")).unwrap();
    let part = site.path("FILE.part");
    let mut damaged = whole.clone();
    damaged[whole.len() / 3] ^= 1;
    for (left, says) in [
        (&whole[..whole.len() / 2], true),
        (&whole[..], true),
        (&damaged[..], true),
        (&[whole.as_slice(), b"longer"].concat(), true),
        (&b"something else"[..], false),
    ] {
        fs::remove_file(site.path("FILE")).unwrap();
        fs::write(&part, left).unwrap();
        let ran = works(&site, &["export", "hello", "FILE"]);
        assert!(fs::read(site.path("FILE")).unwrap() == whole);
        assert!(!part.exists());
        assert_eq!(ran.err.contains("of an earlier export were there and right"), says, "{}", ran.err);
    }
}

#[test]
fn a_second_import_copies_nothing_and_a_cut_one_goes_on() {
    let (site, other) = (exported(), Site::new());
    let file = site.path("FILE");
    works(&other, &["import", file.to_str().unwrap()]);
    let again = works(&other, &["import", file.to_str().unwrap()]);
    assert!(again.out.contains("files: 0 copied (0 B), 8 in the store already"), "{}", again.out);

    // As after a kill between two blobs: some are there, the bundle is not.
    let bundle = id(&site, "hello");
    fs::remove_file(other.path("state/store/bundles").join(format!("{bundle}.json"))).unwrap();
    fs::remove_file(other.path("state/store/staged/hello.json")).unwrap();
    let manifest: Value = serde_json::from_str(&works(&site, &["show", "hello", "--json"]).out).unwrap();
    let kernel = manifest["kernel"]["sha256"].as_str().unwrap();
    let blob = other.path("state/store/blobs").join(&kernel[..2]).join(kernel);
    fs::remove_file(&blob).unwrap();
    fs::write(blob.with_file_name(".tmp-killed"), "half").unwrap();
    let again = works(&other, &["import", file.to_str().unwrap()]);
    assert!(again.out.contains("files: 1 copied ("), "{}", again.out);
    assert!(again.out.contains("), 7 in the store already"), "{}", again.out);
    assert!(!blob.with_file_name(".tmp-killed").exists());
    works(&other, &["publish", "hello"]);
}

#[test]
fn an_image_layout_in_a_folder_does_what_the_archive_does() {
    let site = exported();
    works(&site, &["export", "--oci", "hello", "FOLDER"]);
    for (name, _, content) in members(&site.path("FILE")) {
        assert!(fs::read(site.path("FOLDER").join(&name)).unwrap() == content, "{name}");
    }
    let again = works(&site, &["export", "--oci", "hello", "FOLDER"]);
    assert!(again.err.contains("of an earlier export were there and right"), "{}", again.err);
    let other = Site::new();
    works(&other, &["import", site.path("FOLDER").to_str().unwrap()]);
    assert!(works(&other, &["publish", "hello"]).out.starts_with("hello@1 published: "));

    let said = site.run(&["export", "--oci", "hello", "profiles"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("profiles has files in it and is not an OCI image layout"), "{}", said.err);
    let said = site.run(&["export", "hello", "FOLDER"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("FOLDER is a folder; name a file, or write --oci"), "{}", said.err);
}

#[test]
fn several_bundles_travel_together_and_one_of_each_profile_is_staged() {
    let site = exported();
    site.write("profiles/hello/root/etc/motd", "changed\n");
    works(&site, &["build", "hello"]);
    works(&site, &["publish", "hello"]);
    site.write(
        "profiles/other/profile.toml",
        "overlays = [\"base\"]\npackages = [\"nano\"]\n[alpine]\nflavor = \"lts\"\n",
    );
    works(&site, &["build", "other"]);
    let exported = works(&site, &["export", "other", "hello@2", "hello@1", "ALL"]);
    assert_eq!(exported.out.lines().count(), 3, "{}", exported.out);

    let target = Site::new();
    let imported = works(&target, &["import", site.path("ALL").to_str().unwrap()]);
    let [old, new] = ["hello@1", "hello@2"].map(|reference| id(&site, reference));
    let mut ids = [&old[..12], &new[..12]];
    ids.sort_unstable();
    let next = format!(
        "next: bivouac publish ID, with the one of profile hello you want: {}\nnext: bivouac publish other\n",
        ids.join(", ")
    );
    assert!(imported.out.ends_with(&next), "{}", imported.out);
    let said = target.run(&["publish", "hello"]);
    assert!(said.err.contains("profile `hello` has nothing to publish"), "{}", said.err);
    assert!(works(&target, &["publish", &old[..12], "other"]).out.contains("other@1 published: "));
    assert_eq!(id(&target, "hello"), old);
    works(&target, &["publish", &new]);
    assert_eq!(id(&target, "hello"), new);
}

#[test]
fn a_blob_that_is_damaged_in_the_store_is_not_exported() {
    let site = exported();
    let whole = fs::read(site.path("FILE")).unwrap();
    let manifest: Value = serde_json::from_str(&works(&site, &["show", "hello", "--json"]).out).unwrap();
    let kernel = manifest["kernel"]["sha256"].as_str().unwrap();
    let blob = site.path("state/store/blobs").join(&kernel[..2]).join(kernel);
    let mut bytes = fs::read(&blob).unwrap();
    bytes[0] ^= 1;
    fs::write(&blob, &bytes).unwrap();
    for arguments in
        [&["export", "hello", "NEW"][..], &["export", "hello", "FILE"], &["export", "--oci", "hello", "FOLDER"]]
    {
        let ran = site.run(arguments);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert_eq!(ran.out, "");
        let expected = format!("{kernel} has SHA-256 {}, and {kernel} was expected; delete it", Digest::of(&bytes));
        assert!(ran.err.contains(&expected), "{}", ran.err);
    }
    assert!(!site.path("NEW").exists() && !site.path("FOLDER/index.json").exists());
    assert!(fs::read(site.path("FILE")).unwrap() == whole, "the old file stays");
}

#[test]
fn a_damaged_or_cut_archive_is_refused_with_what_was_expected_and_found() {
    let (site, target) = (exported(), Site::new());
    let (whole, file) = (fs::read(site.path("FILE")).unwrap(), target.path("BAD"));
    let all = members(&site.path("FILE"));

    for length in [0, 100, 512, 700, whole.len() / 2, whole.len() - 1600] {
        fs::write(&file, &whole[..length]).unwrap();
        refused(&target, &file, &["cannot import SITE/BAD"]);
    }
    // In the middle of the last file, and of its header.
    let size = all.last().unwrap().2.len();
    let end = whole.len() - 1024 - size.next_multiple_of(512);
    fs::write(&file, &whole[..end + size / 2]).unwrap();
    refused(&target, &file, &[" ends at byte ", "it is cut off; copy it again"]);
    fs::write(&file, &whole[..end - 100]).unwrap();
    refused(&target, &file, &["is the last that can be read", "copy it again"]);

    // Each member in turn with one other bit.
    for place in 0..all.len() {
        let mut changed = all.clone();
        let content = &mut changed[place].2;
        let last = content.len() - 2;
        content[last] ^= 1;
        write(&file, &changed);
        let name = &changed[place].0;
        match name.strip_prefix("blobs/sha256/") {
            Some(hex) => {
                let found = Digest::of(&changed[place].2);
                refused(&target, &file, &[&format!("{name} in SITE/BAD has SHA-256 {found}, and {hex} was expected")]);
            }
            None => refused(&target, &file, &["SITE/BAD"]),
        }
    }
    // Each member in turn left out, one byte longer, and twice.
    for place in 0..all.len() {
        let name = all[place].0.as_str();
        let mut changed = all.clone();
        changed.remove(place);
        write(&file, &changed);
        refused(&target, &file, &[&format!("SITE/BAD has no {name}, which is ")]);
        if name.starts_with("blobs/") {
            let mut changed = all.clone();
            changed[place].2.push(0);
            write(&file, &changed);
            let (found, expected) = (changed[place].2.len(), all[place].2.len());
            let says = format!("{name} in SITE/BAD has {found} bytes, and {expected} were expected");
            refused(&target, &file, &[&says]);
        }
        let mut changed = all.clone();
        changed.push(all[place].clone());
        write(&file, &changed);
        refused(&target, &file, &[&format!("its member `{name}` is there twice")]);
    }
    fs::write(&file, "no archive").unwrap();
    refused(&target, &file, &["SITE/BAD does not hold exported bundles"]);
    refused(&target, &target.path("nowhere"), &["cannot open SITE/nowhere"]);
    refused(&target, Path::new("/dev/null"), &["/dev/null does not hold exported bundles: it is neither a file nor"]);
    refused(&target, &target.path("profiles"), &["SITE/profiles has no oci-layout"]);

    write(&file, &all.iter().rev().cloned().collect::<Vec<_>>());
    works(&target, &["import", "BAD"]);
}

#[test]
fn hostile_members_are_refused_by_name() {
    let (site, target) = (exported(), Site::new());
    let all = members(&site.path("FILE"));
    let file = target.path("BAD");
    let blob = format!("blobs/sha256/{}", "0".repeat(64));
    for (name, kind, says) in [
        ("/etc/passwd", EntryType::Regular, "has a name that nothing in an OCI image layout has"),
        ("../../escape", EntryType::Regular, "has a name that nothing"),
        ("blobs/sha256/../../../escape", EntryType::Regular, "has a name that nothing"),
        ("./manifest.json", EntryType::Regular, "has a name that nothing"),
        (&blob, EntryType::Symlink, "is of the wrong kind (Symlink)"),
        (&blob, EntryType::Link, "is of the wrong kind (Link)"),
        (&blob, EntryType::Block, "is of the wrong kind (Block)"),
        ("blobs", EntryType::Symlink, "is of the wrong kind (Symlink)"),
    ] {
        for place in [0, all.len()] {
            let mut changed = all.clone();
            changed.insert(place, (name.to_owned(), kind, Vec::new()));
            write(&file, &changed);
            refused(&target, &file, &[&format!("SITE/BAD is refused: its member `{name}` {says}")]);
        }
    }
    assert!(!target.path("../escape").exists());

    let mut changed = all.clone();
    changed[1].2 = vec![b' '; (16 << 20) + 1];
    write(&file, &changed);
    refused(&target, &file, &["its member `index.json` is larger than 16777216 bytes"]);
    for text in ["", "[", "{}", "{\"manifests\":[{}]}", &"[".repeat(100_000)] {
        changed[1].2 = text.into();
        write(&file, &changed);
        refused(&target, &file, &["index.json in SITE/BAD cannot be read"]);
    }
    changed[1].2 = br#"{"schemaVersion":2,"manifests":[]}"#.to_vec();
    write(&file, &changed);
    refused(&target, &file, &["SITE/BAD does not hold exported bundles: its index.json names no bundle"]);
}

#[test]
fn forged_documents_are_refused_though_their_digests_are_right() {
    let (site, target) = (exported(), Site::new());
    let all = members(&site.path("FILE"));
    let file = target.path("BAD");
    let try_it = |manifest: &dyn Fn(String) -> String, image: &dyn Fn(&mut Value), parts: &[&str]| {
        let mut changed = all.clone();
        forge(&mut changed, manifest, image);
        write(&file, &changed);
        refused(&target, &file, parts);
    };
    let same = |text: String| text;
    let as_it_is = |_: &mut Value| {};
    try_it(&|text| format!(" {text}"), &as_it_is, &["is not the manifest of a bundle", "is not in canonical form"]);
    try_it(
        &|text| text.replace("{\"format\":2", "{\"\\u001b[2J\":0,\"format\":2"),
        &as_it_is,
        &["unknown field `\\u{1b}[2J`"],
    );
    try_it(
        &|text| text.replace("{\"format\":2", "{\"format\":9"),
        &as_it_is,
        &["the manifest has format 9, and this program reads format 2"],
    );
    try_it(
        &|text| text.replace("\"vmlinuz-virt\"", "\"../vmlinuz\""),
        &as_it_is,
        &["`../vmlinuz` is not a name for a file"],
    );
    // A file nobody has.
    let lost = "1".repeat(64);
    let kernel: Value = serde_json::from_str(&works(&site, &["show", "hello", "--json"]).out).unwrap();
    let kernel = kernel["kernel"]["sha256"].as_str().unwrap();
    try_it(&|text| text.replace(kernel, &lost), &as_it_is, &[&format!("does not list the file {lost} of bundle ")]);
    try_it(
        &|text| text.replace(kernel, &lost),
        &|image| image["layers"][1]["digest"] = format!("sha256:{lost}").into(),
        &[&format!("SITE/BAD has no blobs/sha256/{lost}, which is a file of bundle ")],
    );
    let drop_kernel = |image: &mut Value| {
        image["layers"].as_array_mut().unwrap().remove(1);
    };
    try_it(&same, &drop_kernel, &[&format!("does not list the file {kernel} of bundle ")]);
    let drop_manifest = |image: &mut Value| {
        image["layers"].as_array_mut().unwrap().remove(0);
    };
    try_it(&same, &drop_manifest, &["has not exactly one manifest of a bundle"]);
    let twice = |image: &mut Value| {
        let first = image["layers"][0].clone();
        image["layers"].as_array_mut().unwrap().push(first);
    };
    try_it(&same, &twice, &["has not exactly one manifest of a bundle"]);
    try_it(&same, &|image| image["artifactType"] = "text/plain".into(), &["names no bundle"]);
    try_it(&same, &|image| image["config"]["digest"] = "sha512:00".into(), &["by a digest that is not SHA-256"]);
    try_it(&same, &|image| image["config"]["size"] = 7.into(), &["bytes, and 7 were expected"]);
}

#[test]
fn a_folder_that_leads_elsewhere_is_refused() {
    let site = exported();
    works(&site, &["export", "--oci", "hello", "FOLDER"]);
    let target = Site::new();
    let secret = target.path("secret");
    fs::write(&secret, "secret").unwrap();
    let blobs = site.path("FOLDER/blobs/sha256");
    let some: PathBuf = fs::read_dir(&blobs).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(&some).unwrap();
    std::os::unix::fs::symlink(&secret, &some).unwrap();
    refused(&target, &site.path("FOLDER"), &["is not a regular file"]);
}

/// Needs skopeo, which scripts/check installs, as it does for the boot tests.
#[cfg(feature = "boot-tests")]
#[test]
fn skopeo_reads_and_moves_what_was_exported() {
    let site = exported();
    works(&site, &["export", "--oci", "hello", "FOLDER"]);
    let bundle = id(&site, "hello");
    let name = format!("hello-{}", &bundle[..12]);
    let skopeo = |arguments: &[&str]| {
        let mut command = std::process::Command::new("skopeo");
        let output = command.arg("--insecure-policy").args(arguments).current_dir(site.folder.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let (archive, folder) = (format!("oci-archive:FILE:{name}"), format!("oci:FOLDER:{name}"));
    for place in [&archive, &folder] {
        let shown: Value = serde_json::from_slice(&skopeo(&["inspect", place])).unwrap();
        assert_eq!(shown["Labels"]["org.opencontainers.image.title"], "hello");
        assert_eq!((&shown["Architecture"], &shown["Os"]), (&"amd64".into(), &"linux".into()));
        assert_eq!(shown["Layers"][0], format!("sha256:{bundle}"));
        let image: Value = serde_json::from_slice(&skopeo(&["inspect", "--raw", place])).unwrap();
        assert_eq!(image["artifactType"], "application/vnd.bivouac.bundle.v1");
        skopeo(&["inspect", "--config", place]);
    }
    // There and back again, as an image of another name in another index.
    skopeo(&["copy", &archive, "oci:MOVED:other"]);
    skopeo(&["copy", "oci:MOVED:other", "oci-archive:BACK:third"]);
    skopeo(&["copy", &folder, "oci-archive:STRAIGHT"]);
    for place in ["MOVED", "BACK", "STRAIGHT"] {
        let target = Site::new();
        let imported = works(&target, &["import", site.path(place).to_str().unwrap()]);
        assert!(imported.out.starts_with(&format!("imported hello {bundle}: ")), "{}", imported.out);
    }
}

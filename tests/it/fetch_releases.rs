//! Which release is meant, and the set of files that comes of it.

use std::fs;

use bivouac::fetch::{InitramfsFacts, Mirror};
use bivouac::model::digest::{Digest, Digest512};

use crate::support::alpine::{FOLDER, LIST, Member, Stage, TARBALL, kernel, list, members, tarball};
use crate::support::server::{Reply, downloader};

#[tokio::test]
async fn latest_stable_becomes_the_branch_it_stands_for() {
    let stage = Stage::good().await;
    let release = stage.resolve("latest-stable").await.unwrap();
    assert_eq!(release.branch.to_string(), "v3.24");
    assert_eq!(release.version.to_string(), "3.24.1");
    assert_eq!(release.size, Some(tarball(&members()).len() as u64));
    stage.mirror.netboot_set(&release, &"lts".parse().unwrap(), &stage.cache).await.unwrap();
    assert_eq!(stage.server.requests(), ["/latest-stable/releases/x86_64/latest-releases.yaml", TARBALL]);
}

#[tokio::test]
async fn a_branch_and_a_listed_version_give_the_same_release() {
    let stage = Stage::good().await;
    let release = stage.resolve("3.24").await.unwrap();
    assert_eq!(stage.resolve("3.24.1").await.unwrap(), release);
    assert_eq!(stage.server.requests(), [LIST, LIST]);
    assert_eq!(stage.mirror.repository(release.branch, "main"), format!("{}/v3.24/main", stage.server.base));
}

#[tokio::test]
async fn a_version_that_is_no_longer_listed_is_known_by_its_checksum_files() {
    let stage = Stage::good().await;
    let (old, name) = (tarball(&members()), "alpine-netboot-3.24.0-x86_64.tar.gz");
    let path = format!("{FOLDER}/{name}");
    stage.server.put(&path, Reply::File(old.clone()));
    stage.server.put(format!("{path}.sha256"), Reply::File(format!("{}  {name}\n", Digest::of(&old)).into()));
    let error = stage.resolve("3.24.0").await.unwrap_err();
    assert_eq!(stage.server.chain(&error), format!("BASE{path}.sha512 does not exist on the server (404 Not Found)"));
    stage.server.put(format!("{path}.sha512"), Reply::File(format!("{}  {name}\n", Digest512::of(&old)).into()));
    for _ in ["with a list", "without one"] {
        let release = stage.resolve("3.24.0").await.unwrap();
        assert_eq!((release.version.to_string(), release.size), ("3.24.0".to_owned(), None));
        stage.mirror.netboot_set(&release, &"lts".parse().unwrap(), &stage.cache).await.unwrap();
        stage.server.remove(LIST);
    }
}

#[tokio::test]
async fn what_does_not_exist_is_said_with_what_does() {
    let stage = Stage::good().await;
    let refusal = async |spec: &str| stage.server.chain(&stage.resolve(spec).await.unwrap_err());
    assert_eq!(
        refusal("3.24.9").await,
        "there is no netboot release 3.24.9 for x86_64: BASE/v3.24/releases/x86_64/alpine-netboot-3.24.9-x86_64.tar.gz.sha256 \
         does not exist; the newest of that branch is 3.24.1"
    );
    assert_eq!(
        refusal("3.25.0").await,
        "there is no netboot release 3.25.0 for x86_64: BASE/v3.25/releases/x86_64/alpine-netboot-3.25.0-x86_64.tar.gz.sha256 \
         does not exist"
    );
    assert_eq!(
        refusal("3.25").await,
        "there are no releases of `v3.25` for x86_64: BASE/v3.25/releases/x86_64/latest-releases.yaml does not exist; a branch \
         may exist before its first release, otherwise check the release and the architecture"
    );
    stage
        .server
        .put("/v3.25/releases/x86_64/latest-releases.yaml", Reply::File(b"---\n- flavor: alpine-virt\n".into()));
    assert_eq!(
        refusal("3.25").await,
        "`v3.25` has no netboot release for x86_64 yet, says BASE/v3.25/releases/x86_64/latest-releases.yaml; choose an older \
         branch or another architecture"
    );
}

#[tokio::test]
async fn a_list_in_the_wrong_folder_or_of_the_wrong_form_is_refused() {
    let stage = Stage::good().await;
    let refusal = async |spec: &str| stage.server.chain(&stage.resolve(spec).await.unwrap_err());
    stage.server.put("/v3.23/releases/x86_64/latest-releases.yaml", Reply::File(list(b"").into()));
    assert_eq!(
        refusal("3.23").await,
        "cannot use BASE/v3.23/releases/x86_64/latest-releases.yaml; the mirror may be broken: use another one | it names the \
         branch `v3.24`, expected `v3.23`"
    );
    stage.server.put(LIST, Reply::File(b"not: [a list".into()));
    let malformed = refusal("3.24").await;
    assert!(
        malformed.starts_with(&format!(
            "cannot use BASE{LIST}; the mirror may be broken: use another one | it is not a list of releases: "
        )),
        "{malformed}"
    );
    stage.server.put(LIST, Reply::File(vec![b'#'; (1 << 20) + 1]));
    assert_eq!(
        refusal("3.24").await,
        format!(
            "BASE{LIST} has more than 1048576 bytes, which is all it may have; the mirror may be broken: use another one"
        )
    );
}

#[tokio::test]
async fn a_set_is_unpacked_and_recorded() {
    let stage = Stage::good().await;
    let set = stage.set("lts").await.unwrap();
    assert_eq!(set.kernel_version.as_deref(), Some("6.18.1-0-lts"));
    assert_eq!(stage.read(&set.kernel.path), kernel("6.18.1-0-lts"));
    assert_eq!(stage.read(&set.modloop.path), b"hsqs lts");
    for file in [&set.kernel, &set.initramfs, &set.modloop] {
        let bytes = stage.read(&file.path);
        assert_eq!((Digest::of(&bytes), bytes.len() as u64), (file.digest, file.size));
    }
    let facts = InitramfsFacts::load(&set.initramfs.path).unwrap();
    assert_eq!(facts.apk_keys, [("alpine.rsa.pub".to_owned(), b"PEM".to_vec())]);
    let digest = Digest::of(&tarball(&members()));
    let folder = format!("netboot/{digest}-lts");
    let files = ["initramfs-lts", "modloop-lts", "set.json", "vmlinuz-lts"].map(|it| format!("{folder}/{it}"));
    assert_eq!(stage.cached(), [[folder].as_slice(), &files, &[format!("tarballs/{digest}.tar.gz")]].concat());
}

#[tokio::test]
async fn a_second_fetch_only_asks_what_the_name_means() {
    let stage = Stage::good().await;
    let set = stage.set("lts").await.unwrap();
    assert_eq!(stage.server.requests(), [LIST, TARBALL]);
    assert_eq!(stage.set("lts").await.unwrap(), set);
    assert_eq!(stage.server.requests(), [LIST]);
    // Another flavor is in the same tarball.
    assert_eq!(stage.set("virt").await.unwrap().kernel_version.as_deref(), Some("6.18.1-0-virt"));
    assert_eq!(stage.server.requests(), [LIST]);
}

#[tokio::test]
async fn what_was_damaged_in_the_cache_is_made_again() {
    let stage = Stage::good().await;
    let set = stage.set("lts").await.unwrap();
    // A short file, an unreadable record, a missing file: each from the tarball at hand.
    fs::write(&set.modloop.path, b"hsqs").unwrap();
    assert_eq!(stage.set("lts").await.unwrap(), set);
    fs::write(set.kernel.path.with_file_name("set.json"), b"{}").unwrap();
    assert_eq!(stage.set("lts").await.unwrap(), set);
    fs::remove_file(&set.kernel.path).unwrap();
    assert_eq!(stage.set("lts").await.unwrap(), set);
    assert_eq!(stage.server.requests(), [LIST, TARBALL, LIST, LIST, LIST]);
    // With the tarball damaged too, by a download. The damage is in the middle, where no length shows it.
    let tarball = stage.folder.path().join(format!("cache/tarballs/{}.tar.gz", set.release.sha256));
    let mut bytes = stage.read(&tarball);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&tarball, bytes).unwrap();
    fs::remove_file(&set.kernel.path).unwrap();
    assert_eq!(stage.set("lts").await.unwrap(), set);
    assert_eq!(stage.read(&set.kernel.path), kernel("6.18.1-0-lts"));
    assert_eq!(stage.server.requests(), [LIST, TARBALL]);
}

#[tokio::test]
async fn another_tarball_under_the_name_of_a_verified_one_is_not_unpacked() {
    let stage = Stage::good().await;
    let set = stage.set("lts").await.unwrap();
    let tarball_path = stage.folder.path().join(format!("cache/tarballs/{}.tar.gz", set.release.sha256));
    // Sound in itself, with one member more than the one that was verified.
    let mut other = members();
    other.push(Member::file("boot/extra", b"x"));
    fs::write(&tarball_path, tarball(&other)).unwrap();
    fs::remove_file(&set.kernel.path).unwrap();
    stage.server.requests();
    assert_eq!(stage.set("lts").await.unwrap(), set);
    assert_eq!(stage.server.requests(), [LIST, TARBALL]);
    assert_eq!(stage.read(&tarball_path), tarball(&members()));
}

#[tokio::test]
async fn leftovers_of_a_crash_are_swept() {
    let stage = Stage::good().await;
    for folder in ["tarballs", "netboot"] {
        fs::write(stage.folder.path().join("cache").join(folder).join(".tmp-crashed"), b"half").unwrap();
    }
    stage.set("lts").await.unwrap();
    assert!(stage.cached().iter().all(|it| !it.contains("tmp")), "{:?}", stage.cached());
}

#[tokio::test]
async fn two_fetches_at_once_download_once() {
    let stage = Stage::good().await;
    let release = stage.resolve("3.24").await.unwrap();
    let flavor = "lts".parse().unwrap();
    let fetch = || stage.mirror.netboot_set(&release, &flavor, &stage.cache);
    let (one, two) = tokio::join!(fetch(), fetch());
    assert_eq!(one.unwrap(), two.unwrap());
    assert_eq!(stage.server.requests(), [LIST, TARBALL]);
}

#[tokio::test]
async fn a_flavor_that_is_not_there_is_answered_with_those_that_are() {
    let stage = Stage::good().await;
    let error = stage.set("rpi").await.unwrap_err();
    assert_eq!(error.to_string(), "Alpine 3.24.1 for x86_64 has no kernel flavor `rpi`; it has `lts`, `virt`");
    // The tarball was verified and serves the next question.
    stage.set("lts").await.unwrap();
    assert_eq!(stage.server.requests(), [LIST, TARBALL, LIST]);
}

#[tokio::test]
async fn names_with_a_leading_dot_are_the_same_names() {
    let mut dotted = members();
    for member in &mut dotted {
        member.name = [b"./", member.name.as_slice()].concat();
    }
    dotted.push(Member::of(tar::EntryType::Link, "./boot/second-name"));
    let stage = Stage::with(tarball(&dotted)).await;
    assert_eq!(stage.read(&stage.set("lts").await.unwrap().modloop.path), b"hsqs lts");
}

#[tokio::test]
async fn a_mirror_needs_an_address_of_a_folder() {
    let refusal = |base: &str| Mirror::with(base, downloader()).unwrap_err().to_string();
    assert_eq!(
        refusal("file:///srv/alpine"),
        "`file:///srv/alpine` is not an address to download from: it must begin with http:// or https://"
    );
    assert_eq!(
        refusal("http://mirror.example/?x"),
        "`http://mirror.example/?x` is not an address to download from: it must name a folder, without `?` or `#`"
    );
    assert_eq!(
        refusal("https://me:secret@mirror.example/alpine"),
        "`https://me:***@mirror.example/alpine` is not an address to download from: it must not carry a user name or password"
    );
}

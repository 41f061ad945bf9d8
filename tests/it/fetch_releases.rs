//! Which release is meant, and the set of files that comes of it.

use std::fs;

use bivouac::fetch::Mirrors;
use bivouac::model::digest::{Digest, Digest512};

use crate::support::alpine::{
    FOLDER, LIST, Member, SIGNATURE, Stage, TARBALL, kernel, list, members, modloop, release, signer, tarball,
};
use crate::support::server::{Reply, Server, downloader};

#[tokio::test]
async fn latest_stable_becomes_the_branch_it_stands_for() {
    let stage = Stage::good().await;
    let release = stage.resolve("latest-stable").await.unwrap();
    assert_eq!(release.branch.to_string(), "v3.24");
    assert_eq!(release.version.to_string(), "3.24.1");
    assert_eq!(release.size, Some(tarball(&members()).len() as u64));
    let list = "/latest-stable/releases/x86_64/latest-releases.yaml";
    assert_eq!(stage.server.requests(), [list, SIGNATURE, TARBALL]);
}

#[tokio::test]
async fn a_version_that_was_fetched_before_is_given_without_a_request() {
    let stage = Stage::good().await;
    let release = stage.resolve("3.24").await.unwrap();
    assert_eq!(stage.server.requests(), [LIST, SIGNATURE, TARBALL]);
    assert_eq!(stage.resolve("3.24.1").await.unwrap(), release);
    assert_eq!(stage.server.requests(), Vec::<String>::new());
    let stage = Stage::good().await;
    assert_eq!(stage.resolve("3.24.1").await.unwrap(), release);
    assert_eq!(stage.server.requests(), [LIST, SIGNATURE, TARBALL]);
}

#[tokio::test]
async fn a_version_that_is_no_longer_listed_is_known_by_its_checksum_files() {
    for has_list in [true, false] {
        let stage = Stage::good().await;
        let (old, name) = (tarball(&members()), "alpine-netboot-3.24.0-x86_64.tar.gz");
        let path = format!("{FOLDER}/{name}");
        stage.server.put(&path, Reply::File(old.clone()));
        stage.server.put(format!("{path}.asc"), Reply::File(signer().sign(&old).into()));
        stage.server.put(format!("{path}.sha256"), Reply::File(format!("{}  {name}\n", Digest::of(&old)).into()));
        if !has_list {
            stage.server.remove(LIST);
        }
        let error = stage.resolve("3.24.0").await.unwrap_err();
        assert_eq!(
            stage.server.chain(&error),
            format!("BASE{path}.sha512 does not exist on the server (404 Not Found)")
        );
        stage.server.put(format!("{path}.sha512"), Reply::File(format!("{}  {name}\n", Digest512::of(&old)).into()));
        let release = stage.resolve("3.24.0").await.unwrap();
        assert_eq!((release.version.to_string(), release.size), ("3.24.0".to_owned(), None));
        stage.server.requests();
        assert_eq!(stage.resolve("3.24.0").await.unwrap(), release);
        assert_eq!(stage.server.requests(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn edge_is_found_by_its_name_and_by_the_date_of_a_snapshot() {
    let stage = Stage::good().await;
    let (bytes, folder) = (tarball(&members()), "/edge/releases/x86_64");
    let older = tarball(&[members(), vec![Member::file("boot/older", b"")]].into_iter().flatten().collect::<Vec<_>>());
    let snapshot = |date: &str, bytes: &[u8]| {
        let path = format!("{folder}/alpine-netboot-{date}-x86_64.tar.gz");
        let name = format!("alpine-netboot-{date}-x86_64.tar.gz");
        stage.server.put(&path, Reply::File(bytes.to_vec()));
        stage.server.put(format!("{path}.asc"), Reply::File(signer().sign(bytes).into()));
        stage.server.put(format!("{path}.sha256"), Reply::File(format!("{}  {name}\n", Digest::of(bytes)).into()));
        stage.server.put(format!("{path}.sha512"), Reply::File(format!("{}  {name}\n", Digest512::of(bytes)).into()));
    };
    snapshot("20260805", &bytes);
    snapshot("20260101", &older);
    let newest = list(&bytes).replace("v3.24", "edge").replace("3.24.1", "20260805");
    stage.server.put(format!("{folder}/latest-releases.yaml"), Reply::File(newest.into()));
    let release = stage.resolve("edge").await.unwrap();
    assert_eq!((release.branch.to_string(), release.version.to_string()), ("edge".into(), "20260805".into()));
    assert_eq!(stage.resolve("20260101").await.unwrap().version.to_string(), "20260101");
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
        "there are no releases of `v3.25` for x86_64: BASE/v3.25/releases/x86_64/latest-releases.yaml does not exist; check \
         the release and the architecture, `bivouac fetch --list` shows what there is"
    );
    stage.server.put("/v3.25/main/x86_64/APKINDEX.tar.gz", Reply::File(b"index".into()));
    assert_eq!(
        refusal("3.25").await,
        "branch `v3.25` is there for x86_64, but nothing of it is released yet: \
         BASE/v3.25/releases/x86_64/latest-releases.yaml does not exist; choose an older branch until then"
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
    assert_eq!(set.facts.kernel.as_deref(), Some("6.18.1-0-lts"));
    assert_eq!(set.release_key, Some(signer().fingerprint()));
    assert_eq!(stage.read(&set.kernel.path), kernel("6.18.1-0-lts"));
    assert_eq!(stage.read(&set.modloop.path), modloop("6.18.1-0-lts"));
    for file in [&set.kernel, &set.initramfs, &set.modloop] {
        let bytes = stage.read(&file.path);
        assert_eq!((Digest::of(&bytes), bytes.len() as u64), (file.digest, file.size));
    }
    assert_eq!(set.facts.apk_keys.into_iter().collect::<Vec<_>>(), [("alpine.rsa.pub".to_owned(), "PEM".to_owned())]);
    // Three files of each flavor, what is known of them, what `3.24` meant and what was seen; not the tarball.
    let cached = stage.cached();
    assert_eq!(cached.len(), 10, "{cached:?}");
    assert!(cached.contains(&format!("files/{}", set.kernel.digest)));
    assert!(cached.contains(&format!("releases/{}.json", set.release.sha256)));
    assert!(cached.contains(&"names/3.24-x86_64.json".to_owned()));
}

#[tokio::test]
async fn a_second_fetch_only_asks_what_the_name_means() {
    let stage = Stage::good().await;
    let set = stage.set("lts").await.unwrap();
    assert_eq!(stage.server.requests(), [LIST, SIGNATURE, TARBALL]);
    assert_eq!(stage.set("lts").await.unwrap(), set);
    assert_eq!(stage.server.requests(), [LIST]);
    // Another flavor was in the same tarball.
    assert_eq!(stage.set("virt").await.unwrap().facts.kernel.as_deref(), Some("6.18.1-0-virt"));
    assert_eq!(stage.server.requests(), [LIST]);
}

#[tokio::test]
async fn what_was_damaged_in_the_cache_is_fetched_again() {
    let stage = Stage::good().await;
    let set = stage.set("lts").await.unwrap();
    stage.server.requests();
    let replace = |path: &std::path::Path, bytes: &[u8]| {
        fs::remove_file(path).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let record = stage.folder.path().join(format!("cache/releases/{}.json", set.release.sha256));
    let mut changed = stage.read(&set.modloop.path);
    changed[300] ^= 1;
    // A short file, one byte of many, an unreadable record, a missing file.
    let damages: [&dyn Fn(); 4] = [
        &|| replace(&set.modloop.path, b"hsqs"),
        &|| replace(&set.modloop.path, &changed),
        &|| replace(&record, b"{}"),
        &|| fs::remove_file(&set.kernel.path).unwrap(),
    ];
    for damage in damages {
        damage();
        assert_eq!(stage.set("lts").await.unwrap(), set);
        assert_eq!(stage.server.requests(), [LIST, SIGNATURE, TARBALL]);
        assert_eq!(stage.read(&set.modloop.path), modloop("6.18.1-0-lts"));
    }
    // A file that was written again with the same bytes is as good.
    replace(&set.modloop.path, &modloop("6.18.1-0-lts"));
    assert_eq!(stage.set("lts").await.unwrap(), set);
    assert_eq!(stage.server.requests(), [LIST]);
}

#[tokio::test]
async fn a_download_that_a_crash_ended_is_continued() {
    let stage = Stage::good().await;
    let bytes = tarball(&members());
    let partial = stage.folder.path().join(format!("cache/partial/{}.tar.gz", Digest::of(&bytes)));
    fs::write(&partial, &bytes[..1000]).unwrap();
    let set = stage.set("lts").await.unwrap();
    assert_eq!(stage.server.requests(), [LIST, SIGNATURE, &format!("{TARBALL} bytes=1000-")]);
    assert_eq!(stage.read(&set.modloop.path), modloop("6.18.1-0-lts"));
    assert!(!partial.exists());
    // All of it was there already.
    let stage = Stage::good().await;
    fs::write(stage.folder.path().join(format!("cache/partial/{}.tar.gz", Digest::of(&bytes))), &bytes).unwrap();
    stage.set("lts").await.unwrap();
    assert_eq!(stage.server.requests(), [LIST, SIGNATURE]);
    // What was there was something else; then all of it is downloaded, once.
    for wrong in [vec![7; 1000], vec![7; bytes.len()], vec![7; bytes.len() + 1000]] {
        let stage = Stage::good().await;
        fs::write(stage.folder.path().join(format!("cache/partial/{}.tar.gz", Digest::of(&bytes))), wrong).unwrap();
        let set = stage.set("lts").await.unwrap();
        assert_eq!(stage.server.requests().last().map(String::as_str), Some(TARBALL));
        assert_eq!(stage.read(&set.kernel.path), kernel("6.18.1-0-lts"));
    }
}

#[tokio::test]
async fn leftovers_of_a_crash_are_swept() {
    let stage = Stage::good().await;
    for folder in ["unpack", "releases"] {
        fs::write(stage.folder.path().join("cache").join(folder).join(".tmp-crashed"), b"half").unwrap();
    }
    let unpacking = stage.folder.path().join("cache/unpack/.tmp-folder/deeper");
    fs::create_dir_all(&unpacking).unwrap();
    stage.set("lts").await.unwrap();
    assert!(stage.cached().iter().all(|it| !it.contains("tmp")), "{:?}", stage.cached());
    assert!(!unpacking.exists());
}

#[tokio::test]
async fn a_fetch_that_finds_everything_sweeps_the_leftovers_of_a_crash_too() {
    let stage = Stage::good().await;
    let (set, before) = (stage.set("lts").await.unwrap(), stage.cached());
    let cache = stage.folder.path().join("cache");
    // Killed after the last byte of the record, before the tarball was removed.
    let partial = cache.join(format!("partial/{}.tar.gz", set.release.sha256));
    for spec in ["3.24", "3.24.1"] {
        fs::write(&partial, tarball(&members())).unwrap();
        fs::write(cache.join("names/.tmp-crashed"), b"half").unwrap();
        // Swept by whoever is alone: a program that another test starts has every lock for a moment, until it runs.
        loop {
            assert_eq!(stage.ask(spec, "lts").await.unwrap(), set);
            if !partial.exists() {
                break;
            }
        }
        assert_eq!(stage.cached(), before);
    }
    // Somebody who is still at it keeps it.
    let held = fs::File::create(&partial).unwrap();
    held.lock().unwrap();
    assert_eq!(stage.set("lts").await.unwrap(), set);
    assert!(partial.exists());
}

#[tokio::test]
async fn two_fetches_at_once_download_once() {
    let stage = Stage::good().await;
    let (one, two) = tokio::join!(stage.set("lts"), stage.set("virt"));
    assert_eq!(one.unwrap().release, two.unwrap().release);
    let requests = stage.server.requests();
    assert_eq!(requests.iter().filter(|it| *it == TARBALL).count(), 1, "{requests:?}");
}

#[tokio::test]
async fn a_flavor_that_is_not_there_is_answered_with_those_that_are() {
    let stage = Stage::good().await;
    for _ in ["unpacked", "cached"] {
        let error = stage.set("rpi").await.unwrap_err();
        assert_eq!(error.to_string(), "Alpine 3.24.1 for x86_64 has no kernel flavor `rpi`; it has `lts`, `virt`");
    }
    // The tarball was verified and serves the next question.
    stage.set("lts").await.unwrap();
    assert_eq!(stage.server.requests(), [LIST, SIGNATURE, TARBALL, LIST, LIST]);
}

/// A second mirror for a stage, asked first.
async fn with_first(stage: &mut Stage) -> Server {
    let first = Server::start().await;
    stage.mirrors = Mirrors::new(&[first.base.clone(), stage.server.base.clone()], downloader()).unwrap();
    first
}

#[tokio::test]
async fn a_mirror_that_has_nothing_lags_or_lies_is_left_for_the_next_one() {
    let good = tarball(&members());
    let mut evil = good.clone();
    evil[good.len() / 2] ^= 1;
    let scenes: [&dyn Fn(&Server); 6] = [
        &|_| {},
        &|first| first.put(LIST, Reply::Page("<html>")),
        &|first| first.put(LIST, Reply::Status { status: 503, times: usize::MAX, bytes: vec![] }),
        // A list without its tarball, a tarball with other bytes, one that nobody signed.
        &|first| first.put(LIST, Reply::File(list(&good).into())),
        &|first| {
            release(first, &good);
            first.put(TARBALL, Reply::File(evil.clone()));
        },
        &|first| {
            release(first, &evil);
            first.remove(SIGNATURE);
        },
    ];
    for scene in scenes {
        let mut stage = Stage::with(good.clone()).await;
        let first = with_first(&mut stage).await;
        scene(&first);
        let set = stage.set("lts").await.unwrap();
        assert_eq!((set.release.sha256, stage.read(&set.kernel.path)), (Digest::of(&good), kernel("6.18.1-0-lts")));
        assert!(!first.requests().is_empty());
    }
}

#[tokio::test]
async fn a_tarball_that_one_mirror_began_is_continued_at_the_next() {
    let good = tarball(&members());
    let mut stage = Stage::with(good.clone()).await;
    let first = with_first(&mut stage).await;
    release(&first, &good);
    first.put(TARBALL, Reply::Cut { bytes: good, after: 1000, times: usize::MAX });
    stage.set("lts").await.unwrap();
    assert_eq!(first.requests(), [LIST, SIGNATURE, TARBALL]);
    assert_eq!(stage.server.requests(), [format!("{TARBALL} bytes=1000-")]);
}

#[tokio::test]
async fn when_no_mirror_helps_each_is_named_with_its_reason() {
    let mut stage = Stage::good().await;
    let first = with_first(&mut stage).await;
    first.put(LIST, Reply::Page("<html>"));
    stage.server.remove(SIGNATURE);
    let refusal = stage.refusal().await.replace(&first.base, "FIRST");
    assert!(refusal.starts_with("none of the 2 mirrors is of use\n  FIRST/v3.24/"), "{refusal}");
    assert!(refusal.contains("web page") && refusal.contains("is not signed"), "{refusal}");
}

#[tokio::test]
async fn offline_only_the_cache_is_used_and_what_is_missing_is_named() {
    let mut stage = Stage::good().await;
    stage.mirrors = stage.mirrors.clone().offline();
    let refusal = async |spec: &str| stage.ask(spec, "lts").await.unwrap_err().to_string();
    for spec in ["3.24", "3.24.1"] {
        assert_eq!(
            refusal(spec).await,
            format!(
                "Alpine {spec} x86_64 lts cannot be had offline; run `bivouac fetch --packages` once without --offline"
            )
        );
    }
    let online = Mirrors::new(&[stage.server.base.clone()], downloader()).unwrap();
    let offline = std::mem::replace(&mut stage.mirrors, online);
    let set = stage.set("lts").await.unwrap();
    stage.mirrors = offline;
    stage.server.requests();
    for spec in ["3.24", "3.24.1"] {
        assert_eq!(stage.ask(spec, "lts").await.unwrap(), set);
        assert_eq!(stage.ask(spec, "virt").await.unwrap().flavor.as_str(), "virt");
    }
    assert_eq!(
        refusal_of_stable(&stage).await,
        "Alpine latest-stable x86_64 lts (the cache has 3.24.1) cannot be had offline; run `bivouac fetch --packages` once without --offline"
    );
    assert_eq!(stage.server.requests(), Vec::<String>::new());
}

async fn refusal_of_stable(stage: &Stage) -> String {
    stage.ask("latest-stable", "lts").await.unwrap_err().to_string()
}

#[tokio::test]
async fn names_with_a_leading_dot_are_the_same_names() {
    let mut dotted = members();
    for member in &mut dotted {
        member.name = [b"./", member.name.as_slice()].concat();
    }
    dotted.push(Member::of(tar::EntryType::Link, "./boot/second-name"));
    let stage = Stage::with(tarball(&dotted)).await;
    assert_eq!(stage.read(&stage.set("lts").await.unwrap().modloop.path), modloop("6.18.1-0-lts"));
}

#[tokio::test]
async fn a_mirror_needs_an_address_of_a_folder() {
    let refusal = |base: &str| Mirrors::new(&[base.to_owned()], downloader()).unwrap_err().to_string();
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
        "`https://***@mirror.example/alpine` is not an address to download from: it must not carry a user name or password"
    );
}

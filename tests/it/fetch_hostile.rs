//! Mirrors that lie and tarballs that bite: each is refused with a reason, and nothing of it stays.

use bivouac::model::check::Check;
use bivouac::model::digest::{Digest, Digest512};
use tar::EntryType;

use crate::support::alpine::{
    KEY, LIST, Member, SIGNATURE, Stage, TARBALL, initramfs, kernel, list, members, modloop, pack, release, signer,
    tarball,
};
use crate::support::server::Reply;
use crate::support::signer::Signer;

const NAME: &str = "alpine-netboot-3.24.1-x86_64.tar.gz";

/// The refusal of a tarball that is listed as it is, with the tarball's name cut out.
async fn refusal_of(tarball: Vec<u8>) -> String {
    Stage::with(tarball).await.refusal().await.replace(NAME, "TARBALL")
}

/// The refusal of a good tarball with one more member.
async fn refusal_with(member: Member) -> String {
    refusal_of(tarball(&[vec![member], members()].into_iter().flatten().collect::<Vec<_>>())).await
}

#[tokio::test]
async fn a_tarball_of_another_length_is_refused_before_it_is_read() {
    let stage = Stage::good().await;
    let bytes = tarball(&members());
    let (expected, found) = (bytes.len(), bytes.len() - 10);
    stage.server.put(TARBALL, Reply::File(bytes[..found].to_vec()));
    assert_eq!(
        stage.refusal().await,
        format!(
            "BASE{TARBALL} has {found} bytes, expected {expected}; the mirror may be out of date or broken: use another one"
        )
    );
}

#[tokio::test]
async fn a_tarball_that_goes_on_past_its_length_is_refused() {
    let stage = Stage::good().await;
    let bytes = tarball(&members());
    let limit = bytes.len();
    stage.server.put(TARBALL, Reply::Chunked([bytes, vec![0; 1]].concat()));
    assert_eq!(
        stage.refusal().await,
        format!(
            "BASE{TARBALL} has more than {limit} bytes, which is all it may have; the mirror may be broken: use another one"
        )
    );
}

#[tokio::test]
async fn a_tarball_that_always_breaks_off_is_given_up() {
    let stage = Stage::good().await;
    let bytes = tarball(&members());
    let expected = bytes.len();
    stage.server.put(TARBALL, Reply::Cut { bytes, after: 100, times: usize::MAX });
    let refusal = stage.refusal().await;
    let start = format!(
        "gave up on BASE{TARBALL} after 3 attempts; check the network and the proxy settings, or use another mirror | \
         BASE{TARBALL} was cut off after 100 bytes, expected {expected} | "
    );
    assert!(refusal.starts_with(&start), "{refusal}");
}

#[tokio::test]
async fn a_tarball_that_ends_early_in_good_order_is_given_up() {
    let stage = Stage::good().await;
    let bytes = tarball(&members());
    let expected = bytes.len();
    stage.server.put(TARBALL, Reply::Chunked(bytes[..100].to_vec()));
    assert_eq!(
        stage.refusal().await,
        format!(
            "gave up on BASE{TARBALL} after 3 attempts; check the network and the proxy settings, or use another mirror | \
             BASE{TARBALL} was cut off after 100 bytes, expected {expected}"
        )
    );
}

#[tokio::test]
async fn a_page_in_place_of_the_tarball_or_the_list_is_called_one() {
    for path in [TARBALL, LIST] {
        let stage = Stage::good().await;
        stage.server.put(path, Reply::Page("<html>please log in</html>"));
        assert_eq!(
            stage.refusal().await,
            format!(
                "BASE{path} was answered with a web page instead of the file; a proxy or a login page may stand between"
            )
        );
    }
}

#[tokio::test]
async fn a_listed_tarball_that_is_not_there_is_named() {
    let stage = Stage::good().await;
    stage.server.remove(TARBALL);
    assert_eq!(stage.refusal().await, format!("BASE{TARBALL} does not exist on the server (404 Not Found)"));
    stage.server.put(TARBALL, Reply::Status { status: 403, times: usize::MAX, bytes: vec![] });
    assert_eq!(stage.refusal().await, format!("BASE{TARBALL} was answered with 403 Forbidden; the file was expected"));
}

#[tokio::test]
async fn another_content_is_refused_by_either_checksum() {
    let bytes = tarball(&members());
    let (short, long) = (Digest::of(&bytes).to_string(), Digest512::of(&bytes).to_string());
    for (algorithm, right) in [("SHA-256", short), ("SHA-512", long)] {
        let stage = Stage::good().await;
        let wrong = right.replace(|_| true, "0");
        stage.server.put(LIST, Reply::File(list(&bytes).replace(&right, &wrong).into_bytes()));
        assert_eq!(
            stage.refusal().await,
            format!(
                "BASE{TARBALL} has the {algorithm} checksum {right}, expected {wrong}; do not use it: try again or use another mirror"
            )
        );
    }
}

#[tokio::test]
async fn a_circle_of_redirects_is_left() {
    let stage = Stage::good().await;
    stage.server.put(TARBALL, Reply::Redirect("BASE/elsewhere"));
    stage.server.put("/elsewhere", Reply::Redirect("BASE/v3.24/releases/x86_64/alpine-netboot-3.24.1-x86_64.tar.gz"));
    assert_eq!(
        stage.refusal().await,
        format!(
            "BASE{TARBALL} is redirected in a way that is not followed; use another mirror | there are more than 5 redirects, \
             the last to BASE{TARBALL}"
        )
    );
}

#[tokio::test]
async fn names_that_lead_out_of_the_folder_are_refused() {
    for name in ["../../etc/passwd", "boot/../../x", "/etc/passwd", "boot\\..\\x"] {
        assert_eq!(
            refusal_with(Member::file(name, b"x")).await,
            format!("`{name}` in TARBALL does not have a plain relative name; the tarball is refused")
        );
    }
}

#[tokio::test]
async fn links_devices_and_pipes_are_refused() {
    let kinds = [EntryType::Symlink, EntryType::Char, EntryType::Block, EntryType::Fifo, EntryType::GNUSparse];
    for kind in kinds {
        assert_eq!(
            refusal_with(Member::of(kind, "boot/x")).await,
            "`boot/x` in TARBALL is not a regular file or a folder; the tarball is refused"
        );
    }
    for kind in [EntryType::Symlink, EntryType::Link, EntryType::Directory] {
        assert_eq!(
            refusal_with(Member::of(kind, "boot/vmlinuz-lts")).await,
            "`boot/vmlinuz-lts` in TARBALL is not a regular file or a folder; the tarball is refused"
        );
    }
}

#[tokio::test]
async fn a_file_that_is_there_twice_is_refused() {
    assert_eq!(
        refusal_with(Member::file("./boot/modloop-lts", b"x")).await,
        "`boot/modloop-lts` in TARBALL is there twice; the tarball is refused"
    );
}

#[tokio::test]
async fn extension_headers_cannot_smuggle_names_sizes_or_memory() {
    let extended = |kind, content: &[u8]| {
        let mut all = vec![Member { name: b"x".to_vec(), kind, content: content.to_vec() }];
        all.extend(members().into_iter().skip(3));
        refusal_of(tarball(&all))
    };
    assert_eq!(
        extended(EntryType::GNULongName, b"/etc/passwd\0").await,
        "`/etc/passwd` in TARBALL does not have a plain relative name; the tarball is refused"
    );
    assert_eq!(
        extended(EntryType::XHeader, b"14 path=../xy\n").await,
        "`../xy` in TARBALL does not have a plain relative name; the tarball is refused"
    );
    assert_eq!(
        extended(EntryType::XHeader, b"9 size=1\n").await,
        "`boot/modloop-lts` in TARBALL has an extension header that cannot be believed; the tarball is refused"
    );
    assert_eq!(
        extended(EntryType::XHeader, b"garbage").await,
        "`x` in TARBALL has an extension header that cannot be believed; the tarball is refused"
    );
    assert_eq!(
        extended(EntryType::GNULongName, &[b'a'; 20_000]).await,
        "`x` in TARBALL has an extension header that cannot be believed; the tarball is refused"
    );
}

#[tokio::test]
async fn a_bomb_is_refused_while_it_unpacks() {
    let bomb = tarball(&[Member::file("boot/System.map-lts", &vec![0; 70 << 20])]);
    let limit = 8 * bomb.len() + (64 << 20);
    assert_eq!(refusal_of(bomb).await, format!("TARBALL unpacks to more than {limit} bytes; the tarball is refused"));
}

#[tokio::test]
async fn what_is_no_tarball_is_refused() {
    let refusal = refusal_of(b"not gzip at all".to_vec()).await;
    assert!(refusal.starts_with("cannot unpack TARBALL; the tarball is refused | "), "{refusal}");
    let refusal = refusal_of(pack(&[b'x'; 2048])).await;
    assert!(refusal.starts_with("cannot unpack TARBALL; the tarball is refused | "), "{refusal}");
    // Cut off and compressed again: whole as far as gzip is concerned.
    let mut cut = vec![];
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(tarball(&members()).as_slice()), &mut cut).unwrap();
    let place = cut.windows(12).rposition(|it| it == b"6.18.1-0-lts").unwrap();
    assert_eq!(
        refusal_of(pack(&cut[..place + 4])).await,
        "`boot/vmlinuz-lts` in TARBALL is cut off; the tarball is refused"
    );
}

#[tokio::test]
async fn a_kernel_without_the_rest_is_refused() {
    let without =
        |name: &str| tarball(&members().into_iter().filter(|it| it.name != name.as_bytes()).collect::<Vec<_>>());
    for missing in ["boot/modloop-lts", "boot/initramfs-lts"] {
        assert_eq!(refusal_of(without(missing)).await, format!("TARBALL has no `{missing}`; the tarball is refused"));
    }
}

#[tokio::test]
async fn files_of_different_kernels_are_refused() {
    let mixed = |kernel: &[u8], initramfs: &[u8], modloop: &[u8]| {
        tarball(&[
            Member::file("boot/initramfs-lts", initramfs),
            Member::file("boot/modloop-lts", modloop),
            Member::file("boot/vmlinuz-lts", kernel),
        ])
    };
    let (one, two) = ("6.18.1-0-lts", "6.18.2-0-lts");
    for (of_kernel, of_initramfs, of_modloop) in [(two, one, one), (one, two, one), (one, one, two)] {
        assert_eq!(
            refusal_of(mixed(&kernel(of_kernel), &initramfs(of_initramfs, KEY), &modloop(of_modloop))).await,
            format!(
                "flavor `lts` of TARBALL is not one set: it has a kernel of {of_kernel}, an initramfs with modules of \
                 {of_initramfs} and a modloop with modules of {of_modloop}; the tarball is refused"
            )
        );
    }
    assert_eq!(
        refusal_of(mixed(&kernel("nonsense"), &initramfs(two, KEY), &modloop(two))).await,
        "cannot read boot/vmlinuz-lts of TARBALL; the tarball is refused | the kernel image's version text is not readable"
    );
    assert_eq!(
        refusal_of(mixed(&kernel(two), b"zstd, say", &modloop(two))).await,
        "cannot read boot/initramfs-lts of TARBALL; the tarball is refused | the bytes at offset 0 are neither a cpio newc \
         archive nor gzip"
    );
    let refusal = refusal_of(mixed(&kernel(two), &initramfs(two, KEY), b"hsqs")).await;
    assert!(refusal.starts_with("cannot read boot/modloop-lts of TARBALL; the tarball is refused | "), "{refusal}");
    // The kernel of another architecture has no such header, but it has the text in what it unpacks to.
    let packed = pack(format!("Linux version {one} (build@host) #1").as_bytes());
    let refusal = refusal_of(mixed(&packed, &initramfs(two, KEY), &modloop(two))).await;
    assert!(refusal.contains(&format!("a kernel of {one}, an initramfs with modules of {two}")), "{refusal}");
    // A kernel for a PC tells what it is.
    let refusal = refusal_of(mixed(b"MZ", &initramfs(two, KEY), &modloop(two))).await;
    assert!(refusal.contains("it has a kernel of an untold release"), "{refusal}");
    // The site may do without this check, and then the record says so.
    let mut stage = Stage::with(mixed(&kernel(one), &initramfs(two, KEY), &modloop(one))).await;
    stage.checks.off.insert(Check::Kernel);
    let facts = stage.set("lts").await.unwrap().facts;
    assert!(!facts.made.contains(&Check::Kernel) && facts.made.contains(&Check::Modloop));
    // Switched on again, the check is made of what is there.
    stage.checks.off.clear();
    assert!(stage.set("lts").await.unwrap_err().to_string().contains("is not one set"));
}

#[tokio::test]
async fn a_tarball_that_nobody_signed_or_somebody_else_is_refused() {
    let stage = Stage::good().await;
    stage.server.remove(SIGNATURE);
    assert_eq!(
        stage.refusal().await,
        format!(
            "{NAME} is not signed: BASE{SIGNATURE} does not exist; use another mirror, or switch the check `signature` off"
        )
    );
    let (other, bytes) = (Signer::new(2), tarball(&members()));
    stage.server.put(SIGNATURE, Reply::File(other.sign(&bytes).into()));
    let refusal = stage.refusal().await;
    for part in [
        &format!("BASE{SIGNATURE} is not a good signature of {NAME}; the tarball is refused | "),
        &other.fingerprint()[24..],
        &signer().fingerprint(),
        "0482D84022F52DF1C4E7CD43293ACD0907D9495A",
    ] {
        assert!(refusal.contains(part), "{part}: {refusal}");
    }
    stage.server.put(SIGNATURE, Reply::File(signer().sign(b"another file").into()));
    let refusal = stage.refusal().await;
    assert!(refusal.contains("is not a good signature of"), "{refusal}");
    stage.server.put(SIGNATURE, Reply::File(b"-----BEGIN PGP MESSAGE-----".to_vec()));
    let refusal = stage.refusal().await;
    assert!(refusal.contains("is not a good signature of"), "{refusal}");
}

#[tokio::test]
async fn without_the_check_a_tarball_needs_no_signature_and_with_it_again_it_does() {
    let mut stage = Stage::good().await;
    stage.server.remove(SIGNATURE);
    stage.checks.off.insert(Check::Signature);
    assert_eq!(stage.set("lts").await.unwrap().release_key, None);
    stage.checks.off.clear();
    assert!(stage.set("lts").await.unwrap_err().to_string().contains("is not signed"));
    stage.server.put(SIGNATURE, Reply::File(signer().sign(&tarball(&members())).into()));
    assert_eq!(stage.set("lts").await.unwrap().release_key, Some(signer().fingerprint()));
}

#[tokio::test]
async fn an_older_release_or_another_one_of_the_same_version_is_refused_once_the_newer_was_seen() {
    let mut stage = Stage::good().await;
    let seen = stage.set("lts").await.unwrap().release;
    let before = stage.cached();
    let old = list(b"x").replace("3.24.1", "3.24.0");
    stage.server.put(LIST, Reply::File(old.clone().into_bytes()));
    stage.server.put(LIST.replace("v3.24", "latest-stable"), Reply::File(old.into_bytes()));
    let error = stage.set("lts").await.unwrap_err();
    assert_eq!(
        stage.server.chain(&error),
        format!(
            "BASE{LIST} names release 3.24.0, and 3.24.1 was fetched before; the mirror is out of date, or somebody replays an \
             old list: use another mirror, or switch the check `replay` off"
        )
    );
    let other = tarball(&members()[..5]);
    release(&stage.server, &other);
    let error = stage.set("lts").await.unwrap_err();
    assert_eq!(
        stage.server.chain(&error),
        format!(
            "BASE{LIST} names a tarball of 3.24.1 with SHA-256 {}, and {} was fetched before; releases never change: use \
             another mirror, or switch the check `replay` off",
            Digest::of(&other),
            seen.sha256
        )
    );
    assert_eq!(stage.cached(), before);
    stage.checks.off.insert(Check::Replay);
    assert_eq!(stage.set("lts").await.unwrap().release.sha256, Digest::of(&other));
}

/// Puts a tarball onto the mirror as another version, signed at a time.
fn offer(stage: &Stage, version: &str, tarball: &[u8], signed_at: u32) {
    let branch = version.rsplit_once('.').unwrap().0;
    let of = |path: &str| path.replace("v3.24", &format!("v{branch}")).replace("3.24.1", version);
    let listed = list(tarball).replace("v3.24", &format!("v{branch}")).replace("3.24.1", version);
    stage.server.put(of(LIST), Reply::File(listed.into_bytes()));
    stage.server.put(of(TARBALL), Reply::File(tarball.to_vec()));
    stage.server.put(of(SIGNATURE), Reply::File(signer().at(signed_at).sign(tarball).into_bytes()));
}

/// A good tarball with something of its own.
fn another(name: &str) -> Vec<u8> {
    tarball(&[members(), vec![Member::file(name, b"")]].into_iter().flatten().collect::<Vec<_>>())
}

#[tokio::test]
async fn an_old_release_is_not_taken_for_a_new_one_whatever_it_is_called() {
    let stage = Stage::good().await;
    offer(&stage, "3.24.1", &another("boot/one"), 2_000);
    stage.set("lts").await.unwrap();
    // Signed before the one that is older by its name.
    offer(&stage, "3.24.2", &another("boot/zero"), 1_000);
    let refusal = stage.server.chain(&stage.set("lts").await.unwrap_err());
    assert_eq!(
        refusal,
        format!(
            "BASE{} was made 1970-01-01T00:16:40Z, and the signature of 3.24.1 1970-01-01T00:33:20Z; 3.24.2 cannot be that \
             release: the mirror passes one release off as another, use another mirror, or switch the check `replay` off",
            SIGNATURE.replace("3.24.1", "3.24.2")
        )
    );
    // The very tarball under another name.
    offer(&stage, "3.24.2", &another("boot/one"), 2_000);
    let refusal = stage.server.chain(&stage.set("lts").await.unwrap_err());
    assert!(refusal.contains("and it was fetched as alpine-netboot-3.24.1-x86_64.tar.gz"), "{refusal}");
    // An older version is not a newer tarball either.
    offer(&stage, "3.24.0", &another("boot/later"), 3_000);
    let refusal = stage.server.chain(&stage.ask("3.24.0", "lts").await.unwrap_err());
    assert!(refusal.contains("3.24.0 cannot be that release"), "{refusal}");
    // What is in order is taken.
    offer(&stage, "3.24.2", &another("boot/two"), 3_000);
    assert_eq!(stage.set("lts").await.unwrap().release.version.to_string(), "3.24.2");
}

#[tokio::test]
async fn what_latest_stable_led_to_is_not_forgotten_on_the_way_to_the_next_branch() {
    let stage = Stage::good().await;
    let latest = LIST.replace("v3.24", "latest-stable");
    let lead = |version: &str, branch: &str| {
        let text = list(&another(version)).replace("v3.24", branch).replace("3.24.1", version);
        stage.server.put(&latest, Reply::File(text.into_bytes()));
    };
    for (version, branch, time) in [("3.24.2", "v3.24", 2_000), ("3.25.0", "v3.25", 3_000)] {
        lead(version, branch);
        offer(&stage, version, &another(version), time);
        assert_eq!(stage.resolve("latest-stable").await.unwrap().version.to_string(), version);
    }
    offer(&stage, "3.24.1", &another("3.24.1"), 1_000);
    let refusal = stage.server.chain(&stage.set("lts").await.unwrap_err());
    assert!(refusal.contains("names release 3.24.1, and 3.24.2 was fetched before"), "{refusal}");
    for (version, branch) in [("20260805", "edge"), ("3.26.0_rc1", "v3.26")] {
        lead(version, branch);
        let refusal = stage.server.chain(&stage.resolve("latest-stable").await.unwrap_err());
        assert!(refusal.ends_with(&format!("it names {version}, which is not a stable release")), "{refusal}");
    }
}

#[tokio::test]
async fn a_tarball_for_another_architecture_is_refused() {
    let mut programs = bivouac::wire::cpio::Writer::new(0);
    programs.file("bin/busybox", 0o755, b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0").unwrap();
    let programs = bivouac::wire::gzip::gzip(&programs.finish());
    let mut all = members();
    for member in all.iter_mut().filter(|it| it.name.starts_with(b"boot/initramfs")) {
        member.content.extend(&programs);
    }
    assert_eq!(
        refusal_of(tarball(&all)).await,
        "boot/initramfs-lts of TARBALL is for another architecture than x86_64 (ELF machine 183, expected 62); the tarball is \
         refused"
    );
}

#[tokio::test]
async fn a_key_that_was_taken_out_vouches_for_nothing_any_more() {
    let mut stage = Stage::good().await;
    assert_eq!(stage.set("lts").await.unwrap().release_key, Some(signer().fingerprint()));
    stage.checks = bivouac::fetch::Checks::default();
    let refusal = stage.server.chain(&stage.set("lts").await.unwrap_err());
    assert!(refusal.contains("is not a good signature of"), "{refusal}");
    stage.checks.off.insert(Check::Signature);
    assert_eq!(stage.set("lts").await.unwrap().release_key, None);
}

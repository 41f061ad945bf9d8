//! Mirrors that lie and tarballs that bite: each is refused with a reason, and nothing of it stays.

use bivouac::model::digest::{Digest, Digest512};
use tar::EntryType;

use crate::support::alpine::{KEY, LIST, Member, Stage, TARBALL, initramfs, kernel, list, members, pack, tarball};
use crate::support::server::Reply;

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
    let place = cut.windows(8).position(|it| it == b"hsqs lts").unwrap();
    assert_eq!(
        refusal_of(pack(&cut[..place + 4])).await,
        "`boot/modloop-lts` in TARBALL is cut off; the tarball is refused"
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
async fn a_kernel_and_an_initramfs_of_different_builds_are_refused() {
    let mixed = |kernel: &[u8], initramfs: &[u8]| {
        tarball(&[
            Member::file("boot/initramfs-lts", initramfs),
            Member::file("boot/modloop-lts", b"hsqs"),
            Member::file("boot/vmlinuz-lts", kernel),
        ])
    };
    assert_eq!(
        refusal_of(mixed(&kernel("6.18.1-0-lts"), &initramfs("6.18.2-0-lts", KEY))).await,
        "TARBALL has kernel 6.18.1-0-lts but an initramfs with modules of 6.18.2-0-lts; the tarball is refused"
    );
    assert_eq!(
        refusal_of(mixed(&kernel("nonsense"), &initramfs("6.18.2-0-lts", KEY))).await,
        "cannot read boot/vmlinuz-lts of TARBALL; the tarball is refused | the kernel image's version text is not readable"
    );
    assert_eq!(
        refusal_of(mixed(&kernel("6.18.1-0-lts"), b"zstd, say")).await,
        "cannot read boot/initramfs-lts of TARBALL; the tarball is refused | the bytes at offset 0 are neither a cpio newc \
         archive nor gzip"
    );
    // A kernel for another architecture tells nothing; then the initramfs does.
    let stage = Stage::with(mixed(b"MZ", &initramfs("6.18.2-0-lts", KEY))).await;
    assert_eq!(stage.set("lts").await.unwrap().kernel_version.as_deref(), Some("6.18.2-0-lts"));
}

//! Releases: tarballs are verified by their signature, and another site can take them from here.

use super::{LAZY, ask, get, held, nothing_is_left};
use crate::support::alpine::{FOLDER, LIST, SIGNATURE, TARBALL};
use crate::support::server::{Pages, Reply};
use crate::support::site::Site;

#[test]
fn a_tarball_is_verified_and_kept_and_its_texts_are_passed_on() {
    let site = Site::published();
    let server = site.serve_with(LAZY, &[]);
    site.mirror.server.requests();
    for _ in 0..2 {
        assert_eq!(get(&server, &format!("/alpine{TARBALL}")).body, site.mirror.tarball);
    }
    // Before the file, its length is asked for.
    assert_eq!(site.mirror.server.requests(), [TARBALL, SIGNATURE, TARBALL]);
    for _ in 0..2 {
        let list = get(&server, &format!("/alpine{LIST}"));
        assert_eq!((list.status, list.header("cache-control")), (200, Some("no-cache")));
    }
    assert_eq!(site.mirror.server.requests(), [LIST, LIST]);
    server.kill();
    site.mirror.server.remove(TARBALL);
    let server = site.serve_with(LAZY, &[]);
    assert_eq!(get(&server, &format!("/alpine{TARBALL}")).body, site.mirror.tarball);
    assert_eq!(get(&server, &format!("/alpine{FOLDER}/alpine-virt-3.24.1-x86_64.iso")).status, 404);
}

#[test]
fn a_tarball_that_nobody_trusted_has_signed_is_refused() {
    let site = Site::published();
    let server = site.serve_with(LAZY, &[]);
    let mut changed = site.mirror.tarball.clone();
    changed[100] ^= 1;
    site.mirror.server.put(TARBALL, Reply::File(changed));
    assert_eq!(get(&server, &format!("/alpine{TARBALL}")).status, 502);
    site.mirror.server.put(TARBALL, Reply::File(site.mirror.tarball.clone()));
    site.mirror.server.put(SIGNATURE, Reply::File(b"no signature".to_vec()));
    assert_eq!(get(&server, &format!("/alpine{TARBALL}")).status, 502);
    assert_eq!(held(&site), [] as [&str; 0]);
    nothing_is_left(&site);
}

#[test]
fn another_site_builds_from_this_one() {
    let site = Site::published();
    let server = site.serve_with(LAZY, &[]);
    let other = Site::new();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_bivouac"));
    command.current_dir(other.folder.path()).args(["build", "hello", "--mirror"]);
    command
        .arg(format!("http://{}/alpine", server.address("HTTP")))
        .arg("--release-key")
        .arg(other.path("release.asc"));
    let output = command.env_remove("RUST_LOG").env_remove("BIVOUAC_SITE").env("NO_PROXY", "*").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(other.mirror.server.requests(), [] as [&str; 0]);
}

/// A site whose upstream shows its folders in this style, and has the files of the netboot sets one by one.
fn with_folders(pages: Pages) -> Site {
    let site = Site::published();
    for file in ["vmlinuz-virt", "initramfs-virt", "modloop-virt", "config-virt"] {
        site.mirror.server.put(format!("{FOLDER}/netboot-3.24.1/{file}"), Reply::File(vec![7; 100]));
    }
    site.mirror.server.show_folders(pages);
    site
}

#[test]
fn another_site_lists_what_there_is_through_this_one_and_nothing_is_downloaded_for_that() {
    let site = with_folders(Pages::Nginx);
    let server = site.serve_with(LAZY, &[]);
    let through = format!("http://{}/alpine", server.address("HTTP"));
    let direct = site.run(&["fetch", "--list"]);
    assert!(direct.out.contains("3.24.1") && direct.out.contains("virt 300 B"), "{}", direct.out);
    assert_eq!(site.run(&["fetch", "--list", "--mirror", &through]).out, direct.out);
    server.kill();
    // Where upstream shows no lengths, the tarball's is asked for, and known without the tarball.
    let site = with_folders(Pages::Python);
    let server = site.serve_with(LAZY, &[]);
    let through = format!("http://{}/alpine", server.address("HTTP"));
    site.mirror.server.requests();
    let listed = site.run(&["fetch", "--list", "--json", "--mirror", &through]).out;
    assert!(listed.contains(&format!("\"tarball\": {}", site.mirror.tarball.len())), "{listed}");
    assert!(!site.mirror.server.was_asked(SIGNATURE));
    assert_eq!(held(&site), [] as [&str; 0]);
    let head = ask(&server, "HEAD", &format!("/alpine{TARBALL}"), &[]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some(site.mirror.tarball.len().to_string().as_str()));
}

#[test]
fn the_page_of_a_folder_has_what_can_be_had_and_nothing_else_of_upstreams_page() {
    let site = with_folders(Pages::Nginx);
    let server = site.serve_with(LAZY, &[]);
    let page = get(&server, "/alpine/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert_eq!(page.header("cache-control"), Some("no-cache"));
    let folder = |path: &str| String::from_utf8(get(&server, path).body).unwrap();
    let links = |path: &str| -> Vec<String> {
        folder(path).split("href=\"").skip(1).map(|it| it.split('"').next().unwrap().to_owned()).collect()
    };
    assert_eq!(links("/alpine/"), ["../", "latest-stable/", "v3.24/"]);
    assert_eq!(links("/alpine/v3.24/"), ["../", "releases/"]);
    assert_eq!(links("/alpine/v3.24/releases/"), ["../", "x86_64/"]);
    let tarball = TARBALL.rsplit('/').next().unwrap();
    let signature = format!("{tarball}.asc");
    let expected = ["../", tarball, signature.as_str(), "latest-releases.yaml", "netboot-3.24.1/"];
    assert_eq!(links(&format!("/alpine{FOLDER}/")), expected);
    let kernels = ["../", "initramfs-virt", "modloop-virt", "vmlinuz-virt"];
    assert_eq!(links(&format!("/alpine{FOLDER}/netboot-3.24.1/")), kernels);
    let hostile =
        "<script>alert(1)</script><a href=\"x86_64/\">x</a><a href=\"x86&quot;><b>/\">y</a><a href=\"../../\">z</a>";
    site.mirror.server.put("/v3.24/releases/", Reply::Page(hostile));
    assert_eq!(links("/alpine/v3.24/releases/"), ["../", "x86_64/"]);
    assert!(!folder("/alpine/v3.24/releases/").contains("script"));
    for path in
        ["/alpine/v3.24/main/", "/alpine/v3.23/", "/alpine/v3.24/releases", "/alpine/v3.24/releases/x86_64/netboot/"]
    {
        assert_eq!(get(&server, path).status, 404, "{path}");
    }
    nothing_is_left(&site);
}

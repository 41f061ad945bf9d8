//! `bivouac mirror`: fills, counts, shows; and `gc` cleans up.

use std::time::UNIX_EPOCH;

use bivouac::disk;

use super::{LAZY, get, held, offer, path, small, upstream};
use crate::support::server::Reply;
use crate::support::site::{MAIN, Ran, Site};

fn sync(site: &Site, more: &[&str]) -> Ran {
    site.run(&[&["mirror", "sync", "3.24", "--repository", "main", "--arch", "x86_64"], more].concat())
}

fn status(site: &Site) -> serde_json::Value {
    let ran = site.run(&["mirror", "status", "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    serde_json::from_str(&ran.out).unwrap()
}

#[test]
fn a_branch_is_brought_once_and_served_without_upstream() {
    let site = Site::published();
    let (tree, nano) = (small("tree"), small("nano"));
    offer(&site, &[("tree", &tree), ("nano", &nano)]);
    let bytes = tree.len() + nano.len();
    let ran = sync(&site, &["--dry-run"]);
    assert_eq!((ran.code, ran.out), (Some(0), format!("2 packages, {bytes} B; to bring: 2, {bytes} B\n")));
    assert_eq!(held(&site), [] as [&str; 0]);
    let ran = sync(&site, &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(
        ran.out.ends_with(&format!("\nbrought 2 packages, {bytes} B; 0 were held; 0 cannot be had\n")),
        "{}",
        ran.out
    );
    site.mirror.server.requests();
    let ran = sync(&site, &[]);
    assert!(ran.out.ends_with("\nbrought 0 packages, 0 B; 2 were held; 0 cannot be had\n"), "{}", ran.out);
    assert_eq!(site.mirror.server.requests(), [] as [&str; 0]);
    for name in ["tree", "nano"] {
        site.mirror.server.remove(&upstream(name));
    }
    site.mirror.server.remove(&format!("{MAIN}/APKINDEX.tar.gz"));
    let server = site.serve_with(LAZY, &[]);
    assert_eq!((get(&server, &path("tree")).body, get(&server, &path("nano")).body), (tree, nano));
}

#[test]
fn what_cannot_be_brought_is_said_and_the_rest_is_there() {
    let site = Site::published();
    site.write("bivouac.toml", LAZY);
    let (tree, nano) = (small("tree"), small("nano"));
    offer(&site, &[("tree", &tree), ("nano", &nano)]);
    site.mirror.server.put(upstream("nano"), Reply::File(tree.clone()));
    let ran = sync(&site, &[]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("v3.24/main/x86_64/nano-1.0-r0.apk cannot be had from upstream: "), "{}", ran.err);
    assert!(ran.out.contains("brought 1 packages, "), "{}", ran.out);
    assert_eq!(held(&site).len(), 1);
    site.write("bivouac.toml", &format!("{LAZY}[caching-mirror]\nsize = \"500B\"\n"));
    let ran = sync(&site, &[]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("and `caching-mirror.size` is 500; raise it, or name fewer repositories"), "{}", ran.err);
    let ran = site.run(&["mirror", "sync", "v3.24", "--repository", "backports"]);
    assert!(
        ran.err.contains("the site does not mirror `backports`; add it to `caching-mirror.repositories`"),
        "{}",
        ran.err
    );
    let ran = site.run(&["mirror", "sync", "../x"]);
    assert!(ran.code == Some(2) && ran.err.contains("`../x` is not a branch of Alpine; write `3.24`"), "{}", ran.err);
}

#[test]
fn the_status_says_what_is_held_and_how_it_is_used() {
    let site = Site::published();
    let ran = site.run(&["mirror", "status"]);
    assert!(!site.path("state/mirror").exists());
    assert_eq!(
        ran.out,
        "0 files, 0 B of 20.00 GiB; no server is running\n\
         answers: 0 from here, 0 from upstream, 0 with an old index, 0 refused\n\
         served 0 B; took in 0 files, 0 B\n\
         no server has asked upstream yet\n"
    );
    let (tree, nano) = (small("tree"), small("nano"));
    offer(&site, &[("tree", &tree), ("nano", &nano)]);
    let server = site.serve_with(LAZY, &[]);
    for _ in 0..3 {
        get(&server, &path("tree"));
    }
    get(&server, &path("no"));
    assert_eq!(status(&site)["serving"], true);
    server.stop();
    let status = status(&site);
    assert_eq!(status["serving"], false);
    assert_eq!((&status["files"], &status["bytes"]), (&1.into(), &tree.len().into()));
    let totals = &status["totals"];
    let counts = ["hits", "misses", "stale", "refused", "downloads"].map(|name| totals[name].as_u64().unwrap());
    assert_eq!(counts, [2, 1, 0, 1, 1]);
    assert_eq!(totals["served_bytes"], 3 * tree.len());
    let repository = &status["repositories"][0];
    assert_eq!((&repository["branch"], &repository["repository"]), (&"v3.24".into(), &"main".into()));
    assert_eq!((&repository["packages"], &repository["held"]), (&2.into(), &1.into()));
    assert_eq!(repository["index"]["key"], crate::support::site::KEY);
    assert!(repository["index"]["checked"].is_string() && status["upstream"]["answered"].is_string());
    // The sums go on after a restart.
    let server = site.serve_with(LAZY, &[]);
    get(&server, &path("tree"));
    site.mirror.server.put(upstream("nano"), Reply::Status { status: 500, times: 100, bytes: Vec::new() });
    get(&server, &path("nano"));
    server.stop();
    let ran = site.run(&["mirror", "status"]);
    assert!(ran.out.contains("answers: 3 from here, 1 from upstream, 0 with an old index, 2 refused\n"), "{}", ran.out);
    assert!(ran.out.contains("\nupstream fails since "), "{}", ran.out);
    assert!(ran.out.contains("was answered with 500 Internal Server Error"), "{}", ran.out);
}

#[test]
fn what_nobody_asks_for_is_cleaned_up_and_a_server_goes_on() {
    let site = Site::published();
    let tree = small("tree");
    offer(&site, &[("tree", &tree)]);
    let server = site.serve_with(LAZY, &[]);
    assert_eq!(get(&server, &path("tree")).status, 200);
    assert_eq!(site.run(&["gc"]).out, "cache: nothing to remove\nstore: nothing to remove\n");
    let files = site.path("state/mirror/packages");
    disk::set_time(&files.join(&held(&site)[0]), UNIX_EPOCH).unwrap();
    let ran = site.run(&["gc", "--dry-run"]);
    assert!(ran.out.contains("caching mirror: 1 file would be removed, "), "{}", ran.out);
    assert_eq!(held(&site).len(), 1);
    let ran = site.run(&["gc"]);
    assert!(ran.out.contains("caching mirror: 1 file removed, "), "{}", ran.out);
    assert_eq!(held(&site), [] as [&str; 0]);
    assert_eq!(get(&server, &path("tree")).body, tree);
}

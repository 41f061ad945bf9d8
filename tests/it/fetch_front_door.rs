//! `bivouac fetch` as a user runs it, with mirrors that fail, lag and lie.

mod cache;
mod checks;
mod hostile;
mod list;
mod mirrors;
mod signatures;
mod tarballs;

use crate::support::alpine::LIST;
use crate::support::site::{Ran, Site};

/// The tarball's name.
const NAME: &str = "alpine-netboot-3.24.1-x86_64.tar.gz";

/// The list of releases that the profile `hello` is about.
fn stable_list() -> String {
    LIST.replace("v3.24", "latest-stable")
}

/// A site that gives up soon.
fn hasty_site() -> Site {
    let site = Site::new();
    site.write("bivouac.toml", "[fetch]\nattempts = 1\n");
    site
}

/// What a run that did what it should said.
fn done(ran: Ran) -> String {
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.out, ran.err);
    ran.out
}

/// Why a run failed: the error and its causes, without what came before them.
fn refusal(ran: &Ran) -> &str {
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
    // Before it are the lines of the log.
    let place = ran.err.rfind("\nerror: ").map_or(0, |it| it + 1);
    &ran.err[place..]
}

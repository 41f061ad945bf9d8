//! Releases that nobody signed, or somebody else, or long ago.

use super::hostile::{recovered, refused};
use super::{NAME, hasty_site, refusal, stable_list};
use crate::support::alpine::{SIGNATURE, list, signer};
use crate::support::server::Reply;
use crate::support::signer::Signer;

#[test]
fn a_signature_by_another_key() {
    let other = Signer::new(2);
    refused(
        |server, good| server.put(SIGNATURE, Reply::File(other.sign(good).into())),
        |_| {
            format!(
                "{}caused by: the file is signed by key {}, and only 0482D84022F52DF1C4E7CD43293ACD0907D9495A (Natanael Copa \
                 <ncopa@alpinelinux.org>), {} (Release <release@example.net>) are trusted\n",
                no_good_signature(),
                &other.fingerprint()[24..],
                signer().fingerprint()
            )
        },
    );
}

/// What is said of a signature that does not count, before the reason.
fn no_good_signature() -> String {
    format!("MIRROR{SIGNATURE} is not a good signature of NAME; the tarball is refused\n").replace(NAME, "NAME")
}

#[test]
fn no_signature() {
    refused(
        |server, _| server.remove(SIGNATURE),
        |_| {
            let said =
                format!("NAME is not signed: MIRROR{SIGNATURE} does not exist; use another mirror, or switch the");
            format!("{said} check `signature` off\n").replace(NAME, "NAME")
        },
    );
}

/// Makes a damaged signature of a tarball.
type Damage<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;

#[test]
fn a_damaged_signature() {
    let good = |bytes: &[u8]| signer().sign(bytes).into_bytes();
    // In the middle of the signature itself, for something else.
    let changed = |to: [u8; 2]| {
        move |bytes: &[u8]| {
            let mut text = good(bytes);
            text[120] = if text[120] == to[0] { to[1] } else { to[0] };
            text
        }
    };
    let other_bytes = format!(
        "the signature does not fit the file; one by the trusted key {} was expected, over exactly these bytes",
        signer().fingerprint()
    );
    let nothing = "it has neither a line `-----BEGIN PGP SIGNATURE-----` nor OpenPGP packets";
    let no_signature = |reason: &str| format!("the file is not an OpenPGP signature\ncaused by: {reason}");
    let cut = no_signature("the line `-----END PGP SIGNATURE-----` is missing; the file is cut off");
    let damages: [(Damage<'_>, String); 6] = [
        (&|_| good(b"another file"), other_bytes.clone()),
        (&changed(*b"AB"), other_bytes),
        (&changed(*b"!!"), no_signature("the armor is not base64")),
        (&|bytes| good(bytes)[..80].to_vec(), cut),
        (&|_| b"not a signature".to_vec(), no_signature(nothing)),
        (&|_| Vec::new(), no_signature(nothing)),
    ];
    for (damage, said) in damages {
        refused(
            |server, good| server.put(SIGNATURE, Reply::File(damage(good))),
            |_| format!("{}caused by: {said}\n", no_good_signature()),
        );
    }
}

#[test]
fn an_older_release_replayed_as_the_newest() {
    let site = hasty_site();
    recovered(&site);
    let before = site.cached();
    // It is as validly listed and signed as it was in its day.
    let old = list(&site.mirror.tarball).replace("3.24.1", "3.24.0");
    site.mirror.server.put(stable_list(), Reply::File(old.into()));
    let ran = site.run(&["fetch", "hello"]);
    assert_eq!(
        refusal(&ran),
        format!(
            "error: cannot fetch what profile `hello` needs\ncaused by: MIRROR{} names release 3.24.0, and 3.24.1 was \
             fetched before; the mirror is out of date, or somebody replays an old list: use another mirror, or switch \
             the check `replay` off\n",
            stable_list()
        )
    );
    assert_eq!(site.cached(), before);
    recovered(&site);
}

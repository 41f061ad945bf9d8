//! `bivouac new`: from nothing to a profile that builds.

use std::fs;

use crate::support::site::Site;

#[test]
fn a_new_profile_builds_as_it_is() {
    let site = Site::new();
    let ran = site.run(&["new", "kiosk"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    assert_eq!(
        ran.out,
        "profiles/kiosk is a new profile.\nNext:\n  edit profiles/kiosk/profile.toml, and put files into profiles/kiosk/root\n  \
         bivouac explain kiosk    what its machines would be\n  \
         bivouac build kiosk      a bundle of it; `up kiosk` publishes and serves it too\n"
    );
    let built = site.run(&["build", "kiosk"]);
    assert_eq!(built.code, Some(0), "{}", built.err);
    assert_eq!(fs::read_to_string(site.path("profiles/kiosk/root/etc/motd")).unwrap(), "This is kiosk.\n");
}

#[test]
fn a_new_profile_may_extend_another() {
    let site = Site::new();
    let ran = site.run(&["new", "loud", "--from", "hello"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let explained = site.run(&["explain", "loud", "etc/issue"]);
    assert!(explained.out.contains("profile hello"), "{}", explained.out);
    assert_eq!(site.run(&["build", "loud"]).code, Some(0));
}

#[test]
fn each_line_of_a_new_profile_may_be_switched_on_alone() {
    let site = Site::new();
    for arguments in [&["new", "kiosk"][..], &["new", "loud", "--from", "hello"], &["new", "calm", "--from", "kiosk"]] {
        assert_eq!(site.run(arguments).code, Some(0));
        let path = format!("profiles/{}/profile.toml", arguments[1]);
        let text = fs::read_to_string(site.path(&path)).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with('#') && !line.starts_with("# ")).collect();
        for (place, line) in lines.iter().enumerate().filter(|(_, line)| line.contains(" = ")) {
            // With the table it is in.
            let table = lines[..place].iter().rev().find(|line| line.starts_with("#["));
            let is_top =
                ["#hostname", "#timezone", "#keymap", "#remove", "#overlays"].iter().any(|it| line.starts_with(it));
            let mut on = text.replacen(line, &line[1..], 1);
            if let Some(table) = table.filter(|_| !is_top) {
                on = on.replacen(table, &table[1..], 1);
            }
            site.write(&path, &on);
            let ran = site.run(&["check", arguments[1]]);
            assert_eq!(ran.code, Some(0), "{line}: {}{}", ran.out, ran.err);
        }
        site.write(&path, &text);
    }
}

#[test]
fn nothing_is_written_when_it_cannot_be_a_profile() {
    let site = Site::new();
    let before = fs::read_to_string(site.path("profiles/hello/profile.toml")).unwrap();
    for (arguments, said) in [
        (&["new", "hello"][..], "error: profiles/hello is there already; choose another name, or remove it first\n"),
        (&["new", "Kiosk"], "`Kiosk` is not a name"),
        (&["new", "../x"], "`../x` is not a name"),
        (&["new", "loud", "--from", "helo"], "there is no profile `helo` in profiles; did you mean `hello`?"),
        (
            &["new", "loud", "--overlays", "none"],
            "a new profile uses the overlays `base`, `network`, `check-in`, and none has no `base`, `network`, `check-in`; copy",
        ),
    ] {
        let ran = site.run(arguments);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(ran.err.contains(said), "{arguments:?}: {}", ran.err);
    }
    assert_eq!(fs::read_to_string(site.path("profiles/hello/profile.toml")).unwrap(), before);
    // Overlays that are there and do not work: the error is theirs, and no half profile stays.
    site.write("overlays/base/overlay.toml", "packges = []");
    let ran = site.run(&["new", "loud"]);
    assert!(ran.err.contains("did you mean `packages`?"), "{}", ran.err);
    assert_eq!(bivouac::disk::list(&site.path("profiles")).unwrap(), ["hello"]);
}

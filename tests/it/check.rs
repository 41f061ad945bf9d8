//! `bivouac check`, and what a build says and stops at.

use serde_json::Value;

use crate::support::site::Site;

/// A site whose profile `vdi` has one error, one warning and one finding that it allows.
fn site() -> Site {
    let site = Site::new();
    site.write(
        "profiles/vdi/profile.toml",
        "overlays = [\"base\", \"network\"]\n[kernel]\nargs = [\"nomodeset\"]\n\
         [[allow]]\nrule = \"OVL-48\"\npath = \"etc/old/\"\nreason = \"a sample\"\n",
    );
    site.write("profiles/vdi/root/etc/local.d/a.start", "#!/bin/sh\n");
    site.write("profiles/vdi/root/etc/old/motd~", "");
    site
}

const TEXT: &str = "\
vdi: 1 error, 1 warning, 1 allowed

  error OVL-46  etc/local.d/a.start  [profile vdi]
    `etc/local.d/a.start` is not executable
    effect: it is passed over and never runs
    fix: `chmod +x` it, or give it the mode 0755 in `[files]`

  allowed OVL-48  etc/old/motd~  [profile vdi]
    `etc/old/motd~` looks like a leftover of an editor or of apk
    allowed: a sample

  warning ARG-4  [profile vdi]
    the kernel argument `nomodeset` is set
    effect: graphics fall back to a plain frame buffer
    fix: take `nomodeset` out of the kernel arguments

";

#[test]
fn a_profile_without_mistakes_ends_with_0() {
    let ran = Site::new().run(&["check", "hello"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), "hello: no mistakes found\n", ""));
}

#[test]
fn each_mistake_is_shown_with_file_rule_effect_and_fix_and_errors_end_with_1() {
    let site = site();
    let ran = site.run(&["check", "vdi"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(1), TEXT, ""));
    let all = site.run(&["check"]);
    assert_eq!((all.code, all.out), (Some(1), format!("hello: no mistakes found\n{TEXT}")));
    assert!(!site.path("state").exists(), "a check writes nothing");
}

#[test]
fn a_check_as_json_has_everything() {
    let ran = site().run(&["check", "vdi", "--json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let list: Value = serde_json::from_str(&ran.out).unwrap();
    let findings = list[0]["findings"].as_array().unwrap();
    assert_eq!((list[0]["profile"].as_str(), findings.len()), (Some("vdi"), 3));
    assert_eq!(
        findings[0],
        serde_json::json!({
            "rule": "OVL-46",
            "level": "error",
            "about": "a script that is not executable",
            "path": "etc/local.d/a.start",
            "layer": "profile vdi",
            "what": "`etc/local.d/a.start` is not executable",
            "effect": "it is passed over and never runs",
            "fix": "`chmod +x` it, or give it the mode 0755 in `[files]`",
            "allowed": null,
        })
    );
    assert_eq!(findings[1]["allowed"], "a sample");
}

#[test]
fn a_profile_that_cannot_be_read_ends_with_2() {
    let site = Site::new();
    for (profile, said) in [
        ("overlays = [\"bas\"]", "did you mean `base`?"),
        ("overlays = [\"base\"]\n[[allow]]\nrule = \"OVL-51\"\nreason = \"x\"", "names the rule `OVL-51`, which does"),
        (
            "overlays = [\"base\"]\n[[allow]]\nrule = \"OVL-15\"\nreason = \" \"",
            "say why this finding is not a mistake",
        ),
    ] {
        site.write("profiles/vdi/profile.toml", profile);
        let ran = site.run(&["check"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran:?}");
        assert!(ran.err.contains(said), "{}", ran.err);
    }
}

#[test]
fn errors_stop_a_build_all_at_once_and_warnings_do_not() {
    let site = site();
    site.write("profiles/vdi/root/etc/local.d/b.start", "#!/bin/sh\n");
    let ran = site.run(&["build", "vdi"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran:?}");
    for part in ["`etc/local.d/a.start` is not executable (OVL-46)", "`etc/local.d/b.start` is not", "[profile vdi]"] {
        assert!(ran.err.contains(part), "{}", ran.err);
    }
    assert!(!ran.err.contains("ARG-4"), "only errors stop a build: {}", ran.err);
    for name in ["a", "b"] {
        std::fs::remove_file(site.path(&format!("profiles/vdi/root/etc/local.d/{name}.start"))).unwrap();
    }
    let ran = site.run(&["build", "vdi"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let warned = "vdi: warning: the kernel argument `nomodeset` is set (ARG-4) [profile vdi]: graphics fall back";
    assert!(ran.err.contains(warned), "{}", ran.err);
    assert!(!ran.err.contains("OVL-48"), "what is allowed is not said again: {}", ran.err);
}

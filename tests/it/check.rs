//! `bivouac check`, and what a build says and stops at.

use serde_json::Value;

use crate::support::site::Site;

/// A site whose profile `vdi` has one error, one warning and one finding that it allows.
fn site() -> Site {
    let site = Site::without_key();
    site.write(
        "profiles/vdi/profile.toml",
        "overlays = [\"base\", \"network\"]\nservices.default = [\"local\"]\n[kernel]\nargs = [\"nomodeset\"]\n\
         [[allow]]\nrule = \"OVL-48\"\npath = \"etc/old/\"\nreason = \"a sample\"\n",
    );
    site.write("profiles/vdi/root/etc/local.d/a.start", "#!/bin/sh\n");
    site.write("profiles/vdi/root/etc/old/motd~", "");
    site
}

const TEXT: &str = "\
vdi: 1 error, 1 warning, 1 allowed

  error OVL-46: a script that is passed over because of its mode or name
    `etc/local.d/a.start` is not executable  [profile vdi, profiles/vdi/root/etc/local.d/a.start]
    effect: it is passed over and never runs
    fix: `chmod +x` it, or give it the mode 0755 in `[files]`

  allowed OVL-48: a leftover of an editor or of apk
    `etc/old/motd~` looks like a leftover of an editor or of apk  [profile vdi, profiles/vdi/root/etc/old/motd~]
    allowed: a sample

  warning ARG-4: a kernel argument that takes something away from the machine
    the kernel argument `nomodeset` is set  [profile vdi, profiles/vdi/profile.toml:4]
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
            "about": "a script that is passed over because of its mode or name",
            "path": "etc/local.d/a.start",
            "layer": "profile vdi",
            "file": "profiles/vdi/root/etc/local.d/a.start",
            "line": null,
            "what": "`etc/local.d/a.start` is not executable",
            "effect": "it is passed over and never runs",
            "fix": "`chmod +x` it, or give it the mode 0755 in `[files]`",
            "allowed": null,
            "allowable": true,
        })
    );
    assert_eq!(findings[1]["allowed"], "a sample");
}

#[test]
fn a_profile_that_cannot_be_read_ends_with_2() {
    let site = Site::new();
    for (profile, said) in [
        ("overlays = [\"bas\"]", "did you mean `base`?"),
        ("overlays = [\"base\", \"base\"]", "twice (profiles/vdi/profile.toml:1)"),
    ] {
        site.write("profiles/vdi/profile.toml", profile);
        let ran = site.run(&["check"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), "hello: no mistakes found\n"), "{ran:?}");
        assert!(ran.err.contains(said), "{}", ran.err);
    }
}

#[test]
fn one_profile_that_cannot_be_read_keeps_no_other_from_being_looked_at() {
    let site = site();
    site.write("profiles/a/profile.toml", "nonsense");
    site.write("profiles/b/profile.toml", "overlays = [\"bas\"]");
    let ran = site.run(&["check"]);
    assert_eq!((ran.code, ran.out), (Some(2), format!("hello: no mistakes found\n{TEXT}")));
    for said in ["error: cannot use profiles/a/profile.toml", "error: profile `b` uses overlay `bas`"] {
        assert!(ran.err.contains(said), "{}", ran.err);
    }
    let ran = site.run(&["check", "--json"]);
    let list: Value = serde_json::from_str(&ran.out).unwrap();
    let seen: Vec<(&str, bool, usize)> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            let count = it["findings"].as_array().unwrap().len();
            (it["profile"].as_str().unwrap(), it["error"].is_string(), count)
        })
        .collect();
    assert_eq!(seen, [("a", true, 0), ("b", true, 0), ("hello", false, 0), ("vdi", false, 3)]);
}

#[test]
fn every_mistake_is_a_finding_wherever_it_is_noticed() {
    let site = Site::new();
    site.write(
        "profiles/vdi/profile.toml",
        "overlays = [\"base\"]\npackages = [\"--root\"]\n[kernel]\nargs = [\"root=/dev/sda1\"]\n\
         [users.kiosk]\ncomment = \"no id\"\n[vars]\nneeded = { type = \"string\", required = true }\n\
         [files]\n\"etc/gone\" = { mode = \"0600\" }\n[[allow]]\nrule = \"OVL-51\"\nreason = \"x\"\n",
    );
    for (file, text) in [
        ("README", ""),
        ("etc/apk/world", "\u{feff}nano # editor\r\n"),
        ("etc/x.tmpl", "{{ vars.nothing }}"),
        ("etc/new\nline", ""),
        ("etc/hostname/x", ""),
        ("etc/id", "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG\n"),
    ] {
        site.write(&format!("profiles/vdi/root/{file}"), text);
    }
    let link = site.path("profiles/vdi/root/etc/suid");
    std::fs::write(&link, "").unwrap();
    std::fs::set_permissions(&link, std::os::unix::fs::PermissionsExt::from_mode(0o4755)).unwrap();
    let ran = site.run(&["check", "vdi", "--json"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(1), ""), "{ran:?}");
    let list: Value = serde_json::from_str(&ran.out).unwrap();
    let findings = list[0]["findings"].as_array().unwrap();
    let rules: std::collections::BTreeSet<&str> = findings.iter().filter_map(|it| it["rule"].as_str()).collect();
    for rule in [
        "OVL-11", "OVL-23", "OVL-30", "OVL-31", "OVL-32", "OVL-42", "OVL-45", "OVL-49", "FILE-3", "TPL-1", "TPL-2",
        "ARG-5", "SEC-1", "ALLOW-2",
    ] {
        assert!(rules.contains(rule), "{rule} is not in {rules:?}");
    }
    let ran = site.run(&["build", "vdi"]);
    assert_eq!(ran.code, Some(2));
    assert!(rules.iter().filter(|rule| !ran.err.contains(*rule)).count() < 5, "{}", ran.err);
}

#[test]
fn a_build_stops_at_everything_that_does_not_fit_the_packages_unless_it_is_allowed() {
    let site = Site::new();
    let toml = "overlays = [\"base\"]\nservices.default = [\"frobd\"]\n";
    site.write("profiles/vdi/profile.toml", toml);
    // Each package of the mirror has a file of its name there.
    site.write("profiles/vdi/root/usr/share/busybox/x", "");
    site.write("profiles/vdi/root/etc/x", "");
    let ran = site.run(&["build", "vdi"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    for said in ["`usr/share/busybox` is a folder, and a file in the package `busybox` (OVL-45)", "`frobd` starts"] {
        assert!(ran.err.contains(said), "{}", ran.err);
    }
    let allow = |rule: &str, path: &str| format!("[[allow]]\nrule = \"{rule}\"\npath = \"{path}\"\nreason = \"r\"\n");
    let allowed = [allow("OVL-45", "usr/share/busybox"), allow("OVL-26", "etc/runlevels/default/frobd")].concat();
    site.write("profiles/vdi/profile.toml", &format!("{toml}{allowed}"));
    let ran = site.run(&["build", "vdi"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    site.write("profiles/vdi/profile.toml", &format!("{toml}{allowed}{}", allow("OVL-45", "etc/x")));
    let ran = site.run(&["build", "vdi"]);
    assert!(ran.err.contains("`[[allow]]` names OVL-45 at `etc/x`, and nothing is found there"), "{}", ran.err);
}

#[test]
fn errors_stop_a_build_all_at_once_and_warnings_do_not() {
    let site = site();
    site.write("profiles/vdi/root/etc/local.d/b.start", "#!/bin/sh\n");
    let ran = site.run(&["build", "vdi"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran:?}");
    for part in ["`etc/local.d/a.start` is not executable (OVL-46)", "`etc/local.d/b.start` is not", "[profile vdi, "] {
        assert!(ran.err.contains(part), "{}", ran.err);
    }
    assert!(!ran.err.contains("ARG-4"), "only errors stop a build: {}", ran.err);
    for name in ["a", "b"] {
        std::fs::remove_file(site.path(&format!("profiles/vdi/root/etc/local.d/{name}.start"))).unwrap();
    }
    let ran = site.run(&["build", "vdi"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let warned = "vdi: warning: the kernel argument `nomodeset` is set (ARG-4) [profile vdi, profiles/vdi/profile.toml:4]: graphics fall back";
    assert!(ran.err.contains(warned), "{}", ran.err);
    assert!(!ran.err.contains("OVL-48"), "what is allowed is not said again: {}", ran.err);
}

const WRONG: &str = "\
vdi: 7 errors

  error KEY-1: a key or value that a profile cannot have
    `users.kiosk.uid` has the value `70000`  [overlay seat, overlays/seat/overlay.toml:2]
    effect: the key is left out, so the profile is not what its author wrote
    fix: ids go up to 65533

  error KEY-1: a key or value that a profile cannot have
    `hostname` has the value `a_b`  [profile vdi, profiles/vdi/profile.toml:2]
    effect: the key is left out, so the profile is not what its author wrote
    fix: a host name is 1 to 63 letters, digits and inner hyphens (RFC 1123, section 2.1)

  error KEY-1: a key or value that a profile cannot have
    `packages` has the value `\"nano\"`, and a list is wanted  [profile vdi, profiles/vdi/profile.toml:3]
    effect: the key is left out, so the profile is not what its author wrote
    fix: write [\"nano\"]

  error KEY-1: a key or value that a profile cannot have
    unknown key `typ` in `vars.x`  [profile vdi, profiles/vdi/profile.toml:7]
    effect: the key is left out, so the profile is not what its author wrote
    fix: did you mean `type`?

  error OVL-23: accounts that contradict each other or that no login understands
    account `kiosk`: the user has no id  [overlay seat, overlays/seat/overlay.toml:1]
    effect: the account is not made: nobody can log in as it, and nothing can run as it
    fix: write `uid` into [users.kiosk]

  error OVL-46: a script that is passed over because of its mode or name
    `etc/local.d/a.start` is not executable  [profile vdi, profiles/vdi/root/etc/local.d/a.start]
    effect: it is passed over and never runs
    fix: `chmod +x` it, or give it the mode 0755 in `[files]`

  error FILE-2: something taken out that is not there
    profile vdi takes out the service `sshd`, which no layer before it names  [profile vdi, profiles/vdi/profile.toml:5]
    effect: the profile is not what its author thinks it is
    fix: correct the name, or take the line out

";

#[test]
fn wrong_keys_hide_nothing_and_each_is_shown_with_its_file_and_line() {
    let site = site();
    site.write("overlays/seat/overlay.toml", "[users.kiosk]\nuid = 70000\n");
    site.write("profiles/vdi/root/etc/old/motd~", "");
    std::fs::remove_file(site.path("profiles/vdi/root/etc/old/motd~")).unwrap();
    site.write(
        "profiles/vdi/profile.toml",
        "overlays = [\"base\", \"network\", \"seat\"]\nhostname = \"a_b\"\npackages = \"nano\"\n\
         services.default = [\n\"!sshd\", \"local\"]\n[vars.x]\ntyp = \"string\"\n",
    );
    let ran = site.run(&["check", "vdi"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(1), WRONG, ""));
    let ran = site.run(&["check", "vdi", "--json"]);
    let list: Value = serde_json::from_str(&ran.out).unwrap();
    let first = &list[0]["findings"][0];
    assert_eq!((&first["file"], &first["line"]), (&"overlays/seat/overlay.toml".into(), &2.into()));
    let ran = site.run(&["build", "vdi"]);
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.err.contains("`hostname` has the value `a_b` (KEY-1) [profile vdi, profiles/vdi/profile.toml:2]"),
        "{}",
        ran.err
    );
}

#[test]
fn accounts_that_share_an_id_are_shown_with_who_says_so_and_what_it_means() {
    let site = Site::new();
    site.write("overlays/seat/overlay.toml", "[users.kiosk]\nuid = 1000\n");
    site.write(
        "profiles/vdi/profile.toml",
        "overlays = [\"base\", \"network\", \"seat\"]\n[users.admin]\nuid = 1000\ngid = 10\n[users.deamon]\nuid = 2\n\
         [groups.seat]\ngid = 18\n[users.guest]\nuid = 1001\ngroups = [\n\"audio\",\n\"vidoe\"]\n",
    );
    site.write("profiles/vdi/root/etc/passwd", "toor:x:0:0:root:/root:/bin/sh\n");
    let said = site.run(&["check", "vdi"]).out;
    for part in [
        "account `kiosk`: the user has the id 1000, which `admin` has too  [overlay seat, overlays/seat/overlay.toml:2]",
        "    effect: both are one user to the kernel: each may do what the other may, and files of both show under one name\n",
        "the user's own group would have the id 2, which is the group `daemon`  [profile vdi, profiles/vdi/profile.toml:6]",
        "    effect: the user could read and write whatever the group `daemon` may\n",
        "account `seat`: the group has the id 18, which `audio` has too  [profile vdi, profiles/vdi/profile.toml:8]",
        "    effect: both are one group to the kernel: who is in one may do what the other may\n",
        "account `guest`: there is no group `vidoe`  [profile vdi, profiles/vdi/profile.toml:13]",
        "    fix: did you mean `video`?\n",
        "etc/passwd, line 1: account `toor`: the user has the id 0, which `root` has too  [profile vdi, profiles/vdi/root/etc/passwd]",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
}

#[test]
fn one_kernel_argument_can_be_allowed_and_a_node_does_not_hide_a_file() {
    let site = Site::new();
    let profile = "overlays = [\"base\", \"network\"]\n[kernel]\nargs = [\"frobnicate=1\", \"tweak\"]\n\
                   [[allow]]\nrule = \"ARG-3\"\nargument = \"frobnicate\"\nreason = \"our agent reads it\"\n";
    site.write("profiles/vdi/profile.toml", profile);
    let said = site.run(&["check", "vdi"]).out;
    assert!(said.starts_with("vdi: 1 warning, 1 allowed\n"), "{said}");
    assert!(said.contains("knows the argument `tweak`  [profile vdi, profiles/vdi/profile.toml:3]\n"), "{said}");
    site.write("profiles/vdi/profile.toml", &profile.replace("\"frobnicate\"", "\"nothing\""));
    let said = site.run(&["check", "vdi"]).out;
    assert!(said.contains("`[[allow]]` names ARG-3 for `nothing`, and nothing is found there"), "{said}");
    site.write("profiles/vdi/profile.toml", "overlays = [\"base\", \"network\"]\n[nodes]\n\"srv/null\" = \"c 1:3\"\n");
    site.write("profiles/vdi/root/srv/null", "text");
    let ran = site.run(&["check", "vdi"]);
    let expected = "profile vdi has `srv/null` in root/ and in `[nodes]`  [profile vdi, profiles/vdi/profile.toml:3]\n";
    assert!(ran.code == Some(1) && ran.out.contains(expected), "{}", ran.out);
}

#[test]
fn a_finding_says_in_which_file_of_which_layer_it_is_and_on_which_line_where_it_is_one() {
    let site = Site::new();
    site.write(
        "profiles/vdi/profile.toml",
        "overlays = [\"base\"]\nhostname = \"vdi\"\n[services]\ndefault = [\n\"local\",\n\"nonesuch\",\n]\n\
         [files]\n\"etc/own.conf\" = { owner = \"7:7\" }\n\"etc/open/\" = { mode = \"0666\" }\n[nodes]\n\
         \"etc/node\" = \"c 1:3\"\n[[allow]]\nrule = \"OVL-48\"\nreason = \"\"\n\
         [[allow]]\nrule = \"OVL-999\"\nreason = \"x\"\n[[allow]]\nrule = \"OVL-15\"\npath = \"etc/none\"\nreason = \"x\"\n",
    );
    for (file, text) in [
        ("etc/own.conf", ""),
        ("etc/open/x", ""),
        ("etc/bad.tmpl", "fine\n{{ vars.nothing }}\n"),
        ("etc/id.tmpl", "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG\n"),
    ] {
        site.write(&format!("profiles/vdi/root/{file}"), text);
    }
    std::fs::create_dir_all(site.path("profiles/vdi/root/home/nobodys")).unwrap();
    let ran = site.run(&["check", "vdi"]);
    for place in [
        "profile.toml:6",
        "profile.toml:9",
        "profile.toml:10",
        "profile.toml:15",
        "profile.toml:16",
        "profile.toml:19",
        "root/etc/bad.tmpl:2",
        "root/etc/id.tmpl",
        "root/home/nobodys",
    ] {
        assert!(ran.out.contains(&format!(", profiles/vdi/{place}]\n")), "{place}: {}", ran.out);
    }
    let unplaced: Vec<&str> =
        ran.out.lines().filter(|line| line.starts_with("    ") && !line.contains(", profiles/vdi/")).collect();
    assert!(
        unplaced.iter().all(|line| line.starts_with("    effect: ") || line.starts_with("    fix: ")),
        "{unplaced:?}"
    );
}

//! Profiles that extend others, through the program.

use crate::support::site::Site;

#[test]
fn a_profile_takes_out_what_the_one_it_extends_brought() {
    let site = Site::new();
    site.write("profiles/a/profile.toml", "overlays = [\"base\", \"network\"]\npackages = [\"nano\", \"curl\"]");
    site.write("profiles/a/root/etc/motd", "a");
    site.write("profiles/a/root/etc/a/x", "x");
    site.write(
        "profiles/b/profile.toml",
        "extends = \"a\"\noverlays = [\"network\", \"check-in\"]\npackages = [\"!curl\"]\nremove = [\"etc/motd\", \"etc/a/\"]\n\
         [services]\nsysinit = [\"!modloop\"]",
    );
    let ran = site.run(&["explain", "b"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let row = |name: &str| {
        let line = ran.out.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>()
    };
    assert_eq!(row("nano"), ["nano", "profile a"]);
    assert_eq!(row("curl"), ["curl", "taken out", "profile b", "profile a"]);
    assert_eq!(row("sysinit/modloop"), ["sysinit/modloop", "taken out", "profile b", "overlay base"]);
    assert_eq!(row("etc/motd"), ["etc/motd", "taken out", "profile b", "1 bytes (profile a)"]);
    assert_eq!(row("etc/a/x"), ["etc/a/x", "taken out", "profile b", "1 bytes (profile a)"]);
    // An overlay that both list is applied once.
    assert_eq!(row("boot/networking"), ["boot/networking", "overlay network"]);
    assert!(row("etc/runlevels/sysinit/modloop").is_empty());
}

#[test]
fn what_was_never_there_cannot_be_taken_out() {
    let site = Site::new();
    for (toml, said) in [
        ("packages = [\"!curl\"]", "profile b takes out the package `curl`, which no layer before it names"),
        ("remove = [\"etc/nothing\"]", "profile b takes out the file `etc/nothing`, which no layer before it names"),
        ("remove = [\"/etc/issue\"]", "a path is relative to the machine's root"),
    ] {
        site.write("profiles/b/profile.toml", &format!("extends = \"hello\"\n{toml}"));
        let ran = site.run(&["build", "b"]);
        assert_eq!(ran.code, Some(2));
        assert!(ran.err.contains(said), "{toml}: {}", ran.err);
    }
}

#[test]
fn a_circle_is_refused_and_so_is_a_profile_that_is_not_there() {
    let site = Site::new();
    for (name, base) in [("a", "b"), ("b", "c"), ("c", "a"), ("own", "own"), ("lost", "helo")] {
        site.write(&format!("profiles/{name}/profile.toml"), &format!("extends = \"{base}\""));
    }
    for (name, said) in [
        ("a", "the profiles extend each other in a circle: a → b → c → a; take one `extends` out"),
        ("own", "the profiles extend each other in a circle: own → own; take one `extends` out"),
        (
            "lost",
            "profile `lost` extends `helo` (profiles/lost/profile.toml:1), and there is no such profile; did you mean \
             `hello`?",
        ),
    ] {
        let ran = site.run(&["explain", name]);
        assert_eq!(ran.code, Some(2));
        assert!(ran.err.contains(said), "{}", ran.err);
    }
    site.write("profiles/lost/profile.toml", "extends = \"nobody\"");
    let said = site.run(&["build", "lost"]).err;
    assert!(said.contains("there are `a`, `b`, `c`, `hello`, `own`\n"), "{said}");
    site.write("overlays/base/overlay.toml", "extends = \"hello\"");
    let ran = site.run(&["check", "hello"]);
    assert!(ran.out.contains("only a profile has the key `extends`, an overlay has not"), "{}", ran.out);
}

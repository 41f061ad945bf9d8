//! Files that are made from templates, through the front door: what each machine is given, and what when they fail.

use std::io::Read as _;
use std::time::{Duration, Instant};

use bivouac::wire::cpio::Reader;

use crate::support::site::{Serving, Site};

const PROFILE: &str = "overlays = [\"base\"]\n[vars]\nhost = \"pve\"\nport = { type = \"string\", default = \"80\" }\n";

/// A site whose profile `desk` has these templates in its `root/`.
fn site(templates: &[(&str, &str)]) -> Site {
    let site = Site::new();
    release(&site, templates);
    site
}

/// Writes the profile, builds and publishes it.
fn release(site: &Site, templates: &[(&str, &str)]) {
    site.write("profiles/desk/profile.toml", PROFILE);
    for (path, text) in templates {
        site.write(&format!("profiles/desk/root/{path}.tmpl"), text);
    }
    for arguments in [["build", "desk"], ["publish", "desk"]] {
        let ran = site.run(&arguments);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
    }
}

/// The path of the initrd with the overlay, out of a machine's script.
fn initrd(script: &str) -> String {
    let line = script.lines().rfind(|line| line.starts_with("initrd ")).unwrap_or_else(|| panic!("{script}"));
    let url = line.split(' ').nth(1).unwrap();
    format!("/{}", url.splitn(4, '/').nth(3).unwrap())
}

fn script(server: &Serving, machine: &str) -> String {
    server.get(&format!("/script?mac={machine}"))
}

/// What is in the overlay archive of an initrd: paths and texts, in their order.
fn overlay(server: &Serving, path: &str) -> Vec<(String, String)> {
    let answer = server.get_bytes(path);
    let mut reader = Reader::new(&answer, 64 << 20);
    let mut found = Vec::new();
    let mut has_key = false;
    while let Some(entry) = reader.next_entry().unwrap() {
        has_key |= entry.is_file() && entry.name.starts_with("etc/apk/keys/");
        if entry.name != "desk.apkovl.tar.gz" {
            continue;
        }
        let archive = reader.content(&entry, 64 << 20).unwrap();
        let mut tar = tar::Archive::new(flate2::read::MultiGzDecoder::new(archive.as_slice()));
        for member in tar.entries().unwrap() {
            let mut member = member.unwrap();
            let mut text = Vec::new();
            member.read_to_end(&mut text).unwrap();
            let path = member.path().unwrap().to_str().unwrap().to_owned();
            found.push((path, String::from_utf8_lossy(&text).into_owned()));
        }
    }
    assert!(has_key, "the site's key is in it");
    found
}

fn file(overlay: &[(String, String)], path: &str) -> String {
    let mut found = overlay.iter().filter(|(known, _)| known == path);
    let text = found.next().unwrap_or_else(|| panic!("no {path} in {overlay:?}")).1.clone();
    assert!(found.next().is_none(), "{path} is there twice");
    text
}

#[test]
fn each_machine_gets_its_own_files_and_machines_with_the_same_share_them() {
    let site =
        site(&[("etc/conf.d/desk", "host={{ vars.host }}:{{ vars.port }}\n"), ("etc/issue", "{{ profile.name }}\n")]);
    let vars = "[machines.\"52:54:00:00:00:02\"]\nvars = { host = \"other\" }\n\
                [machines.\"52:54:00:00:00:03\"]\nprofile = \"desk\"\nvars = { host = \"pve\" }\n";
    let server = site.serve_with(vars, &["--dhcp", "off", "--default-profile", "desk"]);
    let paths = ["01", "02", "03"].map(|last| initrd(&script(&server, &format!("52:54:00:00:00:{last}"))));
    assert!(paths[0].starts_with("/m/") && paths[0].ends_with("/site.img"), "{paths:?}");
    assert_eq!(paths[0], paths[2], "the same files have the same address");
    assert_ne!(paths[0], paths[1]);
    let [one, two] = [&paths[0], &paths[1]].map(|path| overlay(&server, path));
    assert_eq!(file(&one, "etc/conf.d/desk"), "host=pve:80\n");
    assert_eq!(file(&two, "etc/conf.d/desk"), "host=other:80\n");
    for overlay in [&one, &two] {
        assert_eq!(file(overlay, "etc/issue"), "desk\n", "what is the same on all machines");
        assert_eq!(file(overlay, "etc/bivouac/overlay").trim().len(), 64);
        assert!(file(overlay, "etc/shadow").starts_with("root:"));
    }
    let head = server.http(&format!("HEAD {} HTTP/1.0\r\n\r\n", paths[0])).to_ascii_lowercase();
    assert!(head.contains("content-length: ") && head.contains("immutable"), "{head}");
    // What has not all the files is not to be had.
    let bundle = script(&server, "52:54:00:00:00:01").split("bivouac_bundle=").nth(1).unwrap()[..64].to_owned();
    for path in
        [format!("/b/{bundle}/site.img"), format!("/b/{bundle}/desk.apkovl.tar.gz"), format!("/m/{bundle}/site.img")]
    {
        assert!(server.get(&path).starts_with("HTTP/1.0 404"), "{path}");
    }
}

#[test]
fn a_machine_gets_files_by_its_labels_and_others_when_they_change() {
    const MACS: [&str; 2] = ["52:54:00:00:00:01", "52:54:00:00:00:02"];
    let site = site(&[("etc/where", "{{ machine.labels.site }} {{ machine.labels.room|default('-') }}\n")]);
    let rules = "[[label]]\nmachines = [\"52:54:00\"]\nset = { site = \"berlin\" }\n";
    let server = site.serve_with(rules, &["--dhcp", "off", "--default-profile", "desk"]);
    let said = |mac: &str| file(&overlay(&server, &initrd(&script(&server, mac))), "etc/where");
    assert_eq!(MACS.map(said), ["berlin -\n", "berlin -\n"]);
    let ran = site.run(&["machines", "label", MACS[0], "room=12", "site=bonn"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    // The server looks once a second for what people said.
    let begun = Instant::now();
    while said(MACS[0]) != "bonn 12\n" {
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", said(MACS[0]));
    }
    assert_eq!(said(MACS[1]), "berlin -\n");
    let shown = site.run(&["render", "desk", "--site", "serve.toml", "--machine", MACS[0], "etc/where"]);
    assert_eq!((shown.out.as_str(), shown.code), ("bonn 12\n", Some(0)), "{}", shown.err);
}

#[test]
fn a_machine_whose_template_fails_gets_its_last_good_files_and_is_shown_as_wrong() {
    const MAC: &str = "52:54:00:00:00:01";
    let site = site(&[("etc/port", "{{ vars.port|int + 1 }}\n")]);
    let arguments = ["--dhcp", "off", "--default-profile", "desk"];
    let server = site.serve_with("", &arguments);
    let good = script(&server, MAC);
    server.stop();
    // The same bundle, with a value that the template does not get along with.
    let bad = format!("[machines.\"{MAC}\"]\nvars = {{ port = \"none\" }}\n");
    let server = site.serve_with(&bad, &arguments);
    let again = script(&server, MAC);
    assert_eq!(initrd(&again), initrd(&good), "the last good files survive a restart");
    assert_eq!(file(&overlay(&server, &initrd(&again)), "etc/port"), "81\n");
    let log = server.stop();
    assert!(log.contains("etc/port.tmpl, line 1: "), "{log}");
    let machines = site.run(&["machines"]).out;
    assert!(
        machines.contains("etc/port.tmpl, line 1: ") && machines.contains("it boots with the last files"),
        "{machines}"
    );
    // Another release, which fails for it too: it stays at the one it had.
    release(&site, &[("etc/port", "{{ vars.port|int + 2 }}\n")]);
    let server = site.serve_with(&bad, &arguments);
    let bundle = |script: &str| script.split("bivouac_bundle=").nth(1).unwrap()[..64].to_owned();
    let kept = script(&server, MAC);
    assert_eq!((bundle(&kept), initrd(&kept)), (bundle(&good), initrd(&good)));
    assert_ne!(bundle(&script(&server, "52:54:00:00:00:09")), bundle(&good), "others boot the new one");
    server.stop();
    let machines = site.run(&["machines"]).out;
    assert!(machines.contains("it boots release 1 again"), "{machines}");
}

#[test]
fn a_machine_that_never_had_good_files_is_told_so_on_its_screen() {
    let site = site(&[("etc/port", "{{ vars.port|int + 1 }}\n")]);
    let bad = "[machines.\"52:54:00:00:00:01\"]\nvars = { port = \"none\" }\n";
    let server = site.serve_with(bad, &["--dhcp", "off", "--default-profile", "desk"]);
    let answer = script(&server, "52:54:00:00:00:01");
    assert!(answer.contains("echo Bivouac: etc/port.tmpl, line 1: ") && !answer.contains("kernel "), "{answer}");
    server.stop();
    assert!(site.run(&["machines"]).out.contains("etc/port.tmpl"));
}

#[test]
fn values_that_no_template_can_use_are_refused_before_anything_is_served() {
    let site = site(&[("etc/port", "{{ vars.port }}\n")]);
    for (vars, said) in [
        ("hots = \"x\"", "the profile has no variable `hots`; did you mean `host`?"),
        ("port = 80", "the variable `port` is of type string, and `80` is of type integer"),
    ] {
        site.write(
            "bivouac.toml",
            &format!("[machines.\"52:54:00:00:00:01\"]\nprofile = \"desk\"\nvars = {{ {vars} }}\n"),
        );
        let ran = site.run(&["serve", "--http", "127.0.0.1:0", "--tftp", "127.0.0.1:0", "--dhcp", "off"]);
        assert_eq!(ran.code, Some(2), "{}", ran.err);
        assert!(ran.err.contains(said) && ran.err.contains("52:54:00:00:00:01"), "{}", ran.err);
    }
}

#[test]
fn a_mistake_in_a_template_stops_the_build() {
    let site = Site::new();
    site.write("profiles/desk/profile.toml", PROFILE);
    site.write("profiles/desk/root/etc/port.tmpl", "\n{{ vars.prot }}\n");
    let ran = site.run(&["build", "desk"]);
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.err.contains("etc/port.tmpl, line 2: there is no `vars.prot`; did you mean `vars.port`?"),
        "{}",
        ran.err
    );
}

#[test]
fn render_shows_what_a_machine_will_get_before_anything_is_built() {
    let site = Site::new();
    site.write("profiles/desk/profile.toml", &format!("{PROFILE}[files]\n\"etc/host\" = {{ mode = \"0600\" }}\n"));
    site.write("profiles/desk/root/etc/host.tmpl", "{{ vars.host }} for {{ machine.mac }}");
    site.write("profiles/desk/root/etc/issue.tmpl", "{{ profile.name }}\n");
    site.write("bivouac.toml", "[machines.\"52:54:00:00:00:02\"]\nprofile = \"desk\"\nvars = { host = \"other\" }\n");
    let render = |arguments: &[&str]| site.run(&[&["render", "desk", "--machine"], arguments].concat());
    assert_eq!(render(&["52:54:00:00:00:01", "etc/host"]).out, "pve for 52:54:00:00:00:01");
    assert_eq!(render(&["52:54:00:00:00:02", "/etc/host.tmpl"]).out, "other for 52:54:00:00:00:02");
    assert_eq!(render(&["52-54-00-00-00-02", "etc/host", "--var", "host=x"]).out, "x for 52:54:00:00:00:02");
    assert_eq!(site.run(&["machines", "set", "52:54:00:00:00:01", "host=said"]).code, Some(0));
    assert_eq!(render(&["52:54:00:00:00:01", "etc/host"]).out, "said for 52:54:00:00:00:01");
    assert_eq!(
        render(&["52:54:00:00:00:02"]).out,
        "==> etc/host (mode 0600, owner 0:0) <==\nother for 52:54:00:00:00:02\n\n\
         ==> etc/issue (mode 0644, owner 0:0) <==\ndesk\n"
    );
    let json: serde_json::Value = serde_json::from_str(&render(&["52:54:00:00:00:02", "--json"]).out).unwrap();
    assert_eq!((&json[0]["mode"], &json[1]["text"]), (&"0600".into(), &"desk\n".into()));
    for (arguments, said) in [
        (&["52:54:00:00:00:01", "etc/hots"][..], "no template makes `etc/hots`; did you mean `etc/host`?"),
        (&["52:54:00:00:00:01", "--var", "hots=1"], "the profile has no variable `hots`; did you mean `host`?"),
        (&["52:54:00:00:00:01", "--var", "host"], "`host` is no value; write NAME=VALUE"),
    ] {
        let ran = render(arguments);
        assert!(ran.code == Some(2) && ran.err.contains(said), "{arguments:?}: {}", ran.err);
    }
    let ran = site.run(&["render", "hello", "--machine", "52:54:00:00:00:01"]);
    assert!(ran.code == Some(2) && ran.err.contains("profile `hello` has no templates"), "{}", ran.err);
}

#[test]
fn render_shows_a_file_whatever_else_is_wrong_with_the_profile() {
    let site = Site::new();
    site.write("profiles/desk/profile.toml", &format!("timezone = \"No/where/\"\n{PROFILE}"));
    site.write("profiles/desk/root/etc/issue.tmpl", "{{ machine.mac }}\n");
    site.write("profiles/desk/root/etc/bad.tmpl", "{{ vars.nothing }}\n");
    let machine = ["--machine", "52:54:00:00:00:01"];
    let ran = site.run(&[&["render", "desk", "etc/issue"][..], &machine].concat());
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "52:54:00:00:00:01\n"), "{}", ran.err);
    assert_eq!(ran.err, "desk has mistakes, which do not keep this from being shown: bivouac check desk\n");
    for file in [&[][..], &["etc/bad"], &["/etc/bad.tmpl"]] {
        let ran = site.run(&[&["render", "desk"][..], file, &machine].concat());
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""));
        assert!(ran.err.contains("etc/bad.tmpl, line 1: there is no `vars.nothing`"), "{}", ran.err);
        assert!(!ran.err.contains("No/where"), "{}", ran.err);
    }
}

#[test]
fn templates_go_along_with_an_export() {
    let site = site(&[("etc/host", "{{ vars.host }} for {{ machine.mac }}")]);
    assert_eq!(site.run(&["export", "desk", "desk.tar"]).code, Some(0));
    let other = Site::new();
    std::fs::copy(site.path("desk.tar"), other.path("desk.tar")).unwrap();
    for arguments in [&["import", "desk.tar"][..], &["publish", "desk"]] {
        let ran = other.run(arguments);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
    }
    let server = other.serve_with("", &["--dhcp", "off", "--default-profile", "desk"]);
    let path = initrd(&script(&server, "52:54:00:00:00:01"));
    assert_eq!(file(&overlay(&server, &path), "etc/host"), "pve for 52:54:00:00:00:01");
}

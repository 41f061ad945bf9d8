//! What a person gets who makes a mistake, or whose mirror does: one clear error that names the thing and the next
//! step, exit code 2, and the store as it was.

use crate::support::alpine::{LIST, TARBALL, list, members, signer, tarball};
use crate::support::server::Reply;
use crate::support::site::{MAIN, Ran, Site, index, package, signing_key};

/// The store and the staged bundle, to see that nothing changed.
fn snapshot(site: &Site) -> Vec<(String, Vec<u8>)> {
    let store = site.path("state/store");
    if !store.exists() {
        return Vec::new();
    }
    let files =
        bivouac::disk::walk(&store).unwrap().into_iter().filter(|found| found.kind == bivouac::disk::Kind::File);
    files
        .map(|found| (found.relative.display().to_string(), std::fs::read(store.join(&found.relative)).unwrap()))
        .collect()
}

/// Runs a command that must fail, leave the store alone, and say each of `parts`.
fn refused(site: &Site, arguments: &[&str], parts: &[&str]) -> String {
    let before = snapshot(site);
    let ran = site.run(arguments);
    assert_eq!(ran.code, Some(2), "{arguments:?}: {ran:?}");
    assert_eq!(ran.out, "", "{arguments:?}");
    assert!(ran.err.contains("error: "), "{}", ran.err);
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
    for part in parts {
        assert!(ran.err.contains(part), "{arguments:?} should say {part:?}:\n{}", ran.err);
    }
    assert!(snapshot(site) == before, "{arguments:?} changed the store");
    ran.err
}

#[test]
fn a_missing_profile_is_named_with_the_nearest_one() {
    let site = Site::published();
    let said = refused(&site, &["build", "helo"], &[]);
    assert_eq!(said, "error: there is no profile `helo` in profiles; did you mean `hello`?\n");
    refused(&site, &["up", "helo"], &["did you mean `hello`?"]);
    refused(&site, &["fetch", "nothing-like-it"], &["there is no profile `nothing-like-it` in profiles\n"]);
    refused(&site, &["build", "../hello"], &["`../hello` is not a name"]);
}

#[test]
fn a_broken_profile_is_named_with_file_line_and_key() {
    let site = Site::published();
    for (text, parts) in [
        ("overlays = [\"base\"", &["cannot use profiles/broken/profile.toml", "TOML parse error at line 1"][..]),
        (
            "descripton = \"x\"",
            &[
                "unknown key `descripton` (KEY-1) [profile broken, profiles/broken/profile.toml:1]",
                "did you mean `description`?",
            ],
        ),
        ("[alpine]\nflavour = \"lts\"", &["unknown key `flavour` in `alpine`", "`flavor`"]),
        (
            "overlays = [\"bas\"]",
            &[
                "profile `broken` uses overlay `bas` (profiles/broken/profile.toml:1), and there is none in overlays; did \
                 you mean `base`?",
            ],
        ),
        ("overlays = [\"base\", \"base\"]", &["profile `broken` lists overlay `base` twice"]),
        (
            "overlays = [\"base\"]\npackages = [\"--allow-untrusted\"]",
            &["`--allow-untrusted` would be an option on apk's command line"],
        ),
        (
            "overlays = [\"base\"]\n[services]\nboot = [\"networkin\"]\ndefault = [\"zabbix\"]",
            &[
                "`networkin` starts in runlevel boot, and neither overlay nor packages bring it (OVL-26) [profile broken, profiles/broken/profile.toml:3]",
                "did you mean `networking`?",
                "`zabbix` starts in runlevel default",
            ],
        ),
        ("overlays = [\"base\"]\npackages = [\"nanoo\"]", &["nanoo", "did you mean `nano`?"]),
        ("packages = [\"nano\"]", &["no service is in runlevel sysinit", "(OVL-25)", "use the overlay `base`"]),
        (
            "overlays = [\"base\"]\n[alpine]\nrelease = \"three\"",
            &["`alpine.release`: `three` is not an Alpine release: write `latest-stable`"],
        ),
        ("overlays = [\"base\"]\n[alpine]\nflavor = \"rt\"", &["has no kernel flavor `rt`; it has `lts`, `virt`"]),
        ("overlays = [\"base\"]\n[alpine]\nrelease = \"2.1\"", &["there are no releases of `v2.1` for x86_64"]),
        (
            "overlays = [\"base\"]\n[alpine]\nrepositories = [\"mian\"]",
            &["MIRROR/v3.24/mian/x86_64/APKINDEX.tar.gz does not exist"],
        ),
        (
            "overlays = [\"base\"]\n[kernel]\nargs = [\"root=/dev/sda1\"]",
            &["kernel argument `root` is set by Bivouac or would"],
        ),
    ] {
        site.write("profiles/broken/profile.toml", text);
        refused(&site, &["build", "broken"], parts);
    }
    std::fs::remove_file(site.path("profiles/broken/profile.toml")).unwrap();
    std::fs::create_dir(site.path("profiles/broken/profile.toml")).unwrap();
    refused(&site, &["build", "broken"], &["cannot read profiles/broken/profile.toml", "Is a directory"]);
    std::fs::remove_dir(site.path("profiles/broken/profile.toml")).unwrap();
    refused(&site, &["build", "broken"], &["cannot open profiles/broken/profile.toml"]);
}

#[test]
fn files_that_cannot_go_into_an_overlay_are_named_with_the_rule() {
    for (file, part) in [
        (
            "profiles/hello/root/README",
            "`README` lies directly in root/ (OVL-11) [profile hello, profiles/hello/root/README]",
        ),
        ("profiles/hello/root/etc/._motd", "leftover of macOS"),
        ("profiles/hello/root/etc/new\nline", "control character"),
        ("profiles/hello/root/home/alice/x", "`home/alice` would belong to root (OVL-21)"),
        ("profiles/hello/root/etc/hostname/x", "profile hello has `etc/hostname`"),
    ] {
        let site = Site::new();
        site.write(file, "");
        refused(&site, &["build", "hello"], &[part]);
    }
}

#[test]
fn nothing_an_author_wrote_is_passed_over() {
    let site = Site::new();
    site.write("profiles/Foo_Bar/profile.toml", "");
    refused(&site, &["build"], &["profiles/Foo_Bar cannot be a profile; rename the folder", "`Foo_Bar` is not a name"]);
    site.write("profiles/odd/profile.toml", "overlays = [\"base\"]");
    std::os::unix::fs::symlink("nowhere", site.path("profiles/odd/root")).unwrap();
    refused(&site, &["build", "odd"], &["profiles/odd/root is a file or a link, and must be a folder (FILE-1)"]);
    std::fs::remove_file(site.path("profiles/odd/root")).unwrap();
    std::fs::create_dir_all(site.path("profiles/odd/root/etc/apk")).unwrap();
    std::os::unix::fs::symlink("../world", site.path("profiles/odd/root/etc/apk/world")).unwrap();
    refused(&site, &["build", "odd"], &["profile odd has `etc/apk/world`, which must not be of that kind"]);
}

#[test]
fn the_site_file_is_read_strictly() {
    let site = Site::new();
    for (text, parts) in [
        ("stroe = \"x\"", &["cannot parse bivouac.toml", "unknown field `stroe`", "line 1"][..]),
        ("[dhcp]\nmode = \"full\"", &["set `dhcp.pool` (or --pool)"]),
        ("[http]\nlisten = \"eighty\"", &["cannot parse bivouac.toml", "`eighty` is no address with a port"]),
        ("[tftp]\nlisten = \"10.0.0.1\"", &["line 2", "`10.0.0.1` is no address with a port; write both, such as"]),
        ("[machines.\"52:54\"]\nprofile = \"hello\"", &["`machines` cannot be `52:54`"]),
    ] {
        site.write("bivouac.toml", text);
        refused(&site, &["list"], parts);
    }
    refused(&site, &["list", "--site", "nowhere.toml"], &["cannot read the site file nowhere.toml"]);
}

#[test]
fn a_mirror_that_lies_is_refused_with_what_was_expected_and_found() {
    let site = Site::published();
    let good = tarball(&members());
    let server = &site.mirror.server;
    // A newer release than the cached one, so that it has to be downloaded.
    let (tarball_of, list_of) = (TARBALL.replace("3.24.1", "3.24.2"), list(&good).replace("3.24.1", "3.24.2"));
    server.put(LIST.replace("v3.24", "latest-stable"), Reply::File(list_of.into_bytes()));
    server.put(format!("{tarball_of}.asc"), Reply::File(signer().sign(&good).into_bytes()));
    server.put(&tarball_of, Reply::File(tarball(&members()[..3])));
    refused(&site, &["lock", "hello", "--update"], &["alpine-netboot-3.24.2-x86_64.tar.gz has", "bytes, expected"]);
    let mut changed = good.clone();
    changed[good.len() / 2] ^= 1;
    server.put(&tarball_of, Reply::File(changed));
    refused(&site, &["lock", "hello", "--update"], &["has the SHA-256 checksum", "expected"]);
    server.put(&tarball_of, Reply::Page("<!DOCTYPE html><title>Log in</title>"));
    refused(&site, &["lock", "hello", "--update"], &["was answered with a web page instead of the file"]);
}

#[test]
fn a_package_or_an_index_that_was_tampered_with_is_refused() {
    let site = Site::new();
    let packages = [package("alpine-base", &[])];
    let server = &site.mirror.server;
    let apk = format!("{MAIN}/alpine-base-1.0-r0.apk");
    let listed = format!("{MAIN}/APKINDEX.tar.gz");

    server.put(&listed, Reply::File(index(&packages, signing_key())));
    let mut changed = packages[0].clone();
    let last = changed.len() - 20;
    changed[last] ^= 1;
    server.put(&apk, Reply::File(changed));
    refused(&site, &["build", "hello"], &["alpine-base-1.0-r0"]);
    server.put(&apk, Reply::File(package("busybox", &[])));
    refused(&site, &["build", "hello"], &["alpine-base-1.0-r0"]);

    server.put(&apk, Reply::File(packages[0].clone()));
    let other = bivouac::apk::SigningKey::generate(bivouac::apk::KeyLength::Bits2048).unwrap();
    server.put(&listed, Reply::File(index(&packages, &other)));
    refused(&site, &["build", "hello"], &["MIRROR/v3.24/main/x86_64/APKINDEX.tar.gz is refused"]);

    server.put(&listed, Reply::File(index(&packages, signing_key())));
    assert_eq!(site.run(&["build", "hello"]).code, Some(0));
}

#[test]
fn a_package_or_an_index_in_the_format_of_apk_3_is_refused_by_name() {
    let site = Site::new();
    let packages = [package("alpine-base", &[])];
    let server = &site.mirror.server;
    let listed = format!("{MAIN}/APKINDEX.tar.gz");
    server.put(&listed, Reply::File(b"ADBd\x05\x00".to_vec()));
    refused(&site, &["lock", "hello"], &["APKINDEX.tar.gz is refused", "the index is in apk's version 3 format (ADB)"]);

    server.put(&listed, Reply::File(index(&packages, signing_key())));
    let mut adb = packages[0].clone();
    adb[..4].copy_from_slice(b"ADB.");
    server.put(format!("{MAIN}/alpine-base-1.0-r0.apk"), Reply::File(adb));
    refused(
        &site,
        &["build", "hello"],
        &["alpine-base-1.0-r0.apk is refused", "the package is in apk's version 3 format (ADB)"],
    );
    // One of another length than the index has, as any real one would be.
    server.put(format!("{MAIN}/alpine-base-1.0-r0.apk"), Reply::File(b"ADBd, and what follows".repeat(100)));
    refused(
        &site,
        &["build", "hello"],
        &["alpine-base-1.0-r0.apk is refused", "the package is in apk's version 3 format (ADB)"],
    );
    assert!(!site.cached().iter().any(|file| file.starts_with("packages/") || file.starts_with("partial/")));
}

#[test]
fn a_full_disk_is_told_with_what_to_do() {
    let site = Site::published();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ran = site.command(&["sbom", "hello"]).stdout(full).output().unwrap();
    let text = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(2), "{text}");
    assert!(
        text.ends_with("hint: make room on that disk; `bivouac gc` removes what nothing uses any more\n"),
        "{text}"
    );
}

#[test]
fn a_modloop_that_its_initramfs_did_not_sign_is_refused() {
    let site = Site::new();
    let pem = signing_key().public_pem().unwrap();
    let mut initramfs = bivouac::wire::cpio::Writer::new(0);
    initramfs.file("lib/modules/6.18.1-0-virt/modules.dep", 0o644, b"").unwrap();
    initramfs.file("etc/apk/keys/a.rsa.pub", 0o644, pem.as_bytes()).unwrap();
    initramfs.file("var/cache/misc/modloop-virt.SIGN.RSA.a.rsa.pub", 0o644, &[7; 256]).unwrap();
    let mut release = members();
    let member = release.iter_mut().find(|member| member.name == b"boot/initramfs-virt").unwrap();
    member.content = bivouac::wire::gzip::gzip(&initramfs.finish());
    crate::support::alpine::release(&site.mirror.server, &tarball(&release));
    for command in ["fetch", "build"] {
        refused(
            &site,
            &[command, "hello"],
            &["boot/modloop-virt of ", "the signature of modloop-virt by a.rsa.pub in the initramfs does not fit it"],
        );
    }
}

#[test]
fn a_mirror_that_is_not_there_is_named() {
    let site = Site::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    site.write("bivouac.toml", "[fetch]\nattempts = 1\n");
    let ran = std::process::Command::new(env!("CARGO_BIN_EXE_bivouac"))
        .current_dir(site.folder.path())
        .args(["fetch", "hello", "--mirror", &format!("http://{closed}")])
        .env("NO_PROXY", "*")
        .output()
        .unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("http://{closed}/latest-stable/releases/x86_64/latest-releases.yaml")), "{said}");
    assert!(said.contains("check the network and the proxy settings"), "{said}");
}

#[test]
fn what_is_not_published_is_named_with_the_next_step() {
    let site = Site::new();
    refused(&site, &["publish", "hello"], &["profile `hello` has nothing to publish; run `bivouac build hello`"]);
    refused(&site, &["show", "hello"], &["profile `hello` has no release; run `bivouac publish hello`"]);
    site.write("no-mirror.toml", "[caching-mirror]\nenabled = false\n");
    refused(
        &site,
        &["serve", "--dhcp", "off", "--site", "no-mirror.toml"],
        &["nothing is published, so nothing can boot; run `bivouac up PROFILE`"],
    );
    let site = Site::published();
    refused(&site, &["show", "hello@7"], &["profile `hello` has no release 7; the newest is 1"]);
    refused(&site, &["show", "hello:beta"], &["profile `hello` has no channel `beta`; it has stable"]);
    refused(&site, &["show", "helo"], &["did you mean `hello`?"]);
    refused(&site, &["serve", "--dhcp", "off", "--default-profile", "helo"], &["did you mean `hello`?"]);
    refused(&site, &["show", "hello@x"], &["`x` is not a release number"]);
}

#[test]
fn a_port_in_use_is_named_with_who_uses_it() {
    let site = Site::published();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let (http, tftp) = (tcp.local_addr().unwrap().to_string(), udp.local_addr().unwrap().to_string());
    let port = tcp.local_addr().unwrap().port();
    refused(
        &site,
        &["serve", "--dhcp", "off", "--http", &http],
        &[&format!("TCP port {port} is in use by "), "process "],
    );
    site.write("profiles/hello/root/etc/motd", "changed\n");
    let up = ["up", "hello", "--dhcp", "off", "--http", &http];
    refused(&site, &up, &[&format!("TCP port {port} is in use by ")]);
    let port = udp.local_addr().unwrap().port();
    let free = ["serve", "--dhcp", "off", "--http", "127.0.0.1:0", "--tftp", &tftp];
    refused(&site, &free, &[&format!("UDP port {port} is in use by ")]);
}

#[test]
fn a_port_that_takes_a_privilege_is_named_with_how_to_get_it() {
    let site = Site::published();
    let serve = site.command(&["serve", "--dhcp", "off", "--http", "127.0.0.1:0", "--tftp", "127.0.0.1:69"]);
    let id = std::process::Command::new("id").arg("-u").output().unwrap();
    let output = if id.stdout == b"0\n" {
        // Root without this one capability is nobody special to the port.
        let mut command = std::process::Command::new("setpriv");
        command.arg("--bounding-set=-net_bind_service").arg(serve.get_program()).args(serve.get_args());
        command.current_dir(site.folder.path()).output().unwrap()
    } else {
        { serve }.output().unwrap()
    };
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    let expected = "no permission to listen on UDP 127.0.0.1:69: run as root, or grant CAP_NET_BIND_SERVICE";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn an_interface_that_does_not_exist_is_named_with_those_that_do() {
    let site = Site::published();
    let serve = ["serve", "--http", "127.0.0.1:0", "--tftp", "127.0.0.1:0", "--interface", "eth77"];
    refused(&site, &serve, &["there is no network interface `eth77`; there are ", "lo"]);
}

#[test]
fn a_running_server_goes_on_when_a_build_fails() {
    let site = Site::published();
    let server = site.serve(&["--dhcp", "off"]);
    site.write("profiles/hello/profile.toml", "nonsense");
    refused(&site, &["up", "hello"], &["profiles/hello/profile.toml"]);
    assert!(server.get("/script?mac=52:54:00:00:00:01").contains("bivouac_bundle="));
}

#[test]
fn no_message_shows_the_password_of_an_address() {
    let site = Site::published();
    site.write("leaky.toml", "secdb = \"ftp://me:s3cret@mirror.example/alpine\"\n");
    let down = "http://me:s3cret@127.0.0.1:1/alpine";
    site.mirror.server.put("/db/v3.24/main.json", Reply::Page("s3cret in no address"));
    // What is newer is looked up.
    let newer = [("alpine-base", "2.0-r0", &["busybox", "openrc"][..]), ("busybox", "1.0-r0", &[])];
    site.mirror.offer_versions(&[&newer[..], &[("openrc", "1.0-r0", &["busybox"])]].concat());
    let answering = site.mirror.server.base.replace("http://", "http://me:s3cret@") + "/db";
    for (arguments, expected) in [
        (&["list", "--mirror", "http://me:s3cret@mirror.example/alpine?x"][..], "`mirror` cannot be `http://***@"),
        (&["list", "--mirror", "me:s3cret@mirror.example"], "`mirror` cannot be `***@mirror.example`"),
        (&["list", "--site", "leaky.toml"], "`secdb` cannot be `ftp://***@"),
        (&["fetch", "hello", "--mirror", down], "it must not carry a user name or password"),
        (&["fetch", "--list", "--mirror", down], "http://***@127.0.0.1:1/alpine"),
        (&["outdated", "hello", "--secdb", down], "http://***@127.0.0.1:1/alpine/v3.24/main.json"),
        (&["outdated", "hello", "--secdb", &answering], "/db/v3.24/main.json"),
        (&["outdated", "hello", "--secdb", "s3cret:s3cret@x", "--json"], "`secdb` cannot be `***@x`"),
    ] {
        for format in ["text", "json"] {
            let mut command = site.command(&[&["--log-format", format], arguments].concat());
            let ran = Ran::of(command.env("RUST_LOG", "trace").output().unwrap(), &site);
            assert!(ran.err.contains(expected), "{arguments:?}: {}", ran.err);
            let all = ran.out + &ran.err;
            let line = all.lines().find(|line| line.contains("s3cret"));
            assert!(line.is_none(), "{arguments:?}: {line:?}");
        }
    }
}

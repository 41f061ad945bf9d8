//! HTTPS: with curl as a browser would, and as iPXE does.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use super::{Connection, curl, site_with};
use crate::support::large::noise;
use crate::support::site::{Serving, Site};

pub(crate) const TABLE: &str =
    "[http]\ntls-listen = \"127.0.0.1:0\"\ncertificate = \"tls/cert.pem\"\nkey = \"tls/key.pem\"\n";

/// Makes a certificate of this computer with a key of its own, as a person does it.
pub(crate) fn certify(site: &Site, kind: &[&str], name: &str) {
    std::fs::create_dir_all(site.path("tls")).unwrap();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=boot", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-newkey"])
        .args(kind)
        .args(["-keyout", &format!("{name}key.pem"), "-out", &format!("{name}cert.pem")])
        .current_dir(site.path("tls"))
        .stderr(Stdio::null())
        .status();
    assert!(made.expect("openssl can be started").success());
}

fn url(server: &Serving, path: &str) -> String {
    format!("https://{}{path}", server.address("HTTPS"))
}

#[test]
fn people_speak_http_2_and_machines_tls_1_2() {
    let content = noise(5 << 20);
    let (site, path) = site_with(&content);
    certify(&site, &["rsa:2048"], "");
    let server = site.serve_with(TABLE, &["--dhcp", "off"]);
    let trust = site.path("tls/cert.pem");
    let (trust, to) = (trust.to_str().unwrap(), site.path("got"));
    let to = to.to_str().unwrap();
    let told = ["--write-out", "%{http_version} %{http_code}", "--fail", "--cacert", trust, "--output", to];
    for (how, version) in [
        (&["--http2"][..], "2"),
        (&["--http1.1"], "1.1"),
        // What iPXE speaks: no ALPN, an RSA certificate, ephemeral keys.
        (&["--no-alpn", "--tls-max", "1.2", "--ciphers", "ECDHE-RSA-AES128-GCM-SHA256"], "1.1"),
        (&["--http2", "--tlsv1.3"], "2"),
    ] {
        let said = curl(&[how, &told[..], &[&url(&server, &path)]].concat());
        assert_eq!(said, format!("{version} 200"), "{how:?}");
        assert!(std::fs::read(site.path("got")).unwrap() == content, "{how:?}");
    }
    // Several at once over one HTTP/2 connection, a part among them.
    let said = curl(
        &[
            &["--http2", "--parallel", "--range", "7-"][..],
            &told[..],
            &[&url(&server, &path)],
            &["--output", "/dev/null", &url(&server, "/boot.ipxe")],
        ]
        .concat(),
    );
    assert!(said.contains("2 206"), "{said}");
    // Whoever comes by https is told https.
    let script = curl(&["--cacert", trust, &url(&server, "/boot.ipxe")]);
    assert!(script.contains(&format!("https://{}/script?", server.address("HTTPS"))), "{script}");
    assert!(server.get("/boot.ipxe").contains(&format!("http://{}/script?", server.address("HTTP"))));
}

#[test]
fn a_certificate_that_is_renewed_is_shown_from_the_next_handshake_on() {
    let (site, path) = site_with(b"modloop");
    certify(&site, &["rsa:2048"], "");
    let mut server = site.serve_with(TABLE, &["--dhcp", "off"]);
    std::fs::copy(site.path("tls/cert.pem"), site.path("tls/old.pem")).unwrap();
    let url = url(&server, &path);
    let get = |trust: &str| {
        let trust = site.path(trust);
        let asked = ["--silent", "--noproxy", "*", "--cacert", trust.to_str().unwrap(), &url];
        let output = Command::new("curl").args(asked).output().unwrap();
        output.status.success().then_some(output.stdout)
    };
    assert_eq!(get("tls/cert.pem").as_deref(), Some(&b"modloop"[..]));
    // A certificate without its key is none: what was there goes on.
    certify(&site, &["rsa:2048"], "new-");
    std::fs::copy(site.path("tls/new-cert.pem"), site.path("tls/cert.pem")).unwrap();
    let said = server.wait_for_log("cannot be used, so what it said before stays in force");
    assert!(said.contains("HTTPS cannot be served") && said.contains("cert.pem"), "{said}");
    assert_eq!(get("tls/old.pem").as_deref(), Some(&b"modloop"[..]));
    assert_eq!(get("tls/cert.pem"), None);
    std::fs::copy(site.path("tls/new-key.pem"), site.path("tls/key.pem")).unwrap();
    server.wait_for_log("read again and in force");
    assert_eq!(get("tls/cert.pem").as_deref(), Some(&b"modloop"[..]));
    assert_eq!(get("tls/old.pem"), None);
}

#[test]
fn an_elliptic_certificate_works_too_and_garbage_harms_nobody() {
    let (site, path) = site_with(b"modloop");
    certify(&site, &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "");
    let server = site.serve_with(TABLE, &["--dhcp", "off"]);
    for bytes in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"\x16\x03\x01\xff\xff", b"\0"] {
        let mut connection = Connection::open(server.address("HTTPS"));
        connection.send(bytes);
        connection.0.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(!connection.rest().contains("HTTP/"));
    }
    assert_eq!(curl(&["--cacert", site.path("tls/cert.pem").to_str().unwrap(), &url(&server, &path)]), "modloop");
}

#[test]
fn machines_are_told_https_when_the_site_says_so() {
    let (site, _) = site_with(b"modloop");
    certify(&site, &["rsa:2048"], "");
    let server = site.serve_with(&format!("{TABLE}advertise = \"https://boot.example.net\"\n"), &["--dhcp", "off"]);
    let script = server.get("/boot.ipxe");
    assert!(script.contains("https://boot.example.net/script?"), "{script}");
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_before_anything_starts() {
    let (site, _) = site_with(b"modloop");
    certify(&site, &["rsa:2048"], "");
    certify(&site, &["rsa:2048"], "other-");
    let serve = |certificate: &str, key: &str| {
        let table =
            format!("[http]\ntls-listen = \"127.0.0.1:0\"\ncertificate = \"tls/{certificate}\"\nkey = \"tls/{key}\"\n");
        site.write("bad.toml", &table);
        let ran = site.run(&[
            "serve",
            "--site",
            "bad.toml",
            "--http",
            "127.0.0.1:0",
            "--tftp",
            "127.0.0.1:0",
            "--dhcp",
            "off",
        ]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.out.is_empty() && ran.err.contains("HTTPS cannot be served"), "{ran:?}");
        ran.err
    };
    let said = serve("none.pem", "key.pem");
    assert!(said.contains("cannot read tls/none.pem, which `http.certificate` of the site file names"), "{said}");
    assert!(said.contains("No such file"), "{said}");
    let said = serve("cert.pem", "none.pem");
    assert!(said.contains("cannot read tls/none.pem, which `http.key` of the site file names"), "{said}");
    let said = serve("key.pem", "key.pem");
    assert!(said.contains("tls/key.pem has no certificate"), "{said}");
    let private = |name: &str, mode| {
        std::fs::set_permissions(site.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    private("tls/cert.pem", 0o600);
    let said = serve("cert.pem", "cert.pem");
    assert!(said.contains("tls/cert.pem has no private key that can be used"), "{said}");
    let said = serve("cert.pem", "other-key.pem");
    assert!(said.contains("the key tls/other-key.pem does not belong to the certificate tls/cert.pem"), "{said}");
    private("tls/key.pem", 0o644);
    let said = serve("cert.pem", "key.pem");
    assert!(said.contains("everybody can read the private key tls/key.pem (mode 644)"), "{said}");
    assert!(said.contains("`chmod o= tls/key.pem`"), "{said}");
}

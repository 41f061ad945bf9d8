//! What others send, and how they hang up.

use super::{Connection, curl, header, site_with, url};
use crate::support::site::Site;

#[test]
fn old_clients_are_hung_up_on_and_new_ones_kept() {
    let (site, path) = site_with(b"modloop");
    let server = site.serve(&["--dhcp", "off"]);
    assert!(server.get(&path).ends_with("\r\n\r\nmodloop"));
    let mut kept = Connection::open(server.address("HTTP"));
    for _ in 0..3 {
        kept.ask(&path, "iPXE/1.21.1+ (g7e9e9)");
        let head = kept.head();
        assert_eq!(kept.body(&head), b"modloop");
    }
    kept.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes());
    let last = kept.rest();
    assert_eq!(header(&last, "connection"), Some("close"));
    assert!(last.ends_with("modloop"), "{last}");
    let mut old = Connection::open(server.address("HTTP"));
    old.send(format!("GET {path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").as_bytes());
    let head = old.head();
    assert_eq!(header(&head, "connection"), Some("keep-alive"));
    assert_eq!(old.body(&head), b"modloop");
    old.send(b"GET /nothing HTTP/1.0\r\n\r\n");
    assert!(old.rest().starts_with("HTTP/1.0 404"));
}

#[test]
fn requests_that_come_all_at_once_are_answered_in_order() {
    let (site, path) = site_with(b"modloop");
    let server = site.serve(&["--dhcp", "off"]);
    let mut connection = Connection::open(server.address("HTTP"));
    let ask = |method: &str, path: &str| format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    connection
        .send([ask("GET", &path), ask("HEAD", &path), ask("GET", "/nothing"), ask("GET", &path)].concat().as_bytes());
    let head = connection.head();
    assert_eq!(connection.body(&head), b"modloop");
    assert!(connection.head().starts_with("HTTP/1.1 200"));
    let missing = connection.head();
    assert!(missing.starts_with("HTTP/1.1 404"), "{missing}");
    connection.body(&missing);
    let head = connection.head();
    assert_eq!(connection.body(&head), b"modloop");
}

#[test]
fn a_body_that_is_announced_is_asked_for() {
    let site = Site::published();
    let server = site.serve(&["--dhcp", "off"]);
    let mut connection = Connection::open(server.address("HTTP"));
    connection.send(b"POST /check-in/x HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n");
    assert!(connection.head().starts_with("HTTP/1.1 100"));
    connection.send(b"garbage");
    assert!(connection.head().starts_with("HTTP/1.1 400"));
}

#[test]
fn heads_without_end_are_refused() {
    let site = Site::published();
    let server = site.serve(&["--dhcp", "off"]);
    for head in [
        format!("GET /boot.ipxe?{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100_000)),
        format!("GET /boot.ipxe HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(100_000)),
        format!("GET /boot.ipxe HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: a\r\n".repeat(500)),
    ] {
        let mut connection = Connection::open(server.address("HTTP"));
        connection.send(head.as_bytes());
        let answer = connection.rest();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert!(server.get("/boot.ipxe").starts_with("HTTP/1.0 200"));
}

#[test]
fn what_is_not_there_and_what_cannot_be_done_is_said() {
    let (site, path) = site_with(b"modloop");
    let server = site.serve(&["--dhcp", "off"]);
    let missing = curl(&["--include", &url(&server, "/index.html")]);
    assert!(missing.starts_with("HTTP/1.1 404"), "{missing}");
    assert!(missing.ends_with("there is nothing at this address; machines begin at /boot.ipxe\n"), "{missing}");
    for path in [&*path, "/boot.ipxe", "/script"] {
        let wrong = curl(&["--include", "--request", "DELETE", &url(&server, path)]);
        assert!(wrong.starts_with("HTTP/1.1 405"), "{wrong}");
        assert_eq!(header(&wrong, "allow"), Some("GET,HEAD"));
        assert!(wrong.ends_with("DELETE means nothing here; this is read with GET or HEAD\n"), "{wrong}");
    }
    let wrong = curl(&["--include", &url(&server, "/check-in/0123")]);
    assert!(wrong.starts_with("HTTP/1.1 405") && wrong.ends_with("a check-in is made with POST\n"), "{wrong}");
    assert_eq!(header(&wrong, "allow"), Some("POST"));
}

#[test]
fn no_way_of_writing_a_path_leads_out() {
    let (site, path) = site_with(b"modloop");
    site.write("state/store/secret", "what nobody may read");
    let server = site.serve(&["--dhcp", "off"]);
    let bundle = path.rsplit_once('/').unwrap().0;
    for tail in [
        "/../../secret",
        "/..%2f..%2fsecret",
        "/%2e%2e/%2e%2e/secret",
        "/..%5c..%5csecret",
        "/..\\..\\secret",
        "/modloop-large%00",
        "/modloop-large%00.efi",
        "/modloop-large%ff",
        "/./modloop-large",
        "//modloop-large",
        "/modloop-large/",
        "/%2fetc%2fpasswd",
        "/%",
        "/%zz",
        "/packages/x86_64/../../../secret",
    ] {
        for start in [bundle, "/loader", "/alpine", "/m", ""] {
            let answer = server.get(&format!("{start}{tail}"));
            assert!(answer.starts_with("HTTP/1.0 4"), "{start}{tail}: {answer}");
            assert!(!answer.contains("what nobody may read"), "{start}{tail}");
        }
    }
    for bytes in [&b"\xff"[..], b"\x01", b"\xc3\xa9", b"\0"] {
        let mut connection = Connection::open(server.address("HTTP"));
        connection
            .send(&[b"GET ", path.as_bytes(), bytes, b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"].concat());
        let answer = connection.rest();
        assert!(answer.starts_with("HTTP/1.1 4"), "{bytes:?}: {answer}");
    }
    assert!(server.get(&path).ends_with("modloop"));
}

#[test]
fn a_look_at_the_head_of_a_script_begins_no_boot_and_says_no_wrong_length() {
    let site = Site::published();
    let server = site.serve(&["--dhcp", "off", "--default-profile", "hello"]);
    let script = url(&server, "/script?mac=52:54:00:00:00:01");
    let look = curl(&["--head", &script]);
    assert!(look.starts_with("HTTP/1.1 200"), "{look}");
    assert_eq!((header(&look, "content-length"), header(&look, "transfer-encoding")), (None, None), "{look}");
    let first = url(&server, "/boot.ipxe");
    let length = curl(&[&first]).len().to_string();
    assert_eq!(header(&curl(&["--head", &first]), "content-length"), Some(&*length));
    assert!(curl(&["--include", &script]).contains("\r\ncontent-length: "), "the script itself says how long it is");
    assert_eq!(server.stop().matches(" script ").count(), 1);
}

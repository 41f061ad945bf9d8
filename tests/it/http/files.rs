//! Files: whole, in part, in the version that is meant, and as what firmware takes them for.

use super::{Connection, curl, header, site_with, url};
use crate::support::large::noise;
use crate::support::site::Site;

/// The bytes of a file that a test wrote.
fn read(site: &Site, name: &str) -> Vec<u8> {
    std::fs::read(site.path(name)).unwrap()
}

#[test]
fn firmware_looks_first_and_resumes_what_was_cut() {
    let content = noise(3 << 20);
    let (site, path) = site_with(&content);
    let server = site.serve(&["--dhcp", "off"]);
    let url = url(&server, &path);
    let look = curl(&["--head", &url]);
    assert!(look.starts_with("HTTP/1.1 200 OK"), "{look}");
    assert_eq!(header(&look, "content-length"), Some("3145728"));
    assert_eq!(header(&look, "accept-ranges"), Some("bytes"));
    let tag = header(&look, "etag").unwrap().to_owned();
    // As EDK2 does it after a break.
    let mut firmware = Connection::open(server.address("HTTP"));
    let resume = |tag: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: UefiHttpBoot/1.0\r\nRange: bytes=1000000-3145727\r\nIf-Match: {tag}\r\n\r\n"
        )
    };
    firmware.send(resume(&tag).as_bytes());
    let head = firmware.head();
    assert!(head.starts_with("HTTP/1.1 206 Partial Content"), "{head}");
    assert_eq!(header(&head, "content-range"), Some("bytes 1000000-3145727/3145728"));
    assert_eq!(header(&head, "etag"), Some(&*tag));
    assert_eq!(firmware.body(&head), &content[1_000_000..]);
    // On the same connection, when the file was another one.
    firmware.send(resume("\"another\"").as_bytes());
    let head = firmware.head();
    assert!(head.starts_with("HTTP/1.1 412 Precondition Failed"), "{head}");
    assert_eq!((header(&head, "cache-control"), header(&head, "etag")), (Some("no-store"), Some(&*tag)));
    assert!(String::from_utf8(firmware.body(&head)).unwrap().contains("another version"));
}

#[test]
fn curl_gets_the_part_it_wants_and_goes_on_where_it_ended() {
    let content = noise(2 << 20);
    let (site, path) = site_with(&content);
    let server = site.serve(&["--dhcp", "off"]);
    let (url, to) = (url(&server, &path), site.path("got"));
    let to = to.to_str().unwrap();
    for (range, part) in
        [("0-0", 0..1), ("5-99", 5..100), ("2097000-", 2_097_000..2 << 20), ("-7", (2 << 20) - 7..2 << 20)]
    {
        curl(&["--fail", "--range", range, "--output", to, &url]);
        assert_eq!(read(&site, "got"), &content[part], "{range}");
    }
    site.write("got", "");
    std::fs::write(to, &content[..1_500_000]).unwrap();
    curl(&["--fail", "--continue-at", "-", "--output", to, &url]);
    assert!(read(&site, "got") == content);
    let beyond = curl(&["--include", "--range", "9999999-", &url]);
    assert!(beyond.starts_with("HTTP/1.1 416 Range Not Satisfiable"), "{beyond}");
    assert_eq!(header(&beyond, "content-range"), Some("bytes */2097152"));
    assert!(beyond.ends_with("the file has 2097152 bytes, and none where the range begins\n"), "{beyond}");
    let several = curl(&["--head", "--request", "GET", "--range", "0-1,5-6", &url]);
    assert!(several.starts_with("HTTP/1.1 200 OK"), "{several}");
}

#[test]
fn looking_says_what_getting_would() {
    let (site, path) = site_with(&vec![b'a'; 3 << 20]);
    std::fs::create_dir_all(site.path("loaders")).unwrap();
    std::fs::write(site.path("loaders/undionly.kpxe"), vec![1; 70_000]).unwrap();
    let server = site.serve(&["--dhcp", "off", "--loaders", "loaders"]);
    for path in [&*path, "/boot.ipxe", "/autoexec.ipxe", "/loader/undionly.kpxe", "/nothing", "/alpine/x"] {
        let [look, get] = ["HEAD", "GET"].map(|method| {
            let answer = server.http(&format!("{method} {path} HTTP/1.0\r\n\r\n"));
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            let lines: Vec<&str> = head.lines().filter(|line| !line.starts_with("date:")).collect();
            (lines.join("\n"), body.len())
        });
        assert_eq!(look.0, get.0, "{path}");
        assert_eq!(look.1, 0, "{path}");
        assert_eq!(header(&get.0, "content-length"), Some(&*get.1.to_string()), "{path}");
    }
}

#[test]
fn a_loader_is_found_as_firmware_writes_its_name_and_asked_for_anew_when_it_was_replaced() {
    let site = Site::new();
    std::fs::create_dir_all(site.path("loaders")).unwrap();
    std::fs::write(site.path("loaders/undionly.kpxe"), vec![1; 70_000]).unwrap();
    let server = site.serve(&["--dhcp", "off", "--loaders", "loaders"]);
    let look = |path: &str| server.http(&format!("HEAD {path} HTTP/1.0\r\n\r\n"));
    let plain = look("/loader/undionly.kpxe");
    // Tomorrow there may be another of this name.
    assert_eq!(header(&plain, "cache-control"), Some("no-cache"), "{plain}");
    let tag = header(&plain, "etag").unwrap();
    for path in [
        "/loader/undionly.kpxe%ff",
        "/loader/undionly.kpxe%00",
        "/loader/undionly.kpxe%20",
        "/loader//undionly.kpxe",
        "/loader/boot/undionly.kpxe",
        "/loader/UNDIONLY.KPXE",
        "/loader/pxelinux.0",
    ] {
        let found = look(path);
        assert!(found.starts_with("HTTP/1.0 200"), "{path}: {found}");
        assert_eq!(header(&found, "etag"), Some(tag), "{path}");
    }
    for path in ["/loader/", "/loader/x.efi", "/loader/%2e%2e/undionly.kpxe", "/loader/pxelinux.cfg/default"] {
        assert!(look(path).starts_with("HTTP/1.0 404"), "{path}: {}", look(path));
    }
}

#[test]
fn an_ipxe_that_came_by_http_finds_the_way_to_its_script_beside_itself_and_in_the_root() {
    let site = Site::new();
    let server = site.serve(&["--dhcp", "off"]);
    for path in ["/autoexec.ipxe", "/loader/autoexec.ipxe"] {
        let script = curl(&["--fail", &url(&server, path)]);
        assert!(script.starts_with("#!ipxe\n") && script.contains("dhcp"), "{script}");
        assert!(script.contains(&url(&server, "/script?mac=${netX/mac}")), "{script}");
    }
}

#[test]
fn a_bundle_that_cannot_be_read_is_told_from_one_that_is_not_there() {
    let (site, path) = site_with(b"modloop");
    let server = site.serve(&["--dhcp", "off"]);
    let id = path.split('/').nth(2).unwrap();
    let manifest = site.path("state/store/bundles").join(format!("{id}.json"));
    assert!(manifest.is_file(), "{}", manifest.display());
    std::fs::write(&manifest, "{").unwrap();
    let unreadable = curl(&["--include", &url(&server, &path)]);
    assert!(unreadable.starts_with("HTTP/1.1 500") && unreadable.contains("see the server's log"), "{unreadable}");
    let missing = curl(&["--include", &url(&server, &path.replace(id, &"0".repeat(64)))]);
    assert!(missing.starts_with("HTTP/1.1 404") && missing.contains("there is no such bundle"), "{missing}");
    let log = server.stop();
    assert!(log.contains("a bundle cannot be read") && log.contains(id), "{log}");
}

#[test]
fn a_dated_file_is_resumed_by_its_date() {
    let site = Site::published();
    let server = site.serve(&["--dhcp", "off"]);
    let path = "/alpine/v3.24/main/x86_64/APKINDEX.tar.gz";
    let look = server.http(&format!("HEAD {path} HTTP/1.0\r\n\r\n"));
    assert!(look.starts_with("HTTP/1.0 200"), "{look}");
    let date = header(&look, "last-modified").unwrap();
    let with = |since: &str| {
        server.http(&format!("GET {path} HTTP/1.0\r\nRange: bytes=1-\r\nIf-Unmodified-Since: {since}\r\n\r\n"))
    };
    assert!(with(date).starts_with("HTTP/1.0 206"), "{}", with(date));
    assert!(with("Sun, 06 Nov 1994 08:49:37 GMT").starts_with("HTTP/1.0 412"));
}

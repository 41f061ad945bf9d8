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
    for path in [&*path, "/boot.ipxe", "/loader/undionly.kpxe", "/nothing", "/alpine/x"] {
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

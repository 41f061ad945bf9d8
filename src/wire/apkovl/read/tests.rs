//! Archives as they come, and as nobody should make them.

use proptest::prelude::*;

use super::*;
use crate::wire::apkovl::header::{Header, number};
use crate::wire::apkovl::pack;
use crate::wire::gzip::gzip;

/// The two blocks at the end.
const END: [u8; 1024] = [0; 1024];

/// A member as any tar program may write it.
#[derive(Clone)]
struct Raw(Header, Vec<u8>);

impl Raw {
    fn new(kind: u8, name: impl AsRef<[u8]>) -> Self {
        let mut header = Header::new(kind);
        header.mode = number(0o644);
        let name = name.as_ref();
        header.name[..name.len()].copy_from_slice(name);
        Self(header, Vec::new())
    }

    fn file(name: impl AsRef<[u8]>, content: &[u8]) -> Self {
        let mut raw = Self::new(b'0', name);
        raw.0.size = number(content.len() as u64);
        raw.1 = content.to_vec();
        raw
    }

    fn directory(name: &str) -> Self {
        let mut raw = Self::new(b'5', name);
        raw.0.mode = number(0o755);
        raw
    }

    fn link(kind: u8, name: &str, target: impl AsRef<[u8]>) -> Self {
        let mut raw = Self::new(kind, name);
        let target = target.as_ref();
        raw.0.link[..target.len()].copy_from_slice(target);
        raw
    }

    /// PAX records, or GNU's long name (`L`) or target (`K`).
    fn extension(kind: u8, content: &[u8]) -> Self {
        Self::file("././@LongLink", content).change(|header| header.kind = kind)
    }

    fn pax(records: &[(&str, &str)]) -> Self {
        let mut bytes = Vec::new();
        for (key, value) in records {
            let rest = format!(" {key}={value}\n");
            let length = (rest.len()..).find(|it| it.to_string().len() + rest.len() == *it).unwrap();
            bytes.extend_from_slice(format!("{length}{rest}").as_bytes());
        }
        Self::extension(b'x', &bytes)
    }

    fn change(mut self, change: impl FnOnce(&mut Header)) -> Self {
        change(&mut self.0);
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.0.clone().encode(&mut bytes);
        bytes.extend_from_slice(&self.1);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }
}

fn tar(members: &[Raw]) -> Vec<u8> {
    let mut bytes: Vec<u8> = members.iter().flat_map(Raw::bytes).collect();
    bytes.extend_from_slice(&END);
    bytes
}

fn read_tar(bytes: &[u8]) -> Result<Read, Problem> {
    read(&gzip(bytes)[..], &Limits::default())
}

fn unpacked(members: &[Raw]) -> Read {
    read_tar(&tar(members)).unwrap()
}

fn refused(members: &[Raw]) -> Problem {
    read_tar(&tar(members)).unwrap_err()
}

/// The notes but for missing parents, which most of these archives have.
fn notes(read: &Read) -> Vec<(&str, &What)> {
    let notes = read.notes.iter().filter(|note| note.what != What::NoParent);
    notes.map(|note| (note.member.as_deref().unwrap_or_default(), &note.what)).collect()
}

fn paths(read: &Read) -> Vec<&str> {
    read.tree.iter().map(|(path, _)| path).collect()
}

fn content<'a>(read: &'a Read, path: &str) -> &'a [u8] {
    match &read.tree.get(path).unwrap().node {
        Node::File(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

/// The order, the missing `etc/`, the owner names and the long name record are those of a real lbu archive
/// (alpine.md 2.3).
#[test]
fn an_archive_as_lbu_makes_it_is_read() {
    let root = |header: &mut Header| {
        header.uname[..4].copy_from_slice(b"root");
        header.gname[..4].copy_from_slice(b"root");
    };
    let long = format!("etc/{}", "n".repeat(150));
    let read = unpacked(&[
        Raw::file("etc/hostname", b"alpine\n").change(root),
        Raw::directory("etc/runlevels/default/").change(root),
        Raw::link(b'2', "etc/runlevels/default/sshd", "/etc/init.d/sshd").change(root),
        Raw::extension(b'L', format!("{long}\0").as_bytes()),
        Raw::file(&long[..100], b"long").change(root),
        Raw::file("etc/shadow", b"root:*::0:::::\n").change(|header| {
            header.mode = number(0o640);
            header.gid = number(42);
            header.gname[..6].copy_from_slice(b"shadow");
        }),
    ]);
    assert_eq!(
        paths(&read),
        [
            "etc",
            "etc/hostname",
            &long,
            "etc/runlevels",
            "etc/runlevels/default",
            "etc/runlevels/default/sshd",
            "etc/shadow"
        ]
    );
    let shadow = read.tree.get("etc/shadow").unwrap();
    assert_eq!((shadow.mode, shadow.owner), (0o640, Owner { uid: 0, gid: 42 }));
    assert_eq!(read.tree.get("etc/runlevels/default/sshd"), Some(&Entry::symlink("/etc/init.d/sshd")));
    let lines: Vec<String> = read.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        ["etc", "etc/runlevels"].map(|path| format!(
            "`{path}` is not in the archive though something below it is; init makes it 0755 root:root"
        ))
    );
}

#[test]
fn every_kind_of_header_and_node_is_read() {
    let posix = |header: &mut Header| header.magic = *b"ustar\x0000";
    let device = |header: &mut Header| (header.major, header.minor) = (number(8), number(70_000));
    let read = unpacked(&[
        Raw::file("ustar", b"1").change(posix).change(|header| header.prefix[..7].copy_from_slice(b"etc/pre")),
        Raw::file("etc/v7", b"2").change(|header| (header.magic, header.kind) = ([0; 8], 0)),
        Raw::new(0, "etc/v7dir/").change(|header| header.magic = [0; 8]),
        Raw::file("etc/contiguous", b"3").change(|header| header.kind = b'7'),
        Raw::new(b'V', "a label of the archive"),
        Raw::new(b'3', "dev/c").change(device),
        Raw::new(b'4', "dev/b").change(device),
        Raw::new(b'6', "dev/p"),
        Raw::extension(b'K', &[&[b't'; 200], b"\0".as_slice()].concat()),
        Raw::link(b'2', "etc/link", [b't'; 100]),
        Raw::pax(&[("path", "etc/pax/ü"), ("linkpath", "ö"), ("mtime", "1.5"), ("comment", "x")]),
        Raw::link(b'2', "short", "short").change(posix),
    ]);
    assert_eq!(notes(&read), []);
    assert_eq!(
        [content(&read, "etc/pre/ustar"), content(&read, "etc/v7"), content(&read, "etc/contiguous")].concat(),
        b"123"
    );
    assert!(read.tree.get("etc/v7dir").unwrap().is_directory());
    let node = |path: &str| &read.tree.get(path).unwrap().node;
    assert_eq!(node("dev/c"), &Node::CharDevice { major: 8, minor: 70_000 });
    assert_eq!(node("dev/b"), &Node::BlockDevice { major: 8, minor: 70_000 });
    assert_eq!(node("dev/p"), &Node::Fifo);
    assert_eq!(node("etc/link"), &Node::Symlink("t".repeat(200)));
    assert_eq!(node("etc/pax/ü"), &Node::Symlink("ö".to_owned()));
}

#[test]
fn the_last_of_two_members_with_one_name_counts() {
    let read = unpacked(&[
        Raw::file("etc/x", b"first"),
        Raw::link(b'2', "etc/l", "/etc/x"),
        Raw::file("etc/x", b"second"),
        Raw::file("etc/l", b"file"),
    ]);
    assert_eq!((content(&read, "etc/x"), content(&read, "etc/l")), (b"second".as_slice(), b"file".as_slice()));
    assert_eq!(
        notes(&read),
        [("etc/x", &What::Duplicate { fails: false }), ("etc/l", &What::Duplicate { fails: true })]
    );
}

#[test]
fn a_parent_that_comes_after_its_children_is_neither_missing_nor_twice() {
    let read =
        unpacked(&[Raw::file("etc/x", b""), Raw::directory("etc/").change(|header| header.mode = number(0o700))]);
    assert_eq!(read.notes, []);
    assert_eq!(read.tree.get("etc").unwrap().mode, 0o700);
}

#[test]
fn odd_names_are_put_right_and_noted() {
    let read = unpacked(&[
        Raw::directory("./"),
        Raw::directory("./etc/"),
        Raw::file("/etc/a", b""),
        Raw::file("./etc//b", b""),
    ]);
    assert_eq!(paths(&read), ["etc", "etc/a", "etc/b"]);
    assert_eq!(notes(&read), [("./etc/", &What::Dotted), ("/etc/a", &What::Absolute), ("./etc//b", &What::Dotted)]);
}

#[test]
fn names_that_no_overlay_can_hold_are_left_out_with_a_note() {
    let read = unpacked(&[
        Raw::file(b"etc/a\tb", b"1"),
        Raw::file(b"etc/\xff", b"2"),
        Raw::link(b'2', "etc/l", b"\xff"),
        Raw::file("etc/._hostname", b"3"),
        Raw::file("etc/ok", b"4"),
    ]);
    assert_eq!(paths(&read), ["etc", "etc/ok"]);
    assert_eq!(
        notes(&read),
        [
            ("etc/a\\tb", &What::Name(NameFault::Control)),
            ("etc/\u{fffd}", &What::Name(NameFault::NotUtf8)),
            ("etc/l", &What::Name(NameFault::TargetNotUtf8)),
            ("etc/._hostname", &What::Macos),
        ]
    );
}

#[test]
fn a_line_end_in_a_name_is_refused() {
    for name in [b"etc/a\nb".as_slice(), b"etc\n/a", b"etc/a\n"] {
        let error = refused(&[Raw::file("etc/ok", b""), Raw::file(name, b"")]);
        assert!(matches!(error, Problem::LineEnd { .. }), "{error}");
        assert!(error.to_string().contains("rename the file") && !error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn the_root_itself_is_noted_when_it_would_change_the_machines() {
    assert_eq!(unpacked(&[Raw::directory("./")]).notes, []);
    let read =
        unpacked(&[Raw::directory("./").change(|header| (header.mode, header.uid) = (number(0o700), number(501)))]);
    let owner = Owner { uid: 501, gid: 0 };
    assert_eq!(notes(&read), [("./", &What::Root { mode: 0o700, owner })]);
    assert!(read.tree.is_empty());
}

#[test]
fn a_top_level_member_is_noted_once_and_only_when_others_come_after_it() {
    assert_eq!(unpacked(&[Raw::directory("etc/"), Raw::file("README", b"")]).notes, []);
    let read =
        unpacked(&[Raw::file("._etc", b""), Raw::directory("etc/"), Raw::file("README", b""), Raw::file("etc/x", b"")]);
    assert_eq!(notes(&read), [("._etc", &What::Macos), ("._etc", &What::TopLevel)]);
    let read = unpacked(&[Raw::directory("etc"), Raw::file("etc/x", b"")]);
    assert_eq!(notes(&read), [("etc", &What::TopLevel)], "a directory written without its slash counts too");
}

#[test]
fn hard_links_become_copies_wherever_their_target_stands() {
    let mode = |header: &mut Header| header.mode = number(0o4755);
    let read = unpacked(&[
        Raw::link(b'1', "etc/early", "etc/file"),
        Raw::file("etc/file", b"x").change(mode),
        Raw::link(b'1', "etc/late", "./etc/file"),
    ]);
    for path in ["etc/early", "etc/late"] {
        assert_eq!(read.tree.get(path), read.tree.get("etc/file"));
    }
    let target = What::HardLink { target: "etc/file".to_owned() };
    assert_eq!(notes(&read), [("etc/early", &target), ("etc/late", &target)]);
}

#[test]
fn a_hard_link_to_nothing_or_to_a_directory_is_refused() {
    for target in ["etc/nothing", "etc", "etc/link"] {
        let error = refused(&[Raw::directory("etc/"), Raw::link(b'1', "etc/link", target)]);
        assert!(matches!(&error, Problem::HardLink { member, .. } if member == "`etc/link`"), "{error}");
    }
    let error = refused(&[Raw::link(b'1', "etc/link", "../etc/shadow")]);
    assert!(matches!(error, Problem::Traversal { .. }), "{error}");
}

#[test]
fn owners_are_those_of_the_records_and_the_machines_are_noted() {
    let read = unpacked(&[
        Raw::pax(&[("uid", "3000000"), ("uname", "nobody")]),
        Raw::file("etc/pax", b"").change(|header| header.gid = number(5)),
        Raw::file("etc/name", b"").change(|header| {
            (header.uid, header.gid) = (number(65534), number(1000));
            header.uname[..6].copy_from_slice(b"nobody");
            header.gname[..5].copy_from_slice(b"wheel");
        }),
        Raw::file("etc/large", b"").change(|header| header.uid = number(4_000_000_000)),
        Raw::link(b'2', "etc/link", "x").change(|header| header.uid = number(7)),
    ]);
    let owner = |path: &str| (read.tree.get(path).unwrap().owner.uid, read.tree.get(path).unwrap().owner.gid);
    assert_eq!(
        (owner("etc/pax"), owner("etc/name"), owner("etc/large")),
        ((3_000_000, 5), (65534, 1000), (4_000_000_000, 0))
    );
    let (record, header) = (Owner { uid: 3_000_000, gid: 5 }, Owner { uid: 0, gid: 5 });
    assert_eq!(
        notes(&read),
        [
            ("etc/pax", &What::PaxOwner { record, header }),
            ("etc/name", &What::OwnerName { is_group: true, name: "wheel".to_owned(), number: 1000, becomes: 10 }),
            ("etc/link", &What::LinkOwner(Owner { uid: 7, gid: 0 })),
        ]
    );
}

#[test]
fn an_owner_in_a_global_record_holds_for_all_members_after_it() {
    let global = |records| Raw::pax(records).change(|header| header.kind = b'g');
    let read = unpacked(&[
        global(&[("uid", "7")]),
        Raw::file("etc/a", b""),
        Raw::pax(&[("uid", "8")]),
        Raw::file("etc/b", b""),
    ]);
    assert_eq!(["etc/a", "etc/b"].map(|path| read.tree.get(path).unwrap().owner.uid), [7, 8]);
    let error = refused(&[global(&[("path", "etc/x")]), Raw::file("etc/a", b"")]);
    assert!(matches!(error, Problem::Header { fault: HeaderFault::Extension, .. }), "{error}");
}

#[test]
fn attributes_are_left_out_with_a_note() {
    let read = unpacked(&[
        Raw::pax(&[("SCHILY.xattr.security.capability", "x"), ("SCHILY.acl.access", "y")]),
        Raw::file("usr/bin/ping", b""),
    ]);
    let names = ["security.capability", "SCHILY.acl.access"].map(str::to_owned).to_vec();
    assert_eq!(notes(&read), [("usr/bin/ping", &What::Attributes(names))]);
    assert!(read.notes[0].what.is_loss());
}

#[test]
fn what_is_below_a_link_or_in_the_way_is_left_out_with_a_note() {
    let read = unpacked(&[
        Raw::link(b'2', "etc/l", "/tmp"),
        Raw::file("etc/l/passwd", b"evil"),
        Raw::file("etc/d/x", b""),
        Raw::file("etc/d", b"file"),
        Raw::file("etc/f", b""),
        Raw::directory("etc/f/"),
    ]);
    assert_eq!(paths(&read), ["etc", "etc/d", "etc/d/x", "etc/f", "etc/l"]);
    let parent = "etc/l".to_owned();
    assert_eq!(
        notes(&read),
        [("etc/l/passwd", &What::Below { parent }), ("etc/d", &What::InTheWay), ("etc/f/", &What::InTheWay)]
    );
}

#[test]
fn times_that_init_takes_for_a_folder_are_noted() {
    let read =
        unpacked(&[Raw::file("etc/x", b"").change(|header| header.prefix[..12].copy_from_slice(b"14000000000\0"))]);
    assert_eq!(notes(&read), [("etc/x", &What::Prefix { folder: "14000000000".to_owned() })]);
    assert_eq!(paths(&read), ["etc", "etc/x"]);
}

#[test]
fn the_end_is_where_init_sees_it() {
    let file = |name: &str| Raw::file(name, b"x").bytes();
    let zero = [0; 512].to_vec();
    let of = |parts: &[Vec<u8>]| read_tar(&parts.concat()).unwrap();
    let read = of(&[file("etc/a"), zero.clone(), file("etc/b"), zero.clone(), zero.clone()]);
    assert_eq!((paths(&read).len(), notes(&read)), (3, vec![]), "one zero block alone is passed over");
    let read = of(&[file("etc/a"), END.to_vec(), file("etc/b"), END.to_vec()]);
    assert_eq!((paths(&read).len(), notes(&read)), (2, vec![("", &What::AfterEnd)]));
    let read = of(&[file("etc/a"), END.to_vec(), vec![0; 9216]]);
    assert_eq!(notes(&read), [], "zeros may follow");
    let read = of(&[file("etc/a")]);
    assert_eq!(notes(&read), [("", &What::NoEnd)]);
    let garbage = [gzip(&[file("etc/a"), END.to_vec()].concat()), b"garbage".to_vec()].concat();
    assert_eq!(notes(&super::read(&garbage[..], &Limits::default()).unwrap()), [("", &What::AfterEnd)]);
}

#[test]
fn names_that_lead_out_are_refused() {
    for name in ["../etc/passwd", "etc/../../x", "/../x", "etc/.."] {
        let error = refused(&[Raw::file("etc/ok", b""), Raw::file(name, b"")]);
        assert_eq!(
            error.to_string(),
            format!("`{name}` has `..` in its name or hard link, which leads out of the archive (OVL-11)")
        );
    }
}

#[test]
fn sparse_files_are_refused_in_all_their_forms() {
    for members in [
        vec![Raw::file("etc/x", b"").change(|header| header.kind = b'S')],
        vec![Raw::pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.name", "etc/x")]), Raw::file("etc/x", b"")],
        vec![Raw::pax(&[("GNU.sparse.size", "9")]), Raw::file("etc/x", b"")],
    ] {
        let error = refused(&members);
        assert!(matches!(&error, Problem::Sparse { member } if member == "`etc/x`"), "{error}");
    }
}

#[test]
fn unknown_kinds_are_refused() {
    for kind in [b'D', b'M', b'N', b'X', b'8', 0xff] {
        let error = refused(&[Raw::new(kind, "etc/x")]);
        assert!(matches!(&error, Problem::Kind { member, kind: it } if member == "`etc/x`" && *it == kind), "{error}");
    }
}

#[test]
fn headers_that_readers_would_understand_differently_are_refused() {
    let fault = |members: &[Raw]| match refused(members) {
        Problem::Header { fault, .. } => fault,
        other => panic!("{other}"),
    };
    let file = || Raw::file("etc/x", b"abc");
    assert_eq!(fault(&[Raw::pax(&[("size", "1024")]), file()]), HeaderFault::Extension);
    assert_eq!(fault(&[Raw::extension(b'x', b"99 path=x\n"), file()]), HeaderFault::Extension);
    assert_eq!(
        fault(&[file(), file().change(|header| (header.kind, header.link[0]) = (b'1', b'x'))]),
        HeaderFault::Size
    );
    assert_eq!(fault(&[Raw::file("etc/x/", b"")]), HeaderFault::Name);
    assert_eq!(fault(&[Raw::file("", b"")]), HeaderFault::Name);
    assert_eq!(fault(&[Raw::file("./", b"")]), HeaderFault::Name);
    assert_eq!(fault(&[Raw::extension(b'L', b"\0"), file()]), HeaderFault::Name);
    for kind in [b'1', b'2'] {
        assert_eq!(fault(&[Raw::new(kind, "etc/x")]), HeaderFault::Target);
    }
    for change in [
        |header: &mut Header| header.uid = [0xff; 8],
        |header: &mut Header| header.gid = *b"nobody\0\0",
        |header: &mut Header| header.mode = *b"rw-r--r-",
        |header: &mut Header| header.size = [0xff; 12],
        |header: &mut Header| header.uid = number(1 << 32),
        |header: &mut Header| (header.kind, header.major) = (b'3', number(1 << 32)),
    ] {
        assert_eq!(fault(&[Raw::new(b'0', "etc/x").change(change)]), HeaderFault::Number);
    }
    let many: Vec<Raw> = (0..9).map(|_| Raw::pax(&[("comment", "x")])).chain([file()]).collect();
    assert_eq!(fault(&many), HeaderFault::Extensions);
    assert_eq!(fault(&[Raw::extension(b'x', &vec![b'x'; 300 << 10]), file()]), HeaderFault::Extensions);
    let mut bytes = tar(&[file()]);
    bytes[0] ^= 1;
    let error = read_tar(&bytes).unwrap_err();
    assert_eq!(error.to_string(), "the header of member 1 is wrong: its checksum is not that of a tar header");
}

#[test]
fn names_longer_than_linux_allows_are_refused() {
    let long = |kind, length: usize| Raw::extension(kind, &[b"a/".repeat(length / 2), b"\0".to_vec()].concat());
    let part = Raw::extension(b'L', &[b'x'; 256]);
    for members in [
        [long(b'L', 5000), Raw::directory("x")],
        [part, Raw::file("x", b"")],
        [long(b'K', 5000), Raw::link(b'2', "etc/x", "x")],
    ] {
        let error = refused(&members);
        assert!(matches!(error, Problem::LongName { .. }), "{error}");
    }
}

#[test]
fn an_archive_that_unpacks_to_more_than_allowed_is_refused() {
    let limits = Limits { unpacked: 100 << 10, entries: 20, text: 8000 };
    let bounded = |bytes: &[u8]| read(&gzip(bytes)[..], &limits).unwrap_err();
    let error = bounded(&tar(&[Raw::file("etc/bomb", &vec![0; 200 << 10])]));
    assert_eq!(error.to_string(), "the archive unpacks to more than 102400 bytes, at `etc/bomb`");
    // The size is only claimed; nothing is set aside for it.
    let error = bounded(&tar(&[Raw::new(b'0', "etc/claim").change(|header| header.size = number(u64::MAX))]));
    assert!(matches!(error, Problem::TooLarge { .. }), "{error}");
    // Zeros without end after the end.
    let error = bounded(&vec![0; 200 << 10]);
    assert!(matches!(error, Problem::TooLarge { .. }), "{error}");
    // Copies of one file.
    let copies: Vec<Raw> = (0..9).map(|place| Raw::link(b'1', &format!("etc/{place}"), "etc/file")).collect();
    let error = bounded(&tar(&[vec![Raw::file("etc/file", &[7; 20 << 10])], copies].concat()));
    assert!(matches!(error, Problem::TooLarge { .. }), "{error}");
    let many: Vec<Raw> = (0..30).map(|place| Raw::file(format!("etc/{place}"), b"")).collect();
    let error = bounded(&tar(&many));
    assert!(matches!(error, Problem::TooMany { limit: 20, .. }), "{error}");
    // Deep folders, each of whose parents is an entry with a name almost as long.
    let deep = Raw::extension(b'L', &b"a/".repeat(150));
    let error = bounded(&tar(&[deep, Raw::directory("a/")]));
    assert!(matches!(error, Problem::TooMuchText { limit: 8000, .. }), "{error}");
}

#[test]
fn what_is_no_gzip_is_refused_with_what_it_looks_like() {
    let error = read(&b"\xfd7zXZ\0\0"[..], &Limits::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the archive is not gzip, the only compression init unpacks: it looks like xz (OVL-10)"
    );
    let error = read_tar(
        b"plain text, compressed, and long enough to fill more than one whole block of 512 bytes".repeat(9).as_slice(),
    );
    assert!(matches!(error, Err(Problem::Header { fault: HeaderFault::Checksum, .. })));
}

#[test]
fn an_archive_cut_off_anywhere_is_refused_with_the_place() {
    let mut tree = Tree::default();
    tree.insert("etc/x", Entry::file((0..2000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>()));
    let bytes = pack(&tree, 0);
    for end in 2..bytes.len() {
        let error = read(&bytes[..end], &Limits::default()).unwrap_err();
        assert!(matches!(error, Problem::Cut { .. }), "{end} of {}: {error}", bytes.len());
    }
    let archive = tree.to_tar(0);
    for (end, member) in
        [(100, "its first member"), (512 + 100, "`etc/`"), (1024 + 100, "`etc/x`"), (1024 + 8000 + 100, "`etc/x`")]
    {
        let error = read_tar(&archive[..end]).unwrap_err();
        assert_eq!(error.to_string(), format!("the archive is cut off in {member}"), "{end}");
    }
    let error = read_tar(&Raw::pax(&[("path", "x")]).bytes()).unwrap_err();
    assert!(matches!(error, Problem::Cut { .. }), "an extension header without its member: {error}");
}

#[test]
fn a_wrong_checksum_of_the_compressed_bytes_is_refused() {
    let mut bytes = gzip(&tar(&[Raw::file("etc/x", b"content")]));
    let place = bytes.len() - 8;
    bytes[place] ^= 1;
    let error = read(&bytes[..], &Limits::default()).unwrap_err();
    assert!(matches!(&error, Problem::Damaged { member, .. } if member == "`etc/x`"), "{error}");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_what_it_reads_can_be_written(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        changes in proptest::collection::vec((0..12_usize, 0..512_usize, any::<u8>()), 0..6),
    ) {
        let limits = Limits { unpacked: 1 << 20, entries: 100, text: 1 << 16 };
        let _ = read(&bytes[..], &limits);
        let _ = read(&gzip(&bytes)[..], &limits);
        // Bytes of good headers changed, with the checksum put right, so that the change is looked at.
        let mut archive = tar(&[
            Raw::directory("etc/"),
            Raw::pax(&[("path", "etc/x"), ("uid", "5")]),
            Raw::file("short", b"content"),
            Raw::extension(b'L', b"etc/long\0"),
            Raw::link(b'2', "etc/l", "/tmp"),
            Raw::link(b'1', "etc/h", "etc/x"),
            Raw::new(b'3', "etc/null"),
        ]);
        for (block, place, byte) in changes {
            archive[(block * 512 + place) % (10 * 512)] = byte;
        }
        for block in [0, 1, 3, 5, 7, 8, 9] {
            let block: &mut [u8; 512] = (&mut archive[block * 512..(block + 1) * 512]).try_into().unwrap();
            let mut bytes = Vec::new();
            Header::decode(block).encode(&mut bytes);
            block.copy_from_slice(&bytes);
        }
        if let Ok(found) = read(&gzip(&archive)[..], &limits) {
            let again = read(&pack(&found.tree, 0)[..], &Limits::default()).unwrap();
            prop_assert_eq!(again.tree, found.tree);
            prop_assert!(again.notes.iter().all(|note| matches!(note.what, What::LinkOwner(_))), "{:?}", again.notes);
        }
    }
}

//! Archives as lbu makes them on a running machine (alpine.md 2.1 and 2.3).

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{EntryType, Header};

/// A member: its name, kind (`'0'`, `'5'`, `'2'` …), mode, owner, and content or target.
#[derive(Clone)]
pub struct Member {
    pub name: String,
    pub kind: u8,
    pub mode: u32,
    pub owner: (u32, u32),
    pub content: Vec<u8>,
}

pub fn file(name: &str, mode: u32, content: &str) -> Member {
    Member { name: name.to_owned(), kind: b'0', mode, owner: (0, 0), content: content.as_bytes().to_vec() }
}

pub fn folder(name: &str, mode: u32) -> Member {
    Member { kind: b'5', ..file(name, mode, "") }
}

pub fn link(name: &str, target: &str) -> Member {
    Member { kind: b'2', ..file(name, 0o777, target) }
}

impl Member {
    pub fn owned(self, uid: u32, gid: u32) -> Self {
        Self { owner: (uid, gid), ..self }
    }
}

/// An archive of these members, in this order.
pub fn archive(members: &[Member]) -> Vec<u8> {
    let mut tar = Vec::new();
    for member in members {
        let is_link = matches!(member.kind, b'1' | b'2');
        let (name, target) = (member.name.as_bytes(), if is_link { member.content.as_slice() } else { b"" });
        for (kind, text) in [(b'L', name), (b'K', target)] {
            if text.len() > 100 {
                block(
                    &mut tar,
                    &Member { content: [text, b"\0"].concat(), ..file("././@LongLink", 0o644, "") },
                    kind,
                    b"",
                );
            }
        }
        block(&mut tar, member, member.kind, target);
    }
    tar.resize(tar.len() + 1024, 0);
    gzip(&tar)
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A header as busybox writes it, and the content.
fn block(tar: &mut Vec<u8>, member: &Member, kind: u8, target: &[u8]) {
    let content = if kind == b'0' || kind == b'L' || kind == b'K' { member.content.as_slice() } else { b"" };
    let mut header = Header::new_gnu();
    let put = |field: &mut [u8], text: &[u8]| {
        let length = text.len().min(field.len());
        field[..length].copy_from_slice(&text[..length]);
    };
    let gnu = header.as_gnu_mut().unwrap();
    put(&mut gnu.name, member.name.as_bytes());
    put(&mut gnu.linkname, target);
    // As the running machine calls them; only root's are known to the initramfs too.
    let user = |id: u32| if id == 0 { "root".to_owned() } else { format!("user{id}") };
    put(&mut gnu.uname, user(member.owner.0).as_bytes());
    put(&mut gnu.gname, user(member.owner.1).as_bytes());
    header.set_entry_type(EntryType::new(kind));
    header.set_mode(member.mode);
    header.set_uid(u64::from(member.owner.0));
    header.set_gid(u64::from(member.owner.1));
    header.set_size(content.len() as u64);
    header.set_mtime(1_700_000_000);
    if matches!(kind, b'3' | b'4') {
        header.set_device_major(4).unwrap();
        header.set_device_minor(64).unwrap();
    }
    header.set_cksum();
    tar.extend_from_slice(header.as_bytes());
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

/// What `lbu package` writes on a small machine that `setup-alpine` made: no folders that packages bring, the order of
/// the folders on its disk, owners by name too.
pub fn machine() -> Vec<Member> {
    let passwd =
        include_str!("../../../src/build/base/passwd").to_owned() + "alice:x:1000:1000:Alice:/home/alice:/bin/ash\n";
    let group = include_str!("../../../src/build/base/group").replace("wheel:x:10:root", "wheel:x:10:root,alice")
        + "alice:x:1000:\n";
    let shadow = include_str!("../../../src/build/base/shadow").replace("root:*:", "root:$6$salt$hash:")
        + "alice:$6$salt$other:19000:0:99999:7:::\n";
    let mut members = vec![
        file("etc/shadow-", 0o640, &shadow).owned(0, 42),
        file("etc/hosts", 0o644, "127.0.0.1\tlocalhost\n127.0.1.1\tgate.example.net gate\n"),
        file("etc/motd", 0o644, "Welcome\n"),
        folder("etc/runlevels/nonetwork/", 0o755),
        link("etc/runlevels/default/sshd", "/etc/init.d/sshd"),
        link("etc/runlevels/boot/networking", "/etc/init.d/networking"),
        link("etc/runlevels/boot/hostname", "/etc/init.d/hostname"),
        link("etc/runlevels/sysinit/devfs", "/etc/init.d/devfs"),
        link("etc/runlevels/sysinit/modloop", "/etc/init.d/modloop"),
        link("etc/runlevels/shutdown/killprocs", "/etc/init.d/killprocs"),
        link("etc/localtime", "/usr/share/zoneinfo/Europe/Berlin"),
        file("etc/network/interfaces", 0o644, "auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet dhcp\n"),
        file("etc/resolv.conf", 0o644, "nameserver 10.0.0.1\n"),
        file("etc/passwd-", 0o644, &passwd),
        file("etc/passwd", 0o644, &passwd),
        file("etc/group-", 0o644, &group),
        file("etc/group", 0o644, &group),
        file("etc/shadow", 0o640, &shadow).owned(0, 42),
        file("etc/hostname", 0o644, "gate\n"),
        folder("etc/ssh/sshd_config.d/", 0o700),
        file("etc/ssh/ssh_host_ed25519_key", 0o600, "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n"),
        file("etc/ssh/ssh_host_ed25519_key.pub", 0o644, "ssh-ed25519 AAAA root@gate\n"),
        folder("etc/wireguard/", 0o700),
        file("etc/wireguard/wg0.conf", 0o600, "[Interface]\nPrivateKey = c2VjcmV0\n"),
        folder("etc/local.d/", 0o755),
        file("etc/local.d/start.start", 0o755, "#!/bin/sh\n"),
        file("etc/doas.conf", 0o600, "permit :wheel\n"),
        file("etc/nginx.conf.apk-new", 0o644, "new\n"),
        file("etc/mtab", 0o644, "/dev/sda1 / ext4\n"),
        file("etc/apk/world", 0o644, "alpine-base\nnano\nopenssh\n"),
        file("etc/apk/arch", 0o644, "x86_64\n"),
        link("etc/apk/cache", "/media/sda1/cache"),
        folder("etc/apk/protected_paths.d/", 0o755),
        file("etc/apk/protected_paths.d/lbu.list", 0o644, "+home/alice\n+root\n"),
        file(
            "etc/apk/repositories",
            0o644,
            "/media/sda1/apks\nhttps://mirror.example.net/alpine/v3.24/main\n#https://mirror.example.net/alpine/v3.24/community\n",
        ),
        folder("etc/apk/keys/", 0o755),
        file("etc/apk/keys/own@example.net-00000001.rsa.pub", 0o644, "-----BEGIN PUBLIC KEY-----\n"),
    ];
    for number in 0..17 {
        let name = format!("etc/apk/keys/alpine-devel@lists.alpinelinux.org-{number:08x}.rsa.pub");
        members.push(file(&name, 0o644, "-----BEGIN PUBLIC KEY-----\n"));
    }
    members.extend([
        folder("home/alice/", 0o2755).owned(1000, 1000),
        file("home/alice/.ash_history", 0o600, "ls\n").owned(1000, 1000),
        folder("home/alice/.ssh/", 0o700).owned(1000, 1000),
        file("home/alice/.ssh/authorized_keys", 0o644, "ssh-ed25519 AAAA alice\n").owned(1000, 1000),
        folder("home/alice/empty/", 0o755).owned(1000, 1000),
        folder(&format!("home/alice/{}/", "long".repeat(40)), 0o755).owned(1000, 1000),
        file(&format!("home/alice/{}/x", "long".repeat(40)), 0o644, "x\n").owned(1000, 1000),
        link("home/alice/far", &"../".repeat(50)).owned(1000, 1000),
        folder("root/", 0o700),
        file("root/.profile", 0o644, "x\n"),
    ]);
    members
}

//! A mirror of Alpine made in memory: one branch, one release, two flavors.

use std::io::Write as _;
use std::path::Path;

use bivouac::fetch::{Cache, FetchError, Mirror, NetbootSet, Release};
use bivouac::model::digest::{Digest, Digest512};
use bivouac::wire::cpio::Writer;
use bivouac::wire::gzip::gzip;
use flate2::{Compression, GzBuilder};
use tar::{EntryType, Header};

use super::server::{Reply, Server, downloader};

/// Where the release is.
pub const FOLDER: &str = "/v3.24/releases/x86_64";
/// Its tarball.
pub const TARBALL: &str = "/v3.24/releases/x86_64/alpine-netboot-3.24.1-x86_64.tar.gz";
/// Its list.
pub const LIST: &str = "/v3.24/releases/x86_64/latest-releases.yaml";

/// The name and text of a key in the initramfs, where nobody looks at it closely.
pub const KEY: (&str, &str) = ("alpine.rsa.pub", "PEM");

/// One member of a tarball, whatever its name and kind.
pub struct Member {
    pub name: Vec<u8>,
    pub kind: EntryType,
    pub content: Vec<u8>,
}

impl Member {
    pub fn file(name: &str, content: &[u8]) -> Self {
        Self { name: name.into(), kind: EntryType::Regular, content: content.to_vec() }
    }

    pub fn of(kind: EntryType, name: &str) -> Self {
        Self { name: name.into(), kind, content: Vec::new() }
    }
}

/// A tarball of these members, written without the checks that a well-meaning writer makes.
pub fn tarball(members: &[Member]) -> Vec<u8> {
    let mut tar = Vec::new();
    for member in members {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..member.name.len()].copy_from_slice(&member.name);
        header.set_entry_type(member.kind);
        header.set_mode(0o644);
        header.set_size(member.content.len() as u64);
        header.set_cksum();
        tar.extend_from_slice(header.as_bytes());
        tar.extend_from_slice(&member.content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    pack(&tar)
}

/// Gzip at a level that is quick.
pub fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A kernel image of a release, as far as its header goes.
pub fn kernel(release: &str) -> Vec<u8> {
    let mut image = vec![0; 0x600];
    image[0x1f1] = 2;
    image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
    let text = format!("{release} (build@host) #1\0");
    image[0x300..0x300 + text.len()].copy_from_slice(text.as_bytes());
    image
}

/// An initramfs with modules of a release and one key.
pub fn initramfs(release: &str, key: (&str, &str)) -> Vec<u8> {
    let mut writer = Writer::new(0);
    writer.file("init", 0o755, b"#!/bin/sh\n").unwrap();
    writer.file(&format!("etc/apk/keys/{}", key.0), 0o644, key.1.as_bytes()).unwrap();
    writer.file(&format!("lib/modules/{release}/modules.dep"), 0o644, b"").unwrap();
    gzip(&writer.finish())
}

/// The members of a good tarball: flavors `lts` and `virt`.
pub fn members() -> Vec<Member> {
    members_trusting(KEY)
}

/// The same, whose initramfs trusts this key.
pub fn members_trusting(key: (&str, &str)) -> Vec<Member> {
    let mut members = vec![Member::of(EntryType::Directory, "boot/")];
    for flavor in ["lts", "virt"] {
        let release = format!("6.18.1-0-{flavor}");
        members.push(Member::file(&format!("boot/config-{flavor}"), b"CONFIG=y"));
        members.push(Member::file(&format!("boot/initramfs-{flavor}"), &initramfs(&release, key)));
        members.push(Member::file(&format!("boot/modloop-{flavor}"), format!("hsqs {flavor}").as_bytes()));
        members.push(Member::file(&format!("boot/vmlinuz-{flavor}"), &kernel(&release)));
    }
    members
}

/// The list of releases that names a tarball.
pub fn list(tarball: &[u8]) -> String {
    format!(
        "---\n-\n  title: \"Netboot\"\n  desc: |\n    Kernel, initramfs and modloop for\n    netboot.\n    \n  \
         branch: v3.24\n  arch: x86_64\n  version: 3.24.1\n  flavor: alpine-netboot\n  \
         file: alpine-netboot-3.24.1-x86_64.tar.gz\n  iso: alpine-netboot-3.24.1-x86_64.tar.gz\n  \
         date: 2026-06-10\n  time: 09:14:33\n  size: {}\n  sha256: {}\n  sha512: {}\n",
        tarball.len(),
        Digest::of(tarball),
        Digest512::of(tarball),
    )
}

/// The stage of most tests: a mirror, a client of it, a cache.
pub struct Stage {
    pub server: Server,
    pub mirror: Mirror,
    pub cache: Cache,
    pub folder: tempfile::TempDir,
}

impl Stage {
    /// With this tarball as release 3.24.1, listed as it is.
    pub async fn with(tarball: Vec<u8>) -> Self {
        let server = Server::start().await;
        server.put(LIST, Reply::File(list(&tarball).into_bytes()));
        server.put(LIST.replace("v3.24", "latest-stable"), Reply::File(list(&tarball).into_bytes()));
        server.put(TARBALL, Reply::File(tarball));
        let mirror = Mirror::with(&server.base, downloader()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        Self { server, mirror, cache, folder }
    }

    /// With a good tarball.
    pub async fn good() -> Self {
        Self::with(tarball(&members())).await
    }

    pub async fn resolve(&self, spec: &str) -> Result<Release, FetchError> {
        self.mirror.resolve(&spec.parse().unwrap(), &"x86_64".parse().unwrap()).await
    }

    pub async fn set(&self, flavor: &str) -> Result<NetbootSet, FetchError> {
        let release = self.resolve("3.24").await?;
        self.mirror.netboot_set(&release, &flavor.parse().unwrap(), &self.cache).await
    }

    /// The one line with which the `lts` set is refused, after which nothing is left of it.
    pub async fn refusal(&self) -> String {
        let error = self.set("lts").await.unwrap_err();
        assert_eq!(self.cached(), Vec::<String>::new(), "left in the cache");
        self.server.chain(&error)
    }

    /// What is in the cache, besides the lock and the folders that are always there.
    pub fn cached(&self) -> Vec<String> {
        let walk = bivouac::disk::walk(&self.folder.path().join("cache")).unwrap();
        let names = walk.into_iter().map(|it| it.relative.to_str().unwrap().to_owned());
        names.filter(|it| !["lock", "netboot", "tarballs"].contains(&it.as_str())).collect()
    }

    pub fn read(&self, path: &Path) -> Vec<u8> {
        std::fs::read(path).unwrap()
    }
}

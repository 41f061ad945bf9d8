//! A mirror of Alpine made in memory: one branch, one release, two flavors.

use std::io::Write as _;
use std::path::Path;

use bivouac::fetch::{Cache, Checks, FetchError, Mirrors, NetbootSet, Release, ReleaseKey, Wish};
use bivouac::model::digest::{Digest, Digest512};
use bivouac::wire::cpio::Writer;
use bivouac::wire::gzip::gzip;
use flate2::{Compression, GzBuilder};
use tar::{EntryType, Header};

use super::server::{Reply, Server, downloader};
use super::signer::Signer;

/// Where the release is.
pub const FOLDER: &str = "/v3.24/releases/x86_64";
/// Its tarball.
pub const TARBALL: &str = "/v3.24/releases/x86_64/alpine-netboot-3.24.1-x86_64.tar.gz";
/// Its list.
pub const LIST: &str = "/v3.24/releases/x86_64/latest-releases.yaml";

/// The name and text of a key in the initramfs, where nobody looks at it closely.
pub const KEY: (&str, &str) = ("alpine.rsa.pub", "PEM");

/// Where its signature is.
pub const SIGNATURE: &str = "/v3.24/releases/x86_64/alpine-netboot-3.24.1-x86_64.tar.gz.asc";

/// Who signs the releases of the tests.
pub fn signer() -> Signer {
    Signer::new(1)
}

/// Checks that trust that signer, as a site would that makes its own releases.
pub fn checks() -> Checks {
    let mut checks = Checks::default();
    let certificate = signer().certificate("Release <release@example.net>");
    checks.release_keys.insert(ReleaseKey::parse(certificate.as_bytes()).unwrap());
    checks
}

/// A modloop with modules of a release, which is as long as `6.18.1-0-lts` or `6.18.1-0-virt`.
pub fn modloop(release: &str) -> Vec<u8> {
    let images: [(&str, &[u8]); 2] = [
        ("6.18.1-0-lts", include_bytes!("../testdata/modloop-lts")),
        ("6.18.1-0-virt", include_bytes!("../testdata/modloop-virt")),
    ];
    let (old, image) = images.into_iter().find(|(old, _)| old.len() == release.len()).unwrap();
    let place = image.windows(old.len()).position(|it| it == old.as_bytes()).unwrap();
    let mut image = image.to_vec();
    image[place..place + old.len()].copy_from_slice(release.as_bytes());
    image
}

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
        members.push(Member::file(&format!("boot/modloop-{flavor}"), &modloop(&release)));
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

/// Puts a tarball onto a mirror as release 3.24.1: listed as it is, and signed.
pub fn release(server: &Server, tarball: &[u8]) {
    for list_path in [LIST.to_owned(), LIST.replace("v3.24", "latest-stable")] {
        server.put(list_path, Reply::File(list(tarball).into_bytes()));
    }
    server.put(TARBALL, Reply::File(tarball.to_vec()));
    server.put(SIGNATURE, Reply::File(signer().sign(tarball).into_bytes()));
}

/// The files in a cache, besides the lock; none when there is no cache yet.
pub fn files_of(cache: &Path) -> Vec<String> {
    if !cache.exists() {
        return Vec::new();
    }
    let walk = bivouac::disk::walk(cache).unwrap();
    let files = walk.into_iter().filter(|it| it.kind != bivouac::disk::Kind::Folder);
    let names = files.map(|it| it.relative.to_str().unwrap().to_owned());
    names.filter(|it| it != "lock").collect()
}

/// The stage of most tests: a mirror, a client of it, a cache.
pub struct Stage {
    pub server: Server,
    pub mirrors: Mirrors,
    pub cache: Cache,
    pub checks: Checks,
    pub folder: tempfile::TempDir,
}

impl Stage {
    /// With this tarball as release 3.24.1.
    pub async fn with(tarball: Vec<u8>) -> Self {
        let server = Server::start().await;
        release(&server, &tarball);
        let mirrors = Mirrors::new(std::slice::from_ref(&server.base), downloader()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        Self { server, mirrors, cache, checks: checks(), folder }
    }

    /// With a good tarball.
    pub async fn good() -> Self {
        Self::with(tarball(&members())).await
    }

    /// The set of a flavor of what a name means.
    pub async fn ask(&self, spec: &str, flavor: &str) -> Result<NetbootSet, FetchError> {
        let wish =
            Wish { release: spec.parse().unwrap(), arch: "x86_64".parse().unwrap(), flavor: flavor.parse().unwrap() };
        self.mirrors.netboot_set(&wish, &self.cache, &self.checks).await
    }

    pub async fn resolve(&self, spec: &str) -> Result<Release, FetchError> {
        Ok(self.ask(spec, "lts").await?.release)
    }

    pub async fn set(&self, flavor: &str) -> Result<NetbootSet, FetchError> {
        self.ask("3.24", flavor).await
    }

    /// The one line with which the `lts` set is refused, after which nothing is left of it.
    pub async fn refusal(&self) -> String {
        let error = self.set("lts").await.unwrap_err();
        assert_eq!(self.cached(), Vec::<String>::new(), "left in the cache");
        self.server.chain(&error)
    }

    /// The files in the cache, besides the lock.
    pub fn cached(&self) -> Vec<String> {
        files_of(&self.folder.path().join("cache"))
    }

    pub fn read(&self, path: &Path) -> Vec<u8> {
        std::fs::read(path).unwrap()
    }
}

//! What a path below `/alpine/` means. Strict: what is no file that a mirror of Alpine has is nothing, and nobody is
//! asked for it.

use std::fmt;
use std::str::FromStr;

use crate::model::alpine::{Arch, Branch, RepositoryName, Version};

/// The longest file name there is on a mirror; no file system takes longer ones.
const LONGEST_NAME: usize = 255;

/// The largest number in the name of a branch: enough for a century, and few enough for all that there could be.
const LAST_BRANCH: u32 = 999;

/// How the endings of release images are written (REL-3).
const IMAGES: [&str; 5] = [".tar.gz", ".iso", ".img.gz", ".img", ".qcow2"];

/// The texts that belong to an image.
const ATTACHED: [&str; 3] = [".sha256", ".sha512", ".asc"];

/// The folder of a branch that has its releases.
const RELEASES: &str = "releases";

/// How the files of a netboot set begin.
const KERNELS: [&str; 3] = ["vmlinuz-", "initramfs-", "modloop-"];

/// The list of the newest releases.
const LIST: &str = "latest-releases.yaml";

/// The first folder of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Line {
    /// `latest-stable`: whichever branch is the newest.
    LatestStable,
    /// `v3.24` or `edge`.
    Branch(Branch),
}

/// A package repository for one architecture: the folder of one index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    /// Its branch.
    pub branch: Line,
    /// Its name.
    pub repository: RepositoryName,
    /// Its architecture.
    pub arch: Arch,
}

/// A text that is no branch of Alpine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a branch of Alpine; write `3.24`, `latest-stable` or `edge`")]
pub struct LineError(String);

/// A file that a mirror of Alpine may have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// `BRANCH/REPOSITORY/ARCH/APKINDEX.tar.gz`.
    Index(Repository),
    /// `BRANCH/REPOSITORY/ARCH/NAME-VERSION.apk`, by its file name.
    Package(Repository, String),
    /// A small text of a release, by its path: its list, a checksum, a signature. Nobody can verify these.
    Text(String),
    /// A file of a release that is signed, by its path.
    Image(String),
    /// A folder above the files of releases, for who looks what there is.
    Folder(Folder),
}

/// A folder above the files of releases.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Folder {
    /// Its path, which is empty or ends in `/`.
    pub path: String,
    level: Level,
}

/// What is in such a folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Level {
    /// Branches.
    Branches,
    /// One branch: of what it has, the folder of its releases.
    Branch,
    /// The architectures of its releases.
    Arches,
    /// The releases for one architecture.
    Releases,
    /// `netboot-VERSION`: kernels, whose names tell the flavors.
    Kernels,
}

impl Place {
    /// What a path below `/alpine/`, without percent signs, means.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        if path.is_empty() || path.ends_with('/') {
            return Folder::parse(path).map(Self::Folder);
        }
        let mut parts = path.split('/');
        let (branch, folder) = (parts.next()?.parse().ok()?, parts.next()?);
        let (arch, file) = (parts.next()?.parse().ok()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        if folder == RELEASES {
            return Self::of_release(&arch, file, path);
        }
        let repository = Repository { branch, repository: folder.parse().ok()?, arch };
        match file {
            "APKINDEX.tar.gz" => Some(Self::Index(repository)),
            package => is_package(package).then(|| Self::Package(repository, package.to_owned())),
        }
    }

    fn of_release(arch: &Arch, file: &str, path: &str) -> Option<Self> {
        if file == LIST {
            return Some(Self::Text(path.to_owned()));
        }
        let image = ATTACHED.iter().find_map(|ending| file.strip_suffix(ending));
        let stem = IMAGES.iter().find_map(|ending| image.unwrap_or(file).strip_suffix(ending))?;
        let is_image = stem.starts_with("alpine-") && stem.ends_with(&format!("-{arch}")) && is_file_name(file);
        is_image.then(|| match image {
            Some(_) => Self::Text(path.to_owned()),
            None => Self::Image(path.to_owned()),
        })
    }
}

impl Folder {
    fn parse(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split_terminator('/').collect();
        let is_line = |text: &str| text.parse::<Line>().is_ok();
        let level = match *parts.as_slice() {
            [] if path.is_empty() => Level::Branches,
            [line] if is_line(line) => Level::Branch,
            [line, RELEASES] if is_line(line) => Level::Arches,
            [line, RELEASES, arch] if is_line(line) && is_arch(arch) => Level::Releases,
            [line, RELEASES, arch, name] if is_line(line) && is_arch(arch) && is_kernels(name) => Level::Kernels,
            _ => return None,
        };
        Some(Self { path: path.to_owned(), level })
    }

    /// Whether something that upstream has in the folder is shown: a folder that has a page here, a file that can be had
    /// here, or a kernel and what belongs to it.
    pub(super) fn shows(&self, name: &str, is_folder: bool) -> bool {
        match (&self.level, is_folder) {
            (Level::Kernels, false) => KERNELS.iter().any(|it| name.starts_with(it)) && is_file_name(name),
            (_, true) => Self::parse(&format!("{}{name}/", self.path)).is_some(),
            (_, false) => Place::parse(&format!("{}{name}", self.path)).is_some(),
        }
    }
}

fn is_arch(text: &str) -> bool {
    text.parse::<Arch>().is_ok()
}

/// Whether a folder is the one that has the files of a netboot tarball one by one (REL-4).
fn is_kernels(name: &str) -> bool {
    name.strip_prefix("netboot-").is_some_and(|version| version.parse::<Version>().is_ok())
}

/// Whether a file name is that of a package, `NAME-VERSION.apk`.
fn is_package(file: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'+' | b'-' | b'~');
    let stem = file.strip_suffix(".apk").unwrap_or_default();
    let begins_well = stem.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    begins_well && stem.contains('-') && file.len() <= LONGEST_NAME && stem.bytes().all(is_plain)
}

fn is_file_name(file: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    file.len() <= LONGEST_NAME && file.bytes().all(is_plain)
}

impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LatestStable => out.write_str("latest-stable"),
            Self::Branch(branch) => branch.fmt(out),
        }
    }
}

impl FromStr for Line {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        if text == "latest-stable" {
            return Ok(Self::LatestStable);
        }
        let is_possible = |branch: &Branch| match *branch {
            Branch::Numbered { major, minor } => major.max(minor) <= LAST_BRANCH,
            Branch::Edge => true,
        };
        let branch = text.parse().ok().filter(is_possible).map(Self::Branch);
        branch.ok_or_else(|| LineError(text.chars().take(64).collect()))
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}/{}", self.branch, self.repository, self.arch)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn meaning(path: &str) -> String {
        match Place::parse(path) {
            Some(Place::Index(repository)) => format!("index {repository}"),
            Some(Place::Package(repository, file)) => format!("package {repository} {file}"),
            Some(Place::Text(path)) => format!("text {path}"),
            Some(Place::Image(path)) => format!("image {path}"),
            Some(Place::Folder(folder)) => format!("folder {}", folder.path),
            None => "nothing".to_owned(),
        }
    }

    #[test]
    fn the_files_of_a_mirror_are_told_apart() {
        for (path, expected) in [
            ("v3.24/main/x86_64/APKINDEX.tar.gz", "index v3.24/main/x86_64"),
            ("latest-stable/community/armv7/APKINDEX.tar.gz", "index latest-stable/community/armv7"),
            ("edge/testing/aarch64/gtk+3.0-3.24.1-r0.apk", "package edge/testing/aarch64 gtk+3.0-3.24.1-r0.apk"),
            ("v3.24/main/x86/foo-1.0_git~ab12-r0.apk", "package v3.24/main/x86 foo-1.0_git~ab12-r0.apk"),
            ("v3.24/main/x86/_python-1-r0.apk", "package v3.24/main/x86 _python-1-r0.apk"),
        ] {
            assert_eq!(meaning(path), expected);
        }
        for path in [
            "v3.24/releases/x86_64/latest-releases.yaml",
            "edge/releases/s390x/alpine-netboot-20260805-s390x.tar.gz.asc",
        ] {
            assert_eq!(meaning(path), format!("text {path}"));
        }
        for path in [
            "v3.24/releases/x86_64/alpine-netboot-3.24.1-x86_64.tar.gz",
            "latest-stable/releases/x86_64/alpine-virt-3.24.1-x86_64.iso",
            "v3.24/releases/aarch64/alpine-rpi-3.24.1-aarch64.img.gz",
        ] {
            assert_eq!(meaning(path), format!("image {path}"));
        }
    }

    #[test]
    fn folders_above_releases_have_pages_that_lead_to_what_can_be_had() {
        for (folder, shown, hidden) in [
            (
                "",
                &["v3.24/", "edge/", "latest-stable/"][..],
                &["MIRRORS.txt", "v3.24", "../", "last-updated", "v1000.0/"][..],
            ),
            ("v3.24/", &["releases/"], &["main/", "releases", "../"]),
            ("latest-stable/releases/", &["x86_64/", "s390x/"], &["x86_64", "x86-64/"]),
            (
                "v3.24/releases/x86_64/",
                &[
                    "netboot-3.24.1/",
                    "latest-releases.yaml",
                    "alpine-netboot-3.24.1-x86_64.tar.gz",
                    "alpine-virt-3.24.1-x86_64.iso.asc",
                ],
                &["netboot/", "alpine-netboot-3.24.1-x86.tar.gz", "\"><script>-x86_64.iso", "netboot-3.24.1"],
            ),
            (
                "v3.24/releases/x86_64/netboot-3.24.1/",
                &["vmlinuz-lts", "initramfs-virt"],
                &["vmlinuz-<b>", "boot/", "config-lts"],
            ),
        ] {
            assert_eq!(meaning(folder), format!("folder {folder}"));
            let Some(Place::Folder(folder)) = Place::parse(folder) else { panic!("{folder} is no folder") };
            let shows = |name: &str| folder.shows(name.trim_end_matches('/'), name.ends_with('/'));
            assert_eq!(shown.iter().filter(|it| !shows(it)).collect::<Vec<_>>(), [] as [&&str; 0]);
            assert_eq!(hidden.iter().filter(|it| shows(it)).collect::<Vec<_>>(), [] as [&&str; 0]);
        }
    }

    #[test]
    fn everything_else_is_nothing() {
        let long = format!("v3.24/main/x86_64/{}-1.apk", "a".repeat(250));
        for path in [
            "/",
            "v3.24",
            "v3.24//",
            "v3.24/main/",
            "v3.24/main/x86_64",
            "v3.24/main/x86_64/",
            "v3.24/releases/x86_64/netboot/",
            "v3.24/releases/x86_64/netboot-3.24.1",
            "v3.24/releases/x86_64/../",
            "../",
            "v3.24/main/x86_64/APKINDEX.tar.gz/",
            "/v3.24/main/x86_64/APKINDEX.tar.gz",
            "v3.24//main/x86_64/APKINDEX.tar.gz",
            "v3.24/main/x86_64/../../etc/passwd",
            "../main/x86_64/APKINDEX.tar.gz",
            "v3.24/../x86_64/APKINDEX.tar.gz",
            "v3.24/main/../APKINDEX.tar.gz",
            "v3.24/main/x86_64/..-1.apk",
            "v3.24/main/x86_64/.a-1.apk",
            "v3.24/main/x86_64/-1.apk",
            "v3.24/main/x86_64/nodash.apk",
            "v3.24/main/x86_64/.apk",
            "v3.24/main/x86_64/a-1\0.apk",
            "v3.24/main/x86_64/a-1%2f.apk",
            "v3.24/main/x86_64/ä-1.apk",
            &long,
            "v3.24/main/x86_64/installed",
            "v3/main/x86_64/APKINDEX.tar.gz",
            "v3.1000/main/x86_64/APKINDEX.tar.gz",
            "v03.24/main/x86_64/APKINDEX.tar.gz",
            "stable/main/x86_64/APKINDEX.tar.gz",
            "v3.24/Main/x86_64/APKINDEX.tar.gz",
            "v3.24/main/x86-64/APKINDEX.tar.gz",
            "v3.24/releases/x86_64/netboot/vmlinuz-lts",
            "v3.24/releases/x86_64/APKINDEX.tar.gz",
            "v3.24/releases/x86_64/alpine-netboot-3.24.1-x86.tar.gz",
            "v3.24/releases/x86_64/alpine-netboot-3.24.1-x86_64.tar.gz.md5",
            "v3.24/releases/x86_64/alpine-..%2f-x86_64.iso",
            "v3.24/releases/x86_64/other-x86_64.iso",
        ] {
            assert_eq!(meaning(path), "nothing", "{path}");
        }
    }

    proptest! {
        #[test]
        fn what_means_something_stays_below_its_folder(
            path in "(v3.24|edge|\\PC{0,4}|\\.\\.)/(main|releases|\\PC{0,4})/(x86_64|\\PC{0,4})/(APKINDEX.tar.gz|\\PC{0,9}(-1)?(.apk|.iso)?)(/\\PC{0,3})?"
        ) {
            if Place::parse(&path).is_some_and(|place| !matches!(place, Place::Folder(_))) {
                prop_assert!(path.split('/').count() == 4 && path.split('/').all(|it| !it.is_empty() && !it.starts_with('.')));
                prop_assert!(path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'%'));
            }
        }
    }
}

//! Reads the `root/` tree of a layer. What an archive cannot hold, or init would trip over, is left out and said.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::BuildError;
use super::lint::rule::{METADATA, NAME, UNHOLDABLE};
use super::lint::{Finding, Place};
use crate::disk::{self, DiskError, Found, Kind};
use crate::wire::apkovl::Entry;

/// The largest file of a `root/` tree: an overlay is unpacked into the memory of every machine.
pub(super) const MAX_FILE: u64 = 256 << 20;

/// What setuid and setgid are, which nothing but `[files]` can say.
const SPECIAL_BITS: u32 = 0o6000;

/// Extended attributes that programs of the build host leave behind and no author means for a machine: where a download
/// came from, labels of the host's own security modules, what Samba and macOS note.
const OF_HOST: &[&str] = &[
    "security.SMACK64",
    "security.apparmor",
    "security.evm",
    "security.ima",
    "security.selinux",
    "system.nfs4_acl",
    "trusted.",
    "user.DOSATTRIB",
    "user.baloo.",
    "user.com.apple.",
    "user.com.dropbox.",
    "user.mime_type",
    "user.xdg.",
];

/// A tree as read.
#[derive(Debug, Default)]
pub(super) struct Root {
    /// Paths relative to the machine's root, sorted by name, and what is there.
    pub(super) files: Vec<(String, Entry)>,
    /// What had to be left out.
    pub(super) findings: Vec<Finding>,
}

/// Reads the `root/` tree of the layer `origin`; nothing when the folder does not exist.
///
/// Only what an archive can hold faithfully is read: directories, regular files, links. Of a file's mode only the
/// owner's executable bit counts, because version control keeps no more and a umask changes the rest.
///
/// # Errors
/// When the system does not let something be read.
pub(super) fn read(root: &Path, origin: &str) -> Result<Root, BuildError> {
    let mut read = Root::default();
    match fs::symlink_metadata(root) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => {
            let what = format!("{} is a file or a link, and must be a folder", root.display());
            read.findings.push(unholdable(what, "make a folder of it").by(origin));
            return Ok(read);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(read),
        Err(error) => return Err(disk::failed("examine", root)(error).into()),
    }
    for Found { relative, kind } in disk::walk(root)? {
        let source = root.join(&relative);
        let path = match machine_path(&relative) {
            Ok(path) => path,
            Err(finding) => {
                read.findings.push(finding.by(origin));
                continue;
            }
        };
        match entry(&source, &path, kind)? {
            Ok(entry) => {
                read.findings.extend(lost(&source, &path, kind)?.into_iter().map(|finding| finding.by(origin)));
                read.files.push((path, entry));
            }
            Err(finding) => {
                let place = Some(Place { file: source, line: None });
                read.findings.push(Finding { place, ..finding.at(path).by(origin) });
            }
        }
    }
    Ok(read)
}

/// What stands at a path: an entry, or why there is none.
fn entry(source: &Path, path: &str, kind: Kind) -> Result<Result<Entry, Finding>, BuildError> {
    Ok(match kind {
        Kind::Folder => Ok(Entry::directory()),
        Kind::Link => {
            let target = fs::read_link(source).map_err(disk::failed("read the link", source))?;
            target.into_os_string().into_string().map(Entry::symlink).map_err(|target| {
                let what = format!("the link `{path}` leads to {target:?}, which is not UTF-8");
                badly_named(what, "give what it leads to a name in UTF-8")
            })
        }
        Kind::File => match disk::read_bounded(source, MAX_FILE) {
            Ok(bytes) => {
                let mode = if metadata(source)?.permissions().mode() & 0o100 != 0 { 0o755 } else { 0o644 };
                Ok(Entry { mode, ..Entry::file(bytes) })
            }
            Err(DiskError::TooLarge { .. }) => {
                let what = format!("`{path}` is larger than {} MiB", MAX_FILE >> 20);
                Err(unholdable(what, "put it on a server, or into a package"))
            }
            Err(error) => return Err(error.into()),
        },
        Kind::Special => {
            let what = format!("`{path}` is a device, pipe or socket, which a root/ tree cannot hold");
            Err(unholdable(what, "take it out; a device or pipe is a line of `[nodes]` in profile.toml"))
        }
    })
}

fn metadata(path: &Path) -> Result<Metadata, DiskError> {
    fs::symlink_metadata(path).map_err(disk::failed("examine", path))
}

/// The path on the machine, refused when init's list of overlay files or an archive could not name it (OVL-49).
fn machine_path(relative: &Path) -> Result<String, Box<Finding>> {
    let Some(text) = relative.to_str() else {
        let shown = relative.to_string_lossy();
        return Err(Box::new(badly_named(format!("the name {relative:?} is not UTF-8"), "rename it").at(shown)));
    };
    if text.chars().any(char::is_control) {
        let what = format!("the name {text:?} has a control character");
        return Err(Box::new(badly_named(what, "rename it").at(text.escape_debug().to_string())));
    }
    Ok(text.to_owned())
}

fn badly_named(what: String, fix: &str) -> Finding {
    Finding::new(NAME, what, "init's list of overlay files is corrupted, and packages overwrite them", fix).left_out()
}

fn unholdable(what: String, fix: &str) -> Finding {
    Finding::new(UNHOLDABLE, what, "the machine would not have it", fix).left_out()
}

/// OVL-42: what a file has in the working copy and would not have on the machine.
fn lost(source: &Path, path: &str, kind: Kind) -> Result<Vec<Finding>, BuildError> {
    // Links have nothing of that kind, and a shared working copy may have setgid folders.
    if kind == Kind::Link {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    let mode = metadata(source)?.permissions().mode();
    if kind == Kind::File && mode & SPECIAL_BITS != 0 {
        let bits = if mode & 0o4000 != 0 { "setuid" } else { "setgid" };
        found.push(
            Finding::new(
                METADATA,
                format!("`{path}` is {bits} here, which a root/ tree does not carry"),
                "the machine's file runs with the rights of whoever starts it",
                format!("write `\"{path}\" = {{ mode = \"{:04o}\" }}` into `[files]`", mode & 0o7777),
            )
            .at(path),
        );
    }
    // A file system without such attributes has lost none.
    let names = xattr::list(source).into_iter().flatten();
    let names = names.map(|name| name.to_string_lossy().into_owned());
    found.extend(names.filter(|name| is_meant(name)).map(|name| attribute(path, &name)));
    Ok(found)
}

/// Whether an author set the attribute, rather than the build host.
fn is_meant(name: &str) -> bool {
    !OF_HOST.iter().any(|prefix| name.starts_with(prefix))
}

fn attribute(path: &str, name: &str) -> Finding {
    let (what, fix) = match name {
        "security.capability" => ("a capability", "set it at boot with a script in etc/local.d that calls `setcap`"),
        "system.posix_acl_access" | "system.posix_acl_default" => {
            ("an access list", "use a group and `[files]`, or set it at boot with a script that calls `setfacl`")
        }
        _ => {
            ("an extended attribute", "take it off with `setfattr -x`, or set it at boot with a script in etc/local.d")
        }
    };
    let effect = "init's tar drops it without a word, and the machine's file has none";
    Finding::new(METADATA, format!("`{path}` has {what} (`{name}`)"), effect, fix).at(path)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    /// A `root/` tree, read: what is in it, and rule and path of what is not.
    fn read_with(make: impl Fn(&Path)) -> (Vec<String>, Vec<(&'static str, Option<String>)>) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("etc")).unwrap();
        make(&root);
        let read = read(&root, "profile x").unwrap();
        assert!(read.findings.iter().all(|it| it.by.as_deref() == Some("profile x")));
        let found = read.findings.into_iter().map(|it| (it.rule.id, it.path)).collect();
        (read.files.into_iter().map(|(path, _)| path).collect(), found)
    }

    fn write(root: &Path, name: impl AsRef<OsStr>) {
        fs::write(root.join(Path::new(&name)), "").unwrap();
    }

    #[test]
    fn names_that_no_list_can_hold_are_left_out_and_said() {
        let (files, found) = read_with(|root| {
            write(root, "etc/good\u{e4}");
            write(root, "etc/new\nline");
            write(root, OsStr::from_bytes(b"etc/latin\xe4"));
            std::os::unix::fs::symlink(OsStr::from_bytes(b"\xff"), root.join("etc/link")).unwrap();
        });
        assert_eq!(files, ["etc", "etc/good\u{e4}"]);
        let paths = ["etc/latin\u{fffd}", "etc/link", "etc/new\\nline"];
        let mut found = found;
        found.sort();
        assert_eq!(found, paths.map(|path| ("OVL-49", Some(path.to_owned()))));
    }

    #[test]
    fn what_is_no_file_folder_or_link_is_left_out_and_said() {
        let (files, found) = read_with(|root| {
            drop(std::os::unix::net::UnixListener::bind(root.join("etc/socket")).unwrap());
            fs::File::create(root.join("etc/huge")).unwrap().set_len(MAX_FILE + 1).unwrap();
        });
        assert_eq!(files, ["etc"]);
        assert_eq!(found, ["etc/huge", "etc/socket"].map(|path| ("FILE-1", Some(path.to_owned()))));
    }

    #[test]
    fn setuid_bits_are_said_because_the_tree_does_not_carry_them() {
        let (files, found) = read_with(|root| {
            for (name, mode) in [("etc/suid", 0o4755), ("etc/plain", 0o755)] {
                write(root, name);
                fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
            }
        });
        assert_eq!(files.len(), 3);
        assert_eq!(found, [("OVL-42", Some("etc/suid".to_owned()))]);
    }

    #[test]
    fn attributes_that_an_author_set_are_told_from_those_of_the_build_host() {
        for name in ["security.capability", "system.posix_acl_access", "user.pax.flags", "user.anything"] {
            assert!(is_meant(name), "{name}");
            assert_eq!(attribute("etc/x", name).rule, METADATA);
        }
        for name in OF_HOST {
            assert!(!is_meant(&format!("{name}x")), "{name}");
        }
    }

    #[test]
    fn a_root_that_is_no_folder_is_said_and_one_that_is_not_there_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        assert!(read(&root, "x").unwrap().findings.is_empty());
        std::os::unix::fs::symlink("/etc", &root).unwrap();
        let read = read(&root, "x").unwrap();
        assert_eq!((read.files.len(), read.findings[0].rule.id), (0, "FILE-1"));
    }
}

//! What becomes of each path of an archive that lbu made.

use crate::build::accounts::{GROUP, PASSWD, SHADOW};
use crate::build::merge::WORLD;
use crate::model::profile::Special;
use crate::model::template::SUFFIX;
use crate::wire::apkovl::{Entry, Node};

/// What every build writes, from what a profile's own file of that name says.
const WRITTEN: [&str; 4] = [PASSWD, GROUP, SHADOW, WORLD];

/// What becomes of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays as it is.
    Kept,
    /// It is left out, for this reason.
    Dropped(&'static str),
    /// It must not go into a bundle, which the whole network can read (DESIGN section 4, rule 7).
    Secret,
}

/// Begins every private key in PEM and of OpenSSH, whatever stands between the words.
const PRIVATE_KEY: &str = "PRIVATE KEY-----";

/// How much of a file is looked at for secrets: keys and settings are small.
const LOOKED_AT: usize = 64 << 10;

/// What becomes of the entry at `path`.
pub(super) fn of(path: &str, entry: &Entry) -> Fate {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let is_directory = entry.is_directory();
    if let Some(why) = dropped(folder, name, is_directory) {
        return Fate::Dropped(why);
    }
    match &entry.node {
        node if !matches!(node, Node::File(_)) && WRITTEN.contains(&path) => {
            Fate::Dropped("not a plain file, and the build writes one in its place")
        }
        node @ (Node::CharDevice { .. } | Node::BlockDevice { .. }) if special(node).is_none() => {
            Fate::Dropped("a device with numbers that Linux has not")
        }
        Node::File(bytes) if is_secret(folder, name, bytes) => Fate::Secret,
        _ => Fate::Kept,
    }
}

/// The line of `[nodes]` for a device or pipe; none for other things, and for numbers that no profile can say.
pub(super) fn special(node: &Node) -> Option<Special> {
    let said = match node {
        Node::CharDevice { major, minor } => Special::CharDevice { major: *major, minor: *minor },
        Node::BlockDevice { major, minor } => Special::BlockDevice { major: *major, minor: *minor },
        Node::Fifo => Special::Pipe,
        Node::Directory | Node::File(_) | Node::Symlink(_) => return None,
    };
    said.to_string().parse().ok()
}

/// Why a path is left out by its name.
fn dropped(folder: &str, name: &str, is_directory: bool) -> Option<&'static str> {
    const BACKUPS: [&str; 6] = ["passwd-", "group-", "shadow-", "gshadow-", "subuid-", "subgid-"];
    Some(match (folder, name) {
        ("" | "etc", "lost+found") => "what a file system check found on the old machine's disk",
        ("", _) if !is_directory => {
            "not below a folder, and after such a file apk protects no other file of the overlay (OVL-2)"
        }
        ("etc", name) if BACKUPS.contains(&name) => "a backup that adduser and passwd make (OVL-48)",
        (_, name) if name.ends_with(".apk-new") && !is_directory => "a package's version that was not taken (OVL-48)",
        (_, name) if name.ends_with(SUFFIX) && !is_directory => {
            "a profile takes a name with this ending for a template; bring it in under another name"
        }
        ("etc/apk", "arch") => "init writes it, for the architecture it runs on (OVL-37)",
        ("etc/apk", "cache") => "where the old machine kept packages; these machines get theirs from the server",
        ("etc/apk", "repositories") => "machines install what their bundle holds, from the server",
        ("etc/apk/keys", name) if name.starts_with("alpine-devel@lists.alpinelinux.org-") => {
            "Alpine's own key, which comes with its initramfs"
        }
        ("etc", "mtab") => "what was mounted on the old machine; a package brings the link to /proc/mounts",
        ("etc/bivouac", "overlay") => "the digest of the overlay it came in; the build writes the new one",
        _ => return None,
    })
}

/// Whether a file is, by its name or by what is in it, not for everybody.
fn is_secret(folder: &str, name: &str, bytes: &[u8]) -> bool {
    if is_key(folder, name) {
        return true;
    }
    let text = String::from_utf8_lossy(bytes.get(..LOOKED_AT).unwrap_or(bytes));
    let has_key = |key: &str| {
        text.lines().filter_map(|line| line.split_once('=')).any(|(before, value)| {
            before.trim().eq_ignore_ascii_case(key) && !matches!(value.trim(), "" | "\"\"" | "''")
        })
    };
    match (folder, name) {
        ("etc/wireguard", _) => has_key("PrivateKey") || has_key("PresharedKey"),
        ("etc/wpa_supplicant", _) | ("etc", "wpa_supplicant.conf") => {
            ["psk", "password", "wep_key0", "sae_password", "private_key_passwd"].into_iter().any(has_key)
        }
        ("etc/lbu", "lbu.conf") => has_key("PASSWORD"),
        _ => text.contains(PRIVATE_KEY),
    }
}

/// Whether a name is that of a machine's own key or secret, or of the public half that only goes with it.
fn is_key(folder: &str, name: &str) -> bool {
    match folder {
        "etc/ssh" => name.starts_with("ssh_host_") && (name.ends_with("_key") || name.ends_with("_key.pub")),
        "etc/dropbear" => name.starts_with("dropbear_") && name.ends_with("_host_key"),
        "etc/ppp" => name.ends_with("-secrets"),
        "var/lib/iwd" => [".psk", ".8021x", ".open"].iter().any(|end| name.ends_with(end)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_name_or_by_what_is_in_it() {
        let secret = |path: &str, text: &str| of(path, &Entry::file(text.to_owned())) == Fate::Secret;
        for (path, text) in [
            ("etc/ssh/ssh_host_ed25519_key", "x"),
            ("etc/ssh/ssh_host_ed25519_key.pub", "x"),
            ("etc/dropbear/dropbear_rsa_host_key", ""),
            ("etc/wireguard/wg0.conf", "[Interface]\nPrivateKey = abc=\n"),
            ("etc/wpa_supplicant/wpa_supplicant.conf", "network={\n\tssid=\"a\"\n\tpsk=\"b\"\n}\n"),
            ("etc/lbu/lbu.conf", "PASSWORD=hunter2\n"),
            ("root/.ssh/id_rsa", "-----BEGIN OPENSSH PRIVATE KEY-----\n"),
            ("etc/ppp/chap-secrets", "a * b *\n"),
        ] {
            assert!(secret(path, text), "{path}");
        }
        for (path, text) in [
            ("etc/ssh/sshd_config", "HostKey /etc/ssh/ssh_host_rsa_key\n"),
            ("etc/wireguard/wg0.conf", "[Peer]\nPublicKey = abc=\n"),
            ("etc/wpa_supplicant/wpa_supplicant.conf", "network={\n\tssid=\"a\"\n\tkey_mgmt=NONE\n}\n"),
            ("etc/lbu/lbu.conf", "# PASSWORD=x\nPASSWORD=\n"),
            ("etc/shadow", "root:$6$a$b:1:0:::::\n"),
            ("root/.ssh/id_rsa.pub", "ssh-rsa AAAA a\n"),
        ] {
            assert_eq!(of(path, &Entry::file(text.to_owned())), Fate::Kept, "{path}");
        }
    }

    #[test]
    fn what_only_the_old_machine_needs_is_dropped() {
        let is_dropped = |path: &str, entry: &Entry| matches!(of(path, entry), Fate::Dropped(_));
        let file = Entry::file("");
        for path in [
            "etc/passwd-",
            "etc/x.apk-new",
            "etc/x.tmpl",
            "etc/apk/arch",
            "etc/mtab",
            "etc/apk/repositories",
            "top",
            "lost+found",
        ] {
            assert!(is_dropped(path, &file), "{path}");
        }
        for path in ["etc/passwd", "etc/apk/keys/own.rsa.pub", "etc/apk/protected_paths.d/lbu.list", "etc/fstab"] {
            assert!(!is_dropped(path, &file), "{path}");
        }
        assert!(
            is_dropped("etc/shadow", &Entry::symlink("/dev/null")) && is_dropped("etc/apk/world", &Entry::directory())
        );
        let node = |node| Entry { node, ..file.clone() };
        assert!(!is_dropped("etc/pipe", &node(Node::Fifo)) && is_dropped("etc/shadow", &node(Node::Fifo)));
        assert!(!is_dropped("srv/null", &node(Node::CharDevice { major: 1, minor: 3 })));
        assert!(is_dropped("srv/odd", &node(Node::BlockDevice { major: 4096, minor: 0 })));
        assert!(!is_dropped("srv", &Entry::directory()));
    }
}

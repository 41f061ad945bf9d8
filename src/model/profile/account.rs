//! `[users]` and `[groups]` of a profile or overlay.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{ProfileError, value};

/// The largest id: the one below `nobody`, which every system reserves.
const LARGEST_ID: u32 = 65_533;

/// A user as one layer writes it. Another layer may add to it: what it says wins, its lists add up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct User {
    /// User id. Some layer has to name it, because ids that are handed out in order would change with every new user.
    pub uid: Option<u32>,
    /// Id of the user's own group; the user id when absent.
    pub gid: Option<u32>,
    /// Other groups; `!name` takes one out.
    pub groups: Vec<String>,
    /// Home folder; `/home/NAME` when absent.
    pub home: Option<String>,
    /// Login shell; `/bin/ash` when absent.
    pub shell: Option<String>,
    /// What the user is called, for people.
    pub comment: Option<String>,
    /// A hash as `mkpasswd -m sha512` prints it; `*`, no login by password, when absent.
    pub password: Option<String>,
    /// Lines of `.ssh/authorized_keys`; `!line` takes one out.
    pub ssh_keys: Vec<String>,
}

/// A group as one layer writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Group {
    /// Group id.
    pub gid: Option<u32>,
}

/// Refuses accounts that no login would know or that would break the lines of `/etc/passwd`.
pub(super) fn check(users: &BTreeMap<String, User>, groups: &BTreeMap<String, Group>) -> Result<(), ProfileError> {
    for (name, group) in groups {
        check_name("groups", name)?;
        check_id("groups.gid", group.gid)?;
    }
    for (name, user) in users {
        check_name("users", name)?;
        check_id("users.uid", user.uid)?;
        check_id("users.gid", user.gid)?;
        for group in &user.groups {
            check_name("users.groups", group.strip_prefix('!').unwrap_or(group))?;
        }
        for (key, path) in [("users.home", &user.home), ("users.shell", &user.shell)] {
            if let Some(path) = path {
                check_path(key, path)?;
            }
        }
        if let Some(comment) = &user.comment {
            check_field("users.comment", comment)?;
        }
        if let Some(password) = &user.password {
            check_hash(password)?;
        }
        for key in &user.ssh_keys {
            check_ssh_key(key.strip_prefix('!').unwrap_or(key))?;
        }
    }
    Ok(())
}

/// A name that busybox' `adduser` takes.
fn check_name(key: &'static str, name: &str) -> Result<(), ProfileError> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
    let first = |b: u8| b.is_ascii_lowercase() || b == b'_';
    let good = name.len() <= 32 && name.bytes().next().is_some_and(first) && name.bytes().all(inner);
    good.then_some(())
        .ok_or_else(|| value(key, name, "write lower-case letters, digits, `-`, `_` and `.`, a letter first"))
}

fn check_id(key: &'static str, id: Option<u32>) -> Result<(), ProfileError> {
    match id {
        Some(id) if id > LARGEST_ID => Err(value(key, &id.to_string(), &format!("ids go up to {LARGEST_ID}"))),
        _ => Ok(()),
    }
}

fn check_path(key: &'static str, path: &str) -> Result<(), ProfileError> {
    check_field(key, path)?;
    let parts = path.strip_prefix('/').map(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")));
    parts
        .filter(|good| *good)
        .map(drop)
        .ok_or_else(|| value(key, path, "write an absolute path, such as \"/home/kiosk\""))
}

/// A field of a line whose fields are separated by colons.
fn check_field(key: &'static str, text: &str) -> Result<(), ProfileError> {
    let good = !text.contains(':') && !text.chars().any(char::is_control);
    good.then_some(()).ok_or_else(|| value(key, text, "it must not have colons or line ends"))
}

/// A hash in crypt's form, or one of the two words for "none". An empty text would be no password at all, and anything
/// else a password that everybody can read (OVL-16, DESIGN section 4, rule 7).
fn check_hash(text: &str) -> Result<(), ProfileError> {
    let is_hash = text.strip_prefix('$').is_some_and(|rest| {
        let parts: Vec<&str> = rest.split('$').collect();
        parts.len() >= 3 && parts.iter().all(|part| !part.is_empty() && part.bytes().all(is_hash_byte))
    });
    // The value is not shown: it may be a password.
    (is_hash || matches!(text, "*" | "!")).then_some(()).ok_or_else(|| {
        value(
            "users.password",
            "…",
            "write the hash that `mkpasswd -m sha512` prints, `*` for no login by password, or `!` for a locked account; \
             a password without a hash could be read by the whole network",
        )
    })
}

const fn is_hash_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/' | b'=' | b',' | b'+' | b'-' | b'_')
}

/// A line of `authorized_keys`: one line, with a key type that OpenSSH and dropbear know.
fn check_ssh_key(line: &str) -> Result<(), ProfileError> {
    let is_kind =
        |word: &str| ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|prefix| word.starts_with(prefix));
    let mut words = line.split_ascii_whitespace().skip_while(|word| !is_kind(word));
    let has_key = words.next().is_some() && words.next().is_some_and(|key| key.starts_with("AAAA"));
    if line.contains("PRIVATE KEY") {
        return Err(value(
            "users.ssh-keys",
            "…",
            "this is a private key; write the public one, the line of the `.pub` file",
        ));
    }
    (has_key && !line.chars().any(char::is_control)).then_some(()).ok_or_else(|| {
        value("users.ssh-keys", line, "write one line as in a `.pub` file, such as \"ssh-ed25519 AAAA… name\"")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str, user: User) -> String {
        let users = BTreeMap::from([(name.to_owned(), user)]);
        check(&users, &BTreeMap::new()).map_or_else(|error| error.to_string(), |()| "good".to_owned())
    }

    #[test]
    fn accounts_that_login_knows_are_taken() {
        let user = User {
            uid: Some(1000),
            groups: vec!["audio".to_owned(), "!wheel".to_owned()],
            home: Some("/srv/kiosk".to_owned()),
            password: Some("$6$rounds=5000$salt$hash/.".to_owned()),
            ssh_keys: vec![
                "ssh-ed25519 AAAAC3Nza admin@example.net".to_owned(),
                "from=\"10.0.0.0/8\" ecdsa-sha2-nistp256 AAAAE2V".to_owned(),
            ],
            ..User::default()
        };
        assert_eq!(said("kiosk", user), "good");
        for password in ["*", "!"] {
            assert_eq!(said("_x", User { password: Some(password.to_owned()), ..User::default() }), "good");
        }
    }

    #[test]
    fn an_account_that_would_break_or_leak_something_is_refused() {
        let with = |change: &dyn Fn(&mut User)| {
            let mut user = User::default();
            change(&mut user);
            said("kiosk", user)
        };
        assert!(said("Kiosk", User::default()).contains("`users` has the value `Kiosk`"));
        assert!(said("a:b", User::default()).contains("lower-case letters"));
        assert!(with(&|user| user.uid = Some(70_000)).contains("ids go up to 65533"));
        assert!(with(&|user| user.home = Some("home".to_owned())).contains("absolute path"));
        assert!(with(&|user| user.home = Some("/a/../b".to_owned())).contains("absolute path"));
        assert!(with(&|user| user.shell = Some("/bin/sh:x".to_owned())).contains("colons"));
        assert!(with(&|user| user.comment = Some("a\nroot::0".to_owned())).contains("line ends"));
        for password in ["", "secret", "$6$", "$6$salt$a:b"] {
            let said = with(&|user| user.password = Some(password.to_owned()));
            assert!(said.contains("mkpasswd") && !said.contains("secret"), "{said}");
        }
        assert!(with(&|user| user.ssh_keys = vec!["AAAAB3".to_owned()]).contains("`.pub` file"));
        assert!(with(&|user| user.ssh_keys = vec!["-----BEGIN PRIVATE KEY-----".to_owned()]).contains("private key"));
    }
}

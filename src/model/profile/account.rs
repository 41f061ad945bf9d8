//! `[users]` and `[groups]` of a profile or overlay.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::document::Mistakes;

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

/// Notes accounts that no login would know or that would break the lines of `/etc/passwd`.
pub(super) fn mistakes(users: &BTreeMap<String, User>, groups: &BTreeMap<String, Group>, found: &mut Mistakes) {
    for (name, group) in groups {
        if let Err(why) = check_name(name) {
            found.name(&["groups"], name, why);
            continue;
        }
        check_id(&["groups", name, "gid"], group.gid, found);
    }
    for (name, user) in users {
        if let Err(why) = check_name(name) {
            found.name(&["users"], name, why);
            continue;
        }
        check_id(&["users", name, "uid"], user.uid, found);
        check_id(&["users", name, "gid"], user.gid, found);
        found.members(&["users", name, "groups"], &user.groups, |it| check_name(it.strip_prefix('!').unwrap_or(it)));
        type Check = fn(&str) -> Result<(), &'static str>;
        for (key, value, check) in [
            ("home", &user.home, check_path as Check),
            ("shell", &user.shell, check_path),
            ("comment", &user.comment, check_field),
        ] {
            if let Some(value) = value
                && let Err(why) = check(value)
            {
                found.value(&["users", name, key], value, why);
            }
        }
        if let Some(password) = &user.password
            && let Err(why) = check_hash(password)
        {
            // The value is not shown: it may be a password.
            found.value(&["users", name, "password"], "…", why);
        }
        for (place, line) in user.ssh_keys.iter().enumerate() {
            if let Err((shown, why)) = check_ssh_key(line) {
                found.member(&["users", name, "ssh-keys"], place, shown, why);
            }
        }
    }
}

/// Why a text is no name that busybox' `adduser` takes.
fn check_name(name: &str) -> Result<(), &'static str> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
    let first = |b: u8| b.is_ascii_lowercase() || b == b'_';
    let good = name.len() <= 32 && name.bytes().next().is_some_and(first) && name.bytes().all(inner);
    good.then_some(()).ok_or("write lower-case letters, digits, `-`, `_` and `.`, a letter first")
}

fn check_id(key: &[&str], id: Option<u32>, found: &mut Mistakes) {
    if let Some(id) = id.filter(|id| *id > LARGEST_ID) {
        found.value(key, &id.to_string(), format!("ids go up to {LARGEST_ID}"));
    }
}

fn check_path(path: &str) -> Result<(), &'static str> {
    check_field(path)?;
    let parts = path.strip_prefix('/').map(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")));
    parts.filter(|good| *good).map(drop).ok_or("write an absolute path, such as \"/home/kiosk\" or \"/bin/ash\"")
}

/// Why a text cannot be a field of a line whose fields are separated by colons.
fn check_field(text: &str) -> Result<(), &'static str> {
    let good = !text.contains(':') && !text.chars().any(char::is_control);
    good.then_some(()).ok_or("it must not have colons or line ends")
}

/// Why a text is not a hash in crypt's form, or one of the two words for "none". An empty text would be no password at
/// all, and anything else a password that everybody can read (OVL-16, DESIGN section 4, rule 7).
fn check_hash(text: &str) -> Result<(), &'static str> {
    let is_hash = text.strip_prefix('$').is_some_and(|rest| {
        let parts: Vec<&str> = rest.split('$').collect();
        parts.len() >= 3 && parts.iter().all(|part| !part.is_empty() && part.bytes().all(is_hash_byte))
    });
    (is_hash || matches!(text, "*" | "!")).then_some(()).ok_or(
        "write the hash that `mkpasswd -m sha512` prints, `*` for no login by password, or `!` for a locked account; a \
         password without a hash could be read by the whole network",
    )
}

const fn is_hash_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/' | b'=' | b',' | b'+' | b'-' | b'_')
}

/// Why a text, with or without `!`, is no line of `authorized_keys` with a key type that OpenSSH and dropbear know; and
/// what of it may be shown.
fn check_ssh_key(text: &str) -> Result<(), (&str, &'static str)> {
    let line = text.strip_prefix('!').unwrap_or(text);
    let is_kind =
        |word: &str| ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|prefix| word.starts_with(prefix));
    let mut words = line.split_ascii_whitespace().skip_while(|word| !is_kind(word));
    let has_key = words.next().is_some() && words.next().is_some_and(|key| key.starts_with("AAAA"));
    if line.contains("PRIVATE KEY") {
        return Err(("…", "this is a private key; write the public one, the line of the `.pub` file"));
    }
    (has_key && !line.chars().any(char::is_control))
        .then_some(())
        .ok_or((text, "write one line as in a `.pub` file, such as \"ssh-ed25519 AAAA… name\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str, user: User) -> String {
        let users = BTreeMap::from([(name.to_owned(), user)]);
        let mut found = Mistakes::default();
        mistakes(&users, &BTreeMap::new(), &mut found);
        if found.is_empty() { "good".to_owned() } else { format!("{found:?}") }
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
        assert!(said("Kiosk", User::default()).contains("`users` has the key `Kiosk`"));
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

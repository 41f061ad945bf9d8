//! Hashes of passwords: those of words that everybody tries, those that are quickly guessed, and those that no login of
//! Alpine can check.

use std::collections::BTreeMap;

use sha_crypt::{PasswordVerifier as _, ShaCrypt};

use super::{DEFAULTS, EFFECT};
use crate::build::lint::rule::{ACCOUNT_LINES, DEFAULT_PASSWORD, WEAK_HASH};
use crate::build::lint::{Finding, Machine};
use crate::build::trail::Topic;

/// The most rounds of a hash that are tried. A word takes some milliseconds for 5000, which `mkpasswd` writes.
const MOST_ROUNDS: u32 = 20_000;

/// How a hash was made, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// SHA-256 or SHA-512 of crypt, which can be tried.
    Sha,
    /// bcrypt: good, and too slow to be tried.
    Bcrypt,
    /// DES or MD5: one graphics card tries millions a second.
    Weak(&'static str),
    /// What musl's crypt does not know, so that no password ever fits.
    Foreign,
}

pub(super) fn look(machine: &Machine<'_>) -> Vec<Finding> {
    const FILE: &str = "etc/shadow";
    const FIX: &str = "write a hash that `mkpasswd -m sha512` prints";
    let mut found = Vec::new();
    // Two accounts with one hash are tried once.
    let mut tried: BTreeMap<String, Option<String>> = BTreeMap::new();
    for line in machine.text(FILE).unwrap_or_default().lines() {
        let mut fields = line.split(':');
        let (Some(name), Some(field)) = (fields.next(), fields.next()) else { continue };
        // A locked account's hash may be unlocked again.
        let hash = field.trim_start_matches('!');
        let Some(kind) = kind(hash) else { continue };
        let said = machine.trail.owner(Topic::Account, &format!("{name}.password")).map(str::to_owned);
        let mut say = |rule, what: String, effect: &str| {
            let finding = Finding::new(rule, what, effect, FIX).at(FILE);
            found.push(match &said {
                Some(layer) => finding.by(layer.as_str()).in_key(&["users", name, "password"]),
                None => Finding { by: machine.author(FILE), ..finding },
            });
        };
        match kind {
            Kind::Sha => {
                let word = tried.entry(hash.to_owned()).or_insert_with(|| guessed(hash, name));
                if let Some(word) = word {
                    let shown = if word.is_empty() { "no password at all".to_owned() } else { format!("`{word}`") };
                    let what = format!("the password hash of `{name}` in {FILE} is that of {shown}");
                    say(DEFAULT_PASSWORD, what, "everybody who tries it is in");
                }
            }
            Kind::Bcrypt => {}
            Kind::Weak(method) => {
                let what = format!("the password hash of `{name}` in {FILE} is made with {method}");
                say(WEAK_HASH, what, &format!("{EFFECT}, and such a hash is guessed within hours"));
            }
            Kind::Foreign => {
                let what = format!("the password hash of `{name}` in {FILE} is of a kind that Alpine does not know");
                say(ACCOUNT_LINES, what, "no password fits, and nobody can log in as that user");
            }
        }
    }
    found
}

/// How a field of shadow was made; nothing for one that is no hash.
fn kind(hash: &str) -> Option<Kind> {
    let is_des =
        hash.len() == 13 && hash.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/'));
    let Some(method) = hash.strip_prefix('$').and_then(|rest| rest.split('$').next()) else {
        return is_des.then_some(Kind::Weak("DES"));
    };
    Some(match method {
        "5" | "6" => Kind::Sha,
        "2a" | "2b" | "2x" | "2y" => Kind::Bcrypt,
        "1" => Kind::Weak("MD5"),
        _ => Kind::Foreign,
    })
}

/// The word that fits a hash, of those that are tried first.
fn guessed(hash: &str, account: &str) -> Option<String> {
    let rounds = hash.split('$').find_map(|part| part.strip_prefix("rounds="));
    if rounds.is_some_and(|rounds| !rounds.parse().is_ok_and(|rounds: u32| rounds <= MOST_ROUNDS)) {
        return None;
    }
    let words = ["", account].into_iter().chain(DEFAULTS.split_whitespace());
    words.into_iter().find(|word| ShaCrypt::default().verify_password(word.as_bytes(), hash).is_ok()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made by `openssl passwd -6 -salt saltsalt` and `-5`.
    const ALPINE: &str =
        "$6$saltsalt$bkkji9kuxmbOWBRC2QWbplcvevc/WIq8gqHNUov.ph9qedENDYuJZ83dcrPFu5cXN/TevoYcctg55Px4rHxET.";
    const LETMEIN: &str = "$5$saltsalt$z9q92hf6JbktqU/z9d42Vu8uW1UyBKh6JgNV7jXir.9";
    const OTHER: &str =
        "$6$saltsalt$ds.rqSkpW/0zhV6HUi4vZPoCliqkotS/fqBIjjdiBDhCc/zYjCJGAmv5spfP6thJycf1oKCw6KA1Oi3E74Js..";

    #[test]
    fn a_hash_of_a_word_everybody_tries_is_known() {
        assert_eq!(guessed(ALPINE, "root").as_deref(), Some("alpine"));
        assert_eq!(guessed(LETMEIN, "root").as_deref(), Some("letmein"));
        assert_eq!(guessed(OTHER, "root"), None);
        assert_eq!(guessed(OTHER, "kiosk-7").as_deref(), Some("kiosk-7"), "an account's own name is a word too");
        assert_eq!(guessed(&ALPINE.replace("$6$", "$6$rounds=999999999$"), "root"), None, "not within a minute");
    }

    #[test]
    fn hashes_are_told_by_how_they_were_made() {
        for (hash, made) in [
            (ALPINE, Some(Kind::Sha)),
            (LETMEIN, Some(Kind::Sha)),
            ("$2b$12$abcdefghijklmnopqrstuv", Some(Kind::Bcrypt)),
            ("$1$salt$abcdefghijklmnopqrstuv", Some(Kind::Weak("MD5"))),
            ("abJnggxhB/yWI", Some(Kind::Weak("DES"))),
            ("$y$j9T$salt$hash", Some(Kind::Foreign)),
            ("*", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(kind(hash), made, "{hash}");
        }
    }
}

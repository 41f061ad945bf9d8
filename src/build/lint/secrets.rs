//! Secrets in the overlay, which every machine and whoever asks the server over HTTP can read.

use super::rule::{CLEAR_PASSWORD, DEFAULT_PASSWORD, NETWORK_PASSWORD, PRIVATE_KEY, READABLE_SECRET, TOKEN};
use super::{Finding, Machine, listed};
use crate::wire::apkovl::Entry;

/// Who can read a secret of an overlay.
const EFFECT: &str = "the overlay travels over plain HTTP, so everybody on the network can read it";

/// What to do with a secret.
const FIX: &str = "take it out, and let the machine get it by itself once it is up";

/// How tokens of well-known services begin, and how many characters come after that.
const TOKENS: &[(&str, usize)] = &[
    ("AIza", 35),
    ("AKIA", 16),
    ("ASIA", 16),
    ("dop_v1_", 64),
    ("ghp_", 36),
    ("gho_", 36),
    ("ghr_", 36),
    ("ghs_", 36),
    ("ghu_", 36),
    ("github_pat_", 22),
    ("glpat-", 20),
    ("hf_", 30),
    ("npm_", 36),
    ("sk_live_", 20),
    ("tskey-auth-", 16),
    ("xoxa-", 20),
    ("xoxb-", 20),
    ("xoxp-", 20),
    ("xoxr-", 20),
    ("xoxs-", 20),
];

/// What is tried first on any machine.
const DEFAULTS: &str = "\
    1234 12345 123456 admin alpine changeme default letmein pass passw0rd password qwerty root secret test toor \
    welcome";

pub(super) fn look(machine: &Machine<'_>) -> Vec<Finding> {
    machine.files().flat_map(|(path, entry, bytes)| judge(machine, path, entry, bytes)).collect()
}

/// All findings about one file; binaries are passed over.
fn judge(machine: &Machine<'_>, path: &str, entry: &Entry, bytes: &[u8]) -> Vec<Finding> {
    let Ok(text) = std::str::from_utf8(bytes) else { return Vec::new() };
    if text.contains('\0') {
        return Vec::new();
    }
    let mut found = Vec::new();
    if has_private_key(path, text) && !is_host_key(path) {
        found.push(machine.at(PRIVATE_KEY, path, format!("`{path}` has a private key"), EFFECT, FIX));
    }
    if let Some(kind) = token(text) {
        let what = format!("`{path}` has what looks like an access token, `{kind}…`");
        found.push(machine.at(TOKEN, path, what, EFFECT, "take it out and revoke it, or allow SEC-2 if it is none"));
    }
    if network_password(path, text) {
        let what = format!("`{path}` has the password of a wireless network");
        let fix = "use a network whose password may be known, or one certificate for each machine";
        found.push(machine.at(NETWORK_PASSWORD, path, what, EFFECT, fix));
    }
    if !found.is_empty() && entry.mode & 0o004 != 0 {
        let what =
            format!("`{path}` has a secret, and the mode {:04o} lets everybody on the machine read it", entry.mode);
        let effect = "any user and any service of the machine can use it";
        found.push(machine.at(READABLE_SECRET, path, what, effect, "give it the mode 0600 in `[files]`"));
    }
    found.extend(text.lines().filter_map(|line| password(machine, path, line)));
    found
}

/// Host keys are a rule of their own (OVL-20).
fn is_host_key(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.starts_with("ssh_host_"))
}

/// A key in PEM form with something in it, or one of WireGuard.
fn has_private_key(path: &str, text: &str) -> bool {
    let is_pem = text.split("-----BEGIN ").skip(1).any(|rest| {
        let Some((kind, rest)) = rest.split_once("-----") else { return false };
        // A program that looks for such keys has the words, but no key after them.
        let body = rest.trim_start_matches("\\n").trim_start();
        kind.ends_with("PRIVATE KEY") && (body.starts_with("Proc-Type") || is_run(body, 16, is_base64))
    });
    let is_wireguard = path.starts_with("etc/wireguard/")
        && text.lines().any(|line| {
            line.split_once('=').is_some_and(|(key, value)| {
                key.trim().eq_ignore_ascii_case("PrivateKey") && is_run(value.trim(), 42, is_base64)
            })
        });
    is_pem || is_wireguard
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// Whether at least so many bytes of a kind come first.
fn is_run(text: &str, length: usize, is_kind: fn(u8) -> bool) -> bool {
    text.bytes().take_while(|byte| is_kind(*byte)).count() >= length
}

/// How the first token in a text begins.
fn token(text: &str) -> Option<&'static str> {
    let is_free = |start: usize| !text[..start].bytes().next_back().is_some_and(is_word);
    let plain = TOKENS.iter().find(|(prefix, length)| {
        text.match_indices(prefix).any(|(start, _)| {
            let rest: Vec<u8> = text[start + prefix.len()..].bytes().take_while(|byte| is_word(*byte)).collect();
            let is_upper = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
            let is_right = match *prefix {
                "AKIA" | "ASIA" => rest.len() == *length && rest.iter().all(is_upper),
                _ => rest.len() >= *length,
            };
            is_free(start) && is_right && is_varied(&rest)
        })
    });
    plain.map(|(prefix, _)| *prefix).or_else(|| web_token(text).then_some("eyJ"))
}

/// A placeholder such as `ghp_xxxxxxxx` is no token.
fn is_varied(bytes: &[u8]) -> bool {
    let mut different = bytes.to_vec();
    different.sort_unstable();
    different.dedup();
    different.len() >= 6
}

/// A signed JSON Web Token (RFC 7519): two JSON objects and a signature.
fn web_token(text: &str) -> bool {
    text.match_indices("eyJ").any(|(start, _)| {
        let rest = &text[start..];
        let end = rest.bytes().position(|byte| !is_word(byte) && byte != b'.').unwrap_or(rest.len());
        let parts: Vec<&str> = rest[..end].split('.').collect();
        match parts.as_slice() {
            [header, claims, signature] => {
                header.len() >= 16 && claims.starts_with("eyJ") && claims.len() >= 16 && signature.len() >= 32
            }
            _ => false,
        }
    })
}

/// SEC-3: wpa_supplicant's and iwd's settings.
fn network_password(path: &str, text: &str) -> bool {
    let keys: &[&str] = if path.starts_with("etc/wpa_supplicant/") || path == "etc/wpa_supplicant.conf" {
        &["psk", "sae_password", "wep_key0", "password"]
    } else if path.starts_with("var/lib/iwd/") {
        &["Passphrase", "PreSharedKey"]
    } else {
        return false;
    };
    text.lines()
        .filter_map(|line| line.split_once('='))
        .any(|(key, value)| keys.contains(&key.trim()) && !value.trim().trim_matches('"').is_empty())
}

/// SEC-4 and SEC-5: a password that a line sets.
fn password(machine: &Machine<'_>, path: &str, line: &str) -> Option<Finding> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let (account, word) = piped(line).or_else(|| assigned(line))?;
    let is_default = listed(DEFAULTS, &word.to_ascii_lowercase());
    // Anything may be called a password; only what sets one, or a word that everybody tries, is worth a finding.
    if !is_default && !line.contains("chpasswd") {
        return None;
    }
    let (rule, what) = if is_default {
        (DEFAULT_PASSWORD, format!("`{path}` sets the password `{word}` for `{account}`"))
    } else {
        (CLEAR_PASSWORD, format!("`{path}` sets a password without a hash for `{account}`"))
    };
    let fix = "write a hash that `mkpasswd -m sha512` prints into `[users]`";
    let effect = if is_default { "everybody who tries that word is in" } else { EFFECT };
    Some(machine.at(rule, path, what, effect, fix))
}

/// `echo "root:alpine" | chpasswd`.
fn piped(line: &str) -> Option<(&str, &str)> {
    let (before, after) = line.split_once('|')?;
    if !after.split_whitespace().any(|word| word.rsplit('/').next() == Some("chpasswd")) {
        return None;
    }
    let start = ["echo ", "printf "].iter().find_map(|word| before.find(word).map(|at| at + word.len()))?;
    let said = before.get(start..)?.trim();
    let said = said.trim_start_matches("-n ").trim_start_matches("-e ").trim().trim_matches(['"', '\'']);
    let (account, word) = said.split_once(':')?;
    let word = word.trim_end_matches("\\n");
    // A variable, or a hash for `chpasswd -e`.
    (!word.is_empty() && !word.contains(['$', '%', '`'])).then_some((account, word))
}

/// `PASSWORD=alpine`, `password = "changeme"`.
fn assigned(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once('=').or_else(|| line.split_once(": "))?;
    let key = key.trim().trim_start_matches("export ").trim_matches('"');
    let lower = key.to_ascii_lowercase();
    let is_password = ["password", "passwd", "passphrase"].iter().any(|end| lower.ends_with(end));
    let word = value.trim().trim_end_matches([',', ';']).trim_matches(['"', '\'']);
    (is_password && key.bytes().all(|byte| is_word(byte) || byte == b'.') && !word.is_empty()).then_some((key, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_token_is_known_and_its_placeholder_is_not() {
        for (prefix, length) in TOKENS {
            let varied: String = "A1B2C3D4E5F6G7H8".chars().cycle().take(*length).collect();
            assert_eq!(token(&format!("key = \"{prefix}{varied}\"")), Some(*prefix));
            assert_eq!(token(&format!("x{prefix}{varied}")), None, "in the middle of a word");
            let placeholder = "X".repeat(*length);
            assert_eq!(token(&format!("{prefix}{placeholder}")), None);
            let short: String = varied.chars().skip(1).collect();
            assert_eq!(token(&format!("{prefix}{short}")), None);
        }
    }

    #[test]
    fn a_web_token_has_two_objects_and_a_signature() {
        let (header, claims) = ("eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiIxMjM0NTY3ODkwIn0");
        let signature = "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U";
        assert_eq!(token(&format!("Bearer {header}.{claims}.{signature}\n")), Some("eyJ"));
        for none in
            [format!("{header}.{claims}"), format!("{header}.{signature}.{claims}"), format!("{header}.{claims}.x")]
        {
            assert_eq!(token(&none), None, "{none}");
        }
    }

    #[test]
    fn a_password_is_read_from_what_sets_it() {
        for (line, read) in [
            ("echo 'root:alpine' | chpasswd", Some(("root", "alpine"))),
            ("echo -n root:alpine | /usr/sbin/chpasswd -c sha512", Some(("root", "alpine"))),
            ("printf \"%s:%s\" root \"$word\" | chpasswd", None),
            ("echo done | logger", None),
            ("echo nothing", None),
        ] {
            assert_eq!(piped(line), read, "{line}");
        }
        assert_eq!(assigned("export VNC_PASSWORD=\"toor\""), Some(("VNC_PASSWORD", "toor")));
        assert_eq!(assigned("  \"password\": \"secret\","), Some(("password", "secret")));
        assert_eq!(assigned("password_file = x"), None);
    }
}

//! Passwords that a line of a file sets, whatever program reads it.

use std::collections::BTreeSet;

use super::{CLEAR_PASSWORD, DEFAULT_PASSWORD, LIKELY_PASSWORD, Secret, is_default, is_placeholder};

/// The shortest text that is taken for a password; shorter ones are numbers and flags.
const SHORTEST: usize = 4;

/// What the lines of a text set.
pub(super) fn find(text: &str) -> BTreeSet<Secret> {
    text.lines().filter_map(judge).collect()
}

fn judge(line: &str) -> Option<Secret> {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return None;
    }
    if let Some((account, word)) = piped(line) {
        return Some(if is_default(word) {
            Secret::new(DEFAULT_PASSWORD, format!("the password `{word}` for `{account}`"))
        } else {
            Secret::new(CLEAR_PASSWORD, format!("a password without a hash for `{account}`"))
        });
    }
    let (key, word) = assigned(line)?;
    if is_default(word) {
        return Some(Secret::new(DEFAULT_PASSWORD, format!("the password `{word}` as `{key}`")));
    }
    let is_likely = word.len() >= SHORTEST && !word.contains(char::is_whitespace) && !is_call(word);
    (is_likely && !is_placeholder(word, LIKELY_PASSWORD))
        .then(|| Secret::new(LIKELY_PASSWORD, format!("what looks like a password, `{key}`")))
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
    (!word.is_empty() && !word.contains(['$', '%', '`', '{'])).then_some((account, word))
}

/// `PASSWORD=alpine`, `password = "changeme"`, `"password": "changeme",`.
fn assigned(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once('=').or_else(|| line.split_once(": "))?;
    let key = key.trim().trim_start_matches("export ").trim_start_matches("local ").trim_matches(['"', '\'']);
    let lower = key.to_ascii_lowercase();
    let is_password = ["password", "passwd", "passphrase", "_pwd", ".pwd"].iter().any(|end| lower.ends_with(end));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let value = value.trim().trim_end_matches([',', ';']).trim_end();
    let word = value.trim_matches(['"', '\'']);
    (is_password && key.bytes().all(is_name) && !word.is_empty()).then_some((key, word))
}

/// Code, such as `password=input()` or `passwd=self.password`, rather than a text.
fn is_call(word: &str) -> bool {
    let is_path = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    word.contains(['(', '[', '{']) || word.contains('.') && word.split('.').all(is_path)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_setting_is_told_from_what_only_speaks_of_passwords() {
        let rule = |line: &str| judge(line).map(|secret| secret.rule.id);
        for likely in ["db_password = hunter2!", "password: \"Tr0ub4dor\"", "admin.passwd=s3cr3t-word"] {
            assert_eq!(rule(likely), Some("SEC-7"), "{likely}");
        }
        for default in ["vnc_password = \"changeme\"", "PASSWORD=Alpine"] {
            assert_eq!(rule(default), Some("SEC-4"), "{default}");
        }
        for none in [
            "# password = hunter2!",
            "PasswordAuthentication=no",
            "hide_password = true",
            "password=",
            "password=$1",
            "password = \"{{ vars.password }}\"",
            "password=/etc/secret",
            "password = self.settings.password",
            "passwd = getpass()",
            "password: files ldap",
            "passphrase=<yours>",
        ] {
            assert_eq!(rule(none), None, "{none}");
        }
    }
}

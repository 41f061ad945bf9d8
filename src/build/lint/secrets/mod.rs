//! Secrets in the overlay, which every machine and whoever asks the server over HTTP can read.

mod assigned;
mod forms;
mod hashes;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{LazyLock, OnceLock};

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use super::rule::{
    CLEAR_PASSWORD, DEFAULT_PASSWORD, LIKELY_PASSWORD, NETWORK_PASSWORD, PRIVATE_KEY, READABLE_SECRET, Rule, TOKEN,
};
use super::{Finding, Machine, listed};
use crate::build::trail::Topic;
use crate::model::profile::variable::Value;
use forms::Form;

/// Who can read a secret of an overlay.
const EFFECT: &str = "the overlay travels over plain HTTP, so everybody on the network can read it";

/// What is tried first on any machine, in lower case.
const DEFAULTS: &str = "\
    0000 1111 1234 12345 123456 12345678 123456789 abc123 admin admin123 administrator alpine changeme default demo \
    guest kiosk letmein pass passw0rd password password1 proxmox qwerty raspberry root secret test thinclient toor \
    user welcome";

/// What stands in the place of a secret in examples, in lower case.
const STAND_INS: &[&str] = &["example", "placeholder", "redacted", "dummy", "xxxx", "your", "replace", "insert", "..."];

/// The values of settings that are about passwords and are none.
const NO_PASSWORDS: &str = "\
    ask allow any deny disabled enabled false file hash md5 never nil no none null nullok off on optional password-auth \
    plain prompt required sha256 sha512 shadow sufficient true yes";

pub(super) fn look(machine: &Machine<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (path, entry, bytes) in machine.files() {
        let mut secrets = secrets(path, bytes);
        // What a template says to other machines is in none that was rendered.
        if machine.templates.contains(path) {
            secrets.extend(
                machine.own.get(path).and_then(super::bytes).map(|text| self::secrets(path, text)).unwrap_or_default(),
            );
        }
        let is_open = entry.mode & 0o004 != 0;
        if is_open && secrets.iter().any(|secret| secret.rule != LIKELY_PASSWORD) {
            let what =
                format!("`{path}` has a secret, and its mode {:04o} lets everybody on the machine read it", entry.mode);
            let effect = "any user and any service of the machine can use it";
            found.push(machine.at(READABLE_SECRET, path, what, effect, "give it the mode 0600 in `[files]`"));
        }
        found.extend(secrets.into_iter().map(|secret| {
            let finding = secret.finding(&format!("`{path}`"));
            Finding { by: machine.owner(path), ..finding.at(path) }
        }));
    }
    found.extend(variables(machine));
    found.extend(arguments(machine));
    found.extend(hashes::look(machine));
    found
}

/// The values that templates put into files.
fn variables(machine: &Machine<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (name, declaration) in machine.vars {
        let values = match &declaration.value {
            Some(Value::String(text)) => std::slice::from_ref(text),
            Some(Value::List(list)) => list.as_slice(),
            _ => continue,
        };
        let text: String = values.iter().map(|value| format!("{name}={value}\n")).collect();
        let by = machine.trail.owner(Topic::Variable, name).map(str::to_owned);
        let said = secrets("", text.as_bytes()).into_iter().map(|it| it.finding(&format!("the variable `{name}`")));
        found.extend(said.map(|finding| Finding { by: by.clone(), ..finding.in_key(&["vars", name]) }));
    }
    found
}

/// Kernel arguments stand in the iPXE script and in /proc/cmdline.
fn arguments(machine: &Machine<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for argument in machine.arguments {
        let by = machine.trail.owner(Topic::Argument, argument).map(str::to_owned);
        let name = argument.split('=').next().unwrap_or(argument);
        let place = format!("the kernel argument `{name}`");
        let key = ["kernel", "args", argument];
        let said = secrets("", argument.as_bytes()).into_iter().map(|secret| secret.finding(&place).in_key(&key));
        found.extend(said.map(|finding| Finding { by: by.clone(), ..finding }));
    }
    found
}

/// Whether a file has something in it that nobody may read over another's shoulder: a key, a token, a password, or the
/// hash of one, which can be guessed.
pub fn is_secret(path: &str, bytes: &[u8]) -> bool {
    static HASH: LazyLock<Regex> = LazyLock::new(|| {
        let method =
            r"\$(1|2[abxy]|5|6|7|y|gy|apr1|md5|sha1|argon2(i|d|id)|pbkdf2[-a-z0-9]*|scrypt)\$[-./,=$A-Za-z0-9]{8,}";
        Regex::new(method).expect("a pattern that is tested")
    });
    let is_shadow = matches!(path.rsplit('/').next(), Some("shadow" | "shadow-" | "gshadow" | "gshadow-"));
    let is_key = path.rsplit('/').next().is_some_and(|name| name.starts_with("ssh_host_") && name.ends_with("_key"));
    is_shadow || is_key || HASH.is_match(bytes) || secrets(path, bytes).iter().any(|it| it.rule != LIKELY_PASSWORD)
}

/// A secret that was seen; never its text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Secret {
    rule: Rule,
    what: String,
}

impl Secret {
    fn new(rule: Rule, what: impl Into<String>) -> Self {
        Self { rule, what: what.into() }
    }

    fn finding(self, place: &str) -> Finding {
        let (effect, fix) = match self.rule {
            DEFAULT_PASSWORD => {
                ("everybody who tries it is in", "choose another one, and give it to the machine once it is up")
            }
            TOKEN => (EFFECT, "take it out and revoke it, or allow SEC-2 if it is none"),
            NETWORK_PASSWORD => {
                (EFFECT, "use a network whose password may be known, or one certificate for each machine")
            }
            LIKELY_PASSWORD => (EFFECT, "take it out, or allow SEC-7 if it is no secret"),
            CLEAR_PASSWORD => {
                (EFFECT, "take it out, and let the machine get it once it is up; a login's as a hash in `[users]`")
            }
            _ => (EFFECT, "take it out, and let the machine get it by itself once it is up"),
        };
        Finding::new(self.rule, format!("{place} has {}", self.what), effect, fix)
    }
}

/// The secrets in a file, one of each kind. A path that is empty is no file.
fn secrets(path: &str, bytes: &[u8]) -> BTreeSet<Secret> {
    static TEXT: LazyLock<Known> = LazyLock::new(|| Known::new(forms::TEXT));
    static BINARY: LazyLock<Known> = LazyLock::new(|| Known::new(forms::BINARY));
    let mut found = BINARY.find(path, bytes);
    if !bytes.contains(&0) {
        found.extend(TEXT.find(path, bytes));
        found.extend(assigned::find(&String::from_utf8_lossy(bytes)));
    }
    // Host keys are a rule of their own (OVL-20).
    if path.rsplit('/').next().is_some_and(|name| name.starts_with("ssh_host_")) {
        found.retain(|secret| secret.rule != PRIVATE_KEY);
    }
    // What is known for certain need not be guessed.
    if found.iter().any(|secret| secret.rule != LIKELY_PASSWORD) {
        found.retain(|secret| secret.rule != LIKELY_PASSWORD);
    }
    found
}

/// Forms, ready to be looked for all at once.
struct Known {
    forms: &'static [Form],
    places: RegexSet,
    patterns: RegexSet,
    /// Each pattern by itself, made when the set has found it.
    each: Vec<OnceLock<Regex>>,
}

impl Known {
    fn new(forms: &'static [Form]) -> Self {
        let set = |patterns: Vec<&str>| {
            RegexSetBuilder::new(patterns).unicode(false).build().expect("a test goes over every pattern")
        };
        Self {
            forms,
            places: set(forms.iter().map(|form| form.places).collect()),
            patterns: set(forms.iter().map(|form| form.pattern).collect()),
            each: forms.iter().map(|_| OnceLock::new()).collect(),
        }
    }

    fn find(&self, path: &str, bytes: &[u8]) -> BTreeSet<Secret> {
        let places = self.places.matches(path.as_bytes());
        let seen = self.patterns.matches(bytes).into_iter().filter(|number| places.matched(*number));
        seen.filter_map(|number| self.judge(number, bytes)).collect()
    }

    /// What the first match is that is no placeholder.
    fn judge(&self, number: usize, bytes: &[u8]) -> Option<Secret> {
        let (form, cell) = (self.forms.get(number)?, self.each.get(number)?);
        let regex = cell.get_or_init(|| {
            let made = RegexBuilder::new(form.pattern).unicode(false).build();
            made.expect("the set has the same pattern")
        });
        regex.captures_iter(bytes).find_map(|captures| {
            let Some(secret) = captures.get(1) else { return Some(Secret::new(form.rule, form.what)) };
            let secret = String::from_utf8_lossy(secret.as_bytes());
            if is_placeholder(&secret, form.rule) {
                return None;
            }
            let is_default = matches!(form.rule, CLEAR_PASSWORD | NETWORK_PASSWORD) && is_default(&secret);
            let default = || Secret::new(DEFAULT_PASSWORD, format!("{}, `{secret}`", form.what));
            Some(if is_default { default() } else { Secret::new(form.rule, form.what) })
        })
    }
}

/// Whether everybody tries the word.
fn is_default(word: &str) -> bool {
    listed(DEFAULTS, &word.to_ascii_lowercase())
}

/// Whether a text only stands where a secret belongs.
fn is_placeholder(text: &str, rule: Rule) -> bool {
    let lower = text.to_ascii_lowercase();
    let is_filled_in = text.starts_with(['$', '%', '<', '@', '*', '`']) || text.contains("{{") || text.contains("${");
    let is_stand_in = STAND_INS.iter().any(|word| lower.contains(word));
    let is_other = match rule {
        PRIVATE_KEY | TOKEN => listed("password pass passwd pwd secret token", &lower) || !is_varied(text),
        _ => text.starts_with('/') || lower.starts_with("file:") || listed(NO_PASSWORDS, &lower),
    };
    is_filled_in || is_stand_in || is_other
}

/// A long text of few characters, such as `AAAAAAAAAAAAAAAA`, was not made by chance.
fn is_varied(text: &str) -> bool {
    text.len() < 16 || text.bytes().collect::<BTreeSet<u8>>().len() >= 6
}

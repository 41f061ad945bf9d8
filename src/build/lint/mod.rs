//! Mistakes that make a machine insecure or useless, found before anything is built (alpine.md 2.6). Pure.
//!
//! Some rules of that list have nothing here, because no author can break them: Bivouac writes the archive itself
//! (OVL-1, -3, -10, -12, -43, -44), reading a `root/` tree refuses what init would trip over (OVL-2, -11, -49), accounts
//! are merged with Alpine's (OVL-24), the world is parsed and written anew (OVL-30 to -32). Extended attributes
//! (OVL-42) are not read from a `root/` tree in the first place. `root=`, which ends diskless mode, is refused with the
//! other arguments Bivouac keeps to itself.
//!
//! Password hashes are not tried against words people choose: that takes every hash of crypt.

mod accounts;
mod arguments;
mod files;
mod network;
mod packages;
mod rule;
mod secrets;
mod services;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use rule::{Level, RULES, Rule};

use super::trail::{Topic, Trail};
use super::{AlpineChoice, BaseAccounts};
use crate::model::profile::Allowed;
use crate::wire::apkovl::{Entry, Node, Tree};

/// A mistake, or what looks like one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// The path on the machine it is about.
    pub path: Option<String>,
    /// The layer that brought it, when one did.
    pub by: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What would happen on the machine.
    pub effect: String,
    /// What to do.
    pub fix: String,
    /// Why it is no mistake here, when the profile says so.
    pub allowed: Option<String>,
}

impl Finding {
    /// The finding in one line.
    #[must_use]
    pub fn line(&self) -> String {
        let by = self.by.as_ref().map_or_else(String::new, |by| format!(" [{by}]"));
        format!("{} ({}){by}: {}; {}", self.what, self.rule.id, self.effect, self.fix)
    }

    /// Whether it stops a build.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        self.rule.level == Level::Error && self.allowed.is_none()
    }
}

/// What is looked at: a machine as it would come up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine<'a> {
    pub(super) tree: &'a Tree,
    pub(super) trail: &'a Trail,
    pub(super) world: &'a [String],
    pub(super) arguments: &'a [String],
    pub(super) alpine: &'a AlpineChoice,
    pub(super) base: &'a BaseAccounts,
    pub(super) allows_empty_root_password: bool,
}

/// Everything that is wrong, the worst first, with what `[[allow]]` says about it.
pub(super) fn findings(machine: Machine<'_>, allowed: &[Allowed]) -> Vec<Finding> {
    let mut found: Vec<Finding> =
        [accounts::look, services::look, network::look, packages::look, files::look, secrets::look, arguments::look]
            .into_iter()
            .flat_map(|look| look(&machine))
            .collect();
    let mut idle = Vec::new();
    for allow in allowed {
        // A build looks for services in the packages too, and asks these then.
        let is_later = |(_, _, path): (&str, &str, &str)| covers(allow, Some(path));
        let mut is_used = allow.rule == rule::SERVICE_WITHOUT_PACKAGE.id && machine.services().any(is_later);
        // Root's has words of its own.
        let has_words = |finding: &Finding| finding.rule == rule::EMPTY_PASSWORD && finding.what.contains("`root`");
        for finding in found.iter_mut().filter(|finding| is_meant(allow, finding) && !has_words(finding)) {
            finding.allowed.get_or_insert_with(|| allow.reason.clone());
            is_used = true;
        }
        if !is_used {
            let place = allow.path.as_ref().map_or_else(String::new, |path| format!(" at `{path}`"));
            idle.push(Finding {
                rule: rule::IDLE_ALLOW,
                path: allow.path.clone(),
                by: None,
                what: format!("`[[allow]]` names {}{place}, and nothing is found there", allow.rule),
                effect: "a later mistake there would be let through".to_owned(),
                fix: "take it out of the profile, or correct its path".to_owned(),
                allowed: None,
            });
        }
    }
    found.append(&mut idle);
    found.sort_by(|a, b| order(a).cmp(&order(b)));
    found.dedup();
    found
}

fn order(finding: &Finding) -> (Level, usize, Option<&str>, &str) {
    (finding.rule.level, finding.rule.place(), finding.path.as_deref(), &finding.what)
}

/// Whether an `[[allow]]` is about a finding: its rule and its path.
fn is_meant(allow: &Allowed, finding: &Finding) -> bool {
    allow.rule == finding.rule.id && covers(allow, finding.path.as_deref())
}

/// Whether an `[[allow]]` is about a path: that very one, the tree above, or every one.
pub(super) fn covers(allow: &Allowed, path: Option<&str>) -> bool {
    match (&allow.path, path) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wanted), Some(path)) => match wanted.strip_suffix('/') {
            Some(folder) => path == folder || path.starts_with(wanted.as_str()),
            None => path == wanted,
        },
    }
}

impl<'a> Machine<'a> {
    /// A finding about a path.
    fn at(&self, rule: Rule, path: &str, what: String, effect: &str, fix: impl Into<String>) -> Finding {
        Finding {
            rule,
            path: Some(path.to_owned()),
            by: self.owner(path),
            what,
            effect: effect.to_owned(),
            fix: fix.into(),
            allowed: None,
        }
    }

    /// The layer that brought a path: that of its file, or of the first file in a folder.
    fn owner(&self, path: &str) -> Option<String> {
        let service = path.strip_prefix("etc/runlevels/").and_then(|name| self.trail.owner(Topic::Service, name));
        let own = service.or_else(|| self.trail.owner(Topic::File, path));
        let inside = || {
            let folder = format!("{path}/");
            let below = self.tree.iter().map(|(path, _)| path).filter(|path| path.starts_with(&folder));
            below.filter_map(|path| self.trail.owner(Topic::File, path)).next()
        };
        own.or_else(inside).map(str::to_owned)
    }

    /// The bytes of a file.
    fn bytes(&self, path: &str) -> Option<&'a [u8]> {
        bytes(self.tree.get(path)?)
    }

    /// A file as text; what is not UTF-8 is replaced.
    fn text(&self, path: &str) -> Option<Cow<'a, str>> {
        self.bytes(path).map(String::from_utf8_lossy)
    }

    /// Every file with its bytes.
    fn files(&self) -> impl Iterator<Item = (&'a str, &'a Entry, &'a [u8])> {
        self.tree.iter().filter_map(|(path, entry)| Some((path, entry, bytes(entry)?)))
    }

    /// Files directly in a folder.
    fn files_in(&self, folder: &str) -> impl Iterator<Item = (&'a str, &'a Entry, &'a [u8])> {
        self.files().filter(move |(path, ..)| {
            path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')).is_some_and(|name| !name.contains('/'))
        })
    }

    /// The services that start: runlevel, name, path.
    fn services(&self) -> impl Iterator<Item = (&'a str, &'a str, &'a str)> {
        self.tree.iter().filter_map(|(path, _)| {
            let (level, name) = path.strip_prefix("etc/runlevels/")?.split_once('/')?;
            (!name.contains('/')).then_some((level, name, path))
        })
    }

    fn has_service(&self, name: &str) -> bool {
        self.services().any(|(_, service, _)| service == name)
    }

    /// The packages of the world by name, without versions and repositories.
    fn packages(&self) -> impl Iterator<Item = &'a str> {
        let names = self.world.iter().filter(|word| !word.starts_with('!'));
        names.filter_map(|word| word.split(['<', '>', '=', '~', '@']).next())
    }
}

fn bytes(entry: &Entry) -> Option<&[u8]> {
    match &entry.node {
        Node::File(bytes) => Some(&bytes[..]),
        _ => None,
    }
}

/// Whether a list of words has one.
fn listed(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|known| known == word)
}

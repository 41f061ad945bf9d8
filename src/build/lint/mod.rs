//! Mistakes that make a machine insecure or useless (alpine.md 2.6). Pure.
//!
//! A mistake of an author is a [`Finding`] wherever it is noticed: reading a `root/` tree, merging layers, writing
//! accounts and rendering templates leave out what does not fit and say it, [`look`] goes over the machine as it would
//! come up, and [`in_packages`] compares it with the files of its packages once a build has them. [`judge`] puts them in
//! order and asks `[[allow]]`.
//!
//! Four rules of that list have nothing here, because no author can break them: Bivouac writes the archive itself, so
//! it is gzip by the right name (OVL-10), has no entry for the root (OVL-12), nothing sparse and no PAX header (OVL-43),
//! and numbers as large as they come (OVL-44).

mod accounts;
mod addresses;
mod arguments;
mod existence;
mod files;
mod finding;
pub(super) mod in_packages;
mod network;
mod packages;
pub(super) mod rule;
mod scripts;
mod secrets;
mod services;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

pub use finding::{Finding, Place};
pub use rule::{Level, RULES, Rule};
pub use secrets::is_secret;

use super::merge::Permit;
use super::trail::{BIVOUAC, Subject, Topic, Trail};
use super::{AlpineChoice, BaseAccounts, Declaration};
use crate::model::name::nearest;
use crate::model::profile::Allowed;
use crate::model::profile::network::Network;
use crate::wire::apkovl::{Entry, Node, Tree};
use rule::{IDLE_ALLOW, OF_PACKAGES, OF_RIGHTS, UNKNOWN_RULE};

/// What is looked at: a machine as it would come up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine<'a> {
    /// With templates as some machine would have them.
    pub(super) tree: &'a Tree,
    /// What the layers bring, before accounts are merged and templates rendered.
    pub(super) own: &'a Tree,
    /// The files of both trees that are templates.
    pub(super) templates: &'a BTreeSet<String>,
    pub(super) trail: &'a Trail,
    pub(super) vars: &'a BTreeMap<String, Declaration>,
    pub(super) world: &'a [String],
    pub(super) arguments: &'a [String],
    pub(super) alpine: &'a AlpineChoice,
    pub(super) network: Option<&'a Network>,
    pub(super) base: &'a BaseAccounts,
    pub(super) allows_empty_root_password: bool,
}

/// Everything that is wrong with a machine, as far as a profile alone shows it.
pub(super) fn look(machine: &Machine<'_>) -> Vec<Finding> {
    let looks = [
        accounts::look,
        services::look,
        scripts::look,
        network::look,
        addresses::look,
        existence::look,
        packages::look,
        files::look,
        secrets::look,
        arguments::look,
    ];
    looks.into_iter().flat_map(|look| look(machine)).collect()
}

/// Says of each finding whether the profile allows it, adds each `[[allow]]` that does nothing, and puts the worst first.
/// `is_open` says of which nobody can tell yet.
pub(super) fn judge(mut found: Vec<Finding>, allowed: &[Permit], is_open: impl Fn(&Allowed) -> bool) -> Vec<Finding> {
    let mut about_allow = Vec::new();
    for Permit { allow, by, place } in allowed {
        let located = |finding: Finding| Finding { place: place.clone(), ..finding.by(by.as_str()) };
        if !RULES.iter().any(|rule| rule.id == allow.rule) {
            about_allow.push(located(unknown_rule(allow)));
            continue;
        }
        let mut is_used = false;
        let mut is_final = false;
        for finding in found.iter_mut().filter(|finding| is_meant(allow, finding)) {
            if finding.is_final {
                is_final = true;
            } else {
                finding.allowed.get_or_insert_with(|| allow.reason.clone());
                is_used = true;
            }
        }
        if !is_used && (is_final || !is_open(allow)) {
            about_allow.push(located(idle(allow, is_final)));
        }
    }
    found.append(&mut about_allow);
    found.sort_by(|a, b| order(a).cmp(&order(b)));
    found.dedup();
    found
}

/// ALLOW-1.
fn idle(allow: &Allowed, is_final: bool) -> Finding {
    let path = allow.path.as_ref().map(|path| format!(" at `{path}`"));
    let place = path.or_else(|| allow.argument.as_ref().map(|it| format!(" for `{it}`"))).unwrap_or_default();
    let finding = if is_final {
        let what = format!("`[[allow]]` names {}{place}, and what is found there cannot be allowed", allow.rule);
        Finding::new(IDLE_ALLOW, what, "the build stops all the same", "correct the mistake")
    } else {
        let what = format!("`[[allow]]` names {}{place}, and nothing is found there", allow.rule);
        let effect = "a later mistake there would be let through";
        Finding::new(IDLE_ALLOW, what, effect, "take it out, or correct what it names")
    };
    Finding { path: allow.path.clone(), ..finding }
}

/// ALLOW-2.
fn unknown_rule(allow: &Allowed) -> Finding {
    let what = format!("`[[allow]]` names the rule `{}`, which does not exist", allow.rule);
    let fix = match nearest(&allow.rule, RULES.iter().map(|rule| rule.id)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "write the id that `bivouac check` shows before the finding".to_owned(),
    };
    Finding::new(UNKNOWN_RULE, what, "it allows nothing", fix).left_out()
}

/// Whether an `[[allow]]` may turn out to be needed once the packages are known.
pub(super) fn is_of_packages(allow: &Allowed, tree: &Tree) -> bool {
    OF_PACKAGES.iter().any(|rule| rule.id == allow.rule) && tree.iter().any(|(path, _)| covers(allow, Some(path)))
}

fn order(finding: &Finding) -> (Level, usize, Option<&str>, Option<&Place>, &str) {
    let rule = finding.rule;
    (rule.level, rule.place(), finding.path.as_deref(), finding.place.as_ref(), &finding.what)
}

/// Whether an `[[allow]]` is about a finding: its rule and its path.
fn is_meant(allow: &Allowed, finding: &Finding) -> bool {
    allow.rule == finding.rule.id && covers(allow, finding.path.as_deref()) && names_argument(allow, finding)
}

/// Whether an `[[allow]]` is about the kernel argument of a finding, or about no argument in particular.
fn names_argument(allow: &Allowed, finding: &Finding) -> bool {
    let Some(wanted) = &allow.argument else { return true };
    match finding.key.as_slice() {
        [kernel, args, argument] if kernel == "kernel" && args == "args" => {
            argument == wanted || argument.split('=').next() == Some(wanted)
        }
        _ => false,
    }
}

/// Whether an `[[allow]]` is about a path: that very one, the tree above, or every one.
fn covers(allow: &Allowed, path: Option<&str>) -> bool {
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
        let ruler = || {
            let said = [Topic::Mode, Topic::Owner].map(|topic| self.trail.owner(topic, path));
            said.into_iter().flatten().find(|by| !by.starts_with(BIVOUAC)).map(str::to_owned)
        };
        let by = if OF_RIGHTS.contains(&rule) { ruler() } else { None };
        Finding { by: by.or_else(|| self.owner(path)), ..Finding::new(rule, what, effect, fix).at(path) }
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

    /// The layer whose own file stands at a path, even where Bivouac adds to it.
    fn author(&self, path: &str) -> Option<String> {
        let subject = Subject { kind: Topic::File, name: path.to_owned() };
        let steps = self.trail.steps(&subject).iter();
        steps.rev().map(|step| &step.by).find(|by| !by.starts_with(BIVOUAC)).cloned()
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

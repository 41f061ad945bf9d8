//! `bivouac diff`: what two archives, bundles or profiles do not have alike.

mod accounts;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Outcome;
use super::inspect::properties;
use super::report::plain;
use super::side::{Package, Side};
use crate::build::{self, Difference, kind};
use crate::config::Settings;
use crate::model::digest::Digest;
use crate::wire::apkovl::{Entry, Node};
use text::Contents;

/// How long texts are compared, all together.
const PATIENCE: Duration = Duration::from_secs(20);

/// `bivouac diff`: refused when there is a difference.
pub(super) fn diff(
    settings: &Settings,
    [before, after]: [&str; 2],
    as_json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let (before, after) = (Side::load(settings, before)?, Side::load(settings, after)?);
    let changes = Changes::between(&before, &after);
    if as_json {
        serde_json::to_writer_pretty(&mut *out, &changes.describe(&before, &after))?;
        writeln!(out)?;
    } else {
        changes.write(&before, &after, out)?;
    }
    Ok(if changes.is_empty() { Outcome::Done } else { Outcome::Refused })
}

/// A name with its values before and after; one is missing where it was added or removed.
#[derive(Debug)]
struct Change {
    name: String,
    before: Option<String>,
    after: Option<String>,
}

/// A file that is not alike.
#[derive(Debug)]
struct Changed {
    difference: Difference,
    contents: Option<Contents>,
}

/// Everything that is not alike.
#[derive(Debug)]
struct Changes {
    alpine: Vec<Change>,
    arguments: Vec<Change>,
    world: Vec<Change>,
    packages: Vec<Change>,
    services: Vec<Change>,
    accounts: Vec<Change>,
    variables: Vec<Change>,
    files: Vec<Changed>,
    /// What only one of the two says anything about.
    not_compared: Vec<&'static str>,
    /// Why the packages of a profile are not known though it has a lock.
    stale: BTreeSet<String>,
}

impl Changes {
    fn between(before: &Side, after: &Side) -> Self {
        let mut not_compared = Vec::new();
        let alpine = both(&before.alpine, &after.alpine, "Alpine release", &mut not_compared, |one, other| {
            let mut list = Vec::new();
            if !one.release.fits(other.release) {
                list.push(change("release", &one.release.to_string(), &other.release.to_string()));
            }
            for (name, one, other) in [("arch", &one.arch, &other.arch), ("flavor", &one.flavor, &other.flavor)] {
                if one != other {
                    list.push(change(name, one, other));
                }
            }
            let joined = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(" ");
            if one.repositories != other.repositories {
                list.push(change("repositories", &joined(&one.repositories), &joined(&other.repositories)));
            }
            list
        });
        let arguments =
            both(&before.arguments, &after.arguments, "kernel arguments", &mut not_compared, |one, other| {
                let mut list = names(one.iter().cloned().collect(), &other.iter().cloned().collect());
                if list.is_empty() && one != other {
                    list.push(change("order", &one.join(" "), &other.join(" ")));
                }
                list
            });
        let packages = both(&before.packages, &after.packages, "package versions", &mut not_compared, |one, other| {
            let all: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            all.into_iter().filter_map(|name| another_package(name, one.get(name), other.get(name))).collect()
        });
        let stale = [before, after].into_iter().filter_map(|side| side.stale.clone()).collect();
        let accounts = accounts::compare(&before.tree, &after.tree);
        let deadline = Instant::now() + PATIENCE;
        let files = build::compare(&before.tree, &after.tree).into_iter().map(|difference| {
            let is_secret = |bytes: &[u8]| build::is_secret(&difference.path, bytes);
            let contents = difference.contents().filter(|(old, new)| !is_secret(old) && !is_secret(new));
            Changed { contents: contents.map(|(old, new)| text::compare(old, new, deadline)), difference }
        });
        Self {
            alpine,
            arguments,
            world: names(before.world.clone(), &after.world),
            packages,
            services: names(services(before), &services(after)),
            accounts: accounts
                .into_iter()
                .map(|(account, property, before, after)| Change {
                    name: format!("{account} {property}"),
                    before: before.map(|it| it.shown),
                    after: after.map(|it| it.shown),
                })
                .collect(),
            variables: values(&before.variables, &after.variables),
            files: files.collect(),
            not_compared,
            stale,
        }
    }

    /// The lists, with what each is called, for people and in JSON.
    fn lists(&self) -> [(&'static str, &'static str, &Vec<Change>); 7] {
        [
            ("Alpine", "alpine", &self.alpine),
            ("kernel arguments", "kernel_args", &self.arguments),
            ("packages asked for", "world", &self.world),
            ("packages", "packages", &self.packages),
            ("services", "services", &self.services),
            ("accounts", "accounts", &self.accounts),
            ("variables of templates", "variables", &self.variables),
        ]
    }

    fn is_empty(&self) -> bool {
        self.files.is_empty() && self.lists().iter().all(|(_, _, list)| list.is_empty())
    }

    fn write(&self, before: &Side, after: &Side, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "--- {}\n+++ {}", before.shown, after.shown)?;
        for (heading, _, list) in self.lists().into_iter().filter(|(_, _, list)| !list.is_empty()) {
            writeln!(out, "{heading}:")?;
            list.iter().try_for_each(|change| change.write(out))?;
        }
        if !self.files.is_empty() {
            writeln!(out, "files:")?;
        }
        self.files.iter().try_for_each(|changed| changed.write(out))?;
        if self.is_empty() {
            writeln!(out, "no difference")?;
        }
        if !self.not_compared.is_empty() {
            writeln!(out, "not compared, because only one of them says it: {}", self.not_compared.join(", "))?;
        }
        self.stale.iter().try_for_each(|why| writeln!(out, "{}", plain(why)))
    }

    fn describe(&self, before: &Side, after: &Side) -> Value {
        let mut value = json!({
            "before": before.shown,
            "after": after.shown,
            "same": self.is_empty(),
            "files": self.files.iter().map(Changed::describe).collect::<Vec<_>>(),
            "not_compared": self.not_compared,
            "stale_locks": self.stale,
        });
        if let Some(object) = value.as_object_mut() {
            for (_, key, list) in self.lists() {
                object.insert(key.to_owned(), list.iter().map(Change::describe).collect());
            }
        }
        value
    }
}

impl Change {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let name = self.name.escape_debug();
        // What is in a list has only its name.
        let value = |text: &str| if text.is_empty() { String::new() } else { format!(" {}", text.escape_debug()) };
        match (&self.before, &self.after) {
            (None, Some(after)) => writeln!(out, "  + {name}{}", value(after)),
            (Some(before), None) => writeln!(out, "  - {name}{}", value(before)),
            // Of two passwords nobody sees more than that they are not the same.
            (Some(before), Some(after)) if before == after => writeln!(out, "  ~ {name}: another {}", bare(before)),
            (before, after) => {
                let shown = |it: &Option<String>| format!("{:?}", it.as_deref().unwrap_or_default());
                let plain = |it: &Option<String>| {
                    it.as_deref().filter(|it| !it.is_empty() && !it.contains(char::is_control)).map(str::to_owned)
                };
                let [before, after] = [before, after].map(|it| plain(it).unwrap_or_else(|| shown(it)));
                writeln!(out, "  ~ {name}: {before} → {after}")
            }
        }
    }

    fn describe(&self) -> Value {
        json!({ "name": self.name, "before": self.before, "after": self.after })
    }
}

/// A word without its article.
fn bare(text: &str) -> &str {
    text.strip_prefix("a ").unwrap_or(text)
}

impl Changed {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Difference { path, before, after } = &self.difference;
        match (before, after) {
            (None, Some(entry)) => writeln!(out, "  + {path}: {}", summary(entry))?,
            (Some(entry), None) => return writeln!(out, "  - {path}: {}", summary(entry)),
            _ => {
                let properties = self.difference.properties().join(", ");
                let said = if properties.is_empty() { "content".to_owned() } else { properties };
                writeln!(out, "  ~ {path}: {said}")?;
            }
        }
        match (&self.contents, self.difference.contents()) {
            (Some(Contents::Lines(lines, more)), _) => {
                lines.iter().try_for_each(|line| writeln!(out, "      {line}"))?;
                if *more > 0 {
                    writeln!(out, "      … and {more} lines more")?;
                }
                Ok(())
            }
            (Some(Contents::Other), Some((old, new))) if before.is_some() => {
                let shown = |bytes: &[u8]| format!("{} bytes, SHA-256 {}", bytes.len(), Digest::of(bytes));
                writeln!(out, "      -{}\n      +{}", shown(old), shown(new))
            }
            (None, Some(_)) if before.is_some() => {
                writeln!(
                    out,
                    "      the lines are not shown, because there are keys, passwords or hashes of them among them"
                )
            }
            _ => Ok(()),
        }
    }

    fn describe(&self) -> Value {
        let Difference { path, before, after } = &self.difference;
        let lines = match &self.contents {
            Some(Contents::Lines(lines, 0)) => json!(lines),
            _ => Value::Null,
        };
        json!({
            "path": path,
            "before": before.as_ref().map(properties),
            "after": after.as_ref().map(properties),
            "diff": lines,
        })
    }
}

/// An entry in one line.
fn summary(entry: &Entry) -> String {
    let more = match &entry.node {
        Node::File(bytes) => format!(", {} bytes", bytes.len()),
        Node::Symlink(target) => format!(" to {}", target.escape_debug()),
        _ => String::new(),
    };
    let owner = entry.owner;
    format!("{} {:04o} {}:{}{more}", kind(&entry.node), entry.mode, owner.uid, owner.gid)
}

/// Compares what both have; what only one has is not compared.
fn both<T>(
    before: &Option<T>,
    after: &Option<T>,
    what: &'static str,
    not_compared: &mut Vec<&'static str>,
    compare: impl FnOnce(&T, &T) -> Vec<Change>,
) -> Vec<Change> {
    match (before, after) {
        (Some(before), Some(after)) => compare(before, after),
        (None, None) => Vec::new(),
        _ => {
            not_compared.push(what);
            Vec::new()
        }
    }
}

/// Names that only one of two sets has.
fn names(before: BTreeSet<String>, after: &BTreeSet<String>) -> Vec<Change> {
    let differing = before.symmetric_difference(after);
    let there = |set: &BTreeSet<String>, name: &String| set.contains(name).then(String::new);
    differing
        .map(|name| Change { name: name.clone(), before: there(&before, name), after: there(after, name) })
        .collect()
}

/// Names whose values are not alike.
fn values(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<Change> {
    let all: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differing = all.into_iter().filter(|name| before.get(*name) != after.get(*name));
    differing
        .map(|name| Change { name: name.clone(), before: before.get(name).cloned(), after: after.get(name).cloned() })
        .collect()
}

/// What is different about a package of one name; of two builds of one version, which they are.
fn another_package(name: &str, before: Option<&Package>, after: Option<&Package>) -> Option<Change> {
    if before == after {
        return None;
    }
    let is_rebuilt = before.zip(after).is_some_and(|(one, other)| one.version == other.version);
    let shown = |package: &Package| match is_rebuilt {
        true => format!("{} ({})", package.version, package.identity),
        false => package.version.clone(),
    };
    Some(Change { name: name.to_owned(), before: before.map(shown), after: after.map(shown) })
}

fn change(name: &str, before: &str, after: &str) -> Change {
    Change { name: name.to_owned(), before: Some(before.to_owned()), after: Some(after.to_owned()) }
}

/// What is in the runlevels of an overlay, as `RUNLEVEL/NAME`.
fn services(side: &Side) -> BTreeSet<String> {
    let found = side.tree.below("etc/runlevels/").filter(|(_, entry)| !entry.is_directory());
    found.map(|(path, _)| path.trim_start_matches("etc/runlevels/").to_owned()).collect()
}

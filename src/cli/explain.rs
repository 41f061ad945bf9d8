//! `bivouac explain`: every value, file, package and service of a profile, the layer that set it, and what that hid.

use std::io::Write;

use serde_json::{Value, json};

use super::progress::say;
use super::report::table;
use crate::build::{BaseAccounts, Finding, Recipe, Step, Subject, Topic};
use crate::config::Settings;
use crate::model::name::{ProfileName, nearest};
use crate::wire::apkovl::{Entry, Node, Tree};

/// What a list member that a layer took out has in place of a value.
const TAKEN_OUT: &str = "taken out";

/// A subject as it is shown.
struct Explained<'a> {
    subject: &'a Subject,
    /// What counts.
    last: &'a Step,
    /// What it hid, the newest first.
    hidden: Vec<&'a Step>,
    /// What is at the path, for files.
    entry: Option<&'a Entry>,
    /// What it is for, for variables whose declaration says so.
    meaning: Option<&'a str>,
}

/// Explains a profile, or `what` of it: a path, package, service, argument, user, variable or key.
pub(super) fn explain(
    settings: &Settings,
    profile: &ProfileName,
    what: Option<&str>,
    as_json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let recipe = Recipe::read(&settings.profiles, &settings.overlays, profile)?;
    let (tree, trail) = recipe.explained(&BaseAccounts::default());
    // Whoever looks for a mistake wants to see what there is; on the error stream, because programs read the other.
    if recipe.findings().iter().any(Finding::is_fatal) {
        say(&format!("{profile} has mistakes, and what they are about may be missing here: bivouac check {profile}"));
    }
    let all: Vec<Explained<'_>> =
        trail.iter().filter_map(|(subject, steps)| Explained::of(subject, steps, &tree, &recipe)).collect();
    // Who asks for what is written with `!` asks who took it out.
    let bare = what.map(|what| what.strip_prefix('!').unwrap_or(what));
    let chosen: Vec<&Explained<'_>> =
        all.iter().filter(|it| bare.is_none_or(|what| is_meant(it.subject, what))).collect();
    if let Some(what) = bare.filter(|_| chosen.is_empty()) {
        let keyed: Vec<String> = all.iter().flat_map(|it| with_keys(it.subject)).collect();
        let known = all.iter().flat_map(|it| names(it.subject)).chain(keyed.iter().map(String::as_str));
        let near = nearest(what.trim_matches('/'), known);
        let hint = near.map_or_else(
            || format!("; `bivouac explain {profile}` lists everything"),
            |near| format!("; did you mean `{near}`?"),
        );
        anyhow::bail!("profile `{profile}` has nothing called `{what}`{hint}");
    }
    if as_json {
        let list: Vec<Value> = chosen.iter().map(|it| it.describe()).collect();
        serde_json::to_writer_pretty(&mut *out, &list)?;
        writeln!(out)?;
        return Ok(());
    }
    let mut tables: Vec<String> = Topic::ALL.into_iter().filter_map(|kind| section(kind, &chosen)).collect();
    // Whoever asks for everything wants values; whoever asks for one wants to know it.
    if what.is_some() {
        tables.extend(meanings(&chosen));
    }
    out.write_all(tables.join("\n").as_bytes())?;
    Ok(())
}

impl<'a> Explained<'a> {
    fn of(subject: &'a Subject, steps: &'a [Step], tree: &'a Tree, recipe: &'a Recipe) -> Option<Self> {
        let (last, earlier) = steps.split_last()?;
        let entry = (subject.kind == Topic::File).then(|| tree.get(&subject.name)).flatten();
        let declared = (subject.kind == Topic::Variable).then(|| recipe.vars.get(&subject.name)).flatten();
        let meaning = declared.map(|it| it.description.as_str()).filter(|text| !text.is_empty());
        Some(Self { subject, last, hidden: earlier.iter().rev().collect(), entry, meaning })
    }

    /// What counts, in words.
    fn value(&self) -> String {
        match (self.entry, &self.last.said) {
            (_, None) => TAKEN_OUT.to_owned(),
            (Some(Entry { node: Node::Symlink(_), .. }), Some(said)) => said.clone(),
            (Some(entry), Some(said)) => format!("{:04o} {} {said}", entry.mode, entry.owner),
            (None, Some(said)) => said.clone(),
        }
    }

    fn row(&self) -> Vec<String> {
        let hidden: Vec<String> = self.hidden.iter().map(|step| hidden(step)).collect();
        [self.subject.name.clone(), self.value(), self.last.by.clone(), hidden.join("; ")]
            .map(|it| one_line(&it))
            .to_vec()
    }

    fn describe(&self) -> Value {
        let name = &self.subject.name;
        // The value of a list member is the member.
        let said =
            |step: &Step| step.said.as_ref().map(|said| if said.is_empty() { name.clone() } else { said.clone() });
        let hidden: Vec<Value> = self.hidden.iter().map(|step| json!({ "by": step.by, "value": said(step) })).collect();
        let mut all = json!({
            "kind": self.subject.kind.to_string(),
            "name": name,
            "value": said(self.last),
            "by": self.last.by,
            "hidden": hidden,
        });
        if let (Some(meaning), Some(all)) = (self.meaning, all.as_object_mut()) {
            all.insert("description".to_owned(), meaning.into());
        }
        if let (Some(entry), Some(all)) = (self.entry, all.as_object_mut()) {
            all.insert("mode".to_owned(), format!("{:04o}", entry.mode).into());
            all.insert("owner".to_owned(), entry.owner.to_string().into());
            match &entry.node {
                Node::File(bytes) => all.insert("size".to_owned(), bytes.len().into()),
                Node::Symlink(target) => all.insert("target".to_owned(), target.clone().into()),
                Node::Directory | Node::CharDevice { .. } | Node::BlockDevice { .. } | Node::Fifo => None,
            };
        }
        all
    }
}

/// A text of a profile as one line of a table, which the terminal takes for nothing else.
fn one_line(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut line, c| {
        if c.is_control() {
            line.extend(c.escape_debug())
        } else {
            line.push(c)
        }
        line
    })
}

/// What an earlier layer said, in words.
fn hidden(step: &Step) -> String {
    match step.said.as_deref() {
        None => format!("{TAKEN_OUT} ({})", step.by),
        Some("") => step.by.clone(),
        Some(said) => format!("{said} ({})", step.by),
    }
}

/// The table of one kind; nothing when there is nothing of it. A column that would be empty is left out.
fn section(kind: Topic, chosen: &[&Explained<'_>]) -> Option<String> {
    let rows: Vec<Vec<String>> = chosen.iter().filter(|it| it.subject.kind == kind).map(|it| it.row()).collect();
    if rows.is_empty() {
        return None;
    }
    let title = kind.to_string().to_uppercase();
    let header = [title.as_str(), "VALUE", "SET BY", "INSTEAD OF"];
    let shown: Vec<bool> = (0..header.len())
        .map(|column| rows.iter().any(|row| row.get(column).is_some_and(|it| !it.is_empty())))
        .collect();
    let header: Vec<&str> =
        header.into_iter().zip(&shown).filter(|(_, is_shown)| **is_shown).map(|(it, _)| it).collect();
    let kept =
        |row: Vec<String>| row.into_iter().zip(&shown).filter(|(_, is_shown)| **is_shown).map(|(it, _)| it).collect();
    Some(table(&header, rows.into_iter().map(kept).collect()))
}

/// What variables are for; nothing when none says.
fn meanings(chosen: &[&Explained<'_>]) -> Option<String> {
    let row = |it: &&Explained<'_>| Some([it.subject.name.as_str(), it.meaning?].map(one_line).to_vec());
    let rows: Vec<Vec<String>> = chosen.iter().filter_map(row).collect();
    (!rows.is_empty()).then(|| table(&["VARIABLE", "WHAT IT IS FOR"], rows))
}

/// The key of a profile under which things of a kind stand.
const fn keys(kind: Topic) -> &'static [&'static str] {
    match kind {
        Topic::Value => &[],
        Topic::Argument => &["kernel.args", "kernel"],
        Topic::Package => &["packages"],
        Topic::Service => &["services"],
        Topic::Account => &["users", "groups"],
        Topic::Network => &["network"],
        Topic::Variable => &["vars"],
        Topic::File | Topic::Mode | Topic::Owner => &["files"],
    }
}

/// Whether a person who writes `what` means this.
fn is_meant(subject: &Subject, what: &str) -> bool {
    if matches!(subject.kind, Topic::File | Topic::Mode | Topic::Owner) {
        let path = what.trim_matches('/');
        let is_path = |rest: &str| rest.is_empty() || rest.starts_with('/');
        if !path.is_empty() && subject.name.strip_prefix(path).is_some_and(is_path) {
            return true;
        }
    }
    let keys = keys(subject.kind);
    let below = keys.iter().find_map(|key| what.strip_prefix(key)?.strip_prefix('.'));
    keys.contains(&what) || names(subject).into_iter().any(|name| name == what || Some(name) == below)
}

/// The names of a thing as the key of a profile that says it, and that key: `users`, `users.kiosk.uid`.
fn with_keys(subject: &Subject) -> Vec<String> {
    let names = names(subject);
    let below = |key: &str| names.iter().map(|name| format!("{key}.{name}")).collect::<Vec<_>>();
    keys(subject.kind).iter().flat_map(|key| [vec![(*key).to_owned()], below(key)].concat()).collect()
}

/// Every name by which a person may call this: `default/sshd` is also `sshd`, `console=tty0` is also `console`, and a
/// property is found by what it is a property of.
fn names(subject: &Subject) -> Vec<&str> {
    let name = subject.name.as_str();
    let mut all = vec![name];
    match subject.kind {
        Topic::File | Topic::Mode | Topic::Owner => {}
        Topic::Argument => all.extend(name.split('=').next()),
        // A word of a world may say more than a name: `nano>8@edge`.
        Topic::Package => all.extend(name.trim_start_matches('!').split(['<', '>', '=', '~', '@']).next()),
        Topic::Service => all.extend(name.split('/')),
        Topic::Value | Topic::Account | Topic::Network | Topic::Variable => {
            all.extend(name.match_indices(['.', ' ']).map(|(end, _)| &name[..end]));
            // A member of a list may have blanks in it, as a line of `ssh-keys` has.
            all.extend(name.split_once(' ').map(|(_, member)| member));
            if subject.kind == Topic::Network {
                all.extend(name.strip_prefix("interfaces."));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(kind: Topic, name: &str, what: &str) -> bool {
        is_meant(&Subject { kind, name: name.to_owned() }, what)
    }

    #[test]
    fn a_thing_has_the_names_by_which_a_person_calls_it() {
        for (kind, name, what) in [
            (Topic::File, "etc/ssh/sshd_config", "etc/ssh/sshd_config"),
            (Topic::File, "etc/ssh/sshd_config", "/etc/ssh/sshd_config"),
            (Topic::Mode, "etc/ssh/sshd_config", "etc/ssh/"),
            (Topic::Service, "default/sshd", "sshd"),
            (Topic::Service, "default/sshd", "services.default"),
            (Topic::Argument, "console=ttyS0", "console"),
            (Topic::Package, "nano>8", "nano"),
            (Topic::Package, "nano", "packages.nano"),
            (Topic::Account, "kiosk.groups audio", "kiosk"),
            (Topic::Account, "kiosk.groups audio", "users.kiosk"),
            (Topic::Account, "kiosk.groups audio", "users.kiosk.groups"),
            (Topic::Value, "alpine.repositories main", "alpine.repositories"),
            (Topic::Value, "alpine.repositories main", "alpine"),
            (Topic::Network, "dns 10.0.0.1", "network.dns"),
            (Topic::Network, "interfaces.boot.20", "network.interfaces.boot.20"),
            (Topic::Network, "interfaces.boot.20", "boot.20"),
            (Topic::Account, "kiosk.ssh-keys ssh-ed25519 AAAA a", "ssh-ed25519 AAAA a"),
            (Topic::Variable, "host", "vars.host"),
        ] {
            assert!(meant(kind, name, what), "{name} is not {what}");
        }
        for (kind, name, what) in [
            (Topic::File, "etc/ssh/sshd_config", "etc/ss"),
            (Topic::File, "etc/ssh/sshd_config", "/"),
            (Topic::Service, "default/sshd", "ssh"),
            (Topic::Account, "kiosk.uid", "kio"),
            (Topic::Package, "nano", "na"),
        ] {
            assert!(!meant(kind, name, what), "{name} is {what}");
        }
    }
}

//! What of an archive a profile has words for: packages, services, the host name, the release, devices and pipes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::rules::Rule;
use super::{Became, Remark, fate, text};
use crate::apk::{WordError, parse_word};
use crate::build::accounts::{PASSWD, SHADOW};
use crate::build::merge::WORLD;
use crate::model::alpine::{Arch, Branch, ReleaseSpec};
use crate::model::name::ProfileName;
use crate::model::profile::{Profile, Runlevel, Special};
use crate::wire::apkovl::{Node, Tree};

const HOSTNAME: &str = "etc/hostname";
const REPOSITORIES: &str = "etc/apk/repositories";

/// Settings, and the paths they stand for.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) covered: BTreeSet<String>,
    packages: Vec<String>,
    services: BTreeMap<Runlevel, Vec<String>>,
    hostname: Option<String>,
    release: Option<ReleaseSpec>,
    arch: Option<Arch>,
    repositories: Vec<String>,
    nodes: BTreeMap<String, Special>,
    allows_empty_root_password: bool,
}

impl Settings {
    /// Reads the settings of an archive; `expected` is the tree without what was left out.
    pub(super) fn of(archive: &Tree, expected: &Tree, remarks: &mut Vec<Remark>) -> Self {
        let mut settings = Self::default();
        settings.world(expected, remarks);
        settings.runlevels(expected, remarks);
        settings.hostname(expected, remarks);
        settings.nodes(expected, remarks);
        settings.repositories(archive, remarks);
        settings.passwords(expected, remarks);
        settings.time_zone(expected, remarks);
        settings.arch = text(archive, "etc/apk/arch").and_then(|text| text.trim().parse().ok());
        settings
    }

    /// Init pastes the words of this file onto a command line, so only plain ones are taken (OVL-30 to OVL-32).
    fn world(&mut self, tree: &Tree, remarks: &mut Vec<Remark>) {
        let Some(text) = text(tree, WORLD) else { return };
        let mut note = |said: String| remarks.push(Remark { path: WORLD.to_owned(), became: Became::Noted(said) });
        let mut names = BTreeSet::new();
        for line in text.trim_start_matches('\u{feff}').lines() {
            let (line, comment) = line.split_once('#').map_or((line, None), |(line, rest)| (line, Some(rest)));
            if let Some(comment) = comment {
                note(format!("the comment `#{}` is left out (OVL-31)", comment.escape_debug()));
            }
            for word in line.split_ascii_whitespace() {
                match parse_word(word) {
                    Ok(dependency) if dependency.conflict => {
                        note(format!("`{word}`, which keeps a package out, is left out: a profile has no word for it"));
                    }
                    Ok(dependency) if !names.insert(dependency.name.clone()) => {
                        note(format!("`{word}` is left out, because an earlier line names `{}` too", dependency.name));
                    }
                    Ok(dependency) => {
                        if let Some(tag) = dependency.tag {
                            note(format!(
                                "`{word}` is wanted from the repository tagged `{tag}`, which a bundle has not; take the tag out"
                            ));
                        }
                        self.packages.push(word.to_owned());
                    }
                    Err(error) => note(format!("a word is left out: {} (OVL-30)", said(&error))),
                }
            }
        }
        self.covered.insert(WORLD.to_owned());
        remarks.push(setting(WORLD, format!("`packages`, {} of them", self.packages.len())));
    }

    fn runlevels(&mut self, tree: &Tree, remarks: &mut Vec<Remark>) {
        for level in Runlevel::ALL {
            let folder = format!("etc/runlevels/{level}/");
            let mut names = Vec::new();
            for (path, entry) in tree.below(&folder) {
                let name = path.strip_prefix(&folder).unwrap_or(path);
                let is_link = matches!(&entry.node, Node::Symlink(to) if to.strip_prefix("/etc/init.d/") == Some(name));
                if is_link && !name.starts_with('!') && is_valid(&format!("[services]\n{level} = [{}]", quoted(name))) {
                    names.push(name.to_owned());
                    self.covered.insert(path.to_owned());
                } else if !entry.is_directory() {
                    let said = "stays a file: it is not a link to the script of its name (OVL-27)";
                    remarks.push(Remark { path: path.to_owned(), became: Became::Noted(said.to_owned()) });
                }
            }
            if !names.is_empty() {
                remarks.push(setting(&folder, format!("`services.{level}`: {}", names.join(", "))));
                self.services.insert(level, names);
            }
        }
    }

    fn hostname(&mut self, tree: &Tree, remarks: &mut Vec<Remark>) {
        let Some(text) = text(tree, HOSTNAME) else { return };
        let name = text.strip_suffix('\n').unwrap_or_default();
        if is_valid(&format!("hostname = {}", quoted(name))) {
            self.hostname = Some(name.to_owned());
            self.covered.insert(HOSTNAME.to_owned());
            remarks.push(setting(HOSTNAME, format!("`hostname = \"{name}\"`")));
        } else {
            let said = "stays a file: it is not one line with a host name".to_owned();
            remarks.push(Remark { path: HOSTNAME.to_owned(), became: Became::Noted(said) });
        }
    }

    /// Devices and pipes, which a tree of files does not hold.
    fn nodes(&mut self, tree: &Tree, remarks: &mut Vec<Remark>) {
        for (path, entry) in tree.iter() {
            if let Some(node) = fate::special(&entry.node) {
                self.nodes.insert(path.to_owned(), node);
                self.covered.insert(path.to_owned());
                remarks.push(setting(path, format!("`nodes.{} = \"{node}\"`", quoted(path))));
            }
        }
    }

    /// The release and its repositories, from lines such as `https://mirror.example.net/alpine/v3.24/main`.
    fn repositories(&mut self, archive: &Tree, remarks: &mut Vec<Remark>) {
        let Some(text) = text(archive, REPOSITORIES) else { return };
        let mut note =
            |said: String| remarks.push(Remark { path: REPOSITORIES.to_owned(), became: Became::Noted(said) });
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let shown = line.escape_debug();
            let Some((release, repository)) = mirror(line) else {
                note(format!("`{shown}` is no repository of an Alpine mirror; its packages are not in the bundle"));
                continue;
            };
            match self.release {
                Some(known) if known != release => {
                    note(format!("`{shown}` is of another release than {known}, and a bundle is of one; left out"));
                }
                _ => {
                    self.release = Some(release);
                    if !self.repositories.contains(&repository) {
                        self.repositories.push(repository);
                    }
                }
            }
        }
        let said = match &self.release {
            Some(release) => format!("`alpine.release = \"{release}\"`, repositories {}", self.repositories.join(", ")),
            None => return,
        };
        // It is told as a setting, and not as left out too.
        remarks.retain(|it| it.path != REPOSITORIES || !matches!(it.became, Became::Dropped(_)));
        remarks.push(setting(REPOSITORIES, said));
    }

    fn passwords(&mut self, tree: &Tree, remarks: &mut Vec<Remark>) {
        let mut note = |path: &str, said: &str| {
            remarks.push(Remark { path: path.to_owned(), became: Became::Noted(said.to_owned()) });
        };
        let has_shadow = tree.get(SHADOW).is_some();
        self.allows_empty_root_password = [SHADOW, PASSWD].iter().any(|file| has_empty_root_password(tree, file));
        if self.allows_empty_root_password {
            note(
                SHADOW,
                "an account has no password at all, so `allow-empty-root-password` keeps it so: whoever stands at the \
                 machine logs in. Set a password and take that line out (OVL-16)",
            );
        } else if !has_shadow {
            note(
                SHADOW,
                "is not in the archive, so root had no password; the build gives root none that anybody could type \
                 (OVL-16)",
            );
        }
    }

    /// A link into `tzdata` may have led nowhere on the old machine, or another package brought the zones along.
    fn time_zone(&self, tree: &Tree, remarks: &mut Vec<Remark>) {
        const FILE: &str = "etc/localtime";
        let Some(Node::Symlink(target)) = tree.get(FILE).map(|entry| &entry.node) else { return };
        let Some(zone) = target.strip_prefix("/usr/share/zoneinfo/") else { return };
        if !self.packages.iter().any(|word| parse_word(word).is_ok_and(|it| it.name == "tzdata")) {
            let said = format!(
                "leads into the package `tzdata`, which the archive's world does not name; `timezone = {}` in place of the \
                 link brings it too",
                quoted(zone)
            );
            remarks.push(Remark { path: FILE.to_owned(), became: Became::Noted(said) });
        }
    }

    /// `profile.toml`.
    pub(super) fn text(&self, name: &ProfileName, files: &BTreeMap<String, Rule>) -> String {
        let mut text = format!("description = {}\n", quoted(&format!("{name}, imported from an archive of lbu")));
        let list = |names: &[String]| names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        if !self.packages.is_empty() {
            text.push_str("packages = [\n");
            for package in &self.packages {
                let _ = writeln!(text, "    {},", quoted(package));
            }
            text.push_str("]\n");
        }
        if let Some(name) = &self.hostname {
            let _ = writeln!(text, "hostname = {}", quoted(name));
        }
        if self.allows_empty_root_password {
            text.push_str("allow-empty-root-password = true   # as the archive has it; set a password instead\n");
        }
        if self.release.is_some() || self.arch.is_some() {
            text.push_str("\n[alpine]\n");
        }
        if let Some(release) = &self.release {
            let _ = writeln!(text, "release = \"{release}\"\nrepositories = [{}]", list(&self.repositories));
        }
        if let Some(arch) = &self.arch {
            let _ = writeln!(text, "arch = {}", quoted(arch.as_str()));
        }
        if !self.services.is_empty() {
            text.push_str("\n[services]\n");
        }
        for (level, names) in &self.services {
            let _ = writeln!(text, "{level} = [{}]", list(names));
        }
        if !self.nodes.is_empty() {
            text.push_str("\n[nodes]\n");
        }
        for (path, node) in &self.nodes {
            let _ = writeln!(text, "{} = \"{node}\"", quoted(path));
        }
        if !files.is_empty() {
            text.push_str("\n[files]\n");
        }
        for (path, rule) in files {
            let owner = rule.owner.map(|owner| format!("owner = \"{}:{}\"", owner.uid, owner.gid));
            let mode = rule.mode.map(|mode| format!("mode = \"{mode:04o}\""));
            let said: Vec<String> = [owner, mode].into_iter().flatten().collect();
            let _ = writeln!(text, "{} = {{ {} }}", quoted(path), said.join(", "));
        }
        text
    }
}

fn setting(path: &str, said: String) -> Remark {
    Remark { path: path.to_owned(), became: Became::Setting(said) }
}

/// A text as a basic string of TOML, which may be a key too.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            char if char.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(char))),
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether a profile may say this.
fn is_valid(toml: &str) -> bool {
    Profile::parse(toml).is_ok()
}

/// What is wrong with a word; words come from anywhere.
fn said(error: &WordError) -> String {
    error.to_string().escape_debug().to_string()
}

/// The release and repository of a mirror's URL.
fn mirror(line: &str) -> Option<(ReleaseSpec, String)> {
    let is_url = ["http://", "https://", "ftp://"].iter().any(|scheme| line.starts_with(scheme));
    let (rest, repository) = line.trim_end_matches('/').rsplit_once('/')?;
    let (_, release) = rest.rsplit_once('/')?;
    let release = match release {
        "latest-stable" => ReleaseSpec::LatestStable,
        branch => match branch.parse::<Branch>().ok()? {
            Branch::Edge => ReleaseSpec::Edge,
            branch => ReleaseSpec::Branch(branch),
        },
    };
    let is_valid = is_valid(&format!("[alpine]\nrepositories = [{}]", quoted(repository)));
    (is_url && is_valid && !repository.starts_with('!')).then(|| (release, repository.to_owned()))
}

/// Whether a file of accounts lets root in without a password: its second field is empty.
fn has_empty_root_password(tree: &Tree, file: &str) -> bool {
    let Some(Node::File(bytes)) = tree.get(file).map(|entry| &entry.node) else { return false };
    String::from_utf8_lossy(bytes).lines().any(|line| line.starts_with("root::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_can_be_a_key_and_a_value() {
        for text in ["a b", "\"'\\", "#=[]", "\t\u{7f}\u{85}\n", "ä\u{1f600}", ""] {
            let table: toml::Table = toml::from_str(&format!("{0} = {0}", quoted(text))).unwrap();
            assert_eq!(table[text].as_str(), Some(text));
        }
    }

    #[test]
    fn only_a_repository_of_a_mirror_is_one() {
        let found = |line: &str| mirror(line).map(|(release, repository)| format!("{release} {repository}"));
        for (line, expected) in [
            ("https://dl-cdn.alpinelinux.org/alpine/v3.24/main", "3.24 main"),
            ("http://mirror.example.net/pub/alpine/edge/testing/", "edge testing"),
            ("http://10.0.0.1/latest-stable/community", "latest-stable community"),
        ] {
            assert_eq!(found(line).as_deref(), Some(expected), "{line}");
        }
        for line in [
            "/media/sda1/apks",
            "@edge https://x/alpine/edge/main",
            "https://x/v3.24",
            "https://x/3/v3.x/main",
            "https://x/v3.24/!main",
        ] {
            assert_eq!(found(line), None, "{line}");
        }
    }
}

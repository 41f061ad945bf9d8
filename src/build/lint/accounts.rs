//! Passwords, users, their homes and keys.

use std::collections::{BTreeMap, BTreeSet};

use super::rule::{ACCOUNT_LINES, EMPTY_PASSWORD, HOME, OWN_ACCOUNTS, SHADOW_MODE, SSH_FOLDER};
use super::{Finding, Machine, bytes};
use crate::wire::apkovl::{Entry, Node};

/// The first id that Alpine gives to people.
const FIRST_PERSON: u32 = 1000;

/// The last id below `nobody`.
const LAST_PERSON: u32 = 65_533;

pub(super) fn look(machine: &Machine<'_>) -> Vec<Finding> {
    let mut found = passwords(machine);
    found.extend(shadow_mode(machine));
    found.extend(lines(machine));
    found.extend(own(machine));
    found.extend(homes(machine));
    found.extend(ssh(machine));
    found
}

/// What to do about a line that asks NIS for accounts. musl takes it for an account of that odd name, or for nothing.
const NO_NIS: &str = "take the line out: Alpine's C library asks no NIS, and takes `+` for the name of an account";

/// Whether a line of that name is for NIS: `+::::::`, `+@admins`, `-guest`.
fn is_of_nis(name: &str) -> bool {
    name.starts_with(['+', '-'])
}

/// OVL-16: whoever has an empty password field logs in without one.
fn passwords(machine: &Machine<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in ["etc/shadow", "etc/passwd"] {
        for line in machine.text(file).unwrap_or_default().lines() {
            let Some(name) = line.split_once(':').filter(|(_, rest)| rest.starts_with(':')).map(|(name, _)| name)
            else {
                continue;
            };
            let is_root = name == "root";
            let fix = if is_of_nis(name) { NO_NIS } else { "write `*` or a hash into the second field" };
            let finding = machine.at(
                EMPTY_PASSWORD,
                file,
                format!("{file} gives `{name}` an empty password"),
                "whoever stands at the machine logs in without one",
                if is_root {
                    format!("{fix}, or `allow-empty-root-password = true` into the profile")
                } else {
                    fix.to_owned()
                },
            );
            let is_allowed = is_root && machine.allows_empty_root_password;
            found.push(Finding {
                allowed: is_allowed.then(|| "the profile says `allow-empty-root-password`".to_owned()),
                is_final: is_root && !is_allowed,
                ..finding
            });
        }
    }
    found
}

/// OVL-17: only `[files]` can give it another mode.
fn shadow_mode(machine: &Machine<'_>) -> Option<Finding> {
    /// Root's own, and Alpine's `shadow`.
    const GROUPS: [u32; 2] = [0, 42];
    let entry = machine.tree.get("etc/shadow")?;
    (entry.mode & 0o137 != 0 || entry.owner.uid != 0 || !GROUPS.contains(&entry.owner.gid)).then(|| {
        machine.at(
            SHADOW_MODE,
            "etc/shadow",
            format!(
                "etc/shadow has the mode {:04o} and belongs to {}:{}",
                entry.mode, entry.owner.uid, entry.owner.gid
            ),
            "until Alpine's own scripts correct it, others may read the hashes",
            "take the rule for it out of `[files]`; Bivouac writes 0640",
        )
    })
}

/// OVL-23: lines no login program understands, or that name what is not there.
fn lines(machine: &Machine<'_>) -> Vec<Finding> {
    const EFFECT: &str = "nobody may be able to log in, and services that run as such a user fail";
    let mut found = Vec::new();
    let mut say = |file: &str, what: String, fix: &str| {
        found.push(machine.at(ACCOUNT_LINES, file, format!("{file}: {what}"), EFFECT, fix));
    };
    for (file, fields) in [("etc/passwd", 7), ("etc/group", 4), ("etc/shadow", 9)] {
        for line in machine.text(file).unwrap_or_default().lines() {
            let name = line.split(':').next().unwrap_or_default();
            if line.split(':').count() != fields {
                let fix = if is_of_nis(name) { NO_NIS } else { "write every field, or use `[users]`" };
                say(file, format!("the line of `{name}` has not {fields} fields"), fix);
            }
        }
    }
    let groups = text_or(machine, "etc/group", &machine.base.group);
    let ids: Vec<&str> = groups.lines().filter_map(|line| line.split(':').nth(2)).collect();
    let passwd = text_or(machine, "etc/passwd", &machine.base.passwd);
    for line in passwd.lines() {
        let field = |place: usize| line.split(':').nth(place).unwrap_or_default();
        let (name, uid, gid) = (field(0), field(2), field(3));
        if name == "root" && uid != "0" {
            say("etc/passwd", format!("root has the id {uid}"), "write 0; no other user can do root's work");
        }
        if !gid.is_empty() && !ids.contains(&gid) {
            let what = format!("`{name}` has the group {gid}, and etc/group has none of that id");
            say("etc/passwd", what, "add the group, such as with `[groups]`");
        }
    }
    if !passwd.lines().any(|line| line.starts_with("root:")) {
        say(
            "etc/passwd",
            "there is no line for root".to_owned(),
            "take the file out; Bivouac adds users to Alpine's own",
        );
    }
    found
}

/// What an author's own passwd, group or shadow says twice (OVL-23), and what it does not say (OVL-24).
fn own(machine: &Machine<'_>) -> Vec<Finding> {
    let files = [
        ("etc/passwd", &machine.base.passwd, "users"),
        ("etc/group", &machine.base.group, "groups"),
        ("etc/shadow", &machine.base.shadow, "users"),
    ];
    let mut found = Vec::new();
    for (file, base, table) in files {
        let Some(text) = machine.own.get(file).and_then(bytes).map(String::from_utf8_lossy) else { continue };
        let name = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
        let mut names = BTreeSet::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            if !names.insert(name(line)) {
                let what = format!("{file} has two lines of `{}`", name(line));
                let effect = "only the last one counts";
                found.push(machine.at(ACCOUNT_LINES, file, what, effect, "take one out"));
            }
        }
        let missing: Vec<String> = base.lines().map(name).filter(|name| !names.contains(name)).collect();
        if let [first, ..] = missing.as_slice() {
            let what = format!("{file} lacks {} of Alpine's own accounts, `{first}` among them", missing.len());
            let effect = "none: Bivouac adds them, because packages and services rely on them";
            let fix = format!("nothing; `[{table}]` in the profile says shorter what is different");
            found.push(machine.at(OWN_ACCOUNTS, file, what, effect, fix));
        }
    }
    for finding in &mut found {
        let path = finding.path.as_deref().unwrap_or_default();
        finding.by = machine.author(path);
    }
    found
}

fn text_or(machine: &Machine<'_>, path: &str, base: &str) -> String {
    machine.text(path).map_or_else(|| base.to_owned(), std::borrow::Cow::into_owned)
}

/// A person of `etc/passwd`.
struct Person {
    name: String,
    uid: u32,
    home: String,
    may_log_in: bool,
}

/// Everybody with a home below `home/`.
fn people(machine: &Machine<'_>) -> Vec<Person> {
    let passwd = text_or(machine, "etc/passwd", &machine.base.passwd);
    let person = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let home = fields.get(5)?.trim_matches('/').to_owned();
        let shell = fields.get(6).copied().unwrap_or_default();
        let may_log_in = !shell.ends_with("/nologin") && !shell.ends_with("/false");
        Some(Person { name: (*fields.first()?).to_owned(), uid: fields.get(2)?.parse().ok()?, home, may_log_in })
    };
    passwd.lines().filter_map(person).filter(|person| person.home.starts_with("home/")).collect()
}

/// OVL-21: a home that belongs to somebody else locks its user out.
fn homes(machine: &Machine<'_>) -> Vec<Finding> {
    const EFFECT: &str = "its user can write nothing there, and sshd ignores the user's keys";
    let people = people(machine);
    let mut wrong: BTreeMap<String, Finding> = BTreeMap::new();
    // Init's tar gives every link to root, whatever the archive says.
    let is_owned = |entry: &Entry| !matches!(entry.node, Node::Symlink(_));
    let in_homes = machine.tree.iter().filter(|(path, entry)| path.starts_with("home/") && is_owned(entry));
    for (path, entry) in in_homes {
        let owner = people.iter().find(|person| {
            path.strip_prefix(&person.home).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        let is_wrong = owner.map_or(entry.owner.uid == 0, |person| entry.owner.uid != person.uid);
        let user = path.split('/').nth(1).unwrap_or_default().to_owned();
        if !is_wrong || wrong.contains_key(&user) {
            continue;
        }
        let whose = if entry.owner.uid == 0 { "root".to_owned() } else { format!("the id {}", entry.owner.uid) };
        let fix = match owner {
            Some(person) => {
                format!("correct its owner in `[files]`: `\"{}/\" = {{ owner = \"{}:GID\" }}`", person.home, person.uid)
            }
            None => format!(
                "declare the user as [users.{user}], or give it to somebody with `[files]` and \
                 `\"home/{user}/\" = {{ owner = \"UID:GID\" }}`"
            ),
        };
        let finding = machine.at(HOME, path, format!("`{path}` would belong to {whose}"), EFFECT, fix);
        wrong.insert(user, finding);
    }
    let is_missing = |person: &&Person| {
        person.may_log_in
            && (FIRST_PERSON..=LAST_PERSON).contains(&person.uid)
            && machine.tree.get(&person.home).is_none()
    };
    let missing = people.iter().filter(is_missing).map(|person| {
        let finding = machine.at(
            HOME,
            &person.home,
            format!("`{}` of the user `{}` would not be there", person.home, person.name),
            "the user logs in at `/` and can write nothing",
            format!("declare the user as [users.{}], which makes the home", person.name),
        );
        Finding { by: machine.author("etc/passwd"), ..finding }
    });
    wrong.into_values().chain(missing).collect()
}

/// OVL-22: what sshd's StrictModes refuses of a home, its `.ssh` and the keys in it.
fn ssh(machine: &Machine<'_>) -> Vec<Finding> {
    let people = people(machine);
    let mut found = Vec::new();
    for (path, entry) in machine.tree.iter() {
        let keys = path.strip_suffix("/authorized_keys").unwrap_or(path);
        let home = keys.strip_suffix("/.ssh").unwrap_or(path);
        // A link is as open as what it leads to, and a home without keys may be as open as its user likes.
        if machine.tree.get(&format!("{home}/.ssh")).is_none() || matches!(entry.node, Node::Symlink(_)) {
            continue;
        }
        let uid = people.iter().find(|person| person.home == home).map(|person| person.uid);
        let is_foreign = entry.owner.uid != 0 && uid.is_some_and(|uid| uid != entry.owner.uid);
        if entry.mode & 0o022 != 0 || is_foreign {
            found.push(machine.at(
                SSH_FOLDER,
                path,
                format!("`{path}` has the mode {:04o} and belongs to {}", entry.mode, entry.owner.uid),
                "sshd's StrictModes ignores the keys, and the user cannot log in with them",
                "take its rule out of `[files]`; Bivouac makes homes and keys such that only their user may write them",
            ));
        }
    }
    found
}

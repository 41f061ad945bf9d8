//! Users and groups of a profile on top of those every Alpine has (OVL-24): `passwd`, `group` and `shadow` are added to,
//! never replaced.

use std::collections::{BTreeMap, BTreeSet};

use super::lint::Finding;
use super::lint::rule::ACCOUNT_LINES;
use super::merge::{described, put};
use super::trail::{BIVOUAC, Topic, Trail};
use crate::model::profile::{Group, Owner, User};
use crate::wire::apkovl::{Entry, Node, Tree};

/// The three files, relative to the machine's root.
pub(super) const PASSWD: &str = "etc/passwd";
/// See [`PASSWD`].
pub(super) const GROUP: &str = "etc/group";
/// See [`PASSWD`].
pub(super) const SHADOW: &str = "etc/shadow";

/// What an account of the base has in place of a password: nobody logs in with it.
const NO_PASSWORD: &str = "*";

/// The login shell of a user for whom the profile names none.
const SHELL: &str = "/bin/ash";

/// The accounts of Alpine's base, which packages and services rely on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseAccounts {
    /// `etc/passwd`.
    pub passwd: String,
    /// `etc/group`.
    pub group: String,
    /// `etc/shadow`.
    pub shadow: String,
}

impl Default for BaseAccounts {
    /// Those of Alpine 3.20 and newer, for checks before any package is there; a build takes them from the package.
    fn default() -> Self {
        Self {
            passwd: include_str!("base/passwd").to_owned(),
            group: include_str!("base/group").to_owned(),
            shadow: include_str!("base/shadow").to_owned(),
        }
    }
}

/// What a profile says about accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    pub(super) users: BTreeMap<String, User>,
    pub(super) groups: BTreeMap<String, Group>,
    pub(super) allows_empty_root_password: bool,
}

/// Lines of fields between colons, the first of which is their name.
struct Lines(Vec<Vec<String>>);

impl Lines {
    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        Self(lines.map(|line| line.split(':').map(str::to_owned).collect()).collect())
    }

    /// The line of a name.
    fn get(&self, name: &str) -> Option<&Vec<String>> {
        self.0.iter().find(|fields| fields.first().is_some_and(|it| it == name))
    }

    /// Puts a line in the place of the one of the same name, or at the end.
    fn put(&mut self, line: Vec<String>) {
        let same = |fields: &&mut Vec<String>| fields.first() == line.first();
        match self.0.iter_mut().find(same) {
            Some(there) => *there = line,
            None => self.0.push(line),
        }
    }

    /// A number that a name has in one of its fields.
    fn id(&self, name: &str, field: usize) -> Option<u32> {
        self.get(name)?.get(field)?.parse().ok()
    }

    fn text(&self) -> String {
        self.0.iter().map(|fields| fields.join(":") + "\n").collect()
    }
}

/// A base file with what the overlay's own file, if there is one, says in place of it or beyond it.
fn with_own(base: &str, tree: &Tree, path: &str) -> Lines {
    let mut lines = Lines::parse(base);
    if let Some(Node::File(own)) = tree.get(path).map(|entry| &entry.node) {
        for line in Lines::parse(&String::from_utf8_lossy(own)).0 {
            lines.put(line);
        }
    }
    lines
}

/// What came of writing them.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Every user's home, and whose it is.
    pub(super) homes: Vec<(String, Owner)>,
    /// Accounts that could not be written.
    pub(super) findings: Vec<Finding>,
}

/// What nobody could log in as, because the account would not be there.
const NO_ACCOUNT: &str = "the account is not made: nobody can log in as it, and nothing can run as it";

/// An account that no machine could have (OVL-23): what is wrong with it, and the key that says so.
fn impossible(name: &str, key: &[&str], why: &str, effect: &str, fix: impl Into<String>) -> Finding {
    Finding::new(ACCOUNT_LINES, format!("account `{name}`: {why}"), effect, fix).in_key(key).left_out()
}

impl Accounts {
    /// Writes `shadow`, and `passwd` and `group` where they differ from Alpine's own, and every user's home with its
    /// keys.
    pub(super) fn write(&self, base: &BaseAccounts, tree: &mut Tree, trail: &mut Trail) -> Written {
        let mut written = Written::default();
        let findings = &mut written.findings;
        let is_own = [PASSWD, GROUP].iter().any(|path| tree.get(path).is_some());
        let mut passwd = with_own(&base.passwd, tree, PASSWD);
        let mut group = with_own(&base.group, tree, GROUP);
        let mut shadow = with_own(&base.shadow, tree, SHADOW);
        self.groups(&mut group, findings);
        // Every user's own group first, because users may be in each other's.
        for (name, user) in &self.users {
            findings.extend(self.user(name, user, &mut passwd, &mut group, &mut shadow).err().map(|it| *it));
        }
        for (name, user) in &self.users {
            findings.extend(user.groups.iter().filter_map(|wanted| join(name, wanted, &mut group).err().map(|it| *it)));
        }
        self.root(&mut shadow, tree);
        // Whoever is in passwd has a line in shadow, or no login program would know what to do (OVL-23).
        for fields in &passwd.0 {
            let name = fields.first().cloned().unwrap_or_default();
            if shadow.get(&name).is_none() {
                shadow.put(shadow_line(&name, NO_PASSWORD));
            }
        }
        for (path, lines) in [(PASSWD, &passwd), (GROUP, &group)] {
            findings.extend(self.doubled(path, lines, tree, trail));
        }
        let mut put = |path, lines: &Lines, tree: &mut Tree, trail: &mut Trail| {
            findings.extend(write(tree, trail, path, lines).err().map(|it| *it));
        };
        if is_own || !self.users.is_empty() || !self.groups.is_empty() {
            put(PASSWD, &passwd, tree, trail);
            put(GROUP, &group, tree, trail);
        }
        put(SHADOW, &shadow, tree, trail);
        for (name, user) in &self.users {
            match self.home(name, user, &passwd, tree, trail) {
                Ok(home) => written.homes.extend(home),
                Err(finding) => written.findings.push(*finding),
            }
        }
        written
    }

    fn groups(&self, group: &mut Lines, findings: &mut Vec<Finding>) {
        for (name, wanted) in &self.groups {
            let Some(id) = wanted.gid.or(group.id(name, 2)) else {
                let fix = format!("write `gid` into [groups.{name}]");
                findings.push(impossible(name, &["groups", name], "the group has no id", "the group is not made", fix));
                continue;
            };
            let members = group.get(name).and_then(|fields| fields.get(3)).cloned().unwrap_or_default();
            group.put(vec![name.clone(), "x".to_owned(), id.to_string(), members]);
        }
    }

    fn user(
        &self,
        name: &str,
        user: &User,
        passwd: &mut Lines,
        group: &mut Lines,
        shadow: &mut Lines,
    ) -> Result<(), Box<Finding>> {
        let known = passwd.get(name).cloned().unwrap_or_default();
        let field = |place: usize| known.get(place).filter(|text| !text.is_empty()).cloned();
        let uid = user.uid.or(passwd.id(name, 2)).ok_or_else(|| {
            let fix = format!("write `uid` into [users.{name}]");
            impossible(name, &["users", name], "the user has no id", NO_ACCOUNT, fix)
        })?;
        let said = user.gid.or(passwd.id(name, 3)).or(group.id(name, 2));
        let gid = said.unwrap_or(uid);
        // A user without a group of that id gets one of its own name.
        match group.0.iter().find(|fields| fields.get(2).is_some_and(|id| *id == gid.to_string())) {
            Some(other) if said.is_none() => {
                let other = other.first().map(String::as_str).unwrap_or_default();
                let why = format!("the user's own group would have the id {gid}, which is the group `{other}`");
                let effect = format!("the user could read and write whatever the group `{other}` may");
                let fix = format!("write `gid` into [users.{name}], or choose another `uid`");
                return Err(Box::new(impossible(name, &["users", name, "uid"], &why, &effect, fix)));
            }
            Some(_) => {}
            None if group.get(name).is_some() => {
                let why = format!("no group has the id {gid}, and the group `{name}` has another one");
                let effect = "its files would belong to a group without a name, and be in no group it is in";
                let fix = format!("write the group's id as `gid` into [users.{name}]");
                return Err(Box::new(impossible(name, &["users", name, "gid"], &why, effect, fix)));
            }
            None => group.put(vec![name.to_owned(), "x".to_owned(), gid.to_string(), String::new()]),
        }
        passwd.put(vec![
            name.to_owned(),
            "x".to_owned(),
            uid.to_string(),
            gid.to_string(),
            user.comment.clone().or(field(4)).unwrap_or_else(|| name.to_owned()),
            user.home.clone().or(field(5)).unwrap_or_else(|| format!("/home/{name}")),
            user.shell.clone().or(field(6)).unwrap_or_else(|| SHELL.to_owned()),
        ]);
        if let Some(password) = &user.password {
            shadow.put(shadow_line(name, password));
        } else if shadow.get(name).is_none() {
            shadow.put(shadow_line(name, NO_PASSWORD));
        }
        Ok(())
    }

    /// Alpine's own root has no password at all (OVL-16); here it has none that anybody could type, unless a layer
    /// brings one or says in so many words that it shall be empty.
    fn root(&self, shadow: &mut Lines, tree: &Tree) {
        let is_set = self.users.get("root").is_some_and(|root| root.password.is_some());
        let own = match tree.get(SHADOW).map(|entry| &entry.node) {
            Some(Node::File(own)) => Lines::parse(&String::from_utf8_lossy(own)).get("root").is_some(),
            _ => false,
        };
        if !is_set && !own {
            let password = if self.allows_empty_root_password { "" } else { NO_PASSWORD };
            shadow.put(shadow_line("root", password));
        }
    }

    /// Names that share an id, which is the third field of a line. To the kernel they are one.
    fn doubled(&self, path: &'static str, lines: &Lines, tree: &Tree, trail: &Trail) -> Vec<Finding> {
        let (what, table, id_key) = if path == PASSWD { ("user", "users", "uid") } else { ("group", "groups", "gid") };
        let is_said = |name: &str| match table {
            "users" => self.users.contains_key(name),
            _ => self.groups.contains_key(name),
        };
        let own = match tree.get(path).map(|entry| &entry.node) {
            Some(Node::File(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        };
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        let mut found = Vec::new();
        for fields in &lines.0 {
            let (Some(name), Some(id)) = (fields.first(), fields.get(2)) else { continue };
            let Some(other) = seen.insert(id, name).filter(|other| other != name) else { continue };
            // Of the two, the one that a layer wrote; of two such, the later.
            let (name, other) =
                if !is_said(name) && is_said(other) { (other, name.as_str()) } else { (name.as_str(), other) };
            let why = format!("the {what} has the id {id}, which `{other}` has too");
            let effect = if path == PASSWD {
                "both are one user to the kernel: each may do what the other may, and files of both show under one name"
            } else {
                "both are one group to the kernel: who is in one may do what the other may"
            };
            let finding = impossible(name, &[table, name, id_key], &why, effect, "choose another id");
            let line = own.lines().position(|line| line.split(':').next() == Some(name));
            found.push(match (line, trail.owner(Topic::File, path)) {
                (Some(line), Some(layer)) if !is_said(name) => {
                    let what = format!("{path}, line {}: {}", line + 1, finding.what);
                    Finding { what, key: Vec::new(), ..finding }.at(path).by(layer)
                }
                _ => finding,
            });
        }
        found
    }

    /// A user's home and keys, and whose they are (OVL-21, OVL-22).
    fn home(
        &self,
        name: &str,
        user: &User,
        passwd: &Lines,
        tree: &mut Tree,
        trail: &mut Trail,
    ) -> Result<Option<(String, Owner)>, Box<Finding>> {
        let (Some(uid), Some(gid)) = (passwd.id(name, 2), passwd.id(name, 3)) else { return Ok(None) };
        let home = passwd.get(name).and_then(|fields| fields.get(5)).map(|home| home.trim_matches('/').to_owned());
        let home = home.unwrap_or_default();
        let is_new = tree.get(&home).is_none();
        // Homes of daemons, such as /dev/null, are not this profile's to make.
        let is_wanted = user.home.is_some() || home.starts_with("home/") || !user.ssh_keys.is_empty();
        if home.is_empty() || (is_new && !is_wanted) {
            return Ok(None);
        }
        let mut place = |path: String, entry: Entry, property: &str| {
            let by = format!("{BIVOUAC}, from `users.{name}{property}`");
            trail.say(Topic::File, path.clone(), &by, described(&entry));
            put(tree, &path, entry, &format!("[users.{name}]"))
        };
        if is_new {
            place(home.clone(), Entry { mode: 0o700, ..Entry::directory() }, "")?;
        }
        if !user.ssh_keys.is_empty() {
            let keys: String = user.ssh_keys.iter().map(|key| format!("{key}\n")).collect();
            place(format!("{home}/.ssh"), Entry { mode: 0o700, ..Entry::directory() }, ".ssh-keys")?;
            place(format!("{home}/.ssh/authorized_keys"), Entry { mode: 0o600, ..Entry::file(keys) }, ".ssh-keys")?;
        }
        Ok(Some((home, Owner { uid, gid })))
    }
}

/// Puts one of the three files in. Lines of a layer's own file are in it too.
fn write(tree: &mut Tree, trail: &mut Trail, path: &str, lines: &Lines) -> Result<(), Box<Finding>> {
    let own = trail.owner(Topic::File, path).map(|own| format!(" and the lines of {own}"));
    let by = format!("{BIVOUAC}, from Alpine's own accounts, `users`, `groups`{}", own.unwrap_or_default());
    let entry = Entry::file(lines.text());
    trail.say(Topic::File, path, &by, described(&entry));
    put(tree, path, entry, "the accounts")
}

fn shadow_line(name: &str, password: &str) -> Vec<String> {
    // No day of the last change: it would make the bundle depend on the day it was built.
    [name, password, "", "0", "", "", "", "", ""].map(str::to_owned).to_vec()
}

/// Puts a user into a group.
fn join(name: &str, wanted: &str, group: &mut Lines) -> Result<(), Box<Finding>> {
    let known = group.0.iter().filter_map(|fields| fields.first()).cloned().collect::<BTreeSet<_>>();
    let Some(line) = group.0.iter_mut().find(|fields| fields.first().is_some_and(|it| it == wanted)) else {
        let near = crate::model::name::nearest(wanted, known.iter().map(String::as_str));
        let hint = near.map_or_else(
            || format!("declare it as [groups.{wanted}] with its `gid`"),
            |near| format!("did you mean `{near}`?"),
        );
        let effect = "the user is not in it, and may not use what it opens: sound, screens, devices";
        let why = format!("there is no group `{wanted}`");
        return Err(Box::new(impossible(name, &["users", name, "groups", wanted], &why, effect, hint)));
    };
    line.resize(4, String::new());
    if let Some(members) = line.get_mut(3)
        && !members.split(',').any(|member| member == name)
    {
        let comma = if members.is_empty() { "" } else { "," };
        members.push_str(&format!("{comma}{name}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(toml: &str) -> Accounts {
        let layer = crate::model::profile::Layer::parse(toml).unwrap();
        let allows_empty_root_password = layer.allow_empty_root_password.unwrap_or_default();
        Accounts { users: layer.users, groups: layer.groups, allows_empty_root_password }
    }

    fn text(tree: &Tree, path: &str) -> String {
        match tree.get(path).map(|entry| &entry.node) {
            Some(Node::File(bytes)) => String::from_utf8(bytes.to_vec()).unwrap(),
            other => panic!("{path}: {other:?}"),
        }
    }

    fn line(tree: &Tree, path: &str, name: &str) -> String {
        let text = text(tree, path);
        let found: Vec<&str> = text.lines().filter(|line| line.starts_with(&format!("{name}:"))).collect();
        assert_eq!(found.len(), 1, "{name} in {path}: {found:?}");
        found[0].to_owned()
    }

    #[test]
    fn without_accounts_only_the_passwords_are_written_and_root_has_none_to_type() {
        let mut tree = Tree::default();
        let homes = accounts("").write(&BaseAccounts::default(), &mut tree, &mut Trail::default()).homes;
        assert!(homes.is_empty() && tree.get(PASSWD).is_none() && tree.get(GROUP).is_none());
        assert_eq!(line(&tree, SHADOW, "root"), "root:*::0:::::");
        assert_eq!(line(&tree, SHADOW, "sshd"), "sshd:!::0:::::");
        let mut tree = Tree::default();
        accounts("allow-empty-root-password = true").write(&BaseAccounts::default(), &mut tree, &mut Trail::default());
        assert_eq!(line(&tree, SHADOW, "root"), "root:::0:::::");
    }

    #[test]
    fn a_user_is_added_to_the_accounts_of_the_base() {
        let toml = "[users.kiosk]\nuid = 1000\ngroups = [\"audio\", \"printers\"]\npassword = \"$6$s$h\"\n\
                    ssh-keys = [\"ssh-ed25519 AAAA a\"]\n[users.root]\nssh-keys = [\"ssh-ed25519 AAAA b\"]\n\
                    [groups.printers]\ngid = 200\n[groups.audio]\n";
        let mut tree = Tree::default();
        let homes = accounts(toml).write(&BaseAccounts::default(), &mut tree, &mut Trail::default()).homes;
        assert_eq!(line(&tree, PASSWD, "kiosk"), "kiosk:x:1000:1000:kiosk:/home/kiosk:/bin/ash");
        assert_eq!(line(&tree, PASSWD, "nobody"), "nobody:x:65534:65534:nobody:/:/sbin/nologin");
        assert_eq!(line(&tree, GROUP, "kiosk"), "kiosk:x:1000:");
        assert_eq!(line(&tree, GROUP, "audio"), "audio:x:18:kiosk");
        assert_eq!(line(&tree, GROUP, "printers"), "printers:x:200:kiosk");
        assert_eq!(line(&tree, SHADOW, "kiosk"), "kiosk:$6$s$h::0:::::");
        assert_eq!(text(&tree, "home/kiosk/.ssh/authorized_keys"), "ssh-ed25519 AAAA a\n");
        assert_eq!(text(&tree, "root/.ssh/authorized_keys"), "ssh-ed25519 AAAA b\n");
        let kiosk = ("home/kiosk".to_owned(), Owner { uid: 1000, gid: 1000 });
        assert_eq!(homes, [kiosk, ("root".to_owned(), Owner { uid: 0, gid: 0 })]);
    }

    #[test]
    fn the_files_of_a_layer_add_to_the_base_and_do_not_replace_it() {
        let mut tree = Tree::default();
        tree.insert(PASSWD, Entry::file("root:x:0:0:me:/root:/bin/sh\nown:x:900:900::/srv:/bin/false\n"));
        tree.insert(SHADOW, Entry::file("root:$6$s$h::0:::::\n"));
        accounts("").write(&BaseAccounts::default(), &mut tree, &mut Trail::default());
        assert_eq!(line(&tree, PASSWD, "root"), "root:x:0:0:me:/root:/bin/sh");
        assert_eq!(line(&tree, PASSWD, "daemon"), "daemon:x:2:2:daemon:/sbin:/sbin/nologin");
        assert_eq!(line(&tree, SHADOW, "root"), "root:$6$s$h::0:::::");
        assert_eq!(line(&tree, SHADOW, "own"), "own:*::0:::::");
    }

    #[test]
    fn a_user_whose_group_is_there_is_put_into_it_and_its_members_stay() {
        let toml = "[groups.kiosk]\ngid = 200\n[users.alice]\nuid = 1001\ngroups = [\"kiosk\", \"audio\"]\n\
                    [users.audio]\nuid = 1002\n[users.kiosk]\nuid = 1000\n";
        let mut tree = Tree::default();
        accounts(toml).write(&BaseAccounts::default(), &mut tree, &mut Trail::default());
        assert_eq!(line(&tree, GROUP, "kiosk"), "kiosk:x:200:alice");
        assert_eq!(line(&tree, GROUP, "audio"), "audio:x:18:alice");
        assert_eq!(line(&tree, PASSWD, "kiosk"), "kiosk:x:1000:200:kiosk:/home/kiosk:/bin/ash");
    }

    #[test]
    fn accounts_that_contradict_themselves_are_refused() {
        for (toml, said) in [
            ("[users.kiosk]\ncomment = \"x\"", "account `kiosk`: the user has no id; write `uid` into [users.kiosk]"),
            ("[groups.x]\n", "account `x`: the group has no id"),
            ("[users.kiosk]\nuid = 2\ngid = 100", "account `kiosk`: the user has the id 2, which `daemon` has too"),
            ("[users.backup]\nuid = 42", "own group would have the id 42, which is the group `shadow`"),
            (
                "[users.audio]\nuid = 1002\ngid = 1002",
                "no group has the id 1002, and the group `audio` has another one",
            ),
            ("[users.kiosk]\nuid = 1000\ngroups = [\"audoi\"]", "there is no group `audoi`; did you mean `audio`?"),
            ("[users.kiosk]\nuid = 1000\ngroups = [\"zzz\"]", "there is no group `zzz`; declare it as [groups.zzz]"),
        ] {
            let written = accounts(toml).write(&BaseAccounts::default(), &mut Tree::default(), &mut Trail::default());
            let [finding] = &written.findings[..] else { panic!("{toml}: {:?}", written.findings) };
            let text = format!("{}; {}", finding.what, finding.fix);
            assert!(text.contains(said) && finding.rule == ACCOUNT_LINES, "{toml}: {text}");
        }
    }
}

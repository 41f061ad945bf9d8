//! Puts the layers of a profile on top of each other. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::accounts::{GROUP, PASSWD, SHADOW};
use super::layers::Source;
use super::trail::{BIVOUAC, Topic, Trail};
use super::{BuildError, OVERLAY_FILE};
use crate::model::alpine::{Arch, Flavor, ReleaseSpec};
use crate::model::profile::network::Network;
use crate::model::profile::variable::{Declaration, Declared, Kind, Value, Variable};
use crate::model::profile::{Allowed, FileRule, Group, Owner, Runlevel, User};
use crate::model::template::SUFFIX;
use crate::wire::apkovl::{Entry, Node, Tree};

/// The file whose lines are merged with every layer's `packages`.
pub(super) const WORLD: &str = "etc/apk/world";

/// A file that more than one layer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadowed {
    /// The path on the machine.
    pub path: String,
    /// Whose file counts.
    pub by: String,
    /// Whose does not.
    pub hidden: String,
}

/// Which Alpine a machine runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlpineChoice {
    /// The release.
    pub release: ReleaseSpec,
    /// The kernel flavor.
    pub flavor: Flavor,
    /// The architecture.
    pub arch: Arch,
    /// The repositories packages may come from, in order.
    pub repositories: Vec<String>,
}

/// What layers say of the owner and mode of a path or tree.
pub(super) type Rules = BTreeMap<String, Vec<(String, FileRule)>>;

/// All layers as one.
#[derive(Debug, Clone, Default)]
pub(super) struct Merged {
    pub(super) description: String,
    pub(super) release: Option<ReleaseSpec>,
    pub(super) flavor: Option<Flavor>,
    pub(super) arch: Option<Arch>,
    pub(super) repositories: Vec<String>,
    pub(super) packages: Vec<String>,
    pub(super) services: BTreeMap<Runlevel, Vec<String>>,
    pub(super) kernel_args: Vec<String>,
    pub(super) users: BTreeMap<String, User>,
    pub(super) groups: BTreeMap<String, Group>,
    pub(super) hostname: Option<String>,
    pub(super) timezone: Option<String>,
    pub(super) keymap: Option<String>,
    pub(super) network: Option<Network>,
    pub(super) allows_empty_root_password: bool,
    pub(super) vars: BTreeMap<String, Declaration>,
    pub(super) allowed: Vec<Allowed>,
    /// The rules of `[files]` by their key, each with its layer, first to last.
    pub(super) rules: Rules,
    /// With the text of each template in the place of its file.
    pub(super) tree: Tree,
    /// The files of the tree that are templates yet.
    pub(super) templates: BTreeSet<String>,
    pub(super) shadowed: Vec<Shadowed>,
    pub(super) trail: Trail,
}

/// Merges layers: a later word wins, lists add up, `!name` takes one out.
pub(super) fn merge(sources: Vec<Source>) -> Result<Merged, BuildError> {
    let mut merged = Merged::default();
    for source in sources {
        merged.add(source)?;
    }
    Ok(merged)
}

/// A list that layers add to and take from.
struct List<'a> {
    items: &'a mut Vec<String>,
    trail: &'a mut Trail,
    topic: Topic,
    /// Before each name in the trail: the runlevel of a service, the user of a group.
    prefix: String,
    /// What one is called in messages.
    what: &'static str,
}

impl List<'_> {
    /// Adds a name once, or takes it out when it is written with `!`.
    fn add(&mut self, name: &str, origin: &str) -> Result<(), BuildError> {
        let key = |name: &str| format!("{}{name}", self.prefix);
        if let Some(out) = name.strip_prefix('!') {
            let before = self.items.len();
            self.items.retain(|known| known != out);
            if self.items.len() == before {
                let (name, origin) = (out.to_owned(), origin.to_owned());
                return Err(BuildError::NothingToRemove { what: self.what, name, origin });
            }
            self.trail.take_out(self.topic, key(out), origin);
        } else {
            if !self.items.iter().any(|known| known == name) {
                self.items.push(name.to_owned());
            }
            self.trail.say(self.topic, key(name), origin, "");
        }
        Ok(())
    }

    fn add_all(&mut self, names: &[String], origin: &str) -> Result<(), BuildError> {
        names.iter().try_for_each(|name| self.add(name, origin))
    }
}

impl Merged {
    fn add(&mut self, source: Source) -> Result<(), BuildError> {
        let Source { origin, layer, files } = source;
        // What a layer removes is what earlier ones brought.
        for path in &layer.remove {
            self.remove(path, &origin)?;
        }
        for (path, entry) in files {
            if path == WORLD {
                let Node::File(bytes) = &entry.node else {
                    return Err(BuildError::TypeClash { path, origin });
                };
                let text = String::from_utf8_lossy(bytes).into_owned();
                let names: Vec<String> = text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
                self.packages().add_all(&names, &origin)?;
                continue;
            }
            self.place(&origin, path, entry)?;
        }
        self.packages().add_all(&layer.packages, &origin)?;
        for (level, names) in &layer.services {
            let (trail, items) = (&mut self.trail, self.services.entry(*level).or_default());
            let prefix = format!("{level}/");
            List { items, trail, topic: Topic::Service, prefix, what: "service" }.add_all(names, &origin)?;
        }
        self.arguments().add_all(&layer.kernel.args, &origin)?;
        self.repositories().add_all(&layer.alpine.repositories, &origin)?;
        // A profile's description is its own; an overlay's is about the overlay.
        self.description = layer.description;
        self.win("alpine.release", &origin, layer.alpine.release, |it| &mut it.release);
        self.win("alpine.flavor", &origin, layer.alpine.flavor, |it| &mut it.flavor);
        self.win("alpine.arch", &origin, layer.alpine.arch, |it| &mut it.arch);
        self.win("hostname", &origin, layer.hostname, |it| &mut it.hostname);
        self.win("timezone", &origin, layer.timezone, |it| &mut it.timezone);
        self.win("keymap", &origin, layer.keymap, |it| &mut it.keymap);
        if let Some(allows) = layer.allow_empty_root_password {
            self.trail.say(Topic::Value, "allow-empty-root-password", &origin, allows.to_string());
            self.allows_empty_root_password = allows;
        }
        if let Some(network) = layer.network {
            self.network(network, &origin);
        }
        for (name, group) in layer.groups {
            let known = self.groups.entry(name.clone()).or_default();
            win(&mut self.trail, format!("{name}.gid"), &origin, group.gid, &mut known.gid);
        }
        for (name, user) in layer.users {
            self.user(&name, user, &origin)?;
        }
        for (name, variable) in layer.vars {
            self.variable(name, variable, &origin)?;
        }
        self.allowed.extend(layer.allow);
        for (path, rule) in layer.files {
            self.rules.entry(path).or_default().push((origin.clone(), rule));
        }
        Ok(())
    }

    fn packages(&mut self) -> List<'_> {
        let prefix = String::new();
        List { items: &mut self.packages, trail: &mut self.trail, topic: Topic::Package, prefix, what: "package" }
    }

    fn arguments(&mut self) -> List<'_> {
        let (items, prefix) = (&mut self.kernel_args, String::new());
        List { items, trail: &mut self.trail, topic: Topic::Argument, prefix, what: "kernel argument" }
    }

    fn repositories(&mut self) -> List<'_> {
        let (items, prefix) = (&mut self.repositories, "alpine.repositories ".to_owned());
        List { items, trail: &mut self.trail, topic: Topic::Value, prefix, what: "repository" }
    }

    /// A value that is named once: the last layer that names it wins.
    fn win<T: ToString>(
        &mut self,
        name: &str,
        origin: &str,
        said: Option<T>,
        place: impl Fn(&mut Self) -> &mut Option<T>,
    ) {
        if let Some(value) = said {
            self.trail.say(Topic::Value, name, origin, value.to_string());
            *place(self) = Some(value);
        }
    }

    fn network(&mut self, network: Network, origin: &str) {
        let known = self.network.get_or_insert_with(Network::default);
        for server in network.dns.into_iter().filter(|it| !known.dns.contains(it)).collect::<Vec<_>>() {
            self.trail.say(Topic::Network, format!("dns {server}"), origin, "");
            known.dns.push(server);
        }
        for domain in network.search.into_iter().filter(|it| !known.search.contains(it)).collect::<Vec<_>>() {
            self.trail.say(Topic::Network, format!("search {domain}"), origin, "");
            known.search.push(domain);
        }
        for (name, interface) in network.interfaces {
            self.trail.say(Topic::Network, format!("interfaces.{name}"), origin, interface.to_string());
            known.interfaces.insert(name, interface);
        }
    }

    fn user(&mut self, name: &str, user: User, origin: &str) -> Result<(), BuildError> {
        let known = self.users.entry(name.to_owned()).or_default();
        let trail = &mut self.trail;
        let key = |property: &str| format!("{name}.{property}");
        win(trail, key("uid"), origin, user.uid, &mut known.uid);
        win(trail, key("gid"), origin, user.gid, &mut known.gid);
        win(trail, key("home"), origin, user.home, &mut known.home);
        win(trail, key("shell"), origin, user.shell, &mut known.shell);
        win(trail, key("comment"), origin, user.comment, &mut known.comment);
        if let Some(password) = user.password {
            // A hash is nothing to show.
            let shown = if password.starts_with('$') { "a hash" } else { &password };
            trail.say(Topic::Account, key("password"), origin, shown);
            known.password = Some(password);
        }
        let (items, prefix) = (&mut known.groups, key("groups "));
        List { items, trail, topic: Topic::Account, prefix, what: "group" }.add_all(&user.groups, origin)?;
        let (items, prefix) = (&mut known.ssh_keys, key("ssh-keys "));
        List { items, trail, topic: Topic::Account, prefix, what: "key" }.add_all(&user.ssh_keys, origin)
    }

    fn variable(&mut self, name: String, variable: Variable, origin: &str) -> Result<(), BuildError> {
        let known = self.vars.get(&name).cloned();
        let wrong = |kind: Kind, value: &Value| BuildError::Variable {
            name: name.clone(),
            origin: origin.to_owned(),
            why: format!("it is a {}, and `{value}` is a {}", kind.word(), value.kind().word()),
        };
        let declaration = match variable {
            Variable::Value(value) => match known {
                Some(known) if known.kind != value.kind() => return Err(wrong(known.kind, &value)),
                known => Declaration {
                    kind: value.kind(),
                    required: known.as_ref().map(|it| it.required).unwrap_or_default(),
                    description: known.map(|it| it.description).unwrap_or_default(),
                    value: Some(value),
                },
            },
            Variable::Declared(Declared { kind, default, required, description }) => {
                let value = default.or_else(|| known.and_then(|known| known.value));
                if let Some(value) = value.as_ref().filter(|value| value.kind() != kind) {
                    return Err(wrong(kind, value));
                }
                Declaration { kind, value, required, description }
            }
        };
        let said = declaration.value.as_ref().map_or_else(|| "no value".to_owned(), Value::to_string);
        self.trail.say(Topic::Variable, name.clone(), origin, said);
        self.vars.insert(name, declaration);
        Ok(())
    }

    fn place(&mut self, origin: &str, path: String, entry: Entry) -> Result<(), BuildError> {
        let bare = path.strip_suffix(SUFFIX).filter(|_| matches!(entry.node, Node::File(_)));
        let is_template = bare.is_some();
        let path = match bare {
            Some(bare) => templated(bare)?,
            None => path,
        };
        put(&mut self.tree, &path, entry.clone(), origin)?;
        if is_template {
            self.templates.insert(path.clone());
        } else {
            self.templates.remove(&path);
        }
        if !entry.is_directory() {
            if let Some(hidden) = self.trail.owner(Topic::File, &path).map(str::to_owned) {
                self.shadowed.push(Shadowed { path: path.clone(), by: origin.to_owned(), hidden });
            }
            self.trail.say(Topic::File, path, origin, described(&entry));
        }
        Ok(())
    }

    /// Takes a file of earlier layers out, or a whole tree.
    fn remove(&mut self, path: &str, origin: &str) -> Result<(), BuildError> {
        let folder = path.strip_suffix('/');
        let is_meant = |known: &str| match folder {
            Some(folder) => known == folder || known.starts_with(path),
            None => known == path,
        };
        let gone: Vec<String> = self.tree.iter().map(|(known, _)| known.to_owned()).filter(|it| is_meant(it)).collect();
        let is_whole = folder.is_some()
            || gone.iter().all(|path| self.tree.get(path).is_some_and(|entry| entry.node != Node::Directory));
        if gone.is_empty() || !is_whole {
            let (name, origin) = (path.to_owned(), origin.to_owned());
            return Err(BuildError::NothingToRemove { what: "file", name, origin });
        }
        let matches = |key: &str, path: &str| match key.strip_suffix('/') {
            Some(folder) => path == folder || path.starts_with(key),
            None => path == key,
        };
        let touched: Vec<String> =
            self.rules.keys().filter(|key| gone.iter().any(|path| matches(key, path))).cloned().collect();
        // From the bottom up, because a folder goes with all that is in it.
        for path in gone.into_iter().rev() {
            self.templates.remove(&path);
            if self.tree.remove(&path).is_some_and(|entry| entry.node != Node::Directory) {
                self.trail.take_out(Topic::File, path, origin);
            }
        }
        // Rules about what is gone go with it, unless they are about something else too.
        for key in touched {
            if !self.tree.iter().any(|(path, _)| matches(&key, path)) {
                self.rules.remove(&key);
            }
        }
        Ok(())
    }
}

/// Puts an entry into a tree, unless it is a file in the place of a directory, or below a file: that cannot be unpacked
/// (alpine.md 2.4).
pub(super) fn put(tree: &mut Tree, path: &str, entry: Entry, origin: &str) -> Result<(), BuildError> {
    let clash = match tree.get(path) {
        Some(there) => there.is_directory() != entry.is_directory(),
        None => path.match_indices('/').any(|(end, _)| tree.get(&path[..end]).is_some_and(|it| !it.is_directory())),
    };
    if clash {
        return Err(BuildError::TypeClash { path: path.to_owned(), origin: origin.to_owned() });
    }
    tree.insert(path, entry);
    Ok(())
}

/// The path of the file that a template makes.
fn templated(bare: &str) -> Result<String, BuildError> {
    let bad = |why| Err(BuildError::BadFile { path: PathBuf::from(format!("{bare}{SUFFIX}")), why });
    if bare.is_empty() || bare.ends_with('/') {
        return bad("a template has the name of its file before `.tmpl`");
    }
    if [PASSWD, GROUP, SHADOW, WORLD, OVERLAY_FILE].contains(&bare) {
        return bad(
            "this file is put together from all layers and is the same on every machine; say it in profile.toml",
        );
    }
    Ok(bare.to_owned())
}

/// A value of an account that is named once.
fn win<T: ToString>(trail: &mut Trail, name: String, origin: &str, said: Option<T>, place: &mut Option<T>) {
    if let Some(value) = said {
        trail.say(Topic::Account, name, origin, value.to_string());
        *place = Some(value);
    }
}

/// A file in a few words.
pub(super) fn described(entry: &Entry) -> String {
    match &entry.node {
        Node::Directory => "a folder".to_owned(),
        Node::File(bytes) => format!("{} bytes", bytes.len()),
        Node::Symlink(target) => format!("a link to {target}"),
        Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => format!("device {major}:{minor}"),
        Node::Fifo => "a pipe".to_owned(),
    }
}

/// Gives every file its owner and mode: what must be strict first, then each user's home, then the rules.
pub(super) fn finish(
    tree: &mut Tree,
    homes: &[(String, Owner)],
    rules: &Rules,
    trail: &mut Trail,
) -> Result<(), BuildError> {
    for (path, entry) in tree.iter_mut() {
        strict(path, entry, trail);
        // The deepest home a path is in is its owner's.
        let home = homes.iter().filter(|(home, _)| path == home || path.starts_with(&format!("{home}/")));
        if let Some((home, owner)) = home.max_by_key(|(home, _)| home.len()) {
            let by = format!("{BIVOUAC}, for the home /{home}");
            own(path, entry, *owner, &by, trail);
        }
    }
    apply_rules(tree, rules, trail)
}

/// Gives a file an owner.
fn own(path: &str, entry: &mut Entry, owner: Owner, by: &str, trail: &mut Trail) {
    if entry.owner != owner {
        trail.change(Topic::Owner, path, by, entry.owner.to_string(), owner.to_string());
        entry.owner = owner;
    }
}

/// Gives a file a mode.
fn limit(path: &str, entry: &mut Entry, mode: u32, by: &str, trail: &mut Trail) {
    if entry.mode != mode {
        trail.change(Topic::Mode, path, by, format!("{:04o}", entry.mode), format!("{mode:04o}"));
        entry.mode = mode;
    }
}

/// Modes that must be strict whatever the working copy has, because the programs that read these files refuse others
/// or because they hold secrets (OVL-17, OVL-18, OVL-22).
fn strict(path: &str, entry: &mut Entry, trail: &mut Trail) {
    /// Alpine's group `shadow`.
    const SHADOW: u32 = 42;
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let is_directory = entry.node == Node::Directory;
    let by = format!("{BIVOUAC}, because it must be strict");
    if path == "etc/shadow" {
        limit(path, entry, 0o640, &by, trail);
        let owner = Owner { gid: SHADOW, ..entry.owner };
        own(path, entry, owner, &by, trail);
    } else if name == ".ssh" && is_directory || path == "root" {
        limit(path, entry, 0o700, &by, trail);
    } else if folder.ends_with("/.ssh") && !is_directory
        || folder == "etc/ssh" && name.starts_with("ssh_host_") && name.ends_with("_key")
    {
        limit(path, entry, 0o600, &by, trail);
    }
}

/// Owners and modes from `[files]`: a tree rule (`home/kiosk/`) first, then the rule of the very path.
fn apply_rules(tree: &mut Tree, rules: &Rules, trail: &mut Trail) -> Result<(), BuildError> {
    let mut used: Vec<&str> = Vec::new();
    for (path, entry) in tree.iter_mut() {
        let below = rules.iter().filter(|(key, _)| {
            key.strip_suffix('/').is_some_and(|folder| path == folder || path.starts_with(key.as_str()))
        });
        let exact = rules.get_key_value(path);
        for (key, said) in below.chain(exact) {
            used.push(key);
            for (origin, rule) in said {
                let by = format!("{origin}, `[files]`");
                if let Some(owner) = rule.owner {
                    own(path, entry, owner, &by, trail);
                }
                // A tree rule's mode is for its files; a directory without its executable bits could not be entered.
                if let Some(mode) = rule.mode.filter(|_| entry.node != Node::Directory || !key.ends_with('/')) {
                    limit(path, entry, mode.0, &by, trail);
                }
            }
        }
    }
    match rules.keys().find(|key| !used.contains(&key.as_str())) {
        Some(key) => Err(BuildError::RuleForNothing(key.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::profile::Layer;

    fn source(origin: &str, toml: &str, files: &[(&str, Entry)]) -> Source {
        let files = files.iter().map(|(path, entry)| ((*path).to_owned(), entry.clone())).collect();
        Source { origin: origin.to_owned(), layer: Layer::parse(toml).unwrap(), files }
    }

    /// Merged, with the modes and owners that no account decides.
    fn finished(sources: Vec<Source>) -> Result<Merged, BuildError> {
        let mut merged = merge(sources)?;
        finish(&mut merged.tree, &[], &merged.rules, &mut merged.trail)?;
        Ok(merged)
    }

    #[test]
    fn a_later_file_wins_and_what_it_hides_is_said() {
        let merged = merge(vec![
            source("overlay base", "", &[("etc/motd", Entry::file("base"))]),
            source("profile vdi", "", &[("etc/motd", Entry::file("vdi"))]),
        ])
        .unwrap();
        assert_eq!(merged.tree.get("etc/motd"), Some(&Entry::file("vdi")));
        let shadowed = Shadowed { path: "etc/motd".into(), by: "profile vdi".into(), hidden: "overlay base".into() };
        assert_eq!(merged.shadowed, [shadowed]);
    }

    #[test]
    fn lists_add_up_once_each_and_a_name_can_be_taken_out() {
        let merged = merge(vec![
            source("overlay a", "packages = [\"x\", \"y\"]\n[services]\nboot = [\"n\"]", &[]),
            source(
                "overlay b",
                "packages = [\"y\", \"!x\"]\n[services]\nboot = [\"!n\", \"m\"]",
                &[(WORLD, Entry::file("z\n"))],
            ),
        ])
        .unwrap();
        assert_eq!(merged.packages, ["y", "z"]);
        assert_eq!(merged.services[&Runlevel::Boot], ["m"]);
        let error = merge(vec![source("overlay a", "packages = [\"!x\"]", &[])]).unwrap_err();
        assert_eq!(error.to_string(), "overlay a takes out the package `x`, which no layer before it names");
    }

    #[test]
    fn modes_that_must_be_strict_are_strict() {
        let merged = finished(vec![source(
            "overlay a",
            "",
            &[
                ("etc/shadow", Entry::file("")),
                ("root/.ssh", Entry::directory()),
                ("root/.ssh/authorized_keys", Entry::file("")),
                ("etc/ssh/ssh_host_ed25519_key", Entry::file("")),
                ("etc/ssh/sshd_config", Entry::file("")),
            ],
        )])
        .unwrap();
        let mode = |path: &str| merged.tree.get(path).unwrap().mode;
        assert_eq!((mode("etc/shadow"), merged.tree.get("etc/shadow").unwrap().owner.gid), (0o640, 42));
        assert_eq!((mode("root"), mode("root/.ssh"), mode("root/.ssh/authorized_keys")), (0o700, 0o700, 0o600));
        assert_eq!((mode("etc/ssh/ssh_host_ed25519_key"), mode("etc/ssh/sshd_config")), (0o600, 0o644));
    }

    #[test]
    fn rules_set_owner_and_mode_of_a_path_or_a_tree_and_must_match_something() {
        let toml = "[files]\n\"home/kiosk/\" = { owner = \"1000:1000\", mode = \"0600\" }\n\"home/kiosk/run\" = { mode = \"0755\" }";
        let files = [("home/kiosk/run", Entry::file("")), ("home/kiosk/conf", Entry::file(""))];
        let tree = finished(vec![source("overlay a", toml, &files)]).unwrap().tree;
        let of = |path: &str| (tree.get(path).unwrap().owner.uid, tree.get(path).unwrap().mode);
        assert_eq!((of("home"), of("home/kiosk")), ((0, 0o755), (1000, 0o755)));
        assert_eq!((of("home/kiosk/run"), of("home/kiosk/conf")), ((1000, 0o755), (1000, 0o600)));
        let error = finished(vec![source("overlay a", "[files]\n\"etc/x\" = { mode = \"0600\" }", &[])]).unwrap_err();
        assert_eq!(error.to_string(), "`[files]` has a rule for `etc/x`, and no layer has such a file");
    }

    #[test]
    fn a_rule_of_a_later_layer_adds_to_an_earlier_one_and_the_trail_says_both() {
        let rule = |rule: &str| format!("[files]\n\"etc/x\" = {{ {rule} }}");
        let files = [("etc/x", Entry::file(""))];
        let merged = finished(vec![
            source("overlay a", &rule("owner = \"1:2\", mode = \"0600\""), &files),
            source("profile b", &rule("mode = \"0640\""), &[]),
        ])
        .unwrap();
        let entry = merged.tree.get("etc/x").unwrap();
        assert_eq!((entry.owner, entry.mode), (Owner { uid: 1, gid: 2 }, 0o640));
        assert_eq!(merged.trail.owner(Topic::Mode, "etc/x"), Some("profile b, `[files]`"));
        assert_eq!(merged.trail.owner(Topic::Owner, "etc/x"), Some("overlay a, `[files]`"));
    }

    #[test]
    fn a_file_where_another_layer_has_a_directory_is_refused() {
        let error = merge(vec![
            source("overlay a", "", &[("etc/x/y", Entry::file(""))]),
            source("overlay b", "", &[("etc/x", Entry::file(""))]),
        ])
        .unwrap_err();
        assert!(error.to_string().contains("overlay b has `etc/x`"), "{error}");
    }

    #[test]
    fn a_later_layer_removes_a_file_or_a_tree_and_the_trail_says_so() {
        let files = [("etc/a/x", Entry::file("")), ("etc/a/y", Entry::file("")), ("etc/b", Entry::file(""))];
        let merged = merge(vec![
            source("overlay a", "", &files),
            source("overlay b", "remove = [\"etc/a/\", \"etc/b\"]", &[("etc/a", Entry::file("now a file"))]),
        ])
        .unwrap();
        assert_eq!(merged.tree.iter().map(|(path, _)| path).collect::<Vec<_>>(), ["etc", "etc/a"]);
        assert_eq!(merged.trail.owner(Topic::File, "etc/b"), None);
        for wrong in ["etc/x", "etc/a"] {
            let layers =
                vec![source("overlay a", "", &files), source("overlay b", &format!("remove = [\"{wrong}\"]"), &[])];
            let error = merge(layers).unwrap_err().to_string();
            assert_eq!(error, format!("overlay b takes out the file `{wrong}`, which no layer before it names"));
        }
    }

    #[test]
    fn a_file_goes_with_the_rule_that_came_with_it() {
        let rule = "[files]\n\"etc/doas.conf\" = { mode = \"0600\" }\n\"etc/\" = { owner = \"0:0\" }";
        let files = [("etc/doas.conf", Entry::file("")), ("etc/motd", Entry::file(""))];
        let removed = source("profile b", "remove = [\"etc/doas.conf\"]", &[]);
        let merged = finished(vec![source("overlay a", rule, &files), removed]).unwrap();
        assert_eq!(merged.rules.keys().collect::<Vec<_>>(), ["etc/"]);
    }

    #[test]
    fn a_value_is_won_by_the_last_layer_and_accounts_are_won_property_by_property() {
        let merged = merge(vec![
            source(
                "overlay a",
                "hostname = \"a\"\ntimezone = \"UTC\"\n[alpine]\nrelease = \"3.23\"\nrepositories = [\"main\", \"testing\"]\n\
                 [users.kiosk]\nuid = 1000\nshell = \"/bin/sh\"\ngroups = [\"audio\", \"video\"]",
                &[],
            ),
            source(
                "overlay b",
                "hostname = \"b\"\n[alpine]\nrelease = \"3.24\"\nrepositories = [\"!testing\"]\n\
                 [users.kiosk]\nshell = \"/bin/ash\"\ngroups = [\"!audio\", \"input\"]",
                &[],
            ),
        ])
        .unwrap();
        assert_eq!((merged.hostname.as_deref(), merged.timezone.as_deref()), (Some("b"), Some("UTC")));
        assert_eq!(merged.repositories, ["main"]);
        let kiosk = &merged.users["kiosk"];
        assert_eq!((kiosk.uid, kiosk.shell.as_deref()), (Some(1000), Some("/bin/ash")));
        assert_eq!(kiosk.groups, ["video", "input"]);
        let steps: Vec<_> = merged.trail.iter().filter(|(subject, _)| subject.name == "hostname").collect();
        assert_eq!(steps[0].1.iter().map(|step| step.by.as_str()).collect::<Vec<_>>(), ["overlay a", "overlay b"]);
        assert_eq!(merged.trail.owner(Topic::Account, "kiosk.uid"), Some("overlay a"));
    }

    #[test]
    fn a_variable_keeps_the_type_it_was_declared_with() {
        let merged = merge(vec![
            source("overlay a", "[vars]\nport = { type = \"integer\", default = 1, description = \"where\" }", &[]),
            source("profile b", "[vars]\nport = 2", &[]),
        ])
        .unwrap();
        let port = &merged.vars["port"];
        assert_eq!((&port.value, port.description.as_str()), (&Some(Value::Integer(2)), "where"));
        let error = merge(vec![
            source("overlay a", "[vars]\nport = { type = \"integer\", required = true }", &[]),
            source("profile b", "[vars]\nport = \"x\"", &[]),
        ])
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "profile b gives the variable `port` a value it cannot have: it is a integer, and `x` is a string"
        );
    }
}

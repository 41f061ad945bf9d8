//! Puts the layers of a profile on top of each other. Pure. What does not fit is left out and said, so that an author
//! sees every mistake at once.

mod files;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use files::{described, put};

use self::files::{clash, special};
use super::layers::{Source, Written};
use super::lint::rule::{KIND, NOTHING_TO_REMOVE, REFUSED_ARGUMENT, VARIABLE};
use super::lint::{Finding, Place};
use super::trail::{Topic, Trail};
use super::world;
use crate::apk::parse_word;
use crate::model::alpine::{Arch, Flavor, ReleaseSpec};
use crate::model::cmdline::{ArgumentError, check_argument};
use crate::model::profile::network::Network;
use crate::model::profile::variable::{Declaration, Declared, Kind, Value, Variable};
use crate::model::profile::{Allowed, FileRule, Group, Runlevel, User};
use crate::wire::apkovl::{Entry, Node, Tree};

/// The file whose lines are merged with every layer's `packages`.
pub(super) const WORLD: &str = "etc/apk/world";

/// The mode of a device node or pipe that no rule of `[files]` is about.
pub(super) const SPECIAL_MODE: u32 = 0o600;

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

/// What a layer lets through, and where it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Permit {
    pub(super) allow: Allowed,
    /// The layer.
    pub(super) by: String,
    /// Where its `[[allow]]` stands.
    pub(super) place: Option<Place>,
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
    pub(super) allowed: Vec<Permit>,
    /// The rules of `[files]` by their key, each with its layer, first to last.
    pub(super) rules: Rules,
    /// With the text of each template in the place of its file.
    pub(super) tree: Tree,
    /// The files of the tree that are templates yet.
    pub(super) templates: BTreeSet<String>,
    pub(super) shadowed: Vec<Shadowed>,
    pub(super) trail: Trail,
    /// Each layer and its file, the first applied first.
    pub(super) written: Vec<(String, Written)>,
    /// What had to be left out.
    pub(super) findings: Vec<Finding>,
}

/// Merges layers: a later word wins, lists add up, `!name` takes one out.
pub(super) fn merge(sources: Vec<Source>) -> Merged {
    let mut merged = Merged::default();
    for source in sources {
        merged.add(source);
    }
    merged
}

/// A list that layers add to and take from.
struct List<'a> {
    items: &'a mut Vec<String>,
    trail: &'a mut Trail,
    findings: &'a mut Vec<Finding>,
    topic: Topic,
    /// Before each name in the trail: the runlevel of a service, the user of a group.
    prefix: String,
    /// What one is called in messages.
    what: &'static str,
    /// The key of a layer that has the list.
    at: &'a [&'a str],
}

impl List<'_> {
    /// Adds a name once, or takes it out when it is written with `!`.
    fn add(&mut self, name: &str, origin: &str) {
        let key = |name: &str| format!("{}{name}", self.prefix);
        if let Some(out) = name.strip_prefix('!') {
            let before = self.items.len();
            self.items.retain(|known| known != out);
            if self.items.len() == before {
                let key: Vec<&str> = self.at.iter().copied().chain([name]).collect();
                self.findings.push(nothing_to_remove(self.what, out, origin).in_key(&key));
            } else {
                self.trail.take_out(self.topic, key(out), origin);
            }
        } else {
            if !self.items.iter().any(|known| known == name) {
                self.items.push(name.to_owned());
            }
            self.trail.say(self.topic, key(name), origin, "");
        }
    }

    fn add_all(&mut self, names: &[String], origin: &str) {
        names.iter().for_each(|name| self.add(name, origin));
    }
}

/// FILE-2.
fn nothing_to_remove(what: &str, name: &str, origin: &str) -> Finding {
    let what = format!("{origin} takes out the {what} `{name}`, which no layer before it names");
    let effect = "the profile is not what its author thinks it is";
    Finding::new(NOTHING_TO_REMOVE, what, effect, "correct the name, or take the line out").by(origin).left_out()
}

impl Merged {
    fn add(&mut self, source: Source) {
        let Source { origin, layer, written, files, mut findings } = source;
        self.findings.append(&mut findings);
        self.written.push((origin.clone(), written));
        // What a layer removes is what earlier ones brought.
        for path in &layer.remove {
            self.remove(path, &origin);
        }
        for path in layer.nodes.keys().filter(|path| files.iter().any(|(file, _)| file == *path)) {
            let what = format!("{origin} has `{path}` in root/ and in `[nodes]`");
            let effect = "the device or pipe would take the place of the file";
            let finding = Finding::new(KIND, what, effect, "take one of the two out, or give it another name");
            self.findings.push(finding.at(path.as_str()).by(origin.as_str()).in_key(&["nodes", path]).left_out());
        }
        let nodes = layer.nodes.into_iter().map(|(path, node)| (path, special(node)));
        for (path, entry) in files.into_iter().chain(nodes) {
            if path == WORLD {
                self.world(&entry, &origin);
            } else {
                self.place(&origin, path, entry);
            }
        }
        for word in &layer.packages {
            self.package(word, None, &origin);
        }
        for (level, names) in &layer.services {
            let at = ["services", &level.to_string()];
            let (trail, findings) = (&mut self.trail, &mut self.findings);
            let (items, prefix) = (self.services.entry(*level).or_default(), format!("{level}/"));
            List { items, trail, findings, topic: Topic::Service, prefix, what: "service", at: &at }
                .add_all(names, &origin);
        }
        for argument in &layer.kernel.args {
            self.argument(argument, &origin);
        }
        self.repositories().add_all(&layer.alpine.repositories, &origin);
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
            self.user(&name, user, &origin);
        }
        for (name, variable) in layer.vars {
            self.variable(name, variable, &origin);
        }
        let permit = |(number, allow): (usize, Allowed)| {
            let place = self.written.last().and_then(|(_, written)| written.place(&["allow", &number.to_string()]));
            Permit { allow, by: origin.clone(), place }
        };
        self.allowed.extend(layer.allow.into_iter().enumerate().map(permit));
        for (path, rule) in layer.files {
            self.rules.entry(path).or_default().push((origin.clone(), rule));
        }
    }

    /// The lines of a layer's own world, as packages.
    fn world(&mut self, entry: &Entry, origin: &str) {
        let Node::File(bytes) = &entry.node else {
            self.findings.push(clash(WORLD, origin));
            return;
        };
        let (words, findings) = world::words(&String::from_utf8_lossy(bytes));
        self.findings.extend(findings.into_iter().map(|finding| finding.at(WORLD).by(origin)));
        for word in words {
            self.package(&word, Some(WORLD), origin);
        }
    }

    /// One word of a list of packages, or of the file `within` (OVL-30).
    fn package(&mut self, word: &str, within: Option<&str>, origin: &str) {
        let bare = word.strip_prefix('!').unwrap_or(word);
        if let Err(error) = parse_word(bare) {
            let finding = world::refused(&error, within.unwrap_or("packages")).by(origin);
            self.findings.push(match within {
                Some(path) => finding.at(path),
                None => finding.in_key(&["packages", word]),
            });
            return;
        }
        let (items, trail, findings) = (&mut self.packages, &mut self.trail, &mut self.findings);
        let prefix = String::new();
        List { items, trail, findings, topic: Topic::Package, prefix, what: "package", at: &["packages"] }
            .add(word, origin);
    }

    /// One kernel argument (ARG-5).
    fn argument(&mut self, argument: &str, origin: &str) {
        let bare = argument.strip_prefix('!').unwrap_or(argument);
        if let Err(error) = check_argument(bare) {
            self.findings.push(refused_argument(&error).by(origin).in_key(&["kernel", "args", argument]));
            return;
        }
        let (items, trail, findings) = (&mut self.kernel_args, &mut self.trail, &mut self.findings);
        let prefix = String::new();
        List {
            items,
            trail,
            findings,
            topic: Topic::Argument,
            prefix,
            what: "kernel argument",
            at: &["kernel", "args"],
        }
        .add(argument, origin);
    }

    fn repositories(&mut self) -> List<'_> {
        let (items, trail, findings) = (&mut self.repositories, &mut self.trail, &mut self.findings);
        let prefix = "alpine.repositories ".to_owned();
        List {
            items,
            trail,
            findings,
            topic: Topic::Value,
            prefix,
            what: "repository",
            at: &["alpine", "repositories"],
        }
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
        let (trail, findings) = (&mut self.trail, &mut self.findings);
        let known = self.network.get_or_insert_with(Network::default);
        let (items, prefix) = (&mut known.dns, "dns ".to_owned());
        List { items, trail, findings, topic: Topic::Network, prefix, what: "name server", at: &["network", "dns"] }
            .add_all(&network.dns, origin);
        let (items, prefix) = (&mut known.search, "search ".to_owned());
        List { items, trail, findings, topic: Topic::Network, prefix, what: "domain", at: &["network", "search"] }
            .add_all(&network.search, origin);
        // `!` sorts before every name, so a layer takes a card out first and may then say it anew.
        for (key, interface) in network.interfaces {
            let Some(name) = key.strip_prefix('!') else {
                trail.say(Topic::Network, format!("interfaces.{key}"), origin, interface.to_string());
                known.interfaces.insert(key, interface);
                continue;
            };
            match known.interfaces.remove(name) {
                Some(_) => trail.take_out(Topic::Network, format!("interfaces.{name}"), origin),
                None => findings.push(nothing_to_remove("card", name, origin).in_key(&["network", "interfaces", &key])),
            }
        }
    }

    fn user(&mut self, name: &str, user: User, origin: &str) {
        let known = self.users.entry(name.to_owned()).or_default();
        let (trail, findings) = (&mut self.trail, &mut self.findings);
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
        List { items, trail, findings, topic: Topic::Account, prefix, what: "group", at: &["users", name, "groups"] }
            .add_all(&user.groups, origin);
        let (items, prefix) = (&mut known.ssh_keys, key("ssh-keys "));
        List { items, trail, findings, topic: Topic::Account, prefix, what: "key", at: &["users", name, "ssh-keys"] }
            .add_all(&user.ssh_keys, origin);
    }

    fn variable(&mut self, name: String, variable: Variable, origin: &str) {
        let known = self.vars.get(&name).cloned();
        let wrong = |kind: Kind, value: &Value| {
            let (a, an) = (kind.in_words(), value.kind().in_words());
            let what = format!("{origin} gives the variable `{name}` the value `{value}`, {an}; it is declared as {a}");
            let effect = "templates that use it fail";
            let finding = Finding::new(VARIABLE, what, effect, format!("write {a}, or declare it with another `type`"));
            finding.by(origin).in_key(&["vars", &name]).left_out()
        };
        let declaration = match variable {
            Variable::Value(value) => match known {
                Some(known) if known.kind != value.kind() => {
                    self.findings.push(wrong(known.kind, &value));
                    return;
                }
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
                    self.findings.push(wrong(kind, value));
                    return;
                }
                Declaration { kind, value, required, description }
            }
        };
        let said = declaration.value.as_ref().map_or_else(|| "no value".to_owned(), Value::to_string);
        self.trail.say(Topic::Variable, name.clone(), origin, said);
        self.vars.insert(name, declaration);
    }
}

/// ARG-5.
pub(super) fn refused_argument(error: &ArgumentError) -> Finding {
    let (effect, fix) = match error {
        ArgumentError::Characters(_) => ("init splits it, or iPXE expands it", "write it without them"),
        ArgumentError::Reserved(name) => match name.as_str() {
            "root" => (
                "it ends diskless mode: init looks for a root on a disk and never unpacks the overlay",
                "take it out; the machine runs from memory",
            ),
            "s" | "1" | "single" | "init" | "rdinit" => {
                ("the machine stops at a shell or another program, and never checks in", "take it out")
            }
            _ => ("the last one of a name counts, so the machine would not boot the bundle", "take it out"),
        },
        ArgumentError::TooLong { .. } => ("the kernel cuts the line, and what comes last is lost", "write fewer"),
    };
    Finding::new(REFUSED_ARGUMENT, error.to_string(), effect, fix).left_out()
}

/// A value of an account that is named once.
fn win<T: ToString>(trail: &mut Trail, name: String, origin: &str, said: Option<T>, place: &mut Option<T>) {
    if let Some(value) = said {
        trail.say(Topic::Account, name, origin, value.to_string());
        *place = Some(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::profile::Layer;

    fn source(origin: &str, toml: &str, files: &[(&str, Entry)]) -> Source {
        let files = files.iter().map(|(path, entry)| ((*path).to_owned(), entry.clone())).collect();
        let layer = Layer::parse(toml).unwrap();
        Source { origin: origin.to_owned(), layer, written: Written::default(), files, findings: Vec::new() }
    }

    /// The one mistake there is.
    fn only(mut merged: Merged) -> Finding {
        assert_eq!(merged.findings.len(), 1, "{:?}", merged.findings);
        merged.findings.remove(0)
    }

    #[test]
    fn a_later_file_wins_and_what_it_hides_is_said() {
        let merged = merge(vec![
            source("overlay base", "", &[("etc/motd", Entry::file("base"))]),
            source("profile vdi", "", &[("etc/motd", Entry::file("vdi"))]),
        ]);
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
        ]);
        assert_eq!(merged.packages, ["y", "z"]);
        assert_eq!(merged.services[&Runlevel::Boot], ["m"]);
        let said = only(merge(vec![source("overlay a", "packages = [\"!x\"]", &[])])).what;
        assert_eq!(said, "overlay a takes out the package `x`, which no layer before it names");
    }

    #[test]
    fn name_servers_domains_and_cards_can_be_taken_out_by_a_later_layer() {
        let said = "[network]\ndns = [\"fd00:0::1\", \"10.0.0.1\"]\nsearch = [\"a.example\", \"b.example\"]\n\
                    [network.interfaces]\nboot = {}\neth1 = {}";
        let out = "[network]\ndns = [\"!fd00::1\"]\nsearch = [\"!a.example\"]\n[network.interfaces]\n\"!eth1\" = {}";
        let merged = merge(vec![source("overlay a", said, &[]), source("profile b", out, &[])]);
        let network = merged.network.unwrap();
        assert_eq!((network.dns, network.search), (vec!["10.0.0.1".to_owned()], vec!["b.example".to_owned()]));
        assert_eq!(network.interfaces.keys().collect::<Vec<_>>(), ["boot"]);
        for name in ["dns fd00::1", "search a.example", "interfaces.eth1"] {
            let (_, steps) = merged.trail.iter().find(|(subject, _)| subject.name == name).unwrap();
            let last = steps.last().unwrap();
            assert_eq!((last.by.as_str(), &last.said), ("profile b", &None), "{name}");
        }
        let said = only(merge(vec![source("profile b", "[network.interfaces]\n\"!eth1\" = {}", &[])])).what;
        assert_eq!(said, "profile b takes out the card `eth1`, which no layer before it names");
    }

    #[test]
    fn a_file_where_another_layer_has_a_directory_is_refused() {
        let finding = only(merge(vec![
            source("overlay a", "", &[("etc/x/y", Entry::file(""))]),
            source("overlay b", "", &[("etc/x", Entry::file(""))]),
        ]));
        assert!(finding.rule == KIND && finding.what.contains("overlay b has `etc/x`"), "{finding:?}");
    }

    #[test]
    fn a_later_layer_removes_a_file_or_a_tree_and_the_trail_says_so() {
        let files = [("etc/a/x", Entry::file("")), ("etc/a/y", Entry::file("")), ("etc/b", Entry::file(""))];
        let merged = merge(vec![
            source("overlay a", "", &files),
            source("overlay b", "remove = [\"etc/a/\", \"etc/b\"]", &[("etc/a", Entry::file("now a file"))]),
        ]);
        assert_eq!(merged.tree.iter().map(|(path, _)| path).collect::<Vec<_>>(), ["etc", "etc/a"]);
        let again = [("etc/b", Entry::file("of b"))];
        let layers = vec![
            source("overlay a", "", &files),
            source("overlay b", "", &again),
            source("profile c", "remove = [\"etc/b\"]", &[]),
        ];
        assert!(merge(layers).shadowed.is_empty(), "what is gone hides nothing");
        assert_eq!(merged.trail.owner(Topic::File, "etc/b"), None);
        for wrong in ["etc/x", "etc/a"] {
            let layers =
                vec![source("overlay a", "", &files), source("overlay b", &format!("remove = [\"{wrong}\"]"), &[])];
            assert_eq!(
                only(merge(layers)).what,
                format!("overlay b takes out the file `{wrong}`, which no layer before it names")
            );
        }
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
        ]);
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
        ]);
        let port = &merged.vars["port"];
        assert_eq!((&port.value, port.description.as_str()), (&Some(Value::Integer(2)), "where"));
        let finding = only(merge(vec![
            source("overlay a", "[vars]\nport = { type = \"integer\", required = true }", &[]),
            source("profile b", "[vars]\nport = \"x\"", &[]),
        ]));
        assert_eq!(
            finding.what,
            "profile b gives the variable `port` the value `x`, a string; it is declared as an integer"
        );
    }

    #[test]
    fn every_mistake_is_said_with_its_layer_and_left_out() {
        let merged = merge(vec![
            source("overlay a", "packages = [\"--root\", \"nano\"]\n[kernel]\nargs = [\"root=x\", \"quiet\"]", &[]),
            source("profile b", "packages = [\"!vim\"]", &[(WORLD, Entry::file("a b* # c\n"))]),
        ]);
        let said: Vec<(&str, Option<&str>)> =
            merged.findings.iter().map(|finding| (finding.rule.id, finding.by.as_deref())).collect();
        let (a, b) = (Some("overlay a"), Some("profile b"));
        assert_eq!(said, [("OVL-30", a), ("ARG-5", a), ("OVL-31", b), ("OVL-30", b), ("FILE-2", b)]);
        assert!(merged.findings.iter().all(|finding| finding.is_final));
        assert_eq!((merged.packages, merged.kernel_args), (vec!["nano".into(), "a".into()], vec!["quiet".into()]));
    }
}

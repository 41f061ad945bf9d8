//! Names that Alpine likely does not have (SET-3): without its packages, as far as one can know. A build, which has them,
//! decides (SET-1, SET-2, SET-4).

use super::in_packages::{keymap_of, shells, zone_of};
use super::rule::LIKELY_NAME;
use super::{Finding, Machine, listed};
use crate::build::trail::Topic;
use crate::model::alpine::ReleaseSpec;
use crate::model::name::nearest;

/// The time zones of tzdata 2026f, its older names among them.
const ZONES: &str = include_str!("time-zones");

/// The layouts of `kbd-bkeymaps`, as `setup-keymap` of Alpine 3.15 lists them.
const LAYOUTS: &str = "\
    af al am ara at az ba bd be bg br brai by ca ch cm cn cz de dk dz ee epo es fi fo fr gb ge gh gr hr hu id ie il \
    in iq ir is it jp ke kg kr kz la latam lk lt lv ma md me mk ml mm mt my ng nl no ph pk pl pt ro rs ru se si sk sy \
    th tj tm tr tw ua us uz vn";

/// The flavors that some architecture's netboot files have (REL-5), those of older releases among them.
const FLAVORS: &str = "lts rpi rpi2 stable vanilla virt";

/// The repositories of releases; `testing` is only in edge.
const REPOSITORIES: &str = "community main";

/// Login shells, and the package that has each.
const SHELLS: &[(&str, &str)] = &[
    ("/bin/bash", "bash"),
    ("/bin/mksh", "mksh"),
    ("/bin/tcsh", "tcsh"),
    ("/bin/zsh", "zsh"),
    ("/usr/bin/fish", "fish"),
    ("/bin/dash", "dash"),
];

/// What is left undecided until the packages are there.
const OPEN: &str = "a build refuses it, unless this release or a package has it after all";

pub(super) fn look(machine: &Machine<'_>) -> Vec<Finding> {
    let say = |key: &[&str], what: String, fix: String| {
        let name = key.join(".");
        let member = key.split_last().map(|(last, table)| format!("{} {last}", table.join("."))).unwrap_or_default();
        let owner = |name: &str| machine.trail.owner(Topic::Value, name).map(str::to_owned);
        let by = owner(&name).or_else(|| owner(&member));
        Finding { by, ..Finding::new(LIKELY_NAME, what, OPEN, fix).in_key(key) }
    };
    let mut found = Vec::new();
    if let Some(zone) = zone_of(machine).filter(|zone| !listed(ZONES, zone)) {
        let fix = meant(zone, ZONES).unwrap_or_else(|| "write a zone such as \"Europe/Berlin\"".to_owned());
        found.push(say(&["timezone"], format!("tzdata 2026f has no time zone `{zone}`"), fix));
    }
    if let Some(keymap) = keymap_of(machine) {
        let layout = keymap.split(' ').next().unwrap_or_default().to_owned();
        if !listed(LAYOUTS, &layout) {
            let fix = meant(&layout, LAYOUTS).unwrap_or_else(|| format!("write one of {LAYOUTS}"));
            found.push(say(&["keymap"], format!("`kbd-bkeymaps` has no layout `{layout}`"), fix));
        }
    }
    let flavor = machine.alpine.flavor.to_string();
    if !listed(FLAVORS, &flavor) {
        let fix =
            meant(&flavor, FLAVORS).unwrap_or_else(|| "write \"lts\", or \"virt\" for virtual machines".to_owned());
        found.push(say(
            &["alpine", "flavor"],
            format!("no release is known to have the kernel flavor `{flavor}`"),
            fix,
        ));
    }
    let is_edge = machine.alpine.release == ReleaseSpec::Edge;
    for name in machine.alpine.repositories.iter().filter(|name| !listed(REPOSITORIES, name)) {
        let what = match name.as_str() {
            "testing" if is_edge => continue,
            "testing" => "only `edge` has the repository `testing`".to_owned(),
            _ => format!("no release is known to have the repository `{name}`"),
        };
        let fix = meant(name, REPOSITORIES).unwrap_or_else(|| "write \"main\" or \"community\"".to_owned());
        found.push(say(&["alpine", "repositories", name], what, fix));
    }
    for (user, shell) in shells(machine) {
        let package = SHELLS.iter().find(|(path, _)| *path == shell).map(|(_, package)| *package);
        if machine.tree.get(shell.trim_start_matches('/')).is_some()
            || package.is_some_and(|package| machine.packages().any(|name| name == package))
        {
            continue;
        }
        let fix = match package {
            Some(package) => format!("add `{package}` to `packages`"),
            None => {
                near_shell(&shell).unwrap_or_else(|| "add the package that has it, or write \"/bin/ash\"".to_owned())
            }
        };
        let what = format!("`{user}` has the login shell `{shell}`, and no package of the world is known to bring it");
        let by = machine.trail.owner(Topic::Account, &format!("{user}.shell")).map(str::to_owned);
        let finding = Finding::new(LIKELY_NAME, what, OPEN, fix).in_key(&["users", &user, "shell"]);
        found.push(Finding { by: by.or_else(|| machine.author("etc/passwd")), ..finding });
    }
    found
}

/// The known name that was meant, as a question.
fn meant(wrong: &str, known: &str) -> Option<String> {
    nearest(wrong, known.split_whitespace()).map(|near| format!("did you mean `{near}`?"))
}

fn near_shell(wrong: &str) -> Option<String> {
    let known = SHELLS.iter().map(|(path, _)| *path).chain(["/bin/ash", "/bin/sh", "/sbin/nologin", "/bin/false"]);
    nearest(wrong, known).map(|near| format!("did you mean `{near}`?"))
}

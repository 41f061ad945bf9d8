//! Which packages of a bundle need which, as apk would see it on the machine.

use std::collections::{BTreeSet, HashMap};

use crate::apk::{Constraint, Dependency, IndexPackage, parse_word};

/// The needs among the packages of a bundle; packages are numbers, in the order in which they were given.
pub(super) struct Graph {
    /// What each package needs.
    pub(super) needs: Vec<BTreeSet<usize>>,
    /// The packages that are there in their own right: what the world asks for, and what no other package needs (what
    /// init adds, and what came along through `install_if`).
    pub(super) roots: BTreeSet<usize>,
}

/// Each name with the packages that provide it, and the version they provide.
type Providers<'a> = HashMap<&'a str, Vec<(usize, Option<&'a str>)>>;

impl Graph {
    /// Reads the needs of `packages`, which together satisfy `world`. Where several packages of the bundle provide what
    /// one needs, it needs all of them: which one serves is decided by nobody.
    pub(super) fn of(packages: &[&IndexPackage], world: &[String]) -> Self {
        let mut providers = Providers::new();
        for (number, package) in packages.iter().enumerate() {
            providers.entry(package.name()).or_default().push((number, Some(package.version())));
            for provided in package.provides() {
                let version = match provided.constraint {
                    Constraint::Version { version, .. } => Some(version),
                    Constraint::Any | Constraint::Identity(_) => None,
                };
                providers.entry(provided.name).or_default().push((number, version));
            }
        }
        let meets = |wanted: &Dependency<&str>| {
            let offers = providers.get(wanted.name).map(Vec::as_slice).unwrap_or_default().iter();
            let fitting = offers.filter(|(number, version)| {
                let identity = packages.get(*number).map(|package| package.identity());
                !wanted.conflict && identity.is_some_and(|it| wanted.constraint.accepts(*version, &it))
            });
            fitting.map(|(number, _)| *number).collect::<BTreeSet<usize>>()
        };
        let needs: Vec<BTreeSet<usize>> = packages
            .iter()
            .enumerate()
            .map(|(own, package)| {
                let mut needed: BTreeSet<usize> = package.depends().flat_map(|wanted| meets(&wanted)).collect();
                needed.remove(&own);
                needed
            })
            .collect();
        let needed: BTreeSet<usize> = needs.iter().flatten().copied().collect();
        let words = world.iter().filter_map(|word| parse_word(word).ok());
        let mut roots: BTreeSet<usize> = words.flat_map(|word| meets(&word.borrowed())).collect();
        roots.extend((0..packages.len()).filter(|number| !needed.contains(number)));
        Self { needs, roots }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apk::Index;

    /// The needs and the roots of packages `(name, depends, provides)` in this order, all of version 1-r0.
    fn graph(packages: &[(&str, &str, &str)], world: &[&str]) -> (Vec<Vec<usize>>, Vec<usize>) {
        let records: Vec<String> = packages
            .iter()
            .enumerate()
            .map(|(number, (name, depends, provides))| {
                format!("C:X1{number:040x}\nP:{name}\nV:1-r0\nD:{depends}\np:{provides}\n")
            })
            .collect();
        let index = Index::parse(&records.join("\n")).unwrap();
        let packages: Vec<&IndexPackage> = index.packages().iter().collect();
        let world: Vec<String> = world.iter().map(|word| (*word).to_owned()).collect();
        let graph = Graph::of(&packages, &world);
        let list = |set: BTreeSet<usize>| set.into_iter().collect::<Vec<_>>();
        (graph.needs.into_iter().map(list).collect(), list(graph.roots))
    }

    #[test]
    fn names_libraries_and_commands_are_needs_and_conflicts_are_none() {
        let packages = [
            ("app", "lib so:libx.so.1>=2 cmd:sh !old", ""),
            ("lib", "", "so:libx.so.1=2.4"),
            ("busybox", "", "cmd:sh=1-r0"),
            ("old", "app", ""),
        ];
        assert_eq!(graph(&packages, &["app"]), (vec![vec![1, 2], vec![], vec![], vec![0]], vec![0, 3]));
    }

    #[test]
    fn a_version_that_does_not_fit_is_no_provider_and_a_package_does_not_need_itself() {
        let packages = [("a", "b>2 a-virtual", "a-virtual"), ("b", "a", "")];
        assert_eq!(graph(&packages, &[]), (vec![vec![], vec![0]], vec![1]));
    }

    #[test]
    fn what_the_world_asks_for_by_another_name_is_there_in_its_own_right() {
        let packages = [("a", "b", ""), ("b", "", "virtual=3")];
        assert_eq!(graph(&packages, &["virtual>2"]).1, [0, 1]);
        assert_eq!(graph(&packages, &["!virtual"]).1, [0]);
    }
}

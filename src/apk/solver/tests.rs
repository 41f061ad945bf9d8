//! Small universes, each about one rule; and generated ones, whose solutions must be valid.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::apk::{Identity, IndexPackage, World};

/// An index of packages written as `name version field:value …` with `_` for blanks in values.
fn index(packages: &[&str]) -> Index {
    let mut text = String::new();
    for (number, package) in packages.iter().enumerate() {
        let mut words = package.split(' ');
        let (name, version) = (words.next().unwrap(), words.next().unwrap());
        let identity = Identity::sha1(format!("{number} {package}").as_bytes());
        writeln!(text, "C:{identity}\nP:{name}\nV:{version}").unwrap();
        let fields: Vec<_> = words.map(|field| field.replace('_', " ")).collect();
        for (letter, value) in [("A:", "x86_64"), ("I:", "4096")] {
            if !fields.iter().any(|field| field.starts_with(letter)) {
                writeln!(text, "{letter}{value}").unwrap();
            }
        }
        writeln!(text, "{}\n", fields.join("\n")).unwrap();
    }
    Index::parse(&text.replace("\n\n\n", "\n\n")).unwrap()
}

fn repositories(indexes: &[Index]) -> Vec<Repository<'_>> {
    let untagged = |index| Repository { index, tag: None };
    indexes.iter().map(untagged).collect()
}

fn world(text: &str) -> World {
    World::parse(text).unwrap()
}

/// The packages that a world over these repositories installs, or the problems.
fn solved(text: &str, repositories: &[Repository<'_>]) -> Result<Vec<String>, Vec<String>> {
    match solve(world(text).dependencies(), repositories, "x86_64") {
        Ok(solution) => Ok(solution.packages.iter().map(|it| it.package.to_string()).collect()),
        Err(unsolvable) => Err(unsolvable.problems.iter().map(ToString::to_string).collect()),
    }
}

fn installs(text: &str, packages: &[&str], expected: &[&str]) {
    let indexes = [index(packages)];
    let found = solved(text, &repositories(&indexes));
    assert_eq!(found, Ok(expected.iter().map(|&it| it.to_owned()).collect()), "{text}");
}

fn refuses(text: &str, packages: &[&str], expected: &[&str]) {
    let indexes = [index(packages)];
    let found = solved(text, &repositories(&indexes));
    assert_eq!(found, Err(expected.iter().map(|&it| it.to_owned()).collect()), "{text}");
}

#[test]
fn dependencies_come_along_and_nothing_else() {
    let packages = ["a 1 D:b_so:c.so", "b 1 D:a", "c 1 p:so:c.so=1", "d 1"];
    installs("a", &packages, &["a-1", "b-1", "c-1"]);
    installs("", &packages, &[]);
}

#[test]
fn the_highest_version_that_fits_is_taken() {
    let packages = ["a 1", "a 3", "a 2-r1", "a 2", "b 1 D:a<3"];
    installs("a", &packages, &["a-3"]);
    installs("b", &packages, &["a-2-r1", "b-1"]);
    installs("a~2", &packages, &["a-2-r1"]);
    installs("a=2", &packages, &["a-2"]);
}

#[test]
fn a_provider_without_version_needs_a_priority_or_to_be_named() {
    let packages = ["x 1 p:web", "y 1 p:web", "z 1 D:web"];
    refuses("z", &packages, &["z-1 needs `web`, which is provided by `x` or `y` alike; add one of them to the world"]);
    installs("z y", &packages, &["y-1", "z-1"]);
    installs("x y z", &packages, &["x-1", "y-1", "z-1"]);
    let packages = ["x 1 p:web k:5", "y 1 p:web k:10", "z 1 D:web"];
    installs("z", &packages, &["y-1", "z-1"]);
    installs("z x", &packages, &["x-1", "z-1"]);
}

#[test]
fn a_name_without_version_meets_no_constraint_on_one() {
    let packages = ["x 1 p:web k:1"];
    installs("web", &packages, &["x-1"]);
    for text in ["web<2", "web>=0", "web~1"] {
        let indexes = [index(&packages)];
        assert!(solved(text, &repositories(&indexes)).is_err(), "{text}");
    }
    installs("x !web>1", &packages, &["x-1"]);
}

#[test]
fn only_one_package_provides_a_name_with_a_version() {
    let packages = ["x 1 p:so:l=1", "y 1 p:so:l=2"];
    installs("so:l", &packages, &["y-1"]);
    installs("x so:l", &packages, &["x-1"]);
    let indexes = [index(&packages)];
    let found = solved("x y", &repositories(&indexes)).unwrap_err();
    assert!(found.iter().any(|it| it.contains("`so:l`")), "{found:?}");
}

#[test]
fn install_if_brings_a_package_in_when_all_its_conditions_are_there() {
    let packages = ["a 1", "b 1", "a-b 1 i:a=1_b", "a-c 1 i:a_c", "a-b-doc 1 i:a-b", "c 1"];
    installs("a", &packages, &["a-1"]);
    installs("a b", &packages, &["a-1", "a-b-1", "a-b-doc-1", "b-1"]);
}

#[test]
fn a_conflict_keeps_packages_out_or_makes_the_world_impossible() {
    let packages = ["a 1 D:x", "b 1 p:x k:2", "c 1 p:x k:1", "d 1 D:!b"];
    installs("a", &packages, &["a-1", "b-1"]);
    installs("a !b", &packages, &["a-1", "c-1"]);
    refuses(
        "b d",
        &packages,
        &["the world needs `b`, but b-1 is ruled out by `!b` of d-1", "d-1 forbids `b`, but b-1 is needed"],
    );
}

#[test]
fn the_first_repository_wins_among_equals_and_tags_keep_others_out() {
    let first = index(&["a 1", "b 1"]);
    let second = index(&["a 1 k:0", "b 2 D:c", "c 1"]);
    let both = [first.clone(), second.clone()];
    let solution = solve(world("a b").dependencies(), &repositories(&both), "x86_64").unwrap();
    let from: Vec<_> = solution.packages.iter().map(|it| (it.package.name(), it.repository)).collect();
    assert_eq!(from, [("a", 0), ("b", 1), ("c", 1)]);

    let tagged = [Repository { index: &first, tag: None }, Repository { index: &second, tag: Some("edge") }];
    let owned = |names: &[&str]| Ok(names.iter().map(|&it| it.to_owned()).collect());
    assert_eq!(solved("b", &tagged), owned(&["b-1"]));
    assert_eq!(solved("b@edge", &tagged), owned(&["b-2", "c-1"]));
    assert!(solved("c", &tagged).unwrap_err()[0].contains("tag"));
    assert_eq!(solved("b@new", &tagged).unwrap_err(), ["`b@new`: no repository has that tag; did you mean `edge`?"]);
}

#[test]
fn packages_of_another_architecture_are_not_installed() {
    let packages = ["a 2 A:aarch64", "a 1 A:noarch", "b 1 A:aarch64"];
    installs("a", &packages, &["a-1"]);
    refuses("b", &packages, &["the world needs `b`, but b-1 is built for aarch64"]);
}

#[test]
fn what_is_provided_in_a_malformed_version_is_provided_all_the_same() {
    installs("a", &["a 1 D:so:b", "b 1 p:so:b=0..0"], &["a-1", "b-1"]);
}

#[test]
fn a_package_that_installs_nothing_needs_no_tag() {
    let [stable, edge] = [index(&["a 1"]), index(&["meta 1 I:0 D:a", "b 1"])];
    let tagged = [Repository { index: &stable, tag: None }, Repository { index: &edge, tag: Some("edge") }];
    assert_eq!(solved("meta", &tagged), Ok(vec!["a-1".to_owned(), "meta-1".to_owned()]));
    assert!(solved("b", &tagged).is_err());
}

#[test]
fn an_unusable_package_is_passed_over() {
    let packages = ["a 2 X:?", "a 1", "b 1 D:c=v"];
    installs("a", &packages, &["a-1"]);
    let reason = "the world needs `b`, but b-1 is not usable: its dependency `c=v` is malformed";
    refuses("b", &packages, &[reason]);
}

#[test]
fn what_is_missing_is_told_with_near_misses() {
    let packages = ["openbox 1", "x 1 p:cmd:startx=1", "y 1 D:openbx"];
    let text = "the world needs `openbx`, but no repository offers it: did you mean `openbox`?";
    refuses("openbx", &packages, &[text]);
    let text = "the world needs `startx`, but no repository offers it: did you mean `cmd:startx`?";
    refuses("startx", &packages, &[text]);
    let text = "y-1 needs `openbx`, but no repository offers it: did you mean `openbox`?";
    refuses("y", &packages, &[text]);
    let packages = ["xorg-server-dev 1", "xorg-server 1", "xorgs-x 1", "a 1 p:xorg-a=1"];
    let text = "the world needs `xorg`, but no repository offers it: did you mean `xorg-a`, `xorg-server` or `xorg-server-dev`?";
    refuses("xorg", &packages, &[text]);
}

#[test]
fn a_package_that_rules_itself_out_and_one_that_is_needed_for_a_forbidden_name_are_told() {
    let packages = ["a 1 D:!a", "b 1 p:web=1", "c 1 D:b"];
    refuses("a", &packages, &["the world needs `a`, but a-1 rules itself out with its dependency `!a`"]);
    let found = solved("!web c", &repositories(&[index(&packages)])).unwrap_err();
    assert!(found.contains(&"the world forbids `web`, but b-1, which provides it, is needed".to_owned()), "{found:?}");
}

#[test]
fn of_names_that_are_equally_urgent_the_last_to_become_so_is_decided_first() {
    let providers = ["x 1 p:u=2", "y 1 p:u=1_v=2", "z 1 p:v=1"];
    installs("a", &[&["a 1 D:u_v"][..], &providers].concat(), &["a-1", "y-1"]);
    installs("a", &[&["a 1 D:v_u"][..], &providers].concat(), &["a-1", "x-1", "z-1"]);
}

#[test]
fn names_are_looked_at_in_the_order_of_apks_hash_table() {
    // Whether the package that comes along with `l` is decided before `h` has given up waiting for `bus`.
    for (name, brings_h) in
        [("j", true), ("k", false), ("m", false), ("n", true), ("q", false), ("a", true), ("b", false), ("c", true)]
    {
        let along = format!("{name} 1 p:bus=3 i:l");
        let indexes = [index(&["w 1 p:bus", "h 1 i:bus", &along, "l 1"])];
        let found = solved("l", &repositories(&indexes)).unwrap();
        assert_eq!(found.contains(&"h-1".to_owned()), brings_h, "{name}: {found:?}");
    }
}

#[test]
fn a_name_that_may_be_provided_twice_is_met_by_the_first_provider_on_the_way() {
    // `x` is the better one for `web`, but `y` is there by then.
    let indexes = [index(&["x 1 p:web k:10", "y 1 p:web_c k:5", "a 1 D:c_web"])];
    let solution = solve(world("a").dependencies(), &repositories(&indexes), "x86_64").unwrap();
    let found: Vec<_> = solution.packages.iter().map(|it| it.package.name()).collect();
    assert_eq!(found, ["a", "y"]);
    let reasons: Vec<_> = solution.packages[1].reasons.iter().map(ToString::to_string).collect();
    assert_eq!(reasons, ["a needs `c`", "a needs `web`"]);
}

#[test]
fn every_package_knows_why_it_is_there() {
    let indexes = [index(&["a 1 D:so:b>=1", "b 1 p:so:b=1", "a-b 1 i:a_b"])];
    let solution = solve(world("a").dependencies(), &repositories(&indexes), "x86_64").unwrap();
    let reasons: Vec<_> =
        solution.packages.iter().map(|it| format!("{}: {}", it.package.name(), it.reasons[0])).collect();
    assert_eq!(reasons, ["a: the world asks for `a`", "a-b: comes along with a and b", "b: a needs `so:b>=1`",]);
}

#[test]
fn a_chain_as_long_as_an_index_does_not_overflow_the_stack() {
    let packages: Vec<String> = (0..20_000).map(|n| format!("p{n} 1 D:p{}", n + 1)).collect();
    let mut packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    packages.push("p20000 1");
    let indexes = [index(&packages)];
    assert_eq!(solved("p0", &repositories(&indexes)).unwrap().len(), 20_001);
}

#[test]
fn more_repositories_than_can_be_told_apart_are_refused() {
    let indexes = vec![index(&[]); REPOSITORY_LIMIT + 1];
    let found = solved("", &repositories(&indexes)).unwrap_err();
    assert_eq!(found, ["there are 65 repositories; at most 64 can be used"]);
    assert!(solved("", &repositories(&indexes[1..])).is_ok());
}

/// Whether a dependency holds among these packages.
fn holds(dependency: &Dependency<&str>, packages: &[IndexPackage]) -> bool {
    let met = packages.iter().any(|package| {
        let own = (package.name(), Some(package.version().to_owned()));
        let provided = package.provides().map(|it| {
            let text = it.to_string();
            (it.name, text.split_once('=').map(|(_, version)| version.to_owned()))
        });
        std::iter::once(own).chain(provided).any(|(name, version)| {
            name == dependency.name && dependency.constraint.accepts(version.as_deref(), &package.identity())
        })
    });
    met != dependency.conflict
}

fn dependency() -> impl Strategy<Value = String> {
    "!{0,1}[a-f]|[a-f]|[a-f]|[uv]|[a-f](=|<|>|~)[12]|[uv](>=|<)[12]"
}

fn package() -> impl Strategy<Value = String> {
    let list = |field: &'static str, most: usize| {
        prop::collection::vec(dependency(), 0..=most).prop_map(move |words| match words.as_slice() {
            [] => String::new(),
            words => format!(" {field}:{}", words.join("_")),
        })
    };
    let provides = prop::option::of("[uv](=[12]){0,1}");
    ("[a-f]", "[12]", list("D", 2), list("i", 2), provides, 0..3).prop_map(
        |(name, version, depends, install_if, provides, priority)| {
            let provides = provides.map_or(String::new(), |it| format!(" p:{it}"));
            format!("{name} {version} k:{priority}{depends}{install_if}{provides}")
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_solution_meets_every_dependency_and_has_nothing_superfluous(
        packages in prop::collection::vec(package(), 1..12),
        wishes in prop::collection::vec(dependency(), 1..4),
    ) {
        let indexes = [index(&packages.iter().map(String::as_str).collect::<Vec<_>>())];
        let Ok(world) = World::parse(&wishes.join("\n")) else { return Ok(()) };
        let found = solve(world.dependencies(), &repositories(&indexes), "x86_64");
        let solution = match found {
            Ok(solution) => solution,
            Err(unsolvable) => {
                prop_assert!(!unsolvable.problems.is_empty());
                return Ok(());
            }
        };
        let chosen: Vec<_> = solution.packages.iter().map(|it| it.package.clone()).collect();
        for dependency in world.dependencies() {
            prop_assert!(holds(&dependency.borrowed(), &chosen), "{} of the world", dependency);
        }
        for selected in &solution.packages {
            for dependency in selected.package.depends() {
                // apk lets a package conflict with itself and with names it provides.
                let itself = dependency.conflict && holds(&Dependency { conflict: false, ..dependency.clone() }, std::slice::from_ref(&selected.package));
                prop_assert!(itself || holds(&dependency, &chosen), "{} of {}", dependency, selected.package);
            }
            prop_assert!(!selected.reasons.is_empty());
            let versions = chosen.iter().filter(|it| it.name() == selected.package.name());
            prop_assert_eq!(versions.count(), 1);
        }
        let again = solve(world.dependencies(), &repositories(&indexes), "x86_64").unwrap();
        let names = |solution: &Solution| format!("{:?}", solution.packages);
        prop_assert_eq!(names(&again), names(&solution));
    }
}

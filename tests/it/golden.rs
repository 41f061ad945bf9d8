//! The files of every profile of the repository, as `tests/it/golden/NAME.txt` has them: what a change of the program or
//! of an overlay does to machines is seen before it is committed.

use std::fmt::Write as _;
use std::path::Path;

use bivouac::build::{BaseAccounts, Recipe};
use bivouac::wire::apkovl::{Node, Tree};

/// The variable that has the files written anew.
pub const RENEW: &str = "BIVOUAC_GOLDEN";

/// Mode, owner, size or link target, and path, one entry a line.
fn listing(tree: &Tree) -> String {
    let mut text = String::new();
    for (path, entry) in tree.iter() {
        let (kind, is) = match &entry.node {
            Node::Directory => ('d', "-".to_owned()),
            Node::File(bytes) => ('-', bytes.len().to_string()),
            Node::Symlink(target) => ('l', target.clone()),
            Node::CharDevice { major, minor } => ('c', format!("{major}:{minor}")),
            Node::BlockDevice { major, minor } => ('b', format!("{major}:{minor}")),
            Node::Fifo => ('p', "-".to_owned()),
        };
        writeln!(text, "{kind}{:04o} {} {is} {path}", entry.mode, entry.owner).unwrap();
    }
    text
}

/// The lines that only one of two listings has, with `-` for the old one and `+` for the new one.
fn difference(old: &str, new: &str) -> String {
    let only = |mark: char, of: &str, other: &str| {
        let lines = of.lines().filter(|line| !other.lines().any(|it| it == *line));
        lines.map(|line| format!("{mark} {line}\n")).collect::<String>()
    };
    only('-', old, new) + &only('+', new, old)
}

#[test]
fn the_files_of_every_profile_are_those_that_were_agreed_on() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden = root.join("tests/it/golden");
    let mut wrong = String::new();
    let profiles = bivouac::disk::list(&root.join("profiles")).unwrap();
    for name in &profiles {
        let recipe = Recipe::load(&root.join("profiles"), &root.join("overlays"), &name.parse().unwrap()).unwrap();
        let new = listing(&recipe.tree(&BaseAccounts::default()).unwrap());
        let file = golden.join(format!("{name}.txt"));
        if std::env::var_os(RENEW).is_some_and(|value| value == "write") {
            std::fs::create_dir_all(&golden).unwrap();
            std::fs::write(&file, &new).unwrap();
        }
        let old = std::fs::read_to_string(&file).unwrap_or_default();
        if old != new {
            writeln!(wrong, "profile {name}:\n{}", difference(&old, &new)).unwrap();
        }
    }
    for file in bivouac::disk::list(&golden).unwrap() {
        if !file.strip_suffix(".txt").is_some_and(|name| profiles.iter().any(|known| known == name)) {
            writeln!(wrong, "tests/it/golden/{file} belongs to no profile; delete it").unwrap();
        }
    }
    assert!(
        wrong.is_empty(),
        "{wrong}\nIf that is meant, run `{RENEW}=write cargo test --test it golden` and commit it."
    );
}

#[test]
fn a_difference_shows_what_went_and_what_came() {
    assert_eq!(difference("a\nb\n", "b\nc\n"), "- a\n+ c\n");
    assert_eq!(difference("a\n", "a\n"), "");
}

//! Tests against Alpine's own indexes and what real apk makes of worlds over them; skipped where
//! the corpus is not there.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use serde_json::Value;

use super::*;

const KEY: &str = "alpine-devel@lists.alpinelinux.org-6165ee59.rsa.pub";
const INDEXES: [&str; 2] = ["apk/v3.19-main-x86_64.APKINDEX.tar.gz", "apk/v3.19-community-x86_64.APKINDEX.tar.gz"];

fn corpus() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    if path.is_dir() {
        return Some(path);
    }
    skip(&path);
    None
}

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn skip(path: &Path) {
    eprintln!("skipped: there is no corpus at {}", path.display());
}

fn key_ring(corpus: &Path) -> KeyRing {
    let mut ring = KeyRing::new();
    ring.insert(KEY, &fs::read(corpus.join("keys").join(KEY)).unwrap()).unwrap();
    ring
}

/// Both indexes, main first; opened once for all tests.
fn indexes(corpus: &Path) -> &'static [Index] {
    static INDEXES_OF_3_19: OnceLock<Vec<Index>> = OnceLock::new();
    INDEXES_OF_3_19.get_or_init(|| {
        let ring = key_ring(corpus);
        let open = |name| SignedIndex::open(&fs::read(corpus.join(name)).unwrap(), &ring).unwrap().0;
        INDEXES.into_iter().map(open).collect()
    })
}

fn repositories(indexes: &[Index]) -> Vec<Repository<'_>> {
    indexes.iter().map(|index| Repository { index, tag: None }).collect()
}

#[test]
fn worlds_come_out_as_real_apk_has_them() {
    let Some(corpus) = corpus() else { return };
    let indexes = indexes(&corpus);
    let repositories = repositories(indexes);
    let lines = fs::read_to_string(corpus.join("apk/solve.jsonl")).unwrap();
    let mut differing = Vec::new();
    for line in lines.lines() {
        let expected: Value = serde_json::from_str(line).unwrap();
        let strings = |field: &str| -> Vec<String> {
            let values = expected[field].as_array().into_iter().flatten();
            values.map(|value| value.as_str().unwrap().to_owned()).collect()
        };
        let world = World::parse(&strings("world").join("\n")).unwrap();
        let solution = solve(world.dependencies(), &repositories, "x86_64");
        let expected = expected["installable"].as_bool().unwrap().then(|| {
            let mut packages = strings("packages");
            packages.sort();
            packages
        });
        let found = solution.as_ref().ok().map(|solution| {
            let packages = solution.packages.iter().map(|it| &it.package);
            let mut names: Vec<_> = packages.map(|it| format!("{}={}", it.name(), it.version())).collect();
            names.sort();
            names
        });
        if found != expected {
            let only = |a: &Option<Vec<String>>, b: &Option<Vec<String>>| {
                let (a, b) = (a.clone().unwrap_or_default(), b.clone().unwrap_or_default());
                a.into_iter().filter(|it| !b.contains(it)).collect::<Vec<_>>()
            };
            differing.push(format!(
                "{world}  missing {:?}\n  superfluous {:?}\n  {}",
                only(&expected, &found),
                only(&found, &expected),
                solution.err().map(|it| it.to_string()).unwrap_or_default(),
            ));
        }
    }
    assert!(differing.is_empty(), "{} worlds differ:\n{}", differing.len(), differing.join("\n"));
}

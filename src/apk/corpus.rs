//! Tests against Alpine's own indexes and what real apk makes of worlds over them; skipped where
//! the corpus is not there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
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

/// What differs between the solver and real apk for one line of the corpus.
fn difference(line: &str, repositories: &[Repository<'_>]) -> Option<String> {
    let expected: Value = serde_json::from_str(line).unwrap();
    let strings = |field: &str| -> BTreeSet<String> {
        let values = expected[field].as_array().into_iter().flatten();
        values.map(|value| value.as_str().unwrap().to_owned()).collect()
    };
    let words: Vec<_> = strings("world").into_iter().collect();
    let world = World::parse(&words.join("\n")).unwrap();
    let expected = expected["installable"].as_bool().unwrap().then(|| strings("packages"));
    let solution = solve(world.dependencies(), repositories, "x86_64");
    let found = solution.as_ref().ok().map(|solution| -> BTreeSet<String> {
        let packages = solution.packages.iter().map(|it| &it.package);
        packages.map(|it| format!("{}={}", it.name(), it.version())).collect()
    });
    (found != expected).then(|| {
        let (expected, found) = (expected.unwrap_or_default(), found.unwrap_or_default());
        format!(
            "{words:?}\n  missing {:?}\n  superfluous {:?}\n  {:?}",
            expected.difference(&found).collect::<Vec<_>>(),
            found.difference(&expected).collect::<Vec<_>>(),
            solution.err(),
        )
    })
}

#[test]
fn worlds_come_out_as_real_apk_has_them() {
    let Some(corpus) = corpus() else { return };
    let repositories = repositories(indexes(&corpus));
    let text = fs::read_to_string(corpus.join("apk/solve.jsonl")).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let check =
        |part: &[&str]| -> Vec<String> { part.iter().filter_map(|line| difference(line, &repositories)).collect() };
    let differences: Vec<String> = thread::scope(|scope| {
        let parts = lines.chunks(lines.len().div_ceil(4));
        let workers: Vec<_> = parts.map(|part| scope.spawn(|| check(part))).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(lines.len() >= 60);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn real_indexes_open_only_with_the_key_that_signed_them() {
    let Some(corpus) = corpus() else { return };
    let counts: Vec<_> = indexes(&corpus).iter().map(|index| index.packages().len()).collect();
    assert_eq!(counts, [5443, 17587]);
    assert_eq!(indexes(&corpus)[0].description(), "v3.19.1-643-gec825d20535");
    let mut file = fs::read(corpus.join(INDEXES[0])).unwrap();
    let (_, signed_by) = SignedIndex::open(&file, &key_ring(&corpus)).unwrap();
    assert_eq!((signed_by.key.as_str(), signed_by.algorithm), (KEY, Algorithm::RsaSha1));
    let error = SignedIndex::open(&file, &KeyRing::new()).unwrap_err();
    assert!(matches!(error, SignedIndexError::UnknownKey { keys, .. } if keys == [KEY]));
    *file.last_mut().unwrap() ^= 1;
    let error = SignedIndex::open(&file, &key_ring(&corpus)).unwrap_err();
    assert!(matches!(error, SignedIndexError::BadSignature { .. }));
}

#[test]
fn every_key_of_alpine_is_accepted() {
    let Some(corpus) = corpus() else { return };
    let mut ring = KeyRing::new();
    for entry in fs::read_dir(corpus.join("keys")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".rsa.pub") {
            ring.insert(name, &fs::read(&path).unwrap()).unwrap();
        }
    }
    assert_eq!(ring.names().count(), 17);
}

#[test]
fn an_index_of_a_solution_alone_has_the_same_solution() {
    let Some(corpus) = corpus() else { return };
    let world = World::parse("alpine-base openssh chrony").unwrap();
    let solve_over = |repositories: &[Repository<'_>]| solve(world.dependencies(), repositories, "x86_64").unwrap();
    let solution = solve_over(&repositories(indexes(&corpus)));
    let packages = || solution.packages.iter().map(|it| &it.package);
    let key = SigningKey::generate(KeyLength::Bits2048).unwrap();
    let name: KeyName = "site-1.rsa.pub".parse().unwrap();
    let file = key.sign_index(&write_index(packages(), "vdi"), &name).unwrap();
    let mut ring = KeyRing::new();
    ring.insert(name.as_str(), key.public_pem().unwrap().as_bytes()).unwrap();
    let (subset, _) = SignedIndex::open(&file, &ring).unwrap();
    let again = solve_over(&[Repository { index: &subset, tag: None }]);
    let records = |solution: &Solution| -> Vec<String> {
        let packages = solution.packages.iter().map(|it| it.package.record());
        packages.map(str::to_owned).collect()
    };
    assert_eq!(records(&again), records(&solution));
    assert_eq!(subset.packages().len(), solution.packages.len());
}

//! Alpine's security database: which advisories about a source package (an origin) which version fixed.
//!
//! One JSON file for each repository of a branch, `BRANCH/REPOSITORY.json`, made of comments that maintainers write by
//! hand. So single entries have typing errors, and one that makes no sense is passed over; the file as a whole has to be
//! one. Nobody signs it: it says what is worth an update, and decides nothing.

use std::collections::{BTreeSet, HashMap};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::version;

/// The most bytes of a database that are read; Alpine's have less than a million, and hostile ones take twenty times their
/// size in memory.
pub const SECDB_LIMIT: usize = 4 << 20;

/// The longest identifier of an advisory, and the longest version; those in use have a third of it.
const LONGEST: usize = 64;

/// The advisories of one repository.
#[derive(Debug, Clone, Default)]
pub struct Secdb {
    branch: String,
    repository: String,
    fixes: HashMap<String, Vec<Fix>>,
}

/// A version, and what it fixed.
#[derive(Debug, Clone)]
struct Fix {
    version: String,
    advisories: Vec<String>,
}

/// A file that is not a security database.
#[derive(Debug, thiserror::Error)]
pub enum SecdbError {
    /// Far larger than any there is.
    #[error("the security database has {0} bytes, and at most {SECDB_LIMIT} are read")]
    TooLarge(usize),
    /// Not JSON of the right shape.
    #[error("the security database cannot be read")]
    Syntax(#[from] serde_json::Error),
    /// It is one, but not the one that was asked for.
    #[error("the security database is not that of {repository} in {branch}")]
    Other {
        /// The branch that was asked for.
        branch: String,
        /// The repository that was asked for.
        repository: String,
    },
}

/// The file, as far as it matters. What people write by hand is looked at piece by piece.
#[derive(Deserialize)]
struct File<'a> {
    #[serde(default)]
    distroversion: String,
    #[serde(default)]
    reponame: String,
    #[serde(borrow)]
    packages: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    pkg: Origin<'a>,
}

#[derive(Deserialize)]
struct Origin<'a> {
    name: String,
    #[serde(borrow)]
    secfixes: HashMap<String, &'a RawValue>,
}

impl Secdb {
    /// Reads a database.
    ///
    /// # Errors
    /// When it is no JSON object, its packages are no list, or it has more than [`SECDB_LIMIT`] bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, SecdbError> {
        if bytes.len() > SECDB_LIMIT {
            return Err(SecdbError::TooLarge(bytes.len()));
        }
        let file: File<'_> = serde_json::from_slice(bytes)?;
        let mut fixes: HashMap<String, Vec<Fix>> = HashMap::new();
        for entry in file.packages.into_iter().flatten() {
            let Ok(Entry { pkg }) = serde_json::from_str::<Entry<'_>>(entry.get()) else { continue };
            let known = pkg.secfixes.into_iter().filter_map(|(version, list)| Fix::read(version, list));
            fixes.entry(pkg.name).or_default().extend(known);
        }
        Ok(Self { branch: file.distroversion, repository: file.reponame, fixes })
    }

    /// The same, when it says of itself that it is about this repository of this branch (`v3.24`).
    ///
    /// # Errors
    /// When it is about another one.
    pub fn of(self, branch: &str, repository: &str) -> Result<Self, SecdbError> {
        if (self.branch.as_str(), self.repository.as_str()) == (branch, repository) {
            return Ok(self);
        }
        Err(SecdbError::Other { branch: branch.to_owned(), repository: repository.to_owned() })
    }

    /// The advisories that are fixed by going from one version of an origin to another: those whose fix came after
    /// `from` and not after `to`, by the order of package versions. None, when `to` is not newer.
    #[must_use]
    pub fn fixed_between(&self, origin: &str, from: &str, to: &str) -> BTreeSet<&str> {
        let fixes = self.fixes.get(origin).map(Vec::as_slice).unwrap_or_default().iter();
        let between = fixes
            .filter(|fix| version::compare(&fix.version, from).is_gt() && version::compare(&fix.version, to).is_le());
        between.flat_map(|fix| fix.advisories.iter().map(String::as_str)).collect()
    }
}

impl Fix {
    /// What a version fixed; nothing, when that is no version. `0` stands for what never was a problem in Alpine.
    fn read(version: String, list: &RawValue) -> Option<Self> {
        if version == "0" || version.len() > LONGEST || !version::is_readable(&version) {
            return None;
        }
        let list: Vec<&RawValue> = serde_json::from_str(list.get()).ok()?;
        let texts = list.into_iter().filter_map(|entry| serde_json::from_str::<String>(entry.get()).ok());
        let advisories: Vec<String> = texts.flat_map(|text| identifiers(&text)).collect();
        (!advisories.is_empty()).then_some(Self { version, advisories })
    }
}

/// The advisories an entry names: its CVE identifiers (`CVE-2018-8897 XSA-260`: two names of one thing), or the first
/// word that could be another identifier (`GHSL-2021-045`). Remarks such as `(+ regression fix)` are left out.
fn identifiers(entry: &str) -> Vec<String> {
    let is_identifier = |word: &&str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        word.len() <= LONGEST
            && word.bytes().all(is_plain)
            && word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.contains(|c: char| c.is_ascii_digit())
    };
    let words = || entry.split_ascii_whitespace().filter(is_identifier).map(|word| word.replacen("CVE_", "CVE-", 1));
    let cves: Vec<String> = words().filter(|word| word.starts_with("CVE-")).collect();
    if cves.is_empty() { words().next().into_iter().collect() } else { cves }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DATABASE: &str = r#"{
        "apkurl": "{{urlprefix}}/{{distroversion}}/{{reponame}}/{{arch}}/{{pkg.name}}-{{pkg.ver}}.apk",
        "archs": ["x86_64", "aarch64"],
        "reponame": "main",
        "urlprefix": "https://mirror.example/alpine",
        "distroversion": "v3.24",
        "packages": [
            {"pkg": {"name": "openssl", "secfixes": {
                "0": ["CVE-2022-1292"],
                "3.1.4-r0": ["CVE-2023-5363"],
                "3.1.4-r5": ["CVE-2024-0727", "CVE-2023-6237"],
                "3.10.0-r0": ["CVE-2025-0001 (+ regression fix)"]
            }}},
            {"pkg": {"name": "xen", "secfixes": {"4.10.1-r0": ["CVE-2018-8897 XSA-260", "XSA-999", "CVE_2018-1 "]}}}
        ]
    }"#;

    fn fixed(database: &str, origin: &str, from: &str, to: &str) -> Vec<String> {
        let database = Secdb::parse(database.as_bytes()).unwrap();
        database.fixed_between(origin, from, to).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn what_came_after_the_old_version_and_not_after_the_new_one_is_fixed() {
        for (from, to, expected) in [
            ("3.1.3-r0", "3.1.4-r0", &["CVE-2023-5363"][..]),
            ("3.1.4-r0", "3.1.4-r5", &["CVE-2023-6237", "CVE-2024-0727"]),
            ("3.1.4-r4", "3.1.4-r6", &["CVE-2023-6237", "CVE-2024-0727"]),
            ("3.1.4-r5", "3.9.0-r0", &[]),
            ("3.9.0-r0", "3.10.0-r1", &["CVE-2025-0001"]),
            ("3.10.0-r1", "3.1.3-r0", &[]),
            ("3.1.4-r0", "3.1.4-r0", &[]),
        ] {
            assert_eq!(fixed(DATABASE, "openssl", from, to), expected, "{from} to {to}");
        }
        assert_eq!(fixed(DATABASE, "libcrypto3", "1", "9"), [""; 0], "origins only");
        let database = Secdb::parse(DATABASE.as_bytes()).unwrap();
        assert!(database.clone().of("v3.24", "main").is_ok());
        assert_eq!(
            database.of("v3.24", "community").unwrap_err().to_string(),
            "the security database is not that of community in v3.24"
        );
    }

    #[test]
    fn an_entry_may_have_several_names_and_remarks() {
        assert_eq!(fixed(DATABASE, "xen", "4.9-r0", "4.10.1-r0"), ["CVE-2018-1", "CVE-2018-8897", "XSA-999"]);
        for (entry, expected) in [
            ("CVE-2017-2616 (+ regression fix)", &["CVE-2017-2616"][..]),
            ("CVE-2019-1 CVE-2019-2  XSA-1 XPTI", &["CVE-2019-1", "CVE-2019-2"]),
            ("GHSL-2021-045", &["GHSL-2021-045"]),
            ("wnpa-sec-2019-01", &["wnpa-sec-2019-01"]),
            ("\u{1b}[2J9", &[]),
            ("see below", &[]),
            ("", &[]),
        ] {
            assert_eq!(identifiers(entry), expected, "{entry}");
        }
    }

    #[test]
    fn entries_that_make_no_sense_are_passed_over_and_the_rest_stays() {
        let database = r#"{"packages": [
            7, null, {}, {"pkg": {"name": "a"}}, {"pkg": {"name": "b", "secfixes": null}},
            {"pkg": {"name": "c", "secfixes": {
                "1.0-r0": null, "2.0.-r0": ["CVE-1"], "18.09.7": ["CVE-2"], "3-r0": [null, 3, {"CVE-4": "x"}, ["CVE-5"], "CVE-6"]
            }}},
            {"pkg": {"name": "c", "secfixes": {"4-r0": ["CVE-7"]}, "more": true}, "more": true}
        ]}"#;
        assert_eq!(fixed(database, "c", "0", "99"), ["CVE-2", "CVE-6", "CVE-7"]);
        assert_eq!(fixed(r#"{"packages": null}"#, "c", "0", "99"), [""; 0]);
    }

    #[test]
    fn what_is_no_database_is_refused() {
        for text in ["", "[]", "<html>", "{\"packages\": 7}", "{\"packages\": {}}", "{\"packages\": [", "\u{fffd}"] {
            assert!(matches!(Secdb::parse(text.as_bytes()), Err(SecdbError::Syntax(_))), "{text}");
        }
        assert!(matches!(Secdb::parse(&vec![b' '; SECDB_LIMIT + 1]), Err(SecdbError::TooLarge(_))));
    }

    proptest! {
        #[test]
        fn no_database_makes_the_reader_panic(
            bytes: Vec<u8>,
            entry in "(\"|\\[|\\]|\\{|\\}|:|,|name|secfixes|pkg|null|CVE-1|1-r0|é|\\\\u00e9| ){0,40}",
            version in "\\PC{0,12}",
        ) {
            let _ = Secdb::parse(&bytes);
            let _ = Secdb::parse(format!("{{\"packages\":[{entry}]}}").as_bytes());
            let text = serde_json::json!({ "packages": [{ "pkg": { "name": "a", "secfixes": { &version: ["CVE-1"] } } }] });
            let database = Secdb::parse(text.to_string().as_bytes()).unwrap();
            // What is fixed at all is fixed by itself.
            let all = database.fixed_between("a", "", &version);
            prop_assert!(all.len() <= 1);
            prop_assert!(database.fixed_between("a", &version, &version).is_empty());
        }
    }
}

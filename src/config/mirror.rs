//! `[caching-mirror]`: how much is kept, and for how long.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{CachingMirror, ConfigError};
use crate::model::alpine::RepositoryName;

/// The most that is kept when nothing is said, in bytes: a branch of one architecture has about 35 GiB, of which a site
/// uses little.
const DEFAULT_SIZE: u64 = 20 << 30;

/// How old an index may be when nothing is said. Alpine's mirrors take in new packages several times a day.
const DEFAULT_AGE: Duration = Duration::from_secs(600);

/// The bounds of `max-age`; 0 asks upstream each time, and after a month nobody would call it a mirror.
const LONGEST_AGE: Duration = Duration::from_secs(30 * 24 * 3600);

/// What is mirrored when nothing is said: all that Alpine has.
const DEFAULT_REPOSITORIES: [&str; 3] = ["main", "community", "testing"];

/// The units of a size, the longest endings first.
const UNITS: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// `[caching-mirror]` after all checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorSettings {
    /// Whether `serve` answers as a mirror.
    pub is_enabled: bool,
    /// The most bytes that packages and release images may have together.
    pub size: u64,
    /// How old an index may be before a newer one is asked for.
    pub max_age: Duration,
    /// The names of the repositories that are mirrored.
    pub repositories: BTreeSet<RepositoryName>,
}

impl MirrorSettings {
    pub(super) fn check(file: CachingMirror) -> Result<Self, ConfigError> {
        let bad =
            |key, value: &str, why: &str| ConfigError::Value { key, value: value.to_owned(), why: why.to_owned() };
        let size = match &file.size {
            Some(text) => bytes(text).ok_or_else(|| {
                bad("caching-mirror.size", text, "write a number and B, KiB, MiB, GiB or TiB, such as \"20GiB\"")
            })?,
            None => DEFAULT_SIZE,
        };
        let max_age = match &file.max_age {
            Some(text) => humantime::parse_duration(text)
                .ok()
                .filter(|age| *age <= LONGEST_AGE)
                .ok_or_else(|| bad("caching-mirror.max-age", text, "write a time up to 30 days, such as \"10m\""))?,
            None => DEFAULT_AGE,
        };
        let repositories = match file.repositories {
            Some(names) => names.into_iter().collect(),
            None => DEFAULT_REPOSITORIES.map(|name| name.parse().expect("the names have that form")).into(),
        };
        Ok(Self { is_enabled: file.enabled.unwrap_or(true), size, max_age, repositories })
    }
}

/// A number of bytes as people write it.
fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)))?;
    let number = number.trim_end();
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse::<u64>().ok().filter(|_| is_number)?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use crate::config::{File, Settings};

    use super::*;

    fn check(text: &str) -> Result<MirrorSettings, String> {
        let file = File::parse(&format!("[caching-mirror]\n{text}")).map_err(|error| error.message().to_owned())?;
        Settings::check(file).map(|settings| settings.caching_mirror).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_is_taken_and_the_rest_is_as_it_is_best() {
        let best = check("").unwrap();
        assert!(best.is_enabled && best.size == 20 << 30 && best.max_age == Duration::from_secs(600));
        assert_eq!(
            best.repositories.iter().map(RepositoryName::as_str).collect::<Vec<_>>(),
            ["community", "main", "testing"]
        );
        let text = "enabled = false\nsize = \"500 MiB\"\nmax-age = \"0s\"\nrepositories = [\"main\"]";
        let written = check(text).unwrap();
        assert!(!written.is_enabled && written.size == 500 << 20 && written.max_age == Duration::ZERO);
        assert_eq!(written.repositories.iter().map(RepositoryName::as_str).collect::<Vec<_>>(), ["main"]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_can() {
        for text in ["20", "20GB", "GiB", "-1GiB", "+1GiB", "1.5GiB", "20gib", "99999999999TiB", ""] {
            let said = check(&format!("size = \"{text}\"")).unwrap_err();
            assert_eq!(
                said,
                format!(
                    "`caching-mirror.size` cannot be `{text}`: write a number and B, KiB, MiB, GiB or TiB, such as \"20GiB\""
                )
            );
        }
        for text in ["10", "for ever", "31days"] {
            let said = check(&format!("max-age = \"{text}\"")).unwrap_err();
            assert_eq!(
                said,
                format!("`caching-mirror.max-age` cannot be `{text}`: write a time up to 30 days, such as \"10m\"")
            );
        }
        let said = check("repositories = [\"../x\"]").unwrap_err();
        assert!(said.starts_with("`../x` is not a package repository: lower-case letters"), "{said}");
        assert!(check("sise = \"1GiB\"").unwrap_err().contains("unknown field `sise`"));
    }
}

//! How a machine is: what it says about itself besides what it runs.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The most sessions, and the most failed services, that are kept of a report; what is beyond is left out.
pub const MAX_NAMES: usize = 64;

/// The most health checks of a machine.
pub const MAX_CHECKS: usize = 64;

/// The longest name of a user, service or check; the rest is cut off.
const MAX_NAME: usize = 64;

/// The longest text of a check; the rest is cut off.
const MAX_TEXT: usize = 200;

/// How a machine is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Vitals {
    /// Since its kernel started.
    #[serde(with = "seconds")]
    pub uptime: Option<Duration>,
    /// What it has of memory.
    pub memory: Option<Memory>,
    /// Who is logged in, once for each session.
    pub users: Vec<String>,
    /// Since somebody's last input, or since the last session ended; nothing where that cannot be known, as in a graphical
    /// session.
    #[serde(with = "seconds")]
    pub idle: Option<Duration>,
    /// Services that should run and do not.
    pub failed_services: Vec<String>,
    /// What its health checks said.
    pub checks: Vec<HealthCheck>,
}

/// Memory of a machine, in KiB as the kernel tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// What programs can have without others losing any.
    pub available: u64,
}

/// What one executable of `etc/bivouac/health.d` said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Its file name.
    pub name: String,
    /// What it means when it fails.
    pub weight: Weight,
    /// Why it failed, in its own words, which may be none; nothing when it did not fail.
    pub failure: Option<String>,
}

/// What the failure of a health check means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// The machine does not do what it is for: a release that causes this is bad.
    Required,
    /// Something a person should know of.
    Wanted,
}

impl Vitals {
    /// Takes in a line of a report; what it does not know, it ignores.
    pub(super) fn read(&mut self, word: &str, value: &str) {
        match word {
            "uptime" => self.uptime = value.parse().ok().map(Duration::from_secs),
            "idle" => self.idle = value.parse().ok().map(Duration::from_secs),
            "memory" => self.memory = Memory::parse(value),
            "user" if self.users.len() < MAX_NAMES => self.users.push(cut(value, MAX_NAME)),
            "failed-service" if self.failed_services.len() < MAX_NAMES => {
                self.failed_services.push(cut(value, MAX_NAME));
            }
            "check" => self.checks.extend(HealthCheck::parse(value)),
            _ => {}
        }
    }

    /// Why the machine is not good: its required checks that failed.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        self.checks.iter().filter(|check| check.weight == Weight::Required).filter_map(HealthCheck::complaint)
    }

    /// What a person should know although the machine is good.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        let services = self.failed_services.iter().map(|name| format!("service {name} does not run"));
        let checks = self.checks.iter().filter(|check| check.weight == Weight::Wanted);
        services.chain(checks.filter_map(HealthCheck::complaint)).collect()
    }
}

impl Memory {
    fn parse(value: &str) -> Option<Self> {
        let (total, available) = value.split_once(' ')?;
        Some(Self { total: total.parse().ok()?, available: available.trim().parse().ok()? })
    }
}

impl HealthCheck {
    /// Reads `required NAME ok` or `required NAME failed TEXT`, and the same with `wanted`.
    fn parse(value: &str) -> Option<Self> {
        let mut words = value.splitn(4, ' ');
        let weight = match words.next()? {
            "required" => Weight::Required,
            "wanted" => Weight::Wanted,
            _ => return None,
        };
        let name = cut(words.next()?, MAX_NAME);
        let failure = match words.next() {
            Some("ok") => None,
            // What is neither is no success.
            _ => Some(cut(words.next().unwrap_or_default(), MAX_TEXT)),
        };
        Some(Self { name, weight, failure })
    }

    fn complaint(&self) -> Option<String> {
        let text = self.failure.as_ref()?;
        let colon = if text.is_empty() { "" } else { ": " };
        Some(format!("{} check {} failed{colon}{text}", self.weight, self.name))
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Required => "required",
            Self::Wanted => "wanted",
        })
    }
}

/// The beginning of a text of ASCII.
fn cut(text: &str, longest: usize) -> String {
    text.chars().take(longest).collect()
}

/// Durations in the database and for programs: whole seconds.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        duration.map(|duration| duration.as_secs()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::deserialize(deserializer)?.map(Duration::from_secs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vitals(lines: &[&str]) -> Vitals {
        let mut vitals = Vitals::default();
        for line in lines {
            let (word, value) = line.split_once(' ').unwrap();
            vitals.read(word, value);
        }
        vitals
    }

    #[test]
    fn a_required_check_that_failed_is_a_problem_and_the_rest_are_remarks() {
        let vitals = vitals(&[
            "check required vdi failed no answer from 10.0.0.7",
            "check required net ok",
            "check wanted printer failed",
            "check wanted sound ok",
            "failed-service chronyd",
        ]);
        assert_eq!(vitals.problems().collect::<Vec<_>>(), ["required check vdi failed: no answer from 10.0.0.7"]);
        assert_eq!(vitals.remarks(), ["service chronyd does not run", "wanted check printer failed"]);
    }

    #[test]
    fn a_check_that_says_neither_word_did_not_succeed_and_one_of_no_known_weight_is_none() {
        let vitals = vitals(&["check required a", "check required b fine", "check nice c failed x", "check required"]);
        let failed: Vec<_> = vitals.checks.iter().map(|check| (check.name.as_str(), check.failure.is_some())).collect();
        assert_eq!(failed, [("a", true), ("b", true)]);
    }

    #[test]
    fn numbers_that_are_none_are_not_known() {
        let good = vitals(&["uptime 77", "idle 5", "memory 2000 900", "user alice", "user alice"]);
        assert_eq!((good.uptime, good.idle), (Some(Duration::from_secs(77)), Some(Duration::from_secs(5))));
        assert_eq!(good.memory, Some(Memory { total: 2000, available: 900 }));
        assert_eq!(good.users, ["alice", "alice"]);
        let bad = vitals(&["uptime -1", "idle 99999999999999999999", "memory 2000", "memory a b"]);
        assert_eq!(bad, Vitals::default());
    }

    #[test]
    fn names_and_texts_are_bounded_in_number_and_length() {
        let long = "x".repeat(400);
        let check = format!("check required {long} failed {long}");
        let user = format!("user {long}");
        let vitals = vitals(&[&[check.as_str()][..], &[user.as_str(); MAX_NAMES + 5]].concat());
        assert_eq!((vitals.users.len(), vitals.users[0].len()), (MAX_NAMES, MAX_NAME));
        let check = &vitals.checks[0];
        assert_eq!((check.name.len(), check.failure.as_ref().unwrap().len()), (MAX_NAME, MAX_TEXT));
    }

    #[test]
    fn what_is_written_down_is_read_back_also_from_a_shorter_text() {
        let vitals = vitals(&["uptime 77", "idle 5", "memory 2000 900", "user a", "check wanted b failed c"]);
        let text = serde_json::to_string(&vitals).unwrap();
        assert!(text.contains("\"uptime\":77"), "{text}");
        assert_eq!(serde_json::from_str::<Vitals>(&text).unwrap(), vitals);
        assert_eq!(serde_json::from_str::<Vitals>("{}").unwrap(), Vitals::default());
    }
}

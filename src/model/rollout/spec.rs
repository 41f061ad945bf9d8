//! What a rollout was asked to do: from which release to which, in which batches, within which limits.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::window::{Window, Zone, Zones};
use crate::model::label::{LabelError, LabelKey, LabelValue, Labels, Selector, SelectorError};
use crate::model::manifest::BundleId;
use crate::model::name::{ChannelName, ProfileName};

/// How many of a batch have to come up, of a hundred, when nothing else is said.
pub const DEFAULT_SUCCESS: Percent = Percent(90);

/// How long the machines of a batch are watched after the last one came up, when nothing else is said.
pub const DEFAULT_BAKE: Duration = Duration::from_secs(10 * 60);

/// How long a machine may take from its script to a good check-in, when nothing else is said.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// How long nobody has used a machine that may be rebooted when idle, when nothing else is said.
pub const DEFAULT_IDLE: Duration = Duration::from_secs(10 * 60);

/// The number of a rollout.
pub type RolloutNumber = u64;

/// Why a text is no part of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Not a share of a hundred.
    #[error("`{0}` is no percentage; write 1% to 100%")]
    Percent(String),
    /// Neither a count nor a share.
    #[error("`{0}` is no size of a batch; write a count such as 5, a share such as 10%, or `all`")]
    Size(String),
    /// A setting of a batch nobody knows.
    #[error("`{0}` is no setting of a batch; they are `success 95%`, `bake 30m` and `timeout 20m`")]
    Setting(String),
    /// A text that is no time.
    #[error("`{0}` is no duration; write one such as 90s, 30m or 1h")]
    Duration(String),
    /// A limit that lets nothing through.
    #[error("`{0}` would let no machine change; at least one has to be allowed to be unavailable")]
    NoRoom(String),
    /// Not a limit.
    #[error(
        "`{0}` is no limit; write a count such as 5, a share such as 10%, or one of either for each value of a label, such as room=1"
    )]
    Limit(String),
    /// Not a way to reboot.
    #[error("`{0}` is no way to reboot; they are natural, idle, window and force")]
    Reboot(String),
    /// A limit by a label that cannot be.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// A selector that cannot be.
    #[error(transparent)]
    Selector(#[from] SelectorError),
}

/// A share of a hundred, from 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Percent(u8);

impl Percent {
    /// So many of `whole`, rounded up: a share of something is never nothing.
    #[must_use]
    pub const fn of(self, whole: usize) -> usize {
        (whole * self.0 as usize).div_ceil(100)
    }

    /// Whether `part` of `whole` are at least this share.
    #[must_use]
    pub const fn is_reached(self, part: usize, whole: usize) -> bool {
        part * 100 >= whole * self.0 as usize
    }
}

impl FromStr for Percent {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let number = text.trim().strip_suffix('%').and_then(|digits| digits.trim().parse().ok());
        let share = number.filter(|number| (1..=100).contains(number));
        share.map(Self).ok_or_else(|| SpecError::Percent(text.chars().take(40).collect()))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// A release of a profile with its bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its number.
    pub number: u64,
    /// Its bundle.
    pub bundle: BundleId,
}

/// How many machines a batch has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Size {
    /// So many more.
    Count(usize),
    /// Until this share of the machines that are meant has been reached, those of earlier batches among them.
    Share(Percent),
    /// All that are left.
    All,
}

impl Size {
    /// How many machines a batch takes, of `whole` that are meant of which `taken` are in earlier batches.
    #[must_use]
    pub fn of(self, whole: usize, taken: usize) -> usize {
        let left = whole.saturating_sub(taken);
        match self {
            Self::Count(count) => count.min(left),
            Self::Share(share) => share.of(whole).saturating_sub(taken),
            Self::All => left,
        }
    }
}

impl FromStr for Size {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        if text == "all" {
            return Ok(Self::All);
        }
        if text.ends_with('%') {
            return text.parse().map(Self::Share);
        }
        let count = text.parse().ok().filter(|count| *count > 0);
        count.map(Self::Count).ok_or_else(|| SpecError::Size(text.chars().take(40).collect()))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Share(share) => write!(f, "{share}"),
            Self::All => f.write_str("all"),
        }
    }
}

/// Machines that get the release together, and what has to be true before the next ones do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Which machines.
    pub selector: Selector,
    /// How many of them.
    pub size: Size,
    /// How many of those have to come up.
    pub success: Percent,
    /// How long they are watched after that.
    #[serde(with = "seconds")]
    pub bake: Duration,
    /// How long a machine may take from its script to a good check-in.
    #[serde(with = "seconds")]
    pub timeout: Duration,
}

/// What batches have that say nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How many have to come up.
    pub success: Percent,
    /// How long they are watched after that.
    pub bake: Duration,
    /// How long a machine may take.
    pub timeout: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { success: DEFAULT_SUCCESS, bake: DEFAULT_BAKE, timeout: DEFAULT_TIMEOUT }
    }
}

impl Batch {
    /// Reads a batch as it is written: `stage=canary`, `10%`, `site=berlin: 5`, `room=1|2: 50%, bake 1h, success 100%`.
    ///
    /// # Errors
    /// Which part cannot be read.
    pub fn parse(text: &str, pace: &Pace) -> Result<Self, SpecError> {
        let Pace { success, bake, timeout } = *pace;
        let mut batch = Self { selector: Selector::default(), size: Size::All, success, bake, timeout };
        // A value of a label may have a colon, so the one that ends the selector has a blank behind it.
        let (selector, rest) = match text.split_once(": ") {
            Some((selector, rest)) => (Some(selector.trim()), rest.trim()),
            None => (None, text.trim()),
        };
        // Without a size, the selector goes on to the first setting.
        let is_setting = |part: &str| {
            let word = part.split_whitespace().next().unwrap_or_default();
            matches!(word, "success" | "bake" | "timeout") && part.trim().contains(char::is_whitespace)
        };
        let parts: Vec<&str> = rest.split(',').collect();
        let first_setting = parts.iter().position(|part| is_setting(part)).unwrap_or(parts.len());
        let (head, settings) = parts.split_at(first_setting);
        let head = head.join(",");
        match selector {
            Some(selector) => {
                batch.selector = selector.parse()?;
                if !head.is_empty() {
                    batch.size = head.trim().parse()?;
                }
            }
            None if head.bytes().next().is_some_and(|b| b.is_ascii_digit()) => batch.size = head.trim().parse()?,
            None => batch.selector = head.parse()?,
        }
        for setting in settings {
            let (word, value) = setting.trim().split_once(char::is_whitespace).unwrap_or((setting.trim(), ""));
            match word {
                "success" => batch.success = value.parse()?,
                "bake" => batch.bake = duration(value)?,
                "timeout" => batch.timeout = duration(value)?,
                _ => return Err(SpecError::Setting(setting.trim().chars().take(40).collect())),
            }
        }
        Ok(batch)
    }
}

/// A duration as people write it, such as `30m`.
///
/// # Errors
/// When it is none.
pub fn duration(text: &str) -> Result<Duration, SpecError> {
    humantime::parse_duration(text.trim()).map_err(|_| SpecError::Duration(text.chars().take(40).collect()))
}

/// How many machines may be unavailable at once, of all or of each that share the value of a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// The label, such as `room`: each room counts for itself, and machines without one together. All machines count
    /// together when absent.
    pub by: Option<LabelKey>,
    /// How many.
    pub most: Size,
}

impl Budget {
    /// The group a machine counts in.
    #[must_use]
    pub fn group<'a>(&self, labels: &'a Labels) -> Option<&'a LabelValue> {
        self.by.as_ref().and_then(|key| labels.get(key))
    }

    /// How many of a group of `whole` may be unavailable.
    #[must_use]
    pub fn most_of(&self, whole: usize) -> usize {
        match self.most {
            Size::Count(count) => count,
            Size::Share(share) => share.of(whole),
            Size::All => whole,
        }
    }
}

impl FromStr for Budget {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (by, most) = match text.split_once('=') {
            Some((key, most)) => (Some(key.trim().parse()?), most.trim()),
            None => (None, text.trim()),
        };
        if matches!(most, "0" | "0%") {
            return Err(SpecError::NoRoom(text.to_owned()));
        }
        let most = most.parse().map_err(|_| SpecError::Limit(text.chars().take(60).collect()))?;
        Ok(Self { by, most })
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.by {
            Some(key) => write!(f, "{key}={}", self.most),
            None => write!(f, "{}", self.most),
        }
    }
}

/// How machines come to their new release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "how", content = "after")]
pub enum RebootPolicy {
    /// When somebody reboots them.
    Natural,
    /// They are asked to reboot when nobody has used them for so long.
    Idle(#[serde(with = "seconds")] Duration),
    /// They are asked to reboot at some moment of the rollout's hours, whoever uses them.
    Window,
    /// They are asked to reboot at once.
    Force,
}

impl FromStr for RebootPolicy {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match text {
            "natural" => Ok(Self::Natural),
            "idle" => Ok(Self::Idle(DEFAULT_IDLE)),
            "window" => Ok(Self::Window),
            "force" => Ok(Self::Force),
            other => Err(SpecError::Reboot(other.chars().take(40).collect())),
        }
    }
}

impl fmt::Display for RebootPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Natural => "natural",
            Self::Idle(_) => "idle",
            Self::Window => "window",
            Self::Force => "force",
        })
    }
}

/// What a rollout was asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Its number.
    pub number: RolloutNumber,
    /// The profile …
    pub profile: ProfileName,
    /// … and the channel that moves.
    pub channel: ChannelName,
    /// What the channel had.
    pub from: Release,
    /// What it shall have.
    pub to: Release,
    /// One after the other. The last one has everybody who is left.
    pub batches: Vec<Batch>,
    /// How many machines may be unavailable at once; all of them hold.
    pub budgets: Vec<Budget>,
    /// When machines may be given the release and asked to reboot; always when there are none.
    pub windows: Vec<Window>,
    /// When they may not.
    pub blackouts: Vec<Window>,
    /// By which clocks.
    pub zones: Zones,
    /// How machines come to reboot.
    pub reboot: RebootPolicy,
    /// How many machines may fail in all, besides what each batch allows.
    pub max_failures: Option<usize>,
    /// Whether it goes back by itself when it stops.
    pub auto_rollback: bool,
}

impl Spec {
    /// The batches asked for, and one of everybody who is left unless the last one is that.
    #[must_use]
    pub fn with_the_rest(mut batches: Vec<Batch>, pace: &Pace) -> Vec<Batch> {
        let is_rest = |batch: &Batch| batch.selector.is_all() && matches!(batch.size, Size::All);
        if !batches.last().is_some_and(is_rest) {
            let Pace { success, bake, timeout } = *pace;
            batches.push(Batch { selector: Selector::default(), size: Size::All, success, bake, timeout });
        }
        batches
    }

    /// Whether a machine with these labels may be changed now.
    #[must_use]
    pub fn is_open(&self, labels: &Labels, now: SystemTime) -> bool {
        let zone: &Zone = self.zones.of(labels);
        let is_open = |window: &Window| window.is_open(now, zone);
        (self.windows.is_empty() || self.windows.iter().any(is_open)) && !self.blackouts.iter().any(is_open)
    }

    /// How long the hours in which a machine may be changed go on; nothing when they are not now, or have no end.
    #[must_use]
    pub fn closes_in(&self, labels: &Labels, now: SystemTime) -> Option<Duration> {
        let zone: &Zone = self.zones.of(labels);
        self.windows.iter().filter_map(|window| window.closes_in(now, zone)).max()
    }
}

/// Which machines may be changed at one moment. Of all machines of a site the clock is looked at once.
pub(super) struct Hours<'a> {
    spec: &'a Spec,
    now: SystemTime,
    by_clock: Vec<(&'a Zone, bool)>,
}

impl<'a> Hours<'a> {
    /// Those of a rollout, at one moment.
    pub(super) const fn at(spec: &'a Spec, now: SystemTime) -> Self {
        Self { spec, now, by_clock: Vec::new() }
    }

    /// Whether a machine with these labels may be changed.
    pub(super) fn are_open(&mut self, labels: &Labels) -> bool {
        if self.spec.windows.is_empty() && self.spec.blackouts.is_empty() {
            return true;
        }
        let zone = self.spec.zones.of(labels);
        if let Some((_, are_open)) = self.by_clock.iter().find(|(known, _)| std::ptr::eq(*known, zone)) {
            return *are_open;
        }
        let are_open = self.spec.is_open(labels, self.now);
        self.by_clock.push((zone, are_open));
        are_open
    }
}

/// Durations as whole seconds.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(duration.as_secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_secs)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batch(text: &str) -> Batch {
        Batch::parse(text, &Pace::default()).unwrap()
    }

    #[test]
    fn a_batch_is_a_selector_a_size_or_both() {
        let canary = batch("stage=canary");
        assert_eq!((canary.selector.to_string().as_str(), canary.size), ("stage=canary", Size::All));
        assert_eq!(batch("10%").size, Size::Share(Percent(10)));
        assert_eq!(batch("5").size, Size::Count(5));
        let both = batch("site=berlin,room=1|2: 50%, bake 1h, success 100%, timeout 90s");
        assert_eq!(both.selector.to_string(), "site=berlin,room=1|2");
        assert_eq!(
            (both.size, both.success, both.bake),
            (Size::Share(Percent(50)), Percent(100), Duration::from_secs(3600))
        );
        assert_eq!(both.timeout, Duration::from_secs(90));
        assert_eq!(batch("stage=canary,bake 5m").bake, Duration::from_secs(300));
        assert_eq!(batch("all").size, Size::All);
        assert_eq!(batch("bake=x").selector.to_string(), "bake=x");
        for text in ["", "0", "101%", "a: x", "a: 5, bake", "5, cook 3m", "5, bake soon", "A=1"] {
            assert!(Batch::parse(text, &Pace::default()).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_of_all_that_are_meant_and_never_nothing() {
        assert_eq!(Size::Share(Percent(1)).of(50, 0), 1);
        assert_eq!(Size::Share(Percent(10)).of(50, 1), 4);
        assert_eq!(Size::Share(Percent(10)).of(50, 30), 0);
        assert_eq!((Size::Count(7).of(50, 47), Size::All.of(50, 47)), (3, 3));
        assert!(Percent(90).is_reached(9, 10) && !Percent(90).is_reached(8, 9) && Percent(90).is_reached(0, 0));
    }

    #[test]
    fn a_budget_is_for_all_or_for_each_value_of_a_label() {
        let budget: Budget = "room=2".parse().unwrap();
        assert_eq!((budget.by.as_ref().unwrap().as_str(), budget.most_of(30)), ("room", 2));
        assert_eq!("10%".parse::<Budget>().unwrap().most_of(25), 3);
        assert!(matches!("room=0".parse::<Budget>(), Err(SpecError::NoRoom(_))));
        assert!("room=".parse::<Budget>().is_err() && "x".parse::<Budget>().is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(text in "\\PC{0,40}|[a-z0-9=:%, |!-]{0,40}") {
            let _ = Batch::parse(&text, &Pace::default());
            let _ = (text.parse::<Budget>(), text.parse::<Size>(), duration(&text), text.parse::<Window>());
        }
    }
}

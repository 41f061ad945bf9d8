//! Hours of the week, by the clock of a site: `Mon-Fri 20:00-06:00`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::model::label::{LabelKey, LabelValue, Labels};

/// The label whose value names a machine's site.
pub const SITE_LABEL: &str = "site";

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const DAY: u16 = 24 * 60;

/// Why a text names no hours, or no zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Not written as hours are.
    #[error(
        "`{0}` names no hours; write them such as \"Mon-Fri 20:00-06:00\", \"Sat,Sun 00:00-24:00\" or \"22:00-05:00\""
    )]
    Hours(String),
    /// A day that is none.
    #[error("`{0}` is no day; days are Mon, Tue, Wed, Thu, Fri, Sat and Sun")]
    Day(String),
    /// A zone nobody knows.
    #[error("`{0}` is no time zone; write one such as \"Europe/Berlin\" or \"UTC\"")]
    Zone(String),
}

/// Hours of some days of the week, by a local clock. Hours that end before they begin go on into the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    /// One bit for each day on which it begins, Monday first.
    days: u8,
    /// Minutes since midnight.
    from: u16,
    /// Minutes since midnight, up to those of a whole day.
    until: u16,
}

/// A time zone by its name in the IANA database, which is part of the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

/// The clocks of sites.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zones {
    /// By the value of the label `site`.
    pub by_site: BTreeMap<LabelValue, Zone>,
    /// Of all other machines.
    pub other: Zone,
}

impl Zones {
    /// The clock of a machine with these labels.
    #[must_use]
    pub fn of(&self, labels: &Labels) -> &Zone {
        let is_site = |(key, _): &(&LabelKey, &LabelValue)| key.as_str() == SITE_LABEL;
        let site = labels.iter().find(is_site).map(|(_, site)| site);
        site.and_then(|site| self.by_site.get(site)).unwrap_or(&self.other)
    }
}

impl Window {
    /// Whether it is open at `now`, by the clock of `zone`.
    #[must_use]
    pub fn is_open(&self, now: SystemTime, zone: &Zone) -> bool {
        self.closes_in(now, zone).is_some()
    }

    /// How long it stays open, by the clock; nothing when it is not open.
    #[must_use]
    pub fn closes_in(&self, now: SystemTime, zone: &Zone) -> Option<Duration> {
        let local = Timestamp::try_from(now).ok()?.to_zoned(zone.zone.clone());
        let today = u8::try_from(local.weekday().to_monday_zero_offset()).ok()?;
        let yesterday = (today + 6) % 7;
        let minute = u16::try_from(i32::from(local.hour()) * 60 + i32::from(local.minute())).ok()?;
        let begins_on = |day: u8| self.days & (1 << day) != 0;
        let end = if self.from < self.until { self.until } else { self.until + DAY };
        let minutes_left = if begins_on(today) && (self.from..end).contains(&minute) {
            end - minute
        } else if begins_on(yesterday) && minute + DAY < end {
            end - DAY - minute
        } else {
            return None;
        };
        let passed = u64::try_from(local.second()).unwrap_or_default();
        Some(Duration::from_secs(u64::from(minutes_left) * 60 - passed))
    }
}

fn time(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let is_short = |text: &str| (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if !is_short(hour) || !is_short(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let minutes = hour * 60 + minute;
    (minute < 60 && minutes <= DAY).then_some(minutes)
}

fn days(text: &str) -> Result<u8, WindowError> {
    let day = |text: &str| {
        let wanted = text.trim();
        let place = DAYS.iter().position(|name| name.eq_ignore_ascii_case(wanted));
        place.ok_or_else(|| WindowError::Day(wanted.chars().take(20).collect()))
    };
    let mut bits = 0;
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (day(part)?, day(part)?),
        };
        let count = (last + 7 - first) % 7;
        for step in 0..=count {
            bits |= 1 << ((first + step) % 7);
        }
    }
    Ok(bits)
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let unreadable = || WindowError::Hours(text.chars().take(60).collect());
        let text_of_hours = text.trim();
        let (days, hours) = match text_of_hours.rsplit_once(char::is_whitespace) {
            Some((names, hours)) => (days(names.trim())?, hours),
            None => (0x7f, text_of_hours),
        };
        let (from, until) = hours.split_once('-').ok_or_else(unreadable)?;
        let (from, until) = (time(from).ok_or_else(unreadable)?, time(until).ok_or_else(unreadable)?);
        if from == until || from == DAY {
            return Err(unreadable());
        }
        Ok(Self { days, from, until })
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days != 0x7f {
            let mut names = Vec::new();
            let has = |day: usize| self.days & (1 << day) != 0;
            let mut day = 0;
            while day < 7 {
                let first = day;
                while day < 7 && has(day) {
                    day += 1;
                }
                match day - first {
                    0 => day += 1,
                    1 => names.push(DAYS[first].to_owned()),
                    _ => names.push(format!("{}-{}", DAYS[first], DAYS[day - 1])),
                }
            }
            write!(f, "{} ", names.join(","))?;
        }
        write!(f, "{:02}:{:02}-{:02}:{:02}", self.from / 60, self.from % 60, self.until / 60, self.until % 60)
    }
}

impl TryFrom<String> for Window {
    type Error = WindowError;

    fn try_from(text: String) -> Result<Self, WindowError> {
        text.parse()
    }
}

impl From<Window> for String {
    fn from(window: Window) -> Self {
        window.to_string()
    }
}

impl FromStr for Zone {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let unknown = |_| WindowError::Zone(text.chars().take(60).collect());
        Ok(Self { name: text.to_owned(), zone: TimeZone::get(text).map_err(unknown)? })
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self { name: "UTC".to_owned(), zone: TimeZone::UTC }
    }
}

impl TryFrom<String> for Zone {
    type Error = WindowError;

    fn try_from(text: String) -> Result<Self, WindowError> {
        text.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.name
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> SystemTime {
        text.parse::<Timestamp>().unwrap().into()
    }

    fn window(text: &str) -> Window {
        text.parse().unwrap()
    }

    #[test]
    fn hours_go_by_the_clock_of_the_site() {
        let (berlin, utc) = ("Europe/Berlin".parse().unwrap(), Zone::default());
        // A Saturday, 11:30 in Greenwich and 12:30 in Berlin.
        let now = at("2026-11-28T11:30:00Z");
        assert!(window("12:00-13:00").is_open(now, &berlin) && !window("12:00-13:00").is_open(now, &utc));
        assert!(
            window("Sat 12:00-13:00").is_open(now, &berlin) && !window("Mon-Fri 12:00-13:00").is_open(now, &berlin)
        );
        // In summer Berlin is two hours ahead.
        assert!(window("12:00-13:00").is_open(at("2026-07-04T10:30:00Z"), &berlin));
    }

    #[test]
    fn hours_over_midnight_belong_to_the_day_they_begin_on() {
        let (night, utc) = (window("Mon-Fri 20:00-06:00"), Zone::default());
        assert!(night.is_open(at("2026-11-27T23:00:00Z"), &utc), "Friday night");
        assert!(night.is_open(at("2026-11-28T05:59:59Z"), &utc), "Saturday morning");
        assert!(!night.is_open(at("2026-11-28T06:00:00Z"), &utc));
        assert!(!night.is_open(at("2026-11-28T23:00:00Z"), &utc), "Saturday night");
        assert!(!night.is_open(at("2026-11-30T05:00:00Z"), &utc), "Monday morning");
        assert_eq!(night.closes_in(at("2026-11-28T05:59:30Z"), &utc), Some(Duration::from_secs(30)));
        assert_eq!(night.closes_in(at("2026-11-27T23:00:00Z"), &utc), Some(Duration::from_secs(7 * 3600)));
    }

    #[test]
    fn what_is_no_hours_is_refused_with_an_example() {
        for text in ["", "20:00", "Mon 20-06", "25:00-26:00", "10:60-11:00", "10:00-10:00", "24:00-06:00", "1:+2-3:00"]
        {
            let error = text.parse::<Window>().unwrap_err().to_string();
            assert!(error.contains("Mon-Fri 20:00-06:00"), "{text}: {error}");
        }
        assert_eq!("Mo 10:00-11:00".parse::<Window>().unwrap_err(), WindowError::Day("Mo".to_owned()));
        assert!("Europe/Berln".parse::<Zone>().is_err());
    }

    #[test]
    fn hours_are_shown_as_they_are_written() {
        for text in ["Mon-Fri 20:00-06:00", "Sat-Sun 00:00-24:00", "22:00-05:00", "Mon,Wed-Thu 01:05-02:00"] {
            assert_eq!(window(text).to_string(), text);
        }
        assert_eq!(window("fri-mon 1:00-2:00").to_string(), "Mon,Fri-Sun 01:00-02:00");
    }

    proptest! {
        #[test]
        fn hours_are_read_back_as_they_are_shown(days in 1_u8..0x80, from in 0..DAY, until in 0..=DAY) {
            prop_assume!(from != until);
            let window = Window { days, from, until };
            prop_assert_eq!(window.to_string().parse(), Ok(window));
        }
    }
}

//! `[fetch]`: how patient downloads are.

use std::time::Duration;

use super::{ConfigError, Fetch};

/// The most attempts: the waits between them alone take 25 minutes.
const MOST_ATTEMPTS: usize = 100;

/// The bounds of `read-timeout`: below a second, a server that thinks counts as dead; nobody waits for an hour.
const READ_TIMEOUT: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3600)];

/// The bounds of `time-limit`: a tarball has a few hundred megabytes, which takes a while over any line.
const TIME_LIMIT: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(7 * 24 * 3600)];

/// `[fetch]` after all checks; what is not set is as the program finds best.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FetchSettings {
    /// How often each server is asked for a file before its download fails.
    pub attempts: Option<usize>,
    /// How long a server may be silent.
    pub read_timeout: Option<Duration>,
    /// How long the download of one file may take, all attempts together.
    pub time_limit: Option<Duration>,
}

impl FetchSettings {
    pub(super) fn check(file: Fetch) -> Result<Self, ConfigError> {
        if let Some(attempts) = file.attempts.filter(|attempts| !(1..=MOST_ATTEMPTS).contains(attempts)) {
            let why = format!("write a number from 1 to {MOST_ATTEMPTS}");
            return Err(ConfigError::Value { key: "fetch.attempts", value: attempts.to_string(), why });
        }
        Ok(Self {
            attempts: file.attempts,
            read_timeout: within(file.read_timeout, "fetch.read-timeout", READ_TIMEOUT, "30s")?,
            time_limit: within(file.time_limit, "fetch.time-limit", TIME_LIMIT, "6h")?,
        })
    }
}

/// A time as people write it, between two bounds.
fn within(
    written: Option<String>,
    key: &'static str,
    [least, most]: [Duration; 2],
    example: &str,
) -> Result<Option<Duration>, ConfigError> {
    let Some(value) = written else { return Ok(None) };
    match humantime::parse_duration(&value).ok().filter(|time| (least..=most).contains(time)) {
        Some(time) => Ok(Some(time)),
        None => {
            let [least, most] = [least, most].map(humantime::format_duration);
            let why = format!("write a time from {least} to {most}, such as \"{example}\"");
            Err(ConfigError::Value { key, value, why })
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{File, Settings};

    use super::*;

    fn check(text: &str) -> Result<FetchSettings, String> {
        let file = File::parse(&format!("[fetch]\n{text}")).map_err(|error| error.message().to_owned())?;
        Settings::check(file).map(|settings| settings.fetch).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_is_taken_and_the_rest_is_left_to_the_program() {
        assert_eq!(check(""), Ok(FetchSettings::default()));
        assert_eq!(
            check("attempts = 1\nread-timeout = \"2m\"\ntime-limit = \"1day 12h\""),
            Ok(FetchSettings {
                attempts: Some(1),
                read_timeout: Some(Duration::from_secs(120)),
                time_limit: Some(Duration::from_secs(36 * 3600)),
            })
        );
        for (text, is_good) in [
            ("attempts = 100", true),
            ("attempts = 101", false),
            ("read-timeout = \"1s\"", true),
            ("read-timeout = \"999ms\"", false),
            ("read-timeout = \"1h\"", true),
            ("read-timeout = \"3601s\"", false),
            ("time-limit = \"1m\"", true),
            ("time-limit = \"59s\"", false),
            ("time-limit = \"7days\"", true),
            ("time-limit = \"8days\"", false),
        ] {
            assert_eq!(check(text).is_ok(), is_good, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_can() {
        for (text, said) in [
            ("attempts = 0", "`fetch.attempts` cannot be `0`: write a number from 1 to 100"),
            (
                "read-timeout = \"30\"",
                "`fetch.read-timeout` cannot be `30`: write a time from 1s to 1h, such as \"30s\"",
            ),
            (
                "time-limit = \"for ever\"",
                "`fetch.time-limit` cannot be `for ever`: write a time from 1m to 7days, such as \"6h\"",
            ),
            ("attempts = -1", "invalid value: integer `-1`, expected usize"),
            ("timeout = \"30s\"", "unknown field `timeout`, expected one of `attempts`, `read-timeout`, `time-limit`"),
        ] {
            assert_eq!(check(text), Err(said.to_owned()), "{text}");
        }
    }
}

//! `[fleet]`: what is asked of machines that are up.

use std::time::Duration;

use super::{ConfigError, FleetTable};
use crate::model::checkin::orders::DEFAULT_INTERVAL;

/// The bounds of `check-in-interval`: more often than every ten seconds tells nothing new, and a machine that is silent
/// for a day says too little of how it is.
const INTERVAL: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(24 * 3600)];

/// `[fleet]` after all checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetSettings {
    /// How often machines check in.
    pub check_in_interval: Duration,
}

impl FleetSettings {
    pub(super) fn check(file: FleetTable) -> Result<Self, ConfigError> {
        let Some(value) = file.check_in_interval else { return Ok(Self { check_in_interval: DEFAULT_INTERVAL }) };
        let [least, most] = INTERVAL;
        match humantime::parse_duration(&value).ok().filter(|interval| (least..=most).contains(interval)) {
            // Machines are told whole seconds.
            Some(interval) => Ok(Self { check_in_interval: Duration::from_secs(interval.as_secs()) }),
            None => {
                let why = "write a time from 10s to 1day, such as \"5m\"".to_owned();
                Err(ConfigError::Value { key: "fleet.check-in-interval", value, why })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{File, Settings};

    fn interval(text: &str) -> Result<u64, String> {
        let settings = Settings::check(File::parse(text).unwrap()).map_err(|error| error.to_string())?;
        Ok(settings.fleet_settings.check_in_interval.as_secs())
    }

    #[test]
    fn machines_check_in_as_often_as_the_site_says_within_bounds() {
        let written = |value: &str| interval(&format!("[fleet]\ncheck-in-interval = \"{value}\""));
        assert_eq!(interval(""), Ok(300));
        for (text, seconds) in [("10s", 10), ("1m", 60), ("1day", 86_400), ("10s 500ms", 10)] {
            assert_eq!(written(text), Ok(seconds), "{text}");
        }
        for bad in ["9s", "2days", "60", "often"] {
            let said =
                format!("`fleet.check-in-interval` cannot be `{bad}`: write a time from 10s to 1day, such as \"5m\"");
            assert_eq!(written(bad), Err(said));
        }
    }
}

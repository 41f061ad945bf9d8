//! `[fleet]`: what is asked of machines that are up.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{ConfigError, FleetTable, SiteTable};
use crate::model::boot_guard::DEFAULT_ATTEMPTS;
use crate::model::checkin::orders::DEFAULT_INTERVAL;
use crate::model::database::ServerUrl;
use crate::model::label::LabelValue;
use crate::model::rollout::{Zone, Zones};

/// The bounds of `check-in-interval`: more often than every ten seconds tells nothing new, and a machine that is silent
/// for a day says too little of how it is.
const INTERVAL: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(24 * 3600)];

/// The bounds of `boot-attempts`: one failed boot is a power cut, and after twenty nobody waits any more.
const ATTEMPTS: [u32; 2] = [1, 20];

/// `[fleet]` and `[sites]` after all checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetSettings {
    /// How often machines check in.
    pub check_in_interval: Duration,
    /// How many boots of one bundle a machine may begin without coming up before it boots its last good one.
    pub boot_attempts: u32,
    /// The clocks of sites.
    pub zones: Zones,
    /// The database that several servers share; one of this server's own when absent.
    pub database: Option<ServerUrl>,
}

impl FleetSettings {
    pub(super) fn check(file: FleetTable, sites: BTreeMap<String, SiteTable>) -> Result<Self, ConfigError> {
        let FleetTable { check_in_interval, boot_attempts, timezone, database } = file;
        let [least, most] = ATTEMPTS;
        let boot_attempts = boot_attempts.unwrap_or(DEFAULT_ATTEMPTS);
        if !(least..=most).contains(&boot_attempts) {
            let why = format!("write a number from {least} to {most}");
            return Err(ConfigError::Value { key: "fleet.boot-attempts", value: boot_attempts.to_string(), why });
        }
        let other = timezone.map_or_else(|| Ok(Zone::default()), |name| zone("fleet.timezone", name))?;
        let mut by_site = BTreeMap::new();
        for (site, table) in sites {
            let value: LabelValue = site.parse().map_err(|why| ConfigError::Value {
                key: "sites",
                value: site.clone(),
                why: format!("machines have their site as a label, and {why}"),
            })?;
            if let Some(name) = table.timezone {
                by_site.insert(value, zone("sites.timezone", name)?);
            }
        }
        Ok(Self {
            check_in_interval: check_in_interval.map_or(Ok(DEFAULT_INTERVAL), interval)?,
            boot_attempts,
            zones: Zones { by_site, other },
            database: database.map(|url| url.parse::<ServerUrl>()).transpose()?,
        })
    }
}

fn zone(key: &'static str, name: String) -> Result<Zone, ConfigError> {
    let why = "write one of the IANA database, such as \"Europe/Berlin\", or \"UTC\"";
    name.parse().map_err(|_| ConfigError::Value { key, value: name, why: why.to_owned() })
}

fn interval(value: String) -> Result<Duration, ConfigError> {
    let [least, most] = INTERVAL;
    match humantime::parse_duration(&value).ok().filter(|interval| (least..=most).contains(interval)) {
        // Machines are told whole seconds.
        Some(interval) => Ok(Duration::from_secs(interval.as_secs())),
        None => {
            let why = "write a time from 10s to 1day, such as \"5m\"".to_owned();
            Err(ConfigError::Value { key: "fleet.check-in-interval", value, why })
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

    #[test]
    fn each_site_has_its_clock_and_unknown_zones_are_refused() {
        let check = |text: &str| Settings::check(File::parse(text).unwrap()).map_err(|error| error.to_string());
        let settings =
            check("[fleet]\ntimezone = \"Europe/Berlin\"\n[sites.lisbon]\ntimezone = \"Europe/Lisbon\"").unwrap();
        let zones = settings.fleet_settings.zones;
        assert_eq!((zones.other.to_string().as_str(), zones.by_site.len()), ("Europe/Berlin", 1));
        assert!(check("[fleet]\ntimezone = \"Berlin\"").unwrap_err().contains("IANA"));
        assert!(check("[fleet]\nboot-attempts = 0").unwrap_err().contains("1 to 20"));
    }
}

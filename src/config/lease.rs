//! Lease times as people write them: `90s`, `30m`, `12h`, `1d`.

use std::time::Duration;

/// The shortest lease: below a minute, clients would do little but renew.
const SHORTEST: Duration = Duration::from_secs(60);

/// The longest that fits option 51 without meaning "for ever" (RFC 2131, section 3.3).
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Reads a lease time, or nothing when it is not one or out of bounds.
pub(super) fn parse(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok().filter(|lease| (SHORTEST..=LONGEST).contains(lease))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_a_number_and_a_unit_within_bounds() {
        assert_eq!(parse("90s"), Some(Duration::from_secs(90)));
        assert_eq!(parse("1d"), Some(Duration::from_secs(86_400)));
        for bad in ["", "5", "h", "10s", "-1h", "400d", "1é", "99999999999999999999h"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}

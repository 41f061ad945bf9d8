//! Check-ins: never a panic, never memory without bound.
#![no_main]

use bivouac::model::checkin::vitals::{MAX_CHECKS, MAX_NAMES};
use bivouac::model::checkin::{Report, token};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Only that it returns counts.
    let _ = token(bytes);
    if let Ok(Report { vitals, .. }) = Report::parse(bytes) {
        assert!(vitals.checks.len() <= MAX_CHECKS && vitals.users.len() <= MAX_NAMES);
        assert!(vitals.remarks().len() + vitals.problems().count() <= MAX_CHECKS + MAX_NAMES);
    }
});

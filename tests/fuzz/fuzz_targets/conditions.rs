//! Conditions and ranges of HTTP requests: never a panic, and never a byte that the file has not got.
#![no_main]

use std::borrow::Cow;
use std::time::SystemTime;

use bivouac::wire::http::{Answer, Conditions, Current};

libfuzzer_sys::fuzz_target!(|input: (&str, u16)| {
    let (headers, length) = input;
    let mut lines = headers.split('\n').map(|line| (!line.is_empty()).then_some(Cow::Borrowed(line)));
    let mut next = || lines.next().flatten();
    let conditions = Conditions {
        matches: next(),
        none_matches: next(),
        modified_since: next(),
        unmodified_since: next(),
        if_range: next(),
        range: next(),
    };
    let length = usize::from(length);
    let current = Current { tag: "\"tag\"", modified: Some(SystemTime::UNIX_EPOCH), length };
    if let Answer::Part(part) = conditions.answer(current) {
        assert!(part.start < part.end && part.end <= length);
    }
});

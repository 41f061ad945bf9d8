//! Ranges (RFC 9110, section 14). A header that is not understood, or asks for several parts, is passed over, as the RFC
//! allows: then the whole file is the answer.

use std::ops::Range;

/// What a range means for a file of a certain length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ranged {
    /// These bytes; never none.
    Part(Range<usize>),
    /// Bytes that the file has not got.
    Nothing,
}

/// Reads `bytes=FIRST-LAST`, `bytes=FIRST-` or `bytes=-LENGTH`, of a file with `all` bytes. Nothing when the value is not
/// understood or lists several parts.
pub(super) fn parse(value: &str, all: usize) -> Option<Ranged> {
    let (unit, list) = value.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    // Elements of a list may be empty (RFC 9110, section 5.6.1.2).
    let mut parts = list.split(',').map(str::trim).filter(|part| !part.is_empty());
    let (first, last) = parts.next().filter(|_| parts.next().is_none())?.split_once('-')?;
    let part = match (first, last) {
        ("", length) => all.saturating_sub(number(length)?)..all,
        (first, "") => number(first)?..all,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(all)
        }
    };
    Some(if part.is_empty() { Ranged::Nothing } else { Ranged::Part(part) })
}

/// Digits only; a number beyond all files is as good as the largest.
fn number(text: &str) -> Option<usize> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_form_means_what_the_rfc_says() {
        for (text, part) in [
            ("bytes=0-0", 0..1),
            ("bytes=2-4", 2..5),
            ("bytes=2-", 2..10),
            ("bytes=2-99", 2..10),
            ("bytes=-3", 7..10),
            ("bytes=-99", 0..10),
            ("bytes=9-99999999999999999999999", 9..10),
            ("Bytes=2-4", 2..5),
            ("bytes= 2-4 ,", 2..5),
        ] {
            assert_eq!(parse(text, 10), Some(Ranged::Part(part)), "{text}");
        }
        for text in ["bytes=10-", "bytes=10-12", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(parse(text, 10), Some(Ranged::Nothing), "{text}");
        }
        assert_eq!(parse("bytes=0-", 0), Some(Ranged::Nothing));
        assert_eq!(parse("bytes=-5", 0), Some(Ranged::Nothing));
    }

    #[test]
    fn what_is_not_understood_or_lists_several_parts_is_passed_over() {
        for text in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=,",
            "bytes=4-2",
            "bytes=0-1,3-4",
            "lines=0-1",
            "bytes=+1-2",
            "bytes=a-",
            "bytes=1 -2",
            "bytes=1--2",
            "bytes 0-1",
            "bytes=0-1-2",
        ] {
            assert_eq!(parse(text, 10), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_header_asks_for_more_than_there_is(text in "(bytes=)?[-0-9, a]{0,12}", all in 0_usize..20) {
            if let Some(Ranged::Part(part)) = parse(&text, all) {
                prop_assert!(part.start < part.end && part.end <= all, "{:?}", part);
            }
        }

        #[test]
        fn a_range_that_is_written_is_the_range_that_is_read(start in 0_usize..500, length in 1_usize..500) {
            let end = start + length;
            for text in [format!("bytes={start}-{}", end - 1), format!("bytes={start}-"), format!("bytes=-{length}")] {
                prop_assert_eq!(parse(&text, end), Some(Ranged::Part(start..end)));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), all in any::<usize>()) {
            let _ = parse(&text, all);
        }
    }
}

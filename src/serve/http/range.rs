//! Ranges (RFC 9110, section 14): one part of a file. A header that is not understood, or asks for several parts, is
//! passed over, as the RFC allows: then the whole file is the answer.

use std::ops::Range;

use axum::http::{HeaderMap, Method, header};

/// How much of a file is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// All of it.
    Everything,
    /// These bytes; never none.
    Part(Range<usize>),
    /// A part that the file has not got.
    Nothing,
}

/// What a request asks for of a file of `all` bytes with this tag and date.
pub(super) fn asked(method: &Method, headers: &HeaderMap, (etag, modified): (&str, Option<&str>), all: usize) -> Asked {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let Some(range) = text(header::RANGE).filter(|_| method == Method::GET) else { return Asked::Everything };
    // The rest of another file than the one it has would be of no use.
    if text(header::IF_RANGE).is_some_and(|it| it != etag && Some(it) != modified) {
        return Asked::Everything;
    }
    parse(range, all).unwrap_or(Asked::Everything)
}

/// `bytes=FIRST-LAST`, `bytes=FIRST-` or `bytes=-LENGTH`.
fn parse(range: &str, all: usize) -> Option<Asked> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let part = match (first.trim(), last.trim()) {
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
    Some(if part.is_empty() { Asked::Nothing } else { Asked::Part(part) })
}

/// Digits only; a number beyond all files is as good as the largest.
fn number(text: &str) -> Option<usize> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn of(all: usize, method: Method, given: &[(HeaderName, &str)]) -> Asked {
        let given = given.iter().map(|(name, value)| (name.clone(), HeaderValue::try_from(*value).unwrap()));
        asked(&method, &given.collect(), ("\"tag\"", Some("date")), all)
    }

    fn range(text: &str, all: usize) -> Asked {
        of(all, Method::GET, &[(header::RANGE, text)])
    }

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
        ] {
            assert_eq!(range(text, 10), Asked::Part(part), "{text}");
        }
        for text in ["bytes=10-", "bytes=10-12", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(range(text, 10), Asked::Nothing, "{text}");
        }
        assert_eq!(range("bytes=0-", 0), Asked::Nothing);
        for text in
            ["", "bytes", "bytes=", "bytes=-", "bytes=4-2", "bytes=0-1,3-4", "lines=0-1", "bytes=+1-2", "bytes=a-"]
        {
            assert_eq!(range(text, 10), Asked::Everything, "{text}");
        }
    }

    #[test]
    fn a_part_is_sent_only_of_the_file_that_is_meant_and_only_to_get() {
        let asks = |condition| of(10, Method::GET, &[(header::RANGE, "bytes=2-"), (header::IF_RANGE, condition)]);
        assert_eq!(asks("\"tag\""), Asked::Part(2..10));
        assert_eq!(asks("date"), Asked::Part(2..10));
        assert_eq!(asks("\"other\""), Asked::Everything);
        assert_eq!(of(10, Method::HEAD, &[(header::RANGE, "bytes=2-")]), Asked::Everything);
        assert_eq!(of(10, Method::GET, &[]), Asked::Everything);
    }

    proptest! {
        #[test]
        fn no_header_asks_for_more_than_there_is(text in "(bytes=)?[-0-9, a]{0,12}", all in 0_usize..20) {
            if let Asked::Part(part) = range(&text, all) {
                prop_assert!(part.start < part.end && part.end <= all, "{:?}", part);
            }
        }
    }
}

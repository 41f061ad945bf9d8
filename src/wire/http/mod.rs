//! What a request says about the version and the part of the file it wants: preconditions and ranges (RFC 9110, sections
//! 13 and 14). Firmware resumes a download with `Range` and `If-Match` or `If-Unmodified-Since` (netboot.md, D4), curl
//! and wget with `Range` alone or `If-Range`; browsers and caches ask with `If-None-Match` and `If-Modified-Since`.

mod range;

use std::borrow::Cow;
use std::ops::Range;
use std::time::SystemTime;

use self::range::Ranged;

/// The headers of a request that are about the file, each as it came; of a header that came on several lines, the lines
/// joined by commas (RFC 9110, section 5.3). Bytes that are no text may be replaced by anything: no value we give out
/// has any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions<'a> {
    /// `If-Match`.
    pub matches: Option<Cow<'a, str>>,
    /// `If-None-Match`.
    pub none_matches: Option<Cow<'a, str>>,
    /// `If-Modified-Since`.
    pub modified_since: Option<Cow<'a, str>>,
    /// `If-Unmodified-Since`.
    pub unmodified_since: Option<Cow<'a, str>>,
    /// `If-Range`.
    pub if_range: Option<Cow<'a, str>>,
    /// `Range`; of other methods than GET, none.
    pub range: Option<Cow<'a, str>>,
}

/// The file as it is now.
#[derive(Debug, Clone, Copy)]
pub struct Current<'a> {
    /// Its strong tag, with the quotes.
    pub tag: &'a str,
    /// When it became what it is, where anybody is told.
    pub modified: Option<SystemTime>,
    /// Its length in bytes.
    pub length: usize,
}

/// What the answer is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The whole file: 200.
    Everything,
    /// These bytes of it, never none: 206.
    Part(Range<usize>),
    /// The client has it already: 304.
    Unchanged,
    /// It is not the version the client insists on: 412.
    OtherVersion,
    /// It has no such part: 416.
    NoSuchPart,
}

impl Conditions<'_> {
    /// What these headers ask for, in the order of RFC 9110, section 13.2.2.
    #[must_use]
    pub fn answer(&self, current: Current<'_>) -> Answer {
        let is_wanted = match (&self.matches, date(self.unmodified_since.as_deref()), current.modified) {
            (Some(tags), _, _) => lists(tags, |tag| tag == current.tag),
            // A date is of no use where there is none to compare it with (section 13.1.4).
            (None, Some(since), Some(modified)) => seconds(modified) <= seconds(since),
            (None, _, _) => true,
        };
        if !is_wanted {
            return Answer::OtherVersion;
        }
        let is_known = match (&self.none_matches, date(self.modified_since.as_deref()), current.modified) {
            // A weak comparison: to keep what one has, equal meaning is enough.
            (Some(tags), _, _) => lists(tags, |tag| tag.strip_prefix("W/").unwrap_or(tag) == current.tag),
            (None, Some(since), Some(modified)) => seconds(modified) <= seconds(since),
            (None, _, _) => false,
        };
        if is_known {
            return Answer::Unchanged;
        }
        // The rest of another version than the one it has would be of no use to the client.
        let is_of_this = self.if_range.as_deref().is_none_or(|it| {
            it.trim() == current.tag || current.modified.is_some_and(|at| httpdate::fmt_http_date(at) == it.trim())
        });
        match self.range.as_deref().filter(|_| is_of_this).and_then(|range| range::parse(range, current.length)) {
            None => Answer::Everything,
            Some(Ranged::Part(part)) => Answer::Part(part),
            Some(Ranged::Nothing) => Answer::NoSuchPart,
        }
    }
}

/// Whether a list of tags is `*` or has one that is meant. Tags of ours have no commas, so that a foreign one with commas
/// may fall to pieces: none of these is ours.
fn lists(tags: &str, is_meant: impl Fn(&str) -> bool) -> bool {
    tags.split(',').map(str::trim).any(|tag| tag == "*" || is_meant(tag))
}

/// A date, unless it is none (RFC 9110, sections 13.1.3 and 13.1.4).
fn date(text: Option<&str>) -> Option<SystemTime> {
    httpdate::parse_http_date(text?.trim()).ok()
}

/// A date in a header has no fractions of a second.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const TAG: &str = "\"tag\"";
    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    fn current() -> Current<'static> {
        // Half a second later than the date that is told.
        let modified = httpdate::parse_http_date(THEN).unwrap() + Duration::from_millis(500);
        Current { tag: TAG, modified: Some(modified), length: 10 }
    }

    fn text(value: &str) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(value))
    }

    #[test]
    fn a_client_that_has_it_gets_nothing() {
        for (tags, answer) in [
            (TAG, Answer::Unchanged),
            ("W/\"tag\"", Answer::Unchanged),
            ("*", Answer::Unchanged),
            ("\"a\", \"tag\"", Answer::Unchanged),
            ("\"a\",\"b\"", Answer::Everything),
            ("tag", Answer::Everything),
            ("", Answer::Everything),
        ] {
            let conditions = Conditions { none_matches: text(tags), ..Conditions::default() };
            assert_eq!(conditions.answer(current()), answer, "{tags}");
        }
        for (since, answer) in
            [(THEN, Answer::Unchanged), (BEFORE, Answer::Everything), ("yesterday", Answer::Everything)]
        {
            let conditions = Conditions { modified_since: text(since), ..Conditions::default() };
            assert_eq!(conditions.answer(current()), answer, "{since}");
            let undated = Current { modified: None, ..current() };
            assert_eq!(conditions.answer(undated), Answer::Everything, "{since}");
            let tagged = Conditions { none_matches: text("\"other\""), ..conditions };
            assert_eq!(tagged.answer(current()), Answer::Everything, "a tag says more than a date");
        }
    }

    #[test]
    fn firmware_resumes_the_version_it_began_with_and_no_other() {
        let part = Answer::Part(4..10);
        for (tags, answer) in [
            (TAG, part.clone()),
            ("\"a\", \"tag\"", part.clone()),
            ("*", part.clone()),
            ("\"other\"", Answer::OtherVersion),
            ("W/\"tag\"", Answer::OtherVersion),
            ("", Answer::OtherVersion),
        ] {
            let conditions = Conditions { matches: text(tags), range: text("bytes=4-9"), ..Conditions::default() };
            assert_eq!(conditions.answer(current()), answer, "{tags}");
            let dated = Conditions { unmodified_since: text(BEFORE), ..conditions };
            assert_eq!(dated.answer(current()), answer, "a tag says more than a date: {tags}");
        }
        for (since, answer) in [(THEN, part.clone()), (BEFORE, Answer::OtherVersion), ("garbage", part.clone())] {
            let conditions =
                Conditions { unmodified_since: text(since), range: text("bytes=4-"), ..Conditions::default() };
            assert_eq!(conditions.answer(current()), answer, "{since}");
            assert_eq!(conditions.answer(Current { modified: None, ..current() }), part, "{since}");
        }
    }

    #[test]
    fn the_rest_of_another_version_is_the_whole_file() {
        for (condition, answer) in [
            (TAG, Answer::Part(2..10)),
            (THEN, Answer::Part(2..10)),
            ("\"other\"", Answer::Everything),
            ("W/\"tag\"", Answer::Everything),
            (BEFORE, Answer::Everything),
            ("", Answer::Everything),
        ] {
            let conditions = Conditions { if_range: text(condition), range: text("bytes=2-"), ..Conditions::default() };
            assert_eq!(conditions.answer(current()), answer, "{condition}");
        }
        let conditions = Conditions { range: text("bytes=10-"), ..Conditions::default() };
        assert_eq!(conditions.answer(current()), Answer::NoSuchPart);
    }

    #[test]
    fn a_version_comes_before_what_is_known_of_it_and_that_before_a_part() {
        let all = Conditions {
            matches: text("\"other\""),
            none_matches: text(TAG),
            range: text("bytes=99-"),
            ..Conditions::default()
        };
        assert_eq!(all.answer(current()), Answer::OtherVersion);
        let fewer = Conditions { matches: None, ..all };
        assert_eq!(fewer.answer(current()), Answer::Unchanged);
        assert_eq!(Conditions { none_matches: None, ..fewer }.answer(current()), Answer::NoSuchPart);
    }

    proptest! {
        #[test]
        fn no_headers_ask_for_more_than_there_is(
            headers in proptest::array::uniform6(proptest::option::of("(bytes=[-0-9,]{0,8}|W?/?\"?tag\"?,?|.{0,30})")),
            length in 0_usize..20,
        ) {
            let [matches, none_matches, modified_since, unmodified_since, if_range, range] =
                headers.each_ref().map(|it| it.as_deref().map(Cow::Borrowed));
            let conditions =
                Conditions { matches, none_matches, modified_since, unmodified_since, if_range, range };
            let answer = conditions.answer(Current { length, ..current() });
            if let Answer::Part(part) = &answer {
                prop_assert!(conditions.range.is_some() && part.start < part.end && part.end <= length);
            }
            if answer == Answer::OtherVersion {
                prop_assert!(conditions.matches.is_some() || conditions.unmodified_since.is_some());
            }
        }
    }
}

//! The text of a profile or overlay: where each key stands, and every key that cannot be meant, all at once.
//!
//! What is wrong is taken out of the document, which is then read again without it: so one wrong value hides no other,
//! and whoever only looks (`bivouac check`) sees the rest of the profile too.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::Deserialize as _;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

use super::{Layer, ProfileError};
use crate::model::name::nearest;

/// How many wrong keys of one file are listed. Each costs a reading of the whole file.
const MOST_PROBLEMS: usize = 50;

/// How serde begins when a table lacks a key.
const MISSING: &str = "missing field ";

/// The key by which `toml` hands a date over, which shows where no date is expected.
const DATE: &str = "$__toml_private_datetime";

/// A key that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its line, counted from 1.
    pub line: usize,
    /// What is wrong, naming the key.
    pub what: String,
    /// What to write.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}: {}; {}", self.line, self.what, self.fix)
    }
}

/// What was read of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Read<T> {
    /// The file without what is wrong in it.
    pub value: T,
    /// Where its keys stand.
    pub keys: Keys,
    /// What is wrong in it, from the first line to the last.
    pub problems: Vec<Problem>,
}

/// The line of each key of a file. The member of a list counts as a key below the list's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys(BTreeMap<Vec<String>, usize>);

impl Keys {
    /// The line of a key, counted from 1, or of what it would stand in. Nothing when the file has nothing of it.
    pub fn line<S: AsRef<str>>(&self, key: &[S]) -> Option<usize> {
        let key: Vec<String> = key.iter().map(|part| part.as_ref().to_owned()).collect();
        (1..=key.len()).rev().find_map(|length| self.0.get(key.get(..length)?).copied())
    }

    /// Whether the file has the key.
    #[must_use]
    pub fn has(&self, key: &[String]) -> bool {
        self.0.contains_key(key)
    }

    fn of(table: &DeTable<'_>, lines: &Lines) -> Self {
        let mut keys = BTreeMap::new();
        visit(table, &mut Vec::new(), &mut |path, span, value| {
            let mut path = path.to_vec();
            if let (Some(DeValue::String(member)), Some(last)) = (value, path.last_mut())
                && last.parse::<usize>().is_ok()
            {
                *last = member.to_string();
            }
            keys.entry(path).or_insert_with(|| lines.line(span.start));
        });
        Self(keys)
    }
}

/// The places at which the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(end, _)| end + 1)).collect())
    }

    /// The line of a byte, counted from 1.
    fn line(&self, byte: usize) -> usize {
        self.0.partition_point(|start| *start <= byte)
    }
}

/// A value that cannot be meant.
#[derive(Debug)]
struct Wrong {
    /// What has to be taken out.
    path: Vec<String>,
    what: String,
    fix: String,
}

/// The values of a layer that cannot be meant, in no order.
#[derive(Debug, Default)]
pub(super) struct Mistakes(Vec<Wrong>);

impl Mistakes {
    /// Notes why a key cannot have its value.
    pub(super) fn value(&mut self, key: &[&str], value: &str, why: impl Into<String>) {
        let what = format!("`{}` has the value `{}`", dotted(&named(key)), shown(value));
        self.0.push(Wrong { path: owned(key), what, fix: why.into() });
    }

    /// Notes why a table cannot have a key.
    pub(super) fn name(&mut self, table: &[&str], name: &str, why: impl Into<String>) {
        let what = format!("`{}` has the key `{}`", dotted(table), shown(name));
        let path = owned(table).into_iter().chain([name.to_owned()]).collect();
        self.0.push(Wrong { path, what, fix: why.into() });
    }

    /// Notes which members a list cannot have, and why.
    pub(super) fn members<W: Into<String>>(
        &mut self,
        key: &[&str],
        list: &[String],
        check: impl Fn(&str) -> Result<(), W>,
    ) {
        for (place, member) in list.iter().enumerate() {
            if let Err(why) = check(member) {
                self.member(key, place, member, why);
            }
        }
    }

    /// Notes why a list cannot have the member at a place, of which so much is shown.
    pub(super) fn member(&mut self, key: &[&str], place: usize, shown: &str, why: impl Into<String>) {
        self.value(key, shown, why);
        if let Some(wrong) = self.0.last_mut() {
            wrong.path.push(place.to_string());
        }
    }

    /// Notes that a key has no place in such a file.
    pub(super) fn foreign(&mut self, key: &str) {
        let what = format!("only a profile has the key `{key}`, an overlay has not");
        let fix = "take it out, or write it into the profiles that use the overlay".to_owned();
        self.0.push(Wrong { path: vec![key.to_owned()], what, fix });
    }

    /// Whether nothing is wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn owned(key: &[&str]) -> Vec<String> {
    key.iter().map(|part| (*part).to_owned()).collect()
}

/// A key without the places of members.
fn named<S: AsRef<str>>(key: &[S]) -> Vec<&str> {
    key.iter().map(AsRef::as_ref).filter(|part| part.parse::<usize>().is_err()).collect()
}

/// A key as it is written in a file: `files."etc/doas.conf".mode`.
pub fn dotted<S: AsRef<str>>(key: &[S]) -> String {
    let is_bare =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    let part = |part: &S| match part.as_ref() {
        part if is_bare(part) => part.to_owned(),
        part => format!("\"{}\"", part.escape_debug()),
    };
    key.iter().map(part).collect::<Vec<_>>().join(".")
}

/// Reads the keys of a layer, and leaves out each that `mistakes` or its type says cannot be meant.
///
/// # Errors
/// What is no TOML, and what cannot be read even without the first [`MOST_PROBLEMS`] wrong keys.
pub(super) fn read(text: &str, mistakes: impl Fn(&Layer) -> Mistakes) -> Result<Read<Layer>, ProfileError> {
    let syntax = |error: toml::de::Error| ProfileError::Syntax(error.to_string().trim_end().to_owned());
    let mut document = DeTable::parse(text).map_err(syntax)?;
    let lines = Lines::of(text);
    let mut keys = Keys::of(document.get_ref(), &lines);
    let mut problems = Vec::new();
    // The tables that have lost a key: what they lack now, they may have had under another name.
    let mut poorer: Vec<Vec<String>> = Vec::new();
    loop {
        let table = document.get_mut();
        let mut wrong = match Layer::deserialize(Deserializer::from(toml::Spanned::new(0..text.len(), table.clone()))) {
            Ok(layer) => {
                let found = mistakes(&layer);
                if found.is_empty() {
                    // What was taken out of a list moved what came after it.
                    keys.0.extend(Keys::of(document.get_ref(), &lines).0);
                    problems.sort_by_key(|problem: &Problem| problem.line);
                    return Ok(Read { value: layer, keys, problems });
                }
                found.0
            }
            Err(mut error) => {
                let found = error.span().and_then(|span| Some((place_of(table, &span)?, text.get(span)?)));
                let Some((path, written)) = found else {
                    error.set_input(Some(text));
                    return Err(syntax(error));
                };
                if error.message().starts_with(MISSING) && poorer.contains(&path) {
                    take_out(table, &path);
                    continue;
                }
                let (what, fix) = reworded(error.message(), &path, written);
                vec![Wrong { path, what, fix }]
            }
        };
        // The last member of a list first, so that the places of those before it stay.
        wrong.sort_by(|a, b| compare(&b.path, &a.path));
        let known = problems.len();
        for Wrong { path, what, fix } in wrong {
            let line = span_of(table, &path).map_or(1, |span| lines.line(span.start));
            problems.push(Problem { line, what, fix });
            take_out(table, &path);
            poorer.extend(path.split_last().map(|(_, table)| table.to_vec()));
        }
        // Those of one line as they are written.
        problems[known..].reverse();
        if problems.len() > MOST_PROBLEMS {
            problems.sort_by_key(|problem| problem.line);
            return Err(ProfileError::Problems(problems));
        }
    }
}

/// The order of keys in which the numbers of members count as numbers.
fn compare(a: &[String], b: &[String]) -> std::cmp::Ordering {
    let number = |part: &String| (part.parse::<usize>().ok(), part.clone());
    a.iter().map(number).cmp(b.iter().map(number))
}

/// Goes over each key, with the place of the key and of its value, and each member of a list.
fn visit<'a>(
    table: &'a DeTable<'_>,
    path: &mut Vec<String>,
    see: &mut impl FnMut(&[String], Range<usize>, Option<&'a DeValue<'a>>),
) {
    for (key, value) in table {
        path.push(key.get_ref().to_string());
        see(path, key.span(), None);
        see(path, value.span(), None);
        visit_value(value.get_ref(), path, see);
        path.pop();
    }
}

fn visit_value<'a>(
    value: &'a DeValue<'_>,
    path: &mut Vec<String>,
    see: &mut impl FnMut(&[String], Range<usize>, Option<&'a DeValue<'a>>),
) {
    match value {
        DeValue::Table(table) => visit(table, path, see),
        DeValue::Array(array) => {
            for (place, member) in array.iter().enumerate() {
                path.push(place.to_string());
                see(path, member.span(), Some(member.get_ref()));
                visit_value(member.get_ref(), path, see);
                path.pop();
            }
        }
        _ => {}
    }
}

/// The innermost key or member around a place of the text.
fn place_of(table: &DeTable<'_>, place: &Range<usize>) -> Option<Vec<String>> {
    let mut best: Option<(usize, Vec<String>)> = None;
    visit(table, &mut Vec::new(), &mut |path, span, _| {
        let is_around = span.start <= place.start && place.end <= span.end;
        if is_around && best.as_ref().is_none_or(|(length, _)| span.len() <= *length) {
            best = Some((span.len(), path.to_vec()));
        }
    });
    best.map(|(_, path)| path)
}

/// Where a key or member stands.
fn span_of(table: &DeTable<'_>, wanted: &[String]) -> Option<Range<usize>> {
    let mut found = None;
    visit(table, &mut Vec::new(), &mut |path, span, _| {
        if path == wanted {
            found.get_or_insert(span);
        }
    });
    found
}

/// Takes a key or the member of a list out of a document.
fn take_out(table: &mut DeTable<'_>, path: &[String]) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        table.remove(first.as_str());
        return;
    }
    for (key, value) in table.iter_mut() {
        if key.get_ref() == first {
            take_out_of(value.get_mut(), rest);
        }
    }
}

fn take_out_of(value: &mut DeValue<'_>, path: &[String]) {
    match value {
        DeValue::Table(table) => take_out(table, path),
        DeValue::Array(array) => {
            let Some((Ok(place), rest)) = path.split_first().map(|(first, rest)| (first.parse::<usize>(), rest)) else {
                return;
            };
            if !rest.is_empty() {
                if let Some(member) = array.get_mut(place) {
                    take_out_of(member.get_mut(), rest);
                }
                return;
            }
            let mut kept = DeArray::new();
            for (_, member) in array.iter().enumerate().filter(|(other, _)| *other != place) {
                kept.push(member.clone());
            }
            *array = kept;
        }
        _ => {}
    }
}

/// A text of a file as part of one line.
fn shown(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, char| {
        if char.is_control() {
            shown.extend(char.escape_debug())
        } else {
            shown.push(char)
        }
        shown
    })
}

/// What the parser says of a key, in words for its author, and what to write.
fn reworded(message: &str, path: &[String], written: &str) -> (String, String) {
    let key = dotted(&named(path));
    let value = format!("`{key}` has the value `{}`", shown(written));
    if let Some(rest) = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: ")) {
        let expected = rest.rsplit_once(", expected ").map_or("another", |(_, expected)| expected);
        return match wanted(expected, written) {
            Some((wanted, fix)) => (format!("{value}, and {wanted} is wanted"), fix),
            None => (value, format!("write {expected}")),
        };
    }
    // What the standard library says of a text that is no address.
    if message == "invalid IP address syntax" {
        return (format!("{value}, and an IP address is wanted"), "write one, such as \"10.0.0.1\"".to_owned());
    }
    if let Some(wanted) = message.strip_prefix("expected ") {
        return (value, format!("write {wanted}"));
    }
    if let Some(field) = message.strip_prefix(MISSING) {
        return (format!("`{key}` has no key {field}"), "write it".to_owned());
    }
    let unknown = ["unknown field `", "unknown variant `"].iter().find_map(|start| message.strip_prefix(start));
    if message.contains(DATE) {
        return (value, format!("a date is a text here; write \"{}\"", shown(written)));
    }
    if let Some((wrong, rest)) = unknown.and_then(|rest| rest.split_once('`')) {
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        let fix = match nearest(wrong, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "take it out".to_owned(),
            None => format!("write one of `{}`", known.join("`, `")),
        };
        let is_key = path.last().is_some_and(|last| last == wrong);
        let what = match path.split_last() {
            Some((_, [])) if is_key => format!("unknown key `{}`", wrong.escape_debug()),
            Some((_, within)) if is_key => {
                format!("unknown key `{}` in `{}`", wrong.escape_debug(), dotted(&named(within)))
            }
            _ => value,
        };
        return (what, fix);
    }
    let (what, fix) = message.split_once("; ").unwrap_or((message, "correct it"));
    (format!("`{key}`: {what}"), fix.to_owned())
}

/// What serde expects, in words, and how to write it; nothing for what a type of the profile's own says in words.
fn wanted(expected: &str, written: &str) -> Option<(&'static str, String)> {
    let bare = written.trim_matches(['"', '\'']);
    let quoted = format!("\"{}\"", bare.escape_debug());
    let is_plain = !written.starts_with(['[', '{']);
    Some(match expected {
        "a sequence" if is_plain => ("a list", format!("write [{quoted}]")),
        "a sequence" => ("a list", "write a list, such as [\"a\", \"b\"]".to_owned()),
        "a string" if is_plain => ("a text", format!("write {quoted}")),
        "a string" => ("one text", "write one text, such as \"a\"".to_owned()),
        "a boolean" if matches!(bare, "true" | "false") => ("true or false", format!("write {bare}, without quotes")),
        "a boolean" => ("true or false", "write true or false, without quotes".to_owned()),
        "u32" if bare.parse::<u32>().is_ok() => ("a whole number", format!("write {bare}, without quotes")),
        "u32" => ("a whole number from 0 to 4294967295", "write one, without quotes".to_owned()),
        "IP address" => ("an IP address", "write one, such as \"10.0.0.1\"".to_owned()),
        _ if expected == "a map" || expected.starts_with("struct ") => {
            ("a table", "write `{ KEY = VALUE }`, or a section of its own".to_owned())
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Profile;
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        Profile::read(text).unwrap().problems.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn every_wrong_key_is_listed_with_its_line_and_what_to_write() {
        let text = "descripton = \"x\"\npackages = \"nano\"\nhostname = \"a_b\"\n[alpine]\nrepositories = [\"main\", 5, \"a b\"]\n\
                    [users.kiosk]\nuid = \"1000\"\ngid = 70000\nshell = \"sh\"\n\n[users.Bad]\n[vars.x]\ntyp = \"string\"\n\
                    [network]\ndns = [\"10.0.0\", \"10.0.0.1\", \"ns\"]\n[[allow]]\nrule = \"OVL-1\"\n";
        assert_eq!(
            problems(text),
            [
                "line 1: unknown key `descripton`; did you mean `description`?",
                "line 2: `packages` has the value `\"nano\"`, and a list is wanted; write [\"nano\"]",
                "line 3: `hostname` has the value `a_b`; a host name is 1 to 63 letters, digits and inner hyphens (RFC \
                 1123, section 2.1)",
                "line 5: `alpine.repositories` has the value `5`, and a text is wanted; write \"5\"",
                "line 5: `alpine.repositories` has the value `a b`; write the name of a repository of the release, such \
                 as \"main\" or \"community\"",
                "line 7: `users.kiosk.uid` has the value `\"1000\"`, and a whole number is wanted; write 1000, \
                 without quotes",
                "line 8: `users.kiosk.gid` has the value `70000`; ids go up to 65533",
                "line 9: `users.kiosk.shell` has the value `sh`; write an absolute path, such as \"/home/kiosk\" or \"/bin/ash\"",
                "line 11: `users` has the key `Bad`; write lower-case letters, digits, `-`, `_` and `.`, a letter first",
                "line 13: unknown key `typ` in `vars.x`; did you mean `type`?",
                "line 15: `network.dns` has the value `10.0.0`; write the address of a name server, such as \"10.0.0.1\"",
                "line 15: `network.dns` has the value `ns`; write the address of a name server, such as \"10.0.0.1\"",
                "line 16: `allow` has no key `reason`; write it",
            ]
        );
    }

    #[test]
    fn types_are_named_in_words() {
        for (text, said) in [
            ("vars.d = 2020-01-01", "`vars.d` has the value `2020-01-01`; a date is a text here; write \"2020-01-01\""),
            ("hostname = 2020-01-01", "and a text is wanted"),
            ("network.interfaces.a.gateway = 1", "and an IP address is wanted; write one, such as \"10.0.0.1\""),
            ("allow-empty-root-password = \"true\"", "true or false is wanted; write true, without quotes"),
            ("users.a = 1", "a table is wanted"),
            ("alpine.arch = [\"x86\", \"x86_64\"]", "`arch` lists 2; write one, such as \"x86_64\""),
            ("packages = [[\"a\"]]", "one text is wanted"),
            ("packages = {}", "a list is wanted; write a list"),
        ] {
            let found = problems(text);
            assert!(found.len() == 1 && found[0].contains(said), "{text}: {found:?}");
        }
    }

    #[test]
    fn what_is_right_stays_when_something_beside_it_is_wrong() {
        let read =
            Profile::read("packages = [\"a\", 1, \"b\"]\n[services]\nboot = [\"x\", \"../y\", \"z\", \"/\"]").unwrap();
        assert_eq!(read.value.layer.packages, ["a", "b"]);
        assert_eq!(read.value.layer.services.values().next().unwrap(), &["x", "z"]);
        assert_eq!(read.problems.len(), 3);
    }

    #[test]
    fn a_key_is_found_by_its_line_and_so_is_the_member_of_a_list() {
        let keys = Profile::read(
            "packages = [\n\"a\",\n\"b\"]\n[users.kiosk]\nuid = 1\n[[allow]]\nrule = \"A\"\nreason = \"r\"\n",
        )
        .unwrap()
        .keys;
        assert_eq!(keys.line(&["packages", "b"]), Some(3));
        assert_eq!(keys.line(&["packages", "c"]), Some(1));
        assert_eq!(keys.line(&["users", "kiosk", "uid"]), Some(5));
        assert_eq!(keys.line(&["users", "kiosk", "home"]), Some(4));
        assert_eq!(keys.line(&["allow", "0", "rule"]), Some(7));
        assert_eq!(keys.line(&["groups"]), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reading_panic(text in "(\\[|\\]|=|\\.|\"|\n|users|packages|vars|allow|x|1|\\{|\\}|,| |ä){0,40}") {
            if let Ok(read) = Profile::read(&text) {
                proptest::prop_assert_eq!(read.problems.is_empty(), Profile::parse(&text).is_ok());
            }
        }
    }

    #[test]
    fn a_file_of_nothing_but_mistakes_costs_a_bounded_number_of_readings() {
        let text: String = (0..2000).map(|number| format!("wrong-{number} = 1\n")).collect();
        let Err(ProfileError::Problems(problems)) = Profile::read(&text) else { panic!("read") };
        assert_eq!(problems.len(), MOST_PROBLEMS + 1);
    }
}

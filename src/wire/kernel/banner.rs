//! The text that a kernel begins its log with, in bytes that are too many to hold in memory.

use std::io::{self, Read};

use super::{LONGEST, is_release};

/// What precedes the release in the text.
const BEFORE: &[u8] = b"Linux version ";

/// What follows it: who built the kernel. Texts that only speak of a version, such as `Linux version %s`, lack it.
const BEHIND: &[u8] = b" (";

/// The longest text up to there.
const AHEAD: usize = BEFORE.len() + LONGEST + BEHIND.len();

/// How many bytes are read at once.
const PIECE: usize = 64 << 10;

/// The releases that were found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// None yet.
    Nothing,
    /// This one, once or more often.
    One(String),
    /// Different ones, so that the kernel's own is not known.
    Several,
}

impl Told {
    /// Takes note of a release, if it is one.
    pub(super) fn add(&mut self, release: Option<&str>) {
        match (&self, release) {
            (Self::Nothing, Some(release)) => *self = Self::One(release.to_owned()),
            (Self::One(known), Some(release)) if known != release => *self = Self::Several,
            _ => {}
        }
    }

    /// The only release.
    pub(super) fn one(self) -> Option<String> {
        match self {
            Self::One(release) => Some(release),
            Self::Nothing | Self::Several => None,
        }
    }
}

/// The release in the text that begins here, if one does.
pub(super) fn release_at(bytes: &[u8]) -> Option<&str> {
    let text = bytes.strip_prefix(BEFORE)?;
    let end = text.windows(BEHIND.len()).take(LONGEST + 1).position(|it| it == BEHIND)?;
    str::from_utf8(text.get(..end)?).ok().filter(|it| is_release(it))
}

/// Calls `look` for each byte of the input, with its offset and with the bytes from there on: at least as many as
/// [`release_at`] needs, unless the input ends. When reading fails, the bytes before have been looked at.
pub(super) fn each_place(mut input: impl Read, mut look: impl FnMut(u64, &[u8])) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(PIECE + AHEAD);
    let mut start = 0;
    loop {
        let read = input.by_ref().take(PIECE as u64).read_to_end(&mut bytes);
        let is_last = !matches!(read, Ok(PIECE));
        let places = if is_last { bytes.len() } else { bytes.len().saturating_sub(AHEAD) };
        for (place, offset) in (0..places).zip(start..) {
            look(offset, bytes.get(place..).unwrap_or_default());
        }
        if is_last {
            return read.map(drop);
        }
        bytes.drain(..places);
        start += places as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn releases(bytes: &[u8]) -> Vec<(u64, String)> {
        let mut found = Vec::new();
        each_place(bytes, |offset, bytes| found.extend(release_at(bytes).map(|it| (offset, it.to_owned())))).unwrap();
        found
    }

    #[test]
    fn the_release_stands_between_linux_version_and_a_parenthesis() {
        let at = |text: &str| release_at(text.as_bytes()).map(str::to_owned);
        assert_eq!(at("Linux version 6.12.30-0-lts (buildozer@build)").as_deref(), Some("6.12.30-0-lts"));
        let longest = "6".repeat(LONGEST);
        assert_eq!(at(&format!("Linux version {longest} (")), Some(longest.clone()));
        for other in [
            "linux version 6.1 (",
            "Linux version %s (%s)",
            "Linux version 6.1",
            "Linux version 6.1 ",
            "Linux version 6.1 or later (",
            "Linux version  (",
            "Linux version ../6.1 (",
            "Linux version 6.1\u{e9} (",
            &format!("Linux version {longest}6 ("),
        ] {
            assert_eq!(at(other), None, "{other}");
        }
    }

    #[test]
    fn each_place_is_looked_at_once_wherever_pieces_end() {
        let text = format!("Linux version {} (", "6".repeat(LONGEST));
        let second = 2 * PIECE - AHEAD;
        for offset in (PIECE - AHEAD - 2..PIECE + 2).chain(second - 2..second + 2) {
            let bytes = [&vec![b' '; offset][..], text.as_bytes()].concat();
            assert_eq!(releases(&bytes), [(offset as u64, "6".repeat(LONGEST))]);
        }
        for length in [0, 1, AHEAD, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE] {
            let mut next = 0;
            each_place(Cursor::new(vec![0; length]), |offset, bytes| {
                assert_eq!((offset, bytes.is_empty()), (next, false));
                next += 1;
            })
            .unwrap();
            assert_eq!(next, length as u64);
        }
    }

    #[test]
    fn two_releases_are_none() {
        let told = |releases: &[&str]| {
            let mut told = Told::Nothing;
            releases.iter().for_each(|it| told.add(Some(it)));
            told.add(None);
            told.one()
        };
        assert_eq!(told(&[]), None);
        assert_eq!(told(&["6.1", "6.1"]).as_deref(), Some("6.1"));
        assert_eq!(told(&["6.1", "6.2"]), None);
        assert_eq!(told(&["6.1", "6.2", "6.1", "6.1"]), None);
    }
}

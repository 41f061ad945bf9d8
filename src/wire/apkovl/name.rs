//! Names of members, which may be anything, as paths of a tree, which may not.

use super::note::NameFault;

/// The longest path in bytes: Linux's `PATH_MAX` without its NUL.
pub(super) const LONGEST: usize = 4095;

/// The longest part of a path in bytes, on every file system of Linux.
pub(super) const LONGEST_PART: usize = 255;

/// A member's name, understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// A path in a tree.
    Path {
        /// The path.
        path: String,
        /// Whether it was written with a leading slash.
        absolute: bool,
        /// Whether it was written with `.` or empty parts.
        dotted: bool,
    },
    /// The root of the tree: `.`, `./` or `/`.
    Root,
    /// Nothing that an overlay can hold.
    Unusable(NameFault),
    /// It has `..` in it.
    Traversal,
    /// It is longer than Linux allows.
    Long,
}

impl Name {
    /// Reads a name; one final slash, as directories have, means nothing.
    pub(super) fn parse(raw: &[u8]) -> Self {
        let absolute = raw.starts_with(b"/");
        let relative = raw.strip_prefix(b"/").unwrap_or(raw);
        let relative = relative.strip_suffix(b"/").unwrap_or(relative);
        let is_empty = |part: &&[u8]| matches!(*part, b"" | b".");
        let parts: Vec<&[u8]> = relative.split(|byte| *byte == b'/').filter(|part| !is_empty(part)).collect();
        if parts.contains(&b"..".as_slice()) {
            return Self::Traversal;
        }
        let path = parts.join(b"/".as_slice());
        if path.len() > LONGEST || parts.iter().any(|part| part.len() > LONGEST_PART) {
            return Self::Long;
        }
        if path.is_empty() {
            return Self::Root;
        }
        let dotted = path.len() != relative.len();
        match String::from_utf8(path) {
            Err(_) => Self::Unusable(NameFault::NotUtf8),
            Ok(path) if path.chars().any(char::is_control) => Self::Unusable(NameFault::Control),
            Ok(path) => Self::Path { path, absolute, dotted },
        }
    }
}

/// Whether a path is one of the files macOS leaves behind in every folder and archive (OVL-11).
pub(super) fn is_macos(path: &str) -> bool {
    path.split('/').any(|part| part.starts_with("._") || part == ".DS_Store")
}

/// A name for messages: control characters escaped, cut to a length that fits.
pub(super) fn printable(raw: &[u8]) -> String {
    const FITS: usize = 200;
    let text = String::from_utf8_lossy(raw.get(..FITS).unwrap_or(raw));
    let mut printable = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() { printable.extend(char.escape_default()) } else { printable.push(char) }
    }
    if raw.len() > FITS {
        printable.push('…');
    }
    printable
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_understood_as_init_understands_them() {
        let path = |path: &str, absolute, dotted| Name::Path { path: path.to_owned(), absolute, dotted };
        for (raw, name) in [
            (b"etc/x".as_slice(), path("etc/x", false, false)),
            (b"etc/", path("etc", false, false)),
            (b"/etc/x", path("etc/x", true, false)),
            (b"./etc/x", path("etc/x", false, true)),
            (b"etc//x/./y", path("etc/x/y", false, true)),
            (b"etc/..x/y..", path("etc/..x/y..", false, false)),
            ("etc/ä\u{1f600}".as_bytes(), path("etc/ä\u{1f600}", false, false)),
            (b"./", Name::Root),
            (b".", Name::Root),
            (b"/", Name::Root),
            (b"../etc/passwd", Name::Traversal),
            (b"etc/../../x", Name::Traversal),
            (b"etc/..", Name::Traversal),
            (b"etc/a\nb", Name::Unusable(NameFault::Control)),
            (b"etc/\x1b[2J", Name::Unusable(NameFault::Control)),
            (b"etc/\xff", Name::Unusable(NameFault::NotUtf8)),
        ] {
            assert_eq!(Name::parse(raw), name, "{}", raw.escape_ascii());
        }
        let part = |length| [b"etc/".as_slice(), &vec![b'x'; length]].concat();
        assert!(matches!(Name::parse(&part(255)), Name::Path { .. }));
        assert_eq!(Name::parse(&part(256)), Name::Long);
        assert!(matches!(Name::parse(&b"a/".repeat(2047)), Name::Path { .. }));
        assert_eq!(Name::parse(&b"a/".repeat(2049)), Name::Long);
    }

    #[test]
    fn leftovers_of_macos_are_known_by_name() {
        assert!(is_macos("._etc") && is_macos("etc/.DS_Store") && is_macos("etc/._x/y"));
        assert!(!is_macos("etc/.x") && !is_macos("etc/_x"));
    }

    #[test]
    fn a_name_in_a_message_is_one_short_line() {
        assert_eq!(printable(b"a\n\x1b[31mb\xff"), "a\\n\\u{1b}[31mb\u{fffd}");
        assert_eq!(printable(&[b'x'; 300]).chars().count(), 201);
    }

    proptest! {
        #[test]
        fn no_name_panics_or_leads_out(raw in proptest::collection::vec(prop_oneof![Just(b'/'), Just(b'.'), any::<u8>()], 0..20)) {
            if let Name::Path { path, .. } = Name::parse(&raw) {
                prop_assert!(!path.is_empty());
                prop_assert!(path.split('/').all(|part| !matches!(part, "" | "." | "..")), "{}", path);
            }
            let _ = printable(&raw);
        }
    }
}

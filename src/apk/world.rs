//! The world: the packages a machine is asked to have (`/etc/apk/world`).
//!
//! Init pastes the words of this file onto apk's command line, through a shell. So what is
//! accepted here is much less than what apk would read (OVL-30 to OVL-32).

use std::{cmp::Ordering, fmt};

use super::{
    dependency::{Constraint, Dependency, DependencyError},
    version::{self, VersionError},
};

/// Dependencies in apk's order, without repetitions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct World(Vec<Dependency>);

/// A world that must not be given to a machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorldError {
    /// OVL-32: a byte order mark would become part of the first name, and that package be dropped.
    #[error("world starts with a byte order mark; save it as plain UTF-8")]
    ByteOrderMark,
    /// OVL-32.
    #[error("line {0} of world ends in a carriage return; save it with Unix line ends")]
    CarriageReturn(usize),
    /// OVL-31: every word of a comment would become a package.
    #[error("line {0} of world has a comment, which apk would read as package names; remove it")]
    Comment(usize),
    /// apk would use only one of them.
    #[error("world has both `{first}` and `{second}`, of which apk uses only one; keep one")]
    Twice {
        /// The one that sorts first.
        first: String,
        /// The other one.
        second: String,
    },
    /// One word is not a dependency.
    #[error("line {line} of world is not usable")]
    Word {
        /// Counted from 1.
        line: usize,
        /// What is wrong with the word.
        source: WordError,
    },
}

/// OVL-30: a word that must not be in a world.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// It would be an option of apk, such as `--allow-untrusted`, which switches signatures off.
    #[error("`{0}` would be an option on apk's command line, not a package")]
    Option(String),
    /// A character that is in no package name, or that a shell would expand.
    #[error("`{word}` has the character {character:?}, which no package name in a world may have")]
    Character {
        /// The whole word.
        word: String,
        /// The first character that must not be there.
        character: char,
    },
    /// The name has to start with a letter, a digit or `/`.
    #[error("`{0}` does not start like a package name")]
    Start(String),
    /// Only the documented spellings of operators are accepted, because apk writes others back
    /// mangled.
    #[error("`{word}` compares by `{operator}`; use one of = < <= > >= ~")]
    Operator {
        /// The whole word.
        word: String,
        /// The operator in it.
        operator: String,
    },
    /// `name@` without a tag.
    #[error("`{0}` has an empty repository tag after `@`")]
    Tag(String),
    /// Not a dependency to apk either.
    #[error("apk would refuse the whole world for one word of it")]
    Malformed(#[from] DependencyError),
}

impl World {
    /// Puts dependencies into apk's order and drops exact repetitions.
    #[must_use]
    pub fn new(mut dependencies: Vec<Dependency>) -> Self {
        dependencies.sort_by(|a, b| in_world_order(a, b).then_with(|| a.to_string().cmp(&b.to_string())));
        dependencies.dedup();
        Self(dependencies)
    }

    /// Reads the text of a world file, strictly.
    ///
    /// # Errors
    ///
    /// [`WorldError`] names the line and the word that is not a plain dependency.
    pub fn parse(text: &str) -> Result<Self, WorldError> {
        if text.starts_with('\u{feff}') {
            return Err(WorldError::ByteOrderMark);
        }
        let mut dependencies = Vec::new();
        for (line, content) in (1..).zip(text.split('\n')) {
            if content.contains('\r') {
                return Err(WorldError::CarriageReturn(line));
            }
            if content.contains('#') {
                return Err(WorldError::Comment(line));
            }
            for word in content.split([' ', '\t']).filter(|word| !word.is_empty()) {
                let dependency = parse_word(word).map_err(|source| WorldError::Word { line, source })?;
                dependencies.push(dependency);
            }
        }
        let world = Self::new(dependencies);
        for pair in world.0.windows(2) {
            if let [first, second] = pair
                && first.name == second.name
            {
                return Err(WorldError::Twice { first: first.to_string(), second: second.to_string() });
            }
        }
        Ok(world)
    }

    /// The dependencies: by name, letters compared without case first.
    #[must_use]
    pub fn dependencies(&self) -> &[Dependency] {
        &self.0
    }
}

impl fmt::Display for World {
    /// One dependency per line, as apk writes the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|dependency| writeln!(f, "{dependency}"))
    }
}

/// Reads one word of a world, or of a profile's list of packages, strictly (OVL-30).
///
/// # Errors
///
/// [`WordError`] says what must not be there.
pub fn parse_word(word: &str) -> Result<Dependency, WordError> {
    let name_and_rest = word.strip_prefix('!').unwrap_or(word);
    match name_and_rest.chars().next() {
        Some('-') => return Err(WordError::Option(word.to_owned())),
        Some(first) if first.is_ascii_alphanumeric() || first == '/' => {}
        // An empty name is reported by the reader of dependencies.
        None | Some('<' | '=' | '>' | '~' | '@') => {}
        Some(_) => return Err(WordError::Start(word.to_owned())),
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-' | ',' | ':' | '/' | '@');
    let is_sign = |c: char| matches!(c, '<' | '=' | '>' | '~');
    if let Some(character) = name_and_rest.chars().find(|&c| !allowed(c) && !is_sign(c)) {
        return Err(WordError::Character { word: word.to_owned(), character });
    }
    let operator: String = name_and_rest.chars().skip_while(|&c| !is_sign(c)).take_while(|&c| is_sign(c)).collect();
    if !matches!(operator.as_str(), "" | "=" | "<" | "<=" | ">" | ">=" | "~" | "=~" | "~=") {
        return Err(WordError::Operator { word: word.to_owned(), operator });
    }
    let dependency = Dependency::parse(word)?;
    if let Constraint::Version { version: text, .. } = dependency.constraint
        && !version::is_valid(text)
    {
        return Err(WordError::Malformed(DependencyError::Version {
            word: word.to_owned(),
            source: VersionError(text.to_owned()),
        }));
    }
    if let Some(tag) = dependency.tag {
        if tag.is_empty() {
            return Err(WordError::Tag(word.to_owned()));
        }
        if let Some(character) = tag.chars().find(|c| matches!(c, '@' | '/' | ':' | ',')) {
            return Err(WordError::Character { word: word.to_owned(), character });
        }
    }
    Ok(dependency.to_owned())
}

/// apk's order of a world: by name without case, then by name.
pub(super) fn in_world_order(a: &Dependency, b: &Dependency) -> Ordering {
    let folded = |name: &'_ str| name.bytes().map(|byte| byte.to_ascii_lowercase()).collect::<Vec<_>>();
    folded(&a.name).cmp(&folded(&b.name)).then_with(|| a.name.cmp(&b.name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn word_error(text: &str) -> WordError {
        match World::parse(text) {
            Err(WorldError::Word { source, .. }) => source,
            other => panic!("{text:?} gave {other:?}"),
        }
    }

    #[test]
    fn words_are_put_into_the_order_apk_uses() {
        let world = World::parse("zlib  curl\n\tBash !openssl\nalpine-base@edge=~3.19\nzlib\n").unwrap();
        assert_eq!(world.to_string(), "alpine-base@edge~3.19\nBash\ncurl\n!openssl\nzlib\n");
        assert_eq!(World::parse(&world.to_string()), Ok(world));
    }

    #[test]
    fn provided_names_are_accepted() {
        for word in ["so:libc.musl-x86_64.so.1", "cmd:curl", "pc:libcurl>=8.5", "/bin/sh", "py3.11:x=1"] {
            assert_eq!(World::parse(word).unwrap().to_string(), format!("{word}\n"));
        }
    }

    #[test]
    fn what_only_looks_like_a_world_is_refused_with_its_line() {
        assert_eq!(World::parse("\u{feff}curl"), Err(WorldError::ByteOrderMark));
        assert_eq!(World::parse("curl\nbash\r\n"), Err(WorldError::CarriageReturn(2)));
        assert_eq!(World::parse("curl # fetches\n"), Err(WorldError::Comment(1)));
        assert!(matches!(World::parse("curl\n\nbash=\n"), Err(WorldError::Word { line: 3, .. })));
    }

    #[test]
    fn two_dependencies_on_one_name_are_refused() {
        for text in ["busybox\nbusybox~1.36", "busybox !busybox"] {
            assert!(matches!(World::parse(text), Err(WorldError::Twice { .. })), "{text}");
        }
    }

    #[test]
    fn options_and_shell_patterns_are_refused() {
        for word in ["--allow-untrusted", "-X", "!-q"] {
            assert_eq!(word_error(word), WordError::Option(word.to_owned()));
        }
        for (word, character) in [
            ("lib*", '*'),
            ("a?", '?'),
            ("a[b]", '['),
            ("a$HOME", '$'),
            ("a;b", ';'),
            ("a`b", '`'),
            ("a\"", '"'),
            ("naïve", 'ï'),
            ("a\0", '\0'),
            ("a@b@c", '@'),
            ("a!b", '!'),
            ("a=1*", '*'),
        ] {
            let word = word.to_owned();
            assert_eq!(word_error(&word), WordError::Character { word, character });
        }
        for word in [".virtual", "_x", "+x", ":x"] {
            assert_eq!(word_error(word), WordError::Start(word.to_owned()));
        }
    }

    #[test]
    fn undocumented_operators_and_bad_versions_are_refused() {
        for word in ["chrony=<>1.0", "a==1", "a=>1", "a><Q1AA", "a<>1"] {
            assert!(matches!(word_error(word), WordError::Operator { .. }), "{word}");
        }
        for word in ["a=", "a=1.0_bad", "a=7.4.0p1-r1", "a@t=1=2", "=1", "@t", "!"] {
            assert!(matches!(word_error(word), WordError::Malformed(_)), "{word}");
        }
        assert_eq!(word_error("a@"), WordError::Tag("a@".to_owned()));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics_and_never_lets_an_option_through(text in "[-!a-z@=~>*# \n]{0,24}") {
            if let Ok(world) = World::parse(&text) {
                for dependency in world.dependencies() {
                    prop_assert!(!dependency.to_string().starts_with('-'));
                    prop_assert!(!dependency.to_string().contains('*'));
                }
                prop_assert_eq!(World::parse(&world.to_string()), Ok(world));
            }
        }
    }
}

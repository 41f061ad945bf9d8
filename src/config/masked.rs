//! Errors of the site file that quote no secret: a parser shows the line it stopped at, and that of a database or of a
//! mirror may have a password.

use std::borrow::Cow;

use serde::de::{DeserializeOwned, Error as _};

/// Words whose value is nobody's business, as keys of the file and as parameters of a URL.
const SECRET: [&str; 4] = ["database", "password", "secret", "token"];

/// Reads TOML. Its errors show `*` for what may be a secret.
///
/// # Errors
/// Syntax errors, unknown keys and values of the wrong type, with their line.
pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, toml::de::Error> {
    toml::from_str(text).map_err(|error| {
        let masked: String = text.split_inclusive('\n').map(mask).collect();
        if masked == text {
            return error;
        }
        match toml::from_str::<T>(&masked) {
            Err(error) => error,
            // The mistake is in what is masked.
            Ok(_) => {
                let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
                let line = before.matches('\n').count() + 1;
                toml::de::Error::custom(format!("line {line}: {}", error.message()))
            }
        }
    })
}

/// A line without the values of [`SECRET`] words, and without who signs in to a URL.
fn mask(line: &str) -> Cow<'_, str> {
    let lower = line.to_ascii_lowercase();
    let value_of = |word: &str| {
        lower.match_indices(word).find_map(|(at, _)| {
            let rest = lower.get(at + word.len()..)?;
            let after = rest.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\''));
            after.starts_with('=').then(|| lower.len() - after.len() + 1)
        })
    };
    let mut from = SECRET.iter().filter_map(|word| value_of(word)).min().unwrap_or(line.len());
    let mut until = line.len();
    if let (Some(scheme), Some(at)) = (line.find("://"), line.rfind('@'))
        && scheme + 3 < at.min(from)
    {
        // A value that is a secret goes to the end of its line.
        until = if from < line.len() { line.len() } else { at };
        from = scheme + 3;
    }
    let (Some(before), Some(secret), Some(after)) = (line.get(..from), line.get(from..until), line.get(until..)) else {
        return Cow::Borrowed(line);
    };
    // What TOML is made of stays, so that the parser stops at the same place.
    let hide = |c: char| if c.is_whitespace() || "\"'\\#[]{},=".contains(c) { c } else { '*' };
    Cow::Owned(format!("{before}{}{after}", secret.chars().map(hide).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::File;
    use super::*;

    #[test]
    fn an_error_shows_its_line_without_the_secret() {
        for text in [
            "[fleet]\ndatabase = \"postgres://bivouac:s3cret@db/fleet\n",
            "[fleet]\ndatabase = postgres://bivouac:s3cret@db/fleet\n",
            "[fleet]\ndatabase = [\"postgres://bivouac:s3cret@db/fleet\"]\n",
            "fleet = { database = \"postgres://bivouac:s3cret@db/fleet\", x = 1 }\n",
            "[fleet]\ndatabse = \"postgres://bivouac:s3cret@db/fleet\"\n",
            "[fleet]\ndatabase = \"postgres://bivouac:s3\\qs3cret@db/fleet\"\n",
            "[fleet]\n\"database\" = \"host=db password=s3cret\n",
            "fleet.database = 's3cret\n",
            "mirror = { url = \"https://me:s3cret@mirror/alpine\" }\n",
            "[fleet]\ndatabase = \"\"\"\npostgres://bivouac:s3cret@db/fleet\n",
        ] {
            let error = File::parse(text).unwrap_err().to_string();
            assert!(!error.contains("s3cret") && error.contains("line"), "{text}{error}");
        }
        let error = File::parse("[fleet]\ndatabse = \"postgres://bivouac:s3cret@db/fleet\"\n").unwrap_err().to_string();
        assert!(error.contains("unknown field `databse`") && error.contains("@db/fleet"), "{error}");
    }

    #[test]
    fn other_lines_are_shown_as_they_are() {
        for line in ["mirror = \"https://mirror.example.net/alpine\"", "state = \"data\" # a database", "@", ""] {
            assert_eq!(mask(line), line);
        }
        assert_eq!(mask("mirror = \"https://a:b@c/d\""), "mirror = \"https://***@c/d\"");
    }

    proptest! {
        #[test]
        fn no_line_is_too_strange(line in "\\PC*", words in "[a-z=:/@ \"é]*") {
            mask(&line);
            mask(&words);
        }
    }
}

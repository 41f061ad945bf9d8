//! Texts of the site file in which `*` stands for any text.

use std::convert::Infallible;
use std::str::FromStr;

/// A text in which `*` stands for any text, also none; case does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl FromStr for Pattern {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl Pattern {
    /// Whether a text looks like that. Takes no longer than the lengths of both, multiplied.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let text = text.to_ascii_lowercase();
        let Some((first, rest)) = self.0.split_once('*') else { return text == self.0 };
        let Some(mut left) = text.strip_prefix(first) else { return false };
        let mut parts: Vec<&str> = rest.split('*').collect();
        let last = parts.pop().unwrap_or_default();
        // Each part as early as can be leaves the most room for those behind it.
        for part in parts {
            let Some((_, behind)) = left.split_once(part) else { return false };
            left = behind;
        }
        left.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().matches(text)
    }

    #[test]
    fn a_star_stands_for_any_text_and_case_does_not_count() {
        for (pattern, text) in [
            ("NUC*", "nuc11TNHi5"),
            ("*i5", "NUC11TNHi5"),
            ("n*1*i*", "NUC11TNHi5"),
            ("*", ""),
            ("a**b", "ab"),
            ("Lenovo", "LENOVO"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("NUC", "NUC11"), ("a*a", "a"), ("*b*b", "ab"), ("", "a"), ("x*", "ax")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn a_text_matches_itself_with_any_part_starred_out(text in "[a-z*]{0,12}", from in 0_usize..12, to in 0_usize..12) {
            prop_assert!(matches(&text, &text));
            let (from, to) = (from.min(text.len()), to.min(text.len()));
            if from <= to {
                let starred = format!("{}*{}", &text[..from], &text[to..]);
                prop_assert!(matches(&starred, &text));
            }
        }
    }
}

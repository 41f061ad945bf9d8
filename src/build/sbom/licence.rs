//! What stands in `L:` of an index record, in the words of CycloneDX.

use spdx::{Expression, ParseMode};

use super::cyclonedx::{License, LicenseChoice};

/// What newer versions of SPDX advise against (`GPL-2.0`, `LGPL-2.0+`) is still on its list, and Alpine has many.
const MODE: ParseMode = ParseMode { allow_deprecated: true, allow_postfix_plus_on_gpl: true, ..ParseMode::STRICT };

/// The licences of a package: an expression where it is a valid one; a list of identifiers where the field is one
/// (Alpine's custom before it took up expressions, and one that says neither AND nor OR); else the text as it is.
///
/// One identifier is an expression too. So it stays valid for a reader whose list of identifiers is older than ours.
pub(super) fn licences(field: &str) -> Vec<LicenseChoice> {
    let words: Vec<&str> = field.split_ascii_whitespace().collect();
    let text = words.join(" ");
    if words.is_empty() {
        return Vec::new();
    }
    if Expression::parse_mode(&text, MODE).is_ok() {
        return vec![LicenseChoice::Expression(words.into_iter().map(operator_or).collect::<Vec<_>>().join(" "))];
    }
    // The look-up lets a `+` at the end go.
    let id = |word: &&str| spdx::license_id(word).filter(|id| id.name == *word);
    let ids: Option<Vec<_>> = words.iter().map(id).collect();
    match ids {
        Some(ids) => ids.into_iter().map(|id| LicenseChoice::License(License::Id(id.name))).collect(),
        None => vec![LicenseChoice::License(License::Name(text))],
    }
}

/// Operators in upper case: SPDX 3 allows both, and SPDX 2 only this.
fn operator_or(word: &str) -> &str {
    match word {
        "and" => "AND",
        "or" => "OR",
        "with" => "WITH",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expression(text: &str) -> Vec<LicenseChoice> {
        vec![LicenseChoice::Expression(text.to_owned())]
    }

    #[test]
    fn a_valid_expression_stays_one() {
        for text in [
            "MIT",
            "GPL-2.0",
            "LGPL-2.0+",
            "GPL-2.0-or-later WITH Autoconf-exception-2.0 AND BSD-3-Clause",
            "( LGPL-2.0-or-later OR GPL-3.0-only ) AND MIT",
            "BSD-2-Clause AND LicenseRef-KDE-Accepted-LGPL",
        ] {
            assert_eq!(licences(text), expression(text));
        }
        assert_eq!(licences(" GPL-2.0-only  or MIT "), expression("GPL-2.0-only OR MIT"));
    }

    #[test]
    fn identifiers_without_an_operator_are_a_list() {
        let ids = ["PHP-3.01", "BSD-3-Clause", "MIT"].map(|id| LicenseChoice::License(License::Id(id)));
        assert_eq!(licences("PHP-3.01 BSD-3-Clause MIT"), ids);
    }

    #[test]
    fn anything_else_is_a_name() {
        for text in [
            "custom",
            "custom:sip",
            "Public Domain",
            "GPL",
            "BSD-2-Clause custom",
            "MIT AND (LGPL-2.1-only OR LGPL-3.0-only",
            "GPL-2.0-only,GPL-3.0-only",
            "GPL+",
            "MIT LGPL-2.0+",
            "Apache-2.0 license",
        ] {
            assert_eq!(licences(text), [LicenseChoice::License(License::Name(text.to_owned()))]);
        }
        assert_eq!(licences(" "), []);
    }

    proptest! {
        #[test]
        fn no_field_makes_it_panic(text in "([A-Za-z0-9.+:()-]{0,6}|MIT|GPL-2.0|AND|or|WITH|\\PC| ){0,12}") {
            let _ = licences(&text);
        }
    }
}

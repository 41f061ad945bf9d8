//! The packages of all layers as apk's world, which init pastes onto apk's command line, through a shell: so what is
//! taken is much less than what apk would read (OVL-30 to OVL-32).

use super::lint::Finding;
use super::lint::rule::{WORLD_COMMENT, WORLD_LINE_END, WORLD_WORD};
use crate::apk::{WordError, World, WorldError};

/// What one word does to all the others.
const EFFECT: &str = "init hands it to apk through a shell, and apk may drop it, or install nothing at all";

/// The words of a layer's own `etc/apk/world`, and what had to be taken off them.
pub(super) fn words(text: &str) -> (Vec<String>, Vec<Finding>) {
    let mut findings = Vec::new();
    let line_end = |what: &str, effect: &str| {
        Finding::new(WORLD_LINE_END, what, effect, "save it as plain UTF-8 with Unix line ends").left_out()
    };
    let text = text.strip_prefix('\u{feff}').map_or(text, |rest| {
        findings.push(line_end("it begins with a byte order mark", "the first package is unknown to apk and dropped"));
        rest
    });
    if text.contains('\r') {
        findings.push(line_end("lines end in a carriage return", "apk takes it for a part of the name"));
    }
    let mut words = Vec::new();
    for (place, line) in (1..).zip(text.lines()) {
        let (line, comment) = line.split_once('#').map_or((line, false), |(before, _)| (before, true));
        if comment {
            let (what, effect) = (format!("line {place} has a comment"), "apk takes each of its words for a package");
            findings.push(Finding::new(WORLD_COMMENT, what, effect, "take the comment out").left_out());
        }
        words.extend(line.split_whitespace().map(str::to_owned));
    }
    (words, findings)
}

/// A word that must not be in a world; `within` is where it stands.
pub(super) fn refused(error: &WordError, within: &str) -> Finding {
    let (reason, source) = (error.to_string(), std::error::Error::source(error).map(ToString::to_string));
    let what = source.map_or_else(|| format!("{within}: {reason}"), |source| format!("{within}: {reason}: {source}"));
    let effect = match error {
        WordError::Option(_) => "it becomes an option of apk, which may switch signatures off",
        _ => EFFECT,
    };
    Finding::new(WORLD_WORD, what, effect, "write a package's name, perhaps with a version: `nano`, `nano>=7`")
        .left_out()
}

/// The words of the merged packages in apk's order. Of two that are about one package the later layer's stays.
pub(super) fn of(packages: &[String]) -> (Vec<String>, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut words: Vec<&String> = packages.iter().collect();
    loop {
        match World::parse(&words.iter().map(|word| word.as_str()).collect::<Vec<_>>().join("\n")) {
            Ok(world) => return (world.dependencies().iter().map(ToString::to_string).collect(), findings),
            Err(WorldError::Twice { first, second }) => {
                let what = format!("the packages have both `{first}` and `{second}`");
                let fix = format!("keep one: take the other out with `!{first}` or `!{second}`");
                findings.push(Finding::new(WORLD_WORD, what, "apk uses only one of them", fix).left_out());
                let earlier = words.iter().position(|word| **word == first || **word == second);
                words.remove(earlier.unwrap_or_default());
            }
            // Every word was looked at before it was taken.
            Err(error) => {
                findings.push(Finding::new(WORLD_WORD, error.to_string(), EFFECT, "take it out").left_out());
                return (Vec::new(), findings);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(findings: &[Finding]) -> Vec<&'static str> {
        findings.iter().map(|finding| finding.rule.id).collect()
    }

    #[test]
    fn a_world_is_read_without_what_apk_would_stumble_over() {
        let (found, findings) = words("\u{feff}nano\r\n# editors\nvim htop # best\n");
        assert_eq!(found, ["nano", "vim", "htop"]);
        assert_eq!(ids(&findings), ["OVL-32", "OVL-32", "OVL-31", "OVL-31"]);
        assert_eq!(findings[3].what, "line 3 has a comment");
        assert_eq!(words("nano vim\n\nhtop\n"), (vec!["nano".into(), "vim".into(), "htop".into()], Vec::new()));
    }

    #[test]
    fn a_word_that_is_no_package_says_why_and_the_cause_too() {
        let refused = |word: &str| refused(&crate::apk::parse_word(word).unwrap_err(), "packages").what;
        assert_eq!(
            refused("--allow-untrusted"),
            "packages: `--allow-untrusted` would be an option on apk's command line, not a package"
        );
        assert!(refused("nano=").len() > "packages: apk would refuse the whole world for one word of it: ".len());
    }

    #[test]
    fn of_two_words_about_one_package_the_later_stays() {
        let packages = ["nano", "vim", "nano>7"].map(str::to_owned);
        let (words, findings) = of(&packages);
        assert_eq!(
            (words.as_slice(), ids(&findings).as_slice()),
            (&["nano>7", "vim"].map(str::to_owned)[..], &["OVL-30"][..])
        );
    }
}

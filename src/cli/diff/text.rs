//! Two versions of a text, line by line. Bounded in time and length, because anybody may have made them.

use std::time::{Duration, Instant};

use similar::{Algorithm, TextDiff};

/// The largest text that is compared line by line.
const LARGEST: usize = 256 << 10;

/// The most lines that are shown of one file.
const LINES: usize = 200;

/// How long one file is compared before the result may be longer than it need be.
const PATIENCE: Duration = Duration::from_millis(500);

/// How two versions differ.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Contents {
    /// The lines of a unified diff, and how many more there are.
    Lines(Vec<String>, usize),
    /// Not texts, or too large ones.
    Other,
}

/// Compares until `deadline`; after it nothing is compared any more.
pub(super) fn compare(before: &[u8], after: &[u8], deadline: Instant) -> Contents {
    let left = deadline.saturating_duration_since(Instant::now());
    let (Some(before), Some(after)) = (text(before), text(after)) else { return Contents::Other };
    if left.is_zero() {
        return Contents::Other;
    }
    let diff = TextDiff::configure().algorithm(Algorithm::Myers).timeout(PATIENCE.min(left)).diff_lines(before, after);
    let all = diff.unified_diff().context_radius(3).to_string();
    let mut lines = all.lines().map(printable);
    let shown: Vec<String> = lines.by_ref().take(LINES).collect();
    Contents::Lines(shown, lines.count())
}

/// The bytes as a text that people read.
fn text(bytes: &[u8]) -> Option<&str> {
    let text = (bytes.len() <= LARGEST).then(|| std::str::from_utf8(bytes).ok())??;
    (!text.contains('\0')).then_some(text)
}

/// A line without what a terminal takes for commands.
fn printable(line: &str) -> String {
    line.chars().fold(String::with_capacity(line.len()), |mut printable, char| {
        if char.is_control() && char != '\t' {
            printable.extend(char.escape_default());
        } else {
            printable.push(char);
        }
        printable
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(before: &[u8], after: &[u8]) -> Contents {
        compare(before, after, Instant::now() + Duration::from_secs(60))
    }

    #[test]
    fn lines_that_differ_are_shown_with_those_around_them() {
        let Contents::Lines(lines, more) = now(b"a\nb\nc\x1b\n", b"a\nB\nc\x1b\n") else { panic!("no text") };
        assert_eq!((lines, more), (["@@ -1,3 +1,3 @@", " a", "-b", "+B", " c\\u{1b}"].map(str::to_owned).to_vec(), 0));
    }

    #[test]
    fn what_is_no_text_or_too_large_is_not_compared_by_lines() {
        assert_eq!(now(b"a\0", b"b"), Contents::Other);
        assert_eq!(now(b"\xff", b"b"), Contents::Other);
        assert_eq!(now(&vec![b'x'; LARGEST + 1], b"b"), Contents::Other);
        assert_eq!(compare(b"a", b"b", Instant::now()), Contents::Other);
    }

    #[test]
    fn a_long_comparison_is_cut_and_texts_made_to_be_slow_are_not() {
        let text = |step: usize| (0..40_000).map(|line| format!("{}\n", line * step % 9973)).collect::<String>();
        let started = Instant::now();
        let Contents::Lines(lines, more) = now(text(7).as_bytes(), text(11).as_bytes()) else { panic!("no text") };
        assert_eq!(lines.len(), LINES);
        assert!(more > 0 && started.elapsed() < Duration::from_secs(30));
    }
}

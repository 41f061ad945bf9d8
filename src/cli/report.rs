//! How errors and lists look.

use std::io::{self, Write};
use std::time::SystemTime;

use crate::config::VerifySettings;
use crate::disk;
use crate::model::check::Check;

/// Prints an error and its causes, one a line. A cause that only repeats its error is left out. What a person can do about
/// it follows, where the cause does not say whose it is.
pub(super) fn error(error: &anyhow::Error, out: &mut dyn Write) {
    let mut last = error.to_string();
    let mut text = format!("error: {last}\n");
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !last.contains(&cause) {
            text.push_str(&format!("caused by: {cause}\n"));
        }
        last = cause;
    }
    if disk::is_full(error.as_ref()) {
        text.push_str("hint: make room on that disk; `bivouac gc` removes what nothing uses any more\n");
    }
    // Nobody is left to tell when standard error is closed.
    let _ = out.write_all(plain(&text).as_bytes());
}

/// An error with its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// The text without what a terminal takes for commands: causes quote what stood in files from elsewhere.
pub(super) fn plain(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut plain, c| {
        match c {
            '\n' | '\t' => plain.push(c),
            c if c.is_control() => plain.extend(c.escape_debug()),
            c => plain.push(c),
        }
        plain
    })
}

/// A table without borders, as wide as its content.
pub(super) fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(header.iter().copied());
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
}

/// Says below a listing which checks the site has switched off, and which keys it trusts besides Alpine's.
pub(super) fn departures(verify: &VerifySettings, out: &mut dyn Write) -> io::Result<()> {
    if !verify.off.is_empty() {
        writeln!(out, "Checks switched off in the site file: {}.", Check::list(&verify.off))?;
    }
    let added: Vec<String> =
        verify.release_keys.iter().chain(&verify.package_keys).map(|path| path.display().to_string()).collect();
    if !added.is_empty() {
        writeln!(out, "Keys trusted besides Alpine's: {}.", added.join(", "))?;
    }
    Ok(())
}

/// A number of bytes for a person: `34.50 MiB`.
pub(super) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// A time in UTC, to the second, as RFC 3339 writes it.
pub(super) fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn an_error_is_printed_with_its_causes_once_each() {
        let cause = anyhow::anyhow!("disk full").context("cannot write /x").context("the store cannot be used");
        let mut text = Vec::new();
        error(&cause, &mut text);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "error: the store cannot be used\ncaused by: cannot write /x\ncaused by: disk full\n"
        );
        let doubled = Err::<(), _>(anyhow::anyhow!("b")).context("a: b").unwrap_err();
        let mut text = Vec::new();
        error(&doubled, &mut text);
        assert_eq!(String::from_utf8(text).unwrap(), "error: a: b\n");
    }

    #[test]
    fn what_an_error_quotes_is_no_command_for_the_terminal() {
        let mut text = Vec::new();
        error(&anyhow::anyhow!("unknown field `\u{1b}[2J`\nexpected `ä`"), &mut text);
        assert_eq!(String::from_utf8(text).unwrap(), "error: unknown field `\\u{1b}[2J`\nexpected `ä`\n");
    }

    #[test]
    fn a_table_has_no_trailing_blanks() {
        let table = table(&["A", "LONGER"], vec![vec!["x".into(), "y".into()]]);
        assert_eq!(table, "A  LONGER\nx  y\n");
    }
}

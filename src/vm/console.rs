//! What a machine says on its serial port, as it says it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// The most that is read at once, so that a machine that says the same for ever does not keep us from looking up.
const MAX_READ: u64 = 1 << 20;

/// The longest line that is looked at; the rest of it is left out.
const MAX_LINE: usize = 1000;

/// How many of the last lines are kept.
const LAST: usize = 20;

/// With what a kernel ends that cannot go on.
const PANIC: &str = "Kernel panic - not syncing";

/// The file of a console that is being written.
#[derive(Debug)]
pub struct Console {
    file: File,
    line: Vec<u8>,
    last: VecDeque<String>,
    panic: Option<String>,
}

impl Console {
    /// Makes the file, or makes it empty.
    ///
    /// # Errors
    /// When it cannot be written, or not be read.
    pub fn create(path: &Path) -> io::Result<Self> {
        File::create(path)?;
        Ok(Self { file: File::open(path)?, line: Vec::new(), last: VecDeque::new(), panic: None })
    }

    /// Reads what is new.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        (&self.file).take(MAX_READ).read_to_end(&mut bytes)?;
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                _ if self.line.len() < MAX_LINE => self.line.push(byte),
                _ => {}
            }
        }
        Ok(())
    }

    fn end_line(&mut self) {
        let text = readable(&self.line);
        self.line.clear();
        if let Some((_, panic)) = text.split_once(PANIC) {
            self.panic.get_or_insert_with(|| panic.trim_start_matches([':', ' ']).to_owned());
        }
        if !text.is_empty() {
            self.last.push_back(text);
        }
        if self.last.len() > LAST {
            self.last.pop_front();
        }
    }

    /// Why the kernel panicked, if it did.
    #[must_use]
    pub fn panic(&self) -> Option<&str> {
        self.panic.as_deref()
    }

    /// The last lines that say something, the unfinished one too.
    #[must_use]
    pub fn last(&self) -> Vec<String> {
        let unfinished = Some(readable(&self.line)).filter(|text| !text.is_empty());
        self.last.iter().cloned().chain(unfinished).collect()
    }
}

/// A line without what moves the cursor and changes colours, as firmware does a lot.
fn readable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut readable = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            // ECMA-48: `ESC [`, parameters, and the character that ends it.
            if rest.next_if_eq(&'[').is_some() {
                rest.by_ref().find(|c| matches!(c, '@'..='~'));
            }
        } else if !c.is_control() {
            readable.push(c);
        }
    }
    readable.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_new_is_read_and_a_panic_is_found_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console");
        std::fs::write(&path, "of a boot before\n").unwrap();
        let mut console = Console::create(&path).unwrap();
        let mut machine = File::options().append(true).open(&path).unwrap();
        machine.write_all(b"\x1b[2J\x1b[01;01H\r\n>>Start PXE\r\n[ 1.0] Kernel panic - not syn").unwrap();
        console.read().unwrap();
        assert_eq!(console.panic(), None);
        assert_eq!(console.last(), [">>Start PXE", "[ 1.0] Kernel panic - not syn"]);
        machine.write_all(b"cing: No working init found.\r\n").unwrap();
        console.read().unwrap();
        assert_eq!(console.panic(), Some("No working init found."));
        machine.write_all(&b"x\n".repeat(100)).unwrap();
        machine.write_all(&b"y".repeat(5000)).unwrap();
        console.read().unwrap();
        assert_eq!(console.last().len(), LAST + 1);
        assert_eq!(console.last()[LAST].len(), MAX_LINE);
    }

    proptest! {
        #[test]
        fn no_line_is_too_odd(line in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(!readable(&line).contains(|c: char| c.is_control()));
        }
    }
}

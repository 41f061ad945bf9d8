//! Standard output of the program, which somebody may close early.

use std::io::{self, Write};

/// Where results go. Whoever reads them may have had enough (`bivouac machines | head`), which is no failure; a pipe or a
/// connection of anything else that breaks is one, so this remembers whose it was.
#[derive(Debug)]
pub(super) struct Output<W> {
    to: W,
    is_closed: bool,
}

impl<W> Output<W> {
    /// Writes there.
    pub(super) const fn new(to: W) -> Self {
        Self { to, is_closed: false }
    }

    /// Whether something was written that nobody reads any more.
    pub(super) const fn is_closed(&self) -> bool {
        self.is_closed
    }

    fn heed<T>(&mut self, written: io::Result<T>) -> io::Result<T> {
        self.is_closed |= written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        written
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes);
        self.heed(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.to.flush();
        self.heed(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_an_output_that_nobody_reads_is_closed() {
        for (kind, is_closed) in [(io::ErrorKind::BrokenPipe, true), (io::ErrorKind::StorageFull, false)] {
            let mut output = Output::new(Broken(kind));
            assert!(writeln!(output, "a result").is_err());
            assert_eq!(output.is_closed(), is_closed, "{kind}");
        }
        let mut output = Output::new(Vec::new());
        writeln!(output, "a result").unwrap();
        assert!(!output.is_closed());
    }
}

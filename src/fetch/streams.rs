//! Two streams to read a tarball through: one that knows how much was read, one that knows when it is enough.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

/// A stream that counts what it gives.
pub(super) struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R> Counted<R> {
    /// Counts into `count`.
    pub(super) const fn new(inner: R, count: Rc<Cell<u64>>) -> Self {
        Self { inner, count }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.count.set(self.count.get() + length as u64);
        Ok(length)
    }
}

/// A decompressed stream that fails once it has given more than the compressed one allows for.
pub(super) struct Bounded<R> {
    inner: R,
    ratio: u64,
    allowance: u64,
    /// Compressed bytes read so far.
    taken: Rc<Cell<u64>>,
    given: u64,
    exceeded: Option<u64>,
}

impl<R> Bounded<R> {
    /// A stream that may give `ratio` times what was taken, and `allowance` more.
    pub(super) const fn new(inner: R, ratio: u64, allowance: u64, taken: Rc<Cell<u64>>) -> Self {
        Self { inner, ratio, allowance, taken, given: 0, exceeded: None }
    }

    /// The limit it went past, if it did. Errors are wrapped on their way through an archive, so this is how to tell.
    pub(super) const fn exceeded(&self) -> Option<u64> {
        self.exceeded
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.given = self.given.saturating_add(length as u64);
        let limit = self.taken.get().saturating_mul(self.ratio).saturating_add(self.allowance);
        if self.given > limit {
            self.exceeded = Some(limit);
            return Err(io::Error::other("unpacks to more than it may"));
        }
        Ok(length)
    }
}

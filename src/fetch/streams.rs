//! Two streams to read a tarball through: one that knows what was read, one that knows when it is enough.

use std::fs::File;
use std::io::{self, Read};

use crate::model::digest::{Digest, Hasher};

/// A file that is hashed as it is read.
pub(super) struct Hashed {
    inner: File,
    hasher: Hasher,
}

impl Hashed {
    /// From the file's first byte on.
    pub(super) fn new(inner: File) -> Self {
        Self { inner, hasher: Hasher::default() }
    }

    /// Reads what is left, and gives the digest of the whole file.
    pub(super) fn finish(mut self) -> io::Result<Digest> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(self.hasher.finish())
    }
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..length).unwrap_or_default());
        Ok(length)
    }
}

/// A stream that fails once it has given all it may.
pub(super) struct Bounded<R> {
    inner: R,
    left: u64,
    is_exceeded: bool,
}

impl<R> Bounded<R> {
    /// A stream that may give this many bytes.
    pub(super) const fn new(inner: R, limit: u64) -> Self {
        Self { inner, left: limit, is_exceeded: false }
    }

    /// Whether it had more to give. Errors are wrapped on their way through an archive, so this is how to tell.
    pub(super) const fn is_exceeded(&self) -> bool {
        self.is_exceeded
    }

    /// The stream itself.
    pub(super) fn into_inner(self) -> R {
        self.inner
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        match self.left.checked_sub(length as u64) {
            Some(left) => self.left = left,
            None => {
                self.is_exceeded = true;
                return Err(io::Error::other("unpacks to more than it may"));
            }
        }
        Ok(length)
    }
}

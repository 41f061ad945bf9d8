//! The writing side of a download: on a thread of its own, so that writing and hashing overlap with waiting for the
//! network. Who wants the bytes of a file before it is complete follows it with a [`Follower`].

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::openpgp::FileHashes;
use crate::disk::{self, DiskError};

/// Where the bytes go.
pub(super) enum Target {
    Memory(Vec<u8>),
    File(Growing),
}

/// An open file that is being written, and who waits for it. What it holds already counts as received.
pub(super) struct Growing {
    pub(super) handle: File,
    /// The name it is for, which errors mention.
    pub(super) path: PathBuf,
    pub(super) growth: Arc<Growth>,
}

/// What arrived.
pub(super) struct Received {
    /// The hashes of all of it.
    pub(super) hashes: FileHashes,
    /// The bytes, unless they went to a file.
    pub(super) memory: Vec<u8>,
}

/// What the network side tells the writing side.
pub(super) enum Piece {
    Bytes(Bytes),
    /// All bytes so far are void.
    Restart,
    /// Asks for the hashes of what was received so far.
    Hashes(oneshot::Sender<FileHashes>),
}

/// Writes and hashes pieces until the sender is gone.
pub(super) fn receive(mut pieces: mpsc::Receiver<Piece>, mut target: Target) -> Result<Received, DiskError> {
    let mut hashes = target.begin()?;
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::Bytes(bytes) => {
                target.write(&bytes)?;
                hashes.update(&bytes);
            }
            Piece::Restart => {
                target.clear()?;
                hashes = FileHashes::default();
            }
            // Who asked and went away needs no answer.
            Piece::Hashes(answer) => drop(answer.send(hashes.clone())),
        }
    }
    let memory = match target {
        Target::Memory(bytes) => bytes,
        Target::File(_) => Vec::new(),
    };
    Ok(Received { hashes, memory })
}

impl Target {
    /// How much of the file is there before the download begins, in bytes.
    pub(super) fn length(&self) -> Result<u64, DiskError> {
        match self {
            Self::Memory(bytes) => Ok(bytes.len() as u64),
            Self::File(file) => Ok(file.handle.metadata().map_err(disk::failed("examine", &file.path))?.len()),
        }
    }

    /// Hashes what is there already and stands behind it.
    fn begin(&mut self) -> Result<FileHashes, DiskError> {
        let mut hashes = FileHashes::default();
        match self {
            Self::Memory(bytes) => hashes.update(bytes),
            Self::File(file) => {
                let failed = |source| disk::failed("read", &file.path)(source);
                file.handle.rewind().map_err(failed)?;
                let (mut buffer, mut length) = (vec![0; 256 << 10], 0);
                loop {
                    let count = file.handle.read(&mut buffer).map_err(failed)?;
                    let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
                    hashes.update(bytes);
                    length += count as u64;
                }
                file.growth.grow(length);
            }
        }
        Ok(hashes)
    }

    fn write(&mut self, piece: &[u8]) -> Result<(), DiskError> {
        match self {
            Self::Memory(bytes) => bytes.extend_from_slice(piece),
            Self::File(file) => {
                file.handle.write_all(piece).map_err(disk::failed("write", &file.path))?;
                file.growth.grow(piece.len() as u64);
            }
        }
        Ok(())
    }

    fn clear(&mut self) -> Result<(), DiskError> {
        match self {
            Self::Memory(bytes) => bytes.clear(),
            Self::File(file) => {
                // Followers first: none may read a byte of the new file as one of the old.
                file.growth.restart();
                file.handle
                    .set_len(0)
                    .and_then(|()| file.handle.seek(SeekFrom::Start(0)))
                    .map_err(disk::failed("empty", &file.path))?;
            }
        }
        Ok(())
    }
}

/// How far a file has grown; shared by its writer and its followers.
#[derive(Debug, Default)]
pub(super) struct Growth {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes that may be read.
    length: u64,
    /// How often the file was begun again.
    beginnings: u64,
    /// No more will come.
    is_over: bool,
}

impl Growth {
    fn grow(&self, by: u64) {
        self.lock().length += by;
        self.changed.notify_all();
    }

    fn restart(&self) {
        let mut state = self.lock();
        (state.length, state.beginnings) = (0, state.beginnings + 1);
        drop(state);
        self.changed.notify_all();
    }

    /// No more will come, be the file complete or given up.
    pub(super) fn end(&self) {
        self.lock().is_over = true;
        self.changed.notify_all();
    }

    /// How often the file was begun again.
    pub(super) fn beginnings(&self) -> u64 {
        self.lock().beginnings
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a growing file from its first byte to its end, waiting for what has yet to come. A read fails once the file
/// has been begun again.
pub(super) struct Follower {
    file: File,
    at: u64,
    beginning: u64,
    growth: Arc<Growth>,
}

impl Follower {
    /// Opens the file once more.
    pub(super) fn open(path: &Path, growth: &Arc<Growth>) -> Result<Self, DiskError> {
        let file = File::open(path).map_err(disk::failed("open", path))?;
        Ok(Self { file, at: 0, beginning: growth.beginnings(), growth: Arc::clone(growth) })
    }

    /// Waits until no more comes or the file is begun again, and says whether what was read of it is void.
    pub(super) fn is_void_at_the_end(&self) -> bool {
        let mut state = self.growth.lock();
        while !state.is_over && state.beginnings == self.beginning {
            state = self.growth.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.beginnings != self.beginning
    }

    /// How many bytes can be read from here on; 0 at the end.
    fn available(&self) -> io::Result<u64> {
        let mut state = self.growth.lock();
        loop {
            if state.beginnings != self.beginning {
                return Err(io::Error::other("the download began again"));
            }
            if state.length > self.at || state.is_over {
                return Ok(state.length.saturating_sub(self.at));
            }
            state = self.growth.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = usize::try_from(self.available()?).unwrap_or(usize::MAX).min(buffer.len());
        let Some(space) = buffer.get_mut(..available) else { return Ok(0) };
        let count = self.file.read_at(space, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

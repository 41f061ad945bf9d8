//! The writing side of a download: on a thread of its own, so that writing and hashing overlap with waiting for the
//! network.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::PathBuf;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::disk::{self, DiskError};
use crate::model::digest::{Digest, Digest512, Hasher, Hasher512};

/// Where the bytes go.
pub(super) enum Target {
    Memory(Vec<u8>),
    /// An open file, and the name it is for, which errors mention.
    File {
        handle: File,
        path: PathBuf,
    },
}

/// What arrived.
pub(super) struct Received {
    pub(super) size: u64,
    pub(super) digest: Digest,
    pub(super) digest512: Digest512,
    /// The bytes, unless they went to a file.
    pub(super) memory: Vec<u8>,
}

/// What the network side tells the writing side.
pub(super) enum Piece {
    Bytes(Bytes),
    /// All bytes so far are void.
    Restart,
}

/// Writes and hashes pieces until the sender is gone.
pub(super) fn receive(mut pieces: mpsc::Receiver<Piece>, mut target: Target) -> Result<Received, DiskError> {
    let (mut short, mut long, mut size) = (Hasher::default(), Hasher512::default(), 0);
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::Bytes(bytes) => {
                target.write(&bytes)?;
                short.update(&bytes);
                long.update(&bytes);
                size += bytes.len() as u64;
            }
            Piece::Restart => {
                target.clear()?;
                (short, long, size) = (Hasher::default(), Hasher512::default(), 0);
            }
        }
    }
    let memory = match target {
        Target::Memory(bytes) => bytes,
        Target::File { .. } => Vec::new(),
    };
    Ok(Received { size, digest: short.finish(), digest512: long.finish(), memory })
}

impl Target {
    fn write(&mut self, piece: &[u8]) -> Result<(), DiskError> {
        match self {
            Self::Memory(bytes) => {
                bytes.extend_from_slice(piece);
                Ok(())
            }
            Self::File { handle, path } => handle.write_all(piece).map_err(disk::failed("write", path)),
        }
    }

    fn clear(&mut self) -> Result<(), DiskError> {
        match self {
            Self::Memory(bytes) => {
                bytes.clear();
                Ok(())
            }
            Self::File { handle, path } => {
                handle.set_len(0).and_then(|()| handle.rewind()).map_err(disk::failed("empty", path))
            }
        }
    }
}

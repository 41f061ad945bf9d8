//! The bytes of an answer on their way out: shared with every other transfer of the same file, in pieces of a size that
//! keeps memory and waiting bounded, and never touched by a thread of the runtime before the page cache has them.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::disk;

/// How much is handed to a connection at once.
const PIECE: usize = 1 << 20;

/// How many pieces are read from the disk at once, so that those who read take no threads from those who decide. Readers
/// of one file mostly wait for the same pages.
static READERS: Semaphore = Semaphore::const_new(16);

/// Bytes one after the other.
#[derive(Debug, Default)]
pub(super) struct Content {
    parts: VecDeque<Bytes>,
    /// The length of all parts, in bytes.
    left: usize,
    /// The next piece, while the disk brings it.
    coming: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Content {
    /// Of these parts, in this order.
    pub(super) fn new(parts: impl IntoIterator<Item = Bytes>) -> Self {
        let parts: VecDeque<Bytes> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Self { left: parts.iter().map(Bytes::len).sum(), parts, coming: None }
    }

    /// How many bytes there are.
    pub(super) const fn len(&self) -> usize {
        self.left
    }

    /// Only these bytes of it; there are as many.
    pub(super) fn slice(self, range: Range<usize>) -> Self {
        let mut start = 0;
        Self::new(self.parts.into_iter().map(|part| {
            let within = |at: usize| at.clamp(start, start + part.len()) - start;
            let slice = part.slice(within(range.start)..within(range.end));
            start += part.len();
            slice
        }))
    }

    fn next_piece(&mut self) -> Option<Bytes> {
        let part = self.parts.front_mut()?;
        if part.len() > PIECE {
            return Some(part.split_to(PIECE));
        }
        self.parts.pop_front()
    }
}

/// Waits for the disk to bring a piece.
async fn bring(piece: Bytes) -> io::Result<Bytes> {
    // It is never closed; a reader more would do no harm.
    let _reader = READERS.acquire().await;
    spawn_blocking(move || disk::bring_into_memory(&piece).map(|()| piece)).await?
}

impl Body for Content {
    type Data = Bytes;
    /// The disk cannot read the file. The connection is closed then, so that the client knows, and asks for the rest.
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.coming.is_none() {
            let Some(piece) = self.next_piece() else { return Poll::Ready(None) };
            if disk::is_in_memory(&piece) {
                self.left -= piece.len();
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            self.coming = Some(tokio::spawn(bring(piece)));
        }
        let Some(coming) = &mut self.coming else { return Poll::Ready(None) };
        let brought = ready!(Pin::new(coming).poll(context)).unwrap_or_else(|ended| Err(ended.into()));
        self.coming = None;
        Poll::Ready(Some(brought.map(|piece| {
            self.left -= piece.len();
            Frame::data(piece)
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use proptest::prelude::*;

    use super::*;

    async fn read(mut content: Content) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(frame) = poll_fn(|context| Pin::new(&mut content).poll_frame(context)).await {
            bytes.extend(frame.unwrap().into_data().unwrap());
            assert_eq!(content.size_hint().exact(), Some(content.len() as u64));
        }
        assert!(content.is_end_stream());
        bytes
    }

    #[tokio::test]
    async fn a_large_file_goes_out_in_pieces_and_whole() {
        let bytes: Vec<u8> = (0..3 * PIECE + 5).map(|at| (at % 251) as u8).collect();
        let mut content = Content::new([Bytes::from(bytes.clone())]);
        let first = poll_fn(|context| Pin::new(&mut content).poll_frame(context)).await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap().len(), PIECE);
        assert_eq!(content.len(), bytes.len() - PIECE);
        assert_eq!(read(Content::new([Bytes::from(bytes.clone())])).await, bytes);
    }

    proptest! {
        #[test]
        fn a_range_of_parts_is_the_range_of_all(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..5),
            (start, end) in (0_usize..40, 0_usize..40),
        ) {
            let all: Vec<u8> = parts.concat();
            let (start, end) = (start.min(end).min(all.len()), end.max(start).min(all.len()));
            let content = Content::new(parts.into_iter().map(Bytes::from)).slice(start..end);
            prop_assert_eq!(content.len(), end - start);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            prop_assert_eq!(runtime.block_on(read(content)), &all[start..end]);
        }
    }
}

//! A body that says how much of it was sent, also when the client goes away before its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::Error;
use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use crate::model::boot::Sent;

/// How much is handed to the connection at once. What it was handed and has not sent yet counts as sent, so this
/// bounds by how much a transfer that breaks off is said to be longer than it was.
const PIECE: usize = 256 << 10;

/// Calls `ended` once, when the body was sent or dropped.
pub(super) fn metered(body: Body, ended: impl FnOnce(Sent) + Send + 'static) -> Body {
    let of = body.size_hint().exact().unwrap_or_default();
    Body::new(Metered { body, rest: Bytes::new(), bytes: 0, of, began: Instant::now(), ended: Some(Box::new(ended)) })
}

struct Metered {
    body: Body,
    /// What of the last frame is still to be handed on.
    rest: Bytes,
    bytes: u64,
    of: u64,
    began: Instant,
    ended: Option<Box<dyn FnOnce(Sent) + Send>>,
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                other => return Poll::Ready(other),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        this.bytes += piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let inner = self.body.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(inner.lower() + rest);
        hint
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        // A body of which nothing was taken never began: its answer was not sent, or had no body.
        if let Some(ended) = self.ended.take().filter(|_| self.bytes > 0) {
            // Of a body whose length was not known, what was sent is what there was.
            let of = if self.of == 0 { self.bytes } else { self.of };
            ended(Sent { bytes: self.bytes, of, took: self.began.elapsed() });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::poll_fn;
    use std::sync::{Arc, Mutex};

    use futures_util::stream;

    use super::*;

    type Seen = Arc<Mutex<Vec<Sent>>>;

    fn watched(body: Body) -> (Body, Seen) {
        let seen = Seen::default();
        let told = Arc::clone(&seen);
        (metered(body, move |sent| told.lock().unwrap().push(sent)), seen)
    }

    async fn piece(body: &mut Body) -> Option<usize> {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
        Some(frame.unwrap().into_data().unwrap().len())
    }

    #[tokio::test]
    async fn a_body_goes_out_in_pieces_and_is_told_whole() {
        let (mut body, seen) = watched(Body::from(vec![7; 2 * PIECE + 5]));
        assert_eq!(body.size_hint().exact(), Some(2 * PIECE as u64 + 5));
        assert_eq!(piece(&mut body).await, Some(PIECE));
        assert_eq!(body.size_hint().exact(), Some(PIECE as u64 + 5));
        assert_eq!((piece(&mut body).await, piece(&mut body).await), (Some(PIECE), Some(5)));
        assert!(body.is_end_stream());
        drop(body);
        let seen = seen.lock().unwrap();
        assert_eq!((seen.len(), seen[0].bytes, seen[0].is_whole()), (1, 2 * PIECE as u64 + 5, true));
    }

    #[tokio::test]
    async fn a_client_that_goes_away_leaves_a_part_and_one_that_took_nothing_leaves_nothing() {
        let (mut body, seen) = watched(Body::from(vec![7; 2 * PIECE]));
        piece(&mut body).await;
        drop(body);
        let sent = seen.lock().unwrap()[0];
        assert_eq!((sent.bytes, sent.of), (PIECE as u64, 2 * PIECE as u64));
        let (body, seen) = watched(Body::from(vec![7; 10]));
        drop(body);
        assert!(seen.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_body_of_unknown_length_is_whole_with_what_there_was() {
        let pieces = ["a", "bc"].map(|it| Ok::<_, Infallible>(Bytes::from(it)));
        let (mut body, seen) = watched(Body::from_stream(stream::iter(pieces)));
        while piece(&mut body).await.is_some() {}
        drop(body);
        assert_eq!(seen.lock().unwrap()[0].of, 3);
    }
}

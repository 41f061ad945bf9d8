//! One TFTP transfer as a state machine: packets and time go in, packets come out. No socket and no clock.
//!
//! Blocks are sent a window at a time (RFC 7440) and again from the first one missing (go back N). Blocks are counted
//! in 64 bits and cut to 16 on the wire, so a file may be of any size. A file is never copied: what is to be sent is a
//! slice of it.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::pace::{First, Overdue, Pace};
use crate::wire::tftp::{Packet, Request, data_header};

/// The block size of a client that asks for none (RFC 1350).
const DEFAULT_BLOCK: u16 = 512;

/// The smallest block there may be (RFC 2348).
const SMALLEST_BLOCK: u16 = 8;

/// For how many answers that make progress blocks are not sent again because of an ACK, after they were.
const DEAF: u8 = 2;

/// Bounds on what clients may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest block: what fits one packet of the network.
    pub block_size: u16,
    /// The largest window.
    pub window_size: u16,
}

/// How a transfer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The client has the whole file.
    Completed,
    /// The client ended it before the first block, which UEFI firmware does when it has learnt the size.
    Probed {
        /// The client's error code.
        code: u16,
        /// Its words.
        message: String,
    },
    /// The client ended it in the middle.
    Cancelled {
        /// The client's error code.
        code: u16,
        /// Its words.
        message: String,
    },
    /// The client began anew before it had everything.
    Replaced,
    /// The client fell silent.
    Lost,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed => f.write_str("completed"),
            Self::Probed { code, message } => write!(f, "ended by the client before any block: error {code} {message}"),
            Self::Cancelled { code, message } => write!(f, "cancelled by the client: error {code} {message}"),
            Self::Replaced => f.write_str("replaced, because the client began anew"),
            Self::Lost => f.write_str("lost, because the client fell silent"),
        }
    }
}

/// What to send now.
#[derive(Debug, Clone, Copy)]
pub enum Sending<'a> {
    /// The OACK.
    Options(&'a [u8]),
    /// Blocks in order.
    Blocks(Blocks<'a>),
}

/// Blocks that follow each other: every one is full, but the last of a file, which may be empty.
#[derive(Debug, Clone, Copy)]
pub struct Blocks<'a> {
    first: u64,
    count: usize,
    size: u16,
    data: &'a [u8],
}

/// A transfer to one client.
#[derive(Debug)]
pub struct Transfer {
    content: Bytes,
    block_size: u16,
    window_size: u16,
    /// The OACK, until the client has answered it.
    greeting: Option<Vec<u8>>,
    /// How many blocks the client has; block 0 is the OACK.
    acknowledged: u64,
    /// The next block to send.
    next: u64,
    /// The highest block sent, which an ACK cannot exceed.
    sent: u64,
    /// How many packets were sent again.
    resent: u64,
    /// Whether the client ever answered.
    is_seen: bool,
    /// For how many more ACKs that make progress nothing is sent twice because of an ACK.
    ///
    /// An ACK of less than the window says that a block was lost, and so does a repeated ACK of the block before the
    /// window. But with a window of one the latter is a delayed copy, and answering it would double every block from
    /// there on, which RFC 1123, section 4.2.3.1, calls the Sorcerer's Apprentice. Larger windows know the same spell:
    /// clients answer each block they have already with another ACK, which looks like a loss. So after blocks were
    /// sent twice, what such ACKs say is not believed for a while; a real loss then waits for the deadline.
    deaf: u8,
    pace: Pace,
    ended: Option<Ended>,
}

impl Transfer {
    /// Begins to send `content` as `request` wants it, within `limits`. Packets to send are waiting
    /// ([`Self::next_sending`]).
    #[must_use]
    pub fn new(request: &Request, content: Bytes, limits: Limits, now: Instant) -> Self {
        let block_size =
            request.block_size.map_or(DEFAULT_BLOCK, |size| size.min(limits.block_size.max(SMALLEST_BLOCK)));
        let window_size = request.window_size.map_or(1, |size| size.min(limits.window_size.max(1)));
        let greeting = greeting(request, content.len(), block_size, window_size);
        let (first, next) = if greeting.is_some() { (First::Options, 0) } else { (First::Block, 1) };
        let asked = request.timeout.map(|seconds| Duration::from_secs(seconds.into()));
        Self {
            content,
            block_size,
            window_size,
            greeting,
            acknowledged: 0,
            next,
            sent: 0,
            resent: 0,
            is_seen: false,
            deaf: 0,
            pace: Pace::new(asked, first, now),
            ended: None,
        }
    }

    /// What to send now, if there is anything.
    pub fn next_sending(&mut self) -> Option<Sending<'_>> {
        if self.ended.is_some() {
            return None;
        }
        if let Some(greeting) = &self.greeting {
            let due = self.next == 0;
            self.next = 1;
            return due.then_some(Sending::Options(greeting));
        }
        let end = self.last_block().min(self.acknowledged + u64::from(self.window_size));
        if self.next > end {
            return None;
        }
        let (first, count) = (self.next, end - self.next + 1);
        self.resent += (self.sent + 1).saturating_sub(first).min(count);
        self.sent = self.sent.max(end);
        self.next = end + 1;
        let (size, length) = (usize::from(self.block_size), self.content.len());
        // A window is small, and a block that is to be sent begins within the file or at its end.
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let start = usize::try_from(first - 1).unwrap_or(usize::MAX).saturating_mul(size).min(length);
        let data = self.content.get(start..start.saturating_add(count.saturating_mul(size)).min(length));
        Some(Sending::Blocks(Blocks { first, count, size: self.block_size, data: data.unwrap_or_default() }))
    }

    /// Takes a packet from the client.
    pub fn receive(&mut self, packet: &Packet<'_>, now: Instant) {
        match packet {
            Packet::Ack(block) => self.acknowledge(*block, now),
            Packet::Error { code, message } if self.acknowledged == 0 => {
                self.end(Ended::Probed { code: *code, message: message.clone() });
            }
            Packet::Error { code, message } => {
                self.end(Ended::Cancelled { code: *code, message: message.clone() });
            }
            // Nonsense, but for a request, which is looked at where it arrives.
            Packet::Read(_) | Packet::Write(_) | Packet::Data { .. } | Packet::OptionAck(_) => {}
        }
    }

    /// Tells that [`Self::deadline`] has passed: the window is sent again, or the client is given up.
    pub fn time_out(&mut self, now: Instant) {
        if now < self.deadline() || self.ended.is_some() {
            return;
        }
        match self.pace.time_out(now) {
            Overdue::Repeat => {
                self.resent += u64::from(self.greeting.is_some());
                self.rewind();
            }
            Overdue::Listen => {}
            Overdue::Gone => self.end(Ended::Lost),
        }
    }

    /// Tells that the client has repeated its request.
    pub fn ask_again(&mut self, now: Instant) {
        if self.ended.is_none() && self.pace.ask_again(now) {
            self.rewind();
        }
    }

    /// Tells that the client has begun anew, in another transfer.
    pub fn replace(&mut self) {
        self.end(Ended::Replaced);
    }

    /// When to call [`Self::time_out`] if no packet comes.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.pace.deadline()
    }

    /// How it ended, once it has.
    #[must_use]
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// Whether the client ever answered.
    #[must_use]
    pub fn is_seen(&self) -> bool {
        self.is_seen
    }

    /// The block size agreed on.
    #[must_use]
    pub fn block_size(&self) -> u16 {
        self.block_size
    }

    /// The window size agreed on.
    #[must_use]
    pub fn window_size(&self) -> u16 {
        self.window_size
    }

    /// How many bytes the client is known to have.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        (self.acknowledged * u64::from(self.block_size)).min(self.content.len() as u64)
    }

    /// How many packets were sent again.
    #[must_use]
    pub fn resent(&self) -> u64 {
        self.resent
    }

    fn acknowledge(&mut self, block: u16, now: Instant) {
        if self.ended.is_some() {
            return;
        }
        // The block of this number nearest above what the client has; a window is far smaller than 65536.
        let ahead = u64::from(block.wrapping_sub(on_wire(self.acknowledged)));
        let block = self.acknowledged + ahead;
        if self.greeting.is_some() {
            if ahead == 0 {
                self.greeting = None;
                self.progress(now);
                self.rewind();
            }
            return;
        }
        if block > self.sent {
            return;
        }
        self.is_seen = true;
        let whole_window = block == self.sent;
        if ahead > 0 {
            self.acknowledged = block;
            if block == self.last_block() {
                self.end(Ended::Completed);
                return;
            }
            self.progress(now);
        }
        if whole_window {
            self.rewind();
        } else if self.deaf == 0 && (ahead > 0 || self.window_size > 1) {
            self.deaf = DEAF;
            self.rewind();
        } else {
            self.next = self.next.max(self.acknowledged + 1);
        }
    }

    /// The client moved on.
    fn progress(&mut self, now: Instant) {
        self.is_seen = true;
        self.deaf = self.deaf.saturating_sub(1);
        self.pace.progress(now);
    }

    fn rewind(&mut self) {
        self.next = if self.greeting.is_some() { 0 } else { self.acknowledged + 1 };
    }

    fn end(&mut self, ended: Ended) {
        self.ended.get_or_insert(ended);
    }

    /// The file ends with a block that is not full, if need be an empty one.
    fn last_block(&self) -> u64 {
        self.content.len() as u64 / u64::from(self.block_size) + 1
    }
}

impl<'a> Blocks<'a> {
    /// How many there are, at least one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The first, and the others if there are any.
    #[must_use]
    pub fn split_first(self) -> (Self, Option<Self>) {
        let Self { first, count, size, data } = self;
        let (own, rest) = data.split_at(data.len().min(size.into()));
        let others = (count > 1).then(|| Self { first: first + 1, count: count - 1, data: rest, ..self });
        (Self { count: 1, data: own, ..self }, others)
    }

    /// How long every DATA packet is but the last, which may be shorter.
    #[must_use]
    pub fn packet_size(&self) -> u16 {
        self.size + 4
    }

    /// Their DATA packets: what stands before the bytes, and the bytes.
    pub fn packets(&self) -> impl Iterator<Item = ([u8; 4], &'a [u8])> {
        let Self { first, count, size, data } = *self;
        // The last block of a file may have no bytes, which `chunks` leaves out.
        let full = data.chunks(size.into()).chain(std::iter::repeat(&[][..])).take(count);
        (first..).zip(full).map(|(block, data)| (data_header(on_wire(block)), data))
    }
}

/// A block's number on the wire: it starts over at 0.
fn on_wire(block: u64) -> u16 {
    let [.., high, low] = block.to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// The OACK: the options that were asked for, with the values that hold.
fn greeting(request: &Request, size: usize, block_size: u16, window_size: u16) -> Option<Vec<u8>> {
    if !request.has_options() {
        return None;
    }
    let options = [
        ("tsize", request.wants_size.then(|| size.to_string())),
        ("blksize", request.block_size.map(|_| block_size.to_string())),
        ("timeout", request.timeout.map(|seconds| seconds.to_string())),
        ("windowsize", request.window_size.map(|_| window_size.to_string())),
    ];
    let agreed = options.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    Some(Packet::OptionAck(agreed).encode())
}

#[cfg(test)]
mod tests;

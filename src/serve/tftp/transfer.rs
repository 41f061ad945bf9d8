//! One TFTP transfer as a state machine: packets and time go in, packets come out. No socket and no clock.
//!
//! Blocks are sent a window at a time (RFC 7440) and again from the first one missing (go back N). Blocks are counted
//! in 64 bits and cut to 16 on the wire, so a file may be of any size.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::wire::tftp::{Packet, Request, error_code};

/// The block size of a client that asks for none (RFC 1350).
const DEFAULT_BLOCK: u16 = 512;

/// The longest wait for an answer.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// The wait for an answer, to begin with. It doubles with every retransmission.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// How often a window is sent again before the client counts as gone.
const TRIES: u32 = 6;

/// The same for a client that never answered and gets whole blocks for a small request: its address may be forged,
/// and somebody else would be sent them.
const UNSEEN_TRIES: u32 = 1;

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
pub enum Outcome {
    /// The client has the whole file.
    Completed,
    /// The client ended it. `probe`: before the first block, which UEFI firmware does when it has learnt the size.
    Cancelled {
        /// Whether no block had been taken.
        probe: bool,
        /// The client's error code.
        code: u16,
        /// The client's words.
        message: String,
    },
    /// The client fell silent.
    Lost,
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
    /// Whether the client ever answered.
    seen: bool,
    /// For how many more ACKs that make progress nothing is sent twice because of an ACK.
    ///
    /// An ACK of less than the window says that a block was lost, and so does a repeated ACK of the block before the
    /// window. But with a window of one the latter is a delayed copy, and answering it would double every block from
    /// there on, which RFC 1123, section 4.2.3.1, calls the Sorcerer's Apprentice. Larger windows know the same spell:
    /// clients answer each block they have already with another ACK, which looks like a loss. So after blocks were
    /// sent twice, what such ACKs say is not believed for a while; a real loss then waits for the deadline.
    deaf: u8,
    first_wait: Duration,
    wait: Duration,
    tries: u32,
    deadline: Instant,
    outcome: Option<Outcome>,
}

impl Transfer {
    /// Begins to send `content` as `request` wants it, within `limits`. Packets to send are waiting
    /// ([`Self::next_packet`]).
    #[must_use]
    pub fn new(request: &Request, content: Bytes, limits: Limits, now: Instant) -> Self {
        let block_size = request.block_size.map_or(DEFAULT_BLOCK, |size| size.min(limits.block_size.max(8)));
        let window_size = request.window_size.map_or(1, |size| size.min(limits.window_size.max(1)));
        // A client's own timeout (RFC 2349) replaces the first wait, within reason.
        let first_wait =
            request.timeout.map_or(FIRST_WAIT, |seconds| Duration::from_secs(seconds.into()).min(LONGEST_WAIT));
        let mut transfer = Self {
            greeting: greeting(request, content.len(), block_size, window_size),
            content,
            block_size,
            window_size,
            acknowledged: 0,
            next: 1,
            sent: 0,
            seen: false,
            deaf: 0,
            first_wait,
            wait: first_wait,
            tries: 0,
            deadline: now + first_wait,
            outcome: None,
        };
        if transfer.greeting.is_some() {
            transfer.next = 0;
        }
        transfer
    }

    /// The next packet to send now, if there is one.
    pub fn next_packet(&mut self) -> Option<Vec<u8>> {
        if self.outcome.is_some() {
            return None;
        }
        if let Some(greeting) = &self.greeting {
            let due = self.next == 0;
            self.next = 1;
            return due.then(|| greeting.clone());
        }
        let end = self.last_block().min(self.acknowledged + u64::from(self.window_size));
        if self.next > end {
            return None;
        }
        let packet = Packet::Data { block: on_wire(self.next), data: self.block(self.next) }.encode();
        self.sent = self.sent.max(self.next);
        self.next += 1;
        Some(packet)
    }

    /// Takes a packet from the client.
    pub fn receive(&mut self, packet: &Packet<'_>, now: Instant) {
        match packet {
            Packet::Ack(block) => self.acknowledge(*block, now),
            Packet::Error { code, message } => {
                let probe = self.acknowledged == 0;
                self.end(Outcome::Cancelled { probe, code: *code, message: message.clone() });
            }
            // A repeated request, or nonsense: what is waiting for an answer goes out again by itself.
            Packet::Read(_) | Packet::Write(_) | Packet::Data { .. } | Packet::OptionAck(_) => {}
        }
    }

    /// Tells that [`Self::deadline`] has passed: the window is sent again, or the client is given up.
    pub fn time_out(&mut self, now: Instant) {
        if now < self.deadline || self.outcome.is_some() {
            return;
        }
        let tries = if self.seen || self.greeting.is_some() { TRIES } else { UNSEEN_TRIES };
        if self.tries >= tries {
            self.end(Outcome::Lost);
            return;
        }
        self.tries += 1;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        self.deadline = now + self.wait;
        self.rewind();
    }

    /// When to call [`Self::time_out`] if no packet comes.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// How it ended, once it has.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// Whether the client ever answered.
    #[must_use]
    pub fn is_seen(&self) -> bool {
        self.seen
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

    fn acknowledge(&mut self, block: u16, now: Instant) {
        if self.outcome.is_some() {
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
        self.seen = true;
        let whole_window = block == self.sent;
        if ahead > 0 {
            self.acknowledged = block;
            if block == self.last_block() {
                self.end(Outcome::Completed);
                return;
            }
            self.progress(now);
        }
        if whole_window {
            self.rewind();
        } else if self.deaf == 0 && (ahead > 0 || self.window_size > 1) {
            self.deaf = 2;
            self.rewind();
        } else {
            self.next = self.next.max(self.acknowledged + 1);
        }
    }

    /// The client moved on: patience starts again.
    fn progress(&mut self, now: Instant) {
        self.seen = true;
        self.deaf = self.deaf.saturating_sub(1);
        self.tries = 0;
        self.wait = self.first_wait;
        self.deadline = now + self.wait;
    }

    fn rewind(&mut self) {
        self.next = if self.greeting.is_some() { 0 } else { self.acknowledged + 1 };
    }

    fn end(&mut self, outcome: Outcome) {
        self.outcome.get_or_insert(outcome);
    }

    /// The file ends with a block that is not full, if need be an empty one.
    fn last_block(&self) -> u64 {
        self.content.len() as u64 / u64::from(self.block_size) + 1
    }

    fn block(&self, number: u64) -> &[u8] {
        let size = usize::from(self.block_size);
        let start = usize::try_from(number - 1).unwrap_or(usize::MAX).saturating_mul(size);
        let end = start.saturating_add(size).min(self.content.len());
        self.content.get(start..end).unwrap_or_default()
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

/// The answer to a request that cannot be met.
#[must_use]
pub fn refusal(code: u16, message: &str) -> Vec<u8> {
    debug_assert_ne!(code, error_code::OPTIONS, "that one is for clients");
    Packet::Error { code, message: message.to_owned() }.encode()
}

#[cfg(test)]
mod tests;

//! Counters of the servers. They only grow; a scrape or a test reads them at any time.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn add(&self) {
        self.add_many(1);
    }

    /// `count` more.
    pub fn add_many(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// How many so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the DHCP server did with packets. Every packet received is answered, malformed or ignored.
#[derive(Debug, Default)]
pub struct DhcpCounters {
    /// Datagrams that arrived.
    pub received: Counter,
    /// Those that were answered.
    pub answered: Counter,
    /// Those that are no DHCP packet.
    pub malformed: Counter,
    /// Those that are meant for others, or want no answer.
    pub ignored: Counter,
    /// Answers the kernel would not send.
    pub unsent: Counter,
}

/// What became of check-ins. Every one that arrived is counted once.
#[derive(Debug, Default)]
pub struct CheckInCounters {
    /// Those that say something of a machine.
    pub taken: Counter,
    /// Those that were to be sent again with their list of packages.
    pub unlisted: Counter,
    /// Those that are no report.
    pub malformed: Counter,
    /// Those with a token that no boot was given.
    pub unknown: Counter,
    /// Those with the token of a boot that is over.
    pub over: Counter,
}

/// What the TFTP server did with datagrams to its port. Every datagram received is started, refused, malformed or
/// ignored, or belongs to a transfer that shares the port; every transfer started ends as one of completed, cancelled
/// or lost.
#[derive(Debug, Default)]
pub struct TftpCounters {
    /// Datagrams that arrived on the server port.
    pub received: Counter,
    /// Requests that were answered with an error: no such file, a write, a mode that is not octet.
    pub refused: Counter,
    /// Datagrams that are no TFTP packet.
    pub malformed: Counter,
    /// Packets for no transfer, repeated requests, and requests beyond the limits.
    pub ignored: Counter,
    /// Transfers begun.
    pub started: Counter,
    /// Transfers the client has taken to the end.
    pub completed: Counter,
    /// Transfers the client ended, most of them only to learn the size, or began anew.
    pub cancelled: Counter,
    /// Transfers whose client fell silent.
    pub lost: Counter,
    /// Bytes of completed transfers.
    pub bytes: Counter,
    /// Packets that were sent again, by transfers that have ended.
    pub resent: Counter,
}

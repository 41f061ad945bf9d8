//! What long work tells whoever wants to show it. Draws nothing.

/// Told about downloads and other long work. Several pieces of work may be under way at once, from several threads;
/// `what` tells them apart.
pub trait Progress: Send + Sync {
    /// Work begins; `total` is its length in bytes when that is known.
    fn started(&self, what: &str, total: Option<u64>);

    /// `done` bytes of it are finished. The number falls when a download has to start again.
    fn advanced(&self, what: &str, done: u64);

    /// Work ended, well or not.
    fn finished(&self, what: &str);
}

/// Shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn started(&self, _what: &str, _total: Option<u64>) {}

    fn advanced(&self, _what: &str, _done: u64) {}

    fn finished(&self, _what: &str) {}
}

//! SIGHUP asks a server to read its site file again. One that comes before the server listens for it is kept by the
//! kernel until it does; nothing else could keep it from ending the program, as it does by default.

use std::io;

use nix::sys::signal::{SigSet, Signal};
use tokio::signal::unix::{SignalKind, signal};

/// Keeps SIGHUP back: in this thread and those it starts, so before there are any. What cannot be kept back ends the
/// program as before.
pub(in crate::cli) fn keep() {
    let _ = hangup().thread_block();
}

/// Lets SIGHUP come, and one that was kept back at once.
pub(in crate::cli) fn let_come() {
    let _ = hangup().thread_unblock();
}

/// Every SIGHUP from here on, and one that was kept back.
///
/// # Errors
/// When the kernel tells nobody of signals.
pub(super) fn listen() -> io::Result<tokio::signal::unix::Signal> {
    let heard = signal(SignalKind::hangup())?;
    let_come();
    Ok(heard)
}

fn hangup() -> SigSet {
    SigSet::from(Signal::SIGHUP)
}

//! What the service manager is told (sd_notify(3)). Without one, nobody is.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

/// Everything listens, and machines are answered.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The site file is read again; [`ready`] follows. With the time, which systemd 253 and later ask for.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn!(%error, "the service manager is not told of a reload"),
    }
}

/// Nothing new is begun.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("letting transfers end")]);
}

/// Says that the program is alive twice as often as the service manager asks, if it does, until the program ends. From a
/// task, so that it is silent when tasks do not run any more.
pub(super) fn keep_watchdog() {
    let Some(patience) = sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero()) else { return };
    tokio::spawn(async move {
        let mut beat = tokio::time::interval((patience / 2).max(Duration::from_millis(1)));
        loop {
            beat.tick().await;
            tell(&[NotifyState::Watchdog]);
        }
    });
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "the service manager cannot be told how the server is");
    }
}

//! Ctrl-C and the service manager end a server: first gently, then at once.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::manager;
use crate::serve::{GRACE, Stop};

/// A stop that the first of these signals asks for, and the second brings about at once.
pub(in crate::cli) fn on_signal() -> anyhow::Result<Stop> {
    let stop = Stop::default();
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let asked = stop.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        next().await;
        info!("stopping; transfers may end within {} s, and a second signal ends them at once", GRACE.as_secs());
        manager::stopping();
        asked.gently.cancel();
        next().await;
        warn!("told to stop at once");
        asked.at_once.cancel();
    });
    Ok(stop)
}

//! Progress of long work: bars on a terminal, plain lines elsewhere.

use std::collections::HashMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tracing::info;

use super::log::Patient;
use super::report::size;
use crate::fetch::Progress;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Shorter downloads than this are over before anybody reads about them.
const WORTH_A_LINE: u64 = 1 << 20;

/// How often work without a known end is drawn.
const TICK: Duration = Duration::from_millis(100);

/// Where progress is told, when that is not standard error itself.
#[derive(Debug)]
pub(super) enum Told {
    /// As entries of the log: a program that reads one JSON object a line is not to stumble over anything else.
    InTheLog,
    /// As lines between those of a server's log, which wait for nobody: a profile may be built while machines boot.
    AmongItsLines(Patient),
}

static TOLD: OnceLock<Told> = OnceLock::new();

/// From here on, progress is told there. The first place stays the place.
pub(super) fn tell(told: Told) {
    TOLD.get_or_init(|| told);
}

/// A line for the person who waits; not a result, so it goes to standard error.
pub(super) fn say(line: &str) {
    // A line nobody reads is no reason to stop.
    let _ = match TOLD.get() {
        Some(Told::InTheLog) => return info!("{line}"),
        Some(Told::AmongItsLines(log)) => { log }.write_all(format!("{line}\n").as_bytes()),
        None => writeln!(io::stderr(), "{line}"),
    };
}

/// Shows downloads as they go.
#[derive(Debug, Default)]
pub(super) struct Shown {
    bars: MultiProgress,
    running: Mutex<HashMap<String, ProgressBar>>,
}

impl Progress for Shown {
    fn started(&self, what: &str, total: Option<u64>) {
        if total.is_some_and(|total| total < WORTH_A_LINE) {
            return;
        }
        if matches!(TOLD.get(), Some(Told::InTheLog)) || !io::stderr().is_terminal() {
            say(&total.map_or_else(|| what.to_owned(), |total| format!("{what}, {}", size(total))));
            return;
        }
        let (bar, style) = match total {
            Some(total) => (ProgressBar::new(total), "{msg} {bar:30} {binary_bytes}/{binary_total_bytes} {eta}"),
            // How long it takes nobody knows: it only shows that something goes on.
            None => (ProgressBar::new_spinner(), "{msg} {spinner} {elapsed}"),
        };
        let bar = match ProgressStyle::with_template(style) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        };
        let bar = self.bars.add(bar.with_message(what.to_owned()));
        if total.is_none() {
            // Nothing else draws it, as nothing of it advances.
            bar.enable_steady_tick(TICK);
        }
        self.lock().insert(what.to_owned(), bar);
    }

    fn advanced(&self, what: &str, done: u64) {
        if let Some(bar) = self.lock().get(what) {
            bar.set_position(done);
        }
    }

    fn finished(&self, what: &str) {
        if let Some(bar) = self.lock().remove(what) {
            bar.finish_and_clear();
        }
    }
}

impl Shown {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, ProgressBar>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does work that takes a while, and shows how far it is.
pub(super) fn shown<T>(what: &str, total: u64, work: impl FnOnce(&mut dyn FnMut(u64)) -> T) -> T {
    let progress = Shown::default();
    progress.started(what, Some(total));
    let done = work(&mut |bytes| progress.advanced(what, bytes));
    progress.finished(what);
    done
}

//! Standard error of a server, written by a thread of its own: whoever reads it no more, such as a service manager that is
//! stuck, keeps no machine from its answer.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::warn;
use tracing_subscriber::fmt::MakeWriter;

/// How many bytes wait for whoever reads the log: some thousand lines. What finds no room is lost, and counted.
const ROOM: usize = 1 << 20;

/// How long a server that ends waits for its last lines to be read.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Takes lines without ever waiting.
#[derive(Debug, Clone, Default)]
pub(in crate::cli) struct Patient(Arc<Shared>);

/// Writes what still waits when it goes away.
#[derive(Debug)]
pub(super) struct LastWord(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    text: Vec<u8>,
    /// How many lines found no room since that was last said.
    lost: usize,
    /// Whether nothing more will come.
    is_last: bool,
    /// Whether all was written after that.
    is_written: bool,
}

impl Patient {
    /// The log of this process, and what ends it.
    pub(super) fn start() -> io::Result<(Self, LastWord)> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || theirs.write(&mut io::stderr()))?;
        Ok((Self(Arc::clone(&shared)), LastWord(shared)))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what comes until nothing more does.
    fn write(&self, to: &mut impl io::Write) {
        let mut text = Vec::new();
        loop {
            let is_idle = |waiting: &mut Waiting| waiting.text.is_empty() && waiting.lost == 0 && !waiting.is_last;
            let mut waiting = self.changed.wait_while(self.lock(), is_idle).unwrap_or_else(PoisonError::into_inner);
            text.clear();
            std::mem::swap(&mut text, &mut waiting.text);
            let (lines, is_last) = (std::mem::take(&mut waiting.lost), waiting.is_last);
            drop(waiting);
            // Nobody is left to tell when standard error is closed.
            let _ = to.write_all(&text).and_then(|()| to.flush());
            if lines > 0 {
                warn!(lines, "lines of the log are lost, because nobody read it for a while");
            } else if is_last && text.is_empty() {
                self.lock().is_written = true;
                self.changed.notify_all();
                return;
            }
        }
    }
}

impl io::Write for &Patient {
    /// Takes a line; the whole of it comes at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.0.lock();
        if waiting.text.len() + line.len() > ROOM {
            waiting.lost += 1;
        } else {
            waiting.text.extend_from_slice(line);
        }
        drop(waiting);
        self.0.changed.notify_one();
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Patient {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

impl Drop for LastWord {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.is_last = true;
        self.0.changed.notify_all();
        let _ = self.0.changed.wait_timeout_while(waiting, LAST_WAIT, |waiting| !waiting.is_written);
    }
}

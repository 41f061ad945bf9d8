//! The log of the program, on standard error: text for people, or one JSON object a line for programs.

mod patient;

use std::io::{self, IsTerminal as _};

use clap::ValueEnum;
use nix::sys::stat::fstat;
use tracing::error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use self::patient::LastWord;
pub(super) use self::patient::Patient;
use super::progress::{self, Told};
use super::report;

/// What the log looks like: lines for people, or one JSON object a line. (A help of its own for each value would make the
/// help of every command twice as long.)
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    #[default]
    Text,
    Json,
}

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// What a person has to look at.
    Warnings,
    /// What happens, too.
    Usual,
    /// And how it comes about.
    More,
}

/// A log that was begun. What waits to be written is, when this goes away.
#[must_use]
#[derive(Debug, Default)]
pub(super) struct Begun(Option<(Patient, LastWord)>);

impl LogFormat {
    /// Begins the log. `RUST_LOG` overrides what is said; libraries stay quiet unless asked. The log of a server waits for
    /// nobody.
    pub(super) fn begin(self, level: Level, is_server: bool) -> Begun {
        let default = match level {
            Level::Warnings => "warn",
            Level::Usual => "bivouac=info,warn",
            Level::More => "bivouac=debug,warn",
        };
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
        // Where no thread can be had, the server says why it does not start.
        let patient = is_server.then(Patient::start).and_then(Result::ok);
        let writer = match &patient {
            Some((patient, _)) => BoxMakeWriter::new(patient.clone()),
            None => BoxMakeWriter::new(io::stderr),
        };
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_target(false);
        match self {
            // It has the time of each line.
            Self::Text if is_journal() => log.with_ansi(false).without_time().init(),
            Self::Text => log.with_ansi(io::stderr().is_terminal()).init(),
            Self::Json => log.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
        }
        match (self, &patient) {
            (Self::Json, _) => progress::tell(Told::InTheLog),
            (Self::Text, Some((patient, _))) => progress::tell(Told::AmongItsLines(patient.clone())),
            (Self::Text, None) => {}
        }
        if self == Self::Json || is_server {
            std::panic::set_hook(Box::new(|panic| error!(%panic, "the program has a defect")));
        }
        Begun(patient)
    }

    /// Says why the program failed, after all else that was said.
    pub(super) fn fail(self, failure: &anyhow::Error, log: Begun) {
        match self {
            Self::Text => match &log.0 {
                Some((patient, _)) => report::error(failure, &mut { patient }),
                None => report::error(failure, &mut io::stderr().lock()),
            },
            Self::Json => {
                let mut text = Vec::new();
                report::error(failure, &mut text);
                let text = String::from_utf8_lossy(&text);
                error!("{}", text.trim_start_matches("error: ").trim_end());
            }
        }
        drop(log);
    }
}

/// Whether standard error leads to systemd's journal (systemd.exec(5), JOURNAL_STREAM).
fn is_journal() -> bool {
    let named = std::env::var("JOURNAL_STREAM").ok();
    let named = named.as_deref().and_then(|text| text.split_once(':'));
    let (Some((device, inode)), Ok(own)) = (named, fstat(io::stderr())) else { return false };
    device.parse() == Ok(own.st_dev) && inode.parse() == Ok(own.st_ino)
}

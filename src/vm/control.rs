//! QEMU's control socket: one JSON object a line (QMP).

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// How long an answer is waited for. A whole screen is written as PNG meanwhile, on a busy computer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest line that is read; the greeting has a few hundred bytes.
const MAX_LINE: u64 = 1 << 20;

/// Why QEMU did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It says so.
    #[error("QEMU says: {0}")]
    Refused(String),
    /// It says nothing, and may be gone.
    #[error("QEMU does not answer")]
    Silent,
}

/// Why a machine is off.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Shutdown {
    /// In QEMU's words, such as `guest-reset` and `guest-shutdown`.
    pub reason: String,
}

/// What QEMU says: an event with its data, or an answer.
#[derive(Debug, Deserialize)]
struct Line {
    event: Option<String>,
    data: Option<Value>,
    id: Option<u64>,
    #[serde(rename = "return")]
    done: Option<Value>,
    error: Option<Refusal>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    desc: String,
}

/// An answer to the command with this number.
type Answer = (u64, Result<Value, String>);

/// A control socket.
#[derive(Debug)]
pub(super) struct Control {
    socket: UnixStream,
    commands: u64,
    answers: mpsc::UnboundedReceiver<Answer>,
    shutdown: Arc<Mutex<Option<Shutdown>>>,
    reader: Option<JoinHandle<()>>,
}

impl Control {
    /// Takes the socket, and says that we speak its language, without waiting for QEMU to have come so far.
    pub(super) fn new(socket: UnixStream) -> io::Result<Self> {
        let (send, answers) = mpsc::unbounded_channel();
        let shutdown = Arc::default();
        let (from, words) = (socket.try_clone()?, Arc::clone(&shutdown));
        let reader = std::thread::spawn(move || read(from, &send, &words));
        let mut control = Self { socket, commands: 0, answers, shutdown, reader: Some(reader) };
        // A QEMU that has ended already is found out by whoever waits for it.
        let _ = control.send("qmp_capabilities", json!({}));
        Ok(control)
    }

    fn send(&mut self, command: &str, arguments: Value) -> io::Result<u64> {
        self.commands += 1;
        let line = json!({ "execute": command, "arguments": arguments, "id": self.commands });
        self.socket.write_all(format!("{line}\n").as_bytes())?;
        Ok(self.commands)
    }

    /// Tells QEMU to do something, and waits until it has.
    pub(super) async fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, ControlError> {
        // Why it hears nothing is of no interest.
        let number = self.send(command, arguments).map_err(|_| ControlError::Silent)?;
        let answered = async {
            loop {
                let (id, answer) = self.answers.recv().await.ok_or(ControlError::Silent)?;
                if id == number {
                    return answer.map_err(ControlError::Refused);
                }
            }
        };
        tokio::time::timeout(PATIENCE, answered).await.unwrap_or(Err(ControlError::Silent))
    }

    /// Why the machine is off, when QEMU has ended and said so.
    pub(super) fn last_words(&mut self) -> Option<Shutdown> {
        if let Some(reader) = self.reader.take() {
            // It does not panic; and if it did, nothing was said.
            let _ = reader.join();
        }
        self.shutdown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Reads until QEMU closes the socket.
fn read(from: UnixStream, answers: &mpsc::UnboundedSender<Answer>, shutdown: &Mutex<Option<Shutdown>>) {
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    while (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        // What is not for us, such as the greeting, has none of these fields.
        let answer = match serde_json::from_slice(&line) {
            Ok(Line { event: Some(event), data: Some(data), .. }) if event == "SHUTDOWN" => {
                *shutdown.lock().unwrap_or_else(PoisonError::into_inner) = serde_json::from_value(data).ok();
                None
            }
            Ok(Line { id: Some(id), done: Some(done), .. }) => Some((id, Ok(done))),
            Ok(Line { id: Some(id), error: Some(error), .. }) => Some((id, Err(error.desc))),
            _ => None,
        };
        if let Some(answer) = answer {
            // Nobody may wait for it any more.
            let _ = answers.send(answer);
        }
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_told_from_events_and_other_answers() {
        let (ours, mut its) = UnixStream::pair().unwrap();
        let mut control = Control::new(ours).unwrap();
        for line in [
            r#"{"QMP": {"version": {}, "capabilities": []}}"#,
            r#"{"return": {}, "id": 1}"#,
            r#"{"timestamp": {}, "event": "RTC_CHANGE", "data": {"offset": 0}}"#,
            "no JSON",
            r#"{"return": {"host": "127.0.0.1"}, "id": 2}"#,
            r#"{"error": {"class": "GenericError", "desc": "no screen"}, "id": 3}"#,
            r#"{"timestamp": {}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}"#,
        ] {
            its.write_all(format!("{line}\n").as_bytes()).unwrap();
        }
        assert_eq!(control.execute("query-vnc", json!({})).await.unwrap()["host"], "127.0.0.1");
        let refused = control.execute("screendump", json!({})).await.unwrap_err();
        assert_eq!(refused.to_string(), "QEMU says: no screen");
        drop(its);
        assert_eq!(control.last_words().unwrap().reason, "guest-reset");
    }

    #[tokio::test]
    async fn a_qemu_that_is_gone_does_not_answer() {
        let (ours, its) = UnixStream::pair().unwrap();
        let mut control = Control::new(ours).unwrap();
        drop(its);
        assert!(control.execute("query-vnc", json!({})).await.is_err());
        assert_eq!(control.last_words(), None);
    }
}

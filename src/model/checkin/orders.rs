//! What a machine is told with the answer to its check-in.

use std::time::{Duration, SystemTime};

use crate::model::digest::Digest;

/// How often machines check in when the site does not say.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(300);

/// The longest message, in characters; the rest is cut off.
const MAX_MESSAGE: usize = 500;

/// What a machine is told. Each answer has all that stands: a machine does what it has not done yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orders {
    /// When it is to check in again; it takes up to a tenth more or less, so that a fleet does not come at once.
    pub interval: Duration,
    /// Whether it is to reboot; nothing leaves it at what it was told before.
    pub reboot: Option<Reboot>,
    /// What its users are to read.
    pub message: Option<String>,
}

/// When a machine reboots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reboot {
    /// As soon as its users had a few seconds to read that it does.
    Now,
    /// Once there was no session for so long.
    Idle(Duration),
    /// At a random moment between two.
    Window {
        /// The first moment.
        from: SystemTime,
        /// The last.
        until: SystemTime,
    },
    /// Not at all, whatever it was told before.
    TakenBack,
}

impl Orders {
    /// The lines of the answer after its first, as they mean it at `now`. Moments are told as seconds from now, since a
    /// machine's clock may be wrong.
    #[must_use]
    pub fn encode(&self, now: SystemTime) -> String {
        let mut text = format!("interval {}\n", self.interval.as_secs());
        let from_now = |moment: SystemTime| moment.duration_since(now).unwrap_or_default().as_secs();
        match self.reboot {
            None => {}
            // A machine that missed its window does not reboot among its users.
            Some(Reboot::Window { until, .. }) if until <= now => text.push_str("reboot none\n"),
            Some(Reboot::Window { from, until }) => {
                text.push_str(&format!("reboot window {} {}\n", from_now(from), from_now(until)));
            }
            Some(Reboot::Idle(quiet)) => text.push_str(&format!("reboot idle {}\n", quiet.as_secs())),
            Some(Reboot::Now) => text.push_str("reboot now\n"),
            Some(Reboot::TakenBack) => text.push_str("reboot none\n"),
        }
        if let Some(message) = &self.message {
            text.push_str(&format!("message {}\n", one_line(message)));
        }
        text
    }
}

/// The name by which a machine says that it has shown a message: the digest of the text as it was told.
#[must_use]
pub fn heard(message: &str) -> Digest {
    Digest::of(one_line(message).as_bytes())
}

/// A message as a terminal can show it: one line, no commands to the terminal, no blanks around it.
fn one_line(message: &str) -> String {
    let plain: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.trim().chars().take(MAX_MESSAGE).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn encoded(reboot: Option<Reboot>) -> String {
        Orders { interval: DEFAULT_INTERVAL, reboot, message: None }.encode(at(100))
    }

    #[test]
    fn each_order_is_a_line_of_its_own() {
        assert_eq!(encoded(None), "interval 300\n");
        assert_eq!(encoded(Some(Reboot::Now)), "interval 300\nreboot now\n");
        assert_eq!(encoded(Some(Reboot::Idle(Duration::from_secs(600)))), "interval 300\nreboot idle 600\n");
        assert_eq!(encoded(Some(Reboot::TakenBack)), "interval 300\nreboot none\n");
        let window = |from, until| encoded(Some(Reboot::Window { from: at(from), until: at(until) }));
        assert_eq!(window(160, 400), "interval 300\nreboot window 60 300\n");
        assert_eq!(window(40, 400), "interval 300\nreboot window 0 300\n", "it has begun");
        assert_eq!(window(40, 90), "interval 300\nreboot none\n", "it is over");
    }

    proptest! {
        #[test]
        fn a_message_is_one_line_without_commands_for_a_terminal(message in "\\PC{0,700}|[\\x00-\\x7f]{0,80}") {
            let orders = Orders { interval: DEFAULT_INTERVAL, reboot: None, message: Some(message.clone()) };
            let text = orders.encode(at(0));
            let line = text.strip_prefix("interval 300\nmessage ").unwrap().strip_suffix('\n').unwrap();
            prop_assert!(!line.chars().any(char::is_control) && line.chars().count() <= MAX_MESSAGE);
            prop_assert_eq!(heard(&message), Digest::of(line.as_bytes()));
        }
    }
}

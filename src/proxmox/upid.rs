//! The name of a task of the cluster: `UPID:pve1:0003D1B0:…:qmstart:105:root@pam:`.

use std::fmt;
use std::str::FromStr;

/// The longest name.
const MAX_LENGTH: usize = 256;

/// A text that names no task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of a task")]
pub struct UpidError(String);

/// The name of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upid {
    text: String,
    node: String,
}

impl Upid {
    /// The node it runs on.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// All of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Upid {
    type Err = UpidError;

    fn from_str(text: &str) -> Result<Self, UpidError> {
        let wrong = || UpidError(text.chars().filter(|c| !c.is_control()).take(120).collect());
        let is_plain = text.len() <= MAX_LENGTH && text.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
        let mut parts = text.split(':');
        let (Some("UPID"), Some(node), true) = (parts.next(), parts.next(), is_plain) else { return Err(wrong()) };
        let is_node = !node.is_empty() && node.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
        // Process, its start, the time, the kind, about what, and whose.
        if !is_node || node.starts_with('.') || parts.count() < 6 {
            return Err(wrong());
        }
        Ok(Self { text: text.to_owned(), node: node.to_owned() })
    }
}

impl fmt::Display for Upid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_task_is_on_a_node() {
        let text = "UPID:pve-1:0003D1B0:01A2:673F:qmstart:105:boot@pve!bivouac:";
        assert_eq!(text.parse::<Upid>().unwrap().node(), "pve-1");
        for wrong in ["", "UPID", "UPID:pve", "UPID:..:1:2:3:4:5:6:", "UPID:a/b:1:2:3:4:5:6:", "UPID:a:1:2:3:4:5:6:\n"]
        {
            assert!(wrong.parse::<Upid>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_task_or_none(text in "(UPID:)?[\\x00-\\x7f]{0,80}|\\PC{0,300}") {
            if let Ok(upid) = text.parse::<Upid>() {
                prop_assert_eq!(upid.as_str(), &text);
                prop_assert!(!upid.node().contains(['/', '.', ' ']) || upid.node().contains('.'));
            }
        }
    }
}

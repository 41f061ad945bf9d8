//! `[nodes]`: the files that a `root/` tree cannot hold, because version control and working copies do not.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::Deserialize;

use super::document::Mistakes;

/// The largest numbers of a device: Linux has 12 bits for the driver and 20 for its device (`linux/kdev_t.h`).
const LARGEST_MAJOR: u32 = (1 << 12) - 1;
const LARGEST_MINOR: u32 = (1 << 20) - 1;

/// A device node or a pipe, written as `mknod` is told to make it: `c 1:3`, `b 7:0`, `p`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(extend("pattern" = "^(p|[bc] [0-9]+:[0-9]+)$"))]
pub enum Special {
    /// A character device, `c MAJOR:MINOR`.
    CharDevice {
        /// Which driver.
        major: u32,
        /// Which of its devices.
        minor: u32,
    },
    /// A block device, `b MAJOR:MINOR`.
    BlockDevice {
        /// Which driver.
        major: u32,
        /// Which of its devices.
        minor: u32,
    },
    /// A named pipe, `p`.
    Pipe,
}

impl fmt::Display for Special {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CharDevice { major, minor } => write!(out, "c {major}:{minor}"),
            Self::BlockDevice { major, minor } => write!(out, "b {major}:{minor}"),
            Self::Pipe => out.write_str("p"),
        }
    }
}

impl FromStr for Special {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str, largest: u32| {
            let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|it| is_plain && *it <= largest)
        };
        let device = |numbers: &str| {
            let (major, minor) = numbers.split_once(':')?;
            Some((number(major, LARGEST_MAJOR)?, number(minor, LARGEST_MINOR)?))
        };
        let read = match text.split_once(' ') {
            None if text == "p" => Some(Self::Pipe),
            Some(("c", numbers)) => device(numbers).map(|(major, minor)| Self::CharDevice { major, minor }),
            Some(("b", numbers)) => device(numbers).map(|(major, minor)| Self::BlockDevice { major, minor }),
            _ => None,
        };
        read.ok_or_else(|| {
            format!(
                "`{text}` is no device or pipe; write \"c MAJOR:MINOR\", \"b MAJOR:MINOR\" or \"p\", with numbers up to \
                 {LARGEST_MAJOR}:{LARGEST_MINOR}"
            )
        })
    }
}

impl TryFrom<String> for Special {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Notes paths that a file of a `root/` tree could not have either (OVL-2, OVL-11, OVL-49).
pub(super) fn mistakes(nodes: &BTreeMap<String, Special>, found: &mut Mistakes) {
    for path in nodes.keys() {
        let is_path = path.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.starts_with("._"));
        if !is_path || !path.contains('/') || path.chars().any(char::is_control) {
            let why = "a path is relative to the machine's root and below a folder, such as \"srv/jail/dev/null\"";
            found.name(&["nodes"], path, why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::profile::Layer;

    #[test]
    fn a_node_is_written_as_mknod_takes_it() {
        for text in ["c 1:3", "b 7:0", "p", "c 4095:1048575"] {
            assert_eq!(text.parse::<Special>().unwrap().to_string(), text);
        }
        for text in
            ["", "c", "c 1", "c 1 3", "c 1:", "p 1:3", "c -1:3", "c +1:3", "c 4096:0", "b 0:1048576", "d 1:3", "c  1:3"]
        {
            assert!(text.parse::<Special>().unwrap_err().contains("no device or pipe"), "{text}");
        }
    }

    #[test]
    fn a_node_has_a_path_below_a_folder() {
        let layer = |path: &str| Layer::parse(&format!("[nodes]\n{path:?} = \"c 1:3\""));
        assert!(layer("srv/jail/dev/null").is_ok());
        for path in ["null", "/dev/null", "srv/../null", "srv/null/", "", "srv//null", "srv/._null", "srv/a\nb"] {
            assert!(layer(path).unwrap_err().to_string().contains("below a folder"), "{path:?}");
        }
    }
}

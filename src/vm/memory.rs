//! How much memory a machine has.

use std::fmt;
use std::str::FromStr;

/// The least with which a kernel and its initramfs can be loaded at all.
const LEAST: u32 = 128;

/// The most that makes sense to ask for: 1 TiB.
const MOST: u32 = 1 << 20;

/// Memory in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory(u32);

/// A text that is no size of memory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no size of memory; write a number and M or G, from {LEAST}M to 1024G, such as 1G")]
pub struct MemoryError(String);

impl Memory {
    /// The number of MiB.
    #[must_use]
    pub const fn mebibytes(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1024) { write!(f, "{} GiB", self.0 / 1024) } else { write!(f, "{} MiB", self.0) }
    }
}

impl FromStr for Memory {
    type Err = MemoryError;

    fn from_str(text: &str) -> Result<Self, MemoryError> {
        let bad = || MemoryError(text.chars().take(40).collect());
        let units = [("GiB", 1024), ("MiB", 1), ("G", 1024), ("M", 1)];
        let (number, unit) =
            units.iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?, *size))).ok_or_else(bad)?;
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
        let size = number.parse::<u32>().ok().filter(|_| is_number).and_then(|number| number.checked_mul(unit));
        size.filter(|size| (LEAST..=MOST).contains(size)).map(Self).ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_qemu_and_people_write_them() {
        for (text, size, shown) in [
            ("1G", 1024, "1 GiB"),
            ("512M", 512, "512 MiB"),
            ("2GiB", 2048, "2 GiB"),
            ("1024MiB", 1024, "1 GiB"),
            ("128M", 128, "128 MiB"),
            ("1024G", 1 << 20, "1024 GiB"),
        ] {
            let memory: Memory = text.parse().unwrap();
            assert_eq!((memory.mebibytes(), memory.to_string().as_str()), (size, shown), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_says_how_one_is_written() {
        for text in ["", "1", "G", "+1G", "-1G", "1.5G", "1 G", "127M", "1025G", "99999999999G", "1g", "1K", "1,a=G"] {
            let error = text.parse::<Memory>().unwrap_err().to_string();
            assert!(error.contains("write a number and M or G, from 128M to 1024G"), "{text}: {error}");
        }
    }
}

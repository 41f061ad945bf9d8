//! Beginnings of hardware addresses: how many machines are named at once, such as all cards of one maker.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::mac::Mac;

/// The first one to six bytes of an Ethernet address; six name one card, three name what a maker was given (its OUI).
/// Read and shown as [`Mac`] is.
///
/// ```
/// # use bivouac::model::mac_prefix::MacPrefix;
/// let maker: MacPrefix = "00-E0-4C".parse().unwrap();
/// assert_eq!(maker.to_string(), "00:e0:4c");
/// assert!(maker.covers(&"00:e0:4c:12:34:56".parse().unwrap()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(description = "The first one to six bytes of an Ethernet address, such as `00:e0:4c`.")]
pub struct MacPrefix {
    /// The bytes in the order they are sent; those behind `length` are zero.
    bytes: [u8; 6],
    /// How many count, 1 to 6.
    length: usize,
}

/// A text that is no beginning of an Ethernet address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a hardware address or the beginning of one; write one to six pairs of hexadecimal digits, such as 00:e0:4c"
)]
pub struct MacPrefixError(String);

impl MacPrefix {
    /// Whether an address begins like this.
    #[must_use]
    pub fn covers(&self, mac: &Mac) -> bool {
        mac.0.starts_with(self.as_bytes())
    }

    /// The bytes that count.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }
}

impl fmt::Display for MacPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.as_bytes().iter().enumerate() {
            write!(f, "{}{byte:02x}", if place == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl FromStr for MacPrefix {
    type Err = MacPrefixError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || MacPrefixError(text.chars().take(40).collect());
        let separator = if text.contains('-') { '-' } else { ':' };
        let (mut bytes, mut length) = ([0; 6], 0);
        for part in text.split(separator) {
            let byte = bytes.get_mut(length).ok_or_else(bad)?;
            // `from_str_radix` alone would take `+1` too.
            if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(bad());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
            length += 1;
        }
        Ok(Self { bytes, length })
    }
}

impl From<MacPrefix> for String {
    fn from(prefix: MacPrefix) -> Self {
        prefix.to_string()
    }
}

impl TryFrom<String> for MacPrefix {
    type Error = MacPrefixError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_to_six_whole_bytes_are_a_beginning() {
        for (text, shown) in
            [("52", "52"), ("00-E0-4C", "00:e0:4c"), ("52:54:00:12:34:56", "52:54:00:12:34:56"), ("0a:0B", "0a:0b")]
        {
            assert_eq!(text.parse::<MacPrefix>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn halves_of_bytes_and_anything_else_are_refused() {
        for text in
            ["", "5", "52:", ":52", "52:5", "525400", "52:54-00", "52:+1", "xx", "é", "52:54:00:12:34:56:78", "5é"]
        {
            assert!(text.parse::<MacPrefix>().is_err(), "{text}");
        }
        let error = "00:e0:4".parse::<MacPrefix>().unwrap_err().to_string();
        assert!(error.starts_with("`00:e0:4` is not a hardware address or the beginning of one"), "{error}");
    }

    #[test]
    fn a_beginning_covers_the_addresses_that_start_with_it() {
        let mac: Mac = "00:e0:4c:12:34:56".parse().unwrap();
        for (text, covers) in
            [("00", true), ("00:e0:4c", true), ("00:e0:4c:12:34:56", true), ("e0:4c", false), ("00:e0:4d", false)]
        {
            assert_eq!(text.parse::<MacPrefix>().unwrap().covers(&mac), covers, "{text}");
        }
    }
}

//! Hardware addresses of network cards: how a machine is known.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An Ethernet address. Shown and stored as lower-case hexadecimal with colons; read with colons or hyphens in any
/// case.
///
/// ```
/// # use bivouac::model::mac::Mac;
/// let mac: Mac = "52-54-00-AB-CD-EF".parse().unwrap();
/// assert_eq!(mac.to_string(), "52:54:00:ab:cd:ef");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Mac(
    /// The six bytes in the order they are sent.
    pub [u8; 6],
);

/// A text that is no Ethernet address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a hardware address; write six pairs of hexadecimal digits, such as 52:54:00:12:34:56")]
pub struct MacError(String);

impl Mac {
    /// Whether this can be the address of one network card: neither a group address (which includes broadcast) nor
    /// all zero. Firmware with an unprogrammed card sends such addresses (netboot.md, C14).
    #[must_use]
    pub fn is_unicast(&self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b':'; 17];
        for (byte, place) in self.0.into_iter().zip(text.chunks_mut(3)) {
            place[0] = DIGITS[usize::from(byte >> 4)];
            place[1] = DIGITS[usize::from(byte & 0xf)];
        }
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || MacError(text.chars().take(40).collect());
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let separator = if text.as_bytes().get(2) == Some(&b'-') { b'-' } else { b':' };
        let mut bytes = [0; 6];
        if text.len() != 3 * bytes.len() - 1 {
            return Err(bad());
        }
        for (byte, part) in bytes.iter_mut().zip(text.as_bytes().chunks(3)) {
            let [high, low, rest @ ..] = part else { return Err(bad()) };
            if rest.iter().any(|byte| *byte != separator) {
                return Err(bad());
            }
            *byte = digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low).ok_or_else(bad)?;
        }
        Ok(Self(bytes))
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for Mac {
    type Error = MacError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colons_and_hyphens_in_any_case_name_the_same_card() {
        let mac = Mac([0x52, 0x54, 0, 0xce, 0, 0x0a]);
        for text in ["52:54:00:ce:00:0a", "52-54-00-CE-00-0A", "52:54:00:CE:00:0a"] {
            assert_eq!(text.parse(), Ok(mac), "{text}");
        }
        assert_eq!(mac.to_string(), "52:54:00:ce:00:0a");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let six_bytes_mixed = "52:54-00:ce:00:0a";
        for text in
            ["", "52:54:00:ce:00", "52:54:00:ce:00:0a:0b", "52:54:00:ce:00:+1", "5254.00ce.000a", six_bytes_mixed]
        {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
        assert!("52:54:00:ce:00:é".parse::<Mac>().is_err());
    }

    #[test]
    fn group_and_zero_addresses_are_no_single_card() {
        assert!(Mac([0x52, 0x54, 0, 0, 0, 1]).is_unicast());
        assert!(!Mac([0xff; 6]).is_unicast());
        assert!(!Mac([1, 0, 0x5e, 0, 0, 1]).is_unicast());
        assert!(!Mac([0; 6]).is_unicast());
    }
}

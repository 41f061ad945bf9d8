//! Machines nobody knows: what becomes of them, and the code by which a person before one says which one he means.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a machine does that neither the site file nor anybody else said something of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownPolicy {
    /// What the default policy says.
    #[default]
    Boot,
    /// It shows a code and waits until somebody approves it.
    Inbox,
    /// It shows the menu.
    Menu,
    /// It boots from its own disk.
    LocalDisk,
    /// It is told that nothing boots here.
    Ignore,
}

/// Letters that look and sound like no other, and make no words.
const LETTERS: [u8; 20] = *b"BCDFGHJKMNPQRSTVWXYZ";

/// How many letters a code has: 64 million codes for at most 20 000 machines.
const LENGTH: usize = 6;

/// What stands before the code where it is written what a machine was sent to.
const SENT: &str = "inbox, code ";

/// What a machine shows that waits to be approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PairingCode([u8; LENGTH]);

/// A text that is no code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no code of a machine that waits; a code has {LENGTH} letters, such as KXRTMB")]
pub struct PairingCodeError(String);

impl PairingCode {
    /// A code of random bits.
    #[must_use]
    pub fn of_bits(mut bits: u64) -> Self {
        let mut code = [0; LENGTH];
        for (place, letter) in code.iter_mut().zip(std::iter::repeat_with(|| {
            let (rest, place) = (bits / 20, bits % 20);
            bits = rest;
            usize::try_from(place).unwrap_or_default()
        })) {
            *place = LETTERS.get(letter).copied().unwrap_or(b'B');
        }
        Self(code)
    }

    /// What a machine was sent to that shows this code.
    #[must_use]
    pub fn sent_to(&self) -> String {
        format!("{SENT}{self}")
    }

    /// The code a machine shows that was sent there; nothing when it does not wait.
    #[must_use]
    pub fn of_sent_to(text: &str) -> Option<Self> {
        text.strip_prefix(SENT)?.parse().ok()
    }
}

impl FromStr for PairingCode {
    type Err = PairingCodeError;

    fn from_str(text: &str) -> Result<Self, PairingCodeError> {
        let refused = || PairingCodeError(text.chars().take(80).collect());
        let code: [u8; LENGTH] = text.to_ascii_uppercase().into_bytes().try_into().map_err(|_| refused())?;
        if code.iter().all(|letter| LETTERS.contains(letter)) { Ok(Self(code)) } else { Err(refused()) }
    }
}

impl fmt::Display for PairingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| fmt::Write::write_char(f, char::from(*letter)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_code_is_read_in_any_case_and_other_texts_are_refused() {
        assert_eq!("kxrtmb".parse::<PairingCode>().unwrap().to_string(), "KXRTMB");
        for text in ["", "KXRTM", "KXRTMBB", "KXRTMO", "KXRT1B", "ä"] {
            assert!(text.parse::<PairingCode>().is_err(), "{text}");
        }
        assert_eq!(PairingCode::of_sent_to("local disk"), None);
    }

    proptest! {
        #[test]
        fn every_code_is_read_back(bits in any::<u64>()) {
            let code = PairingCode::of_bits(bits);
            prop_assert_eq!(PairingCode::of_sent_to(&code.sent_to()), Some(code));
            prop_assert_eq!(code.to_string().parse::<PairingCode>(), Ok(code));
        }
    }
}

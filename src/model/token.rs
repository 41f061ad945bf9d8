//! What a boot checks in with.

use std::fmt;
use std::str::FromStr;

use super::digest::{decode, digits_of};

/// How many digits a token is written with.
pub const DIGITS: usize = 32;

/// A secret of one boot: 128 random bits that only the machine and its server know, written as 32 lower-case hexadecimal
/// digits. Whoever has it can say that the boot is well, so its `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token([u8; DIGITS / 2]);

/// Why a text is no token. It does not have the text: that may be a token with a typing error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no token: {DIGITS} lower-case hexadecimal digits are expected")]
pub struct TokenError;

impl Token {
    /// The token of these bits, which nobody can guess.
    #[must_use]
    pub const fn of_bits(bits: [u8; DIGITS / 2]) -> Self {
        Self(bits)
    }

    /// The digits of the token, written into `room`.
    #[must_use]
    pub fn digits<'a>(&self, room: &'a mut [u8; DIGITS]) -> &'a str {
        digits_of(&self.0, room)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.digits(&mut [0; DIGITS]))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Token(…)")
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let mut bits = [0; DIGITS / 2];
        decode(text, &mut bits).map(|()| Self(bits)).ok_or(TokenError)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A token that is easy to tell from others.
    pub(crate) fn token(number: u64) -> Token {
        Token(u128::from(number).to_be_bytes())
    }

    #[test]
    fn a_token_is_read_as_it_is_written_and_is_not_in_what_is_logged() {
        let text = "0123456789abcdef0123456789abcdef";
        let token: Token = text.parse().unwrap();
        assert_eq!(token.to_string(), text);
        assert!(!format!("{token:?}").contains("0123"));
        for wrong in ["", "0123", &text.to_uppercase(), &format!("{text}0"), &text.replace('0', "g")] {
            let refused = wrong.parse::<Token>().unwrap_err().to_string();
            assert!(refused.contains("32 lower-case") && !refused.contains("123"), "{refused}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_the_same(text in "\\PC{0,40}|[0-9a-f]{30,34}") {
            if let Ok(token) = text.parse::<Token>() {
                prop_assert_eq!(token.to_string(), text);
            }
        }
    }
}

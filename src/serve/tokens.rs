//! The secrets of boots, drawn many at a time: a fleet that is turned on at once wants thousands in a second.

use std::sync::Mutex;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;

use super::lock;
use crate::model::token::Token;

/// How many are drawn at once.
const AT_ONCE: usize = 64;

/// Those that no boot has yet.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<Vec<Token>>);

impl Tokens {
    /// A token that no boot ever had.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub(super) fn next(&self) -> Result<Token, Unspecified> {
        let mut drawn = lock(&self.0);
        if drawn.is_empty() {
            let mut bits = [[0; 16]; AT_ONCE];
            rand::fill(bits.as_flattened_mut())?;
            drawn.extend(bits.map(Token::of_bits));
        }
        drawn.pop().ok_or(Unspecified)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn none_is_given_twice() {
        let tokens = Tokens::default();
        let given: BTreeSet<Token> = (0..3 * AT_ONCE).map(|_| tokens.next().unwrap()).collect();
        assert_eq!(given.len(), 3 * AT_ONCE);
    }
}

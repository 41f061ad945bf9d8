//! The secrets of boots, drawn many at a time: a fleet that is turned on at once wants thousands in a second.

use std::cell::RefCell;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;

use crate::model::token::Token;

/// How many are drawn at once.
const AT_ONCE: usize = 64;

thread_local! {
    /// Those that no boot has yet.
    static DRAWN: RefCell<Vec<Token>> = const { RefCell::new(Vec::new()) };
}

/// A token that no boot ever had.
///
/// # Errors
/// When the system gives no random numbers.
pub(super) fn next() -> Result<Token, Unspecified> {
    DRAWN.with_borrow_mut(|drawn| {
        if drawn.is_empty() {
            let mut bits = [[0; 16]; AT_ONCE];
            rand::fill(bits.as_flattened_mut())?;
            drawn.extend(bits.map(Token::of_bits));
        }
        drawn.pop().ok_or(Unspecified)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::thread;

    use super::*;

    #[test]
    fn none_is_given_twice() {
        let draw = || (0..3 * AT_ONCE).map(|_| next().unwrap()).collect::<Vec<Token>>();
        let (here, there) = (draw(), thread::spawn(draw).join().unwrap());
        let given: BTreeSet<Token> = here.into_iter().chain(there).collect();
        assert_eq!(given.len(), 6 * AT_ONCE);
    }
}

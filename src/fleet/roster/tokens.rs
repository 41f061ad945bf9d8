//! Which machine has which token.

use foldhash::HashMap;

use super::MAX_MACHINES;
use crate::model::mac::Mac;
use crate::model::token::Token;

/// How many changes may wait: those of a storm in which each machine of the largest fleet boots, and what it booted long
/// ago ends.
const MAX_WAITING: usize = 2 * MAX_MACHINES;

/// The tokens of all boots that may check in.
///
/// Each has a place of its own in a large table that no cache holds, and nobody asks for one before a machine has loaded
/// its packages. So what changes while a fleet is turned on waits, in order, until a token is asked for or the storm is
/// over.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    known: HashMap<Token, Mac>,
    /// Tokens that are given to a machine, or to none any more.
    waiting: Vec<(Token, Option<Mac>)>,
}

impl Tokens {
    /// The tokens a database held.
    pub(super) fn of(known: impl IntoIterator<Item = (Token, Mac)>) -> Self {
        Self { known: known.into_iter().collect(), waiting: Vec::new() }
    }

    /// A machine has a token.
    pub(super) fn insert(&mut self, token: Token, mac: Mac) {
        self.change(token, Some(mac));
    }

    /// Nobody has it any more.
    pub(super) fn remove(&mut self, token: Token) {
        self.change(token, None);
    }

    /// The machine that has a token.
    pub(super) fn machine(&mut self, token: Token) -> Option<Mac> {
        self.settle();
        self.known.get(&token).copied()
    }

    /// Does what waits.
    pub(super) fn settle(&mut self) {
        for (token, mac) in self.waiting.drain(..) {
            match mac {
                Some(mac) => self.known.insert(token, mac),
                None => self.known.remove(&token),
            };
        }
    }

    fn change(&mut self, token: Token, mac: Option<Mac>) {
        self.waiting.push((token, mac));
        if self.waiting.len() >= MAX_WAITING {
            self.settle();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::token::tests::token;

    proptest! {
        #[test]
        fn whoever_was_given_a_token_last_has_it_however_long_that_waits(
            changes in proptest::collection::vec((0..9_u64, proptest::option::of(any::<u8>()), any::<bool>()), 0..60),
        ) {
            let mut tokens = Tokens::default();
            let mut wanted = HashMap::<u64, Mac>::default();
            for (number, last, is_asked) in changes {
                let mac = last.map(|last| Mac([2, 0, 0, 0, 0, last]));
                match mac {
                    Some(mac) => {
                        tokens.insert(token(number), mac);
                        wanted.insert(number, mac);
                    }
                    None => {
                        tokens.remove(token(number));
                        wanted.remove(&number);
                    }
                }
                if is_asked {
                    prop_assert_eq!(tokens.machine(token(number)), mac);
                }
            }
            for number in 0..9 {
                prop_assert_eq!(tokens.machine(token(number)), wanted.get(&number).copied());
            }
        }
    }

    #[test]
    fn what_waits_does_not_fill_the_memory() {
        let mut tokens = Tokens::default();
        for number in 0..3 * MAX_WAITING as u64 {
            tokens.insert(token(number), Mac([2; 6]));
            tokens.remove(token(number));
            assert!(tokens.waiting.len() < MAX_WAITING);
        }
        assert!(tokens.known.len() <= 1);
    }
}

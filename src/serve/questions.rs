//! What machines said of themselves when they asked for their scripts. A machine asks at each boot in the same words,
//! which need not be read, cleaned and judged anew then.

use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use foldhash::HashMap;
use foldhash::fast::RandomState;

use super::lock;
use crate::model::identity::Identity;

/// How many questions are remembered: one for each machine of a large fleet.
const MAX_QUESTIONS: usize = 20_000;

/// The longest question that is remembered, in bytes; a computer with eight network cards has half of that.
const MAX_LENGTH: usize = 1024;

/// Who asked in which words.
#[derive(Debug, Default)]
pub(super) struct Questions {
    hashes: RandomState,
    /// By their hashes, so that words are read once.
    known: Mutex<HashMap<u64, Question>>,
}

#[derive(Debug)]
struct Question {
    words: Box<str>,
    identity: Arc<Identity>,
}

impl Questions {
    /// Who asked in these words from this address. It may have been moved behind another relay since.
    pub(super) fn who(&self, words: &str, address: IpAddr) -> Option<Arc<Identity>> {
        let hash = self.hashes.hash_one(words);
        let known = lock(&self.known);
        let Question { words: known, identity } = known.get(&hash)?;
        (**known == *words && identity.hardware.address == Some(address)).then(|| Arc::clone(identity))
    }

    /// A question was understood. Of two with one hash, the later one is remembered.
    pub(super) fn remember(&self, words: &str, identity: &Arc<Identity>) {
        if words.len() > MAX_LENGTH {
            return;
        }
        let hash = self.hashes.hash_one(words);
        let question = Question { words: words.into(), identity: Arc::clone(identity) };
        let mut known = lock(&self.known);
        if known.len() >= MAX_QUESTIONS && !known.contains_key(&hash) {
            known.clear();
        }
        known.insert(hash, question);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::Hardware;
    use crate::model::mac::Mac;

    #[test]
    fn who_asks_in_the_same_words_from_the_same_place_is_known_and_inventions_do_not_fill_the_memory() {
        let questions = Questions::default();
        let address = IpAddr::from([10, 0, 0, 1]);
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let hardware = Hardware { address: Some(address), ..Hardware::default() };
        let identity = Arc::new(Identity { hardware, ..Identity::of(mac) });
        questions.remember("mac=1", &identity);
        let who = |words, address| questions.who(words, address);
        assert!(who("mac=1", address).is_some_and(|known| Arc::ptr_eq(&known, &identity)));
        assert_eq!(who("mac=1&uuid=", address), None);
        assert_eq!(who("mac=1", IpAddr::from([10, 0, 0, 2])), None, "its address is another one now");
        questions.remember(&"x".repeat(MAX_LENGTH + 1), &identity);
        assert_eq!(lock(&questions.known).len(), 1);
        for number in 0..2 * MAX_QUESTIONS {
            questions.remember(&format!("mac={number}"), &identity);
        }
        assert!(lock(&questions.known).len() <= MAX_QUESTIONS);
    }

    #[test]
    fn words_with_the_hash_of_others_are_nobodys() {
        let questions = Questions::default();
        let address = IpAddr::from([10, 0, 0, 1]);
        let hardware = Hardware { address: Some(address), ..Hardware::default() };
        let identity = Arc::new(Identity { hardware, ..Identity::of(Mac([2, 0, 0, 0, 0, 1])) });
        questions.remember("mac=1", &identity);
        let other = Question { words: "mac=2".into(), identity };
        let hash = questions.hashes.hash_one("mac=1");
        assert!(lock(&questions.known).insert(hash, other).is_some());
        assert_eq!(questions.who("mac=1", address), None);
    }
}

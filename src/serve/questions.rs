//! What machines said of themselves when they asked for their scripts. A machine asks at each boot in the same words,
//! which need not be read, cleaned and judged anew then.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use foldhash::HashMap;

use super::lock;
use crate::model::identity::{Identity, Relay};
use crate::model::mac::Mac;

/// How many questions are remembered: one for each machine of a large fleet.
const MAX_QUESTIONS: usize = 20_000;

/// The longest question that is remembered, in bytes; a computer with eight network cards has half of that.
const MAX_LENGTH: usize = 1024;

/// Who asked in which words.
#[derive(Debug, Default)]
pub(super) struct Questions(Mutex<HashMap<Box<str>, Arc<Identity>>>);

impl Questions {
    /// Who asked in these words from this address, unless it is behind another relay since.
    pub(super) fn who(
        &self,
        question: &str,
        address: IpAddr,
        relay: impl FnOnce(&Mac) -> Option<Relay>,
    ) -> Option<Arc<Identity>> {
        let identity = lock(&self.0).get(question).map(Arc::clone)?;
        let hardware = &identity.hardware;
        (hardware.address == Some(address) && hardware.relay == relay(&identity.mac)).then_some(identity)
    }

    /// A question was understood.
    pub(super) fn remember(&self, question: &str, identity: &Arc<Identity>) {
        if question.len() > MAX_LENGTH {
            return;
        }
        let mut known = lock(&self.0);
        if known.len() >= MAX_QUESTIONS && !known.contains_key(question) {
            known.clear();
        }
        known.insert(question.into(), Arc::clone(identity));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::Hardware;

    #[test]
    fn who_asks_in_the_same_words_from_the_same_place_is_known_and_inventions_do_not_fill_the_memory() {
        let questions = Questions::default();
        let address = IpAddr::from([10, 0, 0, 1]);
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let hardware = Hardware { address: Some(address), ..Hardware::default() };
        let identity = Arc::new(Identity { hardware, ..Identity::of(mac) });
        questions.remember("mac=1", &identity);
        let who = |question, address| questions.who(question, address, |_| None);
        assert!(who("mac=1", address).is_some_and(|known| Arc::ptr_eq(&known, &identity)));
        assert_eq!(who("mac=1&uuid=", address), None);
        assert_eq!(who("mac=1", IpAddr::from([10, 0, 0, 2])), None, "its address is another one now");
        let relay = Relay::of([10, 1, 0, 1].into(), None, None);
        assert_eq!(questions.who("mac=1", address, |_| Some(relay)), None, "it was moved");
        questions.remember(&"x".repeat(MAX_LENGTH + 1), &identity);
        assert_eq!(lock(&questions.0).len(), 1);
        for number in 0..2 * MAX_QUESTIONS {
            questions.remember(&format!("mac={number}"), &identity);
        }
        assert!(lock(&questions.0).len() <= MAX_QUESTIONS);
    }
}

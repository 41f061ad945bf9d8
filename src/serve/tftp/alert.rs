//! Whether an answer is looked for, or slept for.
//!
//! A virtual machine on this computer answers within some ten microseconds, and putting a thread to sleep and waking it
//! takes twice as long: the transfer would be made of little else. So when answers come that quickly, and this transfer is
//! the only one, the thread stays awake a moment for the next. On a real network answers take longer than that, and
//! nothing of this ever happens.

use std::time::Duration;

/// For how long an answer is looked for.
pub(super) const LOOK: Duration = Duration::from_micros(60);

/// An answer that was slept for no longer than this would have been seen by looking: it includes being woken.
const QUICK: Duration = Duration::from_micros(100);

/// After so many answers in a row one is slept for. Others get their turn then, and new requests theirs.
const TURN: u32 = 16;

/// How many answers are slept for after one was looked for in vain, the first time. It doubles each time: the client may
/// need the very processor on which it is looked for.
const REST: u32 = 16;

/// How often it doubles.
const MOST_DOUBLINGS: u32 = 6;

/// How one client answered so far.
#[derive(Debug, Default)]
pub(super) struct Alertness {
    /// How many answers are still looked for.
    looks: u32,
    /// How many are slept for first, whatever they take.
    rest: u32,
    /// How often it was in vain since an answer was seen.
    in_vain: u32,
}

impl Alertness {
    /// Whether to look for the next answer.
    pub(super) fn is_awake(&self) -> bool {
        self.looks > 0
    }

    /// The answer was seen.
    pub(super) fn seen(&mut self) {
        self.looks = self.looks.saturating_sub(1);
        self.in_vain = 0;
    }

    /// The answer was looked for in vain, and is slept for now.
    pub(super) fn missed(&mut self) {
        self.looks = 0;
        self.rest = REST << self.in_vain;
        self.in_vain = (self.in_vain + 1).min(MOST_DOUBLINGS);
    }

    /// The answer was slept for, and took so long.
    pub(super) fn woken(&mut self, took: Duration) {
        self.rest = self.rest.saturating_sub(1);
        self.looks = if self.rest == 0 && took <= QUICK { TURN } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of a thousand answers are looked for, when each takes so long and waking adds 20 µs.
    fn looks(answer: Duration) -> u32 {
        let (mut alertness, mut looks) = (Alertness::default(), 0);
        for _ in 0..1000 {
            if alertness.is_awake() {
                looks += 1;
                if answer <= LOOK {
                    alertness.seen();
                    continue;
                }
                alertness.missed();
            }
            alertness.woken(answer + Duration::from_micros(20));
        }
        looks
    }

    #[test]
    fn who_answers_quickly_is_looked_for_and_everybody_else_is_slept_for() {
        assert_eq!(looks(Duration::from_micros(15)), 941);
        assert_eq!(looks(Duration::from_micros(100)), 0);
        assert_eq!(looks(Duration::from_millis(3)), 0);
    }

    #[test]
    fn what_is_in_vain_is_hardly_ever_tried() {
        // Quick when it is slept for, and never seen: client and server share one processor.
        assert!(looks(Duration::from_micros(70)) <= 6);
    }

    #[test]
    fn after_each_turn_one_answer_is_slept_for() {
        let mut alertness = Alertness::default();
        for _ in 0..3 {
            assert!(!alertness.is_awake());
            alertness.woken(QUICK);
            for _ in 0..TURN {
                assert!(alertness.is_awake());
                alertness.seen();
            }
        }
    }
}

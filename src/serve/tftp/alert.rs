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

/// After so many answers in a row others get their turn, and new requests theirs.
const TURN: u32 = 16;

/// How many answers are slept for after one was looked for in vain, the first time. It doubles each time: the client may
/// need the very processor on which it is looked for.
const REST: u32 = 16;

/// How often it doubles.
const MOST_DOUBLINGS: u32 = 6;

/// How one client answered so far.
#[derive(Debug, Default)]
pub(super) struct Alertness {
    /// Whether the next answer is looked for.
    is_awake: bool,
    /// How many answers were seen in this turn.
    seen: u32,
    /// How many are slept for first, whatever they take.
    rest: u32,
    /// How often it was in vain since an answer was seen.
    in_vain: u32,
}

impl Alertness {
    /// Whether to look for the next answer.
    pub(super) fn is_awake(&self) -> bool {
        self.is_awake
    }

    /// Whether others are to get their turn before the next look.
    pub(super) fn is_turn_over(&mut self) -> bool {
        let is_over = self.seen >= TURN;
        self.seen = if is_over { 0 } else { self.seen };
        is_over
    }

    /// The answer was seen.
    pub(super) fn seen(&mut self) {
        self.seen += 1;
        self.in_vain = 0;
    }

    /// The answer was looked for in vain, and is slept for now.
    pub(super) fn missed(&mut self) {
        self.is_awake = false;
        self.rest = REST << self.in_vain;
        self.in_vain = (self.in_vain + 1).min(MOST_DOUBLINGS);
    }

    /// The answer was slept for, and took so long.
    pub(super) fn woken(&mut self, took: Duration) {
        self.rest = self.rest.saturating_sub(1);
        self.is_awake = self.rest == 0 && took <= QUICK;
        self.seen = 0;
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
        assert_eq!(looks(Duration::from_micros(15)), 999, "all but the first");
        assert_eq!(looks(Duration::from_micros(100)), 0);
        assert_eq!(looks(Duration::from_millis(3)), 0);
    }

    #[test]
    fn what_is_in_vain_is_hardly_ever_tried() {
        // Quick when it is slept for, and never seen: client and server share one processor.
        assert!(looks(Duration::from_micros(70)) <= 6);
    }

    #[test]
    fn after_each_turn_it_is_that_of_others() {
        let mut alertness = Alertness::default();
        alertness.woken(QUICK);
        for _ in 0..3 {
            for _ in 0..TURN {
                assert!(alertness.is_awake() && !alertness.is_turn_over());
                alertness.seen();
            }
            assert!(alertness.is_turn_over());
        }
    }
}

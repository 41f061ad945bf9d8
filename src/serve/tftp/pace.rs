//! How long the answer of a client is waited for, and how often it is asked for again.

use std::time::{Duration, Instant};

/// The wait for an answer, to begin with. It doubles with every retransmission.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The longest wait, unless the client wants a longer one.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// How often the same is sent again before the client counts as gone: for about twelve seconds.
const TRIES: u32 = 6;

/// The same for a client that never answered and gets a whole block for a small request: its address may be forged,
/// and somebody else would be sent it.
const UNPROVEN_TRIES: u32 = 1;

/// For how long such a client is listened to after that, without being sent anything: its network may be slow, or have
/// lost both, and then it repeats its request.
const LISTENING: Duration = Duration::from_secs(12);

/// How often a client is asked again that wants an interval of its own, at least and at most.
const OWN_TRIES: (u32, u32) = (2, 12);

/// The clock of one transfer. It has no clock of its own: time comes in.
#[derive(Debug)]
pub(super) struct Pace {
    /// The interval the client asked for (RFC 2349).
    asked: Option<Duration>,
    /// Whether the client has answered. Nobody who merely claims an address may have a place for minutes.
    is_proven: bool,
    /// Whether nothing is sent any more until the client is heard of.
    is_listening: bool,
    first: First,
    may_repeat: u32,
    wait: Duration,
    tries: u32,
    deadline: Instant,
    /// When that was sent which waits for an answer; nothing once it was sent again, because then nobody knows to which
    /// of the two an answer belongs (Karn's algorithm).
    sent: Option<Instant>,
}

/// What is to be done when a deadline has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// What waits for an answer is sent again.
    Repeat,
    /// Nothing: the client may still be heard of, and is sent no more until then.
    Listen,
    /// The client is given up.
    Gone,
}

/// What the first packet costs the network when its receiver never asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// An OACK, about as small as the request.
    Options,
    /// A whole block.
    Block,
}

impl Pace {
    pub(super) fn new(asked: Option<Duration>, first: First, now: Instant) -> Self {
        let wait = asked.map_or(FIRST_WAIT, |asked| asked.min(LONGEST_WAIT));
        let may_repeat = if first == First::Block { UNPROVEN_TRIES } else { TRIES };
        let (is_proven, is_listening) = (false, false);
        Self {
            asked,
            is_proven,
            is_listening,
            first,
            may_repeat,
            wait,
            tries: 0,
            deadline: now + wait,
            sent: Some(now),
        }
    }

    /// Until when an answer is waited for.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The client moved on, and is about to be sent what comes next: patience starts again.
    ///
    /// On a slow network the wait follows the time that answers take. After a loss it stays as long as it was, until
    /// something is answered that was sent once: or a network slower than the first wait would get everything twice.
    pub(super) fn progress(&mut self, now: Instant) {
        if !self.is_proven {
            (self.is_proven, self.is_listening) = (true, false);
            self.may_repeat = self.asked.map_or(TRIES, own_tries);
        }
        self.tries = 0;
        let answer_took = self.sent.replace(now).map(|sent| now.saturating_duration_since(sent));
        if let Some(asked) = self.asked {
            self.wait = asked;
        } else if let Some(took) = answer_took {
            self.wait = (took * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
        }
        self.deadline = now + self.wait;
    }

    /// The client repeated its request. Whether it is to be sent again what it was sent: it is not, if that happens by
    /// itself.
    pub(super) fn ask_again(&mut self, now: Instant) -> bool {
        if self.is_listening {
            self.deadline = now + LISTENING;
        }
        self.is_listening
    }

    /// The deadline has passed.
    pub(super) fn time_out(&mut self, now: Instant) -> Overdue {
        if self.tries >= self.may_repeat {
            if self.is_proven || self.is_listening || self.first == First::Options {
                return Overdue::Gone;
            }
            self.is_listening = true;
            self.deadline = now + LISTENING;
            return Overdue::Listen;
        }
        self.tries += 1;
        self.sent = None;
        if self.asked.is_none() {
            self.wait = (self.wait * 2).min(LONGEST_WAIT);
        }
        self.deadline = now + self.wait;
        Overdue::Repeat
    }
}

/// As many tries as fit the time that other clients have.
fn own_tries(interval: Duration) -> u32 {
    let whole = LONGEST_WAIT.as_secs() * 4;
    let fit = u32::try_from(whole / interval.as_secs().max(1)).unwrap_or(u32::MAX);
    fit.clamp(OWN_TRIES.0, OWN_TRIES.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long each wait is, until the client is given up.
    fn waits(pace: &mut Pace, mut now: Instant) -> Vec<u128> {
        let mut waits = Vec::new();
        loop {
            waits.push((pace.deadline() - now).as_millis());
            now = pace.deadline();
            if pace.time_out(now) == Overdue::Gone {
                return waits;
            }
        }
    }

    #[test]
    fn waits_double_up_to_three_seconds_and_end_after_twelve() {
        let now = Instant::now();
        let mut pace = Pace::new(None, First::Options, now);
        assert_eq!(waits(&mut pace, now), [200, 400, 800, 1600, 3000, 3000, 3000]);
    }

    #[test]
    fn a_block_for_who_never_answered_is_sent_once_more_and_then_only_for_the_asking() {
        let now = Instant::now();
        assert_eq!(waits(&mut Pace::new(None, First::Block, now), now), [200, 400, 12_000]);
        let mut pace = Pace::new(None, First::Block, now);
        assert!(!pace.ask_again(now), "it is sent again by itself");
        let due = [Overdue::Repeat, Overdue::Listen].map(|expected| (pace.time_out(pace.deadline()), expected));
        assert!(due.iter().all(|(found, expected)| found == expected), "{due:?}");
        assert!(pace.ask_again(now) && pace.ask_again(now));
        pace.progress(now);
        assert!(!pace.ask_again(now));
        assert_eq!(waits(&mut pace, now).len(), 7, "who has answered is asked as often as anybody");
    }

    #[test]
    fn the_clients_own_interval_is_kept_once_it_has_answered() {
        for (seconds, before, after) in [
            (1, vec![1000; 7], vec![1000; 13]),
            (4, vec![3000; 7], vec![4000; 4]),
            (255, vec![3000; 7], vec![255_000; 3]),
        ] {
            let now = Instant::now();
            let mut pace = Pace::new(Some(Duration::from_secs(seconds)), First::Options, now);
            assert_eq!(waits(&mut pace, now), before);
            pace.progress(now);
            assert_eq!(waits(&mut pace, now), after);
        }
    }

    #[test]
    fn on_a_slow_network_nothing_is_sent_twice_once_its_pace_is_known() {
        let round_trip = Duration::from_millis(500);
        let mut now = Instant::now();
        let mut pace = Pace::new(None, First::Options, now);
        let mut early = Vec::new();
        for _ in 0..6 {
            let answered = now + round_trip;
            let mut repeats = 0;
            while pace.deadline() < answered {
                assert_eq!(pace.time_out(pace.deadline()), Overdue::Repeat);
                repeats += 1;
            }
            early.push(repeats);
            now = answered;
            pace.progress(now);
        }
        assert_eq!(early, [1, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn a_loss_is_forgotten_with_the_next_answer_that_comes_in_time() {
        let mut now = Instant::now();
        let mut pace = Pace::new(None, First::Options, now);
        now = pace.deadline();
        assert_eq!(pace.time_out(now), Overdue::Repeat);
        for expected in [400, 200, 200] {
            pace.progress(now);
            assert_eq!((pace.deadline() - now).as_millis(), expected);
            now += Duration::from_micros(100);
        }
    }
}

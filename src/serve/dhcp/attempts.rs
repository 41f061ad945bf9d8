//! What clients asked lately: whether the answers were of use to them (netboot.md, C1), whether they boot in a circle
//! (C5), whether they ask too often, and which relay they are behind. Pure: time is an argument.

use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::HashMap;
use smallvec::SmallVec;

use crate::model::identity::Relay;
use crate::model::mac::Mac;
use crate::model::net::Shape;

/// Of how many clients anything is remembered; anybody can invent addresses.
const MAX_CLIENTS: usize = 16_384;

/// How long a client is remembered that is silent.
const MEMORY: Duration = Duration::from_secs(600);

/// How often the silent ones are looked for when there is no room.
const SWEEP: Duration = Duration::from_secs(1);

/// Offers a client lets pass before it gets another kind. Firmware asks four times, after 4, 8, 16 and 32 seconds.
const PATIENCE: u8 = 2;

/// A machine that is handed a loader more often than this within [`CIRCLE`] boots in a circle: a person who turns it on
/// again and again is not as quick.
const MAX_LOADERS: usize = 8;

/// The time in which loaders are counted.
const CIRCLE: Duration = Duration::from_secs(120);

/// Packets of one client in one second that are looked at.
const MAX_PACE: u16 = 100;

/// The clients.
#[derive(Debug, Default)]
pub struct Attempts {
    clients: HashMap<Mac, Attempt>,
    swept: Option<Instant>,
    /// The last client that there was no room for.
    stranger: Option<Attempt>,
    /// The last relay: most machines are behind the same.
    relay: Option<Arc<Relay>>,
    /// The relays of clients that there was no room for: in a flood of invented addresses, machines boot where they are.
    others: HashMap<Mac, Arc<Relay>>,
}

/// What is known of one client.
#[derive(Debug)]
pub struct Attempt {
    seen: Instant,
    /// What tells one of its boots from the next.
    xid: Option<u32>,
    shape: Shape,
    /// Offers it did not make use of.
    unused: u8,
    /// When it wanted loaders lately, once for each boot: most boot but once in a while.
    loaders: SmallVec<[Instant; 1]>,
    /// Whether it gets none, because there were too many.
    is_circling: bool,
    second: Instant,
    packets: u16,
    /// The relay it was behind when it was last told how to boot.
    relay: Option<Arc<Relay>>,
}

/// What to do about a client that wants a loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Lead it there like this.
    Lead(Shape),
    /// It had this many loaders and is back again: whatever it is handed, it will come again.
    Circles(usize),
}

impl Attempts {
    /// The client made use of what it was offered.
    pub fn reached(&mut self, mac: Mac) {
        if let Some(attempt) = self.clients.get_mut(&mac) {
            attempt.reached();
        }
    }

    /// The client is one that boots all the way: it made use of what it was offered, and what it was handed was no circle.
    pub fn arrived(&mut self, mac: Mac) {
        if let Some(attempt) = self.clients.get_mut(&mac) {
            attempt.reached();
            attempt.loaders.clear();
            attempt.is_circling = false;
        }
    }

    /// A client that is told how to boot is behind this relay, or behind none.
    pub fn place(&mut self, mac: Mac, relay: Option<Relay>) {
        let Self { clients, relay: last, others, .. } = self;
        let relay = relay.map(|relay| match last.as_ref().filter(|last| ***last == relay) {
            Some(last) => Arc::clone(last),
            None => Arc::clone(last.insert(Arc::new(relay))),
        });
        if let Some(attempt) = clients.get_mut(&mac) {
            attempt.relay = relay;
            return;
        }
        others.remove(&mac);
        if let Some(relay) = relay {
            if others.len() >= MAX_CLIENTS {
                others.clear();
            }
            others.insert(mac, relay);
        }
    }

    /// The relay that a client is behind.
    #[must_use]
    pub fn relay_of(&self, mac: &Mac) -> Option<&Relay> {
        let known = self.clients.get(mac).map(|attempt| attempt.relay.as_ref());
        known.unwrap_or_else(|| self.others.get(mac)).map(Arc::as_ref)
    }

    /// What is known of a client that asks. For one that there is no room for, what is known of one that never asked.
    pub fn of(&mut self, mac: Mac, now: Instant) -> &mut Attempt {
        let is_old = |attempt: &Attempt| now.saturating_duration_since(attempt.seen) >= MEMORY;
        if self.clients.len() >= MAX_CLIENTS && !self.clients.contains_key(&mac) {
            if self.swept.is_none_or(|then| now.saturating_duration_since(then) >= SWEEP) {
                self.swept = Some(now);
                self.clients.retain(|_, attempt| !is_old(attempt));
            }
            if self.clients.len() >= MAX_CLIENTS {
                return self.stranger.insert(Attempt::first(now));
            }
        }
        let attempt = self.clients.entry(mac).or_insert_with(|| Attempt::first(now));
        if is_old(attempt) {
            attempt.unused = 0;
        }
        attempt.seen = now;
        attempt
    }
}

impl Attempt {
    fn first(now: Instant) -> Self {
        Self {
            seen: now,
            xid: None,
            shape: Shape::default(),
            unused: 0,
            loaders: SmallVec::new(),
            is_circling: false,
            second: now,
            packets: 0,
            relay: None,
        }
    }

    /// Whether a packet of the client is looked at.
    pub fn may_ask(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.packets) = (now, 0);
        }
        self.packets = self.packets.saturating_add(1);
        self.packets <= MAX_PACE
    }

    /// The client looks for a loader. One that asks again within the same boot, or boots again without having made
    /// anything of its offers, gets another kind of answer. One that boots in a circle gets none until it rests: boots in
    /// which it is refused count as well.
    pub fn advise(&mut self, xid: u32, now: Instant) -> Advice {
        let is_new = self.xid.replace(xid) != Some(xid);
        self.loaders.retain(|then| now.saturating_duration_since(*then) < CIRCLE);
        self.is_circling = self.loaders.len() >= MAX_LOADERS && (is_new || self.is_circling);
        if is_new {
            if self.is_circling {
                self.loaders.remove(0);
            }
            self.loaders.push(now);
        }
        if self.is_circling {
            return Advice::Circles(self.loaders.len());
        }
        if self.unused >= PATIENCE {
            (self.shape, self.unused) = (self.shape.other(), 0);
        }
        self.unused += 1;
        Advice::Lead(self.shape)
    }

    /// What the client was told last when it looked for a loader: whoever goes on from there is told the same.
    #[must_use]
    pub fn advised(&self) -> Advice {
        if self.is_circling { Advice::Circles(self.loaders.len()) } else { Advice::Lead(self.shape) }
    }

    /// The client made use of what it was offered.
    pub const fn reached(&mut self) {
        self.unused = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(number: u32) -> Mac {
        let [a, b, c, d] = number.to_be_bytes();
        Mac([0x52, 0x54, a, b, c, d])
    }

    const AT_ONCE: Advice = Advice::Lead(Shape::AtOnce);
    const BOOT_SERVER: Advice = Advice::Lead(Shape::BootServer);

    fn advise(attempts: &mut Attempts, client: u32, xid: u32, now: Instant) -> Advice {
        attempts.of(mac(client), now).advise(xid, now)
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_client_that_repeats_itself_gets_the_other_kind_of_answer() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        // Firmware asks after 4, 8, 16 and 32 seconds.
        let asked = [0, 4, 12, 28, 60].map(|seconds| advise(&mut attempts, 1, 7, after(now, seconds)));
        assert_eq!(asked, [AT_ONCE, AT_ONCE, BOOT_SERVER, BOOT_SERVER, AT_ONCE]);
        assert_eq!(advise(&mut attempts, 2, 7, now), AT_ONCE, "another client");
    }

    #[test]
    fn what_worked_is_kept() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for seconds in [0, 4, 12] {
            advise(&mut attempts, 1, 7, after(now, seconds));
        }
        attempts.arrived(mac(1));
        for boot in 1..20 {
            let advice = advise(&mut attempts, 1, boot, after(now, 1000 * u64::from(boot)));
            assert_eq!(advice, BOOT_SERVER);
            attempts.arrived(mac(1));
        }
    }

    #[test]
    fn boots_that_are_far_apart_say_nothing_about_each_other() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for boot in 0..9 {
            // Nobody tells that it worked, as when a router stands between.
            assert_eq!(advise(&mut attempts, 1, boot, after(now, 700 * u64::from(boot))), AT_ONCE);
        }
    }

    #[test]
    fn a_client_that_takes_loader_after_loader_gets_no_more_until_it_rests() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for boot in 0..8 {
            assert!(matches!(advise(&mut attempts, 1, boot, after(now, 5 * u64::from(boot))), Advice::Lead(_)));
            attempts.reached(mac(1));
        }
        assert_eq!(advise(&mut attempts, 1, 8, after(now, 45)), Advice::Circles(8));
        assert_eq!(advise(&mut attempts, 1, 9, after(now, 50)), Advice::Circles(8));
        assert_eq!(attempts.of(mac(1), now).advised(), Advice::Circles(8));
        assert_eq!(advise(&mut attempts, 1, 10, after(now, 125)), Advice::Circles(8), "it has not rested");
        assert!(matches!(advise(&mut attempts, 1, 11, after(now, 200)), Advice::Lead(_)));
        assert!(matches!(attempts.of(mac(1), now).advised(), Advice::Lead(_)));
        let mut asked = (0..50).map(|_| advise(&mut attempts, 2, 1, now));
        assert!(asked.all(|advice| matches!(advice, Advice::Lead(_))), "one boot, however often it asks");
    }

    #[test]
    fn a_client_is_behind_the_relay_it_was_last_seen_behind() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        let relay = |last| Relay::of([10, 0, 9, last].into(), Some(b"port 3"), None);
        let moves = [(1, Some(1)), (2, Some(1)), (3, Some(2)), (2, None), (1, Some(2))];
        // Those in a flood are machines that there is no room for.
        for first in [0, 99_000] {
            for (client, seen) in moves.map(|(client, seen)| (first + client, seen)) {
                attempts.of(mac(client), now);
                attempts.place(mac(client), seen.map(relay));
            }
            let behind = [1, 2, 3, 4].map(|client| attempts.relay_of(&mac(first + client)).cloned());
            assert_eq!(behind, [Some(relay(2)), None, Some(relay(2)), None]);
            for invented in 1000..40_000 {
                attempts.of(mac(invented), now);
            }
        }
        (0..40_000).for_each(|invented| attempts.place(mac(100_000 + invented), Some(relay(1))));
        assert!(attempts.others.len() <= MAX_CLIENTS);
    }

    #[test]
    fn nobody_is_looked_at_a_thousand_times_a_second() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        let looked = (0..1000).filter(|_| attempts.of(mac(1), now).may_ask(now)).count();
        assert_eq!(looked, usize::from(MAX_PACE));
        assert!(attempts.of(mac(2), now).may_ask(now));
        assert!(attempts.of(mac(1), after(now, 1)).may_ask(after(now, 1)));
    }

    #[test]
    fn invented_clients_take_no_more_than_their_room_and_everybody_is_still_answered() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for number in 0..40_000 {
            assert_eq!(advise(&mut attempts, number, 1, now), AT_ONCE);
        }
        assert_eq!(attempts.clients.len(), MAX_CLIENTS);
        advise(&mut attempts, 99_999, 1, after(now, 700));
        assert_eq!(attempts.clients.len(), 1);
    }
}

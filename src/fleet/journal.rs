//! What is seen of the boots under way, step by step, and what of it is written down. Pure: the time is an argument.
//!
//! Anybody can send packets under any address, so what is written of one step of one boot gets rarer the more often it
//! happens: at once at first, then at doubling distances, and once more when the boot goes on or falls quiet. What firmware
//! does before the machine has its script is written a moment later, with what it does next.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use foldhash::HashSet;
use smallvec::SmallVec;

use crate::model::boot::{Sent, Step};
use crate::model::mac::Mac;
use crate::model::timeline::{Stage, remark};

/// How often a step of one boot is written down at most.
const MAX_NOTES: u32 = 48;

/// How long nothing must happen at a step until what happened last is written down.
const QUIET: Duration = Duration::from_secs(1);

/// How a step of a boot was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The machine itself said its hardware address.
    ByMac,
    /// Something came from an address a machine had: another one may have it by now.
    ByAddress,
}

/// One thing that was seen of a machine that boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The step it belongs to.
    pub step: Step,
    /// How it was seen.
    pub seen: Seen,
    /// What went over the wire, when a transfer ended; nothing for a packet, a request, and a transfer that begins.
    pub sent: Option<Sent>,
    /// What a person should know of it; may be empty.
    pub remark: Arc<str>,
}

impl Sighting {
    /// Whether the machine has done the step with this. A transfer that broke off was none.
    #[must_use]
    pub fn is_progress(&self) -> bool {
        self.sent.is_none_or(|sent| sent.is_whole())
    }
}

/// What is written down: how a step of a boot stood at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The machine.
    pub mac: Mac,
    /// When the boot began, which with the machine names it.
    pub boot: SystemTime,
    /// The step.
    pub stage: Stage,
}

/// What is to be written down of something that was seen: of most, one event.
pub type Events = SmallVec<[Event; 1]>;

/// Of which machines not everything is written down.
#[derive(Debug, Default)]
pub(super) struct Journal {
    unwritten: HashSet<Mac>,
}

/// What was seen of a boot under way, which is the last one of its machine. Kept with the machine.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Boot {
    began: SystemTime,
    /// One lies with the machine: of a fleet that is turned on, most get no further for a while than to their scripts.
    pages: SmallVec<[Page; 1]>,
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Page {
    /// Its remark is only here until it is written down.
    stage: Stage,
    notes: u32,
    noted: SystemTime,
    is_written: bool,
}

impl Journal {
    /// Of a machine that is like the others from now on, nothing is written down so far.
    pub(super) fn go_on(&mut self, mac: Mac) {
        self.unwritten.insert(mac);
    }

    /// All that is not written down yet of a boot.
    pub(super) fn written(&mut self, mac: Mac, boot: &mut Boot) -> Events {
        self.unwritten.remove(&mac);
        let mut events = Events::new();
        boot.write(mac, |_| true, &mut events);
        events
    }

    /// A boot began. Adds to `events` what is to be written down of the one before: all that is not yet.
    pub(super) fn begin(&mut self, mac: Mac, boot: &mut Boot, began: SystemTime, events: &mut Events) {
        if !boot.is_written() {
            self.unwritten.remove(&mac);
            boot.write(mac, |_| true, events);
        }
        boot.began = began;
        boot.pages.clear();
    }

    /// Something was seen of the boot that began at `began`. Adds to `events` what is to be written down.
    pub(super) fn note(
        &mut self,
        mac: Mac,
        boot: &mut Boot,
        began: SystemTime,
        sighting: Sighting,
        now: SystemTime,
        events: &mut Events,
    ) {
        if boot.pages.is_empty() {
            boot.began = began;
        }
        boot.note(mac, sighting, now, &mut self.unwritten, events);
    }

    /// The machines of which not everything is written down.
    pub(super) fn unwritten(&self) -> Vec<Mac> {
        self.unwritten.iter().copied().collect()
    }

    /// Adds to `events` what is to be written down of steps that fell quiet, and of all of them when `all`.
    pub(super) fn quiet(&mut self, mac: Mac, boot: &mut Boot, now: SystemTime, all: bool, events: &mut Events) {
        let is_quiet = |page: &Page| all || now.duration_since(page.stage.last).unwrap_or_default() >= QUIET;
        boot.write(mac, is_quiet, events);
        if boot.is_written() {
            self.unwritten.remove(&mac);
        }
    }

    /// The machine is remembered no more.
    pub(super) fn forget(&mut self, mac: &Mac) {
        self.unwritten.remove(mac);
    }
}

impl Boot {
    /// One of which nothing was seen so far.
    pub(super) fn begin(began: SystemTime) -> Self {
        Self { began, pages: SmallVec::new() }
    }

    /// One of which only firmware is seen so far, with room for what that does.
    pub(super) fn of_firmware(began: SystemTime) -> Self {
        Self { began, pages: SmallVec::with_capacity(2) }
    }

    /// When it began.
    pub(super) const fn began(&self) -> SystemTime {
        self.began
    }

    /// When something was seen of it last.
    pub(super) fn last_seen(&self) -> SystemTime {
        self.pages.iter().map(|page| page.stage.last).max().unwrap_or(self.began)
    }

    /// The furthest step that was done, and when it was first seen.
    pub(super) fn furthest(&self) -> (Step, SystemTime) {
        let done = self.pages.iter().filter(|page| page.stage.asked > 0 || page.stage.files > 0);
        let furthest = done.max_by_key(|page| page.stage.step).map(|page| (page.stage.step, page.stage.began));
        furthest.unwrap_or((Step::Discover, self.began))
    }

    /// Something was seen of it.
    pub(super) fn see(&mut self, sighting: Sighting, now: SystemTime) -> &mut Page {
        let step = sighting.step;
        let known = self.pages.iter().position(|page| page.stage.step == step);
        let place = known.unwrap_or_else(|| {
            self.pages.push(Page::begin(&sighting, now));
            self.pages.len() - 1
        });
        let page = &mut self.pages[place];
        page.add(sighting, now);
        page
    }

    fn note(
        &mut self,
        mac: Mac,
        sighting: Sighting,
        now: SystemTime,
        unwritten: &mut HashSet<Mac>,
        events: &mut Events,
    ) {
        let step = sighting.step;
        let was_written = self.is_written();
        let page = self.see(sighting, now);
        let (is_new, is_due) = (page.notes == 0 && step >= Step::Script, page.is_due(now));
        // What happened before a new step is at its end, mostly.
        self.write(mac, |page| is_new || is_due && page.stage.step == step, events);
        match (was_written, self.is_written()) {
            (true, false) => unwritten.insert(mac),
            (false, true) => unwritten.remove(&mac),
            _ => false,
        };
    }

    /// Whether nothing is to be written down of it.
    fn is_written(&self) -> bool {
        self.pages.iter().all(|page| page.is_written)
    }

    /// Writes these pages down, in the order in which something happened last: a step may go on after the next has begun.
    fn write(&mut self, mac: Mac, wanted: impl Fn(&Page) -> bool, events: &mut Events) {
        let (began, before) = (self.began, events.len());
        for page in self.pages.iter_mut().filter(|page| !page.is_written && wanted(page)) {
            page.is_written = true;
            if page.notes < MAX_NOTES {
                page.notes += 1;
                page.noted = page.stage.last;
                let remark = page.stage.remark.take();
                events.push(Event { mac, boot: began, stage: Stage { remark, ..page.stage.clone() } });
            }
            page.stage.remark = None;
        }
        events[before..].sort_by_key(|event| event.stage.last);
    }
}

impl Page {
    fn begin(sighting: &Sighting, now: SystemTime) -> Self {
        let began = sighting.sent.and_then(|sent| now.checked_sub(sent.took)).unwrap_or(now);
        Self { stage: Stage::begin(sighting.step, began), notes: 0, noted: now, is_written: true }
    }

    fn add(&mut self, sighting: Sighting, now: SystemTime) {
        let stage = &mut self.stage;
        stage.last = now;
        match sighting.sent {
            None => stage.asked = stage.asked.saturating_add(1),
            Some(sent) => {
                let ended = if sent.is_whole() { &mut stage.files } else { &mut stage.broken };
                *ended = ended.saturating_add(1);
                stage.bytes = stage.bytes.saturating_add(sent.bytes);
                stage.took = stage.took.saturating_add(sent.took);
            }
        }
        if !sighting.remark.is_empty() {
            stage.remark = Some(remark(sighting.remark));
        }
        self.is_written = false;
    }

    /// At once, then after one second, two, four, and so on. Of firmware not at once: an address that anybody can invent
    /// costs as little as it can.
    fn is_due(&self, now: SystemTime) -> bool {
        let doublings = match self.notes.checked_sub(1) {
            Some(doublings) => doublings,
            None if self.stage.step < Step::Script => 0,
            None => return true,
        };
        let distance = Duration::from_secs(1 << doublings.min(16));
        now.duration_since(self.noted).unwrap_or_default() >= distance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) + Duration::from_millis(millis)
    }

    fn seen(step: Step, sent: Option<Sent>) -> Sighting {
        Sighting { step, seen: Seen::ByMac, sent, remark: "".into() }
    }

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    /// The journal of one machine, with its boot.
    struct Bench {
        journal: Journal,
        boot: Boot,
    }

    impl Default for Bench {
        fn default() -> Self {
            Self { journal: Journal::default(), boot: Boot::begin(at(0)) }
        }
    }

    impl Bench {
        fn begin(&mut self, began: SystemTime, events: &mut Events) {
            self.journal.begin(MAC, &mut self.boot, began, events);
        }

        fn quiet(&mut self, now: SystemTime, all: bool) -> Events {
            let mut events = Events::new();
            for mac in self.journal.unwritten() {
                self.journal.quiet(mac, &mut self.boot, now, all, &mut events);
            }
            events
        }
    }

    fn note(bench: &mut Bench, began: SystemTime, sighting: Sighting, now: SystemTime) -> Events {
        let mut events = Events::new();
        bench.journal.note(MAC, &mut bench.boot, began, sighting, now, &mut events);
        events
    }

    #[test]
    fn a_transfer_adds_up_and_the_next_step_writes_down_what_came_before() {
        let mut bench = Bench::default();
        let took = Duration::from_millis(200);
        assert_eq!(note(&mut bench, at(0), seen(Step::Packages, None), at(0)).len(), 1);
        for number in 0..30 {
            let sent = Sent { bytes: 1000, of: 1000, took };
            let noted = note(&mut bench, at(0), seen(Step::Packages, Some(sent)), at(10 * number));
            assert!(noted.is_empty(), "thirty packages in a third of a second are not thirty events");
        }
        let noted = note(&mut bench, at(0), seen(Step::Modloop, None), at(400));
        let packages = &noted[0].stage;
        assert_eq!((packages.step, packages.files, packages.bytes), (Step::Packages, 30, 30_000));
        assert_eq!((packages.took, packages.last), (took * 30, at(290)));
        assert_eq!(noted[1].stage.step, Step::Modloop);
    }

    #[test]
    fn what_falls_quiet_is_written_down_once() {
        let mut bench = Bench::default();
        note(&mut bench, at(0), seen(Step::Kernel, None), at(0));
        let part = Sent { bytes: 5, of: 9, took: Duration::from_millis(300) };
        assert!(note(&mut bench, at(0), seen(Step::Kernel, Some(part)), at(300)).is_empty());
        assert!(bench.quiet(at(900), false).is_empty());
        let noted = bench.quiet(at(1300), false);
        assert_eq!((noted.len(), noted[0].stage.broken, noted[0].stage.files), (1, 1, 0));
        assert!(bench.quiet(at(9000), true).is_empty() && bench.journal.unwritten.is_empty());
    }

    #[test]
    fn what_is_written_together_is_in_the_order_of_time() {
        let mut bench = Bench::default();
        // iPXE asks DHCP, and then for its first script.
        for (step, millis) in [(Step::Ipxe, 0), (Step::Offer, 1), (Step::Ipxe, 59)] {
            assert!(note(&mut bench, at(0), seen(step, None), at(millis)).is_empty());
        }
        let noted = note(&mut bench, at(0), seen(Step::Script, None), at(77));
        let steps: Vec<_> = noted.iter().map(|event| (event.stage.step, event.stage.asked)).collect();
        assert_eq!(steps, [(Step::Offer, 1), (Step::Ipxe, 2), (Step::Script, 1)]);
    }

    #[test]
    fn a_boot_that_begins_with_its_script_ends_the_one_before() {
        let mut bench = Bench::default();
        note(&mut bench, at(0), seen(Step::Kernel, None), at(0));
        assert!(note(&mut bench, at(0), seen(Step::Kernel, None), at(10)).is_empty());
        let mut events = Events::new();
        bench.begin(at(900), &mut events);
        events.extend(note(&mut bench, at(900), seen(Step::Script, None), at(901)));
        let written: Vec<_> = events.iter().map(|event| (event.boot, event.stage.step, event.stage.asked)).collect();
        assert_eq!(written, [(at(0), Step::Kernel, 2), (at(900), Step::Script, 1)]);
        assert!(bench.quiet(at(9000), true).is_empty() && bench.journal.unwritten.is_empty());
    }

    #[test]
    fn a_flood_of_packets_of_one_machine_is_a_few_events() {
        let mut bench = Bench::default();
        let mut events = 0;
        for number in 0..10_000 {
            events += note(&mut bench, at(0), seen(Step::Discover, None), at(number * 10)).len();
            events += bench.quiet(at(number * 10), false).len();
        }
        assert!(events <= 9, "{events} in a hundred seconds");
        for number in 0..10_000 {
            events += note(&mut bench, at(0), seen(Step::Discover, None), at(200_000 + number * 5_000)).len();
            events += bench.quiet(at(200_000 + number * 5_000 + 2_000), false).len();
        }
        assert_eq!(events, MAX_NOTES as usize, "and a slow one has an end too");
    }

    #[test]
    fn a_loader_that_is_only_seen_at_its_end_began_when_it_began() {
        let mut bench = Bench::default();
        let sent = Sent { bytes: 9, of: 9, took: Duration::from_secs(2) };
        note(&mut bench, at(0), seen(Step::Loader, Some(sent)), at(3000));
        let noted = note(&mut bench, at(0), seen(Step::Script, None), at(3500));
        assert_eq!((noted[0].stage.began, noted[0].stage.last), (at(1000), at(3000)));
    }

    #[test]
    fn what_firmware_does_is_written_when_it_rests_or_has_its_script_and_a_flood_of_it_after_a_second() {
        let mut bench = Bench::default();
        let steps = |noted: Events| noted.iter().map(|event| (event.stage.step, event.stage.asked)).collect::<Vec<_>>();
        for (step, millis) in [(Step::Discover, 0), (Step::Offer, 1), (Step::Discover, 300), (Step::Offer, 301)] {
            assert!(note(&mut bench, at(0), seen(step, None), at(millis)).is_empty());
        }
        let script = note(&mut bench, at(0), seen(Step::Script, None), at(900));
        assert_eq!(steps(script), [(Step::Discover, 2), (Step::Offer, 2), (Step::Script, 1)]);
        bench.begin(at(5000), &mut Events::new());
        let mut flood = (0..).map(|number| note(&mut bench, at(5000), seen(Step::Discover, None), at(5000 + number)));
        assert_eq!(flood.by_ref().take(1000).flatten().count(), 0);
        assert_eq!(steps(flood.next().unwrap()), [(Step::Discover, 1001)]);
    }
}

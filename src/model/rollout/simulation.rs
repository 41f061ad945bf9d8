//! A fleet that is not there: machines that boot, hang, sleep and are switched off, a server that is started anew and
//! whose clock jumps, all from one number. The rollout is the real one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};
use std::time::{Duration, SystemTime};

use super::*;
use crate::model::boot_guard::{Attempts, DEFAULT_ATTEMPTS};
use crate::model::digest::Digest;
use crate::model::label::{Label, Labels};
use crate::model::ledger::{Entry, Fact, Ledger};
use crate::model::manifest::BundleId;

const MINUTE: u64 = 60;
/// How often the server looks when something happened …
const TICK: u64 = 2 * MINUTE;
/// … and when nothing did: hours begin and end, and batches have been watched.
const IDLE_TICK: u64 = 20 * MINUTE;
/// When a rollout that nothing stops has to be over.
const LAST: u64 = 4 * 24 * 60 * MINUTE;

/// SplitMix64: the same numbers on every computer and for every version of every crate.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }
}

/// What the new release does to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Fine,
    /// It comes up after the time limit.
    Slow,
    /// It checks in, and a required check is red.
    Red,
    /// Nothing is heard of it.
    Hangs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    /// Somebody switches it on, or off and on again.
    PowerCycle,
    PowerOff,
    /// It checks in; the number is that of its boot.
    CheckIn(u32),
}

struct Machine {
    id: MachineId,
    fate: Fate,
    boots: u32,
    attempts: Attempts,
    good: BundleId,
    /// The bundles it was given scripts of, to look at when all is over.
    last_given: BundleId,
    /// Whether it came up well with the new release, and has to keep it.
    keeps: bool,
}

struct World {
    chance: Chance,
    /// Seconds since the beginning.
    now: u64,
    /// How far the server's clock is off.
    skew: i64,
    heap: BinaryHeap<Reverse<(u64, usize, Happens)>>,
    machines: Vec<Machine>,
    census: Census,
    log: Vec<Entry>,
    ledger: Ledger,
    listening_since: SystemTime,
    loss: u64,
    trouble: bool,
}

fn epoch() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000)
}

fn release(number: u64) -> Release {
    Release { number, bundle: Digest::of(&number.to_be_bytes()) }
}

fn follows() -> Option<(crate::model::name::ProfileName, crate::model::name::ChannelName)> {
    Some(("vdi".parse().unwrap(), "stable".parse().unwrap()))
}

fn labels(texts: &[String]) -> Labels {
    texts.iter().map(|text| text.parse::<Label>().unwrap()).map(|label| (label.key, label.value)).collect()
}

impl World {
    fn new(seed: u64, size: usize, broken: u64, trouble: bool) -> Self {
        let mut chance = Chance(seed);
        let (mut machines, mut census, mut heap) = (Vec::new(), Census::new(), BinaryHeap::new());
        let asleep = chance.below(60);
        for number in 0..size {
            let id: MachineId = format!("m{number}").parse().unwrap();
            let mut texts = vec![format!("room={}", number / 20), format!("site=s{}", number % 3)];
            if number % (size / 5).max(1) == 0 {
                texts.push("canary".to_owned());
            }
            let fate = match chance.percent(broken) {
                true => [Fate::Slow, Fate::Red, Fate::Hangs][usize::try_from(chance.below(3)).unwrap()],
                false => Fate::Fine,
            };
            let is_on = !chance.percent(asleep);
            let boot =
                Boot { bundle: release(1).bundle, at: epoch(), health: Health::Good, since: epoch(), instead: None };
            let view = View { labels: labels(&texts), follows: follows(), is_on, boot: Some(boot) };
            census.insert(id.clone(), view);
            if !is_on {
                heap.push(Reverse((chance.between(1, 24 * 60 * MINUTE), number, Happens::PowerCycle)));
            }
            let (good, last_given) = (release(1).bundle, release(1).bundle);
            machines.push(Machine {
                id,
                fate,
                boots: 0,
                attempts: Attempts::default(),
                good,
                last_given,
                keeps: false,
            });
        }
        let loss = chance.below(30);
        let listening_since = epoch();
        let (log, ledger) = (Vec::new(), Ledger::default());
        Self { chance, now: 0, skew: 0, heap, machines, census, log, ledger, listening_since, loss, trouble }
    }

    fn time(&self) -> SystemTime {
        epoch() + Duration::from_secs(self.now.saturating_add_signed(self.skew))
    }

    fn append(&mut self, known: u64, fact: Fact) -> bool {
        // As in the database: whoever did not know the last entry adds none.
        if known != self.ledger.last() {
            return false;
        }
        let entry = Entry { number: known + 1, at: self.time(), who: "test".to_owned(), why: None, fact };
        self.ledger.apply(&entry);
        self.log.push(entry);
        true
    }

    fn rollout(&self) -> &Rollout {
        self.ledger.rollouts().next_back().unwrap()
    }

    fn start(&mut self, spec: Spec) {
        let fact = self.ledger.start(spec, &self.census).unwrap();
        assert!(self.append(self.ledger.last(), fact));
    }

    /// Everything the server decides now, with the properties that hold at every decision.
    fn tick(&mut self) {
        let clock = Clock { now: self.time(), listening_since: self.listening_since };
        let stale = self.trouble.then(|| self.ledger.clone());
        loop {
            // That every step changes something is looked at in small fleets: it takes a copy each time.
            let before = (self.machines.len() <= 100).then(|| self.rollout().clone());
            let steps = advance(self.rollout(), &self.census, clock);
            if steps.is_empty() {
                break;
            }
            for step in steps {
                let number = self.rollout().spec.number;
                if let Step::Granted { machines } = &step {
                    self.check_grant(machines);
                }
                if let Step::Granted { machines } | Step::Recalled { machines } = &step {
                    self.listen_to(machines);
                }
                assert!(self.append(self.ledger.last(), Fact::Rollout { number, step }));
            }
            assert_ne!(Some(self.rollout()), before.as_ref(), "a step that changes nothing would be taken for ever");
        }
        // Another server that did not see this decides too: it is refused, whatever it wants.
        if let Some(stale) = stale.filter(|stale| stale.last() != self.ledger.last()) {
            for step in advance(stale.rollouts().next_back().unwrap(), &self.census, clock) {
                assert!(!self.append(stale.last(), Fact::Rollout { number: 1, step }));
            }
        }
    }

    /// Only check-ins that can change something are simulated: those of machines that are to reboot are.
    fn listen_to(&mut self, machines: &[MachineId]) {
        for id in machines {
            let number: usize = id.as_str().trim_start_matches('m').parse().unwrap();
            let at = self.now + self.chance.between(1, 10 * MINUTE);
            self.heap.push(Reverse((at, number, Happens::CheckIn(self.machines[number].boots))));
        }
    }

    /// Never over budget, and nothing is given after too many failures.
    fn check_grant(&self, granted: &[MachineId]) {
        let before = self.rollout();
        let spec = &before.spec;
        let granted: HashSet<&MachineId> = granted.iter().collect();
        assert!(spec.max_failures.is_none_or(|most| before.failures() <= most), "given after too many failures");
        assert_eq!(before.status, Status::Running);
        for budget in &spec.budgets {
            let mut groups: BTreeMap<Option<&str>, (usize, usize, bool)> = BTreeMap::new();
            for (id, view) in &self.census {
                let group = budget.by.as_ref().and_then(|key| view.labels.get(key)).map(|value| value.as_str());
                let (down, whole, is_new) = groups.entry(group).or_default();
                *whole += 1;
                let is_granted = granted.contains(id);
                let is_settled = before
                    .members
                    .get(id)
                    .is_none_or(|member| matches!(member.standing, Standing::Good | Standing::Returned));
                let is_well = !view.is_on || view.boot.as_ref().unwrap().health == Health::Good;
                *down += usize::from(is_granted || !is_settled || !is_well);
                *is_new |= is_granted && is_well;
            }
            for (group, (down, whole, is_new)) in groups {
                let most = budget.most_of(whole);
                assert!(!is_new || down <= most, "{group:?}: {down} of {whole} are down, and {most} may be");
            }
        }
    }

    fn power_on(&mut self, number: usize) {
        let pointed = match self.rollout().status {
            Status::Finished => release(2),
            _ => release(1),
        };
        let (profile, channel) = follows().unwrap();
        let now = self.time();
        let machine = &mut self.machines[number];
        let wanted = self.ledger.release_of(&machine.id, &profile, &channel, pointed);
        let is_guarded = machine.attempts.count(wanted.bundle) >= DEFAULT_ATTEMPTS && machine.good != wanted.bundle;
        let given = if is_guarded { machine.good } else { wanted.bundle };
        let goes_back = !matches!(
            self.ledger.rollouts().next_back().unwrap().status,
            Status::Running | Status::Paused | Status::Stopped(_) | Status::Finished
        );
        assert!(!machine.keeps || given == release(2).bundle || goes_back || is_guarded, "it went back by itself");
        machine.attempts.begin(given);
        machine.last_given = given;
        machine.boots += 1;
        let instead = is_guarded.then(|| "it did not come up three times".to_owned());
        let boot = Boot { bundle: given, at: now, health: Health::UnderWay, since: now, instead };
        let view = self.census.get_mut(&machine.id).unwrap();
        view.is_on = true;
        view.boot = Some(boot);
        let is_new = given == release(2).bundle;
        let after = match (is_new, machine.fate) {
            (true, Fate::Hangs) => {
                // Somebody comes by and switches it off and on again.
                let later = self.now + self.chance.between(30 * MINUTE, 5 * 60 * MINUTE);
                self.heap.push(Reverse((later, number, Happens::PowerCycle)));
                return;
            }
            (true, Fate::Slow) => self.chance.between(16 * MINUTE, 40 * MINUTE),
            _ => self.chance.between(30, 5 * MINUTE),
        };
        self.heap.push(Reverse((self.now + after, number, Happens::CheckIn(machine.boots))));
    }

    fn check_in(&mut self, number: usize, of_boot: u32) {
        let now = self.time();
        let machine = &mut self.machines[number];
        let view = self.census.get_mut(&machine.id).unwrap();
        if of_boot != machine.boots || !view.is_on {
            return;
        }
        if self.chance.below(100) < self.loss {
            self.heap.push(Reverse((self.now + MINUTE, number, Happens::CheckIn(of_boot))));
            return;
        }
        let boot = view.boot.as_mut().unwrap();
        let is_red = boot.bundle == release(2).bundle && machine.fate == Fate::Red;
        let health = if is_red { Health::Bad("a check is red".to_owned()) } else { Health::Good };
        if boot.health != health {
            boot.since = now;
            boot.health = health;
        }
        if !is_red {
            machine.attempts.came_up(boot.bundle);
            machine.good = boot.bundle;
            machine.keeps |= boot.bundle == release(2).bundle;
        }
        // The answer may ask it to reboot.
        let rollout = self.ledger.rollouts().next_back().unwrap();
        let is_due = rollout
            .members
            .get(&machine.id)
            .is_some_and(|member| matches!(member.standing, Standing::Granted | Standing::Recalled));
        if wish(rollout, &machine.id, view, now).is_some() && self.chance.percent(50) {
            self.power_on(number);
        } else if is_due {
            self.heap.push(Reverse((self.now + 10 * MINUTE, number, Happens::CheckIn(of_boot))));
        }
    }

    fn disturb(&mut self) {
        let number = usize::try_from(self.chance.below(self.machines.len() as u64)).unwrap();
        match self.chance.below(12) {
            0 => {
                // The server is killed, and another one reads the log.
                let mut again = Ledger::default();
                self.log.iter().for_each(|entry| again.apply(entry));
                assert_eq!(again, self.ledger, "the log leads to another state");
                self.ledger = again;
                self.listening_since = self.time();
            }
            1 => {
                self.skew += i64::try_from(self.chance.below(20_000)).unwrap() - 10_000;
                self.listening_since = self.time();
            }
            2..=6 => self.power_on(number),
            7 => self.heap.push(Reverse((self.now, number, Happens::PowerOff))),
            _ => {}
        }
    }

    /// Runs until the rollout is over, or halts, or nothing is left to wait for.
    fn run(&mut self) {
        let mut next_tick = 0;
        while self.now < LAST
            && !self.rollout().status.is_over()
            && !matches!(self.rollout().status, Status::Stopped(_))
        {
            let event = self.heap.peek().map(|Reverse((at, ..))| *at);
            match event.filter(|at| *at < next_tick) {
                Some(at) => {
                    self.now = self.now.max(at);
                    let Some(Reverse((_, number, what))) = self.heap.pop() else { break };
                    self.happen(number, what);
                    next_tick = next_tick.min(self.now + TICK);
                }
                None => {
                    self.now = self.now.max(next_tick);
                    self.tick();
                    if self.trouble {
                        self.disturb();
                    }
                    next_tick = self.now + IDLE_TICK;
                }
            }
        }
    }

    fn happen(&mut self, number: usize, what: Happens) {
        match what {
            Happens::PowerCycle => self.power_on(number),
            Happens::PowerOff => {
                let view = self.census.get_mut(&self.machines[number].id).unwrap();
                view.is_on = false;
                self.machines[number].boots += 1;
                let later = self.now + self.chance.between(MINUTE, 20 * 60 * MINUTE);
                self.heap.push(Reverse((later, number, Happens::PowerCycle)));
            }
            Happens::CheckIn(of_boot) => self.check_in(number, of_boot),
        }
    }

    /// Everybody is switched off and on again as often as it takes: each ends with a release that boots.
    fn settle(&mut self) {
        self.heap.clear();
        self.loss = 0;
        for _ in 0..=DEFAULT_ATTEMPTS {
            for number in 0..self.machines.len() {
                self.power_on(number);
            }
            self.heap.retain(|Reverse((_, _, what))| matches!(what, Happens::CheckIn(_)));
            self.now += 60 * MINUTE;
            let due: Vec<_> =
                std::mem::take(&mut self.heap).into_iter().map(|Reverse((_, number, what))| (number, what)).collect();
            for (number, what) in due {
                self.happen(number, what);
            }
        }
        for machine in &self.machines {
            let boot = self.census[&machine.id].boot.as_ref().unwrap();
            let boots = boot.bundle == release(1).bundle || matches!(machine.fate, Fate::Fine | Fate::Slow);
            let over = &self.rollout().status;
            assert!(boots || machine.fate == Fate::Red && boot.health != Health::Good, "{}: {over:?}", machine.id);
        }
    }
}

fn spec(chance: &mut Chance, auto_rollback: bool) -> Spec {
    let (profile, channel) = follows().unwrap();
    let pace = Pace { bake: Duration::from_secs(chance.between(1, 30) * MINUTE), ..Pace::default() };
    let batches = ["canary", "10%", "site=s1: 50%"].into_iter().take(usize::try_from(chance.below(4)).unwrap());
    let batches = batches.map(|text| Batch::parse(text, &pace).unwrap()).collect();
    let budgets = ["room=2", "10%", "site=25%"].into_iter().take(usize::try_from(chance.below(4)).unwrap());
    Spec {
        number: 0,
        profile,
        channel,
        from: release(1),
        to: release(2),
        batches: Spec::with_the_rest(batches, &pace),
        budgets: budgets.map(|text| text.parse().unwrap()).collect(),
        windows: Vec::new(),
        blackouts: if chance.percent(30) { vec!["Mon-Fri 08:00-17:00".parse().unwrap()] } else { Vec::new() },
        zones: Zones::default(),
        reboot: if chance.percent(50) { RebootPolicy::Force } else { RebootPolicy::Idle(DEFAULT_IDLE) },
        max_failures: chance.percent(50).then(|| usize::try_from(chance.below(6)).unwrap()),
        auto_rollback,
    }
}

fn simulate(seed: u64, size: usize, broken: u64, trouble: bool) -> World {
    let mut world = World::new(seed, size, broken, trouble);
    let mut chance = Chance(seed ^ 0x5eed);
    let spec = spec(&mut chance, goes_back_by_itself(seed));
    world.start(spec);
    world.run();
    world
}

const fn goes_back_by_itself(seed: u64) -> bool {
    seed.is_multiple_of(2)
}

#[test]
fn a_good_release_reaches_everybody() {
    for seed in 0..200 {
        let world = simulate(seed, 60, 0, false);
        assert_eq!(world.rollout().status, Status::Finished, "seed {seed}: {:?}", world.rollout());
        assert_eq!(world.rollout().failures(), 0, "seed {seed}");
    }
}

#[test]
fn a_release_that_breaks_many_machines_never_finishes_and_they_go_back() {
    for seed in 0..200 {
        let mut world = simulate(seed, 60, 60, false);
        let rollout = world.rollout();
        let stopped = matches!(rollout.status, Status::Stopped(_) | Status::RolledBack(_));
        assert!(stopped, "seed {seed}: {:?}", rollout.status);
        assert_eq!(matches!(rollout.status, Status::RolledBack(_)), goes_back_by_itself(seed), "seed {seed}");
        if goes_back_by_itself(seed) {
            world.settle();
            assert!(world.machines.iter().all(|machine| machine.last_given == release(1).bundle), "seed {seed}");
        }
    }
}

#[test]
fn whatever_happens_the_limits_hold_and_every_machine_ends_on_a_release_that_boots() {
    for seed in 0..3000 {
        let broken = [0, 2, 10, 50][usize::try_from(seed % 4).unwrap()];
        let mut world = simulate(seed, 40, broken, true);
        let mut again = Ledger::default();
        world.log.iter().for_each(|entry| again.apply(entry));
        assert_eq!(again, world.ledger, "seed {seed}");
        world.settle();
    }
}

/// `scripts/check --nightly` asks for many more, with optimisation.
const MORE_SEEDS: &str = "BIVOUAC_SEEDS";

#[test]
fn five_thousand_machines() {
    let seeds: u64 = std::env::var(MORE_SEEDS).map_or(2, |count| count.parse().unwrap());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for first in 0..threads as u64 {
            scope.spawn(move || {
                for seed in (first..seeds).step_by(threads) {
                    let world = simulate(seed, 5000, [0, 1, 3][usize::try_from(seed % 3).unwrap()], true);
                    assert!(!world.log.is_empty(), "seed {seed}");
                }
            });
        }
    });
}

#[test]
fn aborting_again_changes_nothing() {
    let mut world = World::new(7, 40, 0, false);
    let mut chance = Chance(7);
    world.start(spec(&mut chance, false));
    world.tick();
    let fact = world.ledger.abort(1).unwrap().unwrap();
    assert!(world.append(world.ledger.last(), fact.clone()));
    let once = world.rollout().clone();
    assert_eq!(world.ledger.abort(1), Ok(None));
    assert!(world.append(world.ledger.last(), fact));
    assert_eq!(*world.rollout(), once);
}

//! A fleet, its server and its rollout, from one number on.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, SystemTime};

use bivouac_simulation::model::boot_guard::DEFAULT_ATTEMPTS;
use bivouac_simulation::model::ledger::{Entry, Fact, Ledger, Refusal};
use bivouac_simulation::model::machine::MachineId;
use bivouac_simulation::model::rollout::{
    Boot, Census, Clock, Health, Member, Release, Rollout, Spec, Standing, Status, Step, View, advance, wish,
};

use crate::chance::Chance;
use crate::limit::{Limit, Place};
use crate::machine::{Fate, Happens, Machine};
use crate::{MINUTE, epoch, follows, release};

/// How often the server looks when nothing happened: hours begin and end, and batches have been watched.
const IDLE_TICK: u64 = 20 * MINUTE;
/// When a rollout that nothing stops has to be over.
const LAST: u64 = 4 * 24 * 60 * MINUTE;
/// Up to how many machines the costly properties are looked at too.
const SMALL: usize = 100;

/// What goes wrong besides the machines that do not boot.
#[derive(Debug, Clone, Copy)]
pub struct Trouble {
    /// After how many of a hundred decisions the server is killed.
    restarts: u64,
    /// Whether somebody halts the rollout, lets it go on, ends it or has it go back.
    is_meddled_with: bool,
}

impl Trouble {
    pub fn draw(chance: &mut Chance) -> Self {
        Self { restarts: chance.one_of(&[0, 0, 1, 10, 100]), is_meddled_with: chance.percent(40) }
    }
}

pub struct World {
    chance: Chance,
    /// Seconds since the beginning.
    now: u64,
    /// How far the server's clock is off.
    skew: i64,
    heap: BinaryHeap<Reverse<(u64, usize, Happens)>>,
    pub machines: Vec<Machine>,
    census: Census,
    limits: Vec<Limit>,
    pub log: Vec<Entry>,
    pub ledger: Ledger,
    /// What a server makes of the log that reads it now, as it is written in the database.
    read_back: Ledger,
    listening_since: SystemTime,
    /// How often the server looks when something happened.
    look_every: u64,
    /// How many messages of a hundred are lost.
    loss: u64,
    trouble: Option<Trouble>,
}

impl World {
    pub fn new(seed: u64, size: usize, broken: u64, trouble: Option<Trouble>) -> Self {
        let mut chance = Chance(seed);
        let asleep = chance.below(60);
        let (mut machines, mut census, mut heap) = (Vec::new(), Census::new(), BinaryHeap::new());
        for number in 0..size {
            let (machine, mut view) = Machine::new(number, size, broken, &mut chance);
            view.is_on = !chance.percent(asleep);
            if !view.is_on {
                heap.push(Reverse((chance.between(1, 24 * 60 * MINUTE), number, Happens::PowerCycle)));
            }
            census.insert(machine.id.clone(), view);
            machines.push(machine);
        }
        let loss = chance.below(30);
        let look_every = chance.between(1, 10) * MINUTE;
        Self {
            chance,
            now: 0,
            skew: 0,
            heap,
            machines,
            census,
            limits: Vec::new(),
            log: Vec::new(),
            ledger: Ledger::default(),
            read_back: Ledger::default(),
            listening_since: epoch(),
            look_every,
            loss,
            trouble,
        }
    }

    fn time(&self) -> SystemTime {
        epoch() + Duration::from_secs(self.now.saturating_add_signed(self.skew))
    }

    /// As in the database: whoever did not know the last entry adds none.
    pub fn append(&mut self, known: u64, fact: Fact) -> bool {
        if known != self.ledger.last() {
            return false;
        }
        let fact_read: Fact = serde_json::from_str(&serde_json::to_string(&fact).unwrap()).unwrap();
        let entry = Entry { number: known + 1, at: self.time(), who: "test".to_owned(), why: None, fact };
        self.ledger.apply(&entry);
        self.read_back.apply(&Entry {
            number: entry.number,
            at: entry.at,
            who: String::new(),
            why: None,
            fact: fact_read,
        });
        self.log.push(entry);
        true
    }

    pub fn rollout(&self) -> &Rollout {
        self.ledger.rollouts().next_back().unwrap()
    }

    pub fn start(&mut self, spec: Spec) {
        self.limits = spec.budgets.iter().map(|budget| Limit::of(budget, &self.census)).collect();
        let fact = self.ledger.start(spec, &self.census).unwrap();
        assert!(self.append(self.ledger.last(), fact));
    }

    /// Everything the server decides now, with the properties that hold at every decision.
    pub fn tick(&mut self) {
        let clock = Clock { now: self.time(), listening_since: self.listening_since };
        let (known, mut first) = (self.ledger.last(), None);
        loop {
            // That every step changes something is looked at in small fleets: it takes a copy each time.
            let before = (self.machines.len() <= SMALL).then(|| self.rollout().clone());
            let steps = advance(self.rollout(), &self.census, clock);
            if steps.is_empty() {
                break;
            }
            first.get_or_insert_with(|| steps.clone());
            for step in steps {
                self.check(&step);
                let number = self.rollout().spec.number;
                assert!(self.append(self.ledger.last(), Fact::Rollout { number, step }));
            }
            assert_ne!(Some(self.rollout()), before.as_ref(), "a step that changes nothing would be taken for ever");
            if self.trouble.is_some_and(|trouble| self.chance.percent(trouble.restarts)) {
                self.restart();
                break;
            }
        }
        // Another server looked at the same moment and wants the same: it is refused.
        for step in first.into_iter().flatten() {
            assert!(!self.append(known, Fact::Rollout { number: 1, step }));
        }
    }

    /// The server is killed, and another one reads the log.
    fn restart(&mut self) {
        assert_eq!(self.read_back, self.ledger, "the log leads to another state");
        self.listening_since = self.time();
    }

    /// What holds before a step is taken.
    fn check(&mut self, step: &Step) {
        match step {
            Step::Granted { machines } => {
                assert_eq!(self.rollout().status, Status::Running);
                self.check_failures();
                self.check_budgets(machines);
                machines.iter().for_each(|id| self.machines[Machine::number(id)].is_granted = true);
                self.listen_to(machines);
            }
            Step::Recalled { machines } => {
                self.check_budgets(machines);
                self.listen_to(machines);
            }
            Step::Finished => {
                let (rollout, batches) = (self.rollout(), self.rollout().spec.batches.len());
                assert_eq!(rollout.opened.iter().filter(|batch| batch.closed.is_some()).count(), batches);
            }
            _ => {}
        }
    }

    /// Only check-ins that can change something are simulated: those of machines that are to reboot are. A machine that is
    /// not up yet is heard of when it is.
    fn listen_to(&mut self, machines: &[MachineId]) {
        let is_up = |id: &&MachineId| self.census[*id].boot.as_ref().is_some_and(|it| it.health != Health::UnderWay);
        let up: Vec<usize> = machines.iter().filter(is_up).map(Machine::number).collect();
        for number in up {
            let at = self.now + self.chance.between(1, 10 * MINUTE);
            self.heap.push(Reverse((at, number, Happens::CheckIn(self.machines[number].boots))));
        }
    }

    /// Nothing is given after too many failures, in all or in the open batch, but of those that somebody knew of.
    fn check_failures(&self) {
        let rollout = self.rollout();
        let failures = rollout.members.values().filter(|member| member.failure.is_some()).count();
        if failures <= rollout.forgiven {
            return;
        }
        let is_within = rollout.spec.max_failures.is_none_or(|most| failures <= most);
        assert!(is_within, "given after {failures} failures, of {:?}", rollout.spec.max_failures);
        let (place, opened) = rollout.open_batch().unwrap();
        let members: Vec<&Member> = rollout.members.values().filter(|member| member.batch == place).collect();
        let failed = members.iter().filter(|member| matches!(member.standing, Standing::Failed(_))).count();
        let size = opened.size.max(members.len());
        let is_within = rollout.spec.batches[place].success.is_reached(size - failed, size);
        assert!(is_within, "given after {failed} of {size} failed in batch {place}");
    }

    /// Never over budget.
    fn check_budgets(&self, taken: &[MachineId]) {
        let mut standings: Vec<Option<&Standing>> = vec![None; self.machines.len()];
        for (id, member) in &self.rollout().members {
            standings[Machine::number(id)] = Some(&member.standing);
        }
        let place = |(view, standing): (&View, Option<&Standing>)| {
            let is_well = view.boot.as_ref().unwrap().health == Health::Good;
            let is_down = match standing {
                Some(Standing::Granted | Standing::Trying | Standing::Recalled) => true,
                // A machine that hangs may look as if it were off.
                Some(Standing::Failed(_)) => !is_well,
                Some(Standing::Good | Standing::Returned) | None => view.is_on && !is_well,
            };
            if is_down { Place::Down } else { Place::Up }
        };
        let mut places: Vec<Place> = self.census.values().zip(standings).map(place).collect();
        for place in taken.iter().map(Machine::number) {
            if places[place] == Place::Up {
                places[place] = Place::Taken;
            }
        }
        self.limits.iter().for_each(|limit| limit.check(&places));
    }

    fn power_on(&mut self, number: usize) {
        self.machines[number].boots += 1;
        self.ask(number);
    }

    /// It asks for its script, and is told what to boot.
    fn ask(&mut self, number: usize) {
        let (profile, channel) = follows();
        let now = self.time();
        let rollout = self.ledger.rollouts().next_back().unwrap();
        let machine = &mut self.machines[number];
        let is_finished = rollout.status == Status::Finished;
        let pointed = if is_finished { release(2) } else { release(1) };
        let Release { bundle: wanted, .. } = self.ledger.release_of(&machine.id, &profile, &channel, pointed);
        let is_guarded = machine.attempts.count(wanted) >= DEFAULT_ATTEMPTS && machine.good != wanted;
        let given = if is_guarded { machine.good } else { wanted };
        let is_new = given == release(2).bundle;
        assert!(!is_new || machine.is_granted || is_finished, "an unplanned reboot jumped ahead");
        let may_go_back = match &rollout.status {
            Status::RollingBack(_) | Status::RolledBack(_) => true,
            Status::Aborted => rollout.members.get(&machine.id).is_none_or(|it| it.standing != Standing::Good),
            _ => is_guarded,
        };
        assert!(!machine.had_new || is_new || may_go_back, "{} went back by itself", machine.id);
        machine.had_new |= is_new;
        machine.attempts.begin(given);
        machine.given = given;
        let instead = is_guarded.then(|| "it did not come up three times".to_owned());
        let view = self.census.get_mut(&machine.id).unwrap();
        view.is_on = true;
        view.boot = Some(Boot { bundle: given, at: now, health: Health::UnderWay, since: now, instead });
        let (after, what) = if self.trouble.is_some() && self.chance.percent(self.loss / 4) {
            (30, Happens::AsksAgain(machine.boots))
        } else if let Some(after) = machine.comes_up_after(&mut self.chance) {
            (after, Happens::CheckIn(machine.boots))
        } else {
            return self.somebody_comes_by(number);
        };
        self.heap.push(Reverse((self.now + after, number, what)));
    }

    /// What does not work is switched off and on again, later.
    fn somebody_comes_by(&mut self, number: usize) {
        let at = self.now + self.chance.between(30 * MINUTE, 5 * 60 * MINUTE);
        self.heap.push(Reverse((at, number, Happens::PowerCycle)));
    }

    /// It checks in, unless that is lost. Whether the server learns anything by it.
    fn check_in(&mut self, number: usize, of_boot: u32) -> bool {
        if !self.is_in_boot(number, of_boot) {
            return false;
        }
        if self.chance.percent(self.loss) {
            self.heap.push(Reverse((self.now + MINUTE, number, Happens::CheckIn(of_boot))));
            return false;
        }
        let is_news = self.report(number);
        // The answer may ask it to reboot.
        let (machine, rollout) = (&self.machines[number], self.ledger.rollouts().next_back().unwrap());
        let is_due = |member: &Member| matches!(member.standing, Standing::Granted | Standing::Recalled);
        let is_asked = wish(rollout, &machine.id, &self.census[&machine.id], self.time()).is_some();
        if is_asked && self.chance.percent(50) {
            self.power_on(number);
            return true;
        }
        if rollout.members.get(&machine.id).is_some_and(is_due) {
            self.heap.push(Reverse((self.now + 10 * MINUTE, number, Happens::CheckIn(of_boot))));
        }
        is_news
    }

    fn is_in_boot(&self, number: usize, boot: u32) -> bool {
        let machine = &self.machines[number];
        machine.boots == boot && self.census[&machine.id].is_on
    }

    /// The server learns how a machine is. Whether that is news.
    fn report(&mut self, number: usize) -> bool {
        let now = self.time();
        let machine = &mut self.machines[number];
        let boot = self.census.get_mut(&machine.id).unwrap().boot.as_mut().unwrap();
        assert_eq!(boot.bundle, machine.given, "two bundles in one boot");
        let is_red = boot.bundle == release(2).bundle && machine.fate == Fate::Red;
        if !is_red {
            machine.attempts.came_up(boot.bundle);
            machine.good = boot.bundle;
        }
        let health = if is_red { Health::Bad("a check is red".to_owned()) } else { Health::Good };
        if boot.health == health {
            return false;
        }
        (boot.since, boot.health) = (now, health);
        if is_red {
            self.somebody_comes_by(number);
        }
        true
    }

    fn disturb(&mut self, trouble: Trouble) {
        match self.chance.below(12) {
            0 => self.restart(),
            1 => {
                self.skew += i64::try_from(self.chance.below(20_000)).unwrap() - 10_000;
                self.listening_since = self.time();
            }
            2 if trouble.is_meddled_with => self.meddle(),
            chosen => {
                for _ in 0..1 + self.machines.len() / 1000 {
                    let number = usize::try_from(self.chance.below(self.machines.len() as u64)).unwrap();
                    match chosen {
                        3..=6 => self.power_on(number),
                        7 => self.heap.push(Reverse((self.now, number, Happens::PowerOff))),
                        _ => {}
                    }
                }
            }
        }
    }

    /// Somebody gives a command.
    fn meddle(&mut self) {
        if self.rollout().status.is_over() {
            return;
        }
        let chosen = self.chance.below(100);
        let asked = match (&self.rollout().status, chosen) {
            (Status::Paused, _) => self.ledger.resume(1),
            (_, 0) => return self.abort(),
            (Status::Running, 1) => self.ledger.roll_back(1, "somebody".to_owned()),
            (Status::Running, 2..=20) => self.ledger.pause(1),
            _ => return,
        };
        let known = self.ledger.last();
        assert!(self.append(known, asked.unwrap()));
    }

    /// Somebody ends it, twice, which is no more than once.
    pub fn abort(&mut self) {
        let fact = match self.ledger.abort(1) {
            Ok(fact) => fact.unwrap(),
            Err(Refusal::GoesBack(_)) => return,
            Err(refusal) => panic!("{refusal}"),
        };
        assert!(self.append(self.ledger.last(), fact.clone()));
        let once = self.rollout().clone();
        assert_eq!(self.ledger.abort(1), Ok(None));
        assert!(self.append(self.ledger.last(), fact));
        assert_eq!(*self.rollout(), once);
    }

    /// Whether a rollout that stopped by itself is told to go on.
    fn is_told_to_go_on(&mut self) -> bool {
        let is_told = self.trouble.is_some_and(|trouble| trouble.is_meddled_with) && self.chance.percent(50);
        if is_told {
            let fact = self.ledger.resume(1).unwrap();
            assert!(self.append(self.ledger.last(), fact));
        }
        is_told
    }

    /// Runs until the rollout is over, or halts, or nothing is left to wait for.
    pub fn run(&mut self) {
        let mut next_tick = 0;
        while self.now < LAST && !self.rollout().status.is_over() {
            if matches!(self.rollout().status, Status::Stopped(_)) && !self.is_told_to_go_on() {
                break;
            }
            if let Some((number, what)) = self.next_before(next_tick) {
                if self.happen(number, what) {
                    next_tick = next_tick.min(self.now + self.look_every);
                }
                continue;
            }
            self.now = self.now.max(next_tick);
            self.tick();
            next_tick = self.now + IDLE_TICK;
            if let Some(trouble) = self.trouble {
                self.disturb(trouble);
                next_tick = self.now + self.look_every.max(IDLE_TICK / 4);
            }
        }
    }

    /// What happens next, if that is before a moment.
    fn next_before(&mut self, end: u64) -> Option<(usize, Happens)> {
        self.heap.peek().filter(|Reverse((at, ..))| *at < end)?;
        let Reverse((at, number, what)) = self.heap.pop()?;
        self.now = self.now.max(at);
        Some((number, what))
    }

    /// Whether the server learns anything by it.
    fn happen(&mut self, number: usize, what: Happens) -> bool {
        match what {
            Happens::PowerCycle => self.power_on(number),
            Happens::PowerOff => {
                let machine = &mut self.machines[number];
                self.census.get_mut(&machine.id).unwrap().is_on = false;
                machine.boots += 1;
                let later = self.now + self.chance.between(MINUTE, 20 * 60 * MINUTE);
                self.heap.push(Reverse((later, number, Happens::PowerCycle)));
            }
            Happens::AsksAgain(boot) if self.is_in_boot(number, boot) => self.ask(number),
            Happens::AsksAgain(_) => return false,
            Happens::CheckIn(of_boot) => return self.check_in(number, of_boot),
        }
        true
    }

    /// Everybody is switched off and on again as often as it takes: each ends with a release that boots. Who reads the log
    /// from its beginning knows what the server knows.
    pub fn settle(&mut self) {
        let mut again = Ledger::default();
        self.log.iter().for_each(|entry| again.apply(entry));
        assert_eq!(again, self.ledger);
        assert_eq!(self.read_back, self.ledger);
        self.loss = 0;
        for _ in 0..=DEFAULT_ATTEMPTS {
            self.heap.clear();
            (0..self.machines.len()).for_each(|number| self.power_on(number));
            self.now += 60 * MINUTE;
            for Reverse((_, number, what)) in std::mem::take(&mut self.heap) {
                if matches!(what, Happens::CheckIn(_)) {
                    self.report(number);
                }
            }
        }
        for machine in &self.machines {
            let boot = self.census[&machine.id].boot.as_ref().unwrap();
            assert_eq!(boot.health, Health::Good, "{}: {:?}", machine.id, self.rollout().status);
        }
    }
}

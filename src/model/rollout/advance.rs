//! What comes next in a rollout: one pure function of the rollout, the fleet and the time.

use std::cmp::Ordering;
use std::time::{Duration, SystemTime};

use foldhash::HashMap;
use sha2::{Digest as _, Sha256};

use super::spec::Hours;
use super::{
    Batch, Boot, Budget, Census, Health, Member, Opened, RebootPolicy, Rollout, Size, Standing, Status, Step, View,
};
use crate::model::label::LabelValue;
use crate::model::machine::MachineId;
use crate::model::name::{ChannelName, ProfileName};

/// How long a machine that does not come up well is left to whoever uses it before it is asked to go back.
const IDLE_BEFORE_RETURN: Duration = Duration::from_secs(60);

/// The time, and since when nothing was missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// The time.
    pub now: SystemTime,
    /// Since when machines could be heard without a break: since the server started, or its clock jumped. A machine is
    /// not silent for longer than somebody listened.
    pub listening_since: SystemTime,
}

impl Clock {
    /// How long ago something was, as far as anybody listened.
    fn heard_since(&self, at: SystemTime) -> Duration {
        self.now.duration_since(at.max(self.listening_since)).unwrap_or_default()
    }
}

/// The steps that come next; none when the rollout waits for machines, for its hours, or for somebody.
///
/// What machines did comes first, and alone: everything that is decided is decided with that written down. So whoever
/// runs a rollout calls this until nothing comes.
#[must_use]
pub fn advance(rollout: &Rollout, census: &Census, clock: Clock) -> Vec<Step> {
    if rollout.status.is_over() {
        return Vec::new();
    }
    if let Status::RollingBack(_) = rollout.status {
        return go_back(rollout, census, clock);
    }
    let fleet = fleet(rollout, census);
    let seen = observe(rollout, &fleet, clock);
    if !seen.is_empty() || rollout.status != Status::Running {
        return seen;
    }
    let tally = Tally::of(rollout);
    if let Some(reason) = too_much(rollout, &tally) {
        return vec![stop(rollout, reason)];
    }
    let Some((place, opened)) = rollout.open_batch() else { return open(rollout, &fleet) };
    let Some(batch) = batch_of(rollout, place) else { return Vec::new() };
    let left = Left::of(rollout, batch, &fleet, clock);
    let granted = grant(rollout, &fleet, opened, &tally, &left);
    if granted.is_empty() { close(rollout, clock, place, &tally, &left) } else { granted }
}

/// The batch of a spec; the last one for a place there is no batch for.
pub(super) fn batch_of(rollout: &Rollout, place: usize) -> Option<&Batch> {
    rollout.spec.batches.get(place).or(rollout.spec.batches.last())
}

/// A machine of the fleet, with what it is to the rollout.
pub(super) type Place<'a> = (&'a MachineId, &'a View, Option<&'a Member>);

/// Every machine of the fleet. Members and machines are both in the order of ids, so none is looked up; and it is done once
/// for all that is asked of them.
pub(super) fn fleet<'a>(rollout: &'a Rollout, census: &'a Census) -> Vec<Place<'a>> {
    let mut members = rollout.members.iter().peekable();
    let place = |(machine, view): (&'a MachineId, &'a View)| {
        let member = loop {
            let Some((member, _)) = members.peek() else { break None };
            match (*member).cmp(machine) {
                Ordering::Less => drop(members.next()),
                Ordering::Equal => break members.next().map(|(_, member)| member),
                Ordering::Greater => break None,
            }
        };
        (machine, view, member)
    };
    census.iter().map(place).collect()
}

/// What machines did since it was last written down.
fn observe(rollout: &Rollout, fleet: &[Place<'_>], clock: Clock) -> Vec<Step> {
    let (mut tried, mut waits, mut came, mut failed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for &(machine, view, member) in fleet {
        let (Some(member), Some(boot)) = (member, view.boot.as_ref()) else { continue };
        let timeout = batch_of(rollout, member.batch).map_or(Duration::MAX, |batch| batch.timeout);
        match seen(rollout, &member.standing, boot, timeout, clock) {
            None => {}
            Some(Seen::Tried) => tried.push(machine.clone()),
            Some(Seen::Waits) => waits.push(machine.clone()),
            Some(Seen::Came) => came.push(machine.clone()),
            Some(Seen::Failed(reason)) => failed.push(Step::Failed { machine: machine.clone(), reason }),
        }
    }
    let lists = [
        (tried, (|machines| Step::Tried { machines }) as fn(Vec<MachineId>) -> Step),
        (waits, |machines| Step::Waits { machines }),
        (came, |machines| Step::Came { machines }),
    ];
    let several = lists.into_iter().filter(|(machines, _)| !machines.is_empty()).map(|(list, step)| step(list));
    several.chain(failed).collect()
}

enum Seen {
    Tried,
    Waits,
    Came,
    Failed(String),
}

fn seen(rollout: &Rollout, standing: &Standing, boot: &Boot, timeout: Duration, clock: Clock) -> Option<Seen> {
    if boot.bundle != rollout.spec.to.bundle {
        return match (&boot.instead, standing) {
            // It was given something else because the new release does not boot.
            (Some(why), Standing::Trying | Standing::Good | Standing::Granted) => Some(Seen::Failed(why.clone())),
            (None, Standing::Trying) => Some(Seen::Waits),
            _ => None,
        };
    }
    // A machine that came up once may be rebooted, or not well for a moment.
    let begin = if *standing == Standing::Good { boot.since } else { boot.at };
    let is_late = || clock.heard_since(begin) > timeout;
    match (&boot.health, standing) {
        (Health::Good, Standing::Granted | Standing::Trying | Standing::Failed(_)) => Some(Seen::Came),
        (Health::UnderWay | Health::Bad(_), Standing::Granted) if !is_late() => Some(Seen::Tried),
        (Health::UnderWay, Standing::Granted | Standing::Trying | Standing::Good) if is_late() => {
            Some(Seen::Failed("it was given its script and did not check in".to_owned()))
        }
        (Health::Bad(why), Standing::Granted | Standing::Trying | Standing::Good) if is_late() => {
            Some(Seen::Failed(why.clone()))
        }
        _ => None,
    }
}

/// The members of a rollout, counted once for all that is decided by it.
#[derive(Default)]
struct Tally {
    /// How many ever failed.
    failures: usize,
    /// How many the open batch has …
    of_batch: usize,
    /// … how many of these came up well …
    good: usize,
    /// … and how many did not.
    failed: usize,
}

impl Tally {
    fn of(rollout: &Rollout) -> Self {
        let open = rollout.open_batch().map(|(place, _)| place);
        let mut tally = Self::default();
        for member in rollout.members.values() {
            tally.failures += usize::from(member.failure.is_some());
            if Some(member.batch) == open {
                tally.of_batch += 1;
                tally.good += usize::from(member.standing == Standing::Good);
                tally.failed += usize::from(matches!(member.standing, Standing::Failed(_)));
            }
        }
        tally
    }

    /// Whether nothing more is expected of the machines of the open batch.
    const fn is_settled(&self) -> bool {
        self.good + self.failed == self.of_batch
    }
}

/// Why it has to stop: more failures than are allowed in all, or than the open batch can have.
fn too_much(rollout: &Rollout, tally: &Tally) -> Option<String> {
    let &Tally { failures, of_batch, failed, .. } = tally;
    if failures <= rollout.forgiven {
        return None;
    }
    if let Some(most) = rollout.spec.max_failures.filter(|most| failures > *most) {
        return Some(format!("{failures} machines failed, and {most} may"));
    }
    let (place, opened) = rollout.open_batch()?;
    let success = batch_of(rollout, place)?.success;
    let size = opened.size.max(of_batch);
    (!success.is_reached(size - failed, size)).then(|| {
        let number = place + 1;
        format!("{failed} of the {size} machines of batch {number} failed, and {success} have to come up")
    })
}

/// The machines a batch may have that are in none yet, whether they are on or not.
pub(super) fn candidates<'f, 'a>(
    rollout: &'a Rollout,
    batch: &'a Batch,
    fleet: &'f [Place<'a>],
) -> impl Iterator<Item = Place<'a>> + use<'f, 'a> {
    let is_meant = move |view: &View| follows(rollout, view) && batch.selector.matches(&view.labels);
    fleet.iter().copied().filter(move |(_, view, member)| member.is_none() && is_meant(view))
}

fn follows(rollout: &Rollout, view: &View) -> bool {
    let is_it = |(profile, channel): &(ProfileName, ChannelName)| {
        *profile == rollout.spec.profile && *channel == rollout.spec.channel
    };
    view.follows.as_ref().is_some_and(is_it)
}

fn open(rollout: &Rollout, fleet: &[Place<'_>]) -> Vec<Step> {
    let place = rollout.opened.len();
    let Some(batch) = rollout.spec.batches.get(place) else { return vec![Step::Finished] };
    let is_taken = |(_, view, member): &&Place<'_>| {
        member.is_some() && follows(rollout, view) && batch.selector.matches(&view.labels)
    };
    let taken = fleet.iter().filter(is_taken).count();
    let whole = taken + candidates(rollout, batch, fleet).count();
    vec![Step::Opened { batch: place, size: batch.size.of(whole, taken) }]
}

/// The machines that the open batch may have and does not have yet.
struct Left<'a> {
    /// Those that are on and may be changed now.
    ready: Vec<Place<'a>>,
    /// Whether any is on.
    are_on: bool,
    /// Whether there are any.
    are_any: bool,
}

impl<'a> Left<'a> {
    fn of(rollout: &'a Rollout, batch: &'a Batch, fleet: &[Place<'a>], clock: Clock) -> Self {
        let mut hours = Hours::at(&rollout.spec, clock.now);
        let mut left = Self { ready: Vec::new(), are_on: false, are_any: false };
        for (machine, view, member) in candidates(rollout, batch, fleet) {
            left.are_any = true;
            left.are_on |= view.is_on;
            if view.is_on && hours.are_open(&view.labels) {
                left.ready.push((machine, view, member));
            }
        }
        left
    }
}

fn grant(rollout: &Rollout, fleet: &[Place<'_>], opened: &Opened, tally: &Tally, left: &Left<'_>) -> Vec<Step> {
    let is_last = rollout.opened.len() >= rollout.spec.batches.len();
    // Machines that turn up while the last batch is open belong to it too.
    let room = if is_last { usize::MAX } else { opened.size.saturating_sub(tally.of_batch) };
    if room == 0 || left.ready.is_empty() {
        return Vec::new();
    }
    let mut use_of = Use::of(rollout, fleet);
    let machines = use_of.take_in_order(left.ready.iter().copied(), room);
    if machines.is_empty() { Vec::new() } else { vec![Step::Granted { machines }] }
}

/// Where a machine stands in a rollout: the SHA-256 of both, so that the order is the same whoever computes it and
/// another for each rollout, and the same machines are not always first.
fn place_of(rollout: &Rollout, machine: &MachineId) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(rollout.spec.number.to_be_bytes());
    hasher.update(rollout.spec.to.bundle.as_bytes());
    hasher.update(machine.to_string());
    hasher.finalize().into()
}

/// How much of each budget is used.
struct Use<'a> {
    rollout: &'a Rollout,
    budgets: Vec<(&'a Budget, Groups<'a>)>,
}

/// For each group of a budget, how many are unavailable.
#[derive(Default)]
struct Groups<'a> {
    used: HashMap<Option<&'a LabelValue>, usize>,
    /// How many there are, when that says how many may be.
    whole: HashMap<Option<&'a LabelValue>, usize>,
}

impl<'a> Use<'a> {
    fn of(rollout: &'a Rollout, fleet: &[Place<'a>]) -> Self {
        let mut budgets: Vec<_> = rollout.spec.budgets.iter().map(|budget| (budget, Groups::default())).collect();
        for &(_, view, member) in fleet {
            if member.is_none() && !follows(rollout, view) {
                continue;
            }
            let is_used = is_unavailable(member, view);
            for (budget, groups) in &mut budgets {
                // Most machines are in order, and most budgets are counts: nothing is looked up for those.
                if is_used {
                    *groups.used.entry(budget.group(&view.labels)).or_default() += 1;
                }
                if !matches!(budget.most, Size::Count(_)) {
                    *groups.whole.entry(budget.group(&view.labels)).or_default() += 1;
                }
            }
        }
        Self { rollout, budgets }
    }

    /// Takes places for machines in every budget, in the rollout's order, for at most so many of them.
    fn take_in_order(&mut self, wanted: impl Iterator<Item = Place<'a>>, most: usize) -> Vec<MachineId> {
        // Budgets only fill up, so who has no room before the first is taken has none later and needs no place in the
        // order.
        let mut placed: Vec<([u8; 32], Place<'a>)> = wanted
            .filter(|(_, view, member)| is_unavailable(*member, view) || self.has_room(view))
            .map(|place| (place_of(self.rollout, place.0), place))
            .collect();
        placed.sort_unstable_by_key(|(order, _)| *order);
        let taken = placed.into_iter().filter(|(_, place)| self.take(*place)).take(most);
        taken.map(|(_, (machine, ..))| machine.clone()).collect()
    }

    /// Takes a place for a machine in every budget, if there is one in each.
    fn take(&mut self, (_, view, member): Place<'a>) -> bool {
        if is_unavailable(member, view) {
            return true;
        }
        if !self.has_room(view) {
            return false;
        }
        for (budget, groups) in &mut self.budgets {
            *groups.used.entry(budget.group(&view.labels)).or_default() += 1;
        }
        true
    }

    fn has_room(&self, view: &View) -> bool {
        self.budgets.iter().all(|(budget, groups)| {
            let group = budget.group(&view.labels);
            let count = |groups: &HashMap<_, usize>| groups.get(&group).copied().unwrap_or_default();
            count(&groups.used) < budget.most_of(count(&groups.whole))
        })
    }
}

/// Whether nobody can use a machine, or soon cannot. One that failed is of no use until it was last seen well, with
/// whatever release: a machine that hangs is silent, and looks as if it were off.
pub(super) fn is_unavailable(member: Option<&Member>, view: &View) -> bool {
    let is_well = || view.boot.as_ref().is_some_and(|boot| boot.health == Health::Good);
    view.is_out_of_order()
        || member.is_some_and(|member| match member.standing {
            Standing::Granted | Standing::Trying | Standing::Recalled => true,
            Standing::Failed(_) => !is_well(),
            Standing::Good | Standing::Returned => false,
        })
}

/// The end of the open batch, when it is over: well, or not well enough. Machines that are off wait and are not waited
/// for, as long as one came up.
fn close(rollout: &Rollout, clock: Clock, place: usize, tally: &Tally, left: &Left<'_>) -> Vec<Step> {
    let Some(batch) = batch_of(rollout, place) else { return Vec::new() };
    let size = rollout.opened.get(place).map_or(0, |opened| opened.size);
    let is_last = place + 1 >= rollout.spec.batches.len();
    let &Tally { failures, of_batch: count, good, .. } = tally;
    let is_full = count >= size && !is_last;
    if count == 0 {
        return if is_full || !left.are_any { vec![Step::Closed { batch: place }] } else { Vec::new() };
    }
    if !tally.is_settled() || !is_full && left.are_on {
        return Vec::new();
    }
    let is_forgiven = rollout.forgiven > 0 && failures <= rollout.forgiven;
    if !is_forgiven && (good == 0 || !batch.success.is_reached(good, count)) {
        let (number, success) = (place + 1, batch.success);
        return vec![stop(
            rollout,
            format!("{good} of the {count} machines of batch {number} came up, and {success} have to"),
        )];
    }
    if quiet(rollout, place, clock).is_some_and(|quiet| quiet >= batch.bake) {
        vec![Step::Closed { batch: place }]
    } else {
        Vec::new()
    }
}

/// How long nothing has changed with any machine of a batch; nothing when it has none.
pub(super) fn quiet(rollout: &Rollout, place: usize, clock: Clock) -> Option<Duration> {
    let of_batch = rollout.members.values().filter(|member| member.batch == place);
    of_batch.map(|member| clock.heard_since(member.since)).min()
}

fn stop(rollout: &Rollout, reason: String) -> Step {
    if rollout.spec.auto_rollback { Step::RollingBack { reason } } else { Step::Stopped { reason } }
}

/// The steps of a rollout that goes back: who is back, and who may be asked to reboot next.
fn go_back(rollout: &Rollout, census: &Census, clock: Clock) -> Vec<Step> {
    let (mut returned, mut waiting) = (Vec::new(), Vec::new());
    let mut is_anybody_out = false;
    let mut hours = Hours::at(&rollout.spec, clock.now);
    for (machine, member) in &rollout.members {
        if member.standing == Standing::Returned {
            continue;
        }
        let view = census.get(machine);
        let boot = view.and_then(|view| view.boot.as_ref());
        let runs_it = boot.is_some_and(|boot| boot.bundle == rollout.spec.to.bundle);
        if !runs_it {
            // It boots, or booted, something else; what is off has nothing to go back from.
            returned.push(machine.clone());
        } else if let Some(view) = view.filter(|view| view.is_on) {
            is_anybody_out = true;
            if member.standing != Standing::Recalled && hours.are_open(&view.labels) {
                waiting.push((machine, view, Some(member)));
            }
        }
    }
    if !returned.is_empty() {
        return vec![Step::Returned { machines: returned }];
    }
    let machines = match waiting.is_empty() {
        true => Vec::new(),
        false => Use::of(rollout, &fleet(rollout, census)).take_in_order(waiting.into_iter(), usize::MAX),
    };
    if !machines.is_empty() {
        return vec![Step::Recalled { machines }];
    }
    if is_anybody_out { Vec::new() } else { vec![Step::RolledBack] }
}

/// What a rollout wants of a machine that is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// That it reboots at once.
    Now,
    /// That it reboots when nobody has used it for so long.
    Idle(Duration),
    /// That it reboots at some moment before so long has passed.
    Within(Duration),
}

/// Whether a machine is to be asked to reboot: it was given a release and runs another.
#[must_use]
pub fn wish(rollout: &Rollout, machine: &MachineId, view: &View, now: SystemTime) -> Option<Wish> {
    let member = rollout.members.get(machine)?;
    let runs = view.boot.as_ref().map(|boot| boot.bundle)?;
    let is_due = match (&rollout.status, &member.standing) {
        (Status::Running | Status::Paused | Status::Stopped(_), Standing::Granted) => runs != rollout.spec.to.bundle,
        (Status::RollingBack(_), Standing::Recalled) => runs == rollout.spec.to.bundle,
        _ => false,
    };
    if !is_due || !rollout.spec.is_open(&view.labels, now) {
        return None;
    }
    let is_broken = view.boot.as_ref().is_some_and(|boot| boot.health != Health::Good);
    match rollout.spec.reboot {
        RebootPolicy::Force => Some(Wish::Now),
        RebootPolicy::Idle(after) => Some(Wish::Idle(after)),
        RebootPolicy::Window => match rollout.spec.closes_in(&view.labels, now) {
            Some(rest) => Some(Wish::Within(rest)),
            None => Some(Wish::Now),
        },
        // What does not work is not worth waiting for.
        RebootPolicy::Natural if member.standing == Standing::Recalled && is_broken => {
            Some(Wish::Idle(IDLE_BEFORE_RETURN))
        }
        RebootPolicy::Natural => None,
    }
}

//! Who asks for a script, of the machines that are known.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use foldhash::HashMap;

use super::{Events, Machine, Roster, Session};
use crate::model::boot::Step;
use crate::model::identity::Identity;
use crate::model::identity::evidence::{Conflict, Kin, Verdict, judge};
use crate::model::mac::Mac;

/// How many conflicts of a machine are kept: one is reason enough to look, and identities are free to invent.
const MAX_CONFLICTS: usize = 4;

/// Which machine has a card or a name; of two that have the same, the first.
#[derive(Debug, Default)]
pub(super) struct Index {
    cards: HashMap<Mac, Mac>,
    names: HashMap<String, Mac>,
}

impl Index {
    pub(super) fn add(&mut self, identity: &Identity) {
        let key = identity.mac;
        for card in &identity.hardware.cards {
            self.cards.entry(*card).or_insert(key);
        }
        for name in names(identity) {
            if !self.names.contains_key(name) {
                self.names.insert(name.to_owned(), key);
            }
        }
    }

    pub(super) fn remove(&mut self, identity: &Identity) {
        for card in &identity.hardware.cards {
            if self.cards.get(card) == Some(&identity.mac) {
                self.cards.remove(card);
            }
        }
        for name in names(identity) {
            if self.names.get(name) == Some(&identity.mac) {
                self.names.remove(name);
            }
        }
    }

    /// The machine that has a card.
    pub(super) fn owner(&self, card: &Mac) -> Option<Mac> {
        self.cards.get(card).copied()
    }

    /// Every machine that shares something with a visitor who is not known by the card it boots with.
    fn kin(&self, visitor: &Identity) -> Vec<Mac> {
        let others = visitor.hardware.cards.iter().filter(|card| **card != visitor.mac);
        let cards = std::iter::once(&visitor.mac).chain(others);
        let mut kin: Vec<Mac> = Vec::new();
        let owners = cards.flat_map(|card| [Some(*card), self.owner(card)]).flatten();
        let named = names(visitor).filter_map(|name| self.names.get(name).copied());
        for mac in owners.chain(named) {
            if !kin.contains(&mac) {
                kin.push(mac);
            }
        }
        kin
    }
}

fn names(identity: &Identity) -> impl Iterator<Item = &str> {
    [&identity.uuid, &identity.serial, &identity.hardware.board_serial].into_iter().filter_map(|name| name.as_deref())
}

/// Who a visitor is.
#[derive(Debug, PartialEq)]
pub struct Recognised {
    /// What it says, with the address under which it is kept.
    pub identity: Arc<Identity>,
    /// A record that was made for a card of this machine and is no more.
    pub forgotten: Option<Mac>,
    /// Another machine that is in conflict with it now.
    pub other: Option<Mac>,
    /// What a person should look at, if nobody was told before.
    pub alarm: Option<String>,
    /// What is to be written down.
    pub events: Events,
}

impl Recognised {
    /// A machine that is who it says it is, and nothing else.
    fn as_it_says(identity: Arc<Identity>) -> Self {
        Self { identity, forgotten: None, other: None, alarm: None, events: Events::new() }
    }
}

impl Roster {
    /// The machine that has a card.
    pub fn machine_with(&self, card: &Mac) -> Option<&Machine> {
        self.machine(&self.key_of(*card))
    }

    /// Who `identity` is that asks for a script. A machine that was heard of within `patience` may be on.
    pub fn recognise(&mut self, identity: Arc<Identity>, patience: Duration, now: SystemTime) -> Recognised {
        let booted = identity.mac;
        self.admit(booted);
        let kin = |mac: &Mac| {
            let machine = self.machine(mac).filter(|machine| !is_bare(machine))?;
            Some(Kin { identity: &machine.identity, may_be_on: may_be_on(machine, patience, now) })
        };
        // Most are known by the card they boot with, and then nobody else matters.
        let verdict = match kin(&booted) {
            Some(own) => judge(&identity, &[own]),
            None => judge(&identity, &self.index.kin(&identity).iter().filter_map(kin).collect::<Vec<_>>()),
        };
        let mut recognised = Recognised::as_it_says(identity);
        match verdict {
            Verdict::New => {}
            Verdict::Known(key) if key == booted => {}
            Verdict::Known(key) => self.join(key, &mut recognised, now),
            Verdict::Conflict(conflict) => {
                let with = conflict.with;
                recognised.alarm = self.in_conflict(&recognised.identity, conflict, now);
                recognised.other = recognised.alarm.as_ref().map(|_| with);
            }
        }
        recognised
    }

    /// A machine said who it is in words that have this hash, unless it was answered as somebody else since.
    pub(in crate::fleet) fn remember(&mut self, identity: &Arc<Identity>, words: u64) {
        let known = self.machines.get_mut(&identity.mac);
        if let Some(machine) = known.filter(|machine| Arc::ptr_eq(&machine.identity, identity)) {
            machine.words = Some(words);
        }
    }

    /// The boot that began at a card is one of the machine at `key`.
    fn join(&mut self, key: Mac, recognised: &mut Recognised, now: SystemTime) {
        let booted = std::mem::replace(&mut Arc::make_mut(&mut recognised.identity).mac, key);
        let is_new_card = self.index.owner(&booted).is_none();
        // What the firmware did with that card before anybody knew whose it is.
        if let Some(bare) = self.machines.remove(&booted) {
            self.journal.forget(&booted);
            recognised.forgotten = Some(booted);
            if self.machines.get(&key).is_some_and(|machine| machine.session.step >= Step::Script) {
                let begun = Session { started: bare.session.started, ..Session::begin(bare.session.step, now) };
                self.begin(key, begun, &mut recognised.events);
            }
        }
        recognised.alarm = is_new_card.then(|| format!("it boots with card {booted}, which it did not have before"));
    }

    /// Notes a conflict with both; a text when it is news.
    fn in_conflict(&mut self, visitor: &Identity, conflict: Conflict, now: SystemTime) -> Option<String> {
        let text = conflict.to_string();
        let other = Conflict { with: visitor.mac, over: conflict.over.clone() };
        let with = conflict.with;
        let is_news = self.machines.get_mut(&with).is_some_and(|machine| machine.note_conflict(other));
        if with != visitor.mac && !self.is_full() {
            let begin = || Box::new(Machine::begin(Identity::of(visitor.mac).into(), Step::Discover, now));
            self.machines.entry(visitor.mac).or_insert_with(begin).note_conflict(conflict);
        }
        is_news.then_some(text)
    }

    /// The machine that something with this address is about.
    pub(super) fn key_of(&self, mac: Mac) -> Mac {
        if self.machines.contains_key(&mac) { mac } else { self.index.owner(&mac).unwrap_or(mac) }
    }
}

impl Machine {
    /// False when it was known, or there are enough.
    fn note_conflict(&mut self, conflict: Conflict) -> bool {
        let is_like = |known: &Conflict| {
            known.with == conflict.with && std::mem::discriminant(&known.over) == std::mem::discriminant(&conflict.over)
        };
        let is_news = !self.conflicts.iter().any(is_like) && self.conflicts.len() < MAX_CONFLICTS;
        if is_news {
            self.conflicts.push(conflict);
        }
        is_news
    }
}

/// Whether only firmware was seen of it, which does not say who it is.
fn is_bare(machine: &Machine) -> bool {
    machine.session.step < Step::Script && machine.earlier.is_empty() && machine.identity.is_bare()
}

fn may_be_on(machine: &Machine, patience: Duration, now: SystemTime) -> bool {
    let heard = machine.session.last_check_in.unwrap_or(machine.session.step_at);
    now.duration_since(heard).unwrap_or_default() <= patience
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Answer;
    use crate::fleet::journal::{Seen, Sighting};
    use crate::model::identity::Hardware;

    const UUID: &str = "4c4c4544-0000-2010-8020-80c04f202020";
    const PATIENCE: Duration = Duration::from_secs(900);

    fn mac(last: u8) -> Mac {
        Mac([2, 0, 0, 0, 0, last])
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn machine(cards: &[u8], uuid: &str) -> Arc<Identity> {
        let all = cards.iter().map(|last| mac(*last)).collect();
        let hardware = Hardware { cards: all, ..Hardware::default() };
        Identity { hardware, ..Identity::from_texts(mac(cards[0]), uuid, "", "efi", "x86_64") }.into()
    }

    /// It asks for its script, and its firmware before that; the address under which it is kept, and the alarm.
    fn boots(roster: &mut Roster, identity: Arc<Identity>, seconds: u64) -> (Mac, Option<String>) {
        let sighting = Sighting { step: Step::Discover, seen: Seen::ByMac, sent: None, remark: "".into() };
        roster.reached(identity.mac, &sighting, at(seconds));
        let Recognised { identity, alarm, .. } = roster.recognise(identity, PATIENCE, at(seconds + 1));
        roster.answered(&identity, Answer::elsewhere("local disk".to_owned(), None, at(seconds + 2)));
        (identity.mac, alarm)
    }

    #[test]
    fn one_machine_that_boots_by_two_of_its_cards_is_one_machine() {
        let mut roster = Roster::default();
        assert_eq!(boots(&mut roster, machine(&[1, 2], UUID), 0), (mac(1), None));
        for round in 1..3 {
            assert_eq!(boots(&mut roster, machine(&[2, 1], UUID), round * 100), (mac(1), None));
            assert_eq!(roster.len(), 1);
        }
        let session = &roster.machine(&mac(1)).unwrap().session;
        assert_eq!(session.started, at(200), "the boot began with its firmware");
    }

    #[test]
    fn a_new_card_is_said_once_and_a_clone_is_a_machine_of_its_own() {
        let mut roster = Roster::default();
        boots(&mut roster, machine(&[1], UUID), 0);
        let (key, alarm) = boots(&mut roster, machine(&[7], UUID), 10_000);
        assert_eq!(key, mac(1));
        assert!(alarm.unwrap().contains("02:00:00:00:00:07"));
        assert_eq!(boots(&mut roster, machine(&[7], UUID), 10_100), (mac(1), None));
        let (key, alarm) = boots(&mut roster, machine(&[9], UUID), 10_200);
        assert_eq!((key, roster.len()), (mac(9), 2));
        assert!(alarm.unwrap().contains("clone"));
        assert_eq!(boots(&mut roster, machine(&[9], UUID), 10_300), (mac(9), None), "said once");
        assert_eq!(roster.machine(&mac(1)).unwrap().conflicts[0].with, mac(9));
        assert_eq!(roster.machine(&mac(9)).unwrap().conflicts[0].with, mac(1));
    }

    #[test]
    fn a_shared_dock_is_said_once_however_often_it_changes_hands() {
        let mut roster = Roster::default();
        let other = UUID.replace("4c4c", "5d5d");
        boots(&mut roster, machine(&[1], UUID), 0);
        assert!(boots(&mut roster, machine(&[1], &other), 100).1.unwrap().contains("two computers"));
        assert_eq!(boots(&mut roster, machine(&[1], UUID), 200).1, None);
        assert_eq!(roster.machine(&mac(1)).unwrap().conflicts.len(), 1);
    }

    #[test]
    fn who_claims_to_be_somebody_again_and_again_raises_few_alarms() {
        let mut roster = Roster::default();
        boots(&mut roster, machine(&[1], UUID), 0);
        let alarms = (10..60).filter(|last| boots(&mut roster, machine(&[*last], UUID), 10).1.is_some()).count();
        assert_eq!(alarms, MAX_CONFLICTS);
    }

    #[test]
    fn what_is_forgotten_is_nobodys_kin() {
        let mut roster = Roster::default();
        boots(&mut roster, machine(&[1, 2], UUID), 0);
        roster.forget(&mac(1));
        assert_eq!(boots(&mut roster, machine(&[2, 1], UUID), 10), (mac(2), None));
    }
}

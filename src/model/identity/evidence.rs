//! Whose boot it is: a machine is known by any of its cards, and by what its SMBIOS says when it has a new card.
//!
//! Whatever could as well be two machines is a [`Conflict`], which people see: two records are joined only when nothing
//! speaks against it (netboot.md, C13 and C14).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Identity;
use crate::model::mac::Mac;

/// Two machines that say they are one, or one that says it is two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// The address of the other machine; a machine's own when two share its card.
    pub with: Mac,
    /// What both have.
    pub over: Over,
}

/// What two machines share that only one can have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Over {
    /// The card that boots, with which somebody else says to be `is` than before.
    Address {
        /// What the machine said first, a UUID or a serial number.
        was: String,
        /// What was said then.
        is: String,
    },
    /// A network card, such as that of a dock.
    Card(Mac),
    /// A UUID or a serial number, such as a cloned virtual machine has it.
    Name(String),
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.over {
            Over::Address { was, is } => write!(
                f,
                "two computers boot with card {}, {was} and {is}: a shared dock or adapter, or a card that was moved",
                self.with
            ),
            Over::Card(card) => write!(f, "card {card} is in this machine and in {}", self.with),
            Over::Name(name) => {
                write!(f, "it says to be {name}, as {} does: one may be a clone of the other", self.with)
            }
        }
    }
}

/// A machine that is known.
#[derive(Debug, Clone, Copy)]
pub struct Kin<'a> {
    /// What it said when it last booted; `mac` is the address under which it is kept.
    pub identity: &'a Identity,
    /// Whether it was heard of so short a time ago that it may be on.
    pub may_be_on: bool,
}

/// Who a visitor is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The machine that is kept under this address.
    Known(Mac),
    /// Nobody who is known.
    New,
    /// Nobody else than the address it boots from says, and that is in doubt.
    Conflict(Conflict),
}

/// Who `visitor` is, of `kin`: all machines that share a card, a UUID or a serial number with it.
#[must_use]
pub fn judge(visitor: &Identity, kin: &[Kin<'_>]) -> Verdict {
    if let Some(same) = kin.iter().find(|kin| kin.identity.mac == visitor.mac) {
        return at_its_address(visitor, same.identity);
    }
    let conflict = |with: &Kin<'_>, over| Verdict::Conflict(Conflict { with: with.identity.mac, over });
    let by_card = kin.iter().find_map(|kin| Some((kin, shared_card(visitor, kin.identity)?)));
    if let Some((kin, card)) = by_card {
        let is_same = contradiction(visitor, kin.identity).is_none()
            && (common_name(visitor, kin.identity).is_some() || has_same_cards(visitor, kin.identity));
        return if is_same { Verdict::Known(kin.identity.mac) } else { conflict(kin, Over::Card(card)) };
    }
    let by_name = kin.iter().find_map(|kin| Some((kin, common_name(visitor, kin.identity)?)));
    match by_name {
        Some((kin, name)) if kin.may_be_on => conflict(kin, Over::Name(name.to_owned())),
        Some((kin, _)) => Verdict::Known(kin.identity.mac),
        None => Verdict::New,
    }
}

fn at_its_address(visitor: &Identity, known: &Identity) -> Verdict {
    let with = known.mac;
    if let Some((was, is)) = contradiction(known, visitor) {
        let over = Over::Address { was: was.to_owned(), is: is.to_owned() };
        return Verdict::Conflict(Conflict { with, over });
    }
    // It came back with its old card after its name was seen with other cards.
    let (cards, seen) = (&visitor.hardware.cards, &known.hardware.cards);
    let is_apart = !seen.is_empty() && !seen.contains(&visitor.mac) && !seen.iter().any(|card| cards.contains(card));
    match common_name(visitor, known).filter(|_| is_apart) {
        Some(name) => Verdict::Conflict(Conflict { with, over: Over::Name(name.to_owned()) }),
        None => Verdict::Known(with),
    }
}

/// The card by which one of two machines boots and which the other has too.
fn shared_card(visitor: &Identity, known: &Identity) -> Option<Mac> {
    let booted = known.hardware.cards.contains(&visitor.mac).then_some(visitor.mac);
    booted.or_else(|| visitor.hardware.cards.contains(&known.mac).then_some(known.mac))
}

fn has_same_cards(one: &Identity, other: &Identity) -> bool {
    let (one, other) = (&one.hardware.cards, &other.hardware.cards);
    one.len() == other.len() && one.iter().all(|card| other.contains(card))
}

/// What both say that only one machine should: the UUID, or where one has none, the serial number.
fn common_name<'a>(one: &'a Identity, other: &Identity) -> Option<&'a str> {
    match (&one.uuid, &other.uuid) {
        (Some(uuid), Some(known)) => (uuid == known).then_some(uuid.as_str()).or_else(|| common_serial(one, other)),
        _ => common_serial(one, other),
    }
}

/// Makers number each for himself, so their names must not differ.
fn common_serial<'a>(one: &'a Identity, other: &Identity) -> Option<&'a str> {
    let differ = |a: &Option<String>, b: &Option<String>| matches!((a, b), (Some(a), Some(b)) if a != b);
    let is_other_model = differ(&one.hardware.manufacturer, &other.hardware.manufacturer)
        || differ(&one.hardware.product, &other.hardware.product);
    let numbers = [(&one.serial, &other.serial), (&one.hardware.board_serial, &other.hardware.board_serial)];
    let same = numbers.into_iter().find_map(|(a, b)| a.as_deref().filter(|a| Some(*a) == b.as_deref()));
    same.filter(|_| !is_other_model)
}

/// What each of the two says that cannot be one machine. A UUID alone may change, with the setup of the firmware.
fn contradiction<'a>(one: &'a Identity, other: &'a Identity) -> Option<(&'a str, &'a str)> {
    if common_name(one, other).is_some() {
        return None;
    }
    let pairs = [
        (&one.uuid, &other.uuid),
        (&one.serial, &other.serial),
        (&one.hardware.board_serial, &other.hardware.board_serial),
    ];
    pairs.into_iter().find_map(|(a, b)| Some((a.as_deref()?, b.as_deref()?)).filter(|(a, b)| a != b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::Hardware;

    const UUID: &str = "4c4c4544-0000-2010-8020-80c04f202020";
    const OTHER: &str = "5d5d4544-0000-2010-8020-80c04f202020";

    fn mac(last: u8) -> Mac {
        Mac([2, 0, 0, 0, 0, last])
    }

    fn machine(cards: &[u8], uuid: &str, serial: &str) -> Identity {
        let all = cards.iter().map(|last| mac(*last)).collect();
        let hardware = Hardware { cards: all, ..Hardware::default() };
        Identity { hardware, ..Identity::from_texts(mac(cards[0]), uuid, serial, "efi", "x86_64") }
    }

    fn judged(visitor: &Identity, known: &Identity, may_be_on: bool) -> Verdict {
        judge(visitor, &[Kin { identity: known, may_be_on }])
    }

    fn over(verdict: Verdict) -> Over {
        match verdict {
            Verdict::Conflict(conflict) => conflict.over,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_machine_is_known_by_each_of_its_cards() {
        let known = machine(&[1, 2], UUID, "");
        assert_eq!(judged(&machine(&[2, 1], UUID, ""), &known, true), Verdict::Known(mac(1)));
        assert_eq!(judged(&machine(&[1, 2], UUID, ""), &known, true), Verdict::Known(mac(1)));
        let silent = machine(&[1, 2], "", "");
        assert_eq!(judged(&machine(&[2, 1], "", ""), &silent, true), Verdict::Known(mac(1)), "the same cards");
        assert_eq!(over(judged(&machine(&[2, 3], "", ""), &silent, true)), Over::Card(mac(2)), "who can tell");
        assert_eq!(judge(&machine(&[1], UUID, ""), &[]), Verdict::New);
    }

    #[test]
    fn a_machine_with_a_new_card_is_known_by_its_name_unless_the_other_is_on() {
        let known = machine(&[1], UUID, "");
        let visitor = machine(&[9], UUID, "");
        assert_eq!(judged(&visitor, &known, false), Verdict::Known(mac(1)));
        assert_eq!(over(judged(&visitor, &known, true)), Over::Name(UUID.to_owned()), "a clone");
        let serial = machine(&[1], "", "PC 7");
        assert_eq!(judged(&machine(&[9], "", "PC 7"), &serial, false), Verdict::Known(mac(1)));
        let mut maker = machine(&[9], "", "PC 7");
        maker.hardware.manufacturer = Some("Other".to_owned());
        let mut known = serial;
        known.hardware.manufacturer = Some("Maker".to_owned());
        assert_eq!(judged(&maker, &known, false), Verdict::New, "each maker counts for himself");
    }

    #[test]
    fn a_shared_dock_and_a_moved_card_are_seen() {
        let known = machine(&[1, 2], UUID, "A");
        let at_the_address = over(judged(&machine(&[1], OTHER, "B"), &known, false));
        assert_eq!(at_the_address, Over::Address { was: UUID.to_owned(), is: OTHER.to_owned() });
        assert_eq!(over(judged(&machine(&[2, 5], OTHER, "B"), &known, false)), Over::Card(mac(2)));
        assert_eq!(judged(&machine(&[1], OTHER, "A"), &known, false), Verdict::Known(mac(1)), "a UUID may change");
        assert_eq!(
            judged(&machine(&[1], "", ""), &known, false),
            Verdict::Known(mac(1)),
            "silence is no contradiction"
        );
    }

    #[test]
    fn an_old_card_that_comes_back_after_a_new_one_was_seen_is_a_second_machine() {
        let mut known = machine(&[9], UUID, "");
        known.mac = mac(1);
        assert_eq!(over(judged(&machine(&[1], UUID, ""), &known, false)), Over::Name(UUID.to_owned()));
        assert_eq!(judged(&machine(&[1, 9], UUID, ""), &known, false), Verdict::Known(mac(1)));
    }
}

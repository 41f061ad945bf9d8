use std::borrow::Cow;
use std::sync::Arc;

use super::*;
use crate::model::checkin::Differences;
use crate::model::manifest::tests::sample;
use crate::model::plan::Published;
use crate::model::token::tests::token;

const MAC: &str = "52:54:00:00:00:01";

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

fn plan() -> Plan<'static> {
    let manifest = sample("vdi");
    let published = Published { release: 12, bundle: manifest.id(), manifest: Arc::new(manifest) };
    Plan { profile: "vdi".parse().unwrap(), published: Cow::Owned(published) }
}

fn seen(step: Step, seen: Seen) -> Sighting {
    Sighting { step, seen, sent: None, remark: "".into() }
}

/// Nothing differs from what was to be booted.
fn well() -> Differences {
    Differences { boot: Vec::new(), packages: Some(Vec::new()) }
}

fn report() -> Report {
    let text = format!("bundle {}\nhostname vdi\nmodloop mounted\n", plan().published.bundle);
    Report::parse(text.as_bytes()).unwrap()
}

#[test]
fn a_boot_goes_from_the_first_packet_to_the_check_in() {
    let mac: Mac = MAC.parse().unwrap();
    let mut roster = Roster::default();
    assert!(roster.reached(mac, &seen(Step::Discover, Seen::ByMac), at(0)).is_taken);
    roster.reached(mac, &seen(Step::Loader, Seen::ByAddress), at(2));
    // iPXE asks DHCP again; that is not news.
    assert!(roster.reached(mac, &seen(Step::Discover, Seen::ByMac), at(3)).news.is_none());
    let machine = roster.answered(&Identity::of(mac).into(), Answer::boot(plan(), token(1), None, at(4))).machine;
    assert_eq!((machine.session.started, machine.session.step), (at(0), Step::Script));
    roster.reached(mac, &seen(Step::Kernel, Seen::ByAddress), at(5));
    let (machine, outcome, _) = roster.check_in(token(1), report(), well(), at(30)).unwrap();
    assert_eq!((machine.session.step, machine.session.step_at), (Step::CheckIn, at(30)));
    assert_eq!(outcome.bundle, plan().published.bundle);
}

#[test]
fn a_machine_that_nobody_knew_is_one_when_its_turn_comes_with_its_last_boot() {
    let mac: Mac = MAC.parse().unwrap();
    let mut roster = Roster::default();
    let steps = [(Step::Discover, Seen::ByMac, 0), (Step::Offer, Seen::ByMac, 1), (Step::Loader, Seen::ByAddress, 700)];
    let taken = steps.map(|(step, seen_by, seconds)| roster.reached(mac, &seen(step, seen_by), at(seconds)).is_taken);
    assert_eq!(taken, [true, true, false], "it was switched off, and somebody else may have its address");
    for (step, seconds) in [(Step::Discover, 800), (Step::Discover, 801), (Step::Offer, 802)] {
        assert!(roster.reached(mac, &seen(step, Seen::ByMac), at(seconds)).news.is_none());
    }
    assert!(roster.machine(&mac).is_none() && roster.quiet(at(900), true).is_empty());
    let admitted = roster.admit_some(9);
    let [(machine, events)] = &admitted[..] else { panic!("{admitted:?}") };
    let session = &machine.session;
    assert_eq!((machine.first_seen, machine.last_seen), (at(800), at(802)));
    assert_eq!((session.started, session.step, session.step_at), (at(800), Step::Offer, at(802)));
    let written: Vec<_> = events.iter().map(|event| (event.stage.step, event.stage.asked)).collect();
    assert_eq!(written, [(Step::Discover, 2), (Step::Offer, 1)]);
    assert!(roster.admit_some(9).is_empty() && roster.quiet(at(900), true).is_empty());
    assert!(roster.reached(mac, &seen(Step::Loader, Seen::ByAddress), at(803)).news.is_some(), "like any other");
}

#[test]
fn a_firmware_that_asks_again_after_its_script_begins_a_new_boot() {
    let mac: Mac = MAC.parse().unwrap();
    let mut roster = Roster::default();
    roster.answered(&Identity::of(mac).into(), Answer::boot(plan(), token(1), None, at(0)));
    let session = &roster.reached(mac, &seen(Step::Discover, Seen::ByMac), at(60)).news.unwrap().session;
    assert_eq!((session.step, session.told.is_none()), (Step::Discover, true));
}

#[test]
fn what_comes_from_an_address_begins_no_boot() {
    let mac: Mac = MAC.parse().unwrap();
    let mut roster = Roster::default();
    assert!(roster.reached(mac, &seen(Step::Loader, Seen::ByAddress), at(0)).news.is_none());
    roster.answered(&Identity::of(mac).into(), Answer::boot(plan(), token(1), None, at(0)));
    roster.check_in(token(1), report(), well(), at(1)).unwrap();
    assert!(roster.reached(mac, &seen(Step::Loader, Seen::ByAddress), at(2)).news.is_none());
    assert_eq!(roster.machines[&mac].session.step, Step::CheckIn);
}

#[test]
fn a_script_somebody_looked_at_does_not_end_the_boot_under_way() {
    let mac: Mac = MAC.parse().unwrap();
    let mut roster = Roster::default();
    for number in 1..=5 {
        roster.answered(&Identity::of(mac).into(), Answer::boot(plan(), token(number), None, at(number)));
    }
    assert_eq!(roster.check_in(token(1), report(), well(), at(9)).unwrap_err(), CheckInError::UnknownToken);
    let (machine, ..) = roster.check_in(token(2), report(), well(), at(9)).unwrap();
    assert_eq!((machine.session.token, machine.session.step), (Some(token(2)), Step::CheckIn));
    assert!(roster.check_in(token(5), report(), well(), at(10)).is_ok());
}

#[test]
fn a_machine_that_was_refused_is_remembered_with_the_reason() {
    let mut roster = Roster::default();
    let change =
        roster.answered(&Identity::of(MAC.parse().unwrap()).into(), Answer::refusal("no profile".to_owned(), at(0)));
    assert_eq!(change.machine.session.problems, ["no profile"]);
}

#[test]
fn what_went_wrong_before_is_a_problem_until_the_machine_comes_up_and_something_else_than_it_was_to_boot_stays_one() {
    let identity: Arc<Identity> = Identity::of(MAC.parse().unwrap()).into();
    let mut roster = Roster::default();
    let mut problems = |concern: Concern, number| {
        let told = roster.answered(&identity, Answer::boot(plan(), token(number), Some(concern), at(number)));
        let (before, remark) = (told.machine.session.problems.clone(), told.events[0].stage.remark.clone().unwrap());
        let (machine, ..) = roster.check_in(token(number), report(), well(), at(number + 30)).unwrap();
        (before, remark.ends_with("; it failed"), machine.session.problems.clone())
    };
    let text = || "it failed".to_owned();
    assert_eq!(problems(Concern::UntilUp(text()), 1), (vec![text()], true, Vec::new()));
    assert_eq!(problems(Concern::Lasting(text()), 100), (vec![text()], false, vec![text()]));
    let sent = roster.answered(&identity, Answer::elsewhere("menu".to_owned(), Some(text()), at(200)));
    assert_eq!(sent.machine.session.problems, [text()]);
}

#[test]
fn a_machine_that_comes_back_again_and_again_boots_in_a_circle() {
    let identity: Arc<Identity> = Identity::of(MAC.parse().unwrap()).into();
    let mut roster = Roster::default();
    let circles = |roster: &Roster, seconds| roster.machine(&identity.mac).unwrap().circles(at(seconds));
    let round = |roster: &mut Roster, seconds: u64| {
        roster.reached(identity.mac, &seen(Step::Discover, Seen::ByMac), at(seconds));
        roster.answered(&identity, Answer::elsewhere("local disk".to_owned(), None, at(seconds + 1)));
        circles(roster, seconds + 2)
    };
    assert!((0..5).all(|number| !round(&mut roster, number * 10)));
    assert!(round(&mut roster, 50), "six times in a minute");
    assert!(!circles(&roster, 200), "it may try again");
    for number in 0..20 {
        roster.answered(&identity, Answer::boot(plan(), token(number), None, at(300 + number)));
    }
    assert!(!circles(&roster, 330), "a script alone is no boot");
}

#[test]
fn what_was_chosen_from_a_menu_is_part_of_the_same_boot() {
    let identity: Arc<Identity> = Identity::of(MAC.parse().unwrap()).into();
    let mut roster = Roster::default();
    roster.reached(identity.mac, &seen(Step::Ipxe, Seen::ByMac), at(0));
    roster.answered(&identity, Answer::elsewhere("menu".to_owned(), None, at(5)));
    let session = &roster.answered(&identity, Answer::boot(plan(), token(1), None, at(15))).machine.session;
    assert_eq!((session.started, session.sent_to.as_deref()), (at(0), None));
}

#[test]
fn a_machine_falls_back_to_what_it_or_another_came_up_with() {
    let told = |release: u64, bundle: &[u8]| -> Told { ("vdi".parse().unwrap(), release, Digest::of(bundle)) };
    let mut roster = Roster::default();
    for (last, good) in [(1, told(3, b"3")), (2, told(5, b"5")), (3, told(7, b"7"))] {
        let mac = Mac([2, 0, 0, 0, 0, last]);
        roster.answered(&Identity::of(mac).into(), Answer::boot(plan(), token(u64::from(last)), None, at(0)));
        roster.machines.get_mut(&mac).unwrap().good = Some(good);
    }
    let fallback = |last: u8, failed: &[u8]| {
        roster.last_good(&Mac([2, 0, 0, 0, 0, last]), &"vdi".parse().unwrap(), &Digest::of(failed))
    };
    assert_eq!(fallback(1, b"7"), Some(told(3, b"3")), "its own");
    assert_eq!(fallback(3, b"7"), Some(told(5, b"5")), "the newest of the others");
    assert_eq!(fallback(9, b"x"), Some(told(7, b"7")), "it never came up with any");
    assert_eq!(roster.last_good(&Mac([2; 6]), &"other".parse().unwrap(), &Digest::of(b"x")), None);
}

#[test]
fn an_invented_token_is_refused() {
    let mut roster = Roster::default();
    let refused = roster.check_in(token(1), report(), well(), at(0));
    assert_eq!(refused.unwrap_err().to_string(), "no boot was given this token");
}

#[test]
fn invented_addresses_do_not_fill_the_memory() {
    let mac = |number: u64| {
        let bytes = number.to_be_bytes();
        Mac([2, 0, bytes[4], bytes[5], bytes[6], bytes[7]])
    };
    let mut roster = Roster::default();
    roster.answered(&Identity::of(mac(0)).into(), Answer::boot(plan(), token(1), None, at(0)));
    roster.check_in(token(1), report(), well(), at(0)).unwrap();
    for number in 1..=MAX_MACHINES as u64 {
        roster.reached(mac(number), &seen(Step::Discover, Seen::ByMac), at(number));
    }
    assert_eq!(roster.len(), MAX_MACHINES);
    let newcomer = mac(MAX_MACHINES as u64 + 7);
    let change = roster.answered(&Identity::of(newcomer).into(), Answer::boot(plan(), token(2), None, at(1)));
    assert_eq!(change.forgotten, Some(mac(1)), "the longest unseen that never checked in");
    assert_eq!(roster.len(), MAX_MACHINES);
    assert!(roster.told(token(1)).is_some());
    roster.answered(&Identity::of(mac(0)).into(), Answer::boot(plan(), token(3), None, at(0)));
    for number in 0..MAX_MACHINES as u64 {
        let inbox = Answer::elsewhere("inbox, code KXRTMB".to_owned(), None, at(2));
        roster.answered(&Identity::of(mac(1_000_000 + number)).into(), inbox);
    }
    assert!(roster.told(token(3)).is_some(), "one that came up before and boots again is no invention");
}

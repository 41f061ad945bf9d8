//! Rollouts step by step; whole fleets are in `tests/simulation`.

use std::time::{Duration, SystemTime};

use super::*;
use crate::model::digest::Digest;
use crate::model::label::{Label, Labels};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000 + seconds)
}

fn clock(seconds: u64) -> Clock {
    Clock { now: at(seconds), listening_since: at(0) }
}

fn release(number: u64) -> Release {
    Release { number, bundle: Digest::of(&number.to_be_bytes()) }
}

fn id(name: &str) -> MachineId {
    name.parse().unwrap()
}

/// A machine that is up and well with the first release.
fn up(labels: &[&str]) -> View {
    let labels: Labels =
        labels.iter().map(|text| text.parse::<Label>().unwrap()).map(|it| (it.key, it.value)).collect();
    let boot = Boot { bundle: release(1).bundle, at: at(0), health: Health::Good, since: at(0), instead: None };
    View { labels, follows: Some(("vdi".parse().unwrap(), "stable".parse().unwrap())), is_on: true, boot: Some(boot) }
}

/// It was given the script of a release.
fn boots(census: &mut Census, machine: &str, number: u64, seconds: u64) {
    let boot = Boot {
        bundle: release(number).bundle,
        at: at(seconds),
        health: Health::UnderWay,
        since: at(seconds),
        instead: None,
    };
    census.get_mut(&id(machine)).unwrap().boot = Some(boot);
}

/// It checked in.
fn checks_in(census: &mut Census, machine: &str, health: Health, seconds: u64) {
    let boot = census.get_mut(&id(machine)).unwrap().boot.as_mut().unwrap();
    if boot.health != health {
        boot.since = at(seconds);
    }
    boot.health = health;
}

fn begin(batches: &[&str], change: impl FnOnce(&mut Spec)) -> Rollout {
    let pace = Pace { bake: Duration::from_secs(600), ..Pace::default() };
    let batches = batches.iter().map(|text| Batch::parse(text, &pace).unwrap()).collect();
    let mut spec = Spec {
        number: 1,
        profile: "vdi".parse().unwrap(),
        channel: "stable".parse().unwrap(),
        from: release(1),
        to: release(2),
        batches: Spec::with_the_rest(batches, &pace),
        budgets: Vec::new(),
        windows: Vec::new(),
        blackouts: Vec::new(),
        zones: Zones::default(),
        reboot: RebootPolicy::Force,
        max_failures: None,
        auto_rollback: false,
    };
    change(&mut spec);
    Rollout::begin(spec, at(0))
}

/// Everything that is decided at one moment.
fn go(rollout: &mut Rollout, census: &Census, clock: Clock) {
    loop {
        let steps = advance(rollout, census, clock);
        if steps.is_empty() {
            return;
        }
        steps.iter().for_each(|step| rollout.apply(step, clock.now));
    }
}

fn standing(rollout: &Rollout, machine: &str) -> Option<Standing> {
    rollout.members.get(&id(machine)).map(|member| member.standing.clone())
}

#[test]
fn a_machine_that_is_given_another_release_because_the_new_one_does_not_boot_has_failed() {
    let mut census = Census::from([(id("a"), up(&["canary"])), (id("b"), up(&[]))]);
    let mut rollout = begin(&["canary"], |_| {});
    go(&mut rollout, &census, clock(1));
    boots(&mut census, "a", 2, 10);
    go(&mut rollout, &census, clock(11));
    assert_eq!(standing(&rollout, "a"), Some(Standing::Trying));
    boots(&mut census, "a", 1, 60);
    census.get_mut(&id("a")).unwrap().boot.as_mut().unwrap().instead = Some("it did not come up".to_owned());
    go(&mut rollout, &census, clock(61));
    assert_eq!(standing(&rollout, "a"), Some(Standing::Failed("it did not come up".to_owned())));
    assert!(matches!(rollout.status, Status::Stopped(_)), "{:?}", rollout.status);
}

#[test]
fn a_machine_that_boots_something_else_meanwhile_still_has_to_boot_it() {
    let mut census = Census::from([(id("a"), up(&[]))]);
    let mut rollout = begin(&[], |_| {});
    go(&mut rollout, &census, clock(1));
    boots(&mut census, "a", 2, 10);
    go(&mut rollout, &census, clock(11));
    boots(&mut census, "a", 7, 20);
    go(&mut rollout, &census, clock(21));
    assert_eq!(standing(&rollout, "a"), Some(Standing::Granted));
}

#[test]
fn a_check_that_is_red_for_a_moment_or_a_reboot_fails_no_machine_that_came_up() {
    let mut census = Census::from([(id("a"), up(&[]))]);
    let mut rollout = begin(&["all, bake 1h, timeout 5m"], |_| {});
    go(&mut rollout, &census, clock(1));
    boots(&mut census, "a", 2, 10);
    checks_in(&mut census, "a", Health::Good, 60);
    go(&mut rollout, &census, clock(61));
    assert_eq!(standing(&rollout, "a"), Some(Standing::Good));
    checks_in(&mut census, "a", Health::Bad("no screen".to_owned()), 2000);
    go(&mut rollout, &census, clock(2200));
    assert_eq!(standing(&rollout, "a"), Some(Standing::Good), "not for five minutes yet");
    go(&mut rollout, &census, clock(2301));
    assert_eq!(standing(&rollout, "a"), Some(Standing::Failed("no screen".to_owned())));
}

#[test]
fn nobody_is_silent_while_nobody_listens() {
    let mut census = Census::from([(id("a"), up(&[]))]);
    let mut rollout = begin(&["all, timeout 5m"], |_| {});
    go(&mut rollout, &census, clock(1));
    boots(&mut census, "a", 2, 10);
    let anew = |seconds| Clock { now: at(seconds), listening_since: at(9000) };
    go(&mut rollout, &census, anew(9001));
    assert_eq!(standing(&rollout, "a"), Some(Standing::Trying), "the server was away");
    go(&mut rollout, &census, anew(9301));
    assert!(matches!(standing(&rollout, "a"), Some(Standing::Failed(_))));
}

#[test]
fn machines_that_are_off_are_not_waited_for_and_a_batch_of_which_all_are_off_is() {
    let mut census = Census::from([(id("a"), up(&["canary"])), (id("b"), up(&["canary"])), (id("c"), up(&[]))]);
    for machine in ["a", "b"] {
        census.get_mut(&id(machine)).unwrap().is_on = false;
    }
    let mut rollout = begin(&["canary"], |_| {});
    go(&mut rollout, &census, clock(1));
    assert_eq!(waits(&rollout, &census, clock(1)), [Wait::Off(2)]);
    go(&mut rollout, &census, clock(90_000));
    assert!(rollout.members.is_empty(), "no canary, no batch");
    census.get_mut(&id("a")).unwrap().is_on = true;
    go(&mut rollout, &census, clock(90_001));
    boots(&mut census, "a", 2, 90_010);
    checks_in(&mut census, "a", Health::Good, 90_060);
    go(&mut rollout, &census, clock(90_061));
    assert_eq!(waits(&rollout, &census, clock(90_061)), [Wait::Off(1), Wait::Bake(Duration::from_secs(600))]);
    go(&mut rollout, &census, clock(90_662));
    assert_eq!(standing(&rollout, "c"), Some(Standing::Granted), "the other canary is off");
}

#[test]
fn a_batch_that_is_not_good_enough_stops_although_machines_are_left_that_are_off() {
    let machines = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let mut census: Census = machines.iter().map(|name| (id(name), up(&[]))).collect();
    census.values_mut().skip(2).for_each(|view| view.is_on = false);
    let mut rollout = begin(&["10"], |_| {});
    go(&mut rollout, &census, clock(1));
    for (machine, health) in [("a", Health::Good), ("b", Health::Bad("red".to_owned()))] {
        boots(&mut census, machine, 2, 10);
        checks_in(&mut census, machine, health, 60);
    }
    go(&mut rollout, &census, clock(2000));
    let Status::Stopped(why) = &rollout.status else { panic!("{:?}", rollout.status) };
    assert_eq!(why, "1 of the 2 machines of batch 1 came up, and 90% have to");
}

#[test]
fn a_machine_that_failed_takes_room_until_it_is_well_again_with_whatever_release() {
    let machines = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let mut census: Census = machines.iter().map(|name| (id(name), up(&[]))).collect();
    let mut rollout = begin(&["all, timeout 5m"], |spec| spec.budgets = vec!["1".parse().unwrap()]);
    go(&mut rollout, &census, clock(1));
    let first = rollout.members.keys().next().unwrap().to_string();
    boots(&mut census, &first, 2, 10);
    go(&mut rollout, &census, clock(400));
    assert!(matches!(standing(&rollout, &first), Some(Standing::Failed(_))));
    // It hangs, and looks as if it were off.
    census.get_mut(&id(&first)).unwrap().is_on = false;
    go(&mut rollout, &census, clock(2000));
    assert_eq!(rollout.members.len(), 1);
    let waits = waits(&rollout, &census, clock(2000));
    assert_eq!(waits, [Wait::Room { waiting: 9, failed: 1 }]);
    let text = "room for 9 machines more to be unavailable, which 1 machine takes that failed";
    assert_eq!(waits[0].to_string(), text);
    // The guard against boot loops gave it the old release.
    census.get_mut(&id(&first)).unwrap().is_on = true;
    boots(&mut census, &first, 1, 2100);
    checks_in(&mut census, &first, Health::Good, 2160);
    go(&mut rollout, &census, clock(2161));
    assert_eq!(rollout.members.len(), 2, "the next one has its turn");
}

#[test]
fn somebody_who_lets_it_go_on_takes_the_failures_so_far_for_known() {
    let mut census = Census::from([(id("a"), up(&["canary"])), (id("b"), up(&[]))]);
    let mut rollout = begin(&["canary, bake 0s, timeout 1m"], |_| {});
    go(&mut rollout, &census, clock(1));
    boots(&mut census, "a", 2, 10);
    go(&mut rollout, &census, clock(100));
    assert!(matches!(rollout.status, Status::Stopped(_)));
    rollout.apply(&Step::Resumed, at(200));
    go(&mut rollout, &census, clock(201));
    assert_eq!((standing(&rollout, "b"), &rollout.status), (Some(Standing::Granted), &Status::Running));
}

#[test]
fn after_an_abort_those_who_came_up_keep_it_until_the_channel_moves() {
    let mut census = Census::from([(id("a"), up(&[])), (id("b"), up(&[]))]);
    let mut rollout = begin(&[], |_| {});
    go(&mut rollout, &census, clock(1));
    boots(&mut census, "a", 2, 10);
    checks_in(&mut census, "a", Health::Good, 60);
    go(&mut rollout, &census, clock(61));
    rollout.apply(&Step::Aborted, at(70));
    let boots = |machine: &str, pointed| rollout.release_of(&id(machine), release(pointed)).number;
    assert_eq!((boots("a", 1), boots("b", 1), boots("c", 1)), (2, 1, 1));
    assert_eq!((boots("a", 3), boots("b", 3)), (3, 3));
}

#[test]
fn hours_and_policies_say_when_a_machine_is_asked_to_reboot() {
    let census = Census::from([(id("a"), up(&[]))]);
    let (machine, view) = (id("a"), up(&[]));
    // Wednesday, 2026-11-18, 11:06:40.
    let now = at(0);
    let asked = |change: fn(&mut Spec)| {
        let mut rollout = begin(&[], change);
        go(&mut rollout, &census, Clock { now, listening_since: now });
        wish(&rollout, &machine, &view, now)
    };
    assert_eq!(asked(|_| {}), Some(Wish::Now));
    assert_eq!(asked(|spec| spec.reboot = RebootPolicy::Natural), None);
    let idle = Duration::from_secs(60);
    assert_eq!(asked(|spec| spec.reboot = RebootPolicy::Idle(Duration::from_secs(60))), Some(Wish::Idle(idle)));
    let open = |spec: &mut Spec| {
        spec.reboot = RebootPolicy::Window;
        spec.windows = vec!["Wed 11:00-12:00".parse().unwrap()];
    };
    assert_eq!(asked(open), Some(Wish::Within(Duration::from_secs(53 * 60 + 20))));
    assert_eq!(asked(|spec| spec.windows = vec!["Wed 12:00-13:00".parse().unwrap()]), None, "given nothing yet");
    assert_eq!(asked(|spec| spec.blackouts = vec!["Mon-Fri 06:00-18:00".parse().unwrap()]), None);
}

#[test]
fn the_order_of_machines_differs_from_rollout_to_rollout_and_is_the_same_for_everybody() {
    let census: Census = (0..40).map(|number| (id(&format!("m{number}")), up(&[]))).collect();
    let first = |number: u64| {
        let mut rollout = begin(&["5"], |spec| spec.number = number);
        go(&mut rollout, &census, clock(1));
        rollout.members.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(first(1), first(1));
    assert_eq!(first(1).len(), 5);
    assert_ne!(first(1), first(2));
}

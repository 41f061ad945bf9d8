//! Rollouts that have virtual machines rebooted.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::cluster::Fault;
use super::{Bed, words};
use crate::support::site::{Serving, Site, report};

/// How long something may take that a running server does by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// A bed with `hello@1` in channel stable and `hello@2` in beta, two virtual machines that are up with the first, and a
/// server.
struct Fleet {
    bed: Bed,
    server: Serving,
    machines: [String; 2],
}

impl Fleet {
    fn new() -> Self {
        let site = Site::published();
        site.write("profiles/hello/root/etc/motd", "the second release\n");
        for arguments in [&["build", "hello"][..], &["publish", "hello", "--channel", "beta"]] {
            assert_eq!(site.run(arguments).code, Some(0));
        }
        let bed = Bed::at(site, "");
        bed.run(&["create", "2", "--profile", "hello"]);
        bed.cluster.changes();
        let list = bed.list();
        let machines = [0, 1].map(|place| list[place]["machine"].as_str().unwrap().to_owned());
        let tables = bed.site_file("token-file = \"proxmox.token\"\nca = \"pve/ca.pem\"\n");
        let server = bed.site.serve_with(&tables, &["--dhcp", "off"]);
        let fleet = Self { bed, server, machines };
        fleet.machines.iter().for_each(|machine| assert_eq!(fleet.comes_up(machine), 1));
        fleet
    }

    /// A machine boots and comes up; with which release.
    fn comes_up(&self, machine: &str) -> u64 {
        let script = self.server.get(&format!("/script?mac={machine}"));
        let word = |after: &str| script.split(after).nth(1).unwrap().split([' ', '\n']).next().unwrap().to_owned();
        let (bundle, token) = (word("bivouac_bundle="), word("/check-in/"));
        let list: Value = serde_json::from_str(&self.bed.fleet(&["list", "--json"])).unwrap();
        let release = list.as_array().unwrap().iter().find(|it| it["bundle"] == bundle.as_str()).unwrap();
        let release = release["release"].as_u64().unwrap();
        let shown = self.bed.fleet(&["show", &format!("hello@{release}"), "--json"]);
        let report = report(&serde_json::from_str(&shown).unwrap(), &bundle);
        let answer = self.server.post("/check-in", &format!("token {token}\n{report}"));
        assert!(answer.contains("\r\n\r\nok\n"), "{answer}");
        release
    }

    fn roll_out(&self, more: &[&str]) {
        let start = ["rollout", "start", "hello", "--to", "beta", "--bake", "0s", "--max-unavailable", "1"];
        self.bed.fleet(&[&start[..], more].concat());
    }

    /// Waits until the server has come to it by itself.
    fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < PATIENCE, "{what} never came to be:\n{}", self.events());
            std::thread::yield_now();
        }
    }

    fn events(&self) -> String {
        self.bed.fleet(&["events"])
    }

    /// The calls that change something, once there are as many.
    fn calls(&self, count: usize) -> Vec<String> {
        let mut calls = Vec::new();
        self.until(&format!("{count} calls"), || {
            calls.extend(self.bed.cluster.changes());
            calls.len() >= count
        });
        calls
    }

    /// The machine that a call is about.
    fn machine_of(&self, call: &str) -> &str {
        &self.machines[usize::from(call.contains("/qemu/101/"))]
    }
}

#[test]
fn a_rollout_has_its_virtual_machines_rebooted_one_after_the_other_and_no_other() {
    let fleet = Fleet::new();
    fleet.bed.cluster.add(200, "pve1", &[("name", "db")]);
    fleet.roll_out(&["--reboot", "force"]);
    let first = fleet.calls(1);
    assert!(words(&first) == ["reboot"] && first.len() == 1, "{first:?}");
    let one = fleet.machine_of(&first[0]).to_owned();
    fleet.until("it is written down", || fleet.events().contains(&format!("the virtual machine {one} is rebooted")));
    // The budget is used until that one is up.
    let status = || fleet.bed.fleet(&["rollout", "status", "1", "--json"]);
    fleet.until("it is the only one that was given the release", || status().contains("\"given\": 1"));
    assert_eq!(fleet.bed.cluster.changes(), [""; 0]);
    assert_eq!(fleet.comes_up(&one), 2);
    let second = fleet.calls(1);
    let other = fleet.machine_of(&second[0]).to_owned();
    assert!(words(&second) == ["reboot"] && other != one, "{second:?}");
    assert_eq!(fleet.comes_up(&other), 2);
    fleet.until("it is finished", || status().contains("\"finished\""));
    assert_eq!(fleet.bed.cluster.changes(), [""; 0]);
}

#[test]
fn of_two_servers_one_has_a_machine_rebooted() {
    let fleet = Fleet::new();
    let tables = fleet.bed.site_file("token-file = \"proxmox.token\"\nca = \"pve/ca.pem\"\n");
    let _other = fleet.bed.site.serve_with(&tables, &["--dhcp", "off"]);
    fleet.roll_out(&["--reboot", "force"]);
    let mut calls = fleet.calls(1);
    let one = fleet.machine_of(&calls[0]).to_owned();
    fleet.until("the first server has read what the other decided", || fleet.comes_up(&one) == 2);
    while calls.len() < 2 {
        calls.extend(fleet.calls(1));
    }
    let other = fleet.machine_of(&calls[1]).to_owned();
    fleet.until("the first server has read what the other decided", || fleet.comes_up(&other) == 2);
    let status = || fleet.bed.fleet(&["rollout", "status", "1", "--json"]);
    fleet.until("it is finished", || status().contains("\"finished\""));
    calls.extend(fleet.bed.cluster.changes());
    assert_eq!(words(&calls), ["reboot", "reboot"]);
}

#[test]
fn a_machine_that_does_not_listen_is_switched_off_and_on() {
    let fleet = Fleet::new();
    fleet.bed.cluster.fail("/status/reboot", Fault::Task("VM quit/powerdown failed - got timeout", ""));
    fleet.roll_out(&["--reboot", "force"]);
    assert_eq!(words(&fleet.calls(3)), ["reboot", "stop", "start"]);
}

#[test]
fn a_machine_that_cannot_be_rebooted_is_an_alarm_and_one_that_may_not_be_is_left_alone() {
    let fleet = Fleet::new();
    fleet.bed.cluster.fail("/status/reboot", Fault::Status(403, "Permission check failed (/vms/100, VM.PowerMgmt)\n"));
    fleet.roll_out(&["--reboot", "force"]);
    fleet.until("the alarm is written", || fleet.events().contains("lacks the privilege VM.PowerMgmt on /vms/100"));
    let calls = fleet.bed.cluster.changes();
    assert_eq!(words(&calls), ["reboot"], "it is not tried again at once");
}

#[test]
fn a_vm_whose_tag_was_taken_away_is_not_touched() {
    let fleet = Fleet::new();
    for id in [100, 101] {
        fleet.bed.cluster.state().vms.get_mut(&id).unwrap().config.insert("tags".to_owned(), "prod".to_owned());
    }
    fleet.roll_out(&["--reboot", "force"]);
    fleet.until("the alarm is written", || fleet.events().contains("or has another name or not the tag of the site"));
    assert_eq!(fleet.bed.cluster.changes(), [""; 0]);
}

#[test]
fn a_cluster_that_breaks_every_connection_is_one_alarm_and_delays_nothing() {
    let fleet = Fleet::new();
    fleet.bed.cluster.fail_times("/cluster/resources", Fault::Cut, usize::MAX);
    fleet.roll_out(&["--reboot", "force"]);
    fleet.until("the alarm is written", || fleet.events().contains("which reboot when they check in instead"));
    goes_on_without_the_cluster(&fleet);
    assert_eq!(fleet.events().matches("alarm about").count(), 1);
}

#[test]
fn a_cluster_that_never_answers_delays_nothing() {
    let fleet = Fleet::new();
    fleet.bed.cluster.fail_times("/cluster/resources", Fault::Silence, usize::MAX);
    fleet.roll_out(&["--reboot", "force"]);
    goes_on_without_the_cluster(&fleet);
}

fn goes_on_without_the_cluster(fleet: &Fleet) {
    // The machines are told when they check in, as all others are, and the rollout goes on.
    for _ in 0..2 {
        let mut given = String::new();
        fleet.until("one is given the release", || {
            let waits = |machine: &&String| fleet.server.get(&format!("/script?mac={machine}")).contains("/check-in/");
            given = fleet
                .machines
                .iter()
                .find(|machine| waits(machine) && fleet.comes_up(machine) == 2)
                .cloned()
                .unwrap_or_default();
            !given.is_empty()
        });
    }
    assert_eq!(fleet.bed.cluster.changes(), [""; 0]);
}

#[test]
fn a_rollout_that_reboots_nobody_asks_the_cluster_nothing() {
    let fleet = Fleet::new();
    let before = fleet.bed.cluster.state().requests;
    fleet.roll_out(&[]);
    let status = || fleet.bed.fleet(&["rollout", "status", "1", "--json"]);
    fleet.until("one was given the release", || status().contains("\"given\": 1"));
    fleet.until("somebody rebooted it", || fleet.machines.iter().any(|machine| fleet.comes_up(machine) == 2));
    assert_eq!(fleet.bed.cluster.state().requests, before);
}

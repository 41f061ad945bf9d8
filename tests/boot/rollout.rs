//! Rollouts to machines that reboot by themselves, because the agent in them does what the server answers.
//!
//! Boots are dear here, so one test goes through a release that is not well and then one that is.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::FULL;
use crate::lab::{Lab, PATIENCE, Process};
use crate::site::Site;

/// The machine that gets everything first.
const CANARY: &str = "52:54:00:77:00:11";
/// The other one.
const OTHER: &str = "52:54:00:77:00:12";

/// How often the program is asked how things stand.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Two machines of one profile, and their server.
struct Fleet {
    site: Site,
    server: Process,
    machines: [Process; 2],
    file: String,
}

impl Fleet {
    fn run(&mut self, arguments: &[&str]) -> String {
        self.site.run(&[arguments, &["--site", &self.file]].concat())
    }

    /// What is known of a machine; null before it was seen.
    fn machine(&mut self, mac: &str) -> Value {
        let list: Value = serde_json::from_str(&self.run(&["machines", "--json"])).unwrap();
        list.as_array().unwrap().iter().find(|machine| machine["mac"] == mac).cloned().unwrap_or_default()
    }

    /// Waits until the machine is up with a release, and well or not.
    fn expect(&mut self, mac: &str, release: u64, is_good: bool) {
        self.until(&format!("{mac} is up with release {release}, good: {is_good}"), |fleet| {
            let machine = fleet.machine(mac);
            let is_up = machine["step"] == "check-in" && machine["running"]["bundle"] == machine["bundle"];
            is_up && machine["release"] == release && machine["good"] == is_good
        });
    }

    fn expect_status(&mut self, number: u64, status: &str) {
        self.until(&format!("rollout {number} is {status}"), |fleet| {
            let shown = fleet.run(&["rollout", "status", &number.to_string(), "--json"]);
            serde_json::from_str::<Value>(&shown).unwrap()["status"] == status
        });
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&mut Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            if begun.elapsed() > PATIENCE {
                let events = self.run(&["events"]);
                self.server.drain();
                self.machines.iter_mut().for_each(Process::drain);
                let [one, two] = self.machines.each_ref().map(Process::text);
                panic!(
                    "never came to be: {what}\n\n== events\n{events}\n\n== canary\n{one}\n\n== other\n{two}\n\n== server\n{}\n",
                    self.server.text()
                );
            }
            std::thread::sleep(ASK_EVERY);
        }
    }

    /// The releases whose scripts the machine was given, in order.
    fn scripts(&mut self, mac: &str) -> Vec<u64> {
        self.server.drain();
        let log = self.server.text();
        let of_machine = log.lines().filter(|line| line.contains(" script ") && line.contains(mac));
        let releases = of_machine.filter_map(|line| line.split("release=").nth(1)?.split(' ').next()?.parse().ok());
        releases.collect()
    }

    /// What the ledger says of a rollout, a line each.
    fn events(&mut self, rollout: &str) -> Vec<String> {
        self.run(&["events", "--rollout", rollout]).lines().map(str::to_owned).collect()
    }

    /// The number of the release of channel stable.
    fn stable(&mut self) -> u64 {
        let list: Value = serde_json::from_str(&self.run(&["list", "--json"])).unwrap();
        let has = |release: &&Value| release["channels"].as_array().unwrap().iter().any(|channel| channel == "stable");
        list.as_array().unwrap().iter().find(has).unwrap()["release"].as_u64().unwrap()
    }
}

#[test]
fn a_release_that_is_not_well_goes_back_from_the_first_machine_and_a_good_one_goes_to_each_in_turn() {
    let (site, lab) = (Site::publish(), Lab::new("roll"));
    let file = lab.path("bivouac.toml");
    std::fs::write(&file, "default-profile = \"hello\"\n[fleet]\ncheck-in-interval = \"10s\"\n").unwrap();
    let file = file.to_str().unwrap().to_owned();
    let server = lab.serve(&site.state(), &[&FULL[..], &["--site", &file]].concat());
    let begun = Instant::now();
    let machines = [CANARY, OTHER].map(|mac| lab.power_on_another(mac));
    // Declared after the lab, so that the machines and the server end before their network does.
    let mut fleet = Fleet { site, server, machines, file };
    // While the machines boot.
    fleet.site.publish_with_check(1);
    [CANARY, OTHER].iter().for_each(|mac| fleet.expect(mac, 1, true));
    // One machine that boots alone needs less than two that boot at once, and the rest of this host decides how much.
    let timeout = format!("{}s", begun.elapsed().as_secs() + 5);

    fleet.run(&["machines", "label", CANARY, "stage=canary"]);
    let start = ["rollout", "start", "hello", "--to", "beta", "--bake", "0s", "--reboot", "force"];
    fleet.run(&[&start[..], &["--batch", "stage=canary", "--timeout", &timeout, "--auto-rollback"]].concat());
    fleet.expect(CANARY, 2, false);
    let machine = fleet.machine(CANARY);
    assert!(machine["problems"].to_string().contains("display"), "{machine:#}");
    fleet.site.publish_with_check(0);
    fleet.expect_status(1, "rolled-back");
    fleet.expect(CANARY, 1, true);
    assert_eq!(fleet.scripts(CANARY), [1, 2, 1]);
    assert_eq!(fleet.scripts(OTHER), [1], "it neither got the release nor rebooted");
    assert_eq!(fleet.stable(), 1);
    let events = fleet.events("1");
    assert!(events.iter().any(|line| line.contains("required check display failed: no screen")), "{events:#?}");

    fleet.run(&[&start[..], &["--max-unavailable", "1", "--auto-rollback"]].concat());
    fleet.expect_status(2, "finished");
    assert_eq!(fleet.scripts(CANARY), [1, 2, 1, 3]);
    assert_eq!(fleet.scripts(OTHER), [1, 3]);
    assert_eq!(fleet.stable(), 3);
    [CANARY, OTHER].iter().for_each(|mac| fleet.expect(mac, 3, true));
    let events = fleet.events("2");
    let turns: Vec<&str> = events.iter().filter_map(|line| turn(line)).collect();
    assert_eq!(turns, ["given to", "came up", "given to", "came up"], "one after the other: {events:#?}");
}

/// Whether an event begins or ends the time in which a machine is unavailable.
fn turn(event: &str) -> Option<&'static str> {
    ["given to", "came up"].into_iter().find(|text| event.contains(text))
}

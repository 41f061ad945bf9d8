//! Rollouts through the front door: the commands of a person, and machines that boot and check in on a real socket.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::postgres::Postgres;
use crate::support::site::{Ran, Serving, Site, report};

const ONE: &str = "52:54:00:00:00:01";
const TWO: &str = "52:54:00:00:00:02";

/// How long something may take that a running server does by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// A site with `hello@1` in channel stable and `hello@2` in beta, and a server, or several that share a database: the
/// first one gives scripts, and the last one hears the check-ins.
struct Fleet {
    site: Site,
    servers: Vec<Serving>,
}

/// A boot of a machine.
struct Boot {
    release: u64,
    token: String,
    bundle: String,
}

impl Fleet {
    fn new() -> Self {
        let site = two_releases();
        let servers = vec![site.serve(&["--dhcp", "off"])];
        Self { site, servers }
    }

    /// Two servers on one database: PostgreSQL where there is a URL, otherwise a file.
    fn shared(database: Option<&str>) -> Self {
        let site = two_releases();
        let fleet = database.map_or_else(String::new, |url| format!("[fleet]\ndatabase = \"{url}\"\n"));
        site.write("bivouac.toml", &fleet);
        let servers = (0..2).map(|_| site.serve_with(&fleet, &["--dhcp", "off"])).collect();
        Self { site, servers }
    }

    fn with_two_machines() -> (Self, [Boot; 2]) {
        Self::new().two_machines()
    }

    /// With two machines that are up with the first release; the first one is a canary.
    fn two_machines(self) -> (Self, [Boot; 2]) {
        let fleet = self;
        let boots = [ONE, TWO].map(|mac| {
            let boot = fleet.boot(mac);
            fleet.well(&boot);
            boot
        });
        fleet.run(&["machines", "label", ONE, "stage=canary", "room=1"]);
        fleet.run(&["machines", "label", TWO, "room=2"]);
        (fleet, boots)
    }

    fn run(&self, arguments: &[&str]) -> String {
        let ran = self.site.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.err);
        ran.out
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let Ran { code, err, .. } = self.site.run(arguments);
        assert_eq!(code, Some(2), "{arguments:?}");
        err
    }

    /// A machine is switched on.
    fn boot(&self, mac: &str) -> Boot {
        self.boot_at(&self.servers[0], mac)
    }

    /// A machine is switched on, and asks this server.
    fn boot_at(&self, server: &Serving, mac: &str) -> Boot {
        let script = server.get(&format!("/script?mac={mac}"));
        let word = |after: &str| script.split(after).nth(1).unwrap().split([' ', '\n']).next().unwrap().to_owned();
        let bundle = word("bivouac_bundle=");
        let is = |number: u64| self.manifest(number).0 == bundle;
        let release = (1..=3).find(|number| is(*number)).unwrap();
        Boot { release, token: word("/check-in/"), bundle }
    }

    /// A machine is switched on when the release has come to it; of several servers, each hears of that within a second.
    fn boots_with(&self, mac: &str, release: u64) -> Boot {
        let begun = Instant::now();
        loop {
            let boot = self.boot(mac);
            if boot.release == release || self.servers.len() == 1 || begun.elapsed() > PATIENCE {
                assert_eq!(boot.release, release);
                return boot;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The bundle of a release, and what it holds; nothing when there is no such release.
    fn manifest(&self, number: u64) -> (String, Value) {
        let list: Value = serde_json::from_str(&self.run(&["list", "--json"])).unwrap();
        let Some(release) = list.as_array().unwrap().iter().find(|release| release["release"] == number) else {
            return (String::new(), Value::Null);
        };
        let bundle = release["bundle"].as_str().unwrap().to_owned();
        (bundle, serde_json::from_str(&self.run(&["show", &format!("hello@{number}"), "--json"])).unwrap())
    }

    /// A check-in with these lines besides what a good one has; the answer.
    fn check_in(&self, boot: &Boot, more: &str) -> String {
        let (_, manifest) = self.manifest(boot.release);
        let report = report(&manifest, &boot.bundle);
        let begun = Instant::now();
        loop {
            let answer =
                self.servers.last().unwrap().post("/check-in", &format!("token {}\n{report}{more}", boot.token));
            // A machine takes seconds to come up, in which the other servers have learned of its boot.
            if self.servers.len() == 1 || !answer.contains(" 404 ") || begun.elapsed() > PATIENCE {
                return answer;
            }
        }
    }

    fn well(&self, boot: &Boot) -> String {
        let answer = self.check_in(boot, "");
        assert!(answer.contains("\r\n\r\nok\n"), "{answer}");
        answer
    }

    fn status(&self, number: u64) -> Value {
        serde_json::from_str(&self.run(&["rollout", "status", &number.to_string(), "--json"])).unwrap()
    }

    /// Waits until the server has come to it by itself.
    fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            let events = || self.run(&["events"]);
            assert!(begun.elapsed() < PATIENCE, "{what} never came to be:\n{}", events());
            std::thread::yield_now();
        }
    }

    /// The number of the release that a channel points at.
    fn channel(&self, name: &str) -> u64 {
        let list: Value = serde_json::from_str(&self.run(&["list", "--json"])).unwrap();
        let has = |release: &&Value| release["channels"].as_array().unwrap().iter().any(|channel| channel == name);
        list.as_array().unwrap().iter().find(has).unwrap()["release"].as_u64().unwrap()
    }
}

fn two_releases() -> Site {
    let site = Site::published();
    site.write("profiles/hello/root/etc/motd", "the second release\n");
    for arguments in [&["build", "hello"][..], &["publish", "hello", "--channel", "beta"]] {
        assert_eq!(site.run(arguments).code, Some(0));
    }
    site
}

#[test]
fn a_good_release_goes_to_the_canary_first_and_then_to_everybody() {
    canary_first(Fleet::new());
}

#[test]
fn two_servers_on_one_file_move_a_channel_together() {
    canary_first(Fleet::shared(None));
}

#[test]
fn two_servers_on_one_postgresql_move_a_channel_together() {
    if let Some(server) = Postgres::shared() {
        canary_first(Fleet::shared(Some(&server.database())));
    }
}

#[test]
fn a_postgresql_that_is_not_there_is_named_without_its_password() {
    let site = Site::published();
    let none = site.path("none");
    let url = format!("postgres://bivouac:s3cret@localhost/fleet?host={}", none.display());
    site.write("bivouac.toml", &format!("[fleet]\ndatabase = \"{url}\"\n"));
    for arguments in [&["machines"][..], &["serve", "--http", "127.0.0.1:0", "--tftp", "127.0.0.1:0", "--dhcp", "off"]]
    {
        let Ran { code, out, err } = site.run(arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
        assert!(
            err.contains("error: cannot use the fleet database postgres://bivouac@localhost/fleet?host=SITE/none"),
            "{err}"
        );
        assert!(err.contains("No such file or directory") && !err.contains("s3cret"), "{err}");
    }
    site.write("bivouac.toml", "[fleet]\ndatabase = \"mysql://bivouac:s3cret@db/fleet\"\n");
    let err = site.run(&["machines"]).err;
    assert!(err.contains("`fleet.database` cannot be used") && !err.contains("s3cret"), "{err}");
}

#[test]
fn two_servers_on_one_file_never_give_more_than_the_budget() {
    never_beyond_the_budget(&Fleet::shared(None));
}

#[test]
fn two_servers_on_one_postgresql_never_give_more_than_the_budget() {
    if let Some(server) = Postgres::shared() {
        never_beyond_the_budget(&Fleet::shared(Some(&server.database())));
    }
}

/// Twelve machines, of which each asks now this server and now that one, and two may be out of order at a time.
fn never_beyond_the_budget(fleet: &Fleet) {
    let reports = [1, 2].map(|number| {
        let (bundle, manifest) = fleet.manifest(number);
        report(&manifest, &bundle)
    });
    let server = |turn: usize| &fleet.servers[turn % 2];
    let check_in = |boot: &Boot, turn: usize| {
        let lines = format!("token {}\n{}", boot.token, reports[usize::try_from(boot.release).unwrap() - 1]);
        server(turn).post("/check-in", &lines)
    };
    let macs: Vec<String> = (1..=12).map(|number| format!("52:54:00:00:01:{number:02x}")).collect();
    let mut boots: Vec<Boot> = macs.iter().zip(0..).map(|(mac, turn)| fleet.boot_at(server(turn), mac)).collect();
    fleet.until("each server has heard of each machine", |_| {
        boots.iter().all(|boot| (0..2).all(|turn| check_in(boot, turn).contains("\r\n\r\nok\n")))
    });
    fleet.run(&[
        "rollout",
        "start",
        "hello",
        "--to",
        "beta",
        "--batch",
        "100%",
        "--bake",
        "0s",
        "--reboot",
        "force",
        "--max-unavailable",
        "2",
    ]);
    let begun = Instant::now();
    for round in 0.. {
        for (turn, (boot, mac)) in boots.iter_mut().zip(&macs).enumerate() {
            if check_in(boot, round + turn).contains("\nreboot now\n") {
                *boot = fleet.boot_at(server(round + turn + 1), mac);
            }
        }
        if fleet.status(1)["status"] == "finished" {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{}", fleet.run(&["events"]));
    }
    assert!(boots.iter().all(|boot| boot.release == 2));
    // The ledger has everything that was decided, by whichever server, in one order.
    let (mut out, mut most) = (BTreeSet::new(), 0);
    for line in fleet.run(&["events", "--json", "--rollout", "1"]).lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let machines = entry["fact"]["machines"].as_array().cloned().unwrap_or_default();
        let machines = machines.iter().map(|machine| machine.as_str().unwrap().to_owned());
        match entry["fact"]["step"].as_str() {
            Some("granted") => out.extend(machines),
            Some("came") => machines.for_each(|machine| assert!(out.remove(&machine), "{line}")),
            _ => {}
        }
        most = most.max(out.len());
        assert!(most <= 2, "{line}");
    }
    assert_eq!((most, out.len()), (2, 0));
}

/// A good release goes to the canary first and then to everybody.
fn canary_first(fleet: Fleet) {
    let (fleet, [one, two]) = fleet.two_machines();
    assert_eq!((one.release, two.release), (1, 1));
    let begun = fleet.run(&[
        "rollout",
        "start",
        "hello",
        "--to",
        "beta",
        "--batch",
        "stage=canary",
        "--bake",
        "0s",
        "--reboot",
        "force",
        "--why",
        "the new message",
    ]);
    assert!(begun.starts_with("rollout 1 of hello:stable from release 1 to 2 in 2 batches\n"), "{begun}");
    fleet.until("the canary is asked to reboot", |fleet| fleet.well(&one).contains("\nreboot now\n"));
    assert!(!fleet.well(&two).contains("reboot now"));
    assert_eq!(fleet.boot(TWO).release, 1, "an unplanned reboot does not jump ahead");
    let two = fleet.boot(TWO);
    fleet.well(&two);
    let one = fleet.boots_with(ONE, 2);
    fleet.until("it is seen booting", |fleet| fleet.status(1)["batches"][0]["booting"] == 1);
    fleet.well(&one);
    fleet.until("the other one is asked to reboot", |fleet| fleet.well(&two).contains("\nreboot now\n"));
    let two = fleet.boots_with(TWO, 2);
    fleet.well(&two);
    fleet.until("it is finished", |fleet| fleet.status(1)["status"] == "finished");
    assert_eq!(fleet.channel("stable"), 2);
    assert!(!fleet.well(&two).contains("reboot now"));
    let events = fleet.run(&["events", "--rollout", "1"]);
    assert!(events.contains("(the new message)") && events.contains("finished: the channel has moved"), "{events}");
    let history = fleet.run(&["rollout", "history"]);
    assert!(history.contains("hello:stable") && history.contains("finished"), "{history}");
}

#[test]
fn a_release_that_is_not_well_goes_back_by_itself_and_reaches_nobody_else() {
    let (fleet, [one, two]) = Fleet::with_two_machines();
    fleet.run(&[
        "rollout",
        "start",
        "hello",
        "--to",
        "beta",
        "--batch",
        "stage=canary",
        "--timeout",
        "1s",
        "--reboot",
        "force",
        "--auto-rollback",
    ]);
    fleet.until("the canary is asked to reboot", |fleet| fleet.well(&one).contains("\nreboot now\n"));
    let one = fleet.boot(ONE);
    assert_eq!(one.release, 2);
    let red = "check required display failed no screen\n";
    fleet.until("it is asked to go back", |fleet| fleet.check_in(&one, red).contains("\nreboot now\n"));
    let one = fleet.boot(ONE);
    assert_eq!(one.release, 1);
    fleet.well(&one);
    fleet.until("it went back", |fleet| fleet.status(1)["status"] == "rolled-back");
    assert_eq!((fleet.channel("stable"), fleet.boot(TWO).release), (1, 1));
    assert!(!fleet.servers[0].post("/check-in", &format!("token {}\n", two.token)).contains("reboot now"));
    let shown = fleet.run(&["rollout", "status"]);
    assert!(shown.contains("went back, because 1 of the 1 machines of batch 1 failed"), "{shown}");
    // Which one it was, and why, is there although it is back.
    let failed = shown.lines().find(|line| line.contains(ONE)).unwrap_or_default();
    assert!(failed.ends_with("required check display failed: no screen; back"), "{shown}");
    assert_eq!(fleet.status(1)["batches"][0]["failed"], 1);
    assert!(
        fleet.run(&["events"]).contains("failed: required check display failed: no screen"),
        "{}",
        fleet.run(&["events"])
    );
}

#[test]
fn a_machine_that_is_silent_after_its_script_has_failed_and_the_rollout_stops_until_somebody_decides() {
    let (fleet, [one, _]) = Fleet::with_two_machines();
    fleet.run(&["rollout", "start", "hello", "--to", "2", "--batch", "stage=canary", "--timeout", "1s"]);
    fleet.until("the canary has it", |fleet| fleet.status(1)["batches"][0]["given"] == 1);
    assert!(!fleet.well(&one).contains("reboot now"), "natural: nobody is asked");
    assert_eq!(fleet.boot(ONE).release, 2);
    fleet.until("it stopped", |fleet| fleet.status(1)["status"] == "stopped");
    assert_eq!(fleet.boot(TWO).release, 1);
    let refused = fleet.refused(&["publish", "hello"]);
    assert!(refused.contains("rollout 1 moves hello:stable") && refused.contains("--channel beta"), "{refused}");
    let refused = fleet.refused(&["rollout", "start", "hello", "--to", "2"]);
    assert!(refused.contains("rollout 1 of hello:stable is not over"), "{refused}");
    fleet.run(&["rollout", "abort", "--why", "no time"]);
    assert!(fleet.run(&["rollout", "abort", "1"]).contains("nothing to do"));
    fleet.until("it has the old one, for it did not come up with the new one", |fleet| fleet.boot(ONE).release == 1);
    let refused = fleet.refused(&["rollout", "resume", "1"]);
    assert!(refused.contains("rollout 1 is over: it was aborted"), "{refused}");
}

#[test]
fn a_machine_that_does_not_come_up_gets_its_last_good_release_and_an_alarm() {
    let (fleet, _) = Fleet::with_two_machines();
    fleet.run(&["promote", "hello", "beta"]);
    assert_eq!(fleet.channel("stable"), 2);
    let releases: Vec<u64> = (0..4).map(|_| fleet.boot(ONE).release).collect();
    assert_eq!(releases, [2, 2, 2, 1]);
    fleet.until("the alarm is written", |fleet| fleet.run(&["events"]).contains("alarm about"));
    let events = fleet.run(&["events", "--machine", ONE, "-n", "1"]);
    assert!(events.contains("release 2 did not come up in 3 boots; it boots release 1 again"), "{events}");
    fleet.until("the list shows it", |fleet| fleet.run(&["machines"]).contains("release 2 did not come up in 3 boots"));
    assert_eq!(fleet.boot(TWO).release, 2, "that is no matter of others");
}

#[test]
fn what_a_machine_is_assigned_goes_before_the_site_file_and_once_is_once() {
    let (fleet, _) = Fleet::with_two_machines();
    fleet.run(&["assign", ONE, "hello@2"]);
    fleet.until("the server has read it", |fleet| fleet.boot(ONE).release == 2);
    assert_eq!(fleet.boot(TWO).release, 1);
    fleet.run(&["assign", "room=2", "hello:beta", "--once"]);
    fleet.until("the server has read it", |fleet| fleet.boot(TWO).release == 2);
    fleet.until("it was taken", |fleet| fleet.run(&["events"]).contains("boots what it was to boot once"));
    assert_eq!(fleet.boot(TWO).release, 1);
    fleet.run(&["assign", ONE, "-"]);
    fleet.until("the server has read it", |fleet| fleet.boot(ONE).release == 1);
    let refused = fleet.refused(&["assign", ONE, "hello@7"]);
    assert!(refused.contains("hello@7") || refused.contains("release 7"), "{refused}");
}

#[test]
fn people_ask_machines_to_reboot_and_to_show_a_text() {
    let (fleet, [one, _]) = Fleet::with_two_machines();
    fleet.run(&["machines", "reboot", ONE, "--idle", "5m"]);
    fleet.run(&["machines", "message", "all", "the power goes at noon"]);
    fleet.until("it is told to reboot", |fleet| fleet.well(&one).contains("\nreboot idle 300\n"));
    fleet.until("it is told the text", |fleet| fleet.well(&one).contains("\nmessage the power goes at noon\n"));
    fleet.run(&["machines", "reboot", ONE, "--cancel"]);
    fleet.until("it is told to stay", |fleet| fleet.well(&one).contains("\nreboot none\n"));
}

#[test]
fn machines_that_are_forgotten_are_gone_and_come_back_as_new_ones() {
    let (fleet, [one, _]) = Fleet::with_two_machines();
    fleet.run(&["machines", "forget", ONE]);
    fleet.until("the server has forgotten it", |fleet| {
        let token = &one.token;
        fleet.servers[0]
            .post("/check-in", &format!("token {token}\nbundle {}\nhostname x\n", one.bundle))
            .contains("404")
    });
    fleet.until("it is gone from the list", |fleet| !fleet.run(&["machines"]).contains(ONE));
    fleet.well(&fleet.boot(ONE));
    let refused = fleet.refused(&["rollout", "start", "hello", "--to", "2", "--batch", "stage=canary"]);
    assert!(
        refused.contains("batch 1 would be empty") && refused.contains("no machine has a label `stage`"),
        "{refused}"
    );
}

#[test]
fn a_rollout_that_would_do_nothing_is_refused_with_what_was_meant() {
    let (fleet, _) = Fleet::with_two_machines();
    for (arguments, said) in [
        (&["--to", "1"][..], "hello:stable has release 1 already"),
        (&["--to", "9"], "9"),
        (&["--to", "2", "--batch", "stge=canary"], "no machine has a label `stge`; did you mean `stage`?"),
        (&["--to", "2", "--batch", "stage=canray"], "did you mean `canary`?"),
        (&["--to", "2", "--batch", "0%"], "is no percentage"),
        (&["--to", "2", "--max-unavailable", "rom=1"], "there are the labels room, stage"),
        (&["--to", "2", "--max-unavailable", "room=0"], "would let no machine change"),
        (&["--to", "2", "--reboot", "window"], "add --window"),
        (&["--to", "2", "--window", "Mo 20:00-06:00"], "`Mo` is no day"),
        (&["--to", "2", "--channel", "betta"], "profile `hello` has no channel `betta`; it has beta, stable"),
    ] {
        let err = fleet.refused(&[&["rollout", "start", "hello"], arguments].concat());
        assert!(err.contains(said), "{arguments:?}: {err}");
    }
    let refused = fleet.refused(&["machines", "label", "stage=canray", "x=1"]);
    assert!(refused.contains("did you mean `canary`?"), "{refused}");
    let shown = fleet.run(&["rollout", "start", "hello", "--to", "2", "--batch", "stage=canary", "--dry-run"]);
    assert!(shown.starts_with("would begin: rollout 1") && shown.contains("everybody who is left"), "{shown}");
    assert!(fleet.run(&["rollout", "history"]).contains("There was no rollout yet"));
    let err = fleet.refused(&["rollout", "pause"]);
    assert!(err.contains("no rollout is under way"), "{err}");
}

#[test]
fn a_machine_passes_through_a_release_it_may_not_jump_over() {
    let (fleet, _) = Fleet::with_two_machines();
    fleet.site.write("profiles/hello/root/etc/motd", "the third release\n");
    fleet.run(&["rollout", "floor", "hello", "2"]);
    fleet.run(&["build", "hello"]);
    fleet.run(&["publish", "hello"]);
    fleet.until("the server has read it", |fleet| fleet.boot(TWO).release == 2);
    let one = fleet.boot(ONE);
    fleet.well(&one);
    assert_eq!(fleet.boot(ONE).release, 3);
    assert_eq!(fleet.boot("52:54:00:00:00:03").release, 3, "who had nothing jumps over nothing");
}

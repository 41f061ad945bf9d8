//! Check-ins on a real socket: what the server makes of reports, and of what is none.

use serde_json::{Value, json};

use crate::support::site::{Serving, Site, report};

const MAC: &str = "52:54:00:00:00:01";
const OK: &str = "\r\n\r\nok\ninterval 300\n";

/// A published `hello`, a server, and what a machine reports that runs it.
struct Fleet {
    site: Site,
    manifest: Value,
    server: Serving,
}

impl Fleet {
    fn new() -> Self {
        let site = Site::published();
        let manifest = serde_json::from_str(&site.run(&["show", "hello", "--json"]).out).unwrap();
        let server = site.serve(&["--dhcp", "off"]);
        Self { site, manifest, server }
    }

    /// The token of a new boot of a machine, and the bundle it is told to boot.
    fn boot(&self, mac: &str) -> (String, String) {
        let script = self.server.get(&format!("/script?mac={mac}"));
        let word = |after: &str| script.split(after).nth(1).unwrap().split([' ', '\n']).next().unwrap().to_owned();
        (word("/check-in/"), word("bivouac_bundle="))
    }

    fn facts(&self, bundle: &str) -> String {
        report(&self.manifest, bundle)
    }

    /// A report that names its list of packages.
    fn short(&self, bundle: &str, list: &str) -> String {
        let facts = self.facts(bundle);
        let kept = facts.lines().filter(|line| !line.starts_with("package ") && !line.starts_with("world "));
        format!("{}\ninstalled {list}\n", kept.collect::<Vec<_>>().join("\n"))
    }

    fn post(&self, token: &str, report: &str) -> String {
        self.server.post("/check-in", &format!("token {token}\n{report}"))
    }

    /// What the database has when everything is written.
    fn stop(self) -> (Site, Value, String) {
        let log = self.server.stop();
        let machines = serde_json::from_str(&self.site.run(&["machines", "--json"]).out).unwrap();
        (self.site, machines, log)
    }
}

#[test]
fn a_list_of_packages_is_wanted_once_and_again_when_it_is_another_or_not_known() {
    let fleet = Fleet::new();
    let (token, bundle) = fleet.boot(MAC);
    let (list, other) = ("1".repeat(64), "2".repeat(64));
    assert!(fleet.post(&token, &fleet.short(&bundle, &list)).ends_with("\r\n\r\nfull\n"));
    let full = format!("{}inventory {list}\n", fleet.facts(&bundle));
    assert!(fleet.post(&token, &full).ends_with(OK));
    for _ in 0..3 {
        assert!(fleet.post(&token, &fleet.short(&bundle, &list)).ends_with(OK));
    }
    assert!(fleet.post(&token, &fleet.short(&bundle, &other)).ends_with("\r\n\r\nfull\n"));
    let more = format!("{}package vim-9-r0\ninventory {other}\n", fleet.facts(&bundle));
    let problem = "\r\n\r\ninstalled beyond the bundle: vim-9-r0\ninterval 300\n";
    assert!(fleet.post(&token, &more).ends_with(problem));
    assert!(fleet.post(&token, &fleet.short(&bundle, &other)).ends_with(problem), "it is still there");

    let Fleet { site, manifest, server } = fleet;
    let log = server.stop();
    assert!(log.contains("check_ins.taken=6 check_ins.unlisted=2"), "{log}");
    let server = site.serve(&["--dhcp", "off"]);
    let fleet = Fleet { site, manifest, server };
    assert!(fleet.post(&token, &fleet.short(&bundle, &other)).ends_with("\r\n\r\nfull\n"), "of another server");
    assert!(fleet.post(&token, &full).ends_with(OK));
    let (_, machines, _) = fleet.stop();
    assert_eq!((machines[0]["state"].as_str(), &machines[0]["good"]), (Some("up"), &json!(true)));
    assert_eq!(machines[0]["running"]["packages"].as_array().unwrap().len(), 3);
}

#[test]
fn a_machine_is_good_when_it_runs_its_bundle_and_its_required_checks_are_well() {
    let fleet = Fleet::new();
    let (token, bundle) = fleet.boot(MAC);
    let facts = fleet.facts(&bundle);
    let red = fleet.post(&token, &format!("{facts}check required vdi failed no answer\n"));
    assert!(red.ends_with("\r\n\r\nrequired check vdi failed: no answer\ninterval 300\n"), "{red}");
    // The first check-in of a boot is on disk when it is answered.
    let machines: Value = serde_json::from_str(&fleet.site.run(&["machines", "--json"]).out).unwrap();
    let machine = &machines[0];
    assert_eq!(
        (&machine["good"], &machine["first_good"], &machine["state"]),
        (&json!(false), &Value::Null, &json!("wrong"))
    );
    let green = "check required vdi ok\ncheck wanted sound failed\nfailed-service crond\nuser alice\nuser bob\nidle 30\n\
                 uptime 3723\nmemory 4000000 1000000\n";
    assert!(fleet.post(&token, &format!("{facts}{green}")).ends_with(OK), "what is only wanted is no problem");
    let (site, machines, log) = fleet.stop();
    let machine = &machines[0];
    assert_eq!((&machine["good"], &machine["problems"]), (&json!(true), &json!([])), "{machine:#}");
    assert!(machine["first_good"].is_string() && machine["last_check_in"].is_string(), "{machine:#}");
    let lines = ["a machine came up with something else than", "nothing is wrong with a machine any more"];
    assert!(lines.iter().all(|line| log.matches(line).count() == 1), "{log}");
    let table = site.run(&["machines"]).out;
    assert!(table.contains("  up; service crond does not run; wanted check sound failed\n"), "{table}");
    let shown = site.run(&["machines", "show", MAC]).out;
    let health = "; up for 1h 2m; 976.56 MiB of 3.81 GiB memory available; logged in: alice, bob; idle for 30s.\n\
                  required check vdi: ok\nwanted check sound: failed\n\nBoot of ";
    assert!(shown.contains(health), "{shown}");
    // Both changes are in the timeline of the boot.
    let show = site.run(&["machines", "show", MAC, "--json"]).out;
    let boot = serde_json::from_str::<Value>(&show).unwrap()["boots"][0]["steps"].clone();
    let step = boot.as_array().unwrap().iter().find(|step| step["step"] == "check-in").unwrap().clone();
    assert_eq!((step["asked"].as_u64(), step["remark"].as_str()), (Some(2), Some("as it was told to")), "{step:#}");
}

#[test]
fn the_token_of_a_boot_that_is_over_is_refused_and_that_of_the_one_under_way_is_not() {
    let fleet = Fleet::new();
    let (first, bundle) = fleet.boot(MAC);
    let facts = fleet.facts(&bundle);
    assert!(fleet.post(&first, &facts).ends_with(OK));
    // Somebody looks at the machine's script.
    let (second, _) = fleet.boot(MAC);
    assert!(fleet.post(&first, &facts).ends_with(OK));
    assert!(fleet.post(&second, &facts).ends_with(OK));
    let over = fleet.post(&first, &facts);
    let said = format!("this token is of a boot that is over: machine {MAC} has checked in from a later one\n");
    assert!(over.starts_with("HTTP/1.0 410 Gone") && over.ends_with(&said), "{over}");
    assert!(fleet.post(&second, &facts).ends_with(OK));
    let Fleet { site, manifest, server } = fleet;
    server.kill();
    let server = site.serve(&["--dhcp", "off"]);
    let fleet = Fleet { site, manifest, server };
    assert!(fleet.post(&first, &facts).starts_with("HTTP/1.0 410"), "a restart does not change that");
    let (_, _, log) = fleet.stop();
    assert!(log.contains("check_ins.unknown=0 check_ins.over=1"), "{log}");
}

#[test]
fn a_token_speaks_for_its_own_machine_whatever_the_report_says() {
    let fleet = Fleet::new();
    let (mine, bundle) = fleet.boot(MAC);
    let (theirs, _) = fleet.boot("52:54:00:00:00:02");
    let facts = fleet.facts(&bundle);
    let forged = format!("{facts}mac 52:54:00:00:00:02\ntoken {theirs}\nserial other\n");
    assert!(fleet.post(&mine, &forged).ends_with(OK));
    // In the URL it is the same token.
    let answer = fleet.server.post(&format!("/check-in/{mine}"), &forged);
    assert!(answer.ends_with(OK), "{answer}");
    let (_, machines, _) = fleet.stop();
    assert_eq!((&machines[0]["state"], &machines[1]["state"]), (&json!("up"), &json!("booting")));
    assert_eq!(machines[1]["last_check_in"], Value::Null);
}

#[test]
fn what_is_no_report_is_refused_counted_and_changes_nothing() {
    let fleet = Fleet::new();
    let (token, bundle) = fleet.boot(MAC);
    let facts = fleet.facts(&bundle);
    let many = format!("{facts}{}", "check required a ok\n".repeat(65));
    for (report, status, said) in [
        (String::new(), 400, "the report has no usable `bundle` line\n"),
        (format!("bundle {bundle}\n"), 400, "the report has no usable `hostname` line\n"),
        (format!("{facts}user \u{fc}\n"), 400, "the report is not plain text\n"),
        (format!("{facts}x {}\n", "y".repeat(600)), 400, "the report is too long\n"),
        (many, 400, "the report has more than 64 checks\n"),
        ("a".repeat(600 << 10), 413, "length limit exceeded"),
    ] {
        let answer = fleet.post(&token, &report);
        assert!(answer.starts_with(&format!("HTTP/1.0 {status}")), "{answer}");
        assert!(answer.ends_with(said), "{answer}");
    }
    for (path, body, status) in [
        ("/check-in", facts.clone(), 400),
        ("/check-in", format!("token \n{facts}"), 404),
        ("/check-in", format!("token {}\n{facts}", "0".repeat(32)), 404),
        ("/check-in/..%2f..%2fetc", facts.clone(), 404),
    ] {
        let answer = fleet.server.post(path, &body);
        assert!(answer.starts_with(&format!("HTTP/1.0 {status}")), "{path}: {answer}");
    }
    assert!(fleet.server.get("/check-in").ends_with("a check-in is made with POST\n"));
    let (_, machines, log) = fleet.stop();
    assert!(log.contains("check_ins.taken=0 check_ins.unlisted=0 check_ins.malformed=7 check_ins.unknown=3"), "{log}");
    assert_eq!((&machines[0]["state"], &machines[0]["good"]), (&json!("booting"), &Value::Null));
}

//! The profiles that come with Bivouac against Alpine's own indexes: their packages install, and each of their services is
//! brought by one of them. What is found goes into the list of the stand-in mirror, which thus has every package they need.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bivouac::apk::{Index, KeyRing, Reason, Repository, SignedIndex, Solution, parse_word, solve};
use bivouac::build::{BaseAccounts, Level, Recipe};
use bivouac::model::profile::Layer;
use bivouac::model::profile::variable::Variable;

use crate::golden::RENEW;

/// Alpine's key for x86_64.
const KEY: &str = "alpine-devel@lists.alpinelinux.org-6165ee59.rsa.pub";

/// The repositories whose indexes there are, of Alpine 3.19, as profiles call them and in their order.
const REPOSITORIES: [&str; 2] = ["main", "community"];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Alpine's indexes, verified; nothing where they are not there.
fn indexes() -> Option<Vec<Index>> {
    let corpus = repository().join("../shared/corpus");
    if !corpus.is_dir() {
        skip(&corpus);
        return None;
    }
    let mut keys = KeyRing::new();
    keys.insert(KEY, &fs::read(corpus.join("keys").join(KEY)).unwrap()).unwrap();
    let open = |name: &str| {
        let file = corpus.join(format!("apk/v3.19-{name}-x86_64.APKINDEX.tar.gz"));
        SignedIndex::open(&fs::read(file).unwrap(), &keys).unwrap().0
    };
    Some(REPOSITORIES.map(open).into())
}

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn skip(corpus: &Path) {
    eprintln!("skipped: there is no corpus at {}", corpus.display());
}

/// Every profile of the repository.
fn recipes() -> Vec<Recipe> {
    let (profiles, overlays) = (repository().join("profiles"), repository().join("overlays"));
    let names = bivouac::disk::list(&profiles).unwrap();
    names.iter().map(|name| Recipe::load(&profiles, &overlays, &name.parse().unwrap()).unwrap()).collect()
}

/// What Alpine would install for a profile.
fn solved(recipe: &Recipe, indexes: &[Index]) -> Solution {
    let wanted = |index: &usize| recipe.alpine.repositories.iter().any(|name| name == REPOSITORIES[*index]);
    let repositories: Vec<Repository<'_>> =
        (0..indexes.len()).filter(wanted).map(|place| Repository { index: &indexes[place], tag: None }).collect();
    let world: Vec<_> = recipe.world.iter().map(|word| parse_word(word).unwrap()).collect();
    solve(&world, &repositories, "x86_64").unwrap_or_else(|why| panic!("profile {}: {why}", recipe.name))
}

/// Which package brings which services besides those of `alpine-base`, as the stand-in mirror has it.
fn services_of_packages() -> Vec<(String, String)> {
    let text = fs::read_to_string(repository().join("scripts/stand-in/services")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split(' ').map(str::to_owned);
            (words.next().unwrap(), words.next().unwrap())
        })
        .collect()
}

/// One line for each package that some profile installs: repository, name, version, then what it needs, and after `?` what
/// it comes along with.
fn packages(recipes: &[Recipe], indexes: &[Index]) -> String {
    let mut lines: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    for recipe in recipes {
        let solution = solved(recipe, indexes);
        for selected in &solution.packages {
            let (name, version) = (selected.package.name(), selected.package.version());
            // The profile may leave a repository out.
            let repository = recipe.alpine.repositories.iter().filter(|it| REPOSITORIES.contains(&it.as_str()));
            let repository = repository.clone().nth(selected.repository).unwrap();
            let line = lines.entry(name.to_owned()).or_default();
            line.0 = format!("{repository} {name} {version}");
            for reason in &selected.reasons {
                match reason {
                    Reason::World { .. } => {}
                    Reason::Package { name: by, .. } => {
                        let needed = name.to_owned();
                        lines.entry(by.clone()).or_default().1.insert(needed);
                    }
                    Reason::InstallIf { conditions } => {
                        let conditions = conditions.iter().map(|word| format!("?{word}"));
                        lines.entry(name.to_owned()).or_default().1.extend(conditions);
                    }
                }
            }
        }
    }
    let mut text = String::new();
    for (line, words) in lines.into_values() {
        let words: String = words.iter().map(|word| format!(" {word}")).collect();
        writeln!(text, "{line}{words}").unwrap();
    }
    text
}

fn list() -> PathBuf {
    repository().join("scripts/stand-in/packages")
}

#[test]
fn the_packages_of_every_profile_install_from_alpines_indexes_and_the_stand_in_mirror_has_them() {
    let Some(indexes) = indexes() else { return };
    let new = packages(&recipes(), &indexes);
    if std::env::var_os(RENEW).is_some_and(|value| value == "write") {
        fs::write(list(), &new).unwrap();
    }
    let old = fs::read_to_string(list()).unwrap_or_default();
    assert!(
        old == new,
        "scripts/stand-in/packages is not what the profiles need now. Run `{RENEW}=write cargo test --test it profiles` \
         and commit it."
    );
}

#[test]
fn a_package_of_the_installed_ones_or_an_overlay_brings_each_service_of_every_profile() {
    let Some(indexes) = indexes() else { return };
    let of_base = bivouac::disk::list(&repository().join("scripts/stand-in/init.d")).unwrap();
    let of_packages = services_of_packages();
    for recipe in recipes() {
        let tree = recipe.tree(&BaseAccounts::default()).unwrap();
        let solution = solved(&recipe, &indexes);
        let services = tree.iter().filter_map(|(path, _)| path.strip_prefix("etc/runlevels/")?.split_once('/'));
        for (level, service) in services {
            let is_installed = |package: &str| solution.packages.iter().any(|it| it.package.name() == package);
            let is_brought = of_base.iter().any(|it| it == service)
                || tree.get(&format!("etc/init.d/{service}")).is_some()
                || of_packages.iter().any(|(package, it)| it == service && is_installed(package));
            assert!(is_brought, "profile {}: nothing brings `{service}` of runlevel {level}", recipe.name);
        }
    }
}

/// Every file below a folder, as text.
fn texts(folder: &Path) -> String {
    let found = Command::new("find").arg(folder).args(["-type", "f", "-exec", "cat", "{}", "+"]).output().unwrap();
    String::from_utf8(found.stdout).unwrap()
}

#[test]
fn every_overlay_says_what_it_does_and_uses_the_variables_it_declares() {
    for name in bivouac::disk::list(&repository().join("overlays")).unwrap() {
        let folder = repository().join("overlays").join(&name);
        let text = fs::read_to_string(folder.join("overlay.toml")).unwrap();
        let head: String = text.lines().take_while(|line| line.starts_with('#')).collect();
        assert!(head.contains("# Variables:"), "{name}: {head}");
        let layer = Layer::parse(&text).unwrap();
        assert!(!layer.description.is_empty(), "{name}");
        let files = texts(&folder.join("root"));
        for (variable, declared) in &layer.vars {
            let Variable::Declared(declared) = declared else { panic!("{name}: {variable} is not declared") };
            assert!(!declared.description.is_empty(), "{name}: {variable}");
            assert!(files.contains(&format!("vars.{variable}")), "{name}: nothing uses {variable}");
        }
    }
}

#[test]
fn what_a_profile_says_is_in_the_files_of_its_machines() {
    for (profile, path, variables, lines) in [
        (
            "proxmox-vm",
            "etc/ssh/authorized_keys.d/root",
            &["ssh_keys=ssh-ed25519 AAAA a,ssh-ed25519 BBBB b"][..],
            &["ssh-ed25519 BBBB b"][..],
        ),
        (
            "proxmox-vm",
            "etc/chrony/chrony.conf",
            &["ntp_servers=10.0.0.1,10.0.0.2"],
            &["pool 10.0.0.1 iburst", "pool 10.0.0.2 iburst"],
        ),
        (
            "rescue",
            "etc/conf.d/syslog",
            &["log_server=log.example.net", "log_port=1514"],
            &["SYSLOGD_OPTS=\"-t -L -R log.example.net:1514\""],
        ),
        ("rescue", "etc/conf.d/syslog", &[], &["SYSLOGD_OPTS=\"-t\""]),
        // An address of IPv6 has colons of its own.
        ("rescue", "etc/conf.d/syslog", &["log_server=fd00::1"], &["SYSLOGD_OPTS=\"-t -L -R [fd00::1]:514\""]),
        ("rescue", "etc/conf.d/syslog", &["log_server=[fd00::1]"], &["SYSLOGD_OPTS=\"-t -L -R [fd00::1]:514\""]),
        ("vdi", "etc/asound.conf", &["audio_card=PCH"], &["defaults.pcm.card PCH", "defaults.ctl.card PCH"]),
        ("vdi", "etc/conf.d/audio", &["volume=40"], &["volume=40"]),
        ("vdi", "etc/cups/client.conf", &["cups_server=print.example.net"], &["ServerName print.example.net"]),
        (
            "vdi",
            "etc/bivouac/kiosk.conf",
            &["keyboard_layout=de", "screens=DP-1,DP-2", "mirror_screens=true", "idle_poweroff=60"],
            &["keyboard_layout de", "screens DP-1 DP-2", "mirror_screens yes", "idle_poweroff 60"],
        ),
        (
            "kiosk",
            "etc/chromium/policies/managed/kiosk.json",
            &["url=https://board.example.net:8443/today", "sites=login.example.net"],
            &["  \"URLAllowlist\": [\"board.example.net:8443\", \"login.example.net\"],"],
        ),
        // As people type it.
        (
            "kiosk",
            "etc/chromium/policies/managed/kiosk.json",
            &["url=board.example.net"],
            &["  \"URLAllowlist\": [\"board.example.net\"],"],
        ),
        (
            "kiosk",
            "etc/chromium/policies/managed/kiosk.json",
            &["url=http://[fd00::1]:8080?from=//elsewhere#top"],
            &["  \"URLAllowlist\": [\"[fd00::1]:8080\"],"],
        ),
    ] {
        let mut render = Command::new(env!("CARGO_BIN_EXE_bivouac"));
        render.args(["render", profile, "--machine", "52:54:00:00:00:01", path]).current_dir(repository());
        for variable in variables {
            render.args(["--var", variable]);
        }
        let ran = render.output().unwrap();
        let text = String::from_utf8(ran.stdout).unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        for line in lines {
            assert!(text.lines().any(|it| it == *line), "{path} has not `{line}`:\n{text}");
        }
        if path.ends_with(".json") {
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
    }
}

#[test]
fn no_profile_has_a_mistake() {
    for recipe in recipes() {
        for finding in recipe.findings() {
            let is_fine = finding.allowed.is_some() || finding.rule.level == Level::Info;
            assert!(is_fine, "profile {}: {finding:?}", recipe.name);
        }
    }
}

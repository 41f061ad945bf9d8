//! `[menu]`, `[[menu.entry]]` and `[[local-disk]]`: what machines boot besides bundles.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Url;
use schemars::JsonSchema;
use serde::Deserialize;

use super::ConfigError;
use crate::model::mac_prefix::MacPrefix;
use crate::model::menu::{Choice, DiskBoot, DiskRule, Entry, Menu, Platform, Starts};
use crate::model::name::{Name, ProfileName, nearest};
use crate::model::script::{Word, shown};

/// The longest a menu waits, when it does not wait for ever.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The most earlier releases that are offered of a profile: a screen has 25 lines.
const MOST_RELEASES: usize = 20;

/// `[menu]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MenuTable {
    /// What stands above the menu; `Bivouac` when absent.
    pub title: Option<String>,
    /// How long it waits for somebody, such as `10s`, or `never` when it waits for ever; `30s` when absent.
    pub timeout: Option<String>,
    /// What is chosen when nobody does: a profile, `PROFILE:CHANNEL`, `PROFILE@RELEASE`, the name of an entry,
    /// `local-disk` or `netboot.xyz`; what the machine follows when absent, and where it is an entry for other firmware.
    pub default: Option<String>,
    /// The profiles it offers; all that are published when absent.
    pub profiles: Option<Vec<ProfileName>>,
    /// How many releases before the current one it offers of each; 3 when absent.
    pub releases: Option<usize>,
    /// Whether it offers the local disk; yes when absent.
    pub local_disk: Option<bool>,
    /// Whether it offers netboot.xyz, which is on the Internet; no when absent.
    pub netboot_xyz: Option<bool>,
    /// What else it offers, such as a memory test.
    pub entry: Option<Vec<EntryTable>>,
}

/// One `[[menu.entry]]`: either `chain`, or `kernel` with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct EntryTable {
    /// Its name, for `menu.default` and the log.
    pub name: Name,
    /// What the menu shows; its name when absent.
    pub title: Option<String>,
    /// The firmware it is for; any when absent.
    pub platform: Option<Platform>,
    /// URL of an iPXE script or a program.
    pub chain: Option<String>,
    /// URL of a kernel.
    pub kernel: Option<String>,
    /// URLs of its initrds.
    pub initrd: Option<Vec<String>>,
    /// Its arguments.
    pub args: Option<Vec<String>>,
}

/// One `[[local-disk]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LocalDisk {
    /// Addresses of network cards, or how these begin; every machine when absent.
    pub machines: Option<Vec<MacPrefix>>,
    /// The firmware it is for; any when absent.
    pub platform: Option<Platform>,
    /// How these machines get to their disk.
    #[serde(rename = "use")]
    pub how: DiskBoot,
}

/// The rules, each about somebody.
pub(super) fn disk_rules(written: Vec<LocalDisk>) -> Result<Vec<DiskRule>, ConfigError> {
    let mut rules = Vec::new();
    for (number, LocalDisk { machines, platform, how }) in (1..).zip(written) {
        if machines.as_ref().is_some_and(Vec::is_empty) {
            let why = format!(
                "in rule {number}, write addresses or how these begin, such as [\"00:e0:4c\"], or take the key out for all machines"
            );
            return Err(ConfigError::Value { key: "local-disk", value: "machines = []".to_owned(), why });
        }
        rules.push(DiskRule { machines: machines.unwrap_or_default(), platform, how });
    }
    Ok(rules)
}

/// The menu, whose every value can stand in a boot script.
pub(super) fn menu(written: MenuTable) -> Result<Menu, ConfigError> {
    let plain = Menu::default();
    let MenuTable { title, timeout, default, profiles, releases, local_disk, netboot_xyz, entry } = written;
    let entries = entries(entry.unwrap_or_default())?;
    let menu = Menu {
        title: title.map_or(Ok(plain.title), |title| text("menu.title", title))?,
        timeout: timeout.map_or(Ok(plain.timeout), |timeout| wait(&timeout))?,
        default: None,
        profiles: profiles.unwrap_or_default(),
        releases: releases.unwrap_or(plain.releases),
        local_disk: local_disk.unwrap_or(plain.local_disk),
        netboot_xyz: netboot_xyz.unwrap_or(plain.netboot_xyz),
        entries,
    };
    if menu.releases > MOST_RELEASES {
        let why = format!("write no more than {MOST_RELEASES}, which fill a screen");
        return Err(ConfigError::Value { key: "menu.releases", value: menu.releases.to_string(), why });
    }
    let default = default.map(|default| choice(&menu, &default)).transpose()?;
    Ok(Menu { default, ..menu })
}

/// What is chosen when nobody does, which the menu has to offer.
fn choice(menu: &Menu, written: &str) -> Result<Choice, ConfigError> {
    let refused = |why: String| Err(ConfigError::Value { key: "menu.default", value: written.to_owned(), why });
    if let Some(entry) = menu.entries.iter().find(|entry| entry.name.as_str() == written) {
        return Ok(Choice::Entry(entry.name.clone()));
    }
    let names = menu.entries.iter().map(|entry| entry.name.as_str());
    let near =
        nearest(written, names.chain(["local-disk", "netboot.xyz"]).chain(menu.profiles.iter().map(Name::as_str)));
    let hint = |otherwise: &str| near.map_or_else(|| otherwise.to_owned(), |near| format!("did you mean `{near}`?"));
    match written.parse() {
        Ok(Choice::LocalDisk) if !menu.local_disk => {
            refused("the menu does not offer it: set menu.local-disk".to_owned())
        }
        Ok(Choice::NetbootXyz) if !menu.netboot_xyz => {
            refused("the menu does not offer it: set menu.netboot-xyz".to_owned())
        }
        Ok(Choice::Entry(_)) => refused(hint("write the name of the entry alone")),
        Ok(Choice::Channel(profile, _) | Choice::Release(profile, _)) if !menu.offers(&profile) => {
            refused(hint("the menu does not offer that profile: add it to menu.profiles"))
        }
        Ok(choice) => Ok(choice),
        Err(_) => refused(hint("write a profile, PROFILE@RELEASE, the name of an entry, local-disk or netboot.xyz")),
    }
}

fn entries(written: Vec<EntryTable>) -> Result<Vec<Entry>, ConfigError> {
    let mut names = BTreeSet::new();
    let mut entries = Vec::new();
    for EntryTable { name, title, platform, chain, kernel, initrd, args } in written {
        let refused = |value: String, why: &str| {
            Err(ConfigError::Value { key: "menu.entry", value, why: format!("in the entry `{name}`, {why}") })
        };
        if matches!(name.as_str().parse(), Ok(Choice::LocalDisk | Choice::NetbootXyz)) {
            return refused(name.to_string(), "this is the name of what every menu has; take another");
        }
        if !names.insert(name.clone()) {
            return refused(name.to_string(), "this name is there twice; take another");
        }
        let starts = match (chain, kernel) {
            (Some(url), None) => {
                if initrd.is_some() || args.is_some() {
                    return refused(url, "`initrd` and `args` go with `kernel`; take them out, or `chain`");
                }
                Starts::Chain(url)
            }
            (None, Some(kernel)) => {
                Starts::Kernel { kernel, initrds: initrd.unwrap_or_default(), args: args.unwrap_or_default() }
            }
            (Some(url), Some(_)) => return refused(url, "write either `chain` or `kernel`"),
            (None, None) => return refused(name.to_string(), "write `chain` or `kernel`, with a URL"),
        };
        let (urls, words) = match &starts {
            Starts::Chain(url) => (vec![url], Vec::new()),
            Starts::Kernel { kernel, initrds, args } => {
                (std::iter::once(kernel).chain(initrds).collect(), args.iter().collect())
            }
        };
        if let Some(url) = urls.into_iter().find(|url| !is_url(url)) {
            return refused(
                url.clone(),
                "write a URL such as \"http://server.example.net/memtest.bin\", or tftp:// or https://",
            );
        }
        if let Some(word) = words.into_iter().find(|word| Word::of(word).is_none()) {
            return refused(word.clone(), "an argument is one word without `$` and `\\`, and no command of iPXE");
        }
        let title = text("menu.entry.title", title.unwrap_or_else(|| name.to_string()))?;
        entries.push(Entry { name, title, platform, starts });
    }
    Ok(entries)
}

fn is_url(url: &str) -> bool {
    let rest = ["http://", "https://", "tftp://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let parsed = Url::parse(url).ok();
    let has_host = parsed.is_some_and(|url| url.host_str().is_some_and(|host| !host.is_empty()));
    // Parsers of browsers' URLs pass over slashes that are too many, iPXE does not.
    has_host && rest.is_some_and(|rest| !rest.starts_with('/')) && Word::of(url).is_some() && !url.contains("##")
}

/// A text that machines show as it is.
fn text(key: &'static str, written: String) -> Result<String, ConfigError> {
    if shown(&written) == written && !written.is_empty() {
        return Ok(written);
    }
    let why =
        "machines show letters, digits and punctuation of ASCII, without $ \\ | & ; # and not beginning with a hyphen";
    Err(ConfigError::Value { key, value: written, why: why.to_owned() })
}

/// How long the menu waits; nothing when it waits for ever.
fn wait(written: &str) -> Result<Option<Duration>, ConfigError> {
    if written == "never" {
        return Ok(None);
    }
    let wait = humantime::parse_duration(written).ok();
    match wait.filter(|wait| (Duration::from_secs(1)..=LONGEST).contains(wait)) {
        Some(wait) => Ok(Some(wait)),
        None => Err(ConfigError::Value {
            key: "menu.timeout",
            value: written.to_owned(),
            why: "write a time from 1s to 1day, or \"never\" to wait for ever".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{File, Settings};

    fn checked(text: &str) -> Result<Settings, ConfigError> {
        Settings::check(File::parse(text).unwrap())
    }

    #[test]
    fn a_menu_is_what_the_site_file_says_and_defaults_elsewhere() {
        let text = "[menu]\ntimeout = \"never\"\ndefault = \"memtest\"\nnetboot-xyz = true\n\
                    [[menu.entry]]\nname = \"memtest\"\nplatform = \"bios\"\nkernel = \"http://x/m\"\nargs = [\"a\"]\n";
        let menu = checked(text).unwrap().menu;
        assert_eq!((menu.timeout, menu.title.as_str(), menu.releases), (None, "Bivouac", 3));
        assert_eq!(menu.default, Some(Choice::Entry("memtest".parse().unwrap())));
        assert!(menu.netboot_xyz && menu.local_disk && menu.entries.len() == 1);
        assert_eq!(checked("").unwrap().menu, Menu::default());
    }

    #[test]
    fn an_entry_is_at_any_host_that_a_url_may_have() {
        for url in ["http://x/y?z=1", "https://files.example.net:8443", "tftp://10.0.0.1/m", "http://[fd00::1]/m"] {
            let text = format!("[[menu.entry]]\nname = \"a\"\nchain = \"{url}\"\n");
            assert!(checked(&text).is_ok(), "{url}");
        }
    }

    #[test]
    fn values_nobody_can_mean_are_errors_that_say_what_to_write() {
        for (text, said) in [
            ("[menu]\ntimeout = \"0s\"", "`menu.timeout` cannot be `0s`: write a time from 1s"),
            ("[menu]\ntitle = \"a || b\"", "`menu.title` cannot be `a || b`"),
            ("[menu]\nreleases = 99", "write no more than 20"),
            ("[menu]\ndefault = \"netboot.xyz\"", "set menu.netboot-xyz"),
            ("[menu]\ndefault = \"locl-disk\"\nprofiles = [\"vdi\"]", "did you mean `local-disk`?"),
            (
                "[menu]\ndefault = \"memtes\"\nprofiles = [\"vdi\"]\n[[menu.entry]]\nname = \"memtest\"\nchain = \"http://x/y\"",
                "did you mean `memtest`?",
            ),
            ("[[menu.entry]]\nname = \"a\"", "in the entry `a`, write `chain` or `kernel`"),
            ("[[menu.entry]]\nname = \"a\"\nchain = \"http://x/\"\nkernel = \"http://x/\"", "write either"),
            ("[[menu.entry]]\nname = \"a\"\nchain = \"http://x/ || shell\"", "write a URL such as"),
            ("[[menu.entry]]\nname = \"a\"\nchain = \"/etc/passwd\"", "write a URL such as"),
            ("[[menu.entry]]\nname = \"a\"\nchain = \"http://?\"", "write a URL such as"),
            ("[[menu.entry]]\nname = \"a\"\nchain = \"http://:80/x\"", "write a URL such as"),
            ("[[menu.entry]]\nname = \"a\"\nchain = \"tftp://?x\"", "write a URL such as"),
            ("[[menu.entry]]\nname = \"a\"\nkernel = \"http:///x\"", "write a URL such as"),
            (
                "[[menu.entry]]\nname = \"local-disk\"\nchain = \"http://x/y\"",
                "in the entry `local-disk`, this is the name of what every menu has",
            ),
            ("[[menu.entry]]\nname = \"a\"\nkernel = \"http://x/\"\nargs = [\"||\"]", "`menu.entry` cannot be `||`"),
            ("[[menu.entry]]\nname = \"a\"\nchain = \"http://x/\"\nargs = [\"b\"]", "go with `kernel`"),
            (
                "[[menu.entry]]\nname = \"a\"\nchain = \"http://x/\"\n[[menu.entry]]\nname = \"a\"\nchain = \"http://y/\"",
                "twice",
            ),
            ("[[local-disk]]\nmachines = []\nuse = \"exit-1\"", "in rule 1, write addresses"),
        ] {
            let error = checked(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
        for (text, said) in [
            ("[menu]\ntimout = \"1s\"", "unknown field `timout`, expected one of `title`, `timeout`"),
            ("[[local-disk]]\nuse = \"exit\"", "unknown variant `exit`, expected one of `exit-0`, `exit-1`, `sanboot`"),
            ("default-policy = \"aks\"", "unknown variant `aks`, expected one of `boot`, `ask`, `local-disk`"),
        ] {
            let error = File::parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}

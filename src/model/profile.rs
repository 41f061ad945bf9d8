//! `profile.toml` and `overlay.toml` as their authors write them (DESIGN section 7).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::model::alpine::{Arch, Flavor, ReleaseSpec};
use crate::model::name::OverlayName;

/// A profile or overlay file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Not TOML, an unknown key, or a value of the wrong type; the text names the line.
    #[error("{0}")]
    Syntax(String),
    /// A key has a value that is not allowed.
    #[error("`{key}` has the value `{value}`: {why}")]
    Value {
        /// The key.
        key: &'static str,
        /// Its value as written.
        value: String,
        /// What is wrong and what would be right.
        why: String,
    },
}

/// `profile.toml`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Profile {
    /// Overlays, from the first applied to the last; a later one wins over an earlier one.
    #[serde(default)]
    pub overlays: Vec<OverlayName>,
    /// Host name of its machines; the profile's own name when absent.
    pub hostname: Option<String>,
    /// Which Alpine it runs on.
    #[serde(default)]
    pub alpine: AlpineChoice,
    /// What it adds itself, in the same keys as an overlay.
    #[serde(skip)]
    pub layer: Layer,
}

/// `[alpine]` of a profile.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlpineChoice {
    /// The release, `latest-stable` when absent.
    pub release: ReleaseSpec,
    /// The kernel flavor, `virt` when absent.
    pub flavor: Flavor,
    /// The architecture, `x86_64` when absent; written as a name or as a list of one.
    #[serde(deserialize_with = "one_arch")]
    pub arch: Arch,
    /// The repositories packages may come from, in order.
    pub repositories: Vec<String>,
}

/// A bundle is for one architecture, so a list has one.
fn one_arch<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Arch, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Name(Arch),
        List(Vec<Arch>),
    }
    match Written::deserialize(input)? {
        Written::Name(arch) => Ok(arch),
        Written::List(list) => match <[Arch; 1]>::try_from(list) {
            Ok([arch]) => Ok(arch),
            Err(list) => Err(serde::de::Error::custom(format!(
                "a bundle is for one architecture, and `arch` lists {}",
                list.len()
            ))),
        },
    }
}

impl Default for AlpineChoice {
    fn default() -> Self {
        let known = "these names are valid";
        Self {
            release: "latest-stable".parse().expect(known),
            flavor: "virt".parse().expect(known),
            arch: "x86_64".parse().expect(known),
            repositories: vec!["main".to_owned(), "community".to_owned()],
        }
    }
}

/// What an overlay, or a profile itself, contributes besides the files of its `root/`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Layer {
    /// What it is for, in one line.
    pub description: String,
    /// Packages to install, in `etc/apk/world` syntax; `!name` takes one out that an earlier layer named.
    pub packages: Vec<String>,
    /// Services by OpenRC runlevel; `!name` takes one out.
    pub services: BTreeMap<Runlevel, Vec<String>>,
    /// Kernel arguments.
    pub kernel: Kernel,
    /// Owner and mode of files, because version control keeps neither. A key ending in `/` means a whole tree.
    pub files: BTreeMap<String, FileRule>,
}

/// `[kernel]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kernel {
    /// Arguments in order.
    pub args: Vec<String>,
}

/// An OpenRC runlevel that Alpine boots through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runlevel {
    /// Devices and modules.
    Sysinit,
    /// What every machine needs: clock, host name, network.
    Boot,
    /// What this machine is for.
    Default,
    /// On the way down.
    Shutdown,
}

impl fmt::Display for Runlevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sysinit => "sysinit",
            Self::Boot => "boot",
            Self::Default => "default",
            Self::Shutdown => "shutdown",
        })
    }
}

/// Owner and mode of one path.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRule {
    /// `uid:gid` in numbers, because names mean other things inside the initramfs (alpine.md 2.4).
    pub owner: Option<Owner>,
    /// Octal, such as `"0600"`.
    pub mode: Option<Mode>,
}

/// A numeric owner and group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl FromStr for Owner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once(':').and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
        let (uid, gid) =
            parsed.ok_or_else(|| format!("`{text}` is not an owner; write numbers, such as \"1000:1000\""))?;
        Ok(Self { uid, gid })
    }
}

impl TryFrom<String> for Owner {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Permission bits, `0o7777` at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Mode(pub u32);

impl TryFrom<String> for Mode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bits = u32::from_str_radix(&text, 8).ok().filter(|bits| *bits <= 0o7777 && text.len() >= 3);
        bits.map(Self).ok_or_else(|| format!("`{text}` is not a mode; write it in octal, such as \"0640\""))
    }
}

impl Profile {
    /// Reads a `profile.toml`.
    ///
    /// # Errors
    /// Syntax errors with their line, unknown keys, and values that cannot be meant.
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        let mut table: toml::Table = text.parse().map_err(syntax)?;
        // A profile has the keys of a layer and a few of its own. Serde's `flatten` would accept unknown keys, so
        // the layer's keys are taken out by name and each half is read strictly.
        let mut own = toml::Table::new();
        for key in ["overlays", "hostname", "alpine"] {
            if let Some(value) = table.remove(key) {
                own.insert(key.to_owned(), value);
            }
        }
        let unknown = table.keys().find(|key| !LAYER_KEYS.contains(&key.as_str()));
        if let Some(key) = unknown {
            return Err(ProfileError::Syntax(unknown_key(text, key)));
        }
        let mut profile: Self = own.try_into().map_err(syntax)?;
        profile.layer = Layer::read(table)?;
        if let Some(hostname) = &profile.hostname {
            check_hostname(hostname)?;
        }
        check_repositories(&profile.alpine.repositories)?;
        Ok(profile)
    }
}

impl Layer {
    /// Reads an `overlay.toml`.
    ///
    /// # Errors
    /// As [`Profile::parse`].
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        let table: toml::Table = text.parse().map_err(syntax)?;
        if let Some(key) = table.keys().find(|key| !LAYER_KEYS.contains(&key.as_str())) {
            return Err(ProfileError::Syntax(unknown_key(text, key)));
        }
        Self::read(table)
    }

    fn read(table: toml::Table) -> Result<Self, ProfileError> {
        let layer: Self = table.try_into().map_err(syntax)?;
        for service in layer.services.values().flatten() {
            check_service(service)?;
        }
        for path in layer.files.keys() {
            check_path(path)?;
        }
        for argument in &layer.kernel.args {
            crate::model::cmdline::check_argument(argument).map_err(|error| ProfileError::Value {
                key: "kernel.args",
                value: argument.clone(),
                why: error.to_string(),
            })?;
        }
        Ok(layer)
    }
}

/// The top-level keys of `overlay.toml`, which a profile has too.
const LAYER_KEYS: [&str; 5] = ["description", "packages", "services", "kernel", "files"];

/// The top-level keys only a profile has.
const PROFILE_KEYS: [&str; 3] = ["overlays", "hostname", "alpine"];

fn unknown_key(text: &str, key: &str) -> String {
    let line = text.lines().position(|line| line.trim_start().trim_start_matches('[').starts_with(key));
    let line = line.map_or_else(String::new, |index| format!("line {}: ", index + 1));
    let known = LAYER_KEYS.iter().chain(&PROFILE_KEYS).copied();
    match crate::model::name::nearest(key, known) {
        Some(near) => format!("{line}unknown key `{key}`; did you mean `{near}`?"),
        None => {
            format!("{line}unknown key `{key}`; known are {}", [&PROFILE_KEYS[..], &LAYER_KEYS[..]].concat().join(", "))
        }
    }
}

fn syntax(error: toml::de::Error) -> ProfileError {
    ProfileError::Syntax(error.to_string().trim_end().to_owned())
}

fn value(key: &'static str, value: &str, why: &str) -> ProfileError {
    ProfileError::Value { key, value: value.to_owned(), why: why.to_owned() }
}

fn check_hostname(name: &str) -> Result<(), ProfileError> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let good =
        (1..=63).contains(&name.len()) && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-');
    good.then_some(()).ok_or_else(|| {
        value("hostname", name, "a host name is 1 to 63 letters, digits and inner hyphens (RFC 1123, section 2.1)")
    })
}

fn check_service(name: &str) -> Result<(), ProfileError> {
    let bare = name.strip_prefix('!').unwrap_or(name);
    let good = !bare.is_empty()
        && bare.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'+'))
        && !bare.starts_with('.');
    good.then_some(()).ok_or_else(|| value("services", name, "a service has the name of its script in /etc/init.d"))
}

fn check_path(path: &str) -> Result<(), ProfileError> {
    let bare = path.strip_suffix('/').unwrap_or(path);
    let good = !bare.is_empty() && bare.split('/').all(|part| !matches!(part, "" | "." | ".."));
    good.then_some(()).ok_or_else(|| {
        value(
            "files",
            path,
            "a path is relative to the machine's root, such as \"etc/doas.conf\", or ends in `/` for a whole tree",
        )
    })
}

fn check_repositories(names: &[String]) -> Result<(), ProfileError> {
    if names.is_empty() {
        return Err(value("alpine.repositories", "[]", "at least `main` is needed"));
    }
    for name in names {
        let good = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !good {
            return Err(value(
                "alpine.repositories",
                name,
                "write the name of a repository of the release, such as \"main\" or \"community\"",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_reads_as_its_author_writes_it() {
        let profile = Profile::parse(
            r#"
            description = "a thin client"
            overlays = ["base", "network"]
            packages = ["virt-viewer", "!dbus"]
            [alpine]
            release = "3.24"
            flavor = "lts"
            arch = ["x86_64"]
            [services]
            default = ["chronyd"]
            [kernel]
            args = ["quiet"]
            [files]
            "etc/doas.conf" = { mode = "0600" }
            "home/kiosk/" = { owner = "1000:1000" }
            "#,
        )
        .unwrap();
        assert_eq!(profile.layer.description, "a thin client");
        assert_eq!(profile.layer.packages, ["virt-viewer", "!dbus"]);
        assert_eq!(profile.layer.services[&Runlevel::Default], ["chronyd"]);
        assert_eq!(profile.alpine.repositories, ["main", "community"]);
        assert_eq!(profile.alpine.release.to_string(), "3.24");
        assert_eq!(profile.layer.files["home/kiosk/"].owner, Some(Owner { uid: 1000, gid: 1000 }));
        assert_eq!(profile.layer.files["etc/doas.conf"].mode, Some(Mode(0o600)));
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_line_and_the_nearest_name() {
        let error = Profile::parse("description = \"x\"\noverlys = []\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2: unknown key `overlys`; did you mean `overlays`?");
        assert!(Profile::parse("[alpine]\nrelaese = \"3.24\"").unwrap_err().to_string().contains("relaese"));
        assert!(Layer::parse("overlays = []").is_err());
    }

    #[test]
    fn values_nobody_can_mean_are_errors_that_say_what_to_write() {
        for (text, said) in [
            ("hostname = \"a_b\"", "`hostname` has the value `a_b`: a host name is"),
            ("[services]\nboot = [\"../x\"]", "`services` has the value `../x`"),
            ("[files]\n\"/etc/x\" = {}", "`files` has the value `/etc/x`"),
            ("[files]\n\"etc/x\" = { mode = \"rw\" }", "`rw` is not a mode; write it in octal"),
            ("[files]\n\"etc/x\" = { owner = \"kiosk\" }", "`kiosk` is not an owner; write numbers"),
            ("[kernel]\nargs = [\"root=/dev/sda\"]", "kernel argument `root` is set by Bivouac or would"),
            ("[alpine]\nrepositories = []", "at least `main` is needed"),
            ("[services]\nnever = []", "unknown variant `never`"),
            ("[alpine]\narch = [\"x86_64\", \"aarch64\"]", "a bundle is for one architecture, and `arch` lists 2"),
        ] {
            let error = Profile::parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}

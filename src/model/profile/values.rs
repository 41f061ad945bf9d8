//! Small values of profiles: runlevels, owners, modes, and what names of services, files and hosts look like.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::Deserialize;

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

impl JsonSchema for Runlevel {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Runlevel".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        // By hand, because only from a plain list of words does a map learn that it has no other keys.
        schemars::json_schema!({ "type": "string", "enum": Self::ALL.map(|level| level.to_string()) })
    }
}

impl Runlevel {
    /// Every runlevel, in the order in which a machine goes through them.
    pub const ALL: [Self; 4] = [Self::Sysinit, Self::Boot, Self::Default, Self::Shutdown];
}

/// Owner and mode of one path.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileRule {
    /// `uid:gid` in numbers, because names mean other things inside the initramfs (alpine.md 2.4).
    #[schemars(description = "`uid:gid` in numbers.")]
    pub owner: Option<Owner>,
    /// Octal, such as `"0600"`.
    pub mode: Option<Mode>,
}

/// A numeric owner and group, such as `1000:1000`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(extend("pattern" = "^[0-9]+:[0-9]+$"))]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
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

/// Permission bits in octal, such as `0640`; `7777` at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(extend("pattern" = "^[0-7]{3,}$"))]
pub struct Mode(pub u32);

impl TryFrom<String> for Mode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bits = u32::from_str_radix(&text, 8).ok().filter(|bits| *bits <= 0o7777 && text.len() >= 3);
        bits.map(Self).ok_or_else(|| format!("`{text}` is not a mode; write it in octal, such as \"0640\""))
    }
}

/// Why a text is no host name.
pub(super) fn check_hostname(name: &str) -> Result<(), &'static str> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let good =
        (1..=63).contains(&name.len()) && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-');
    good.then_some(()).ok_or("a host name is 1 to 63 letters, digits and inner hyphens (RFC 1123, section 2.1)")
}

/// Why a text, with or without `!`, is no service.
pub(super) fn check_service(name: &str) -> Result<(), &'static str> {
    let bare = name.strip_prefix('!').unwrap_or(name);
    let good = !bare.is_empty()
        && bare.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'+'))
        && !bare.starts_with('.');
    good.then_some(()).ok_or("a service has the name of its script in /etc/init.d")
}

/// Why a text is no path on the machine as keys name it.
pub(super) fn check_path(path: &str) -> Result<(), &'static str> {
    let bare = path.strip_suffix('/').unwrap_or(path);
    let good = !bare.is_empty() && bare.split('/').all(|part| !matches!(part, "" | "." | ".."));
    good.then_some(())
        .ok_or("a path is relative to the machine's root, such as \"etc/doas.conf\", or ends in `/` for a whole tree")
}

/// Why a text is not named like a time zone of `tzdata`.
pub(super) fn check_timezone(name: &str) -> Result<(), &'static str> {
    let part = |part: &str| {
        part.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'+'))
    };
    let good = name.len() <= 64 && name.split('/').all(part);
    good.then_some(()).ok_or("write a zone of tzdata, such as \"Europe/Berlin\" or \"UTC\"")
}

/// Why a text is not a keyboard layout and its variant, as `setup-keymap` asks for them.
pub(super) fn check_keymap(text: &str) -> Result<(), &'static str> {
    let word =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    let words: Vec<&str> = text.split(' ').collect();
    let good = matches!(words.len(), 1 | 2) && words.iter().all(|it| word(it));
    good.then_some(()).ok_or("write a layout, or a layout and its variant, such as \"de\" or \"de de-nodeadkeys\"")
}

/// Why a text, with or without `!`, is no repository.
pub(super) fn check_repository(name: &str) -> Result<(), &'static str> {
    let bare = name.strip_prefix('!').unwrap_or(name);
    let good = !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    good.then_some(()).ok_or("write the name of a repository of the release, such as \"main\" or \"community\"")
}

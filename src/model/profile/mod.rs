//! `profile.toml` and `overlay.toml` as their authors write them (DESIGN section 7).

mod account;
mod layer;
pub mod network;
mod special;
mod values;
pub mod variable;

pub use account::{Group, User};
pub use layer::{Allowed, AlpineKeys, Kernel, Layer};
pub use special::Special;
pub use values::{FileRule, Mode, Owner, Runlevel};

use crate::model::name::{OverlayName, ProfileName, nearest};

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

/// `profile.toml`: the keys of a layer, and which layers come before it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profile {
    /// The profile whose layers all come before this one's.
    pub extends: Option<ProfileName>,
    /// Overlays, from the first applied to the last; a later one wins over an earlier one.
    pub overlays: Vec<OverlayName>,
    /// What it adds itself, in the same keys as an overlay.
    pub layer: Layer,
}

impl Profile {
    /// Reads a `profile.toml`.
    ///
    /// # Errors
    /// Syntax errors with their line, unknown keys, and values that cannot be meant.
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        let mut layer: Layer = toml::from_str(text).map_err(syntax)?;
        layer.check()?;
        Ok(Self { extends: layer.extends.take(), overlays: std::mem::take(&mut layer.overlays), layer })
    }
}

impl Layer {
    /// Reads an `overlay.toml`.
    ///
    /// # Errors
    /// As [`Profile::parse`]; also when it names layers of its own, which only a profile does.
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        let layer: Self = toml::from_str(text).map_err(syntax)?;
        let foreign = [("extends", layer.extends.is_some()), ("overlays", !layer.overlays.is_empty())];
        if let Some((key, _)) = foreign.into_iter().find(|(_, is_there)| *is_there) {
            return Err(ProfileError::Syntax(format!("only a profile has the key `{key}`, an overlay has not")));
        }
        layer.check()?;
        Ok(layer)
    }
}

/// An error of the parser; where it says that a name is unknown, with the nearest known one in place of all of them.
fn syntax(error: toml::de::Error) -> ProfileError {
    let text = error.to_string().trim_end().to_owned();
    let near = near_name(&text).and_then(|near| Some((text.rsplit_once(", expected ")?.0, near)));
    ProfileError::Syntax(match near {
        Some((said, near)) => format!("{said}; did you mean `{near}`?"),
        None => text,
    })
}

/// The name that was meant, of those that serde lists after an unknown one.
fn near_name(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("unknown field `").or_else(|| message.split_once("unknown variant `"))?;
    let (wrong, rest) = rest.split_once('`')?;
    let (_, rest) = rest.split_once("expected ")?;
    let known = rest.split('`').skip(1).step_by(2);
    nearest(wrong, known).map(str::to_owned)
}

fn value(key: &'static str, value: &str, why: &str) -> ProfileError {
    ProfileError::Value { key, value: value.to_owned(), why: why.to_owned() }
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
        assert_eq!(profile.layer.alpine.release.unwrap().to_string(), "3.24");
        assert_eq!(profile.overlays.len(), 2);
        assert_eq!(profile.layer.files["home/kiosk/"].owner, Some(Owner { uid: 1000, gid: 1000 }));
        assert_eq!(profile.layer.files["etc/doas.conf"].mode, Some(Mode(0o600)));
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_line_and_the_nearest_name() {
        let said = |text: &str| Profile::parse(text).unwrap_err().to_string();
        let error = said("description = \"x\"\noverlys = []\n");
        assert!(error.starts_with("TOML parse error at line 2, column 1"), "{error}");
        assert!(error.ends_with("unknown field `overlys`; did you mean `overlays`?"), "{error}");
        for (text, near) in [
            ("[alpine]\nrelaese = \"3.24\"", "release"),
            ("[users.kiosk]\nhomes = \"/x\"", "home"),
            ("[services]\nbot = []", "boot"),
            ("[network.interfaces.boot]\nadress = \"dhcp\"", "address"),
            ("[vars]\nx = { typ = \"string\" }", "type"),
            ("[[allow]]\nrul = \"OVL-1\"", "rule"),
        ] {
            assert!(said(text).ends_with(&format!("did you mean `{near}`?")), "{}", said(text));
        }
        assert!(said("colour = 1").contains("expected one of `extends`"), "{}", said("colour = 1"));
        assert_eq!(
            Layer::parse("overlays = [\"base\"]").unwrap_err().to_string(),
            "only a profile has the key `overlays`, an overlay has not"
        );
    }

    #[test]
    fn values_nobody_can_mean_are_errors_that_say_what_to_write() {
        for (text, said) in [
            ("hostname = \"a_b\"", "`hostname` has the value `a_b`: a host name is"),
            ("[services]\nboot = [\"../x\"]", "`services` has the value `../x`"),
            ("[files]\n\"/etc/x\" = {}", "`files` has the value `/etc/x`"),
            ("[files]\n\"etc/x\" = { mode = \"rw\" }", "`rw` is not a mode; write it in octal"),
            ("[files]\n\"etc/x\" = { owner = \"kiosk\" }", "`kiosk` is not an owner; write numbers"),
            ("[[allow]]\nrule = \"OVL-15\"\npath = \"/etc/x\"\nreason = \"r\"", "`allow.path` has the value `/etc/x`"),
            ("[services]\nnever = []", "unknown variant `never`"),
            ("[alpine]\narch = [\"x86_64\", \"aarch64\"]", "a bundle is for one architecture, and `arch` lists 2"),
        ] {
            let error = Profile::parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}

//! `profile.toml` and `overlay.toml` as their authors write them (DESIGN section 7).

mod account;
mod document;
mod layer;
pub mod network;
mod special;
mod values;
pub mod variable;

pub use account::{Group, User};
pub use document::{Keys, Problem, Read, dotted};
pub use layer::{Allowed, AlpineKeys, Kernel, Layer};
pub use special::Special;
pub use values::{FileRule, Mode, Owner, Runlevel};

use crate::model::name::{OverlayName, ProfileName};
use document::read;

/// A profile or overlay file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Not TOML; the text names the line.
    #[error("{0}")]
    Syntax(String),
    /// Keys that cannot be meant, from the first line to the last.
    #[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
    Problems(Vec<Problem>),
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
    /// Reads a `profile.toml` in which nothing is wrong.
    ///
    /// # Errors
    /// Syntax errors with their line, unknown keys, and values that cannot be meant.
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        Self::read(text)?.faultless()
    }

    /// Reads a `profile.toml`, and leaves out what cannot be meant.
    ///
    /// # Errors
    /// Syntax errors with their line, and more mistakes than anybody wants to read at once.
    pub fn read(text: &str) -> Result<Read<Self>, ProfileError> {
        let Read { value: mut layer, keys, problems } = read(text, Layer::mistakes)?;
        let (extends, overlays) = (layer.extends.take(), std::mem::take(&mut layer.overlays));
        Ok(Read { value: Self { extends, overlays, layer }, keys, problems })
    }
}

impl Layer {
    /// Reads an `overlay.toml` in which nothing is wrong.
    ///
    /// # Errors
    /// As [`Profile::parse`]; also when it names layers of its own, which only a profile does.
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        Self::read(text)?.faultless()
    }

    /// Reads an `overlay.toml`, and leaves out what cannot be meant.
    ///
    /// # Errors
    /// As [`Profile::read`].
    pub fn read(text: &str) -> Result<Read<Self>, ProfileError> {
        read(text, |layer| {
            let mut found = layer.mistakes();
            layer.foreign(&mut found);
            found
        })
    }
}

impl<T> Read<T> {
    fn faultless(self) -> Result<T, ProfileError> {
        if self.problems.is_empty() { Ok(self.value) } else { Err(ProfileError::Problems(self.problems)) }
    }
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
        assert_eq!(error, "line 2: unknown key `overlys`; did you mean `overlays`?");
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
        assert!(said("colour = 1").contains("write one of `extends`, `overlays`"), "{}", said("colour = 1"));
        assert_eq!(
            Layer::parse("overlays = [\"base\"]").unwrap_err().to_string(),
            "line 1: only a profile has the key `overlays`, an overlay has not; take it out, or write it into the profiles \
             that use the overlay"
        );
    }

    #[test]
    fn values_nobody_can_mean_are_errors_that_say_what_to_write() {
        for (text, said) in [
            ("hostname = \"a_b\"", "`hostname` has the value `a_b`; a host name is"),
            ("[services]\nboot = [\"../x\"]", "`services.boot` has the value `../x`"),
            ("[files]\n\"/etc/x\" = {}", "`files` has the key `/etc/x`"),
            ("[files]\n\"etc/x\" = { mode = \"rw\" }", "`rw` is not a mode; write it in octal"),
            ("[files]\n\"etc/x\" = { owner = \"kiosk\" }", "`kiosk` is not an owner; write numbers"),
            ("[[allow]]\nrule = \"OVL-15\"\npath = \"/etc/x\"\nreason = \"r\"", "`allow.path` has the value `/etc/x`"),
            ("[services]\nnever = []", "unknown key `never` in `services`"),
            ("[alpine]\narch = [\"x86_64\", \"aarch64\"]", "a bundle is for one architecture, and `arch` lists 2"),
        ] {
            let error = Profile::parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}

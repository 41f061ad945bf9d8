//! What a bundle carries of its templates: the document `templates.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::profile::Owner;
use crate::model::profile::variable::Declaration;

/// The format this program writes; another one is refused.
const FORMAT: u32 = 1;

/// The largest document that is read, and the largest that is written.
pub(super) const LARGEST: usize = 16 << 20;

/// A document that is not one of ours.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// Not JSON of the right shape.
    #[error("the templates cannot be read")]
    Syntax(#[from] serde_json::Error),
    /// Written by another version of the program.
    #[error("the templates have format {0}, and this program reads format {FORMAT}; use the program that wrote them")]
    Format(u32),
    /// More than a bundle may carry.
    #[error("the templates have more than {LARGEST} bytes")]
    TooLarge,
    /// A path that leads out of the machine's tree, or stands twice.
    #[error("the template of `{0}` is not for a file of its own on the machine")]
    Path(String),
}

/// The template of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Where the file is on the machine, relative to the root.
    pub path: String,
    /// Permission bits of the file.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The template.
    pub text: String,
}

impl Template {
    /// Owner and group of the file.
    #[must_use]
    pub const fn owner(&self) -> Owner {
        Owner { uid: self.uid, gid: self.gid }
    }
}

/// All that is needed to make the files of any machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateSet {
    format: u32,
    /// The time every file gets, in seconds since 1970: that of the overlay they go into.
    pub epoch: u64,
    /// What templates know as `profile`.
    pub profile: BTreeMap<String, String>,
    /// What they know as `vars`.
    pub vars: BTreeMap<String, Declaration>,
    /// The templates, sorted by path.
    pub files: Vec<Template>,
}

impl TemplateSet {
    /// A set; templates are sorted by path.
    #[must_use]
    pub fn new(
        epoch: u64,
        profile: BTreeMap<String, String>,
        vars: BTreeMap<String, Declaration>,
        mut files: Vec<Template>,
    ) -> Self {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self { format: FORMAT, epoch, profile, vars, files }
    }

    /// The document: JSON without spaces and one newline at its end.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("a set holds only texts, numbers and lists");
        bytes.push(b'\n');
        bytes
    }

    /// Reads a document.
    ///
    /// # Errors
    /// When the bytes are not JSON of this shape, have another format number, are too many, or name a path that no
    /// file of a machine has.
    pub fn parse(bytes: &[u8]) -> Result<Self, SetError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        if bytes.len() > LARGEST {
            return Err(SetError::TooLarge);
        }
        let head: Head = serde_json::from_slice(bytes)?;
        if head.format != FORMAT {
            return Err(SetError::Format(head.format));
        }
        let set: Self = serde_json::from_slice(bytes)?;
        let mut before: Option<&str> = None;
        for file in &set.files {
            let is_plain = file.path.contains('/')
                && file.path.split('/').all(|part| !matches!(part, "" | "." | ".."))
                && !file.path.chars().any(char::is_control);
            // Sorted and each once, so that no later file can take the place of an earlier one.
            if !is_plain || file.mode > 0o7777 || before.is_some_and(|before| before >= file.path.as_str()) {
                return Err(SetError::Path(file.path.clone()));
            }
            before = Some(&file.path);
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::template::render::tests::set;

    #[test]
    fn a_document_comes_back_as_it_was_written() {
        let set = set(&[("etc/b", "x"), ("etc/a", "{{ machine.mac }}\n")]);
        assert_eq!(set.files[0].path, "etc/a");
        assert_eq!(TemplateSet::parse(&set.to_bytes()).unwrap(), set);
    }

    #[test]
    fn paths_that_lead_elsewhere_or_stand_twice_are_refused() {
        for path in ["/etc/x", "etc/../x", "etc//x", "etc/x/", "x", "etc/\nx", ""] {
            let error = TemplateSet::parse(&set(&[(path, "x")]).to_bytes()).unwrap_err();
            assert!(matches!(error, SetError::Path(_)), "{path:?}: {error}");
        }
        assert!(TemplateSet::parse(&set(&[("etc/x", "a"), ("etc/x", "b")]).to_bytes()).is_err());
    }

    #[test]
    fn a_document_of_a_newer_program_is_named_as_such() {
        let error = TemplateSet::parse(br#"{"format":2,"new":true}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the templates have format 2, and this program reads format 1; use the program that wrote them"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = TemplateSet::parse(&bytes);
        }

        #[test]
        fn no_change_of_one_byte_makes_it_panic(place in 0_usize..400, byte in any::<u8>()) {
            let mut bytes = set(&[("etc/a", "{{ machine.mac }}")]).to_bytes();
            let place = place % bytes.len();
            bytes[place] = byte;
            if let Ok(set) = TemplateSet::parse(&bytes) {
                prop_assert_eq!(TemplateSet::parse(&set.to_bytes()).unwrap(), set);
            }
        }
    }
}

//! What init would make of an archive besides what stands in it.

use std::fmt;

use crate::model::profile::Owner;

/// Something about an archive, or one member of it, that init's busybox would do differently from its author's tar, or
/// that is not in the [`Tree`](super::Tree) read from it. Printed, it is a sentence with the rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The member, as it is written in the archive, control characters escaped; `None` for the archive itself.
    pub member: Option<String>,
    /// What there is to know.
    pub what: What,
}

/// What there is to know about a member (alpine.md 2.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It is in the archive more than once; the last one is in the tree.
    Duplicate {
        /// Whether init's tar fails at it, because the earlier one is a link that it makes only at the end.
        fails: bool,
    },
    /// Its name is absolute; the tree has it without the slash.
    Absolute,
    /// Its name has `.` or empty parts; the tree has it without them.
    Dotted,
    /// Its name or target cannot be in an overlay; left out.
    Name(NameFault),
    /// It is a hard link; the tree has a copy of its target.
    HardLink {
        /// The path of the file it shares.
        target: String,
    },
    /// Its owner is in a PAX record, as the tree has it, while init's tar reads the header.
    PaxOwner {
        /// Who owns it by the record.
        record: Owner,
        /// Who owns it by the header.
        header: Owner,
    },
    /// It has an owner or group by name that the initramfs knows with another number than the one given.
    OwnerName {
        /// Whether it is the group's.
        is_group: bool,
        /// The name.
        name: String,
        /// The number in the header, which is in the tree.
        number: u32,
        /// What it becomes on the machine.
        becomes: u32,
    },
    /// It is a link with an owner other than root, to whom init's tar gives all links.
    LinkOwner(Owner),
    /// It has extended attributes, capabilities or access control lists, which no overlay carries; left out.
    Attributes(Vec<String>),
    /// It is not in the archive though something below it is; the tree has it as 0755 root:root.
    NoParent,
    /// It is below something that is no directory; left out.
    Below {
        /// What it is below.
        parent: String,
    },
    /// It is in the archive as a directory and as something else; the tree has the first.
    InTheWay,
    /// Its line in init's list has no slash, so that apk protects nothing after it; others come after it.
    TopLevel,
    /// It is a leftover of macOS; left out.
    Macos,
    /// It is the root of the machine itself, not 0755 root:root; left out.
    Root {
        /// Its mode.
        mode: u32,
        /// Its owner.
        owner: Owner,
    },
    /// Its header has GNU's times of access and change, which init's tar takes for a folder.
    Prefix {
        /// The folder it would be unpacked in.
        folder: String,
    },
    /// The archive does not end in two zero blocks.
    NoEnd,
    /// Something follows the end of the archive, which init does not read; left out.
    AfterEnd,
}

/// Why a name cannot be in an overlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameFault {
    /// It is not UTF-8.
    NotUtf8,
    /// It has a control character, such as a line end.
    Control,
    /// It is a link, and its target is not UTF-8.
    TargetNotUtf8,
}

impl What {
    /// Whether the tree lacks something that is in the archive and that its author can have meant.
    #[must_use]
    pub const fn is_loss(&self) -> bool {
        matches!(
            self,
            Self::Name(_)
                | Self::Attributes(_)
                | Self::Below { .. }
                | Self::InTheWay
                | Self::Root { .. }
                | Self::AfterEnd
        )
    }
}

impl fmt::Display for Note {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.member {
            Some(member) => write!(out, "`{member}` {}", self.what),
            None => write!(out, "the archive {}", self.what),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Duplicate { fails: false } => "is in the archive more than once; the last one counts",
            Self::Duplicate { fails: true } => {
                "is in the archive more than once, first as a link, and init's tar fails at that; the last one counts"
            }
            Self::Absolute => "has an absolute name, whose slash init's tar takes away (OVL-11)",
            Self::Dotted => "has `.` or an empty part in its name, so apk does not protect it from packages (OVL-3)",
            Self::Name(NameFault::NotUtf8) => "has a name that is not UTF-8; it is left out (OVL-49)",
            Self::Name(NameFault::TargetNotUtf8) => "is a link whose target is not UTF-8; it is left out (OVL-49)",
            Self::Name(NameFault::Control) => {
                "has a control character in its name, which corrupts init's list of files; it is left out (OVL-49)"
            }
            Self::HardLink { target } => return write!(out, "is a hard link to `{target}`; a copy is taken"),
            Self::PaxOwner { record, header } => {
                return write!(
                    out,
                    "belongs to {}:{} by a PAX record, which init's tar ignores: on the machine it belongs to {}:{} (OVL-43)",
                    record.uid, record.gid, header.uid, header.gid
                );
            }
            Self::OwnerName { is_group, name, number, becomes } => {
                let whom = if *is_group { "the group" } else { "the user" };
                return write!(
                    out,
                    "belongs to {whom} `{name}`, which init's tar makes {becomes} whatever the number says: {number}"
                );
            }
            Self::LinkOwner(owner) => {
                return write!(
                    out,
                    "is a link that belongs to {}:{}; init's tar gives it to root",
                    owner.uid, owner.gid
                );
            }
            Self::Attributes(names) => {
                return write!(
                    out,
                    "has extended attributes ({}), which init's tar drops; they are left out (OVL-42)",
                    names.join(", ")
                );
            }
            Self::NoParent => "is not in the archive though something below it is; init makes it 0755 root:root",
            Self::Below { parent } => {
                return write!(
                    out,
                    "is below `{parent}`, which is no directory, so init's tar fails or writes it elsewhere; it is left out"
                );
            }
            Self::InTheWay => {
                "is in the archive as a directory and as something else, so init's tar fails; the first one counts (OVL-45)"
            }
            Self::TopLevel => "has no slash in its name and is not last, so apk protects no file after it (OVL-2)",
            Self::Macos => "is a leftover of macOS; it is left out (OVL-11)",
            Self::Root { mode, owner } => {
                return write!(
                    out,
                    "gives the root of the machine the mode {mode:04o} and the owner {}:{}; it is left out (OVL-12)",
                    owner.uid, owner.gid
                );
            }
            Self::Prefix { folder } => {
                return write!(out, "has GNU's incremental times, so init's tar unpacks it below `{folder}`");
            }
            Self::NoEnd => "does not end in two zero blocks; it may be cut off",
            Self::AfterEnd => "goes on after its end, which init does not read; the rest is left out",
        };
        out.write_str(text)
    }
}

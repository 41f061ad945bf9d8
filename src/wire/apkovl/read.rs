//! An archive that anybody may have made, as a tree.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;

use super::error::{HeaderFault, Problem};
use super::member::{Kind, Member, Members};
use super::name::{LONGEST, Name, is_macos, printable};
use super::note::{NameFault, Note, What};
use super::{Entry, Node, Tree};
use crate::model::profile::Owner;

/// How much of an archive is read. Whatever it holds, memory stays within a small multiple of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many bytes it may unpack to, copies of hard links included.
    pub unpacked: u64,
    /// How many entries the tree may have.
    pub entries: usize,
    /// How many bytes all names and notes together may have.
    pub text: usize,
}

/// More than any overlay has that a machine keeps in its memory.
impl Default for Limits {
    fn default() -> Self {
        Self { unpacked: 512 << 20, entries: 100_000, text: 32 << 20 }
    }
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The tree.
    pub tree: Tree,
    /// What init would make of the archive otherwise, and what is not in the tree, in the archive's order; missing
    /// parents last.
    pub notes: Vec<Note>,
    /// The directories of the tree that no member is, only what is below them.
    pub implied: BTreeSet<String>,
}

/// Reads a compressed overlay archive piece by piece, so that memory holds what it unpacks to and no more: as lbu makes
/// them (alpine.md 2.3), by GNU tar, bsdtar, or a genapkovl script. GNU, POSIX (with and without PAX) and older headers
/// are understood; times and owner names are passed over.
///
/// # Errors
/// When it is no such archive, is damaged, leads out of its folder, or holds more than `limits` allow. What is merely
/// unusual is in the notes instead.
pub fn read(source: impl BufRead, limits: &Limits) -> Result<Read, Problem> {
    let mut members = Members::new(source, limits)?;
    let mut assembly = Assembly::new(*limits);
    while let Some(member) = members.next()? {
        assembly.current = members.current();
        assembly.take(member)?;
    }
    let end = members.finish()?;
    assembly.finish(end.is_proper, end.has_rest)
}

/// A tree in the making.
struct Assembly {
    limits: Limits,
    tree: Tree,
    notes: Vec<Note>,
    /// Parents that no member has named yet.
    implied: BTreeSet<String>,
    /// Hard links to what has not been read yet: their targets, and the members for messages.
    links: BTreeMap<String, (String, String)>,
    top_level: TopLevel,
    /// The member being taken, for messages.
    current: String,
    /// Bytes of content in the tree, and of names in it and in notes.
    content: u64,
    text: usize,
}

/// Whether a line of init's list has no slash, so that apk reads no further.
enum TopLevel {
    /// None so far.
    None,
    /// This one, and so far none with a slash after it.
    Last(Vec<u8>),
    /// One with others after it, which is noted. More of them make no difference.
    Noted,
}

impl Assembly {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            tree: Tree::default(),
            notes: Vec::new(),
            implied: BTreeSet::new(),
            links: BTreeMap::new(),
            top_level: TopLevel::None,
            current: String::new(),
            content: 0,
            text: 0,
        }
    }

    fn take(&mut self, member: Member) -> Result<(), Problem> {
        let raw = &member.name;
        self.listed(raw)?;
        if let Some(prefix) = &member.prefix {
            self.note(raw, What::Prefix { folder: printable(prefix) })?;
        }
        let (path, absolute, dotted) = match Name::parse(raw) {
            Name::Path { path, absolute, dotted } => (path, absolute, dotted),
            Name::Root => return self.root(&member),
            // A line end in a name makes two lines of it in init's list of overlay files.
            Name::Unusable(NameFault::Control) if raw.contains(&b'\n') => {
                return Err(Problem::LineEnd { member: self.current.clone() });
            }
            Name::Unusable(fault) => return self.note(raw, What::Name(fault)),
            Name::Traversal => return Err(Problem::Traversal { member: self.current.clone() }),
            Name::Long => return Err(Problem::LongName { member: self.current.clone() }),
        };
        if is_macos(&path) {
            return self.note(raw, What::Macos);
        }
        for (is_so, what) in [(absolute, What::Absolute), (dotted, What::Dotted)] {
            if is_so {
                self.note(raw, what)?;
            }
        }
        self.owner(&member)?;
        if !member.attributes.is_empty() {
            self.note(raw, What::Attributes(member.attributes))?;
        }
        let node = match member.kind {
            Kind::File(bytes) => Node::File(bytes),
            Kind::Directory => Node::Directory,
            Kind::CharDevice { major, minor } => Node::CharDevice { major, minor },
            Kind::BlockDevice { major, minor } => Node::BlockDevice { major, minor },
            Kind::Fifo => Node::Fifo,
            Kind::Symlink(target) if target.len() > LONGEST => {
                return Err(Problem::LongName { member: self.current.clone() });
            }
            Kind::Symlink(target) => match String::from_utf8(target) {
                Ok(target) => Node::Symlink(target),
                Err(_) => return self.note(raw, What::Name(NameFault::TargetNotUtf8)),
            },
            Kind::HardLink(target) => return self.hard_link(raw, path, &target),
        };
        let mode = if matches!(node, Node::Symlink(_)) { 0o777 } else { member.mode };
        self.put(raw, path, Entry { node, mode, owner: member.record })
    }

    /// Looks whether this line of init's list, or an earlier one, is where apk stops reading.
    fn listed(&mut self, raw: &[u8]) -> Result<(), Problem> {
        let has_slash = raw.strip_prefix(b"/").unwrap_or(raw).contains(&b'/');
        match &mut self.top_level {
            TopLevel::None if !has_slash => self.top_level = TopLevel::Last(raw.to_vec()),
            TopLevel::Last(earlier) if has_slash => {
                let earlier = std::mem::take(earlier);
                self.top_level = TopLevel::Noted;
                self.note(&earlier, What::TopLevel)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The root itself, which a tree does not have.
    fn root(&mut self, member: &Member) -> Result<(), Problem> {
        if !matches!(member.kind, Kind::Directory) {
            return Err(Problem::Header { member: self.current.clone(), fault: HeaderFault::Name });
        }
        if member.mode == 0o755 && member.record == Owner::default() {
            return Ok(());
        }
        self.note(&member.name, What::Root { mode: member.mode, owner: member.record })
    }

    /// Notes where the owner on the machine would not be the one in the tree.
    fn owner(&mut self, member: &Member) -> Result<(), Problem> {
        let Member { name, owner, record, owner_names: [user, group], .. } = member;
        if matches!(member.kind, Kind::Symlink(_)) {
            let is_roots = *record == Owner::default();
            return if is_roots { Ok(()) } else { self.note(name, What::LinkOwner(*record)) };
        }
        if record != owner {
            self.note(name, What::PaxOwner { record: *record, header: *owner })?;
        }
        for (is_group, known, word, number) in [(false, USERS, user, owner.uid), (true, GROUPS, group, owner.gid)] {
            let found = known.iter().find(|(name, id)| name.as_bytes() == word && *id != number);
            if let Some((word, becomes)) = found {
                self.note(name, What::OwnerName { is_group, name: (*word).to_owned(), number, becomes: *becomes })?;
            }
        }
        Ok(())
    }

    fn hard_link(&mut self, raw: &[u8], path: String, target: &[u8]) -> Result<(), Problem> {
        let broken = || Problem::HardLink { member: self.current.clone(), target: printable(target) };
        let target = match Name::parse(target) {
            Name::Path { path, .. } => path,
            Name::Traversal => return Err(Problem::Traversal { member: self.current.clone() }),
            _ => return Err(broken()),
        };
        match self.tree.get(&target) {
            Some(entry) if entry.is_directory() => Err(broken()),
            Some(entry) => {
                let entry = entry.clone();
                self.note(raw, What::HardLink { target })?;
                self.put(raw, path, entry)
            }
            None => {
                // Init's tar makes hard links last, so they may lead to members that are still to come.
                self.note(raw, What::HardLink { target: target.clone() })?;
                self.charge(path.len() + target.len())?;
                self.links.insert(path, (target, self.current.clone()));
                Ok(())
            }
        }
    }

    /// Puts an entry in the tree unless something else is in the way.
    fn put(&mut self, raw: &[u8], path: String, entry: Entry) -> Result<(), Problem> {
        self.charge(path.len())?;
        // Parents are looked for from below: where one is there, all above it are.
        let mut missing = Vec::new();
        for (end, _) in path.rmatch_indices('/') {
            let parent = path.get(..end).unwrap_or_default();
            match self.tree.get(parent) {
                Some(it) if it.is_directory() => break,
                Some(_) => return self.note(raw, What::Below { parent: parent.to_owned() }),
                None => missing.push(parent),
            }
        }
        let earlier = self.tree.get(&path);
        if earlier.is_some_and(|it| it.is_directory() != entry.is_directory()) {
            return self.note(raw, What::InTheWay);
        }
        let fails = earlier.is_some_and(|it| matches!(&it.node, Node::Symlink(target) if is_made_last(target)))
            && !matches!(entry.node, Node::Symlink(_));
        let is_duplicate = earlier.is_some() && !self.implied.remove(&path) || self.links.remove(&path).is_some();
        for parent in missing {
            self.charge(parent.len())?;
            self.implied.insert(parent.to_owned());
        }
        if is_duplicate {
            self.note(raw, What::Duplicate { fails })?;
        }
        if let Node::File(bytes) = &entry.node {
            self.content = self.content.saturating_add(bytes.len() as u64);
            if self.content > self.limits.unpacked {
                return Err(Problem::TooLarge { member: self.current.clone(), limit: self.limits.unpacked });
            }
        }
        self.tree.insert(&path, entry);
        if self.tree.len() + self.links.len() > self.limits.entries {
            return Err(Problem::TooMany { member: self.current.clone(), limit: self.limits.entries });
        }
        Ok(())
    }

    fn finish(mut self, is_proper: bool, has_rest: bool) -> Result<Read, Problem> {
        for (path, (target, member)) in std::mem::take(&mut self.links) {
            self.current = member;
            let found = self.tree.get(&target).filter(|it| !it.is_directory()).cloned();
            let entry = found.ok_or_else(|| Problem::HardLink { member: self.current.clone(), target })?;
            self.put(path.clone().as_bytes(), path, entry)?;
        }
        for (is_so, what) in [(!is_proper, What::NoEnd), (has_rest, What::AfterEnd)] {
            if is_so {
                self.notes.push(Note { member: None, what });
            }
        }
        let implied = std::mem::take(&mut self.implied);
        for path in &implied {
            self.note(path.as_bytes(), What::NoParent)?;
        }
        Ok(Read { tree: self.tree, notes: self.notes, implied })
    }

    fn note(&mut self, raw: &[u8], what: What) -> Result<(), Problem> {
        let member = printable(raw);
        self.charge(size_of::<Note>() + member.len())?;
        self.notes.push(Note { member: Some(member), what });
        Ok(())
    }

    /// Counts bytes of names.
    fn charge(&mut self, length: usize) -> Result<(), Problem> {
        self.text = self.text.saturating_add(length);
        if self.text > self.limits.text {
            return Err(Problem::TooMuchText { member: self.current.clone(), limit: self.limits.text });
        }
        Ok(())
    }
}

/// Whether init's tar makes a symbolic link with this target only after everything else, lest something is written
/// through it.
fn is_made_last(target: &str) -> bool {
    target.starts_with('/') || target.split('/').any(|part| part == "..")
}

/// The users that the initramfs knows, and their numbers (alpine.md 2.4).
const USERS: &[(&str, u32)] = &[("root", 0), ("lp", 4), ("nobody", 65534)];

/// The groups that the initramfs knows, and their numbers (alpine.md 2.4).
const GROUPS: &[(&str, u32)] = &[
    ("root", 0),
    ("tty", 5),
    ("disk", 6),
    ("lp", 7),
    ("kmem", 9),
    ("wheel", 10),
    ("floppy", 11),
    ("console", 17),
    ("audio", 18),
    ("cdrom", 19),
    ("dialout", 20),
    ("input", 23),
    ("tape", 26),
    ("video", 27),
    ("netdev", 28),
    ("kvm", 34),
    ("shadow", 42),
    ("ping", 999),
    ("nogroup", 65533),
    ("nobody", 65534),
];

#[cfg(test)]
mod tests;

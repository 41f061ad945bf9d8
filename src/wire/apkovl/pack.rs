//! A tree as the compressed archive init unpacks: whole, or as a beginning that many machines share.

use std::iter;
use std::num::NonZero;
use std::thread;

use bytes::Bytes;

use super::write::{self, END};
use super::{BLOCK, Entry, Tree};
use crate::wire::gzip::{Stored, gzip, gzip_each};

/// How much of an archive one gzip member holds. Part of the format: another length gives other bytes.
const CHUNK: usize = 1 << 20;

/// What a machine's own part has at most to be stored as it is.
const SMALL: usize = 32 << 10;

/// The archive of a tree, compressed, with every entry's time set to `epoch` (seconds since 1970).
///
/// Every MiB of the archive is a gzip member of its own, so that all processors can work at once and the bytes
/// are the same with one of them; a tree that fits in one of them is one member. GNU tar, bsdtar and busybox read several
/// members as one stream.
#[must_use]
pub fn pack(tree: &Tree, epoch: u64) -> Vec<u8> {
    gzip_each(Chunks::of(tree.archive(epoch)), threads(tree))
}

/// The beginning of an archive that is the same for many machines, compressed once.
///
/// What a machine has of its own comes after it as one more gzip member, so that an archive costs the compression of
/// that alone. The order in such an archive is: the shared tree by path, the machine's own entries by path, and last,
/// out of both, what is directly in the root and no directory (OVL-2).
#[derive(Debug, Clone)]
pub struct Prefix {
    members: Bytes,
    /// Entries of the shared tree that have to come after the machine's.
    late: Vec<(String, Entry)>,
    epoch: u64,
}

impl Prefix {
    /// Compresses what is shared; every entry of every archive gets the time `epoch` (seconds since 1970).
    #[must_use]
    pub fn of(tree: &Tree, epoch: u64) -> Self {
        let (late, early): (Vec<_>, Vec<_>) = tree.iter().partition(write::is_late);
        let pieces = early.into_iter().flat_map(|(path, entry)| write::pieces(path, entry, epoch));
        let members = gzip_each(Chunks::of(pieces), threads(tree)).into();
        let late = late.into_iter().map(|(path, entry)| (path.to_owned(), entry.clone())).collect();
        Self { members, late, epoch }
    }

    /// What [`with`](Self::with) made an archive of nothing but the shared tree from; nothing when `archive` is not
    /// one.
    #[must_use]
    pub fn recover(mut archive: Bytes, epoch: u64) -> Option<Self> {
        let end = member(END);
        let length = archive.len().checked_sub(end.len())?;
        // With something in the last member besides the end, it would not be these bytes.
        let is_end = archive.ends_with(&end);
        archive.truncate(length);
        is_end.then(|| Self { members: archive, late: Vec::new(), epoch })
    }

    /// The archive of one machine: what is shared, and `entries` by their paths (as [`Tree`] has them).
    ///
    /// The caller sees to it that no path is in the shared tree, and that the parents of every path are: a second
    /// member of one name would win when unpacked, but stand twice in init's list.
    #[must_use]
    pub fn with(&self, entries: &[(&str, Entry)]) -> Vec<u8> {
        let rest = self.rest(entries);
        let mut archive = Vec::with_capacity(self.members.len() + rest.len());
        archive.extend_from_slice(&self.members);
        archive.extend_from_slice(&rest);
        archive
    }

    /// What all archives begin with; not one by itself.
    #[must_use]
    pub const fn shared(&self) -> &Bytes {
        &self.members
    }

    /// What comes after [`shared`](Self::shared) in the archive of one machine, to send both without joining them.
    #[must_use]
    pub fn rest(&self, entries: &[(&str, Entry)]) -> Vec<u8> {
        let late = self.late.iter().map(|(path, entry)| (path.as_str(), entry));
        let mut members: Vec<_> = entries.iter().map(|(path, entry)| (*path, entry)).chain(late).collect();
        members.sort_by_key(|member| (write::is_late(member), member.0));
        let mut rest = Vec::new();
        for (path, entry) in members {
            write::pieces(path, entry, self.epoch).iter().for_each(|piece| rest.extend_from_slice(piece));
        }
        rest.extend_from_slice(END);
        member(&rest)
    }
}

/// What a machine has of its own, as a gzip member: stored when it is small, because setting up the compression costs
/// more than all the rest, for thousands of machines, and saves them next to nothing.
fn member(rest: &[u8]) -> Vec<u8> {
    if rest.len() <= SMALL { Stored::member(&[&Stored::of(rest)]).concat() } else { gzip(rest) }
}

/// How many threads a tree is worth: one for each chunk, and no more than there are processors.
fn threads(tree: &Tree) -> NonZero<usize> {
    let length: usize = tree.iter().map(|(_, entry)| write::content(entry).len() + BLOCK).sum();
    let useful = NonZero::new(length.div_ceil(CHUNK)).unwrap_or(NonZero::<usize>::MIN);
    thread::available_parallelism().map_or(NonZero::<usize>::MIN, |processors| processors.min(useful))
}

/// Pieces of an archive put together to chunks of one length, the last one shorter.
struct Chunks<I> {
    pieces: I,
    /// What is left of the piece that did not fit.
    rest: Bytes,
}

impl<I: Iterator<Item = Bytes>> Chunks<I> {
    const fn of(pieces: I) -> Self {
        Self { pieces, rest: Bytes::new() }
    }
}

impl<I: Iterator<Item = Bytes>> Iterator for Chunks<I> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut chunk = Vec::with_capacity(CHUNK);
        for mut piece in iter::once(std::mem::take(&mut self.rest)).chain(&mut self.pieces) {
            let fits = piece.split_to(piece.len().min(CHUNK - chunk.len()));
            chunk.extend_from_slice(&fits);
            if chunk.len() == CHUNK {
                self.rest = piece;
                break;
            }
        }
        (!chunk.is_empty()).then_some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::bufread::GzDecoder;

    use super::*;

    /// The contents of each gzip member.
    fn members(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut members = Vec::new();
        while !bytes.is_empty() {
            let mut decoder = GzDecoder::new(bytes);
            let mut out = Vec::new();
            decoder.read_to_end(&mut out).unwrap();
            members.push(out);
            bytes = decoder.into_inner();
        }
        members
    }

    /// A tree whose archive has this length.
    fn tree_of(length: usize) -> Tree {
        let mut tree = Tree::default();
        let content: Vec<u8> = (0..length - 3 * 512 - 2 * 512).map(|it| (it / 7 % 251) as u8).collect();
        let (first, second) = content.split_at(length / 1024 * 512);
        tree.insert("etc/a", Entry::file(first.to_vec()));
        tree.insert("etc/b", Entry::file(second.to_vec()));
        assert_eq!(tree.to_tar(3).len(), length);
        tree
    }

    #[test]
    fn a_small_tree_is_one_member_and_a_large_one_is_cut_at_every_mebibyte() {
        for (length, lengths) in
            [(10_240, vec![10_240]), (CHUNK, vec![CHUNK]), (CHUNK + 512, vec![CHUNK, 512]), (3 * CHUNK, vec![CHUNK; 3])]
        {
            let tree = tree_of(length);
            let members = members(&pack(&tree, 3));
            assert_eq!(members.iter().map(Vec::len).collect::<Vec<_>>(), lengths);
            assert!(members.concat() == tree.to_tar(3));
        }
        assert_eq!(pack(&tree_of(10_240), 3), gzip(&tree_of(10_240).to_tar(3)));
    }

    #[test]
    fn the_bytes_are_the_same_on_any_number_of_processors() {
        let tree = tree_of(3 * CHUNK + 1024);
        let packed = pack(&tree, 3);
        for threads in [1, 2, 8] {
            let again = gzip_each(Chunks::of(tree.archive(3)), NonZero::new(threads).unwrap());
            assert!(again == packed, "{threads} threads");
        }
    }

    #[test]
    fn an_archive_with_a_shared_beginning_holds_both_parts_in_order_and_ends_once() {
        let mut shared = Tree::default();
        shared.insert("etc/x", Entry::file("shared"));
        shared.insert("late", Entry::file("of all"));
        let prefix = Prefix::of(&shared, 3);
        let own =
            [("later", Entry::file("")), ("etc/net", Entry::file("10.0.0.7")), ("etc/hostname", Entry::file("pc7"))];
        let archive = prefix.with(&own);
        assert!(archive.starts_with(prefix.shared()) && !prefix.shared().is_empty());
        let members = members(&archive);
        assert_eq!(members.len(), 2);
        let tar = members.concat();
        let names: Vec<String> = tar::Archive::new(tar.as_slice())
            .entries()
            .unwrap()
            .map(|entry| String::from_utf8(entry.unwrap().path_bytes().into_owned()).unwrap())
            .collect();
        assert_eq!(names, ["etc/", "etc/x", "etc/hostname", "etc/net", "late", "later"]);
        assert!(tar.ends_with(END) && !tar[..tar.len() - 512].ends_with(END));
        let mut own = own;
        own.reverse();
        assert_eq!(prefix.with(&own), archive, "their order makes no difference");
    }

    #[test]
    fn a_beginning_is_found_again_in_an_archive_of_it_alone() {
        let mut shared = tree_of(10_240);
        let prefix = Prefix::of(&shared, 3);
        let own = [("etc/hostname", Entry::file("pc7"))];
        let again = Prefix::recover(prefix.with(&[]).into(), 3).unwrap();
        assert_eq!(again.with(&own), prefix.with(&own));
        shared.insert("late", Entry::file(""));
        for other in [Prefix::of(&shared, 3).with(&[]), pack(&tree_of(10_240), 3), prefix.with(&own), Vec::new()] {
            assert!(Prefix::recover(other.into(), 3).is_none());
        }
    }

    #[test]
    fn with_nothing_shared_or_nothing_of_its_own_an_archive_is_still_whole() {
        let nothing = Prefix::of(&Tree::default(), 0);
        assert_eq!(nothing.shared().len(), 0);
        assert_eq!(members(&nothing.with(&[])), [END]);
        assert_eq!(members(&pack(&Tree::default(), 0)), [END]);
        let shared = Prefix::of(&tree_of(10_240), 3);
        assert_eq!(members(&shared.with(&[])).concat(), tree_of(10_240).to_tar(3));
    }
}

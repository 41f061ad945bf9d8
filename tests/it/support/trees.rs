//! Trees of any names, modes, owners, links and contents, for tests of what must hold for all of them.

use bivouac::model::profile::Owner;
use bivouac::wire::apkovl::{Entry, Node, Tree};
use proptest::prelude::*;

/// Part of a path: short, odd, or about as long as a header holds and a file system allows. Not what macOS leaves
/// behind, because that is not read.
fn part() -> impl Strategy<Value = String> {
    let fits = |text: &String| text.len() <= 255 && !text.contains('/') && !text.starts_with('.');
    prop_oneof![
        4 => "[a-z]{1,3}",
        2 => r"\PC{1,24}".prop_filter("a name of a file", fits),
        1 => "[a-z]{45,51}",
        1 => "[a-z]{93,101}",
        1 => r"\.[.a-z]{3,8}".prop_filter("a name of a file", |text| !text.starts_with("._")),
        1 => Just("n".repeat(255)),
    ]
}

fn node() -> impl Strategy<Value = Node> {
    let contents = prop_oneof![0..3_usize, 510..514_usize, 0..3000_usize]
        .prop_flat_map(|length| proptest::collection::vec(any::<u8>(), length));
    let device = (0..4096_u32, 0..1_048_576_u32);
    prop_oneof![
        6 => contents.prop_map(|bytes| Node::File(bytes.into())),
        3 => Just(Node::Directory),
        2 => r"\PC{1,40}".prop_map(Node::Symlink),
        1 => "[./a-z]{97,102}".prop_map(Node::Symlink),
        1 => "[./a-z]{200,700}".prop_map(Node::Symlink),
        1 => device.clone().prop_map(|(major, minor)| Node::CharDevice { major, minor }),
        1 => device.prop_map(|(major, minor)| Node::BlockDevice { major, minor }),
        1 => Just(Node::Fifo),
    ]
}

fn id() -> impl Strategy<Value = u32> {
    // The last one would be -1, which stands for no owner.
    prop_oneof![3 => Just(0), 2 => 1..70_000_u32, 1 => 2_097_150..2_097_154_u32, 1 => 4_000_000_000..u32::MAX]
}

fn entry() -> impl Strategy<Value = Entry> {
    let mode = prop_oneof![Just(0o644), Just(0o4755), Just(0o2711), Just(0o1777), 0..0o10_000_u32];
    (node(), mode, id(), id()).prop_map(|(node, mode, uid, gid)| {
        let mode = if matches!(node, Node::Symlink(_)) { 0o777 } else { mode };
        Entry { node, mode, owner: Owner { uid, gid } }
    })
}

/// Any tree.
pub fn tree() -> impl Strategy<Value = Tree> {
    let path = proptest::collection::vec(part(), 1..5).prop_map(|parts| parts.join("/"));
    proptest::collection::vec((path, entry()), 0..14).prop_map(|entries| {
        let mut tree = Tree::default();
        for (path, entry) in entries {
            tree.insert(&path, entry);
        }
        tree
    })
}

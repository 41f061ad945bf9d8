//! The same calls as commands of `qm`, for people who have a shell on a node and no token.

use super::plan::{Wish, settings};
use crate::model::virtual_machine::{Birth, VmId};

/// A machine, and the commands that make it and switch it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The machine.
    pub birth: Birth,
    /// The commands, for the shell of the node that is to have it.
    pub commands: Vec<String>,
}

/// The commands that make the machines wished for, numbered from `first` on, or with the numbers that the cluster gives
/// out next.
#[must_use]
pub fn recipes(wish: &Wish, first: Option<VmId>) -> Vec<Recipe> {
    let mut next = first;
    let recipe = |name| {
        let birth = Birth::of(&wish.place, name);
        let number = next.map_or_else(|| "\"$id\"".to_owned(), |id| id.to_string());
        // The number that follows is free only once this one is taken, so each is asked for by itself.
        let asked = next.is_none().then(|| "id=$(pvesh get /cluster/nextid)".to_owned());
        next = next.and_then(VmId::next);
        let options: String =
            settings(wish, &birth).iter().map(|(name, value)| format!(" --{name} {}", quoted(value))).collect();
        let commands = asked.into_iter().chain([format!("qm create {number}{options}"), format!("qm start {number}")]);
        Recipe { birth, commands: commands.collect() }
    };
    wish.names().map(recipe).collect()
}

/// A text as one word of a shell.
fn quoted(text: &str) -> String {
    let is_plain =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/' | b':' | b'=' | b',' | b'+');
    if !text.is_empty() && text.bytes().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_word() {
        for (text, word) in [("order=net0", "order=net0"), ("a;b", "'a;b'"), ("", "''"), ("it's", "'it'\\''s'")] {
            assert_eq!(quoted(text), word);
        }
    }
}

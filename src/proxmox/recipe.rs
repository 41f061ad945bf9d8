//! The same calls as commands of `qm`, for people who have a shell on a node and no token.

use super::plan::Wish;
use super::{Call, plan};
use crate::model::virtual_machine::{Birth, VmId};

/// What stands for the number of a machine until the node says it.
const NUMBER: &str = "$id";

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
    wish.names()
        .map(|name| {
            let birth = Birth::of(&wish.place, name);
            let id = next;
            next = next.and_then(VmId::next);
            // Any number does: it is not printed.
            let shown = id.or_else(|| VmId::try_from(100).ok());
            let call = shown.map(|id| plan::made(wish, &birth, id, "NODE"));
            let number = id.map_or_else(|| format!("\"{NUMBER}\""), |id| id.to_string());
            let mut commands: Vec<String> = Vec::new();
            if id.is_none() {
                commands.push("id=$(pvesh get /cluster/nextid)".to_owned());
            }
            commands.extend(call.map(|call| command(&call, &number)));
            commands.push(format!("qm start {number}"));
            Recipe { birth, commands }
        })
        .collect()
}

/// `qm create` with the parameters of a call, which have the same names.
fn command(call: &Call, number: &str) -> String {
    let mut text = format!("qm create {number}");
    for (name, value) in call.parameters.iter().filter(|(name, _)| *name != "vmid") {
        text.push_str(&format!(" --{name} {}", quoted(value)));
    }
    text
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

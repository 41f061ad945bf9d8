//! `bivouac inspect`: what is in an overlay archive, and what init would make of it. Never writes.

use std::io::Write;

use serde_json::{Value, json};

use super::lbu::is_usual;
use super::report::table;
use super::side::Side;
use crate::build::kind;
use crate::config::Settings;
use crate::model::digest::Digest;
use crate::wire::apkovl::{Entry, Node};

/// `bivouac inspect`.
pub(super) fn inspect(settings: &Settings, what: &str, as_json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let side = Side::load(settings, what)?;
    let notes: Vec<String> = side.notes.iter().filter(|note| !is_usual(note)).map(ToString::to_string).collect();
    if as_json {
        let entries: Vec<Value> = side.tree.iter().map(|(path, entry)| describe(path, entry)).collect();
        serde_json::to_writer_pretty(&mut *out, &json!({ "what": side.shown, "entries": entries, "notes": notes }))?;
        writeln!(out)?;
        return Ok(());
    }
    let rows = side.tree.iter().map(|(path, entry)| row(path, entry)).collect();
    out.write_all(table(&["MODE", "OWNER", "SIZE", "PATH"], rows).as_bytes())?;
    if !notes.is_empty() {
        writeln!(out, "\nabout the archive:")?;
    }
    notes.iter().try_for_each(|note| writeln!(out, "  {note}"))?;
    Ok(())
}

fn row(path: &str, entry: &Entry) -> Vec<String> {
    let (letter, size) = match &entry.node {
        Node::Directory => ('d', String::new()),
        Node::File(bytes) => ('-', bytes.len().to_string()),
        Node::Symlink(_) => ('l', String::new()),
        Node::CharDevice { major, minor } => ('c', format!("{major}:{minor}")),
        Node::BlockDevice { major, minor } => ('b', format!("{major}:{minor}")),
        Node::Fifo => ('p', String::new()),
    };
    let path = match &entry.node {
        Node::Directory => format!("{path}/"),
        // A target may be anything, also what a terminal takes for a command.
        Node::Symlink(target) => format!("{path} -> {}", target.escape_debug()),
        _ => path.to_owned(),
    };
    vec![format!("{letter}{:04o}", entry.mode), format!("{}:{}", entry.owner.uid, entry.owner.gid), size, path]
}

/// An entry as JSON.
pub(super) fn describe(path: &str, entry: &Entry) -> Value {
    let mut value = properties(entry);
    if let Some(object) = value.as_object_mut() {
        object.insert("path".to_owned(), json!(path));
    }
    value
}

/// What an entry is, as JSON.
pub(super) fn properties(entry: &Entry) -> Value {
    let mut value = json!({
        "kind": kind(&entry.node),
        "mode": format!("{:04o}", entry.mode),
        "owner": format!("{}:{}", entry.owner.uid, entry.owner.gid),
    });
    let more = match &entry.node {
        Node::File(bytes) => vec![("size", json!(bytes.len())), ("sha256", json!(Digest::of(bytes)))],
        Node::Symlink(target) => vec![("target", json!(target))],
        Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => {
            vec![("device", json!(format!("{major}:{minor}")))]
        }
        Node::Directory | Node::Fifo => Vec::new(),
    };
    if let Some(object) = value.as_object_mut() {
        object.extend(more.into_iter().map(|(key, value)| (key.to_owned(), value)));
    }
    value
}

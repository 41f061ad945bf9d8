//! `bivouac schema`: JSON schemas of the files people write, so that their editors know every key.

use std::io::Write;

use clap::ValueEnum;
use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Map, Value};

use crate::config::File;
use crate::model::profile::Layer;

/// A kind of file.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Schemed {
    /// profiles/NAME/profile.toml
    Profile,
    /// overlays/NAME/overlay.toml
    Overlay,
    /// bivouac.toml
    Site,
}

/// The keys of a layer that only a profile has, as `Layer::parse` says too.
const ONLY_IN_PROFILES: [&str; 2] = ["extends", "overlays"];

/// Prints the schema of a kind of file (draft 2020-12).
pub(super) fn schema(kind: Schemed, out: &mut dyn Write) -> anyhow::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &made(kind))?;
    writeln!(out)?;
    Ok(())
}

/// From the types that read the file, so that it says what they take.
fn made(kind: Schemed) -> Schema {
    let settings = SchemaSettings::draft2020_12().for_deserialize().with_transform(RecursiveTransform(as_toml));
    let generator = settings.into_generator();
    let (mut schema, title, description) = match kind {
        Schemed::Profile => {
            let about = "What the machines of a profile are: what is named once is won by the last layer that names it, \
                         lists add up, and `!name` takes out what an earlier layer named.";
            (generator.into_root_schema_for::<Layer>(), "profile.toml", about)
        }
        Schemed::Overlay => {
            let about = "A reusable piece of profiles.";
            let mut schema = generator.into_root_schema_for::<Layer>();
            if let Some(keys) = schema.get_mut("properties").and_then(Value::as_object_mut) {
                keys.retain(|key, _| !ONLY_IN_PROFILES.contains(&key.as_str()));
            }
            (schema, "overlay.toml", about)
        }
        Schemed::Site => (generator.into_root_schema_for::<File>(), "bivouac.toml", "The site file of Bivouac."),
    };
    schema.insert("title".to_owned(), title.into());
    schema.insert("description".to_owned(), description.into());
    schema
}

/// TOML has no null: a key is there with a value, or it is not there. What a key is without a value is in its
/// description, which an empty default would contradict.
fn as_toml(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    object.remove("default");
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
        if let [Value::Object(only)] = choices.as_slice() {
            let only: Map<String, Value> = only.clone();
            object.remove("anyOf");
            for (key, value) in only {
                object.entry(key).or_insert(value);
            }
        }
    }
    // The first paragraph says what a thing is, those below it are for readers of the sources.
    if let Some(Value::String(text)) = object.get_mut("description") {
        *text = text.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    }
}

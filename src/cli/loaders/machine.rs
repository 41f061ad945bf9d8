//! `bivouac loaders --for MAC`: what one machine gets, without a machine.

use std::io::Write;

use serde_json::{Value, json};

use crate::cli::report::table;
use crate::model::firmware::Firmware;
use crate::model::loader::LoaderRule;
use crate::model::mac::Mac;
use crate::serve::loaders::{Choice, Loaders, Missing};

/// Shows which loader the machine gets with this firmware, or with each kind there is a loader for, and by which rule.
/// The answer is the one `serve` gives.
pub(super) fn show(
    loaders: &Loaders,
    mac: &Mac,
    firmware: Option<Firmware>,
    as_json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let kinds: Vec<Firmware> = match firmware {
        Some(one) => vec![one],
        None => {
            Firmware::ALL.into_iter().filter(|one| one.runs() == *one && loaders.for_firmware(*one).is_some()).collect()
        }
    };
    let choices: Vec<(Firmware, Option<Choice<'_>>)> =
        kinds.into_iter().map(|one| (one, loaders.for_machine(one, mac))).collect();
    if as_json {
        let list: Vec<Value> = choices.iter().map(describe).collect();
        serde_json::to_writer_pretty(&mut *out, &list)?;
        writeln!(out)?;
        return Ok(());
    }
    if choices.is_empty() {
        writeln!(out, "There is no loader. `bivouac loaders add FILE` takes one.")?;
    } else {
        let rows = choices.iter().map(row).collect();
        out.write_all(table(&["FIRMWARE", "LOADER", "DRIVERS", "PATH", "RULE"], rows).as_bytes())?;
    }
    for (firmware, _) in choices.iter().filter(|(_, choice)| choice.is_none()) {
        let missing = Missing { firmware: *firmware, debian_package: firmware.debian_package() };
        writeln!(out, "{missing}")?;
    }
    Ok(())
}

fn row((firmware, choice): &(Firmware, Option<Choice<'_>>)) -> Vec<String> {
    let dash = || "-".to_owned();
    let loader = choice.map(|choice| choice.loader);
    vec![
        firmware.to_string(),
        loader.map_or_else(dash, |loader| loader.name.clone()),
        loader.and_then(|loader| loader.kind).map_or_else(dash, |kind| kind.drivers().to_owned()),
        loader.map_or_else(dash, |loader| loader.path.display().to_string()),
        choice.as_ref().map_or_else(dash, reason),
    ]
}

/// The rule, and that it is not followed when what it wants is not there.
fn reason(choice: &Choice<'_>) -> String {
    match choice.rule {
        None if choice.returns => "none, it may go back to its firmware".to_owned(),
        None => "none, the best".to_owned(),
        Some((number, rule)) if choice.is_as_wanted() => format!("{number} ({rule})"),
        Some((number, rule)) => format!("{number} ({rule}), and there is no such loader"),
    }
}

fn describe((firmware, choice): &(Firmware, Option<Choice<'_>>)) -> Value {
    let loader = choice.map(|choice| choice.loader);
    let rule = choice.and_then(|choice| choice.rule);
    json!({
        "firmware": firmware,
        "loader": loader.map(|loader| &loader.name),
        "use": loader.and_then(|loader| loader.kind),
        "path": loader.map(|loader| loader.path.display().to_string()),
        "sha256": loader.map(|loader| &loader.digest),
        "rule": rule.map(|(number, rule)| describe_rule(number, rule)),
        "returns": choice.map(|choice| choice.returns),
        "as_wanted": choice.map(|choice| choice.is_as_wanted()),
    })
}

fn describe_rule(number: usize, rule: &LoaderRule) -> Value {
    let LoaderRule { machines, firmware, kind } = rule;
    json!({ "number": number, "machines": machines, "firmware": firmware, "use": kind })
}

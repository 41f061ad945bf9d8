//! The parameters of the real API, and whether a call keeps to them.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

/// Of each call its parameters, as `derive-api` read them from the published schema.
pub struct Table(Map<String, Value>);

impl Table {
    pub fn load() -> Self {
        Self(serde_json::from_str(include_str!("api.json")).unwrap())
    }

    /// What is wrong with a call, by parameter; nothing when the API has no such call.
    pub fn misuse(
        &self,
        method: &str,
        path: &str,
        parameters: &[(String, String)],
    ) -> Option<BTreeMap<String, String>> {
        let (rules, in_path) = self.0.iter().find_map(|(call, rules)| {
            let (of, template) = call.split_once(' ').unwrap();
            (of == method).then(|| matched(template, path)).flatten().map(|values| (rules, values))
        })?;
        let mut wrong = BTreeMap::new();
        let given: Vec<(String, String)> = in_path.into_iter().chain(parameters.iter().cloned()).collect();
        for (name, value) in &given {
            if given.iter().filter(|(other, _)| other == name).count() > 1 {
                wrong.insert(name.clone(), "duplicate parameter".to_owned());
            }
            let indexed = name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned() + "[n]";
            match rules.get(name).or_else(|| rules.get(&indexed)) {
                None => drop(wrong.insert(name.clone(), "property is not defined in schema".to_owned())),
                Some(rule) => {
                    if let Err(why) = check(rule, value) {
                        wrong.insert(name.clone(), why);
                    }
                }
            }
        }
        for (name, rule) in rules.as_object().unwrap() {
            let is_given = given.iter().any(|(given, _)| given == name);
            if rule.get("required").is_some() && !name.ends_with("[n]") && !is_given {
                wrong.insert(name.clone(), "property is missing and it is not optional".to_owned());
            }
        }
        Some(wrong)
    }
}

/// The values of `{…}` in a template that fits a path.
fn matched(template: &str, path: &str) -> Option<Vec<(String, String)>> {
    let (template, path): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
    if template.len() != path.len() {
        return None;
    }
    let mut values = Vec::new();
    for (part, value) in template.iter().zip(path) {
        match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) => values.push((name.to_owned(), value.to_owned())),
            None if *part == value => {}
            None => return None,
        }
    }
    Some(values)
}

/// Whether a value keeps to a rule.
fn check(rule: &Value, value: &str) -> Result<(), String> {
    if let Some(parts) = rule.get("parts") {
        check_parts(parts.as_object().unwrap(), value)?;
    } else {
        match rule["type"].as_str().unwrap_or("string") {
            "integer" => {
                let number: i64 =
                    value.parse().map_err(|_| format!("type check ('integer') failed - got '{value}'"))?;
                let (least, most) = (rule["minimum"].as_i64(), rule["maximum"].as_i64());
                if least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most) {
                    return Err(format!("value {number} is out of range"));
                }
            }
            "number" => drop(value.parse::<f64>().map_err(|_| "no number".to_owned())?),
            "boolean" if !matches!(value, "0" | "1") => {
                return Err(format!("type check ('boolean') failed - got '{value}'"));
            }
            _ => {}
        }
    }
    if let Some(words) = rule["enum"].as_array()
        && !words.iter().any(|word| word == value)
    {
        return Err(format!("value '{value}' does not have a value in the enumeration"));
    }
    if let Some(pattern) = rule["pattern"].as_str()
        && !Regex::new(&format!("^(?:{pattern})$")).unwrap().is_match(value)
    {
        return Err(format!("value '{value}' does not match the regex pattern"));
    }
    if rule["maxLength"].as_u64().is_some_and(|most| value.len() as u64 > most) {
        return Err("value is too long".to_owned());
    }
    Ok(())
}

/// Whether the parts of a setting keep to theirs.
fn check_parts(rules: &Map<String, Value>, text: &str) -> Result<(), String> {
    let mut given: BTreeMap<String, String> = BTreeMap::new();
    for part in text.split(',') {
        let default = || rules.iter().find(|(_, rule)| rule.get("default").is_some()).map(|(name, _)| name.clone());
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (default().ok_or("no part of this name")?, part.to_owned()),
        };
        let rule = rules.get(&name).ok_or_else(|| format!("`{name}` is no part of it"))?;
        // `virtio=ADDRESS` is `model=virtio,macaddr=ADDRESS`.
        if let Some(key) = rule["key-of"].as_str() {
            given.insert(key.to_owned(), name.clone());
        }
        given.insert(rule["alias"].as_str().unwrap_or(&name).to_owned(), value);
    }
    for (name, value) in &given {
        check(&rules[name], value).map_err(|why| format!("{name}: {why}"))?;
    }
    match rules.iter().find(|(name, rule)| rule.get("required").is_some() && !given.contains_key(*name)) {
        Some((name, _)) => Err(format!("`{name}` is missing")),
        None => Ok(()),
    }
}

#[test]
fn the_table_refuses_what_the_api_refuses() {
    let table = Table::load();
    let misuse = |method: &str, path: &str, pairs: &[(&str, &str)]| {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        table.misuse(method, path, &pairs).map(|wrong| wrong.into_keys().collect::<Vec<_>>())
    };
    let make = |name: &str, value: &str| misuse("POST", "/nodes/pve1/qemu", &[("vmid", "100"), (name, value)]).unwrap();
    for (name, value) in [
        ("net0", "virtio=52:54:00:00:00:01,bridge=vmbr0,tag=7"),
        ("smbios1", "uuid=0e0d8d0f-6b5e-4f5a-8c3b-0123456789ab,serial=YQ==,base64=1"),
        ("vga", "qxl"),
        ("agent", "1"),
        ("memory", "2048"),
        ("tags", "a;b"),
    ] {
        assert_eq!(make(name, value), [""; 0], "{name}={value}");
    }
    for (name, value) in [
        ("net0", "virtio=53:54:00:00:00:01"),
        ("net0", "bridge=vmbr0"),
        ("net0", "virtio=52:54:00:00:00:01,tag=0"),
        ("smbios1", "uuid=1"),
        ("bios", "uefi"),
        ("vga", "vnc"),
        ("rng0", "source=/dev/null"),
        ("memory", "many"),
        ("name", "a_b"),
        ("balloon", "-1"),
        ("disk", "1"),
        ("vmid", "100"),
    ] {
        assert_eq!(make(name, value), [name], "{name}={value}");
    }
    assert_eq!(misuse("POST", "/nodes/pve1/qemu", &[]).unwrap(), ["vmid"]);
    assert_eq!(misuse("POST", "/nodes/pve1/qemu/99/status/start", &[]).unwrap(), ["vmid"]);
    assert_eq!(misuse("POST", "/nodes/pve1/qemu/100/status/explode", &[]), None);
}

//! `bivouac schema`: what it prints fits the files there are, and refuses keys the program refuses.

use bivouac::config::File;
use bivouac::model::profile::{Layer, Profile};
use serde_json::Value;

use crate::readme::examples;
use crate::support::site::Site;

fn schema(site: &Site, of: &str) -> Value {
    let ran = site.run(&["schema", of]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    serde_json::from_str(&ran.out).unwrap()
}

/// Where a value does not fit a schema, by the words of JSON Schema that the program's schemas have; `format` and
/// `pattern` are left to editors. A word it does not know is an error, so that none is passed over.
fn misfit(root: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    let Some(words) = schema.as_object() else {
        return (schema == &Value::Bool(false)).then(|| format!("{at}: nothing is allowed"));
    };
    words
        .iter()
        .find_map(|(word, rule)| match word.as_str() {
            "$schema"
            | "$defs"
            | "title"
            | "description"
            | "format"
            | "pattern"
            | "required"
            | "additionalProperties" => None,
            "$ref" => {
                let place = rule.as_str().unwrap().strip_prefix('#').unwrap();
                misfit(root, root.pointer(place).unwrap(), value, at)
            }
            "type" => {
                let fits = match rule.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_i64(),
                    "boolean" => value.is_boolean(),
                    other => panic!("type {other}"),
                };
                (!fits).then(|| format!("{at}: {value} is no {rule}"))
            }
            "const" => (value != rule).then(|| format!("{at}: {value} is not {rule}")),
            "enum" => (!rule.as_array().unwrap().contains(value)).then(|| format!("{at}: {value} is none of {rule}")),
            "minimum" => {
                value.as_i64().filter(|it| *it < rule.as_i64().unwrap()).map(|it| format!("{at}: {it} is too small"))
            }
            "maximum" => {
                value.as_i64().filter(|it| *it > rule.as_i64().unwrap()).map(|it| format!("{at}: {it} is too large"))
            }
            "minItems" | "maxItems" => {
                let (length, limit) =
                    (value.as_array().map_or(0, Vec::len), usize::try_from(rule.as_u64().unwrap()).unwrap());
                let fits = if word == "minItems" { length >= limit } else { length <= limit };
                (value.is_array() && !fits).then(|| format!("{at}: {length} items"))
            }
            "anyOf" | "oneOf" => {
                let misfits: Vec<String> =
                    rule.as_array().unwrap().iter().map_while(|choice| misfit(root, choice, value, at)).collect();
                (misfits.len() == rule.as_array().unwrap().len()).then(|| misfits.join("; "))
            }
            "items" => value.as_array()?.iter().find_map(|item| misfit(root, rule, item, at)),
            "properties" | "patternProperties" => None,
            other => panic!("the schema has the word `{other}`, which this test does not know"),
        })
        .or_else(|| keys(root, words, value, at))
}

/// The same for the keys of an object.
fn keys(root: &Value, words: &serde_json::Map<String, Value>, value: &Value, at: &str) -> Option<String> {
    let object = value.as_object()?;
    for key in words.get("required").and_then(Value::as_array).into_iter().flatten() {
        if !object.contains_key(key.as_str().unwrap()) {
            return Some(format!("{at}: {key} is missing"));
        }
    }
    object.iter().find_map(|(key, value)| {
        let known = words.get("properties").and_then(|known| known.get(key));
        let patterns = words.get("patternProperties").and_then(Value::as_object).into_iter().flatten();
        let fits = |pattern: &str| regex::Regex::new(pattern).unwrap().is_match(key);
        let fitting = patterns.filter(|(pattern, _)| fits(pattern)).map(|(_, rule)| rule).next();
        let rule = known.or(fitting).or_else(|| words.get("additionalProperties"))?;
        misfit(root, rule, value, &format!("{at}/{key}"))
    })
}

fn check(schema: &Value, toml: &str) -> Option<String> {
    let value: toml::Value = toml::from_str(toml).unwrap();
    misfit(schema, schema, &serde_json::to_value(value).unwrap(), "")
}

#[test]
fn every_file_of_the_repository_the_readme_and_new_fits() {
    let site = Site::new();
    assert_eq!(site.run(&["new", "kiosk"]).code, Some(0));
    let (profile, overlay) = (schema(&site, "profile"), schema(&site, "overlay"));
    let repository = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [
        (&profile, repository.join("profiles"), "profile.toml"),
        (&profile, site.path("profiles"), "profile.toml"),
        (&overlay, repository.join("overlays"), "overlay.toml"),
    ];
    for (schema, folder, file) in folders {
        for name in bivouac::disk::list(&folder).unwrap() {
            let text = std::fs::read_to_string(folder.join(&name).join(file)).unwrap();
            assert_eq!(check(schema, &text), None, "{name}/{file}");
            // What `new` has in comments too: keys are behind `#` without a blank.
            let full =
                text.lines().map(|line| line.strip_prefix('#').filter(|it| !it.starts_with(' ')).unwrap_or(line));
            assert_eq!(check(schema, &full.collect::<Vec<_>>().join("\n")), None, "{name}/{file}");
        }
    }
    let (readme, site_file) = (examples(), schema(&site, "site"));
    assert_eq!(check(&profile, &readme[0]), None);
    assert_eq!(check(&site_file, &readme[1].replace("\n# ", "\n")), None);
}

#[test]
fn what_the_program_refuses_does_not_fit() {
    let site = Site::new();
    let (profile, overlay, site_file) = (schema(&site, "profile"), schema(&site, "overlay"), schema(&site, "site"));
    for text in [
        "overlys = []",
        "packages = \"nano\"",
        "[alpine]\nrelaese = \"3.24\"",
        "[alpine]\narch = [\"x86_64\", \"aarch64\"]",
        "[services]\nnever = []",
        "[kernel]\narg = []",
        "[users.kiosk]\nhomes = \"/x\"",
        "[users.kiosk]\nuid = -1",
        "[groups.kiosk]\nid = 1",
        "[network]\ndsn = []",
        "[network.interfaces.boot]\nadress = \"dhcp\"",
        "[files]\n\"etc/x\" = { mod = \"0600\" }",
        "[nodes]\n\"srv/x\" = 1",
        "[vars]\nx = 1.5",
        "[vars]\nx = { typ = \"string\" }",
        "[vars]\nx = { type = \"number\" }",
        "[vars]\nx = { type = \"string\", required = \"often\" }",
        "[[allow]]\nrule = \"OVL-1\"",
    ] {
        assert!(Profile::parse(text).is_err(), "{text}");
        assert!(check(&profile, text).is_some(), "{text}");
        assert!(check(&overlay, text).is_some(), "{text}");
    }
    for text in ["extends = \"hello\"", "overlays = [\"base\"]"] {
        assert!(Layer::parse(text).is_err() && check(&overlay, text).is_some(), "{text}");
        assert_eq!(check(&profile, text), None);
    }
    for text in ["stat = \"x\"", "[http]\nlisten = 80", "[[loader]]\nuse = \"grub\"", "[dhcp]\npol = \"x\""] {
        assert!(File::parse(text).is_err() && check(&site_file, text).is_some(), "{text}");
    }
}

#[test]
fn every_kind_of_value_that_the_program_takes_fits() {
    let site = Site::new();
    let profile = schema(&site, "profile");
    for text in [
        "[alpine]\narch = \"x86_64\"",
        "[alpine]\narch = [\"x86_64\"]",
        "[network.interfaces]\nboot = {}\neth1 = { address = [\"10.0.0.5/24\"], gateway = \"10.0.0.1\" }\neth2 = { address = \"none\" }",
        "[vars]\na = 1\nb = true\nc = \"x\"\nd = [\"x\"]\ne = { type = \"list\", required = \"machine\" }\nf = { type = \"string\", required = true }",
        "[files]\n\"etc/x\" = { owner = \"1:1\", mode = \"0600\" }",
        "[nodes]\n\"srv/null\" = \"c 1:3\"\n\"srv/disk\" = \"b 7:0\"\n\"srv/pipe\" = \"p\"",
        "allow-empty-root-password = true\n[[allow]]\nrule = \"OVL-1\"\nreason = \"x\"",
    ] {
        assert!(Profile::parse(text).is_ok(), "{text}");
        assert_eq!(check(&profile, text), None, "{text}");
    }
}

#[test]
fn every_key_is_described_in_words_for_its_author() {
    fn look(value: &Value, at: &str, wrong: &mut Vec<String>) {
        if let Some(text) = value.get("description").and_then(Value::as_str)
            && ["DESIGN", ".md", "[`", "\n"].iter().any(|word| text.contains(word))
        {
            wrong.push(format!("{at}: {text}"));
        }
        for (key, property) in value.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if property.get("description").is_none() && !at.ends_with("/services") {
                wrong.push(format!("{at}/{key} has no description"));
            }
            look(property, &format!("{at}/{key}"), wrong);
        }
        for (key, part) in value.get("$defs").and_then(Value::as_object).into_iter().flatten() {
            look(part, key, wrong);
        }
    }
    let site = Site::new();
    let mut wrong = Vec::new();
    for of in ["profile", "overlay", "site"] {
        look(&schema(&site, of), "", &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn whoever_reads_no_further_is_no_failure() {
    let site = Site::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ran = site.command(&["schema", "profile"]).stdout(writer).output().unwrap();
    assert_eq!((ran.status.code(), String::from_utf8_lossy(&ran.stderr).as_ref()), (Some(0), ""));
}

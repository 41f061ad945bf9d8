//! `[vars]` of a profile or overlay: what templates may ask for.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::document::Mistakes;

/// What kind of value a variable has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A list of texts.
    List,
}

impl Kind {
    /// A value as somebody writes it on a command line; nothing when it is of another kind.
    #[must_use]
    pub fn read(self, text: &str) -> Option<Value> {
        Some(match self {
            Self::String => Value::String(text.to_owned()),
            Self::Integer => Value::Integer(text.parse().ok()?),
            Self::Boolean => Value::Boolean(text.parse().ok()?),
            Self::List if text.is_empty() => Value::List(Vec::new()),
            Self::List => Value::List(text.split(',').map(|part| part.trim().to_owned()).collect()),
        })
    }
}

/// Who has to give a variable its value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Required {
    /// Nobody: without a value it is empty.
    #[default]
    No,
    /// The profile, or a layer of it.
    Profile,
    /// Each machine.
    Machine,
}

/// The value of a variable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text, a whole number, true or false, or a list of texts")]
pub enum Value {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Text.
    String(String),
    /// A list of texts.
    List(Vec<String>),
}

/// A variable as one layer writes it.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum Variable {
    /// `pve_host = "pve.example.net"`: a value, which declares the variable unless another layer did.
    Value(Value),
    /// `pve_host = { type = "string", required = true, description = "…" }`.
    Declared(Declared),
}

/// A variable of templates after all layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// The kind of its values.
    pub kind: Kind,
    /// Its value, when some layer gave one.
    pub value: Option<Value>,
    /// Who has to give it one.
    pub required: Required,
    /// What it is for.
    pub description: String,
}

/// A declaration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Declared {
    /// The kind of its values.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Its value when nobody gives another.
    pub default: Option<Value>,
    /// Whether somebody has to: `true`, or `"machine"` when each machine has to.
    #[serde(default, deserialize_with = "required")]
    #[schemars(with = "WhoHasTo")]
    pub required: Required,
    /// What it is for.
    #[serde(default)]
    pub description: String,
}

/// [`Required`] as it is written.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected true, false or \"machine\"")]
#[schemars(inline, description = "true, false, or \"machine\"")]
enum WhoHasTo {
    Flag(bool),
    Word(#[schemars(extend("const" = "machine"))] String),
}

fn required<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Required, D::Error> {
    match WhoHasTo::deserialize(input)? {
        WhoHasTo::Flag(true) => Ok(Required::Profile),
        WhoHasTo::Flag(false) => Ok(Required::No),
        WhoHasTo::Word(word) if word == "machine" => Ok(Required::Machine),
        WhoHasTo::Word(word) => {
            Err(serde::de::Error::custom(format!("`{word}` is not an answer; write true, false or \"machine\"")))
        }
    }
}

impl<'de> Deserialize<'de> for Variable {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        // By hand, because `untagged` would say only that nothing fits, and not where.
        input.deserialize_any(EitherForm)
    }
}

/// Reads a variable in one of its two forms.
struct EitherForm;

impl<'de> Visitor<'de> for EitherForm {
    type Value = Variable;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("a text, a whole number, true or false, a list of texts, or a declaration with a `type`")
    }

    fn visit_bool<E: serde::de::Error>(self, flag: bool) -> Result<Variable, E> {
        Ok(Variable::Value(Value::Boolean(flag)))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Variable, E> {
        Ok(Variable::Value(Value::Integer(number)))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Variable, E> {
        Ok(Variable::Value(Value::String(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Variable, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(Value::List).map(Variable::Value)
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Variable, A::Error> {
        Declared::deserialize(MapAccessDeserializer::new(table)).map(Variable::Declared)
    }
}

impl Value {
    /// What kind it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Boolean(_) => Kind::Boolean,
            Self::Integer(_) => Kind::Integer,
            Self::String(_) => Kind::String,
            Self::List(_) => Kind::List,
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Boolean(flag) => flag.fmt(out),
            Self::Integer(number) => number.fmt(out),
            Self::String(text) => text.fmt(out),
            Self::List(list) => list.join(", ").fmt(out),
        }
    }
}

impl Kind {
    /// The word for it in a profile.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::List => "list",
        }
    }

    /// The word with its article.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::Integer => "an integer",
            Self::Boolean => "a boolean",
            Self::List => "a list",
        }
    }

    /// The value of a variable that nobody gave one.
    #[must_use]
    pub const fn empty(self) -> Value {
        match self {
            Self::String => Value::String(String::new()),
            Self::Integer => Value::Integer(0),
            Self::Boolean => Value::Boolean(false),
            Self::List => Value::List(Vec::new()),
        }
    }
}

/// Notes variables that no template could ask for, and declarations that contradict themselves.
pub(super) fn mistakes(vars: &BTreeMap<String, Variable>, found: &mut Mistakes) {
    for (name, variable) in vars {
        let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
        if !first || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            found.name(&["vars"], name, "a variable has letters, digits and `_`, a letter first");
        } else if let Variable::Declared(Declared { kind, default: Some(default), required, .. }) = variable {
            let shown = default.to_string();
            if default.kind() != *kind {
                let why = format!("the variable's type is {}; write a default of that type", kind.word());
                found.value(&["vars", name, "default"], &shown, why);
            } else if *required != Required::No {
                let why = "what has a default is not required; take one of the two out";
                found.value(&["vars", name, "default"], &shown, why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Layer;
    use super::*;

    fn read(text: &str) -> Result<BTreeMap<String, Variable>, String> {
        let indented: String = text.lines().map(|line| format!("vars.{line}\n")).collect();
        Layer::parse(&indented).map(|layer| layer.vars).map_err(|error| error.to_string())
    }

    #[test]
    fn a_variable_is_a_value_or_a_declaration() {
        let vars = read(
            "host = \"pve\"\nport = { type = \"integer\", default = 8006 }\nseat = { type = \"string\", required = \"machine\" }\n\
             list = [\"a\", \"b\"]\non = true",
        )
        .unwrap();
        assert_eq!(vars["host"], Variable::Value(Value::String("pve".to_owned())));
        assert_eq!(vars["list"], Variable::Value(Value::List(vec!["a".to_owned(), "b".to_owned()])));
        let Variable::Declared(seat) = &vars["seat"] else { panic!("not declared") };
        assert_eq!((seat.kind, seat.required), (Kind::String, Required::Machine));
    }

    #[test]
    fn what_does_not_hold_together_is_refused() {
        for (text, said) in [
            ("\"a-b\" = 1", "letters, digits and `_`"),
            ("a = 1.5", "a text, a whole number"),
            ("a = { type = \"integer\", default = \"x\" }", "type is integer"),
            ("a = { type = \"integer\", default = 1, required = true }", "is not required"),
            ("a = { type = \"number\" }", "write one of `string`, `integer`, `boolean`, `list`"),
            ("a = { typ = \"string\" }", "unknown key `typ` in `vars.a`; did you mean `type`?"),
            ("a = [\"x\", 1]", "`vars.a` has the value `1`, and a text is wanted"),
            ("a = { type = \"string\", required = \"often\" }", "`often` is not an answer"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn values_are_read_as_their_kind() {
        let list = |items: &[&str]| Value::List(items.iter().map(|item| (*item).to_owned()).collect());
        for (kind, text, value) in [
            (Kind::String, "80", Some(Value::String("80".to_owned()))),
            (Kind::Integer, "-80", Some(Value::Integer(-80))),
            (Kind::Integer, "x", None),
            (Kind::Boolean, "true", Some(Value::Boolean(true))),
            (Kind::Boolean, "yes", None),
            (Kind::List, "a, b", Some(list(&["a", "b"]))),
            (Kind::List, "", Some(list(&[]))),
        ] {
            assert_eq!(kind.read(text), value, "{text}");
        }
    }
}

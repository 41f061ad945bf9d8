//! Making the files of one machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Enumerator, Object};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value as Known};

use super::names::{self, LABELS, MACHINE};
use super::program::{Program, Refusal};
use super::{Template, TemplateError, TemplateSet, Vars, limits, meter};
use crate::model::identity::{Hardware, HardwareTexts, Identity};
use crate::model::label::Labels;
use crate::model::profile::variable::{Declaration, Required, Value};

/// The largest file a template may make, in bytes.
pub const LARGEST_OUTPUT: usize = 1 << 20;

/// The most that the templates of one machine may make together, in bytes.
pub const LARGEST_ALTOGETHER: usize = 16 << 20;

/// How many steps a template may take, the weighing of values included: some milliseconds of work.
const FUEL: u64 = 200_000;

/// A file as it is on one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// Its content.
    pub text: String,
    /// The place of its template in [`TemplateSet::files`].
    pub template: usize,
}

/// A set of templates that was understood.
#[derive(Debug)]
pub struct Renderer {
    set: TemplateSet,
    /// Those of the set, in its order.
    programs: Vec<Program>,
    environment: Environment<'static>,
    profile: Known,
}

impl Renderer {
    /// Parses every template.
    ///
    /// # Errors
    /// The first one that is no template.
    pub fn new(set: TemplateSet) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).trim_blocks(true).lstrip_blocks(true).build();
        let syntax = syntax.expect("the delimiters are those of Jinja");
        environment.set_syntax(syntax.clone());
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        // It would write all that the template knows into the file.
        environment.remove_global("debug");
        meter::set(&mut environment);
        limits::set(&mut environment);
        let understood = |file: &Template| {
            Program::new(&environment, &syntax, &file.path, &file.text).map_err(|refusal| refusal.of(&file.path))
        };
        let programs = set.files.iter().map(understood).collect::<Result<_, _>>()?;
        let profile = Known::from(
            set.profile.iter().map(|(name, text)| (name.clone(), Known::from(text))).collect::<BTreeMap<_, _>>(),
        );
        Ok(Self { set, programs, environment, profile })
    }

    /// The set.
    #[must_use]
    pub const fn set(&self) -> &TemplateSet {
        &self.set
    }

    /// Looks for mistakes that would show at boot: names nobody knows anywhere in a template, filters and functions
    /// that do not exist, and templates that fail for every machine that can be thought of. `bare` machines give no
    /// values; variables they have to give get one of their kind.
    ///
    /// # Errors
    /// The first mistake.
    pub fn check(&self) -> Result<(), TemplateError> {
        for (file, program) in self.set.files.iter().zip(&self.programs) {
            names::check(&self.set, &self.environment, &file.path, &file.text, program.names())?;
        }
        let trials = [self.trial(&fullest(), every_label(), true), self.trial(&barest(), no_label(), false)];
        let mistake = trials.iter().flatten().find(|(_, is_mistake)| *is_mistake);
        let hopeless = || trials.iter().flatten().next().filter(|_| trials.iter().all(Option::is_some));
        match mistake.or_else(hopeless) {
            Some((error, _)) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// The files of a machine nobody has, for looking at what templates make of a profile's own values.
    ///
    /// # Errors
    /// When it cannot be made for such a machine, though it may be for others.
    pub fn sample(&self) -> Result<Vec<Rendered>, TemplateError> {
        let vars = self.trial_vars(true);
        self.all(&fullest(), every_label(), vars).map_err(|(error, _)| error)
    }

    /// The templates whose file is the same on every machine, whatever it is and whatever values it gives, and the
    /// others.
    #[must_use]
    pub fn split(&self) -> (Vec<Template>, Vec<Template>) {
        let is_common = |program: &Program| {
            program.names().iter().all(|name| !matches!(name.split('.').next(), Some("machine" | "vars")))
        };
        let (common, own): (Vec<_>, Vec<_>) =
            self.set.files.iter().cloned().zip(&self.programs).partition(|(_, program)| is_common(program));
        let files = |list: Vec<(Template, &Program)>| list.into_iter().map(|(file, _)| file).collect();
        (files(common), files(own))
    }

    /// The values that people wrote for a machine, each of the kind its declaration says. What the profile does not declare
    /// is for another one; what is of another kind is refused when files are made.
    #[must_use]
    pub fn read(&self, written: &BTreeMap<String, String>) -> Vars {
        let read = |(name, text): (&String, &String)| {
            let kind = self.set.vars.get(name)?.kind;
            Some((name.clone(), kind.read(text).unwrap_or_else(|| Value::String(text.clone()))))
        };
        written.iter().filter_map(read).collect()
    }

    /// Whether a machine's values fit: each variable is declared, and of the kind the declaration says.
    ///
    /// # Errors
    /// The first that does not.
    pub fn accepts(&self, own: &Vars) -> Result<(), TemplateError> {
        for (name, value) in own {
            let Some(declaration) = self.set.vars.get(name) else {
                let known: Vec<&str> = self.set.vars.keys().map(String::as_str).collect();
                return Err(TemplateError::UnknownVariable { name: name.clone(), hint: names::hint(name, &known, "") });
            };
            fits(name, declaration, value)?;
        }
        Ok(())
    }

    /// The files of a machine with these labels, in the order of their templates. `own` are its values, which win over
    /// the profile's; those of variables this set does not have are not looked at.
    ///
    /// # Errors
    /// When a value or label is missing, or a value of the wrong kind, a template does not get along with the machine's
    /// values, makes too much or takes too long.
    pub fn render(&self, machine: &Identity, labels: &Labels, own: &Vars) -> Result<Vec<Rendered>, TemplateError> {
        let mut vars = BTreeMap::new();
        for (name, declaration) in &self.set.vars {
            let value = match own.get(name) {
                Some(value) => {
                    fits(name, declaration, value)?;
                    value.clone()
                }
                None => match &declaration.value {
                    Some(value) => value.clone(),
                    None if declaration.required == Required::Machine => {
                        let description = declaration.description.clone();
                        return Err(TemplateError::NoValue { name: name.clone(), description });
                    }
                    None => declaration.kind.empty(),
                },
            };
            vars.insert(name.clone(), known(&value));
        }
        self.all(machine, known_labels(labels), vars).map_err(|(error, _)| error)
    }

    /// The error of a trial, and whether it is the template's mistake whatever a machine's values are.
    fn trial(&self, machine: &Identity, labels: Known, is_full: bool) -> Option<(TemplateError, bool)> {
        self.all(machine, labels, self.trial_vars(is_full)).err()
    }

    fn trial_vars(&self, is_full: bool) -> BTreeMap<String, Known> {
        let value = |declaration: &Declaration| match &declaration.value {
            Some(value) => known(value),
            None if is_full => known(&sample(declaration)),
            None => known(&declaration.kind.empty()),
        };
        self.set.vars.iter().map(|(name, declaration)| (name.clone(), value(declaration))).collect()
    }

    fn all(
        &self,
        machine: &Identity,
        labels: Known,
        vars: BTreeMap<String, Known>,
    ) -> Result<Vec<Rendered>, (TemplateError, bool)> {
        let mut rendered = Vec::with_capacity(self.set.files.len());
        let context = Known::from(BTreeMap::from([
            ("machine".to_owned(), facts(machine, labels)),
            ("profile".to_owned(), self.profile.clone()),
            ("vars".to_owned(), Known::from(vars)),
        ]));
        let mut sum = 0;
        for (template, (file, program)) in self.set.files.iter().zip(&self.programs).enumerate() {
            let failed = |refusal: Refusal| {
                let is_mistake = refusal.is_mistake;
                (refusal.of(&file.path), is_mistake)
            };
            let text = program.run(&self.environment, context.clone()).map_err(failed)?;
            sum += text.len();
            if text.len() > LARGEST_OUTPUT {
                return Err((TemplateError::TooLarge { path: file.path.clone() }, false));
            }
            if sum > LARGEST_ALTOGETHER {
                return Err((TemplateError::TooMuch { path: file.path.clone() }, false));
            }
            rendered.push(Rendered { text, template });
        }
        Ok(rendered)
    }
}

fn fits(name: &str, declaration: &Declaration, value: &Value) -> Result<(), TemplateError> {
    if declaration.kind == value.kind() {
        return Ok(());
    }
    let (declared, given) = (declaration.kind.word(), value.kind().word());
    Err(TemplateError::WrongKind { name: name.to_owned(), declared, value: value.to_string(), given })
}

fn known(value: &Value) -> Known {
    match value {
        Value::Boolean(flag) => Known::from(*flag),
        Value::Integer(number) => Known::from(*number),
        Value::String(text) => Known::from(text),
        Value::List(list) => list.iter().map(Known::from).collect(),
    }
}

/// What a template knows of a machine: texts, empty where the machine does not say, and its labels.
fn facts(machine: &Identity, labels: Known) -> Known {
    let Identity { mac, uuid, serial, platform, buildarch, hardware } = machine;
    let Hardware { board_serial, asset, manufacturer, product, cards: _, address: _, relay: _ } = hardware;
    let address = Some(mac.to_string());
    let said = [&address, uuid, serial, platform, buildarch, board_serial, asset, manufacturer, product]
        .map(|text| Known::from(text.as_deref().unwrap_or_default()));
    let said = MACHINE.into_iter().zip(said).chain([(LABELS, labels)]);
    Known::from(said.map(|(name, value)| (name.to_owned(), value)).collect::<BTreeMap<_, _>>())
}

fn known_labels(labels: &Labels) -> Known {
    let texts = labels.iter().map(|(key, value)| (key.as_str().to_owned(), Known::from(value.as_str())));
    Known::from(texts.collect::<BTreeMap<_, _>>())
}

/// The labels of a machine that has every label anybody asks for. Its texts are numbers where a template may want one.
#[derive(Debug)]
struct EveryLabel;

impl Object for EveryLabel {
    fn get_value(self: &Arc<Self>, _: &Known) -> Option<Known> {
        Some(Known::from("7"))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Empty
    }
}

fn every_label() -> Known {
    Known::from_object(EveryLabel)
}

fn no_label() -> Known {
    known_labels(&Labels::new())
}

/// A machine that says all there is. Its texts are numbers where a template may want one.
fn fullest() -> Identity {
    let mac = "02:00:00:00:00:01".parse().expect("this is an address");
    let texts = HardwareTexts { board_serial: "7", asset: "7", manufacturer: "7", product: "7" };
    let hardware = Hardware::from_texts(texts, vec![mac]);
    Identity { hardware, ..Identity::from_texts(mac, "4c4c4544-0000-2010-8020-80c04f202020", "7", "efi", "x86_64") }
}

fn barest() -> Identity {
    Identity::of(fullest().mac)
}

/// A value such as a machine may give.
fn sample(declaration: &Declaration) -> Value {
    match declaration.kind.empty() {
        Value::String(_) if declaration.required == Required::Machine => Value::String("1".to_owned()),
        Value::List(_) if declaration.required == Required::Machine => Value::List(vec!["1".to_owned()]),
        empty => empty,
    }
}

#[cfg(test)]
pub(super) mod tests;

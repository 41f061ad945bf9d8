//! Making the files of one machine.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value as Known};

use super::names::{self, MACHINE};
use super::{SUFFIX, TemplateError, TemplateSet, Vars, limits};
use crate::model::identity::{Hardware, HardwareTexts, Identity};
use crate::model::profile::variable::{Declaration, Required, Value};

/// The largest file a template may make, in bytes.
pub const LARGEST_OUTPUT: usize = 1 << 20;

/// How many steps a template may take: some milliseconds of work.
const FUEL: u64 = 100_000;

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
        environment.set_syntax(syntax.expect("the delimiters are those of Jinja"));
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        limits::set(&mut environment);
        for file in &set.files {
            environment
                .add_template_owned(file.path.clone(), file.text.clone())
                .map_err(|error| described(&file.path, &error))?;
        }
        let profile = Known::from(
            set.profile.iter().map(|(name, text)| (name.clone(), Known::from(text))).collect::<BTreeMap<_, _>>(),
        );
        Ok(Self { set, environment, profile })
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
        for file in &self.set.files {
            names::check(&self.set, &self.environment, &file.path, &file.text, &self.uses(&file.path))?;
        }
        let trials = [self.trial(&fullest(), true), self.trial(&barest(), false)];
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
        self.all(&fullest(), vars).map_err(|(error, _)| error)
    }

    /// Whether the files are the same on every machine, whatever it is and whatever values it gives.
    #[must_use]
    pub fn is_common(&self, path: &str) -> bool {
        self.uses(path).iter().all(|name| !matches!(name.split('.').next(), Some("machine" | "vars")))
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

    /// The files of a machine, in the order of their templates. `own` are its values, which win over the profile's;
    /// those of variables this set does not have are not looked at.
    ///
    /// # Errors
    /// When a value is missing or of the wrong kind, a template does not get along with the machine's values, makes too
    /// much or takes too long.
    pub fn render(&self, machine: &Identity, own: &Vars) -> Result<Vec<Rendered>, TemplateError> {
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
        self.all(machine, vars).map_err(|(error, _)| error)
    }

    /// The error of a trial, and whether it is the template's mistake whatever a machine's values are.
    fn trial(&self, machine: &Identity, is_full: bool) -> Option<(TemplateError, bool)> {
        self.all(machine, self.trial_vars(is_full)).err()
    }

    fn trial_vars(&self, is_full: bool) -> BTreeMap<String, Known> {
        let value = |declaration: &Declaration| match &declaration.value {
            Some(value) => known(value),
            None if is_full => known(&sample(declaration)),
            None => known(&declaration.kind.empty()),
        };
        self.set.vars.iter().map(|(name, declaration)| (name.clone(), value(declaration))).collect()
    }

    fn all(&self, machine: &Identity, vars: BTreeMap<String, Known>) -> Result<Vec<Rendered>, (TemplateError, bool)> {
        let mut rendered = Vec::with_capacity(self.set.files.len());
        let context = Known::from(BTreeMap::from([
            ("machine".to_owned(), facts(machine)),
            ("profile".to_owned(), self.profile.clone()),
            ("vars".to_owned(), Known::from(vars)),
        ]));
        for (template, file) in self.set.files.iter().enumerate() {
            let mut out = Bounded::default();
            let failed = |error: &Error| (described(&file.path, error), is_mistake(error));
            let made = self
                .environment
                .get_template(&file.path)
                .and_then(|template| template.render_captured_to(context.clone(), &mut out).map(drop));
            if out.is_full {
                return Err((TemplateError::TooLarge { path: file.path.clone() }, false));
            }
            made.map_err(|error| failed(&error))?;
            let text = String::from_utf8_lossy(&out.bytes).into_owned();
            rendered.push(Rendered { text, template });
        }
        Ok(rendered)
    }

    /// The names a template looks up, with one field each (`vars.pve_host`).
    fn uses(&self, path: &str) -> BTreeSet<String> {
        let template = self.environment.get_template(path);
        template.map(|it| it.undeclared_variables(true).into_iter().collect()).unwrap_or_default()
    }
}

/// What a template writes, up to the limit.
#[derive(Debug, Default)]
struct Bounded {
    bytes: Vec<u8>,
    is_full: bool,
}

impl io::Write for &mut Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > LARGEST_OUTPUT {
            self.is_full = true;
            return Err(io::Error::other("more than a file may have"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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

/// What a template knows of a machine: texts, empty where the machine does not say.
fn facts(machine: &Identity) -> Known {
    let Identity { mac, uuid, serial, platform, buildarch, hardware } = machine;
    let Hardware { board_serial, asset, manufacturer, product, cards: _, address: _, relay: _ } = hardware;
    let address = Some(mac.to_string());
    let said = [&address, uuid, serial, platform, buildarch, board_serial, asset, manufacturer, product]
        .map(|text| Known::from(text.as_deref().unwrap_or_default()));
    Known::from(MACHINE.iter().map(|name| (*name).to_owned()).zip(said).collect::<BTreeMap<_, _>>())
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

/// Whether an error is in the template and not in the values it met.
fn is_mistake(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::SyntaxError
            | ErrorKind::UnknownFilter
            | ErrorKind::UnknownTest
            | ErrorKind::UnknownFunction
            | ErrorKind::UnknownMethod
            | ErrorKind::TooManyArguments
            | ErrorKind::MissingArgument
            | ErrorKind::TemplateNotFound
    )
}

fn described(path: &str, error: &Error) -> TemplateError {
    let why = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "it takes too long; a loop in it may be too large".to_owned(),
        (_, Some(detail)) => format!("{}: {detail}", error.kind()),
        (kind, None) => kind.to_string(),
    };
    let path = path.strip_suffix(SUFFIX).unwrap_or(path).to_owned();
    TemplateError::Template { path, line: error.line().unwrap_or(1), why }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::profile::variable::Kind;
    use crate::model::template::Template;

    fn declared(kind: Kind, value: Option<Value>, required: Required) -> Declaration {
        Declaration { kind, value, required, description: String::new() }
    }

    /// A set with a few variables.
    pub(in crate::model::template) fn set(files: &[(&str, &str)]) -> TemplateSet {
        let files = files.iter().map(|(path, text)| Template {
            path: (*path).to_owned(),
            mode: 0o644,
            uid: 0,
            gid: 0,
            text: (*text).to_owned(),
        });
        let profile = [("name", "vdi"), ("hostname", "vdi")].map(|(name, text)| (name.to_owned(), text.to_owned()));
        let vars = [
            ("pve_host", declared(Kind::String, Some(Value::String("pve.example.net".to_owned())), Required::No)),
            ("port", declared(Kind::Integer, Some(Value::Integer(8006)), Required::No)),
            ("seat", declared(Kind::String, None, Required::No)),
            ("tags", declared(Kind::List, None, Required::No)),
        ];
        let vars = vars.into_iter().map(|(name, declaration)| (name.to_owned(), declaration)).collect();
        TemplateSet::new(0, profile.into(), vars, files.collect())
    }

    fn renderer(text: &str) -> Result<Renderer, TemplateError> {
        let renderer = Renderer::new(set(&[("etc/x", text)]))?;
        renderer.check().map(|()| renderer)
    }

    fn machine() -> Identity {
        Identity::from_texts("52:54:00:00:00:01".parse().unwrap(), "", "PC-7", "efi", "x86_64")
    }

    fn rendered(text: &str, own: &[(&str, Value)]) -> Result<String, TemplateError> {
        let own = own.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Ok(renderer(text)?.render(&machine(), &own)?.remove(0).text)
    }

    #[test]
    fn a_filter_makes_no_more_than_a_file_may_have_whatever_a_machine_says() {
        let serial = |text: &str| Identity::from_texts("52:54:00:00:00:01".parse().unwrap(), "", text, "efi", "x86_64");
        let made = |text: &str, machine: &Identity| {
            Renderer::new(set(&[("etc/x", text)]))
                .unwrap()
                .render(machine, &Vars::new())
                .map(|mut it| it.remove(0).text)
        };
        for (text, usual) in [
            ("{{ \"a\nb\"|indent(machine.serial|int) }}", "a\n  b"),
            ("{{ \"a\nb\"|indent(width=machine.serial|int) }}", "a\n  b"),
            ("{{ [1, 2]|batch(machine.serial|int, 0)|list }}", "[[1, 2]]"),
            ("{{ [1, 2]|slice(machine.serial|int)|list }}", "[[1], [2]]"),
            ("{{ (\"%\" ~ machine.serial ~ \"s\")|format(\"x\") }}", " x"),
        ] {
            assert_eq!(made(text, &serial("2")).unwrap(), usual, "{text}");
            for large in ["1048577", "300000000", "4000000000", "9223372036854775807"] {
                let error = made(text, &serial(large)).unwrap_err().to_string();
                assert!(
                    error.contains("would make more than the 1048576 bytes that a file may have"),
                    "{text}: {error}"
                );
                assert!(error.starts_with("etc/x.tmpl, line "), "{error}");
            }
        }
        for text in ["{{ vars.seat|replace('x', vars.seat) }}", "{{ range(2000)|join(vars.seat) }}"] {
            let made = |length: usize| rendered(text, &[("seat", Value::String("x".repeat(length)))]);
            assert!(made(100).is_ok(), "{text}");
            let error = made(2000).unwrap_err().to_string();
            assert!(error.contains("would make more than"), "{text}: {error}");
        }
    }

    #[test]
    fn a_machine_gets_its_own_values_over_those_of_the_profile() {
        let text = "{{ profile.name }} {{ vars.pve_host }}:{{ vars.port }} {{ machine.mac }} [{{ machine.uuid }}]\n";
        assert_eq!(rendered(text, &[]).unwrap(), "vdi pve.example.net:8006 52:54:00:00:00:01 []\n");
        let own = [("pve_host", Value::String("other".to_owned())), ("port", Value::Integer(1))];
        assert_eq!(rendered(text, &own).unwrap(), "vdi other:1 52:54:00:00:00:01 []\n");
    }

    #[test]
    fn lines_that_only_have_a_tag_leave_nothing_and_the_last_newline_stays() {
        let text = "a\n  {% if machine.serial %}\nserial={{ machine.serial }}\n  {% endif %}\n{% for tag in vars.tags %}\n{{ tag }};\n{% endfor %}\n<&>\n";
        let tags = [("tags", Value::List(vec!["x".to_owned(), "y".to_owned()]))];
        assert_eq!(rendered(text, &tags).unwrap(), "a\nserial=PC-7\nx;\ny;\n<&>\n");
    }

    #[test]
    fn mistakes_are_found_before_any_machine_boots_with_their_line_and_what_was_meant() {
        for (text, said) in [
            (
                "a\n{{ vars.pve_hots }}",
                "etc/x.tmpl, line 2: there is no `vars.pve_hots`; did you mean `vars.pve_host`?",
            ),
            ("{{ pve_host }}", "etc/x.tmpl, line 1: there is no `pve_host`; did you mean `vars.pve_host`?"),
            ("{{ machin.mac }}", "etc/x.tmpl, line 1: there is no `machin`; did you mean `machine`?"),
            ("{{ machine.asset_tag }}", "there is no `machine.asset_tag`; there are `machine.mac`, `machine.uuid`,"),
            ("{% if machine.mac == 'never' %}\n{{ vars.nonsense }}{% endif %}", "line 2: there is no `vars.nonsense`"),
            ("{{ vars.port|nonsense }}", "line 1: unknown filter"),
            ("\n{% if %}", "etc/x.tmpl, line 2: syntax error"),
            ("{{ vars['nonsense'] }}", "line 1: undefined value"),
            ("{{ vars['non' ~ 'sense'] }}", "line 1: undefined value"),
            ("{% include 'x' %}", "line 1: syntax error"),
        ] {
            let error = renderer(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn what_only_some_machines_cannot_have_is_no_mistake_and_fails_for_those() {
        let text = "{{ machine.serial|int + 1 }}";
        let error = rendered(text, &[]).unwrap_err().to_string();
        assert!(error.starts_with("etc/x.tmpl, line 1: "), "{error}");
        let numbered = Identity { serial: Some("41".to_owned()), ..machine() };
        assert_eq!(renderer(text).unwrap().render(&numbered, &Vars::new()).unwrap()[0].text, "42");
    }

    #[test]
    fn a_value_every_machine_has_to_give_is_missed_by_name() {
        let mut set = set(&[("etc/x", "{{ vars.seat }}")]);
        set.vars.insert("seat".to_owned(), declared(Kind::String, None, Required::Machine));
        let renderer = Renderer::new(set).unwrap();
        renderer.check().unwrap();
        let error = renderer.render(&machine(), &Vars::new()).unwrap_err().to_string();
        assert!(error.starts_with("the variable `seat` has no value for this machine; write one into"), "{error}");
    }

    #[test]
    fn values_a_profile_does_not_know_are_told_from_those_it_does() {
        let renderer = renderer("{{ vars.seat }}").unwrap();
        let says = |name: &str, value: Value| {
            renderer.accepts(&Vars::from([(name.to_owned(), value)])).map_err(|error| error.to_string())
        };
        assert_eq!(says("seat", Value::String("1".to_owned())), Ok(()));
        assert_eq!(
            says("set", Value::Integer(1)),
            Err("the profile has no variable `set`; did you mean `seat`?".to_owned())
        );
        assert_eq!(
            says("seat", Value::Integer(1)),
            Err("the variable `seat` is of type string, and `1` is of type integer".to_owned())
        );
    }

    #[test]
    fn a_template_that_runs_away_is_stopped() {
        let long = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        assert!(rendered(long, &[]).unwrap_err().to_string().contains("it takes too long"));
        let large = "{% for a in range(9999) %}{{ vars.seat }}{% endfor %}";
        let seat = [("seat", Value::String("x".repeat(200)))];
        let error = rendered(large, &seat).unwrap_err().to_string();
        assert_eq!(error, "etc/x.tmpl makes more than 1048576 bytes; shorten what it writes");
    }

    #[test]
    fn only_what_depends_on_no_machine_is_common() {
        for (text, is_common) in [
            ("plain", true),
            ("{{ profile.name }}", true),
            ("{% set x = profile.name %}{{ x }}", true),
            ("{{ vars.port }}", false),
            ("{% set v = machine %}{{ v.mac }}", false),
        ] {
            assert_eq!(renderer(text).unwrap().is_common("etc/x"), is_common, "{text}");
        }
    }
}

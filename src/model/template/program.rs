//! A template, compiled so that every value it makes passes the [meter](super::meter).
//!
//! minijinja has no hook between its operators, so the meter is put into the syntax tree before it is compiled: `a ~ b`
//! becomes `(a ~ b)|weigh`. The tree is minijinja's own (`unstable_machinery`, the version is pinned in Cargo.toml), so
//! what a template means is what minijinja says it means.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::machinery::{CodeGenerator, Instructions, Token, eval, make_string_output, parse, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};
use self_cell::self_cell;

use super::TemplateError;
use super::metered::metered;

/// How many operators one tag may have. Each may be a level of the tree, and what goes through the tree takes the stack
/// for each level.
const MOST_OPERATORS: usize = 100;

/// How many `elif` one template may have, for the same reason.
const MOST_ELIFS: usize = 100;

/// Why a template is none, or could not be run to its end.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The line in it, counted from 1.
    pub(super) line: usize,
    pub(super) why: String,
    /// Whether it is the template's mistake whatever a machine's values are.
    pub(super) is_mistake: bool,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let why = match (error.kind(), error.detail()) {
            (ErrorKind::OutOfFuel, _) => "it takes too long; a loop in it may be too large".to_owned(),
            (_, Some(detail)) => format!("{}: {detail}", error.kind()),
            (kind, None) => kind.to_string(),
        };
        let is_mistake = matches!(
            error.kind(),
            ErrorKind::SyntaxError
                | ErrorKind::UnknownFilter
                | ErrorKind::UnknownTest
                | ErrorKind::UnknownFunction
                | ErrorKind::UnknownMethod
                | ErrorKind::TooManyArguments
                | ErrorKind::MissingArgument
                | ErrorKind::TemplateNotFound
        );
        Self { line: error.line().unwrap_or(1), why, is_mistake }
    }
}

impl Refusal {
    /// The error of the template of a file.
    pub(super) fn of(self, path: &str) -> TemplateError {
        TemplateError::Template { path: path.to_owned(), line: self.line, why: self.why }
    }
}

/// A template that was understood.
#[derive(Debug)]
pub(super) struct Program {
    code: Compiled,
    names: BTreeSet<String>,
}

#[derive(Debug)]
struct Source {
    name: String,
    text: String,
}

struct Code<'a> {
    instructions: Instructions<'a>,
    blocks: BTreeMap<&'a str, Instructions<'a>>,
}

self_cell!(
    struct Compiled {
        owner: Source,
        #[covariant]
        dependent: Code,
    }
    impl {Debug}
);

impl std::fmt::Debug for Code<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Code")
    }
}

impl Program {
    /// Understands a template.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn new(
        environment: &Environment<'static>,
        syntax: &SyntaxConfig,
        name: &str,
        text: &str,
    ) -> Result<Self, Refusal> {
        refuse_deep(text, syntax)?;
        let source = Source { name: name.to_owned(), text: text.to_owned() };
        let code = Compiled::try_new(source, |Source { name, text }| {
            let tree = metered(&parse(text, name, syntax.clone())?)?;
            let mut generator = CodeGenerator::new(name, text);
            generator.compile_stmt(&tree);
            let (instructions, blocks) = generator.finish();
            Ok::<_, Refusal>(Code { instructions, blocks })
        })?;
        // Only now: minijinja computes what is constant while it compiles, and the size of that is known by now.
        let names = environment.template_from_named_str(name, text)?.undeclared_variables(true);
        Ok(Self { code, names: names.into_iter().collect() })
    }

    /// The names it looks up, with one field each (`vars.pve_host`).
    pub(super) const fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    /// What it writes. No larger than a few times what the meter allows, but maybe larger than a file may be.
    ///
    /// # Errors
    /// When it does not get along with the values, takes too many steps or handles too much.
    pub(super) fn run(&self, environment: &Environment<'static>, known: Value) -> Result<String, Refusal> {
        let mut text = String::new();
        self.code.with_dependent(|_, code| {
            let mut out = make_string_output(&mut text);
            eval(environment, &code.instructions, known, &code.blocks, &mut out, AutoEscape::None).map(drop)
        })?;
        Ok(text)
    }
}

/// Refuses what would make a tree so deep that going through it takes more stack than there is.
fn refuse_deep(text: &str, syntax: &SyntaxConfig) -> Result<(), Refusal> {
    let (mut operators, mut elifs) = (0, 0);
    for token in tokenize(text, false, syntax.clone()) {
        // What is no token is told by the parser, with its place.
        let Ok((token, span)) = token else { break };
        match token {
            Token::TemplateData(_) => operators = 0,
            Token::VariableStart | Token::BlockStart => operators = 0,
            Token::Ident("elif") => elifs += 1,
            Token::Ident("and" | "or" | "not" | "in" | "is" | "if") => operators += 1,
            Token::Ident(_) | Token::Str(_) | Token::String(_) | Token::Int(_) | Token::Int128(_) | Token::Float(_) => {
            }
            Token::Comma | Token::Colon | Token::Assign | Token::VariableEnd | Token::BlockEnd => {}
            Token::BracketClose | Token::ParenClose | Token::BraceClose => {}
            _ => operators += 1,
        }
        if operators > MOST_OPERATORS || elifs > MOST_ELIFS {
            let why = if elifs > MOST_ELIFS {
                format!("there are more than {MOST_ELIFS} `elif` in it; look the value up in a map instead")
            } else {
                format!("there are more than {MOST_OPERATORS} operators in one tag; use `{{% set %}}` for parts of it")
            };
            return Err(Refusal { line: span.start_line.into(), why, is_mistake: true });
        }
    }
    Ok(())
}

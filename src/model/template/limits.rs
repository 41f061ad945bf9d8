//! Filters whose result may be much larger than what they are given, held to the size a file may have. Their arguments
//! may be what a machine says of itself, and a limit of steps is no limit of bytes.
//!
//! What operators make (`~`, `+`, `{% set %}` with a body) is not limited here: minijinja lets nobody in between.

use minijinja::value::{Kwargs, Rest, StringInput, Value, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, filters};

use super::render::LARGEST_OUTPUT;

/// Indents by this when a template does not say by how much.
const USUAL_INDENT: usize = 4;

/// Puts the filters in the place of those that minijinja brings.
pub(super) fn set(environment: &mut Environment<'static>) {
    environment.add_filter("batch", batch);
    environment.add_filter("format", format);
    environment.add_filter("indent", indent);
    environment.add_filter("join", join);
    environment.add_filter("replace", replace);
    environment.add_filter("slice", slice);
}

fn batch(state: &State, value: Value, count: usize, fill: Option<Value>) -> Result<Value, Error> {
    fits("batch", Some(count))?;
    filters::batch(state, value, count, fill)
}

fn slice(state: &State, value: Value, count: usize, fill: Option<Value>) -> Result<Value, Error> {
    fits("slice", Some(count))?;
    filters::slice(state, value, count, fill)
}

/// The widths and precisions in the text count as if each were filled; `*` takes one from the arguments.
fn format(state: &mut State, text: &Value, arguments: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let written = text.as_str().unwrap_or_default();
    let numbers = written.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let mut size = numbers.map(|digits| digits.parse().ok()).try_fold(0, |sum: usize, it| sum.checked_add(it?));
    if written.contains('*') {
        let given = arguments.iter().filter_map(|it| it.as_i64()).map(i64::unsigned_abs);
        size = given
            .map(|it| usize::try_from(it).ok())
            .try_fold(size.unwrap_or(usize::MAX), |sum, it| sum.checked_add(it?));
    }
    fits("format", size)?;
    filters::format(state, text, arguments)
}

fn indent(
    value: StringInput<'_>,
    width: Option<usize>,
    first: Option<bool>,
    blank: Option<bool>,
    named: Kwargs,
) -> Result<Value, Error> {
    let by = width.or_else(|| named.peek("width").ok()).unwrap_or(USUAL_INDENT);
    let text = value.as_str();
    let size = text.split('\n').count().checked_mul(by).and_then(|it| it.checked_add(text.len()));
    fits("indent", size)?;
    filters::indent(value, width, first, blank, named)
}

fn join(
    state: &mut State,
    value: &Value,
    between: Option<StringInput<'_>>,
    attribute: Option<&str>,
    named: Kwargs,
) -> Result<Value, Error> {
    let between_named = named.peek::<&str>("d").map_or(0, str::len);
    let each = between.as_ref().map_or(between_named, |it| it.as_str().len());
    // What is no list is the filter's to refuse.
    if let Ok(mut items) = value.try_iter() {
        let length = |item: &Value| item.as_str().map_or(0, str::len);
        let size = items.try_fold(0, |sum: usize, item| sum.checked_add(length(&item))?.checked_add(each));
        fits("join", size)?;
    }
    filters::join(state, value, between, attribute, named)
}

fn replace(
    state: &mut State,
    value: StringInput<'_>,
    from: StringInput<'_>,
    to: StringInput<'_>,
) -> Result<Value, Error> {
    let places = value.as_str().matches(from.as_str()).count();
    let size = places.checked_mul(to.as_str().len()).and_then(|it| it.checked_add(value.as_str().len()));
    fits("replace", size)?;
    filters::replace(state, value, from, to)
}

/// Refuses what would be larger than a file may be; nothing is larger than any number.
fn fits(filter: &str, size: Option<usize>) -> Result<(), Error> {
    if size.is_some_and(|size| size <= LARGEST_OUTPUT) {
        return Ok(());
    }
    let why = format!("`{filter}` would make more than the {LARGEST_OUTPUT} bytes that a file may have");
    Err(Error::new(ErrorKind::InvalidOperation, why))
}

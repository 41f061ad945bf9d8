//! Filters whose result may be much larger than what they are given, held to the size a file may have before they make
//! it. Their results are counted here, because `map` calls them for each item of a list before the list is weighed.

use minijinja::value::{Kwargs, Rest, StringInput, Value, ValueOrKwargs, from_args};
use minijinja::{Environment, Error, State, filters};

use super::meter::{fits, spend, weight};

/// What a place in a list takes, in bytes.
const PLACE: usize = 8;

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

fn batch(state: &mut State, value: Value, count: usize, fill: Option<Value>) -> Result<Value, Error> {
    counted(state, "batch", count.checked_mul(PLACE))?;
    filters::batch(state, value, count, fill)
}

fn slice(state: &mut State, value: Value, count: usize, fill: Option<Value>) -> Result<Value, Error> {
    counted(state, "slice", count.checked_mul(PLACE))?;
    filters::slice(state, value, count, fill)
}

/// The widths and precisions in the text count as if each were filled, `*` takes one from the arguments, and each place
/// may take the longest argument.
fn format(state: &mut State, text: &Value, arguments: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let written = text.as_str().unwrap_or_default();
    let numbers = written.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let mut size = numbers.map(|digits| digits.parse().ok()).try_fold(0, |sum: usize, it| sum.checked_add(it?));
    let given = values(&arguments);
    if written.contains('*') {
        let numbers = given.iter().filter_map(Value::as_i64).map(i64::unsigned_abs);
        size = numbers
            .map(|it| usize::try_from(it).ok())
            .try_fold(size.unwrap_or(usize::MAX), |sum, it| sum.checked_add(it?));
    }
    let mut longest = 0;
    for argument in &given {
        longest = weight(argument)?.max(longest);
    }
    let places = written.matches('%').count().checked_mul(longest).and_then(|it| it.checked_add(written.len()));
    counted(state, "format", size.zip(places).and_then(|(size, places)| size.checked_add(places)))?;
    filters::format(state, text, arguments)
}

fn indent(state: &mut State, value: StringInput<'_>, arguments: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let arguments = values(&arguments);
    let (width, first, blank, named): (Option<usize>, Option<bool>, Option<bool>, Kwargs) = from_args(&arguments)?;
    let by = width.or_else(|| named.peek("width").ok()).unwrap_or(USUAL_INDENT);
    let text = value.as_str();
    let size = text.split('\n').count().checked_mul(by).and_then(|it| it.checked_add(text.len()));
    counted(state, "indent", size)?;
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
        counted(state, "join", size)?;
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
    counted(state, "replace", size)?;
    filters::replace(state, value, from, to)
}

fn values(arguments: &Rest<ValueOrKwargs>) -> Vec<Value> {
    arguments.iter().map(|it| it.clone().into_value()).collect()
}

/// Refuses what would be larger than a file may be, and counts what is not.
fn counted(state: &mut State, filter: &str, size: Option<usize>) -> Result<(), Error> {
    let size = fits(&format!("`{filter}`"), size)?;
    spend(state, size)
}

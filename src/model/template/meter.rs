//! What one template may handle while it runs. A limit of steps is no limit of bytes: thirty steps that each double a
//! text make a gigabyte of it. So every value that a template makes, takes from a name or writes is weighed, and what it
//! handles is added up. Memory and time are bounded by that, whatever the template and whatever a machine says.

use minijinja::value::{Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, escape_formatter, functions, tests};

use super::render::LARGEST_OUTPUT;

/// Weighs a value and hands it on. No template can name it, because of the mark before it.
pub(super) const WEIGH: &str = "!weigh";

/// Weighs a value that a namespace is to hold.
pub(super) const KEEP: &str = "!keep";

/// The product of two values.
pub(super) const TIMES: &str = "!times";

/// What a template may handle altogether, in bytes; every use of a value counts.
const MOST_HANDLED: usize = 64 << 20;

/// How deep lists and maps may be in each other. What goes through a value takes the stack for each level.
const DEEPEST: usize = 32;

/// What each item of a list or a map counts besides the text in it.
const ITEM: usize = 8;

/// What a template has handled so far.
#[derive(Debug, Default)]
struct Handled {
    bytes: usize,
    /// Those it made: the only values that can change, and therefore could hold themselves.
    namespaces: Vec<Value>,
}

/// Puts the meter into an environment.
pub(super) fn set(environment: &mut Environment<'static>) {
    environment.add_filter(WEIGH, weigh);
    environment.add_filter(KEEP, keep);
    environment.add_filter(TIMES, times);
    environment.add_function("namespace", namespace);
    environment.set_formatter(|out, state, value| {
        let weight = weight(value)?;
        spend(state, weight)?;
        escape_formatter(out, state, value)
    });
}

/// Adds to what a template handles.
///
/// # Errors
/// When that is too much.
pub(super) fn spend(state: &mut State, bytes: usize) -> Result<(), Error> {
    let handled = state.get_or_insert_extension_with(Handled::default);
    handled.bytes = handled.bytes.saturating_add(bytes);
    if handled.bytes > MOST_HANDLED {
        return Err(refused(format!("it handles more than {MOST_HANDLED} bytes; a loop in it may make too much")));
    }
    Ok(())
}

/// Refuses what would be larger than a file may be; nothing is larger than any number.
pub(super) fn fits(what: &str, size: Option<usize>) -> Result<usize, Error> {
    size.filter(|size| *size <= LARGEST_OUTPUT)
        .ok_or_else(|| refused(format!("{what} would make more than the {LARGEST_OUTPUT} bytes that a file may have")))
}

/// How large a value is when it is written out: a list that is in another twice counts twice.
///
/// # Errors
/// When it is larger than a file may be, or nested too deep.
pub(super) fn weight(value: &Value) -> Result<usize, Error> {
    let mut sum = 0;
    add(value, 0, &mut sum)?;
    Ok(sum)
}

fn add(value: &Value, depth: usize, sum: &mut usize) -> Result<(), Error> {
    let own = value.as_str().map(str::len).or_else(|| value.as_bytes().map(<[u8]>::len)).unwrap_or_default();
    *sum = fits("a value in it", sum.checked_add(own).and_then(|sum| sum.checked_add(ITEM)))?;
    let kind = value.kind();
    if !matches!(kind, ValueKind::Seq | ValueKind::Iterable | ValueKind::Map) {
        return Ok(());
    }
    if depth == DEEPEST {
        return Err(refused(format!("lists or maps in it are in each other more than {DEEPEST} deep")));
    }
    for item in value.try_iter()? {
        add(&item, depth + 1, sum)?;
        if kind == ValueKind::Map {
            add(&value.get_item(&item)?, depth + 1, sum)?;
        }
    }
    Ok(())
}

/// What is still to be computed (`reverse`, `+` of lists) becomes a list, so that such values never stand in each other
/// as deep as a loop is long.
fn weigh(state: &mut State, value: Value) -> Result<Value, Error> {
    spend(state, weight(&value)?)?;
    if value.kind() == ValueKind::Iterable { Ok(value.try_iter()?.collect()) } else { Ok(value) }
}

/// A namespace in a namespace could be in itself, and would never be freed.
fn keep(state: &mut State, value: Value) -> Result<Value, Error> {
    let value = weigh(state, value)?;
    let namespaces = state.get_extension::<Handled>().map(|it| it.namespaces.clone()).unwrap_or_default();
    if holds(&value, &namespaces)? {
        return Err(refused("a namespace cannot be put into a namespace".to_owned()));
    }
    Ok(value)
}

fn holds(value: &Value, namespaces: &[Value]) -> Result<bool, Error> {
    if namespaces.iter().any(|it| tests::is_sameas(it, value)) {
        return Ok(true);
    }
    let kind = value.kind();
    if matches!(kind, ValueKind::Seq | ValueKind::Map) {
        for item in value.try_iter()? {
            let item = if kind == ValueKind::Map { value.get_item(&item)? } else { item };
            if holds(&item, namespaces)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The function that minijinja brings, with a note of what it made.
fn namespace(state: &mut State, defaults: Option<ValueOrKwargs>) -> Result<Value, Error> {
    /// More than any template needs; each is looked at when a value is kept.
    const MOST: usize = 100;
    let made = functions::namespace(defaults)?;
    let handled = state.get_or_insert_extension_with(Handled::default);
    if handled.namespaces.len() == MOST {
        return Err(refused(format!("it makes more than {MOST} namespaces")));
    }
    handled.namespaces.push(made.clone());
    Ok(made)
}

/// What is repeated by a `*`, and how often, when it is not a product of numbers.
///
/// # Errors
/// When it would be larger than a file may be, and when it is repeated by what is no number.
pub(super) fn repeated<'v>(left: &'v Value, right: &'v Value) -> Result<Option<(&'v Value, usize)>, Error> {
    let is_many = |it: &Value| matches!(it.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Iterable);
    let (many, count) = match (is_many(left), is_many(right)) {
        (true, _) => (left, right),
        (false, true) => (right, left),
        (false, false) => return Ok(None),
    };
    let kind = many.kind();
    let count = count.as_usize().ok_or_else(|| refused(format!("a {kind} is only repeated by a whole number")))?;
    fits("`*`", weight(many)?.checked_mul(count))?;
    Ok(Some((many, count)))
}

/// `*`, which minijinja lets make a hundred megabytes of one byte.
fn times(left: Value, right: Value) -> Result<Value, Error> {
    if let Some((many, count)) = repeated(&left, &right)? {
        return match many.as_str() {
            Some(text) => Ok(Value::from(text.repeat(count))),
            None => {
                let items: Vec<Value> = many.try_iter()?.collect();
                Ok((0..count).flat_map(|_| items.iter().cloned()).collect())
            }
        };
    }
    if let (Ok(left), Ok(right)) = (i128::try_from(left.clone()), i128::try_from(right.clone())) {
        let product =
            left.checked_mul(right).ok_or_else(|| refused(format!("unable to calculate {left} * {right}")))?;
        return Ok(i64::try_from(product).map_or_else(|_| Value::from(product), Value::from));
    }
    match (f64::try_from(left.clone()), f64::try_from(right.clone())) {
        (Ok(left), Ok(right)) => Ok(Value::from(left * right)),
        _ => Err(refused(format!("`*` does not go with {} and {}", left.kind(), right.kind()))),
    }
}

fn refused(why: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, why)
}

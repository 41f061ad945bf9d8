//! The syntax tree of a template with the [meter](super::meter) put into it.

use minijinja::machinery::ast::{self, BinOpKind, CallArg, Expr, Spanned, Stmt, UnaryOpKind};
use minijinja::{Error, Value};

use super::meter::{KEEP, TIMES, WEIGH, fits, repeated, weight};
use super::program::Refusal;

/// The tree of a whole template, metered.
///
/// # Errors
/// When a value that does not depend on anything is larger than a file may be.
pub(super) fn metered<'a>(template: &Stmt<'a>) -> Result<Stmt<'a>, Refusal> {
    statement(template)
}

fn like<T, U>(of: &Spanned<T>, node: U) -> Spanned<U> {
    Spanned::new(node, of.span())
}

fn statements<'a>(list: &[Stmt<'a>]) -> Result<Vec<Stmt<'a>>, Refusal> {
    list.iter().map(statement).collect()
}

fn statement<'a>(it: &Stmt<'a>) -> Result<Stmt<'a>, Refusal> {
    Ok(match it {
        Stmt::Template(it) => Stmt::Template(like(it, ast::Template { children: statements(&it.children)? })),
        // What is written is weighed by the formatter.
        Stmt::EmitExpr(it) => Stmt::EmitExpr(like(it, ast::EmitExpr { expr: inner(&it.expr)? })),
        Stmt::EmitRaw(it) => {
            // The formatter has nothing to escape in it.
            let value = Value::from_safe_string(it.raw.to_owned());
            let text = Expr::Const(like(it, ast::Const { value }));
            Stmt::EmitExpr(like(it, ast::EmitExpr { expr: text }))
        }
        Stmt::ForLoop(it) => {
            let loops = ast::ForLoop {
                target: target(&it.target)?,
                iter: expression(&it.iter)?,
                filter_expr: it.filter_expr.as_ref().map(expression).transpose()?,
                recursive: it.recursive,
                body: statements(&it.body)?,
                else_body: statements(&it.else_body)?,
            };
            Stmt::ForLoop(like(it, loops))
        }
        Stmt::IfCond(it) => {
            let (true_body, false_body) = (statements(&it.true_body)?, statements(&it.false_body)?);
            Stmt::IfCond(like(it, ast::IfCond { expr: expression(&it.expr)?, true_body, false_body }))
        }
        Stmt::WithBlock(it) => {
            let assigned = |(to, expr): &(Expr<'a>, Expr<'a>)| Ok((target(to)?, kept(to, expr)?));
            let assignments = it.assignments.iter().map(assigned).collect::<Result<_, Refusal>>()?;
            Stmt::WithBlock(like(it, ast::WithBlock { assignments, body: statements(&it.body)? }))
        }
        Stmt::Set(it) => {
            let expr = kept(&it.target, &it.expr)?;
            Stmt::Set(like(it, ast::Set { target: target(&it.target)?, expr }))
        }
        Stmt::SetBlock(it) => {
            let filters = it.filter.as_ref().map(expression).transpose()?;
            let bare = || Expr::Filter(like(it, ast::Filter { name: WEIGH, expr: None, args: Vec::new() }));
            let filter = Some(filters.unwrap_or_else(bare));
            Stmt::SetBlock(like(it, ast::SetBlock { target: target(&it.target)?, filter, body: statements(&it.body)? }))
        }
        Stmt::AutoEscape(it) => {
            let enabled = expression(&it.enabled)?;
            Stmt::AutoEscape(like(it, ast::AutoEscape { enabled, body: statements(&it.body)? }))
        }
        Stmt::FilterBlock(it) => {
            let filter = expression(&it.filter)?;
            Stmt::FilterBlock(like(it, ast::FilterBlock { filter, body: statements(&it.body)? }))
        }
        Stmt::Do(it) => Stmt::Do(like(it, ast::Do { call: call(&it.call)? })),
    })
}

/// An expression whose value is assigned: to a plain name, or to what may be a namespace.
fn kept<'a>(to: &Expr<'a>, it: &Expr<'a>) -> Result<Expr<'a>, Refusal> {
    let value = expression(it)?;
    Ok(if matches!(to, Expr::Var(_)) { value } else { filter(KEEP, value, Vec::new()) })
}

/// An expression whose value is weighed.
fn expression<'a>(it: &Expr<'a>) -> Result<Expr<'a>, Refusal> {
    let metered = inner(it)?;
    Ok(match it {
        // Constants are as large as they are written, and conditions have the value of one of their parts.
        Expr::Const(_) | Expr::UnaryOp(_) | Expr::Compare(_) | Expr::IfExpr(_) | Expr::Test(_) => metered,
        Expr::BinOp(op) if !matches!(op.op, BinOpKind::Add | BinOpKind::Concat) => metered,
        _ => filter(WEIGH, metered, Vec::new()),
    })
}

/// An expression whose parts are weighed.
fn inner<'a>(it: &Expr<'a>) -> Result<Expr<'a>, Refusal> {
    Ok(match it {
        Expr::Var(it) => Expr::Var(like(it, ast::Var { id: it.id })),
        Expr::Const(it) => Expr::Const(like(it, ast::Const { value: it.value.clone() })),
        Expr::Slice(it) => {
            let part = |part: &Option<Expr<'a>>| part.as_ref().map(expression).transpose();
            let (start, stop, step) = (part(&it.start)?, part(&it.stop)?, part(&it.step)?);
            Expr::Slice(like(it, ast::Slice { expr: expression(&it.expr)?, start, stop, step }))
        }
        Expr::UnaryOp(it) => {
            // A kind of operator cannot be copied.
            let op = if matches!(it.op, UnaryOpKind::Not) { UnaryOpKind::Not } else { UnaryOpKind::Neg };
            Expr::UnaryOp(like(it, ast::UnaryOp { op, expr: expression(&it.expr)? }))
        }
        Expr::BinOp(it) => {
            let (left, right) = (expression(&it.left)?, expression(&it.right)?);
            constant(it)?;
            if matches!(it.op, BinOpKind::Mul) {
                return Ok(filter(TIMES, left, vec![CallArg::Pos(right)]));
            }
            Expr::BinOp(like(it, ast::BinOp { op: it.op, left, right }))
        }
        Expr::Compare(it) => {
            let with = |with: &ast::CompareOp<'a>| Ok(ast::CompareOp { op: with.op, expr: expression(&with.expr)? });
            let ops = it.ops.iter().map(with).collect::<Result<_, Refusal>>()?;
            Expr::Compare(like(it, ast::Compare { expr: expression(&it.expr)?, ops }))
        }
        Expr::IfExpr(it) => {
            let (test_expr, true_expr) = (expression(&it.test_expr)?, expression(&it.true_expr)?);
            let false_expr = it.false_expr.as_ref().map(expression).transpose()?;
            Expr::IfExpr(like(it, ast::IfExpr { test_expr, true_expr, false_expr }))
        }
        Expr::Filter(it) => {
            let expr = it.expr.as_ref().map(expression).transpose()?;
            Expr::Filter(like(it, ast::Filter { name: it.name, expr, args: arguments(&it.args)? }))
        }
        Expr::Test(it) => {
            let (expr, args) = (expression(&it.expr)?, arguments(&it.args)?);
            Expr::Test(like(it, ast::Test { name: it.name, expr, args }))
        }
        // A part of a value that was weighed as a whole, or of a machine's: only the part counts.
        Expr::GetAttr(it) => Expr::GetAttr(like(it, ast::GetAttr { expr: inner(&it.expr)?, name: it.name })),
        Expr::GetItem(it) => {
            let (expr, subscript_expr) = (inner(&it.expr)?, expression(&it.subscript_expr)?);
            Expr::GetItem(like(it, ast::GetItem { expr, subscript_expr }))
        }
        Expr::Call(it) => Expr::Call(call(it)?),
        Expr::List(it) => Expr::List(like(it, ast::List { items: expressions(&it.items)? })),
        Expr::Tuple(it) => Expr::Tuple(like(it, ast::Tuple { items: expressions(&it.items)? })),
        Expr::Map(it) => {
            Expr::Map(like(it, ast::Map { keys: expressions(&it.keys)?, values: expressions(&it.values)? }))
        }
    })
}

fn expressions<'a>(list: &[Expr<'a>]) -> Result<Vec<Expr<'a>>, Refusal> {
    list.iter().map(expression).collect()
}

fn arguments<'a>(list: &[CallArg<'a>]) -> Result<Vec<CallArg<'a>>, Refusal> {
    let argument = |it: &CallArg<'a>| {
        Ok(match it {
            CallArg::Pos(it) => CallArg::Pos(expression(it)?),
            CallArg::Kwarg(name, it) => CallArg::Kwarg(name, expression(it)?),
            CallArg::PosSplat(it) => CallArg::PosSplat(expression(it)?),
            CallArg::KwargSplat(it) => CallArg::KwargSplat(expression(it)?),
        })
    };
    list.iter().map(argument).collect()
}

/// What is called stays as it is written: `range(…)`, `loop.cycle(…)` and `loop(…)` are told by it.
fn call<'a>(it: &Spanned<ast::Call<'a>>) -> Result<Spanned<ast::Call<'a>>, Refusal> {
    if let Expr::GetAttr(method) = &it.expr
        && method.name == "cycle"
        && !it.args.iter().any(|it| matches!(it, CallArg::Pos(_)))
    {
        // minijinja divides by how many there are.
        let why = "syntax error: `cycle` wants at least one value".to_owned();
        return Err(Refusal { line: it.span().start_line.into(), why, is_mistake: true });
    }
    Ok(like(it, ast::Call { expr: inner(&it.expr)?, args: arguments(&it.args)? }))
}

fn filter<'a>(name: &'static str, expr: Expr<'a>, args: Vec<CallArg<'a>>) -> Expr<'a> {
    let span = expr.span();
    Expr::Filter(Spanned::new(ast::Filter { name, expr: Some(expr), args }, span))
}

/// Refuses an operation on constants that makes too much: minijinja computes it while it compiles. Its parts are known
/// to be small.
fn constant(it: &Spanned<ast::BinOp<'_>>) -> Result<(), Refusal> {
    let (Some(left), Some(right)) = (it.left.as_const(), it.right.as_const()) else { return Ok(()) };
    let size = || match it.op {
        BinOpKind::Concat | BinOpKind::Add => {
            fits("an operator in it", weight(&left)?.checked_add(weight(&right)?)).map(drop)
        }
        BinOpKind::Mul => repeated(&left, &right).map(drop),
        _ => Ok(()),
    };
    let error = |error: Error| Refusal { line: it.span().start_line.into(), ..Refusal::from(error) };
    size().map_err(error)
}

/// What is assigned to, as it is written.
fn target<'a>(it: &Expr<'a>) -> Result<Expr<'a>, Refusal> {
    Ok(match it {
        Expr::Var(it) => Expr::Var(like(it, ast::Var { id: it.id })),
        Expr::GetAttr(it) => Expr::GetAttr(like(it, ast::GetAttr { expr: target(&it.expr)?, name: it.name })),
        Expr::List(it) => {
            let items = it.items.iter().map(target).collect::<Result<_, Refusal>>()?;
            Expr::List(like(it, ast::List { items }))
        }
        other => {
            let why = format!("syntax error: a {} cannot be assigned to", other.description());
            return Err(Refusal { line: other.span().start_line.into(), why, is_mistake: true });
        }
    })
}

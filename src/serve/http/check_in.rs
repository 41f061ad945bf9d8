//! Check-ins: a machine that came up says what it runs and how it is, and is told what to do.

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use tracing::{debug, info, warn};

use super::{Link, plain};
use crate::fleet::{CheckInError, Outcome};
use crate::model::checkin::{self, Differences, FULL, Report};
use crate::model::token::Token;
use crate::serve::App;

/// A check-in whose token is in the URL, as it stands on the machine's kernel command line.
pub(super) async fn by_url(
    State(app): State<Arc<App>>,
    ConnectInfo(link): ConnectInfo<Link>,
    Path(token): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    match body {
        Ok(body) => check_in(&app, &link, &token, &body).await,
        Err(why) => too_long(&app, &link, why),
    }
}

/// A check-in whose token is in the report.
pub(super) async fn by_report(
    State(app): State<Arc<App>>,
    ConnectInfo(link): ConnectInfo<Link>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    match body {
        Ok(body) => match checkin::token(&body) {
            Some(token) => check_in(&app, &link, token, &body).await,
            None => {
                app.check_ins.malformed.add();
                plain(StatusCode::BAD_REQUEST, "the first line of a report is `token`, and this one's is not\n")
            }
        },
        Err(why) => too_long(&app, &link, why),
    }
}

async fn check_in(app: &App, link: &Link, token: &str, body: &[u8]) -> Response {
    let peer = link.peer.ip();
    let report = match Report::parse(body) {
        Ok(report) => report,
        Err(problem) => {
            app.check_ins.malformed.add();
            debug!(%peer, %problem, "a check-in was refused");
            return plain(StatusCode::BAD_REQUEST, format!("{problem}\n"));
        }
    };
    // What is no token was given to nobody.
    let token = token.parse::<Token>().ok();
    let told = match token {
        Some(token) => app.fleet.told_by_any(token).await,
        None => None,
    };
    let found = match told {
        Some(bundle) => match app.bundles.manifest(&app.store, bundle).await {
            Ok(manifest) => report.differences(&bundle, &manifest),
            Err(_) => Differences { boot: vec!["its bundle cannot be read from the store".to_owned()], packages: None },
        },
        // Nobody was given this token, which is found out below.
        None => Differences::default(),
    };
    let (hostname, now) = (report.hostname.clone(), SystemTime::now());
    let outcome = match token {
        Some(token) => app.fleet.check_in(token, report, found, now).await,
        None => Err(CheckInError::UnknownToken),
    };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(CheckInError::Unlisted) => {
            app.check_ins.unlisted.add();
            return plain(StatusCode::OK, format!("{FULL}\n"));
        }
        Err(problem) => {
            let (counter, status) = match problem {
                CheckInError::Over(_) => (&app.check_ins.over, StatusCode::GONE),
                _ => (&app.check_ins.unknown, StatusCode::NOT_FOUND),
            };
            counter.add();
            debug!(%peer, %problem, "a check-in was refused");
            return plain(status, format!("{problem}\n"));
        }
    };
    app.check_ins.taken.add();
    log(&outcome, &hostname);
    let first = if outcome.problems.is_empty() { "ok".to_owned() } else { outcome.problems.join("; ") };
    plain(StatusCode::OK, format!("{first}\n{}", app.orders(&outcome.mac, now).encode(now)))
}

/// A line for the first check-in of a boot and for each that changes something; five thousand machines check in a
/// million times a day.
fn log(outcome: &Outcome, hostname: &str) {
    let Outcome { mac, bundle, problems, is_first, is_change, .. } = outcome;
    let (bundle, problems) = (bundle.short(), problems.join("; "));
    match (is_change, problems.is_empty(), is_first) {
        (false, ..) => debug!(%mac, %hostname, "still there"),
        (true, true, true) => info!(%mac, %hostname, %bundle, "check-in"),
        (true, true, false) => info!(%mac, %hostname, "nothing is wrong with a machine any more"),
        (true, false, true) => {
            warn!(%mac, %hostname, %problems, "a machine came up with something else than it was told to boot");
        }
        (true, false, false) => warn!(%mac, %hostname, %problems, "something is wrong with a machine"),
    }
}

/// A report that is longer than any is, or that its machine did not send to its end.
fn too_long(app: &App, link: &Link, why: BytesRejection) -> Response {
    app.check_ins.malformed.add();
    debug!(peer = %link.peer.ip(), %why, "a check-in was refused");
    why.into_response()
}

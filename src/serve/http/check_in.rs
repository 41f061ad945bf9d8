//! Check-ins: a machine that came up says what it runs.

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use tracing::{info, warn};

use super::{Link, plain};
use crate::model::checkin::Report;
use crate::serve::App;

pub(super) async fn check_in(
    State(app): State<Arc<App>>,
    ConnectInfo(link): ConnectInfo<Link>,
    Path(token): Path<String>,
    body: Bytes,
) -> Response {
    let report = match Report::parse(&body) {
        Ok(report) => report,
        Err(problem) => {
            warn!(peer = %link.peer.ip(), %problem, "a check-in was refused");
            return plain(StatusCode::BAD_REQUEST, format!("{problem}\n"));
        }
    };
    let problems = match app.fleet.told(&token) {
        Some(bundle) => match app.bundles.manifest(&app.store, bundle).await {
            Ok(manifest) => report.differences(&bundle, &manifest),
            Err(_) => vec!["its bundle cannot be read from the store".to_owned()],
        },
        None => Vec::new(),
    };
    let hostname = report.hostname.clone();
    match app.fleet.check_in(&token, report, problems, SystemTime::now()).await {
        Ok(outcome) if outcome.problems.is_empty() => {
            info!(mac = %outcome.mac, %hostname, bundle = %outcome.bundle.short(), "check-in");
            plain(StatusCode::OK, "ok\n")
        }
        Ok(outcome) => {
            let problems = outcome.problems.join("; ");
            warn!(mac = %outcome.mac, %hostname, %problems, "a machine came up with something else than it was told to boot");
            plain(StatusCode::OK, format!("{problems}\n"))
        }
        Err(problem) => {
            warn!(peer = %link.peer.ip(), %problem, "a check-in was refused");
            plain(StatusCode::NOT_FOUND, format!("{problem}\n"))
        }
    }
}

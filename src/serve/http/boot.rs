//! The scripts (DESIGN 3.4): one decision for each boot, made when the machine's own script is written.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::{ConnectInfo, Query, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tracing::{debug, error, info, warn};

use super::{Link, plain};
use crate::model::boot::Step;
use crate::model::identity::Identity;
use crate::model::mac::Mac;
use crate::model::plan::decide;
use crate::model::script;
use crate::serve::App;
use crate::serve::observe::{Observed, Observer as _};
use crate::serve::own_files::Told;

/// What the first script hands over; every value may be missing or garbage.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asking {
    mac: String,
    uuid: String,
    serial: String,
    platform: String,
    arch: String,
}

/// The first script.
pub(super) async fn entry(
    State(app): State<Arc<App>>,
    ConnectInfo(link): ConnectInfo<Link>,
    method: Method,
) -> Response {
    if method == Method::GET {
        let (peer, detail) = (Some(link.peer.ip()), "first script".to_owned());
        app.observe(Observed { mac: None, peer, step: Step::Ipxe, detail, sent: None });
    }
    ipxe(script::entry(&app.base(&link.base())))
}

/// The machine's own script. Whoever may not boot gets a script too, so that a person at the machine can read why; only
/// a request no iPXE makes gets an error.
pub(super) async fn script(
    State(app): State<Arc<App>>,
    ConnectInfo(link): ConnectInfo<Link>,
    method: Method,
    Query(asking): Query<Asking>,
) -> Response {
    let base = app.base(&link.base());
    debug!(peer = %link.peer, ?asking, "script asked for");
    let Some(mac) = asking.mac.parse::<Mac>().ok().filter(Mac::is_unicast) else {
        return plain(StatusCode::BAD_REQUEST, "the script needs mac=, the address of the network card\n");
    };
    if method != Method::GET {
        // A look at the head begins no boot.
        return ipxe(String::new());
    }
    app.meet(link.peer.ip(), mac);
    let machine = Identity::from_texts(mac, &asking.uuid, &asking.serial, &asking.platform, &asking.arch);
    let catalog = app.catalog().await;
    let plan = match decide(&machine, &app.assignments, &catalog) {
        Ok(plan) => plan,
        Err(refusal) => {
            warn!(%mac, %refusal, "a machine was not given a bundle");
            app.fleet.refused(&machine, refusal.to_string(), SystemTime::now());
            return ipxe(script::notice(&base, &refusal.to_string()));
        }
    };
    let Told { plan, own_files, alarm } = match app.own_files(&machine, plan).await {
        Ok(told) => told,
        Err(why) => {
            error!(%mac, %why, "the files of a machine cannot be made and there are none from before; it does not boot");
            app.fleet.refused(&machine, why.clone(), SystemTime::now());
            return ipxe(script::notice(&base, &why));
        }
    };
    if let Some(alarm) = &alarm {
        warn!(%mac, bundle = %plan.published.bundle.short(), "{alarm}");
    }
    let Ok(token) = new_token() else {
        error!(%mac, "the system gives no random numbers, so no machine can be given a token");
        return ipxe(script::notice(&base, "the server has no random numbers, see its log"));
    };
    let published = &plan.published;
    let text = script::boot(&base, &published.bundle, &published.manifest, &token, own_files.as_ref());
    app.arrived(link.peer.ip(), mac);
    app.fleet.scripted(&machine, &plan, token, alarm, SystemTime::now()).await;
    info!(%mac, profile = %plan.profile, release = published.release, bundle = %published.bundle.short(), "script");
    ipxe(text)
}

fn ipxe(script: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], script).into_response()
}

/// 128 random bits in hex: what only this boot knows.
fn new_token() -> Result<String, aws_lc_rs::error::Unspecified> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

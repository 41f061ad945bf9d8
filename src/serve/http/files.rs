//! Loaders and the files of bundles.

use std::sync::Arc;

use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use percent_encoding::percent_decode_str;
use tracing::{debug, error, info};

use super::blob::{self, About};
use super::content::Content;
use super::metered::metered;
use super::{Link, Prompt, boot, kind, plain};
use crate::model::boot::Step;
use crate::model::digest::Digest;
use crate::model::manifest::BundleId;
use crate::model::script::SITE_INITRD;
use crate::serve::App;
use crate::serve::boot_files::{self, Found};
use crate::serve::dhcp::LOADER_PATH;
use crate::serve::observe::{Observed, Observer as _};
use crate::store::StoreError;
use crate::wire::tftp::file_name;

/// An iPXE binary, and the script that iPXE looks for beside it: what TFTP has under the same name.
pub(super) async fn loader(
    State(app): State<Arc<App>>,
    ConnectInfo(link): ConnectInfo<Link>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let rules = app.rules();
    let path = uri.path().strip_prefix(LOADER_PATH).unwrap_or_default();
    let name = file_name(&percent_decode_str(path).collect::<Vec<u8>>());
    let loader = match name.as_deref().and_then(|name| boot_files::find(&rules.loaders, name)) {
        Some(Found::Loader(loader) | Found::Instead(loader)) => loader,
        Some(Found::Autoexec) => return boot::autoexec(&app, &link),
        Some(Found::Grub(_) | Found::Pxelinux(_)) | None => {
            return plain(StatusCode::NOT_FOUND, "there is no such loader\n");
        }
    };
    let name = &loader.name;
    if method == Method::GET {
        info!(peer = %link.peer.ip(), loader = %name, "loader");
    }
    let request = blob::Request { method: &method, headers: &headers };
    let content = Content::new([loader.bytes.clone()]);
    let mut response = blob::respond(request, content, About::changing(&loader.digest, kind::of(name)));
    response.extensions_mut().insert(Prompt);
    noted(&app, &link, &method, (name, Step::Loader), response)
}

/// A file of a bundle.
pub(super) async fn file(
    State(app): State<Arc<App>>,
    ConnectInfo(link): ConnectInfo<Link>,
    Path((bundle, path)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let Ok(id) = bundle.parse::<BundleId>() else {
        return plain(StatusCode::NOT_FOUND, "that is not a bundle id\n");
    };
    let files = match app.bundles.files(&app.store, id).await {
        Ok(files) => files,
        Err(StoreError::NoBundle(_)) => return plain(StatusCode::NOT_FOUND, "there is no such bundle\n"),
        Err(problem) => {
            let problem = &problem as &dyn std::error::Error;
            error!(problem, bundle = %id, "a bundle cannot be read");
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "the bundle cannot be read; see the server's log\n");
        }
    };
    let Some(file) = files.get(&path) else {
        return plain(StatusCode::NOT_FOUND, "the bundle has no such file\n");
    };
    let bytes = match app.blobs.open(&app.store, file.digest).await {
        Ok(bytes) => bytes,
        Err(problem) => {
            error!(%problem, file = %path, blob = %app.store.blob_path(&file.digest).display(), "a file of a bundle cannot be read");
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "the file cannot be read; see the server's log\n");
        }
    };
    let request = blob::Request { method: &method, headers: &headers };
    let response = blob::respond(request, Content::new([bytes]), About::immutable(&file.digest, kind::of(&path)));
    noted(&app, &link, &method, (&path, file.step), response)
}

/// The initrd with the files of a machine that were made from templates.
pub(super) async fn own(
    State(app): State<Arc<App>>,
    ConnectInfo(link): ConnectInfo<Link>,
    Path(files): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let Ok(digest) = files.parse::<Digest>() else {
        return plain(StatusCode::NOT_FOUND, "that is not a digest\n");
    };
    let Some(pieces) = app.own_initrd(&digest).await else {
        return plain(StatusCode::NOT_FOUND, "no machine was told to load that; ask for a script again\n");
    };
    let request = blob::Request { method: &method, headers: &headers };
    let response = blob::respond(request, Content::new(pieces), About::immutable(&digest, kind::of(SITE_INITRD)));
    noted(&app, &link, &method, (SITE_INITRD, Step::SiteInitrd), response)
}

/// Tells that a machine takes a file, and once more when the transfer has ended or broken off.
fn noted(app: &Arc<App>, link: &Link, method: &Method, (path, step): (&str, Step), response: Response) -> Response {
    debug!(peer = %link.peer.ip(), path, "file");
    if method != Method::GET || !response.status().is_success() {
        return response;
    }
    let name = path.rsplit('/').next().unwrap_or(path).into();
    let seen = Observed { mac: None, peer: Some(link.peer.ip()), step, detail: name, sent: None };
    app.observe(seen.clone());
    let app = Arc::clone(app);
    response.map(|body| metered(body, move |sent| app.observe(Observed { sent: Some(sent), ..seen })))
}

//! Alpine's security databases: one file for each repository of a branch, on a server of their own.

use super::{Downloader, Expect, FetchError};
use crate::apk::{SECDB_LIMIT, Secdb, SecdbError};
use crate::model::alpine::Branch;
use crate::model::url::without_login;

/// The advisories of a repository, from the server at `base`. Nothing depends on them, so the server is asked once.
///
/// # Errors
/// When the server does not have them, or has something else.
pub async fn secdb(downloader: &Downloader, base: &str, branch: Branch, repository: &str) -> Result<Secdb, FetchError> {
    let url = format!("{base}/{branch}/{repository}.json");
    let bytes = downloader.hasty().silent().bytes(&url, &Expect::at_most(SECDB_LIMIT as u64)).await?;
    let read = Secdb::parse(&bytes).and_then(|database| database.of(&branch.to_string(), repository));
    read.map_err(|source: SecdbError| FetchError::Refused {
        url: without_login(&url).into_owned(),
        source: Box::new(source),
    })
}

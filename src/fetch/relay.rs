//! What the caching mirror asks of Alpine's mirrors: a file again unless it is as it was, and files straight to the
//! disk, because packages may be larger than memory.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::download::blocking;
use super::mirrors::{LARGEST_INDEX, LARGEST_PACKAGE, LARGEST_SIGNATURE, LARGEST_TARBALL};
use super::openpgp::{DetachedSignature, FileHashes, ReleaseKeys};
use super::pages::{LARGEST_PAGE, PageEntry, entries};
use super::sink::{Growing, Growth, Target};
use super::transfer::Answered;
use super::{Downloader, Expect, FetchError, Mirrors, Validators};
use crate::disk::TempFile;

/// Why whoever asked does not accept a file.
type Refusal = Box<dyn Error + Send + Sync>;

/// Where a file came from, and by what that mirror recognises it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// The mirror.
    pub mirror: String,
    /// What it said of the file.
    pub validators: Validators,
}

/// What became of a file since it was asked for last.
#[derive(Debug)]
pub enum Renewed<T> {
    /// Nothing.
    Unchanged,
    /// It is another one.
    Changed {
        /// Its bytes.
        bytes: Vec<u8>,
        /// What the check made of them.
        made: T,
        /// By what it is recognised from now on.
        known: Known,
    },
}

impl Mirrors {
    /// The index at a path below the mirrors' addresses, from the first that has one that `check` accepts; or the word
    /// of the mirror it came from that it is still `known`.
    ///
    /// # Errors
    /// When no mirror has one that is accepted.
    pub async fn renewed_index<T: Send + 'static>(
        &self,
        path: &str,
        known: Option<&Known>,
        check: impl Fn(&[u8]) -> Result<T, Refusal> + Send + Sync + 'static,
    ) -> Result<Renewed<T>, FetchError> {
        let check = Arc::new(check);
        let mut turns = self.turns();
        while let Some((base, downloader)) = turns.next() {
            match index_from(&base, &downloader, path, known, &check).await {
                Ok(renewed) => return Ok(renewed),
                Err(error) => turns.failed(base, error)?,
            }
        }
        Err(turns.failure())
    }

    /// The package of `size` bytes at a path below the mirrors' addresses, as a file in `folder` that has no name yet,
    /// from the first mirror that has one that `check` accepts.
    ///
    /// # Errors
    /// When no mirror has one that is accepted, or the disk is full; then nothing is left of it.
    pub async fn package_file(
        &self,
        path: &str,
        size: u64,
        folder: &Path,
        check: impl Fn(&Path) -> Result<(), Refusal> + Send + Sync + 'static,
    ) -> Result<TempFile, FetchError> {
        let expect = Expect::at_most(LARGEST_PACKAGE).size(size);
        self.to_disk(path, &expect, folder, move |path, _| check(path)).await
    }

    /// A small text at a path below the mirrors' addresses, from the first that has it.
    ///
    /// # Errors
    /// When no mirror has it.
    pub async fn text(&self, path: &str, at_most: u64) -> Result<Vec<u8>, FetchError> {
        let expect = Expect::at_most(at_most);
        let mut turns = self.turns();
        while let Some((base, downloader)) = turns.next() {
            match downloader.bytes(&format!("{base}/{path}"), &expect).await {
                Ok(text) => return Ok(text),
                Err(error) => turns.failed(base, error)?,
            }
        }
        Err(turns.failure())
    }

    /// What the folder at a path below the mirrors' addresses has, as the page of the first mirror that shows it says; the
    /// path is empty or ends in `/`.
    ///
    /// # Errors
    /// When no mirror shows it.
    pub async fn folder(&self, path: &str) -> Result<Vec<PageEntry>, FetchError> {
        let expect = Expect { may_be_page: true, ..Expect::at_most(LARGEST_PAGE as u64) };
        let mut turns = self.turns();
        while let Some((base, downloader)) = turns.next() {
            let url = format!("{base}/{path}");
            match downloader.bytes(&url, &expect).await {
                Ok(page) => return Ok(entries(&page, &url)),
                Err(error) => turns.failed(base, error)?,
            }
        }
        Err(turns.failure())
    }

    /// The length of the file at a path below the mirrors' addresses, as the first that has it announces it; nothing when
    /// that one does not.
    ///
    /// # Errors
    /// When no mirror has it.
    pub async fn length(&self, path: &str) -> Result<Option<u64>, FetchError> {
        let mut turns = self.turns();
        while let Some((base, downloader)) = turns.next() {
            match downloader.length(&format!("{base}/{path}")).await {
                Ok(length) => return Ok(length),
                Err(error) => turns.failed(base, error)?,
            }
        }
        Err(turns.failure())
    }

    /// The file of a release at a path below the mirrors' addresses, as a file in `folder` that has no name yet, and its
    /// signature: from the first mirror that has one that a release key signed.
    ///
    /// # Errors
    /// When no mirror has it, or its signature does not count; then nothing is left of it.
    pub async fn image_file(
        &self,
        path: &str,
        folder: &Path,
        keys: &ReleaseKeys,
    ) -> Result<(TempFile, Vec<u8>), FetchError> {
        let text = self.text(&format!("{path}.asc"), LARGEST_SIGNATURE).await?;
        let file = path.rsplit('/').next().unwrap_or_default().to_owned();
        let refused = |source| FetchError::Signature { url: format!("{path}.asc"), file, source };
        let signature = DetachedSignature::parse(&text).and_then(|it| it.check_issuers(keys).map(|()| it));
        let (signature, keys) = (signature.map_err(refused)?, keys.clone());
        let check = move |_: &Path, hashes: &FileHashes| match signature.verify(hashes, &keys) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        };
        let file = self.to_disk(path, &Expect::at_most(LARGEST_TARBALL), folder, check).await?;
        Ok((file, text))
    }

    /// A file on its way to a name of its own; `check` sees it and its hashes when all of it is there.
    async fn to_disk(
        &self,
        path: &str,
        expect: &Expect,
        folder: &Path,
        check: impl Fn(&Path, &FileHashes) -> Result<(), Refusal> + Send + Sync + 'static,
    ) -> Result<TempFile, FetchError> {
        let check = Arc::new(check);
        let mut turns = self.turns();
        while let Some((base, downloader)) = turns.next() {
            match file_from(&downloader, format!("{base}/{path}"), expect, folder, &check).await {
                Ok(file) => return Ok(file),
                Err(error) => turns.failed(base, error)?,
            }
        }
        Err(turns.failure())
    }
}

/// The index as one mirror has it.
async fn index_from<T: Send + 'static>(
    base: &str,
    downloader: &Downloader,
    path: &str,
    known: Option<&Known>,
    check: &Arc<impl Fn(&[u8]) -> Result<T, Refusal> + Send + Sync + 'static>,
) -> Result<Renewed<T>, FetchError> {
    let url = format!("{base}/{path}");
    let known = known.filter(|known| known.mirror == base).map(|known| &known.validators);
    let (expect, target) = (Expect::at_most(LARGEST_INDEX), Target::Memory(Vec::new()));
    let (received, answered) = downloader.transfer_unless(&(&url).into(), &expect, target, known).await?;
    let Answered::File(validators) = answered else { return Ok(Renewed::Unchanged) };
    let (check, bytes) = (Arc::clone(check), received.memory);
    let (checked, bytes) = blocking(move || (check(&bytes), bytes)).await;
    match checked {
        Ok(made) => Ok(Renewed::Changed { bytes, made, known: Known { mirror: base.to_owned(), validators } }),
        Err(source) => Err(FetchError::Refused { url, source }),
    }
}

/// A file as one mirror has it.
async fn file_from(
    downloader: &Downloader,
    url: String,
    expect: &Expect,
    folder: &Path,
    check: &Arc<impl Fn(&Path, &FileHashes) -> Result<(), Refusal> + Send + Sync + 'static>,
) -> Result<TempFile, FetchError> {
    let file = TempFile::new_in(folder)?;
    let growth = Arc::new(Growth::default());
    let target = Growing { handle: file.handle()?, path: file.path().to_owned(), growth };
    let received = downloader.transfer(&(&url).into(), expect, Target::File(target)).await?;
    let check = Arc::clone(check);
    let (checked, file) = blocking(move || (check(file.path(), &received.hashes), file)).await;
    match checked {
        Ok(()) => Ok(file),
        Err(source) => Err(FetchError::Refused { url, source }),
    }
}

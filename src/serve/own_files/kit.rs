//! What is needed to make the initrds of one bundle's machines.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::identity::Identity;
use crate::model::label::Labels;
use crate::model::manifest::{BundleId, FileEntry};
use crate::model::template::{Renderer, SetError, TemplateError, TemplateSet, Vars};
use crate::store::{Store, StoreError};
use crate::wire::apkovl::{Entry, Node, Prefix};
use crate::wire::cpio::{ArchiveError, CpioError, Reader, Writer};
use crate::wire::gzip::Stored;

/// The largest initrd that is looked into for the site's keys.
const LARGEST_INITRD: u64 = 512 << 20;

/// The largest key.
const LARGEST_KEY: u64 = 64 << 10;

/// Where init takes keys from.
const KEYS: &str = "etc/apk/keys/";

/// Why the files of a machine cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum KitError {
    /// The store does not give the bundle.
    #[error("the bundle cannot be read")]
    Store(#[from] StoreError),
    /// The templates are none.
    #[error("the templates of the bundle cannot be used")]
    Set(#[from] SetError),
    /// A template fails.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The overlay archive is no beginning of another.
    #[error("the overlay archive of the bundle is not one that files can be added to; build the profile again")]
    Archive,
    /// The initrd of the publication cannot be read.
    #[error("the initrd of the bundle cannot be read; publish the profile again")]
    Initrd(#[from] InitrdError),
    /// The program is going down.
    #[error("the server is stopping")]
    Stopped,
}

/// Why an initrd cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum InitrdError {
    /// It is no archive.
    #[error("it is no archive")]
    Cpio(#[from] CpioError),
    /// Something cannot stand in one.
    #[error(transparent)]
    Write(#[from] ArchiveError),
}

/// The files of a machine, by the places of their templates; its JSON is what their digest is of.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// The bundle with the templates.
    pub bundle: BundleId,
    files: Vec<String>,
}

impl Content {
    /// What the digest of the files is of.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("it holds only texts")
    }
}

/// The kit.
#[derive(Debug)]
pub struct Kit {
    bundle: BundleId,
    renderer: Renderer,
    apkovl: String,
    /// The rest of the initrd: the site's keys.
    keys: Writer,
    prefix: Prefix,
    /// The shared beginning of all archives, as all initrds have it.
    shared: Stored,
}

impl Kit {
    /// Reads it from the store.
    ///
    /// # Errors
    /// As [`Kit::new`], and when the store does not give its parts.
    pub fn read(store: &Store, bundle: BundleId) -> Result<Self, KitError> {
        let manifest = store.manifest(&bundle)?;
        let site = store.site_parts(&bundle)?;
        let templates = match &manifest.templates {
            Some(file) => read_blob(store, file)?,
            None => Vec::new(),
        };
        let archive = read_blob(store, &manifest.apkovl)?;
        let keys = keys(&read_blob(store, &site.initrd)?)?;
        Self::new(bundle, &templates, (manifest.apkovl.name, archive.into()), keys)
    }

    /// Joins the parts: the document with the templates, name and bytes of the overlay archive, and an archive with the
    /// site's keys.
    ///
    /// # Errors
    /// When the templates cannot be used, or the archive is not one that files can be added to.
    pub fn new(bundle: BundleId, templates: &[u8], apkovl: (String, Bytes), keys: Writer) -> Result<Self, KitError> {
        let set = TemplateSet::parse(templates)?;
        let prefix = Prefix::recover(apkovl.1, set.epoch).ok_or(KitError::Archive)?;
        let shared = Stored::of(prefix.shared());
        Ok(Self { bundle, renderer: Renderer::new(set)?, apkovl: apkovl.0, keys, prefix, shared })
    }

    /// The templates.
    #[must_use]
    pub const fn renderer(&self) -> &Renderer {
        &self.renderer
    }

    /// Makes the files of a machine with these labels, to which `own` are the values it gives itself.
    ///
    /// # Errors
    /// When a template fails.
    pub fn render(&self, machine: &Identity, labels: &Labels, own: &Vars) -> Result<Content, KitError> {
        let files = self.renderer.render(machine, labels, own)?;
        Ok(Content { bundle: self.bundle, files: files.into_iter().map(|file| file.text).collect() })
    }

    /// The initrd with these files, in pieces of which most are shared, and how many of its bytes it has for itself.
    ///
    /// # Errors
    /// When the files are not of this bundle, or the name of the archive cannot stand in one.
    pub fn initrd(&self, content: &Content) -> Result<(Vec<Bytes>, usize), KitError> {
        let templates = &self.renderer.set().files;
        if templates.len() != content.files.len() {
            return Err(KitError::Archive);
        }
        let entries: Vec<(&str, Entry)> = templates
            .iter()
            .zip(&content.files)
            .map(|(template, text)| {
                let node = Node::File(text.clone().into());
                (template.path.as_str(), Entry { node, mode: template.mode, owner: template.owner() })
            })
            .collect();
        let mut rest = self.prefix.rest(&entries);
        let size = self.prefix.shared().len() + rest.len();
        let around = self.keys.clone().around(&self.apkovl, 0o644, size);
        let (before, after) = around.map_err(InitrdError::from)?;
        rest.extend_from_slice(&after);
        let own = before.len() + rest.len();
        Ok((Stored::member(&[&Stored::of(&before), &self.shared, &Stored::of(&rest)]), own))
    }
}

/// A blob, checked: nothing on a machine would notice that a disk failed.
fn read_blob(store: &Store, file: &FileEntry) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    store.read_blob::<StoreError>(&file.sha256, &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(bytes)
}

/// The site's keys, out of the initrd a publication made.
fn keys(initrd: &[u8]) -> Result<Writer, InitrdError> {
    let mut reader = Reader::new(initrd, LARGEST_INITRD);
    let mut keys = Writer::new(0);
    while let Some(entry) = reader.next_entry()? {
        if entry.is_file() && entry.name.starts_with(KEYS) {
            let key = reader.content(&entry, LARGEST_KEY)?;
            keys.file(&entry.name, 0o644, &key)?;
        }
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use proptest::prelude::*;

    use super::*;
    use crate::model::digest::Digest;
    use crate::model::template::Template;
    use crate::wire::apkovl::Tree;

    fn kit(texts: &[&str]) -> Kit {
        let mut shared = Tree::default();
        shared.insert("etc/x", Entry::file("shared"));
        let template = |(number, text): (usize, &&str)| {
            let (path, text) = (format!("etc/own{number}"), (*text).to_owned());
            Template { path, mode: 0o600, uid: 5, gid: 6, text }
        };
        let files = texts.iter().enumerate().map(template).collect();
        let set = TemplateSet::new(3, [].into(), [].into(), files);
        let archive = Prefix::of(&shared, 3).with(&[]);
        let mut keys = Writer::new(0);
        keys.file("etc/apk/keys/site.rsa.pub", 0o644, b"key").unwrap();
        Kit::new(Digest::of(b"bundle"), &set.to_bytes(), ("x.apkovl.tar.gz".to_owned(), archive.into()), keys).unwrap()
    }

    /// Paths, modes and contents of the overlay in an initrd.
    fn overlay(initrd: &[Bytes]) -> Vec<(String, u32, Vec<u8>)> {
        let bytes = initrd.concat();
        let mut reader = Reader::new(&bytes, 64 << 20);
        let (mut names, mut archive) = (Vec::new(), Vec::new());
        while let Some(entry) = reader.next_entry().unwrap() {
            if entry.is_file() {
                archive = reader.content(&entry, 64 << 20).unwrap();
                names.push(entry.name);
            }
        }
        assert_eq!(names, ["etc/apk/keys/site.rsa.pub", "x.apkovl.tar.gz"]);
        let mut tar = tar::Archive::new(flate2::read::MultiGzDecoder::new(archive.as_slice()));
        let members = tar.entries().unwrap().map(|member| {
            let mut member = member.unwrap();
            let mut content = Vec::new();
            member.read_to_end(&mut content).unwrap();
            let path = String::from_utf8(member.path_bytes().into_owned()).unwrap();
            (path, member.header().mode().unwrap(), content)
        });
        members.filter(|(path, _, _)| !path.ends_with('/')).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_archive_is_whole_whatever_the_files_are(
            first in "\\PC{0,2000}", second in proptest::collection::vec(any::<char>(), 0..40_000),
        ) {
            let second: String = second.into_iter().collect();
            let kit = kit(&["a", "b"]);
            let content = Content { bundle: kit.bundle, files: vec![first.clone(), second.clone()] };
            let (initrd, _) = kit.initrd(&content).unwrap();
            let expected = [
                ("etc/x".to_owned(), 0o644, b"shared".to_vec()),
                ("etc/own0".to_owned(), 0o600, first.into_bytes()),
                ("etc/own1".to_owned(), 0o600, second.into_bytes()),
            ];
            prop_assert!(overlay(&initrd) == expected);
        }
    }

    #[test]
    fn the_content_of_another_bundle_makes_no_archive() {
        let kit = kit(&["a", "b"]);
        let content = Content { bundle: kit.bundle, files: vec!["one".to_owned()] };
        assert!(matches!(kit.initrd(&content), Err(KitError::Archive)));
    }

    #[test]
    fn an_archive_that_has_its_end_in_another_member_is_refused() {
        let set = TemplateSet::new(3, [].into(), [].into(), Vec::new());
        let archive = crate::wire::apkovl::pack(&Tree::default(), 3);
        let other = [archive.as_slice(), b"x"].concat();
        let made = Kit::new(Digest::of(b""), &set.to_bytes(), ("x".to_owned(), other.into()), Writer::new(0));
        assert!(matches!(made, Err(KitError::Archive)));
    }
}

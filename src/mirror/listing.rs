//! What an index says of its packages, as far as a mirror needs it: their names, lengths and identities.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::age::Edition;
use crate::apk::{Index, IndexError, IndexPackage};

/// The packages of a repository by the names of their files. An index of Alpine takes some ten megabytes in memory, and
/// a mirror has many; this takes a few.
#[derive(Debug, Default)]
pub(super) struct Listing {
    packages: HashMap<Box<str>, IndexPackage>,
}

/// The listing of an index, and what tells its age.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) listing: Listing,
    pub(super) edition: Edition,
}

impl Read {
    /// Takes what is needed out of an index.
    pub(super) fn of(index: &Index) -> Result<Self, IndexError> {
        let built = |package: &IndexPackage| package.field('t').and_then(|time| time.parse().ok());
        let newest = index.packages().iter().filter_map(built).max();
        let edition = Edition { description: index.description().to_owned(), newest };
        Ok(Self { listing: Listing::of(index.packages())?, edition })
    }
}

impl Listing {
    /// A listing of these packages. Of two with the same file name, the first counts.
    pub(super) fn of<'a>(packages: impl IntoIterator<Item = &'a IndexPackage>) -> Result<Self, IndexError> {
        Self::parse(&records(packages))
    }

    /// Reads what [`records`] wrote.
    pub(super) fn parse(records: &str) -> Result<Self, IndexError> {
        let mut packages = HashMap::new();
        for package in Index::parse(records)?.packages() {
            packages.entry(package.file_name().into()).or_insert_with(|| package.clone());
        }
        Ok(Self { packages })
    }

    /// The package that a file is.
    pub(super) fn find(&self, file: &str) -> Option<&IndexPackage> {
        self.packages.get(file)
    }

    /// Every package, in no order.
    pub(super) fn packages(&self) -> impl Iterator<Item = &IndexPackage> {
        self.packages.values()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.packages.len()
    }
}

/// The least that an index can say of packages, in its own form.
pub(super) fn records<'a>(packages: impl IntoIterator<Item = &'a IndexPackage>) -> String {
    let mut text = String::new();
    for package in packages {
        let (identity, name, version, size) = (package.identity(), package.name(), package.version(), package.size());
        write!(text, "C:{identity}\nP:{name}\nV:{version}\nS:{size}\n\n").expect("a text takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "C:Q1q6urq6urq6urq6urq6urq6urq6s=\nP:nano\nV:8.0-r0\nA:x86_64\nS:7\nI:9\nT:An editor\nD:musl\nt:1700000000\n\n\
                        C:Q1q6urq6urq6urq6urq6urq6urq6s=\nP:musl\nV:1.2.5-r0\nS:8\nt:1600000000\n";

    #[test]
    fn a_listing_has_what_recognises_a_package_and_the_index_tells_its_age() {
        let index = Index::parse(TEXT).unwrap().with_description("v3.24.1-7-gabc");
        let Read { listing, edition } = Read::of(&index).unwrap();
        assert_eq!(edition, Edition { description: "v3.24.1-7-gabc".to_owned(), newest: Some(1_700_000_000) });
        let nano = listing.find("nano-8.0-r0.apk").unwrap();
        assert_eq!((nano.size(), nano.identity(), nano.field('T')), (7, index.packages()[0].identity(), None));
        assert!(listing.find("nano-8.1-r0.apk").is_none());
        let again = Listing::parse(&records(listing.packages())).unwrap();
        assert_eq!((again.len(), again.find("musl-1.2.5-r0.apk").unwrap().size()), (2, 8));
    }
}

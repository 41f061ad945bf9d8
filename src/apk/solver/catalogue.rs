//! Who provides a name, and who waits for it in an install_if, in all repositories.
//!
//! A world leads to a small part of what the repositories have. So only the words are found here, and hashed; what they
//! say is read for the names that somebody asks for.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::BuildHasher as _,
};

use foldhash::fast::RandomState;

use super::{Repositories, Repository};
use crate::apk::{
    dependency::{Constraint, Dependency, name_in},
    identity::Identity,
    index::IndexPackage,
};

/// All packages of all repositories, by what they provide.
#[derive(Debug)]
pub(super) struct Catalogue<'a> {
    packages: Vec<Listed<'a>>,
    /// What packages are called and provide.
    provisions: Register<'a>,
    /// What stands in install_if.
    conditions: Register<'a>,
}

/// A package, once, however many repositories have it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listed<'a> {
    pub(super) index: &'a IndexPackage,
    pub(super) repositories: Repositories,
}

/// A package that provides a name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Provision<'a> {
    /// Where it stands among all of them; the order is that of repositories, of packages in them, and of their words.
    pub(super) place: u32,
    /// The number of the package in the catalogue.
    pub(super) package: usize,
    /// The version of the provided name, if it has one.
    pub(super) version: Option<&'a str>,
}

/// Words by the name in them: a hash table whose chains run in the order of the words.
#[derive(Debug, Default)]
struct Register<'a> {
    words: Vec<Word<'a>>,
    /// The first word of each chain.
    heads: Vec<u32>,
    hasher: RandomState,
}

#[derive(Debug, Clone, Copy)]
struct Word<'a> {
    /// The name in it.
    name: &'a str,
    /// All of it; nothing for what a package is called.
    text: Option<&'a str>,
    package: u32,
    /// The next word of the chain.
    next: u32,
}

/// The end of a chain.
const END: u32 = u32::MAX;

impl<'a> Catalogue<'a> {
    /// Everything in the repositories.
    pub(super) fn new(repositories: &[Repository<'a>]) -> Self {
        let count = repositories.iter().map(|it| it.index.packages().len()).sum();
        let mut packages: Vec<Listed<'a>> = Vec::with_capacity(count);
        // Nearly all packages provide their name and one or two more.
        let (mut provisions, mut conditions) = (Register::with_capacity(3 * count), Register::with_capacity(count));
        let mut identities: HashMap<&Identity, usize, RandomState> =
            HashMap::with_capacity_and_hasher(count, RandomState::default());
        for (position, repository) in repositories.iter().enumerate() {
            let place = Repositories::one(position);
            for package in repository.index.packages() {
                let number = packages.len();
                match identities.entry(&package.identity) {
                    Entry::Occupied(known) => packages[*known.get()].repositories |= place,
                    Entry::Vacant(free) => {
                        free.insert(number);
                        packages.push(Listed { index: package, repositories: place });
                        provisions.push(package.name(), None, number);
                        for word in package.provided_words() {
                            provisions.push(name_of(word), Some(word), number);
                        }
                        for word in package.install_if_words() {
                            conditions.push(name_of(word), Some(word), number);
                        }
                    }
                }
            }
        }
        provisions.link();
        conditions.link();
        Self { packages, provisions, conditions }
    }

    /// A package by its number.
    pub(super) fn package(&self, number: usize) -> Listed<'a> {
        self.packages[number]
    }

    /// How many packages there are.
    pub(super) fn len(&self) -> usize {
        self.packages.len()
    }

    /// Who provides a name, in order; each package once, because apk would count a second provision of the same name as
    /// a conflict with the first.
    pub(super) fn providers(&self, name: &str) -> impl Iterator<Item = Provision<'a>> {
        let mut last = None;
        self.provisions.find(name).filter_map(move |(place, word)| {
            let package = word.package as usize;
            let version = match word.text {
                None => Some(self.packages[package].index.version()),
                Some(text) => provided(text)?.1,
            };
            (last.replace(package) != Some(package)).then_some(Provision { place, package, version })
        })
    }

    /// The packages with a name in their install_if, in order; one that speaks of it twice may be there twice.
    pub(super) fn watchers(&self, name: &str) -> impl Iterator<Item = usize> {
        self.conditions.find(name).map(|(_, word)| word.package as usize)
    }

    /// Every name that is provided; many of them several times.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.provisions.words.iter().map(|word| word.name)
    }
}

/// The name that a word of a package's `p:` provides, and its version; nothing where the word is malformed.
pub(super) fn provided(word: &str) -> Option<(&str, Option<&str>)> {
    let provided = Dependency::provided(word).ok()?;
    let version = match provided.constraint {
        Constraint::Version { version, .. } => Some(version),
        Constraint::Any | Constraint::Identity(_) => None,
    };
    Some((provided.name, version))
}

fn name_of(word: &str) -> &str {
    word.get(name_in(word)).unwrap_or(word)
}

impl<'a> Register<'a> {
    fn with_capacity(count: usize) -> Self {
        Self { words: Vec::with_capacity(count), ..Self::default() }
    }

    fn push(&mut self, name: &'a str, text: Option<&'a str>, package: usize) {
        self.words.push(Word { name, text, package: number(package), next: END });
    }

    /// Makes the chains, when all words are there: from the last word to the first, so that they begin with the first.
    fn link(&mut self) {
        self.heads = vec![END; self.words.len().next_power_of_two()];
        for place in (0..self.words.len()).rev() {
            let word = &mut self.words[place];
            let bucket = bucket(&self.hasher, word.name, self.heads.len());
            word.next = std::mem::replace(&mut self.heads[bucket], number(place));
        }
    }

    /// The words with a name, each with its place.
    fn find(&self, name: &str) -> impl Iterator<Item = (u32, Word<'a>)> {
        let first = self.heads.get(bucket(&self.hasher, name, self.heads.len())).copied();
        let at = |place: u32| Some((place, *self.words.get(place as usize)?));
        let chain = std::iter::successors(first.and_then(at), move |(_, word)| at(word.next));
        chain.filter(move |(_, word)| word.name == name)
    }
}

/// Where the chain of a name begins; `count` is a power of two.
fn bucket(hasher: &RandomState, name: &str, count: usize) -> usize {
    // The cut keeps the low bits.
    hasher.hash_one(name.as_bytes()) as usize & (count - 1)
}

/// Words and packages are counted in 32 bits; [`END`] is none of them.
fn number(count: usize) -> u32 {
    u32::try_from(count).ok().filter(|it| *it != END).expect("four billion words do not fit into memory")
}

//! Which packages a machine needs, and the entries of the bundle that carry them.

use super::{BuildError, Recipe};
use crate::apk::{Index, IndexPackage, PackageFile, Repository, World, parse_word, solve, write_index};
use crate::model::digest::Digest;
use crate::model::manifest::PackageEntry;
use crate::model::name::ProfileName;

/// What init adds to every world by itself (alpine.md 1.3, step 11).
const ALWAYS: &str = "alpine-base";

/// What init adds when the initramfs brings a signature of the modloop (alpine.md 1.3, step 14).
const FOR_MODLOOP: &str = "openssl";

/// The packages of a bundle, before they are downloaded.
#[derive(Debug)]
pub struct Selection {
    /// Each package and where it comes from, sorted by name.
    pub wanted: Vec<Wanted>,
}

/// A package that has to be fetched.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its index record.
    pub package: IndexPackage,
    /// Which of the given repositories has it, counted from 0.
    pub repository: usize,
}

/// Reads the merged package names as a world and returns its words in apk's order.
pub(super) fn world(profile: &ProfileName, packages: &[String]) -> Result<Vec<String>, BuildError> {
    let failed = |source| BuildError::World { profile: profile.clone(), source };
    let world = World::parse(&packages.join("\n")).map_err(failed)?;
    Ok(world.dependencies().iter().map(ToString::to_string).collect())
}

/// Finds the packages a machine installs from `repositories` for this recipe.
///
/// # Errors
/// When the world cannot be installed, with who needs what.
pub fn select(recipe: &Recipe, repositories: &[Index], modloop_is_signed: bool) -> Result<Selection, BuildError> {
    let mut words: Vec<&str> = recipe.world.iter().map(String::as_str).collect();
    words.push(ALWAYS);
    if modloop_is_signed {
        words.push(FOR_MODLOOP);
    }
    // Every word was read before, and the two of init are names.
    let dependencies = words.iter().filter_map(|word| parse_word(word).ok()).collect();
    let world = World::new(dependencies);
    let sources: Vec<Repository<'_>> = repositories.iter().map(|index| Repository { index, tag: None }).collect();
    let solution = solve(world.dependencies(), &sources, recipe.alpine.arch.as_str())
        .map_err(|source| BuildError::Unsolvable { profile: recipe.name.clone(), source: Box::new(source) })?;
    let mut wanted: Vec<Wanted> = solution
        .packages
        .into_iter()
        .map(|chosen| Wanted { package: chosen.package, repository: chosen.repository })
        .collect();
    wanted.sort_by(|a, b| (a.package.name(), a.package.version()).cmp(&(b.package.name(), b.package.version())));
    Ok(Selection { wanted })
}

impl Wanted {
    /// The bundle's entry for the downloaded file, once it is shown to be the package the index names.
    ///
    /// # Errors
    /// When it is another one, or damaged.
    pub fn verified(&self, bytes: &[u8]) -> Result<PackageEntry, BuildError> {
        let package =
            PackageFile::read(bytes).map_err(|source| BuildError::Unreadable { name: self.name(), source })?;
        package
            .verify_against(&self.package)
            .map_err(|source| BuildError::OtherPackage { name: self.name(), source })?;
        Ok(PackageEntry {
            name: self.package.name().to_owned(),
            version: self.package.version().to_owned(),
            identity: self.package.identity().to_string(),
            sha256: Digest::of(bytes),
            size: bytes.len() as u64,
        })
    }

    /// Name and version.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}-{}", self.package.name(), self.package.version())
    }
}

impl Selection {
    /// The index of just these packages, unsigned: the site signs it when it publishes.
    pub(super) fn index(&self, profile: &ProfileName) -> Vec<u8> {
        write_index(self.wanted.iter().map(|wanted| &wanted.package), profile.as_str())
    }
}

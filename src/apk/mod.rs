//! Alpine packages: version order, dependencies, indexes, package files, signatures, advisories, and the
//! solver that says what a world installs. Works on bytes and text; never on a file or a socket.

mod dependency;
mod gzip;
mod identity;
mod index;
mod keys;
mod package;
mod pkginfo;
mod record;
mod secdb;
mod segment;
mod sign;
mod solver;
mod version;
mod world;
mod writer;

pub use dependency::{Constraint, Dependency, DependencyError, Operator};
pub use gzip::GzipError;
pub use identity::{Identity, IdentityError};
pub use index::{Index, IndexError, IndexPackage, Unusable};
pub use keys::{Algorithm, KeyError, KeyLength, KeyName, KeyRing, PublicKey, SigningKey};
pub use package::{CONTROL_LIMIT, Expected, Member, MemberKind, Mismatch, PackageError, PackageFile};
pub use pkginfo::PkgInfo;
pub use secdb::{SECDB_LIMIT, Secdb, SecdbError};
pub use segment::NameError;
pub use sign::{ADB, INDEX_LIMIT, SignedBy, SignedIndex, SignedIndexError, read_index, write_index};
pub use solver::{Offer, Problem, REPOSITORY_LIMIT, Reason, Repository, Selected, Solution, Unsolvable, Wanted, solve};
pub use version::{Version, VersionError};
pub use world::{WordError, World, WorldError, parse_word};
pub use writer::PackageWriter;

#[cfg(test)]
mod corpus;

//! `bivouac solve`: what a world installs from some indexes, and why.

use std::collections::{HashSet, VecDeque};
use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::Outcome;
use super::args::Sources;
use super::progress::say;
use super::report::plain;
use super::workshop::{LARGEST_KEY, Workshop};
use crate::apk::{
    Dependency, INDEX_LIMIT, Index, KeyRing, Reason, Repository, Selected, SignedIndex, SignedIndexError, Solution,
    Unsolvable, World, WorldError, parse_word, read_index, solve,
};
use crate::config::Settings;
use crate::disk;
use crate::fetch::Wish;
use crate::model::alpine::{Arch, Flavor, ReleaseSpec};

/// What every gzip file starts with (RFC 1952, section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Arguments of `solve`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct SolveArgs {
    /// Packages, as in /etc/apk/world: NAME, NAME=VERSION, NAME~PREFIX, NAME@TAG, or !NAME for what must not be there
    #[arg(value_name = "WORLD", required = true)]
    world: Vec<String>,

    /// Index file, APKINDEX.tar.gz or the APKINDEX in it; may be repeated, the first one wins among equals. With `@TAG=`
    /// before it, nothing is taken from it but for NAME@TAG. Its signature is not looked at unless there is a --key
    #[arg(long, value_name = "[@TAG=]FILE")]
    index: Vec<IndexFile>,

    /// Public key that has to have signed the index files, by the name of its file; may be repeated
    #[arg(long, value_name = "FILE", requires = "index")]
    key: Vec<PathBuf>,

    /// Without --index: the release whose indexes are used, verified by Alpine's keys and the site's
    #[arg(long, default_value = "latest-stable", conflicts_with = "index")]
    release: ReleaseSpec,

    /// Without --index: its repositories
    #[arg(long, value_delimiter = ',', default_value = "main,community", conflicts_with = "index")]
    repository: Vec<String>,

    /// Architecture of the machine
    #[arg(long, default_value = "x86_64")]
    arch: Arch,

    /// Instead of the list, say how this package came to be on it
    #[arg(long, value_name = "PACKAGE")]
    why: Option<String>,

    /// As JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    sources: Sources,
}

/// An index file and the tag of its repository.
#[derive(Debug, Clone)]
struct IndexFile {
    tag: Option<String>,
    path: PathBuf,
}

impl FromStr for IndexFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(tagged) = text.strip_prefix('@') else {
            return Ok(Self { tag: None, path: text.into() });
        };
        match tagged.split_once('=') {
            Some((tag, path)) if !tag.is_empty() && !path.is_empty() => {
                Ok(Self { tag: Some(tag.to_owned()), path: path.into() })
            }
            _ => Err("a tagged index is written @TAG=FILE; a file whose name starts with @ as ./@NAME".to_owned()),
        }
    }
}

/// An index and the tag of its repository.
type Tagged = (Index, Option<String>);

/// Prints what the world would install.
pub(super) async fn run(settings: &Settings, args: SolveArgs, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let world = world(&args.world)?;
    let indexes = match args.index.as_slice() {
        [] => of_release(settings, &args).await?,
        files => {
            let keys = keys(&args.key)?;
            let open = |file: &IndexFile| Ok((named(file, keys.as_ref())?, file.tag.clone()));
            files.iter().map(open).collect::<anyhow::Result<_>>()?
        }
    };
    let repositories: Vec<Repository<'_>> =
        indexes.iter().map(|(index, tag)| Repository { index, tag: tag.as_deref() }).collect();
    match (solve(world.dependencies(), &repositories, args.arch.as_str()), &args.why) {
        (Ok(solution), Some(wanted)) => explain(&solution, wanted, args.json, out),
        (Ok(solution), None) => {
            list(&solution, args.json, out)?;
            Ok(Outcome::Done)
        }
        (Err(unsolvable), _) => {
            refuse(&unsolvable, args.json, out)?;
            Ok(Outcome::Refused)
        }
    }
}

/// Reads the words of a world, of which no two may be about one name.
fn world(words: &[String]) -> anyhow::Result<World> {
    let mut dependencies: Vec<Dependency> = Vec::new();
    for word in words.iter().flat_map(|word| word.split_ascii_whitespace()) {
        let dependency = parse_word(word).with_context(|| format!("`{word}` cannot be in a world"))?;
        if let Some(other) = dependencies.iter().find(|other| other.name == dependency.name && **other != dependency) {
            return Err(WorldError::Twice { first: other.to_string(), second: word.to_owned() }.into());
        }
        dependencies.push(dependency);
    }
    Ok(World::new(dependencies))
}

/// The indexes of a release, by the keys that its machines trust.
async fn of_release(settings: &Settings, args: &SolveArgs) -> anyhow::Result<Vec<Tagged>> {
    let mut workshop = Workshop::open(settings, args.sources.access())?;
    let flavor = Flavor::from_str("lts").context("cannot name a flavor")?;
    let wish = Wish { release: args.release, arch: args.arch.clone(), flavor };
    let found = workshop.indexes(&wish, &args.repository).await;
    let found = found.with_context(|| format!("cannot get the package indexes of Alpine {}", args.release))?;
    Ok(found.into_iter().map(|index| (index, None)).collect())
}

/// The keys that index files have to be signed with; nothing where none were named.
fn keys(files: &[PathBuf]) -> anyhow::Result<Option<KeyRing>> {
    let mut ring = KeyRing::new();
    for path in files {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let bytes = disk::read_bounded(path, LARGEST_KEY)?;
        ring.insert(&name, &bytes).with_context(|| format!("{} cannot be used as a key", path.display()))?;
    }
    Ok((!files.is_empty()).then_some(ring))
}

/// Reads an index file.
fn named(file: &IndexFile, keys: Option<&KeyRing>) -> anyhow::Result<Index> {
    let bytes = disk::read_bounded(&file.path, INDEX_LIMIT)?;
    let parse = || -> Result<Index, SignedIndexError> {
        if let Some(keys) = keys {
            return Ok(SignedIndex::open(&bytes, keys)?.0);
        }
        match str::from_utf8(&bytes) {
            // An empty file is a download that failed, not a repository without packages.
            Ok(text) if !text.is_empty() && !bytes.starts_with(b"ADB") => Ok(Index::parse(text)?),
            Err(error) if !bytes.starts_with(b"ADB") && !bytes.starts_with(&GZIP) => {
                Err(crate::apk::IndexError::Encoding(error).into())
            }
            _ => read_index(&bytes),
        }
    };
    parse().with_context(|| format!("{} cannot be used as a package index", file.path.display()))
}

fn list(solution: &Solution, as_json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if as_json {
        let packages: Vec<Value> = solution.packages.iter().map(described).collect();
        return written(&json!({ "installable": true, "packages": packages }), out);
    }
    for package in &solution.packages {
        writeln!(out, "{}", plain(&label(package)))?;
    }
    Ok(())
}

fn refuse(unsolvable: &Unsolvable, as_json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if as_json {
        let problems: Vec<String> = unsolvable.problems.iter().map(ToString::to_string).collect();
        return written(&json!({ "installable": false, "problems": problems }), out);
    }
    say(&plain(&unsolvable.to_string()));
    Ok(())
}

/// Prints how a package came to be there: the shortest chain of reasons from the world to it, and before that the same for
/// whatever else an install_if on the way waited for.
fn explain(solution: &Solution, wanted: &str, as_json: bool, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let chain: Vec<_> = find(solution, wanted).map(|target| origins(solution, target)).unwrap_or_default();
    if chain.is_empty() {
        if as_json {
            written(&json!({ "package": wanted, "installed": false, "chain": [] }), out)?;
        } else {
            say(&plain(&format!("`{wanted}` is not among the packages that this world installs")));
        }
        return Ok(Outcome::Refused);
    }
    if as_json {
        let steps = chain.iter().map(|(package, reason)| {
            json!({ "package": package.package.name(), "version": package.package.version(), "reason": reason.to_string() })
        });
        written(&json!({ "package": wanted, "installed": true, "chain": steps.collect::<Vec<_>>() }), out)?;
        return Ok(Outcome::Done);
    }
    for (package, reason) in chain {
        writeln!(out, "{}", plain(&format!("{}: {reason}", label(package))))?;
    }
    Ok(Outcome::Done)
}

/// The package of that name, or the one that provides it.
fn find<'s>(solution: &'s Solution, wanted: &str) -> Option<&'s Selected> {
    let named = solution.packages.iter().find(|it| it.package.name() == wanted);
    named.or_else(|| solution.packages.iter().find(|it| it.package.provides().any(|provided| provided.name == wanted)))
}

/// A package with what brought it in.
type Step<'s> = (&'s Selected, &'s Reason);

/// Everything that had to be there for a package to be, what was there first before the others, each package once.
fn origins<'s>(solution: &'s Solution, target: &'s Selected) -> Vec<Step<'s>> {
    let mut chains: Vec<Vec<Step<'s>>> = Vec::new();
    let mut told: HashSet<&str> = HashSet::new();
    let mut pending = VecDeque::from([target]);
    while let Some(target) = pending.pop_front() {
        if told.contains(target.package.name()) {
            continue;
        }
        let mut chain = chain(solution, target).unwrap_or_default();
        chain.retain(|(package, _)| told.insert(package.package.name()));
        pending.extend(chain.iter().flat_map(|(_, reason)| awaited(solution, reason)));
        chains.push(chain);
    }
    chains.into_iter().rev().flatten().collect()
}

/// The packages that an install_if waits for.
fn awaited<'s>(solution: &'s Solution, reason: &Reason) -> Vec<&'s Selected> {
    let Reason::InstallIf { conditions } = reason else {
        return Vec::new();
    };
    let conditions = conditions.iter().filter_map(|word| Dependency::parse(word).ok());
    conditions.filter(|it| !it.conflict).filter_map(|it| find(solution, it.name)).collect()
}

/// The shortest way from the world to a package.
fn chain<'s>(solution: &'s Solution, target: &'s Selected) -> Option<Vec<Step<'s>>> {
    // From the package back: each entry knows what it brought in, and why.
    struct Place<'s> {
        package: &'s Selected,
        brought: Option<(usize, &'s Reason)>,
    }
    let mut steps = vec![Place { package: target, brought: None }];
    let mut seen = HashSet::from([target.package.name()]);
    let mut pending = VecDeque::from([0]);
    while let Some(at) = pending.pop_front() {
        let package = steps.get(at)?.package;
        for reason in &package.reasons {
            let parents: Vec<&Selected> = match reason {
                Reason::World { .. } => {
                    let mut chain = vec![(package, reason)];
                    let mut next = steps.get(at)?.brought;
                    while let Some((place, reason)) = next {
                        let step = steps.get(place)?;
                        chain.push((step.package, reason));
                        next = step.brought;
                    }
                    return Some(chain);
                }
                Reason::Package { name, .. } => find(solution, name).into_iter().collect(),
                Reason::InstallIf { .. } => awaited(solution, reason),
            };
            for parent in parents {
                if seen.insert(parent.package.name()) {
                    steps.push(Place { package: parent, brought: Some((at, reason)) });
                    pending.push_back(steps.len() - 1);
                }
            }
        }
    }
    None
}

fn described(selected: &Selected) -> Value {
    let package = &selected.package;
    json!({
        "name": package.name(),
        "version": package.version(),
        "arch": package.arch(),
        "repository": selected.repository,
        "identity": package.identity().to_string(),
        "size": package.size(),
        "installed_size": package.installed_size(),
        "why": selected.reasons.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn label(selected: &Selected) -> String {
    format!("{}={}", selected.package.name(), selected.package.version())
}

fn written(value: &Value, out: &mut dyn Write) -> anyhow::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)?;
    Ok(())
}

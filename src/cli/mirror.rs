//! `bivouac mirror`: fills the caching mirror ahead of its clients, and shows what it holds.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tracing::warn;

use super::Outcome;
use super::fetch::usual_arch;
use super::progress::say;
use super::report::{size, table, time};
use super::workshop::{Access, Workshop};
use crate::config::Settings;
use crate::mirror::{Line, LineError, Mirror, Options, Repository, RepositoryStatus, Role, Status, Totals};
use crate::model::alpine::{Arch, RepositoryName};

/// How many packages come between two lines of progress.
const LINE: usize = 100;

/// `bivouac mirror`.
#[derive(Debug, Args)]
pub(super) struct MirrorArgs {
    #[command(subcommand)]
    command: MirrorCommand,
}

#[derive(Debug, Subcommand)]
enum MirrorCommand {
    /// Bring every package of whole repositories, so that they are there when upstream is not
    ///
    /// Each package is verified against its signed index. What is held already is not brought again, so a stopped run
    /// goes on. A server may run beside it.
    Sync {
        /// 3.24, latest-stable, edge
        #[arg(value_name = "BRANCH", required = true, value_parser = branch)]
        branches: Vec<Line>,
        /// Repositories
        #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "main,community")]
        repository: Vec<RepositoryName>,
        /// Architectures [default: this computer's]
        #[arg(long, value_name = "ARCH", value_delimiter = ',')]
        arch: Vec<Arch>,
        /// Bring the indexes only, and say how much there is to bring
        #[arg(long)]
        dry_run: bool,
    },
    /// Show what the caching mirror holds, how it is used and whether upstream answers
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// A branch as profiles write it, or as the folders of a mirror are called.
fn branch(text: &str) -> Result<Line, LineError> {
    text.parse().or_else(|error| format!("v{text}").parse().map_err(|_| error))
}

/// Runs a command of the mirror.
pub(super) async fn run(settings: &Settings, args: MirrorArgs, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    match args.command {
        MirrorCommand::Sync { branches, repository, arch, dry_run } => {
            let archs = if arch.is_empty() { vec![usual_arch()] } else { arch };
            let mut repositories = Vec::new();
            for branch in &branches {
                for name in &repository {
                    let of = |arch: &Arch| Repository { branch: *branch, repository: name.clone(), arch: arch.clone() };
                    repositories.extend(archs.iter().map(of));
                }
            }
            sync(settings, &repositories, dry_run, out).await
        }
        MirrorCommand::Status { json } => status(settings, json, out).await,
    }
}

/// The caching mirror that a server is, unless the site wants none. One that cannot be used keeps no machine from
/// booting.
pub(super) fn to_serve(settings: &Settings) -> Option<Mirror> {
    if !settings.caching_mirror.is_enabled {
        return None;
    }
    match open(settings, Role::Serve) {
        Ok(mirror) => Some(mirror),
        Err(error) => {
            warn!("the server is no mirror of Alpine: {error:#}");
            None
        }
    }
}

/// The caching mirror of a site.
fn open(settings: &Settings, role: Role) -> anyhow::Result<Mirror> {
    let options = Options {
        folder: settings.mirror(),
        size: settings.caching_mirror.size,
        max_age: settings.caching_mirror.max_age,
        repositories: settings.caching_mirror.repositories.clone(),
    };
    let sources = Workshop::quiet(settings, Access::Online)?.into_sources();
    Mirror::open(options, role, sources).context("the caching mirror cannot be used")
}

async fn sync(
    settings: &Settings,
    repositories: &[Repository],
    is_trial: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let mirror = open(settings, Role::Visit)?;
    let plan = mirror.plan(repositories).await.map_err(shared).context("an index cannot be had")?;
    let (missing, bytes) = (plan.missing, size(plan.missing_bytes));
    writeln!(out, "{} packages, {}; to bring: {missing}, {bytes}", plan.packages, size(plan.bytes))?;
    if is_trial {
        return Ok(Outcome::Done);
    }
    let mut told = 0;
    let synced = mirror.sync(plan, |synced| {
        let done = synced.downloaded + synced.failed;
        if done >= told + LINE {
            told = done;
            say(&format!("{done} of {missing} packages, {} of {bytes}", size(synced.downloaded_bytes)));
        }
    });
    let synced = synced.await.map_err(shared).context("the packages cannot be kept")?;
    for failure in &synced.failures {
        say(&format!("{:#}", anyhow::Error::new(Arc::clone(failure))));
    }
    let (count, bytes) = (synced.downloaded, size(synced.downloaded_bytes));
    writeln!(out, "brought {count} packages, {bytes}; {} were held; {} cannot be had", synced.held, synced.failed)?;
    Ok(if synced.failed == 0 { Outcome::Done } else { Outcome::Refused })
}

/// An error that several may wait for, as one of those.
fn shared<E: std::error::Error + Send + Sync + 'static>(error: Arc<E>) -> anyhow::Error {
    match Arc::try_unwrap(error) {
        Ok(error) => error.into(),
        Err(error) => anyhow::Error::new(error),
    }
}

async fn status(settings: &Settings, as_json: bool, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    // A folder that is not there yet is not made for this.
    let status = if settings.mirror().exists() {
        let mirror = open(settings, Role::Visit)?;
        tokio::task::spawn_blocking(move || mirror.status()).await??
    } else {
        Status { limit: settings.caching_mirror.size, ..Status::default() }
    };
    let now = SystemTime::now();
    if as_json {
        serde_json::to_writer_pretty(&mut *out, &described(&status, now))?;
        writeln!(out)?;
    } else {
        show(&status, now, out)?;
    }
    Ok(Outcome::Done)
}

fn described(status: &Status, now: SystemTime) -> Value {
    let Totals { hits, misses, stale, refused, served_bytes, downloads, downloaded_bytes, upstream_well, .. } =
        status.totals;
    let failing = status.totals.failing();
    let repository = |it: &RepositoryStatus| {
        json!({
            "branch": it.repository.branch.to_string(),
            "repository": it.repository.repository,
            "arch": it.repository.arch,
            "index": it.index.as_ref().map(|index| json!({
                "description": index.description,
                "key": index.key,
                "checked": index.checked.map(time),
                "age": index.checked.map(|checked| age(checked, now).as_secs()),
            })),
            "packages": it.index.as_ref().map(|index| index.packages),
            "held": it.index.as_ref().map(|index| index.held),
            "held_bytes": it.index.as_ref().map(|index| index.held_bytes),
        })
    };
    json!({
        "serving": status.is_serving,
        "files": status.files,
        "bytes": status.bytes,
        "limit": status.limit,
        "repositories": status.repositories.iter().map(repository).collect::<Vec<_>>(),
        "totals": {
            "hits": hits, "misses": misses, "stale": stale, "refused": refused, "served_bytes": served_bytes,
            "downloads": downloads, "downloaded_bytes": downloaded_bytes,
        },
        "upstream": {
            "answered": upstream_well.map(time),
            "failed": failing.map(|failure| time(failure.at)),
            "failure": failing.map(|failure| &failure.why),
        },
    })
}

fn show(status: &Status, now: SystemTime, out: &mut dyn Write) -> anyhow::Result<()> {
    let serving = if status.is_serving { "a server answers from it" } else { "no server is running" };
    writeln!(out, "{} files, {} of {}; {serving}", status.files, size(status.bytes), size(status.limit))?;
    if !status.repositories.is_empty() {
        let rows = status.repositories.iter().map(|it| row(it, now)).collect();
        out.write_all(table(&["REPOSITORY", "HELD", "OF", "SIZE", "INDEX", "CHECKED"], rows).as_bytes())?;
    }
    let Totals { hits, misses, stale, refused, served_bytes, downloads, downloaded_bytes, .. } = status.totals;
    writeln!(out, "answers: {hits} from here, {misses} from upstream, {stale} with an old index, {refused} refused")?;
    writeln!(out, "served {}; took in {downloads} files, {}", size(served_bytes), size(downloaded_bytes))?;
    match (status.totals.failing(), status.totals.upstream_well) {
        (Some(failure), _) => writeln!(out, "upstream fails since {}: {}", time(failure.at), failure.why)?,
        (None, Some(well)) => writeln!(out, "upstream answered {} ago", ago(age(well, now)))?,
        (None, None) => writeln!(out, "no server has asked upstream yet")?,
    }
    Ok(())
}

fn row(status: &RepositoryStatus, now: SystemTime) -> Vec<String> {
    let mut row = vec![status.repository.to_string()];
    match &status.index {
        Some(index) => row.extend([
            index.held.to_string(),
            index.packages.to_string(),
            size(index.held_bytes),
            index.description.clone(),
            index.checked.map_or_else(|| "-".to_owned(), |checked| format!("{} ago", ago(age(checked, now)))),
        ]),
        None => row.extend(["-", "-", "-", "cannot be used", "-"].map(str::to_owned)),
    }
    row
}

fn age(since: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(since).unwrap_or_default()
}

/// A time to the second, in a few words.
fn ago(age: Duration) -> String {
    humantime::format_duration(Duration::from_secs(age.as_secs())).to_string()
}

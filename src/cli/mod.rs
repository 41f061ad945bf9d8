//! The command line: arguments, one file for each command, and what a person sees. Joins everything below it.

mod air_gap;
mod args;
mod check;
mod diff;
mod doctor;
mod events;
mod explain;
mod fetch;
mod gc;
mod inspect;
mod lbu;
mod leases;
mod loaders;
mod lock;
mod log;
mod machines;
mod manual;
mod mirror;
mod new_profile;
mod outdated;
mod output;
mod owner;
mod pipeline;
mod progress;
mod proxmox;
mod recipe;
mod render;
mod report;
mod rollout;
mod sbom;
mod schema;
mod serve;
mod show;
mod side;
mod site_key;
mod solve;
mod to_publish;
mod trial;
mod unchanged;
mod vars;
mod verify;
mod whom;
mod workshop;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;

use args::{Args, Command};
use fetch::Look;
use log::{Begun, Level, LogFormat};
use output::Output;

/// How long work on other threads may go on after a command ended.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It did what was asked.
    Done,
    /// It looked, and the answer is no.
    Refused,
}

/// Runs the program: exit code 0 when it did what was asked, 1 when it checked something and the answer is no, 2 when it
/// failed.
#[must_use]
pub fn main() -> ExitCode {
    serve::keep_hangup();
    if let Some(server) = trial::joins() {
        serve::let_hangup_come();
        return match trial::join(server) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                LogFormat::default().fail(&error, Begun::default());
                ExitCode::from(2)
            }
        };
    }
    let args = Args::parse();
    let is_server = matches!(args.command, Command::Serve(_) | Command::Up { .. });
    // Only a server is asked something by it.
    if !is_server {
        serve::let_hangup_come();
    }
    let format = args.log_format;
    let level = match args.command {
        _ if args.verbose => Level::More,
        // It tells the same in its own words.
        Command::Try(_) => Level::Warnings,
        _ => Level::Usual,
    };
    let log = format.begin(level, is_server);
    // Results go to standard output; progress, errors and the log to standard error.
    let mut out = Output::new(io::stdout());
    match run(args, &mut out) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Refused) => ExitCode::from(1),
        Err(_) if out.is_closed() => ExitCode::SUCCESS,
        Err(error) => {
            format.fail(&error, log);
            ExitCode::from(2)
        }
    }
}

fn run(args: Args, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let flags = args.command.flags(&args.site_flags);
    // These say the same whatever the site is, and also where it cannot be read.
    match &args.command {
        Command::Man { folder } => return manual::man(folder, out).map(|()| Outcome::Done),
        Command::Completions { shell } => return manual::completions(*shell, out).map(|()| Outcome::Done),
        _ => {}
    }
    let source = serve::Source::new(args.site, flags);
    let settings = source.read().context("the settings cannot be used")?;
    if args.command.writes() {
        owner::warn_root(&settings.state);
    }
    if let Command::Build { profiles, .. } = &args.command
        && pipeline::is_all_built(&settings, profiles, out)?
    {
        return Ok(Outcome::Done);
    }
    let runtime = tokio::runtime::Runtime::new().context("cannot start the worker threads")?;
    let ended = runtime.block_on(async {
        match args.command {
            Command::Fetch { list, sources, .. } if list.list => {
                let look = Look { release: list.release.as_ref(), arch: list.arch.as_ref(), as_json: list.json };
                fetch::list(&settings, look, sources.access(), out).await?;
            }
            Command::Fetch { profiles, packages, sources, .. } => {
                fetch::fetch(&settings, &profiles, args::extent(packages), sources.access(), out).await?;
            }
            Command::Check { profiles, json } => return check::check(&settings, &profiles, json, out),
            Command::Lock { profiles, update, dry_run, json, sources } => {
                let access = sources.access();
                let rules = lock::Rules { update: lock::update(update), is_trial: dry_run, as_json: json, access };
                lock::lock(&settings, &profiles, &rules, out).await?;
            }
            Command::Build { profiles, how } => pipeline::build(&settings, &profiles, how.how(), out).await?,
            Command::Publish { wanted, channel } => pipeline::publish(&settings, &wanted, &channel, out).await?,
            Command::Serve(_) => serve::bind(source, &settings, &[]).await?.run(args.log_format, out).await?,
            Command::Up { profiles, how, .. } => {
                // What somebody edits from here on is built once more.
                let mut rebuild = serve::Rebuild::new(&settings, &profiles, how.how()).await;
                // Ports before bundles: who cannot serve must not publish what another server then hands out.
                let names = pipeline::meant(&settings, &profiles)?;
                let server = serve::bind(source, &settings, &names).await?;
                rebuild.first(&names, out).await?;
                server.rebuilding(rebuild).run(args.log_format, out).await?;
            }
            Command::List { json } => show::list(&settings, json, out)?,
            Command::Show { reference, json } => show::show(&settings, &reference, json, out)?,
            Command::Outdated { profiles, json, .. } => {
                return outdated::outdated(&settings, &profiles, json, out).await;
            }
            Command::Solve(args) => return solve::run(&settings, args, out).await,
            Command::Sbom { reference } => sbom::sbom(&settings, &reference, out)?,
            Command::Verify { reference, json } => {
                return verify::verify(&settings, reference.as_ref(), json, out);
            }
            Command::Export { references, file, oci } => {
                let form = if oci { air_gap::Form::Folder } else { air_gap::Form::Archive };
                air_gap::export(&settings, &references, &file, form, out)?;
            }
            Command::Explain { profile, what, json } => {
                explain::explain(&settings, &profile, what.as_deref(), json, out)?;
            }
            Command::Schema { of } => schema::schema(of, out)?,
            Command::New { name, from } => new_profile::new_profile(&settings, &name, from.as_ref(), out)?,
            Command::Import { file, name } => match (lbu::form(&file), name) {
                (lbu::Form::Other, None) => air_gap::import(&settings, &file, out)?,
                (lbu::Form::Other, Some(name)) => return Err(air_gap::named(&file, &name)),
                (_, None) => return Err(lbu::nameless(&file)),
                (_, Some(name)) => lbu::import(&settings, &file, &name, out)?,
            },
            Command::Inspect { what, json } => inspect::inspect(&settings, &what, json, out)?,
            Command::Diff { before, after, json } => return diff::diff(&settings, [&before, &after], json, out),
            Command::Gc { unused, dry_run, json } => {
                let rules = gc::Rules { unused: *unused, is_trial: dry_run, as_json: json };
                gc::gc(&settings, rules, out)?;
            }
            Command::Loaders(args) => loaders::run(&settings, args, out)?,
            Command::DhcpRecipe(args) => recipe::recipe(&settings, &args, out)?,
            Command::Render(args) => render::render(&settings, args, out).await?,
            Command::Mirror(args) => return mirror::run(&settings, args, out).await,
            Command::Try(args) => return trial::run(&settings, args, out).await,
            Command::Doctor(args) => {
                let question = doctor::Question { replay: args.replay, as_json: args.json };
                return doctor::doctor(&settings, question, out).await;
            }
            Command::Leases { json } => leases::leases(&settings, json, out)?,
            Command::Machines(arguments) => machines::machines(&settings, arguments, out).await?,
            Command::Assign(arguments) => machines::assign(&settings, &arguments, out).await?,
            Command::Rollout(arguments) => rollout::rollout(&settings, arguments, out).await?,
            Command::Promote(arguments) => rollout::promote(&settings, arguments, out).await?,
            Command::Events(arguments) => events::events(&settings, &arguments, out).await?,
            Command::Proxmox(arguments) => proxmox::proxmox(&settings, arguments, out).await?,
            Command::Man { .. } | Command::Completions { .. } => {}
        }
        Ok(Outcome::Done)
    });
    // A thread that hangs on a dead disk must not keep the program from ending.
    runtime.shutdown_timeout(SHUTDOWN);
    ended
}

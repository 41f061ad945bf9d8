//! `bivouac try`: boots a bundle in QEMU and waits until the machine reports that it is well.
//!
//! The bundle is the very one that machines get, from a server of its own on the loopback ([`site`]), whose store, fleet
//! and assignments vanish afterwards; nothing is published and nobody else is served. The machine reaches that server
//! through [`join`], and nothing else. [`verdict`] says what came of it.

mod join;
mod site;
mod verdict;

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use tokio_util::sync::CancellationToken;

use super::args::Building;
use super::machines::{LOOK_EVERY, News, boots, line};
use super::progress::say;
use super::report::plain;
use super::to_publish::ToPublish;
use super::vars::{self, Assigned};
use super::{Outcome, loaders, pipeline, serve};
use crate::config::{File, Settings};
use crate::disk;
use crate::fleet::{Event, Fleet, Onlooker, Session};
use crate::model::firmware;
use crate::model::mac::Mac;
use crate::model::manifest::Manifest;
use crate::model::profile::variable::{Declaration, Required};
use crate::model::template::Vars;
use crate::serve::loaders::Loaders;
use crate::serve::own_files::kit::Kit;
use crate::store::Store;
use crate::vm::{self, Accelerator, Console, Display, End, Firmware, Flash, Hardware, Machine, Memory, Reach};
pub(super) use join::{join, wanted as joins};
use site::{Place, Server};
use verdict::Verdict;

/// How long a boot may take by default, run by the processor and by software.
const PATIENCE: [Duration; 2] = [Duration::from_secs(3 * 60), Duration::from_secs(10 * 60)];

/// How long a machine whose health checks fail may take until they do not: services that started a moment ago.
const SETTLE: Duration = Duration::from_secs(30);

/// How often the machine checks in.
const CHECK_IN: Duration = Duration::from_secs(5);

/// What the machine says of itself.
const MAC: Mac = Mac([0x52, 0x54, 0x00, 0x74, 0x72, 0x79]);
const UUID: &str = "74727900-0000-4000-8000-525400747279";
const SERIAL: &str = "bivouac-try";

/// The architectures whose bundles this machine runs.
const ARCHITECTURES: [&str; 2] = ["x86_64", "x86"];

const EXAMPLES: &str = "\
Examples:
  bivouac try vdi                         build what changed, and boot it
  bivouac try vdi@12 --firmware uefi      boot a release as a UEFI machine does
  bivouac try vdi --display window        the same, to look at
  bivouac try vdi --var pve_user=anna     with a value that each machine has of its own

In CI, where no terminal and no /dev/kvm are, and nobody is root:
  bivouac try vdi --locked --timeout 15m --console vdi.log --screenshot vdi.png";

/// What to try, and how.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct TryArgs {
    /// PROFILE, which is built if it changed; or PROFILE@NUMBER, PROFILE:CHANNEL, or a bundle id or its beginning: that
    /// very bundle
    #[arg(value_name = "PROFILE|REF")]
    what: ToPublish,
    /// What starts the machine: SeaBIOS with iPXE in the network card, UEFI by PXE, or UEFI by HTTP
    #[arg(long, value_enum, default_value = "bios")]
    firmware: FirmwareWord,
    /// The memory of the machine
    #[arg(long, value_name = "SIZE", default_value = "1G")]
    ram: Memory,
    /// Where its screen is shown. With `vnc` and `window` it stays on until Ctrl-C, once it is up
    #[arg(long, value_enum, default_value = "none")]
    display: DisplayWord,
    /// A value of a variable, as a machine has it of its own; may be repeated. A list has commas
    #[arg(long = "var", value_name = "NAME=VALUE")]
    vars: Vec<Assigned>,
    /// What the machine reaches besides its server: nothing, or whatever this computer reaches, which then sees it as
    /// one of its machines
    #[arg(long, value_enum, default_value = "closed")]
    network: NetworkWord,
    /// How long it may take to come up [default: 3m, and 10m without /dev/kvm]
    #[arg(long, value_name = "TIME")]
    timeout: Option<humantime::Duration>,
    /// The file that gets what it says on its first serial port [default: try/PROFILE-FIRMWARE.log in the state folder]
    #[arg(long, value_name = "FILE")]
    console: Option<PathBuf>,
    /// Save its screen at the end: FILE.png, or FILE.ppm where QEMU writes no PNG
    #[arg(long, value_name = "FILE")]
    screenshot: Option<PathBuf>,
    /// Folder of iPXE loaders [default: where distributions put them]
    #[arg(long, value_name = "FOLDER")]
    loaders: Option<PathBuf>,
    #[command(flatten)]
    how: Building,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FirmwareWord {
    Bios,
    Uefi,
    Http,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DisplayWord {
    None,
    Vnc,
    Window,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum NetworkWord {
    Closed,
    Open,
}

impl TryArgs {
    /// The flags as a site file.
    pub(super) fn flags(&self) -> File {
        File { loaders: self.loaders.clone(), ..File::default() }
    }
}

impl FirmwareWord {
    const fn word(self) -> &'static str {
        match self {
            Self::Bios => "bios",
            Self::Uefi => "uefi",
            Self::Http => "http",
        }
    }
}

/// What is needed besides a bundle, all of it found before anything is built.
struct Tools {
    qemu: PathBuf,
    firmware: Firmware,
    display: Display,
    loaders: Arc<Loaders>,
}

/// `bivouac try`.
pub(super) async fn run(settings: &Settings, args: TryArgs, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let tools = find(settings, &args).context("nothing can be tried here")?;
    let manifest = bundle(settings, &args, out).await?;
    let (profile, arch) = (&manifest.profile, manifest.alpine.arch.as_str());
    anyhow::ensure!(
        ARCHITECTURES.contains(&arch),
        "profile `{profile}` is for {arch}, and only bundles for {} can be tried",
        ARCHITECTURES.join(" and ")
    );
    let stop = serve::on_signal()?.gently;
    let place = Place::prepare(settings, &manifest)?;
    let vars = values(&manifest, &place, &args.vars)?;
    let console = args.console.clone().unwrap_or_else(|| place.log(profile, args.firmware.word()));
    let console = std::path::absolute(&console).with_context(|| format!("cannot write {}", console.display()))?;
    let trial =
        Trial { args: &args, tools: &tools, manifest: &manifest, vars, place: &place, console: &console, stop: &stop };
    let (best, why_not) = Accelerator::best();
    let verdict = match trial.boot(best, why_not, out).await? {
        Verdict::KvmFails => {
            let why_not = Some("the processor's virtualization does not work here".to_owned());
            trial.boot(Accelerator::Software, why_not, out).await?
        }
        verdict => verdict,
    };
    Ok(if verdict.is_healthy() { Outcome::Done } else { Outcome::Refused })
}

fn find(settings: &Settings, args: &TryArgs) -> anyhow::Result<Tools> {
    let qemu = vm::find_qemu(&std::env::var_os("PATH").unwrap_or_default())?;
    let root = Path::new("/");
    let firmware = match args.firmware {
        FirmwareWord::Bios => Firmware::Bios,
        FirmwareWord::Uefi => Firmware::Uefi(Flash::find(root)?),
        FirmwareWord::Http => Firmware::Http(Flash::find(root)?),
    };
    let display = match args.display {
        DisplayWord::None => Display::None,
        DisplayWord::Vnc => Display::Vnc,
        DisplayWord::Window => Display::window(&qemu)?,
    };
    let loaders = Arc::new(loaders::find(settings)?);
    // A BIOS machine has iPXE in its card.
    if firmware != Firmware::Bios
        && let Some(missing) = loaders.missing().into_iter().find(|it| it.firmware == firmware::Firmware::EfiX64)
    {
        bail!("{missing}");
    }
    Ok(Tools { qemu, firmware, display, loaders })
}

/// The bundle that is meant; a profile is built first, where that is one.
async fn bundle(settings: &Settings, args: &TryArgs, out: &mut dyn Write) -> anyhow::Result<Manifest> {
    if let ToPublish::Staged(name) = &args.what {
        let is_bundle = || Store::look_into(&settings.store()).beginning_with(name.as_str()).is_some();
        if settings.profiles.join(name.as_str()).is_dir() || !is_bundle() {
            pipeline::build(settings, std::slice::from_ref(name), args.how.how(), out).await?;
        }
    }
    Ok(args.what.manifest(&Store::look_into(&settings.store()))?)
}

/// The values of the machine: those that are written, of variables the bundle has, and of all that each machine has to
/// have of its own.
fn values(manifest: &Manifest, place: &Place, written: &[Assigned]) -> anyhow::Result<Vars> {
    let (mut own, profile) = (Vars::new(), &manifest.profile);
    if manifest.templates.is_none() {
        anyhow::ensure!(
            written.is_empty(),
            "no file of profile `{profile}` is made for each machine, so it has no use for --var"
        );
        return Ok(own);
    }
    let kit = Kit::read(&Store::look_into(&place.store()), manifest.id())?;
    let renderer = kit.renderer();
    vars::add(&mut own, written, renderer)?;
    renderer.accepts(&own).with_context(|| format!("profile `{profile}` does not take the values of --var"))?;
    let is_missing = |name: &str, declared: &Declaration| {
        declared.required == Required::Machine && declared.value.is_none() && !own.contains_key(name)
    };
    let missing: Vec<String> = (renderer.set().vars.iter())
        .filter(|(name, declared)| is_missing(name, declared))
        .map(|(name, Declaration { kind, description, .. })| match description.as_str() {
            "" => format!("--var {name}=VALUE ({})", kind.word()),
            what => format!("--var {name}=VALUE ({}: {what})", kind.word()),
        })
        .collect();
    anyhow::ensure!(
        missing.is_empty(),
        "each machine of profile `{profile}` has values of its own, and this one has none; add {}",
        missing.join(" and ")
    );
    Ok(own)
}

/// One bundle and where it is tried.
struct Trial<'a> {
    args: &'a TryArgs,
    tools: &'a Tools,
    manifest: &'a Manifest,
    vars: Vars,
    place: &'a Place,
    console: &'a Path,
    stop: &'a CancellationToken,
}

impl Trial<'_> {
    /// Boots the machine once, and says what came of it.
    async fn boot(
        &self,
        accelerator: Accelerator,
        why_not: Option<String>,
        out: &mut dyn Write,
    ) -> anyhow::Result<Verdict> {
        let (args, manifest) = (self.args, self.manifest);
        if let Some(folder) = self.console.parent() {
            disk::create_dir_all(folder)?;
        }
        let console = Console::create(self.console);
        let mut console =
            console.with_context(|| format!("cannot write the console log {}", self.console.display()))?;
        // The machine is told the port before anybody serves there.
        let http = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("this computer has no port left")?;
        let at = http.local_addr().context("the port for the machine is not known")?;
        let program = std::env::current_exe().context("this program does not know where it is")?;
        let [word, address] = join::arguments(at);
        let hardware = Hardware {
            qemu: &self.tools.qemu,
            accelerator,
            firmware: &self.tools.firmware,
            memory: args.ram,
            display: self.tools.display,
            mac: MAC,
            uuid: UUID,
            serial: SERIAL,
            tftp: &self.place.tftp(&self.tools.loaders)?,
            server: &[program.into(), word, address],
            reach: match args.network {
                NetworkWord::Closed => Reach::Server,
                NetworkWord::Open => Reach::Everything,
            },
            console: self.console,
            folder: self.place.path(),
        };
        let how = match (accelerator, why_not) {
            (Accelerator::Kvm, _) => "KVM".to_owned(),
            (Accelerator::Software, None) => "software emulation".to_owned(),
            (Accelerator::Software, Some(why)) => format!("software emulation, because {why}"),
        };
        let (firmware, bundle) = (args.firmware.word(), manifest.id().short());
        writeln!(out, "{} boots in QEMU: bundle {bundle}, {firmware}, {}, {how}", manifest.profile, args.ram)?;
        out.flush()?;
        let started = Instant::now();
        let (mut machine, cable) = Machine::start(&hardware)?;
        let server = Server::start(self.place, &self.tools.loaders, (manifest, &self.vars), (cable, http)).await?;
        if self.tools.display == Display::Vnc {
            match machine.vnc().await {
                Ok(address) => writeln!(out, "its screen is shown by VNC on {address}")?,
                Err(error) => {
                    // When it is gone, the system says so a moment later; what comes of that is looked into below.
                    tokio::time::sleep(LOOK_EVERY).await;
                    if machine.end()?.is_none() {
                        return Err(anyhow::Error::new(error).context("nobody knows where the screen is"));
                    }
                }
            }
        }
        let patience = args.timeout.map_or_else(|| patience(accelerator), |timeout| *timeout);
        let watched = self.watch(&mut machine, &mut console, &server, started + patience, out).await;
        let verdict = match watched {
            Ok(verdict) => verdict,
            Err(error) => {
                drop(machine);
                server.stop().await;
                return Err(error);
            }
        };
        if verdict != Verdict::KvmFails {
            verdict.report(&manifest.profile, started.elapsed(), &console.last(), out)?;
            writeln!(out, "console log: {}", self.console.display())?;
            if let Some(file) = &args.screenshot {
                save_screen(&mut machine, file, out).await?;
            }
            out.flush()?;
            self.look_on(&mut machine, out).await?;
        }
        drop(machine);
        server.stop().await;
        Ok(verdict)
    }

    /// Follows the boot until it is clear what comes of it.
    async fn watch(
        &self,
        machine: &mut Machine,
        console: &mut Console,
        server: &Server,
        end: Instant,
        out: &mut dyn Write,
    ) -> anyhow::Result<Verdict> {
        let fleet = Fleet::look_on(&server.fleet).await?;
        let (mut news, mut events) = (News::of(MAC), Vec::new());
        let mut settled = None;
        loop {
            // What happened before the machine ended is still read and shown.
            let ended = machine.end()?;
            console.read().with_context(|| format!("cannot read {}", self.console.display()))?;
            events.extend(tell(&mut news, &fleet, out).await?);
            let machines = fleet.machines_with_reports().await?;
            let session = machines.iter().find(|machine| machine.identity.mac == MAC).map(|machine| &machine.session);
            let now = Instant::now();
            if session.is_some_and(is_up) {
                settled.get_or_insert(now + SETTLE);
            }
            let is_settled = settled.is_some_and(|settled| settled <= now) || end <= now;
            if let Some(verdict) = session.and_then(|session| Verdict::of(session, is_settled)) {
                // A check-in is written before what is seen of it: the one is waited for, the other is not.
                server.flush().await;
                tell(&mut news, &fleet, out).await?;
                return Ok(verdict);
            }
            if let Some(why) = console.panic() {
                return Ok(Verdict::Panic(why.to_owned()));
            }
            match ended {
                Some(End::KvmFails) => return Ok(Verdict::KvmFails),
                Some(End::ByItself(shutdown)) => return Ok(Verdict::Off(shutdown)),
                None if end <= now => return Ok(Verdict::late(boots(events).last())),
                None => {}
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.stop.cancelled() => bail!("stopped before the machine was up"),
            }
        }
    }

    /// Leaves the machine on for a person who looks at its screen.
    async fn look_on(&self, machine: &mut Machine, out: &mut dyn Write) -> anyhow::Result<()> {
        if self.tools.display == Display::None || !matches!(machine.end(), Ok(None)) {
            return Ok(());
        }
        writeln!(out, "it stays on; Ctrl-C switches it off")?;
        out.flush()?;
        while matches!(machine.end(), Ok(None)) {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.stop.cancelled() => break,
            }
        }
        Ok(())
    }
}

/// Says what is new; that.
async fn tell(news: &mut News, fleet: &Onlooker, out: &mut dyn Write) -> anyhow::Result<Vec<Event>> {
    let events = news.read(fleet).await?;
    for event in &events {
        writeln!(out, "{}", line(event))?;
    }
    out.flush()?;
    Ok(events)
}

const fn patience(accelerator: Accelerator) -> Duration {
    let [kvm, software] = PATIENCE;
    match accelerator {
        Accelerator::Kvm => kvm,
        Accelerator::Software => software,
    }
}

/// Whether a machine has checked in.
fn is_up(session: &Session) -> bool {
    session.last_check_in.is_some()
}

/// Saves the machine's screen. Whoever has no screenshot still has the verdict.
async fn save_screen(machine: &mut Machine, file: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    let place = std::path::absolute(file).with_context(|| format!("cannot write {}", file.display()))?;
    match machine.save_screen(&place).await {
        Ok(()) if fs::metadata(&place).is_ok() => writeln!(out, "screenshot: {}", place.display())?,
        Ok(()) => say(&format!("warning: there is no screenshot: QEMU did not write {}", place.display())),
        Err(error) => {
            let error = anyhow::Error::from(error);
            say(&plain(&format!(
                "warning: there is no screenshot: {error:#}; some builds of QEMU write no PNG, so try .ppm"
            )));
        }
    }
    Ok(())
}

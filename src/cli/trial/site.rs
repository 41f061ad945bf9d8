//! A site for one machine: a store with one bundle, a fleet of its own, and a server on the loopback.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use tokio::task::JoinHandle;

use super::{CHECK_IN, MAC};
use crate::cli::pipeline::site_parts;
use crate::cli::site_key::SiteKey;
use crate::config::Settings;
use crate::disk::{self, DiskError, Lock, Scratch};
use crate::fleet::Fleet;
use crate::model::database::DatabasePlace;
use crate::model::manifest::Manifest;
use crate::model::name::{ChannelName, ProfileName};
use crate::model::net::TransferPorts;
use crate::model::plan::{Assignment, Assignments};
use crate::model::template::Vars;
use crate::serve::dhcp::{Cable, Listen};
use crate::serve::given::Given;
use crate::serve::loaders::Loaders;
use crate::serve::rules::{InForce, Rules};
use crate::serve::{self, App, Options, ServeError, Stop};
use crate::store::Store;
use crate::vm;

/// How long a thread waits on the cable until it looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(250);

/// How many large files one machine can take at once.
const TRANSFERS: usize = 16;

/// A folder with a store that has one release. It vanishes with this.
pub(super) struct Place {
    scratch: Scratch,
    /// Where the folder is, and what stays.
    parent: PathBuf,
    /// Tells others that this folder is in use.
    _lock: Lock,
}

impl Place {
    /// Makes the folder, and publishes the bundle there.
    pub(super) fn prepare(settings: &Settings, manifest: &Manifest) -> anyhow::Result<Self> {
        let parent = settings.state.join("try");
        disk::create_dir_all(&parent)?;
        let lock = parent.join("lock");
        // What a killed run left is removed when nobody else is trying something.
        match Lock::try_acquire(&lock) {
            Ok(alone) => drop(disk::sweep(&parent, &alone)?),
            Err(DiskError::Busy { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let lock = Lock::share(&lock)?;
        let place = Self { scratch: Scratch::new_in(&parent)?, parent, _lock: lock };
        place.publish(settings, manifest).with_context(|| format!("cannot try bundle {}", manifest.id().short()))?;
        Ok(place)
    }

    /// Takes the bundle into the store of this folder: the bytes are those of the site's store, verified once more, and
    /// where the file system can do that they get a second name instead of a copy. A bundle that was published comes with
    /// what was published with it.
    fn publish(&self, settings: &Settings, manifest: &Manifest) -> anyhow::Result<()> {
        let (site, store) = (Store::look_into(&settings.store()), Store::open(&self.store())?);
        for (digest, size) in manifest.blobs() {
            store.share_file(&site.blob_path(&digest), &digest, size)?;
        }
        let parts = match site.site_parts(&manifest.id()) {
            Ok(parts) => {
                for file in [&parts.initrd, &parts.index] {
                    store.share_file(&site.blob_path(&file.sha256), &file.sha256, file.size)?;
                }
                parts
            }
            // It was never published.
            Err(_) => site_parts(&store, manifest, &SiteKey::load_or_make(&settings.keys())?)?,
        };
        store.publish(manifest, &parts, &ChannelName::default_channel(), SystemTime::now())?;
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        self.scratch.path()
    }

    pub(super) fn store(&self) -> PathBuf {
        self.path().join("store")
    }

    /// Where the console log is, when nobody wants it elsewhere.
    pub(super) fn log(&self, profile: &ProfileName, firmware: &str) -> PathBuf {
        self.parent.join(format!("{profile}-{firmware}.log"))
    }

    /// The folder with the loaders, for the TFTP server in the machine's network.
    pub(super) fn tftp(&self, loaders: &Loaders) -> anyhow::Result<PathBuf> {
        let folder = std::path::absolute(self.path().join("tftp")).context("the working folder is gone")?;
        disk::create_dir_all(&folder)?;
        for loader in loaders.iter() {
            let path = folder.join(&loader.name);
            fs::write(&path, &loader.bytes).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(folder)
    }
}

/// A running server for one machine.
pub(super) struct Server {
    pub(super) fleet: DatabasePlace,
    app: Arc<App>,
    stop: Stop,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Server {
    /// Serves the bundle to the machine, which is at the other end of `cable` and comes by `http`, and to whoever else
    /// is on this computer.
    pub(super) async fn start(
        place: &Place,
        loaders: &Arc<Loaders>,
        follows: (&Manifest, &Vars),
        (cable, http): (UnixDatagram, TcpListener),
    ) -> anyhow::Result<Self> {
        let (manifest, vars) = follows;
        let cable = Cable::new(cable, vm::HOST, vm::HOST_CARD, LOOK).context("the machine has no network")?;
        let folder = tempfile::Builder::new().prefix("fleet-").tempdir_in(place.path());
        let folder = folder.context("cannot make a folder for the fleet")?.keep();
        let database = DatabasePlace::File(folder.join("fleet.sqlite"));
        let follows = Assignment { profile: manifest.profile.clone(), channel: ChannelName::default_channel() };
        let at = http.local_addr().context("the port for the machine is not known")?;
        let rules = Rules {
            assignments: Assignments {
                fallback: Some(follows),
                vars: BTreeMap::from([(MAC, vars.clone())]),
                ..Assignments::default()
            },
            // It boots this bundle or none.
            boot_attempts: u32::MAX,
            advertise: Some(format!("http://{}", vm::SERVER)),
            loaders: Arc::clone(loaders),
            ..Rules::default()
        };
        let options = Options {
            http: at,
            https: None,
            transfers: TRANSFERS,
            tftp: None,
            tftp_ports: TransferPorts::default(),
            dhcp: Listen::Cable(Arc::new(cable)),
            leases: folder,
            dhcp_port: dhcproto::v4::SERVER_PORT,
            pxe_port: 4011,
            given: Given::http(http),
            rules: InForce::new(rules),
            mirror: None,
            cluster: None,
        };
        let fleet = Fleet::open(&database).await?.checking_in_every(CHECK_IN);
        let app = Arc::new(App::new(Store::open(&place.store())?, fleet, &options)?);
        let server = serve::Server::bind(Arc::clone(&app), options).await.context("cannot serve the machine")?;
        let stop = Stop::default();
        let task = tokio::spawn(server.run(stop.clone()));
        Ok(Self { fleet: database, app, stop, task })
    }

    /// Waits until everything the server saw is in the database.
    pub(super) async fn flush(&self) {
        self.app.flush().await;
    }

    /// Stops, and waits until nothing is written any more.
    pub(super) async fn stop(self) {
        // Nobody is left who could take anything.
        self.stop.gently.cancel();
        self.stop.at_once.cancel();
        // What went wrong has been logged, and the machine is off.
        let _ = self.task.await;
    }
}

//! A published `hello`, built by the program from the stand-in mirror.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Response, StatusCode};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// A state folder with `hello@1`.
pub struct Site {
    folder: tempfile::TempDir,
    profiles: PathBuf,
    /// The id of the published bundle.
    pub bundle: String,
}

/// A folder with the profiles of the repository: a build writes a lock beside each.
fn copied() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
    assert!(Command::new("cp").arg("-r").arg(ours).arg(folder.path()).status().unwrap().success());
    folder
}

impl Site {
    /// Fetches, builds and publishes `hello` with the program, as a user would.
    pub fn publish() -> Self {
        Self::publish_from(copied())
    }

    /// Builds these profiles of the repository from the stand-in mirror, and says what the program printed for each.
    pub fn build(profiles: &[String]) -> Vec<String> {
        let folder = copied();
        let site = Self { profiles: folder.path().join("profiles"), folder, bundle: String::new() };
        let release_key = mirror().join("keys/release-key.asc");
        let (key, served) = (release_key.to_str().unwrap(), Served::start(mirror()));
        let build = |name: &String| site.run(&["build", name, "--mirror", &served.address, "--release-key", key]);
        profiles.iter().map(build).collect()
    }

    /// The same with one file more in the profile.
    pub fn publish_with(path: &str, text: &str) -> Self {
        let folder = copied();
        std::fs::write(folder.path().join("profiles/hello/root").join(path), text).unwrap();
        Self::publish_from(folder)
    }

    fn publish_from(folder: tempfile::TempDir) -> Self {
        let profiles = folder.path().join("profiles");
        let site = Self { folder, profiles, bundle: String::new() };
        let folder = mirror();
        let release_key = folder.join("keys/release-key.asc");
        let served = Served::start(folder);
        for step in ["fetch", "build"] {
            let key = release_key.to_str().unwrap();
            site.run(&[step, "hello", "--mirror", &served.address, "--release-key", key]);
        }
        // From here on nothing is left but what the bundle has: machines boot without any mirror.
        served.stop();
        site.run(&["publish", "hello"]);
        let list: serde_json::Value = serde_json::from_str(&site.run(&["list", "--json"])).unwrap();
        let bundle = list[0]["bundle"].as_str().unwrap().to_owned();
        // A signature of real GnuPG, a real kernel and a real squashfs: each was looked at, and none was let pass.
        let verified = &site.manifest()["verified"];
        assert_eq!(verified["off"], serde_json::json!([]), "{verified:#}");
        for found in ["release_key", "kernel", "modloop_key"] {
            assert!(verified[found].is_string(), "{found}: {verified:#}");
        }
        Self { bundle, ..site }
    }

    /// The state folder.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Publishes a second release with one file more, whose site initrd cannot be had.
    pub fn publish_broken(&self, path: &str, text: &str) {
        std::fs::write(self.profiles.join("hello/root").join(path), text).unwrap();
        self.publish_next("stable");
        let bundle = self.manifest_id();
        let parts = std::fs::read(self.state().join(format!("store/sites/{bundle}.json"))).unwrap();
        let parts: serde_json::Value = serde_json::from_slice(&parts).unwrap();
        std::fs::remove_file(self.blob(parts["initrd"]["sha256"].as_str().unwrap())).unwrap();
    }

    /// Publishes another release to channel `beta`, in which a required health check ends with this status.
    pub fn publish_with_check(&self, status: u8) {
        put_check(&self.profiles, status);
        self.publish_next("beta");
    }

    fn publish_next(&self, channel: &str) {
        let key = mirror().join("keys/release-key.asc");
        self.run(&["build", "hello", "--offline", "--release-key", key.to_str().unwrap()]);
        self.run(&["publish", "hello", "--channel", channel]);
    }

    fn manifest_id(&self) -> String {
        let list: serde_json::Value = serde_json::from_str(&self.run(&["list", "--json"])).unwrap();
        let releases = list.as_array().unwrap();
        let newest = releases.iter().max_by_key(|release| release["release"].as_u64()).unwrap();
        newest["bundle"].as_str().unwrap().to_owned()
    }

    fn blob(&self, digest: &str) -> PathBuf {
        self.state().join("store/blobs").join(&digest[..2]).join(digest)
    }

    /// The file in the store that is the bundle's kernel.
    pub fn kernel_blob(&self) -> PathBuf {
        let manifest = self.manifest();
        self.blob(manifest["kernel"]["sha256"].as_str().unwrap())
    }

    fn manifest(&self) -> serde_json::Value {
        serde_json::from_str(&self.run(&["show", "hello", "--json"])).unwrap()
    }

    /// Runs the program, which must succeed; what it printed.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_bivouac"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(arguments)
            .arg("--state")
            .arg(self.state())
            .arg("--profiles")
            .arg(&self.profiles)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Gives `hello` a required health check that ends with this status.
pub fn put_check(profiles: &Path, status: u8) {
    let check = profiles.join("hello/root/etc/bivouac/health.d/required.d/display");
    std::fs::create_dir_all(check.parent().unwrap()).unwrap();
    std::fs::write(&check, format!("#!/bin/sh\necho no screen\nexit {status}\n")).unwrap();
    std::fs::set_permissions(&check, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The folder of the stand-in mirror, made once.
pub fn mirror() -> &'static Path {
    static MIRROR: OnceLock<PathBuf> = OnceLock::new();
    MIRROR.get_or_init(|| {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = repository.join("target/stand-in-mirror");
        let made = Command::new(repository.join("scripts/stand-in-mirror")).arg(&folder).output().unwrap();
        assert!(made.status.success(), "the stand-in mirror cannot be made: {}", String::from_utf8_lossy(&made.stderr));
        folder
    })
}

/// A folder that is served on the loopback.
pub struct Served {
    pub address: String,
    place: SocketAddr,
    runtime: Runtime,
}

impl Served {
    pub fn start(folder: &'static Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let place = listener.local_addr().unwrap();
        runtime.spawn(async move {
            let router = Router::new().fallback(move |request: Request| {
                let response = answer(folder, request.uri().path());
                async move { Ok::<_, Infallible>(response) }
            });
            axum::serve(listener, router).await.unwrap();
        });
        Self { address: format!("http://{place}"), place, runtime }
    }

    /// Stops it for good.
    fn stop(self) {
        drop(self.runtime);
        std::net::TcpStream::connect(self.place).unwrap_err();
    }
}

fn answer(folder: &Path, path: &str) -> Response<Body> {
    match std::fs::read(folder.join(path.trim_start_matches('/'))) {
        Ok(bytes) => Response::new(Body::from(bytes)),
        Err(_) => Response::builder().status(StatusCode::NOT_FOUND).body(Body::empty()).unwrap(),
    }
}

//! PostgreSQL from Debian's package, started in a temporary folder that only a Unix socket leads into. It ends with the
//! process that started it, however that ends.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Does what it is told line by line, and says when it is done. When nobody can tell it anything any more it stops the
/// server, by its id, and removes the folder.
const KEEPER: &str = r#"
set -eu
PATH="$1:$PATH"
cd /
folder=$(mktemp -d)
start() {
	postgres -D "$folder/data" -k "$folder" -c listen_addresses= -c fsync=off -c max_connections=200 >>"$folder/log" 2>&1 &
	server=$!
	until pg_isready -q -h "$folder"; do kill -0 "$server"; sleep 0.05; done
}
stop() {
	kill -INT "$server"
	wait "$server" || true
}
server=
trap 'test -z "$server" || stop; rm -rf "$folder"' EXIT
initdb -D "$folder/data" -U bivouac -A trust -E UTF8 --no-sync --no-instructions >"$folder/log" 2>&1
start
echo "$folder"
while read -r word rest; do
	case "$word" in
	start) start ;;
	stop) stop; server= ;;
	create) createdb -h "$folder" -U bivouac "$rest" ;;
	esac
	echo done
done
"#;

/// A running server.
pub(crate) struct Postgres {
    folder: String,
    keeper: Mutex<Keeper>,
    databases: AtomicU32,
}

struct Keeper {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    _process: Child,
}

impl Postgres {
    /// Starts a server; nothing where the package is not installed, which is said.
    pub(crate) fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            #[expect(clippy::print_stderr, reason = "a test that is left out says so")]
            {
                eprintln!("left out: PostgreSQL is not installed (Debian's package postgresql)");
            }
            return None;
        };
        let is_root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        // It refuses to run as root.
        let mut command = if is_root {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "sh", "-c"]);
            command
        } else {
            let mut command = Command::new("sh");
            command.arg("-c");
            command
        };
        let command = command.arg(KEEPER).arg("keeper").arg(programs);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let orders = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        let mut keeper = Keeper { orders, answers, _process: process };
        let folder = keeper.answer();
        assert!(!folder.is_empty(), "PostgreSQL did not start");
        Some(Self { folder, keeper: Mutex::new(keeper), databases: AtomicU32::new(0) })
    }

    /// The server that tests share which do not stop it.
    pub(crate) fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// The URL of a new database.
    pub(crate) fn database(&self) -> String {
        let name = format!("fleet{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.order(&format!("create {name}"));
        format!("postgres://bivouac@localhost/{name}?host={}", self.folder)
    }

    /// Gives an order (`start` or `stop` the server) and waits until it is carried out.
    pub(crate) fn order(&self, order: &str) {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(keeper.orders, "{order}").unwrap();
        assert_eq!(keeper.answer(), "done", "{order}");
    }
}

impl Keeper {
    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

/// The folder of the newest version's programs.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let folders = versions.map(|version| version.path().join("bin")).filter(|bin: &PathBuf| has_server(bin));
    folders.max_by_key(|bin| bin.parent().and_then(Path::file_name).and_then(|name| name.to_str()?.parse::<u32>().ok()))
}

fn has_server(bin: &Path) -> bool {
    bin.join("postgres").exists() && bin.join("initdb").exists()
}

//! Servers in processes of their own, and what they cost.
#![allow(dead_code, unreachable_pub, reason = "each benchmark uses some of it")]

pub mod cost;

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A server in a process of its own; it ends with this.
pub struct Running {
    child: Child,
    pub address: SocketAddr,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already. A process that is asked to end takes its workers with it.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// Starts a program that prints its address.
pub fn spawn(command: &mut Command) -> Running {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    Running { child, address: line.trim().parse().unwrap() }
}

/// Starts `bivouac serve`, and waits until it serves.
pub fn serve(command: &mut Command) -> Running {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let (mut line, mut address) = (String::new(), None);
    while !line.starts_with("ready") {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the server did not start");
        address = address.or_else(|| line.trim().strip_prefix("HTTP on ").map(|address| address.parse().unwrap()));
    }
    child.stdout = Some(lines.into_inner());
    Running { child, address: address.unwrap() }
}

/// nginx as Debian sets it up, with a worker for each processor and no log, on a folder; `listen` may be `ssl`, and `more`
/// is for its server.
pub fn nginx(folder: &Path, listen: &str, more: &str) -> Running {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = format!(
        "daemon off; worker_processes auto; pid {0}/nginx{1}.pid; error_log stderr crit; user root;\n\
         events {{ worker_connections 4096; }} worker_rlimit_nofile 16384;\n\
         http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;\n\
         client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/fastcgi;\n\
         uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi;\n\
         server {{ listen {address} {listen}; root {0}; {more} }} }}\n",
        folder.display(),
        address.port(),
    );
    let file = folder.join(format!("nginx{}.conf", address.port()));
    std::fs::write(&file, config).unwrap();
    let child = Command::new("nginx").arg("-c").arg(file).spawn().unwrap();
    let running = Running { child, address };
    while TcpStream::connect(address).is_err() {
        thread::yield_now();
    }
    running
}

impl Running {
    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The process and its workers.
    fn processes(&self) -> Vec<u32> {
        let id = self.child.id();
        let workers = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        std::iter::once(id).chain(workers.split_whitespace().map(|id| id.parse().unwrap())).collect()
    }

    /// What it has used so far.
    pub fn processor_seconds(&self) -> f64 {
        self.processes().into_iter().map(cost::processor_seconds).sum()
    }

    /// What it has in memory now that is not mapped from files, in kB.
    pub fn memory(&self) -> u64 {
        self.processes().into_iter().map(memory).sum()
    }
}

/// What a process has in memory now that is not mapped from files, in kB (proc(5), `status`).
fn memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let kilobytes = |name: &str| -> u64 {
        let value = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        value.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
    };
    kilobytes("RssAnon") + kilobytes("RssShmem")
}

pub fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

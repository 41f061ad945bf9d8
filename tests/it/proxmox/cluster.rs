//! A cluster of Proxmox VE as far as its API shows one: it takes the calls of the table and no others, and answers in
//! the shape of the real one, its errors included.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::{Body, to_bytes};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use super::table::Table;

pub const TOKEN: &str = "boot@pve!bivouac=0e0d8d0f-1111-4222-8333-s3cr3t";

/// What goes wrong once.
#[derive(Debug, Clone)]
pub enum Fault {
    /// An answer with this status and message.
    Status(u16, &'static str),
    /// A task that ends like this, and what its log says.
    Task(&'static str, &'static str),
    /// A task that never ends.
    Endless,
    /// An answer that is no answer of Proxmox.
    Garbage(&'static str),
    /// An answer without end.
    Flood,
    /// A connection that ends without an answer.
    Cut,
    /// No answer at all.
    Silence,
}

/// A virtual machine.
#[derive(Debug, Clone, Default)]
pub struct FakeVm {
    pub node: String,
    pub status: String,
    pub lock: Option<String>,
    pub config: BTreeMap<String, String>,
    /// Whether the token may see it.
    pub is_hidden: bool,
}

#[derive(Debug)]
struct Task {
    exit: Option<String>,
    log: String,
    /// How often it is still running.
    looks: usize,
}

#[derive(Debug, Default)]
pub struct State {
    /// With their free memory in MiB; off when absent.
    pub nodes: BTreeMap<String, Option<u64>>,
    pub vms: BTreeMap<u32, FakeVm>,
    tasks: BTreeMap<String, Task>,
    /// How often each task is running when it is looked at.
    pub looks: usize,
    /// Which calls go wrong, by a part of `METHOD /path` or, before a `$`, its end, and how often.
    faults: Vec<(String, Fault, usize)>,
    /// Every call but those that read, as a dry run prints it.
    changes: Vec<String>,
    misuse: Vec<String>,
    /// How many requests there were.
    pub requests: usize,
}

pub struct FakeCluster {
    pub server: String,
    pub fingerprint: String,
    state: Arc<Mutex<State>>,
    _runtime: Runtime,
}

/// Makes an authority and the certificate of a server by it, as `pvecm` does for a node.
fn certify(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let openssl = |arguments: &[&str]| {
        let made = Command::new("openssl").args(arguments).current_dir(folder).stderr(Stdio::null()).status();
        assert!(made.expect("openssl can be started").success(), "{arguments:?}");
    };
    let key = ["-nodes", "-days", "2", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let authority = ["req", "-x509", "-subj", "/CN=Cluster CA", "-keyout", "ca.key", "-out", "ca.pem"];
    openssl(&[&authority[..], &key].concat());
    let server = ["req", "-x509", "-subj", "/CN=pve1", "-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", "key.pem"];
    let more = ["-out", "cert.pem", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"];
    openssl(&[&server[..], &more, &key].concat());
}

impl FakeCluster {
    /// A cluster of two nodes and nothing else; `folder` gets `ca.pem`, the certificate of its authority.
    pub fn start(folder: &Path) -> Self {
        certify(folder);
        let chain = vec![CertificateDer::from_pem_file(folder.join("cert.pem")).unwrap()];
        let fingerprint = bivouac::model::fingerprint::Fingerprint::of(&chain[0]).to_string();
        let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let server = format!("https://{}", listener.local_addr().unwrap());
        let nodes = [("pve1".to_owned(), Some(8000)), ("pve2".to_owned(), Some(4000))].into();
        let state = Arc::new(Mutex::new(State { nodes, ..State::default() }));
        let serving = Arc::clone(&state);
        runtime.spawn(async move {
            let table = Arc::new(Table::load());
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, state, table) = (acceptor.clone(), Arc::clone(&serving), Arc::clone(&table));
                tokio::spawn(async move {
                    // Who does not trust the certificate goes away.
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let answer = service_fn(move |request| answer(Arc::clone(&state), Arc::clone(&table), request));
                    let _ =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        Self { server, fingerprint, state, _runtime: runtime }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Lets the next call go wrong that has this part.
    pub fn fail(&self, part: &str, fault: Fault) {
        self.fail_times(part, fault, 1);
    }

    pub fn fail_times(&self, part: &str, fault: Fault, times: usize) {
        self.state().faults.push((part.to_owned(), fault, times));
    }

    /// The calls since the last time that change something, as a dry run prints them.
    pub fn changes(&self) -> Vec<String> {
        let mut state = self.state();
        assert_eq!(state.misuse, [""; 0], "calls that the API does not have");
        std::mem::take(&mut state.changes)
    }

    /// Adds a virtual machine that somebody made.
    pub fn add(&self, id: u32, node: &str, config: &[(&str, &str)]) {
        let config = config.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let vm = FakeVm { node: node.to_owned(), status: "stopped".to_owned(), config, ..FakeVm::default() };
        self.state().vms.insert(id, vm);
    }

    pub fn status(&self, id: u32) -> String {
        self.state().vms[&id].status.clone()
    }

    /// The number of the one with this name.
    pub fn id(&self, name: &str) -> u32 {
        let state = self.state();
        let found = state.vms.iter().find(|(_, vm)| vm.config.get("name").is_some_and(|it| it == name));
        *found.unwrap_or_else(|| panic!("no VM {name}")).0
    }

    pub fn setting(&self, name: &str, setting: &str) -> String {
        let id = self.id(name);
        self.state().vms[&id].config[setting].clone()
    }
}

/// An answer of the API: what is asked for, or a status, a message, and what is wrong with which parameter.
type Answered = Result<Value, (u16, String, BTreeMap<String, String>)>;

fn no(status: u16, message: impl Into<String>) -> Answered {
    Err((status, message.into(), BTreeMap::new()))
}

async fn answer(
    state: Arc<Mutex<State>>,
    table: Arc<Table>,
    request: Request<Incoming>,
) -> Result<Response<Body>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = to_bytes(Body::new(body), 1 << 20).await.map_err(std::io::Error::other)?;
    let decode = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let query = head.uri.query().unwrap_or_default().to_owned();
    let form = String::from_utf8(body.to_vec()).unwrap();
    let pairs = query.split('&').chain(form.split('&')).filter(|pair| !pair.is_empty());
    let parameters: Vec<(String, String)> =
        pairs.map(|pair| pair.split_once('=').unwrap()).map(|(name, value)| (decode(name), decode(value))).collect();
    let path = head.uri.path().strip_prefix("/api2/json").unwrap_or("/not-the-api").to_owned();
    let method = head.method.as_str().to_owned();
    let is_known = head.headers.get("authorization").is_some_and(|it| it == &format!("PVEAPIToken={TOKEN}"));
    let call = format!("{method} {path}");
    let fault = state.lock().unwrap().fault(&call);
    if matches!(fault, Some(Fault::Silence)) {
        std::future::pending::<()>().await;
    }
    let mut state = state.lock().unwrap();
    state.requests += 1;
    match fault {
        Some(Fault::Cut) => return Err(std::io::Error::other("cut")),
        Some(Fault::Garbage(text)) => return Ok(Response::new(Body::from(text))),
        Some(Fault::Flood) => {
            let endless = futures_util::stream::repeat_with(|| Ok::<_, Infallible>(vec![b' '; 1 << 16]));
            return Ok(Response::new(Body::from_stream(endless)));
        }
        _ => {}
    }
    let answered = match table.misuse(&method, &path, &parameters) {
        _ if !is_known => no(401, "authentication failure"),
        None => {
            state.misuse.push(call);
            no(501, format!("Method '{method} {path}' not implemented"))
        }
        Some(wrong) if !wrong.is_empty() => {
            state.misuse.push(format!("{call}: {wrong:?}"));
            Err((400, "Parameter verification failed.\n".to_owned(), wrong))
        }
        Some(_) => {
            if method != "GET" {
                let shown = parameters.iter().map(|(name, value)| format!("\n    {name}={value}"));
                state.changes.push(call + &shown.collect::<String>());
            }
            state.perform(&method, &decode(&path), &parameters, fault)
        }
    };
    let (status, reason, body) = match answered {
        Ok(data) => (200, "OK".to_owned(), json!({ "data": data })),
        Err((status, message, errors)) => {
            let mut body = json!({ "data": null, "message": message });
            if !errors.is_empty() {
                body["errors"] = json!(errors);
            }
            (status, message.trim().replace(char::is_control, " "), body)
        }
    };
    let response = Response::builder()
        .status(status)
        .extension(ReasonPhrase::try_from(reason.into_bytes()).unwrap())
        .header("content-type", "application/json;charset=UTF-8");
    Ok(response.body(Body::from(body.to_string())).unwrap())
}

impl State {
    /// What goes wrong with a call this time.
    fn fault(&mut self, call: &str) -> Option<Fault> {
        let fits = |part: &str| match part.strip_suffix('$') {
            Some(end) => call.ends_with(end),
            None => call.contains(part),
        };
        let (_, fault, times) = self.faults.iter_mut().find(|(part, _, times)| *times > 0 && fits(part))?;
        *times -= 1;
        Some(fault.clone())
    }

    fn perform(&mut self, method: &str, path: &str, parameters: &[(String, String)], fault: Option<Fault>) -> Answered {
        if let Some(Fault::Status(status, message)) = fault {
            return no(status, message);
        }
        let of = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (method, parts.as_slice()) {
            ("GET", ["cluster", "resources"]) => Ok(self.resources()),
            ("GET", ["cluster", "nextid"]) => match of("vmid") {
                None => Ok(json!((100..).find(|id| !self.vms.contains_key(id)).unwrap().to_string())),
                Some(id) if self.vms.contains_key(&id.parse().unwrap()) => {
                    let wrong = [("vmid".to_owned(), format!("VM {id} already exists\n"))];
                    Err((400, "Parameter verification failed.\n".to_owned(), wrong.into()))
                }
                Some(id) => Ok(json!(id)),
            },
            ("GET", ["nodes", _, "tasks", upid, "status"]) => {
                let Some(task) = self.tasks.get_mut(*upid) else { return no(500, "no such task\n") };
                let is_running = task.looks > 0 || task.exit.is_none();
                task.looks = task.looks.saturating_sub(1);
                let status = if is_running { "running" } else { "stopped" };
                let exit = task.exit.as_ref().filter(|_| !is_running);
                Ok(json!({ "upid": upid, "status": status, "exitstatus": exit }))
            }
            ("GET", ["nodes", _, "tasks", upid, "log"]) => {
                let task = &self.tasks[*upid];
                let end = format!("TASK ERROR: {}", task.exit.clone().unwrap_or_default());
                let lines = task.log.lines().chain([end.as_str()]).enumerate();
                Ok(lines.map(|(number, text)| json!({ "n": number + 1, "t": text })).collect())
            }
            ("POST", ["nodes", node, "qemu"]) => {
                if self.nodes.get(*node).cloned().flatten().is_none() {
                    return no(595, "No route to host");
                }
                let id: u32 = of("vmid").unwrap().parse().unwrap();
                if let Some(vm) = self.vms.get(&id) {
                    return no(
                        500,
                        format!("unable to create VM {id} - VM {id} already exists on node '{}'\n", vm.node),
                    );
                }
                let config = parameters.iter().filter(|(name, _)| name != "vmid").cloned().collect();
                let node = (*node).to_owned();
                self.task(&node.clone(), "qmcreate", id, fault, |state| {
                    let vm = FakeVm { node, status: "stopped".to_owned(), config, ..FakeVm::default() };
                    state.vms.insert(id, vm);
                })
            }
            (_, ["nodes", node, "qemu", id, rest @ ..]) => {
                let (node, id): (String, u32) = ((*node).to_owned(), id.parse().unwrap());
                let Some(vm) = self.vms.get(&id).filter(|vm| vm.node == node && !vm.is_hidden) else {
                    return no(
                        500,
                        format!("Configuration file 'nodes/{node}/qemu-server/{id}.conf' does not exist\n"),
                    );
                };
                let is_running = vm.status == "running";
                if let Some(lock) = vm.lock.clone().filter(|_| method != "GET") {
                    return no(500, format!("VM is locked ({lock})\n"));
                }
                let set = |status: &'static str| {
                    move |state: &mut Self| status.clone_into(&mut state.vms.get_mut(&id).unwrap().status)
                };
                match (method, rest) {
                    ("GET", ["config"]) => {
                        let mut config = json!(vm.config);
                        config["digest"] = json!(vm.digest());
                        Ok(config)
                    }
                    ("PUT", ["config"]) => {
                        if of("digest").is_some_and(|digest| digest != vm.digest()) {
                            return no(500, "checksum mismatch (file change by other user?)\n");
                        }
                        let settings = parameters.iter().filter(|(name, _)| name != "digest").cloned();
                        self.vms.get_mut(&id).unwrap().config.extend(settings);
                        Ok(Value::Null)
                    }
                    ("POST", ["status", "start"]) if is_running => no(500, format!("VM {id} already running\n")),
                    ("POST", ["status", "start"]) => self.task(&node, "qmstart", id, fault, set("running")),
                    ("POST", ["status", "reboot"]) if !is_running => no(500, format!("VM {id} not running\n")),
                    ("POST", ["status", "reboot"]) => self.task(&node, "qmreboot", id, fault, |_| {}),
                    ("POST", ["status", word]) => self.task(&node, &format!("qm{word}"), id, fault, set("stopped")),
                    ("DELETE", []) if is_running => no(500, format!("VM {id} is running - destroy failed\n")),
                    ("DELETE", []) => self.task(&node, "qmdestroy", id, fault, move |state| {
                        state.vms.remove(&id);
                    }),
                    _ => no(501, "not implemented"),
                }
            }
            _ => no(501, "not implemented"),
        }
    }

    fn resources(&self) -> Value {
        let nodes = self.nodes.iter().map(|(name, free)| {
            let status = if free.is_some() { "online" } else { "offline" };
            let (all, used) = (16_000_u64 << 20, (16_000 - free.unwrap_or_default()) << 20);
            json!({ "id": format!("node/{name}"), "type": "node", "node": name, "status": status, "maxmem": all, "mem": used })
        });
        let vms = self.vms.iter().filter(|(_, vm)| !vm.is_hidden).map(|(id, vm)| {
            json!({
                "id": format!("qemu/{id}"), "type": "qemu", "vmid": id, "node": vm.node, "status": vm.status,
                "name": vm.config.get("name"), "tags": vm.config.get("tags"), "lock": vm.lock, "maxmem": 1 << 30,
                "template": vm.config.get("template").map_or(0, |_| 1),
            })
        });
        nodes.chain(vms).collect()
    }

    fn task(
        &mut self,
        node: &str,
        kind: &str,
        id: u32,
        fault: Option<Fault>,
        effect: impl FnOnce(&mut Self),
    ) -> Answered {
        let number = self.tasks.len();
        let upid = format!("UPID:{node}:0003D1B0:{number:08X}:673F0000:{kind}:{id}:boot@pve!bivouac:");
        let (exit, log) = match fault {
            Some(Fault::Task(exit, log)) => (Some(exit), log),
            Some(Fault::Endless) => (None, ""),
            _ => {
                effect(self);
                (Some("OK"), "")
            }
        };
        let task = Task { exit: exit.map(str::to_owned), log: log.to_owned(), looks: self.looks };
        self.tasks.insert(upid.clone(), task);
        Ok(json!(upid))
    }
}

impl FakeVm {
    fn digest(&self) -> String {
        bivouac::model::digest::Digest::of(format!("{:?}", self.config).as_bytes()).to_string()[..40].to_owned()
    }
}

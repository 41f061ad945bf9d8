//! A Proxmox VE server as far as a desktop needs one: the calls of `overlays/vdi-client`, with the answers, status
//! lines and error bodies of the real one, over TLS on the loopback. What it is asked is written down.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use hyper::ext::ReasonPhrase;
use percent_encoding::percent_decode_str;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The account that there is, and its password, which has everything that a shell, curl or a form could take for its own.
pub const USER: &str = "jöe@pve";
pub const PASSWORD: &str = r#" p'ä"s\$s`w %41&+=;|#ord@x "#;
pub const TOKEN: &str = "joe@pve!desk";
pub const TOKEN_VALUE: &str = "6c05b4a8-9d3f-4c3e-8f59-6f4f7a1b2c3d";

/// The code of the second factor, where one is asked for.
pub const CODE: &str = "246810";

/// The ticket of a login, in the form of Proxmox': what is signed has `/`, `+` and `=` in it.
pub const TICKET: &str = "PVE:jöe@pve:6748A1B2::Zm9v/YmFy+cXV4==";
const CSRF: &str = "6748A1B2:c3Vt+bWVy/";

/// What the SPICE password is, for half a minute.
pub const SPICE_PASSWORD: &str = "8a6f0c1d5be3";

/// A call: what was asked, with the fields of its form, by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub what: String,
    pub fields: Vec<(String, String)>,
    pub by: String,
}

/// A machine of the cluster.
#[derive(Debug, Clone)]
pub struct Guest {
    pub vmid: u32,
    pub record: Value,
    /// What the next questions for its state are answered with; the last one stays.
    pub states: VecDeque<&'static str>,
}

/// How long a call may be waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the server is; a test changes it while the client runs.
#[derive(Default)]
pub struct State {
    pub guests: Vec<Guest>,
    pub calls: Vec<Call>,
    /// How the task that starts a machine ends.
    pub start_ends_with: Option<&'static str>,
    /// Whether a login needs a code, and what it says it takes.
    pub second_factor: Option<&'static str>,
    /// From which call on a ticket is no longer good; a new login makes good ones again.
    pub ticket_expired: bool,
    /// Paths that are answered with this instead, so many times: the status line's code and reason, and the body.
    pub faults: Vec<(String, usize, (u16, &'static str, String))>,
}

/// A server, which is switched off with this.
pub struct Cluster {
    pub place: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
    /// The certificate of the authority that signed the server's.
    pub authority: PathBuf,
    runtime: Option<Runtime>,
    _folder: Arc<tempfile::TempDir>,
}

impl Guest {
    pub fn new(vmid: u32, name: &str, state: &'static str) -> Self {
        let record = json!({
            "id": format!("qemu/{vmid}"), "type": "qemu", "vmid": vmid, "name": name, "node": "pve1", "status": state,
            "template": 0, "uptime": 0, "mem": 0, "maxmem": 4_294_967_296_u64, "cpu": 0, "maxcpu": 4, "disk": 0,
        });
        Self { vmid, record, states: [state].into() }
    }

    pub fn tagged(mut self, tags: &str) -> Self {
        self.record["tags"] = json!(tags);
        self
    }

    pub fn then(mut self, states: &[&'static str]) -> Self {
        self.states.extend(states);
        self
    }
}

/// Runs openssl, which is a Debian package.
fn openssl(folder: &Path, arguments: &[&str]) {
    let made = Command::new("openssl").args(arguments).current_dir(folder).stderr(Stdio::null()).status();
    assert!(made.expect("openssl can be started").success(), "{arguments:?}");
}

/// An authority and a certificate for this computer, as a cluster makes them for itself.
fn certify(folder: &Path) {
    let key = ["-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "2"];
    let authority = ["req", "-x509", "-subj", "/CN=Proxmox Virtual Environment", "-keyout", "ca.key", "-out", "ca.pem"];
    openssl(folder, &[&authority[..], &key[..]].concat());
    std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").unwrap();
    let request = ["req", "-subj", "/CN=pve1", "-keyout", "node.key", "-out", "node.csr"];
    openssl(folder, &[&request[..], &key[..5]].concat());
    let sign = ["x509", "-req", "-in", "node.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
    openssl(folder, &[&sign[..], &["-days", "2", "-extfile", "names", "-out", "node.pem"]].concat());
}

/// Accepts TLS, and passes over whoever does not speak it or trusts the server not.
struct Listener {
    socket: TcpListener,
    tls: TlsAcceptor,
}

impl axum::serve::Listener for Listener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, peer) = self.socket.accept().await.unwrap();
            if let Ok(stream) = self.tls.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

impl Cluster {
    /// A server with these machines.
    pub fn start(guests: Vec<Guest>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        certify(folder.path());
        let state = Arc::new((Mutex::new(State { guests, ..State::default() }), Condvar::new()));
        let mut cluster = Self {
            place: SocketAddr::from(([127, 0, 0, 1], 0)),
            state,
            authority: folder.path().join("ca.pem"),
            runtime: None,
            _folder: Arc::new(folder),
        };
        cluster.switch_on();
        cluster
    }

    /// Switches the server on, at its place when it had one.
    pub fn switch_on(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let file = |name: &str| self.authority.with_file_name(name);
        let certificate = CertificateDer::from_pem_file(file("node.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(file("node.key")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let socket = runtime.block_on(TcpListener::bind(self.place)).unwrap();
        self.place = socket.local_addr().unwrap();
        let state = Arc::clone(&self.state);
        runtime.spawn(async move {
            let router = Router::new().fallback(move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
                let answer = state.0.lock().unwrap().answer(&method, &uri, &headers, &body);
                state.1.notify_all();
                async move { answer }
            });
            let listener = Listener { socket, tls: TlsAcceptor::from(Arc::new(config)) };
            axum::serve(listener, router).await.unwrap();
        });
        self.runtime = Some(runtime);
    }

    /// Switches it off; what there was of connections is broken.
    pub fn switch_off(&mut self) {
        drop(self.runtime.take());
    }

    /// Changes how it is.
    pub fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.0.lock().unwrap());
    }

    /// What was asked, in order, without the fields.
    pub fn calls(&self) -> Vec<String> {
        self.state.0.lock().unwrap().calls.iter().map(|call| call.what.clone()).collect()
    }

    /// The calls of a path.
    pub fn calls_of(&self, what: &str) -> Vec<Call> {
        self.state.0.lock().unwrap().calls.iter().filter(|call| call.what == what).cloned().collect()
    }

    /// Waits until something was asked so many times.
    pub fn wait_for(&self, what: &str, times: usize) {
        let is_missing = |state: &mut State| state.calls.iter().filter(|call| call.what == what).count() < times;
        let (_state, waited) =
            self.state.1.wait_timeout_while(self.state.0.lock().unwrap(), PATIENCE, is_missing).unwrap();
        assert!(!waited.timed_out(), "{what} was not asked");
    }
}

/// An answer with a status line of its own, as `pveproxy` makes them.
fn reply(status: u16, reason: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.extensions_mut().insert(ReasonPhrase::from_static(reason.as_bytes()));
    response.headers_mut().insert("content-type", "application/json;charset=UTF-8".parse().unwrap());
    response
}

fn data(value: &Value) -> Response<Body> {
    reply(200, "OK", json!({ "data": value }).to_string())
}

fn no(status: u16, reason: &'static str) -> Response<Body> {
    reply(status, reason, json!({ "data": null, "message": format!("{reason}\n") }).to_string())
}

/// The fields of a form.
fn form(text: &str) -> Vec<(String, String)> {
    let decoded = |word: &str| percent_decode_str(&word.replace('+', " ")).decode_utf8().unwrap().into_owned();
    let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

impl State {
    fn answer(&mut self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Response<Body> {
        let path = uri.path().strip_prefix("/api2/json").expect("a call of the API");
        let fields = form(std::str::from_utf8(body).unwrap());
        let by = self.who(method, headers);
        let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
        let what = format!("{method} {path}{query}");
        self.calls.push(Call { what, fields: fields.clone(), by: by.clone() });
        if *method == Method::POST && !headers.contains_key("content-length") {
            return no(501, "no content length");
        }
        let fault = self.faults.iter_mut().find(|(of, times, _)| of == path && *times > 0);
        if let Some((_, times, (status, reason, body))) = fault {
            *times -= 1;
            return reply(*status, reason, body.clone());
        }
        if path == "/access/ticket" {
            return self.ticket(&fields);
        }
        if by.is_empty() {
            return no(401, "permission denied - invalid PVE ticket");
        }
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match (method.as_str(), parts.as_slice()) {
            ("GET", ["version"]) => {
                data(&json!({ "version": "9.1.4", "release": "9.1", "repoid": "5ac30304265fbd8e" }))
            }
            ("GET", ["cluster", "resources"]) => {
                data(&self.guests.iter().map(|guest| guest.record.clone()).collect::<Value>())
            }
            ("GET", ["nodes", _, "tasks", upid, "status"]) => self.task(upid),
            (_, ["nodes", node, "qemu", vmid, rest @ ..]) => self.of_guest(node, vmid, &rest.join("/")),
            _ => no(501, "Method not implemented"),
        }
    }

    /// Who asks; nobody when what he shows is not good. All but a token needs another word besides, to change anything.
    fn who(&self, method: &Method, headers: &HeaderMap) -> String {
        let header = |name| headers.get(name).map_or("", |value| std::str::from_utf8(value.as_bytes()).unwrap());
        if let Some(token) = header("authorization").strip_prefix("PVEAPIToken=") {
            return if token == format!("{TOKEN}={TOKEN_VALUE}") { TOKEN.to_owned() } else { String::new() };
        }
        let cookie = header("cookie").strip_prefix("PVEAuthCookie=").unwrap_or_default();
        let ticket = percent_decode_str(cookie).decode_utf8().unwrap().into_owned();
        let may = *method == Method::GET || header("csrfpreventiontoken") == CSRF;
        if ticket == TICKET && !self.ticket_expired && may { USER.to_owned() } else { String::new() }
    }

    fn ticket(&mut self, fields: &[(String, String)]) -> Response<Body> {
        let field = |name: &str| fields.iter().find(|(it, _)| it == name).map_or("", |(_, value)| value.as_str());
        let good = |ticket: &str| json!({ "username": USER, "ticket": ticket, "CSRFPreventionToken": CSRF, "cap": {} });
        let challenge = format!("PVE:!tfa!{}:6748A1B3::c2lnbmF0dXJl", self.second_factor.unwrap_or_default());
        if field("username") != USER {
            return no(401, "authentication failure");
        }
        if !field("tfa-challenge").is_empty() {
            let is_right = field("tfa-challenge") == challenge && field("password") == format!("totp:{CODE}");
            return if is_right { data(&good(TICKET)) } else { no(401, "authentication failure") };
        }
        match field("password") {
            PASSWORD if self.second_factor.is_some() => {
                let mut answer = good(&challenge);
                answer["NeedTFA"] = json!(1);
                data(&answer)
            }
            PASSWORD => {
                self.ticket_expired = false;
                data(&good(TICKET))
            }
            TICKET if !self.ticket_expired => data(&good(TICKET)),
            _ => no(401, "authentication failure"),
        }
    }

    fn task(&self, upid: &str) -> Response<Body> {
        let upid = percent_decode_str(upid).decode_utf8().unwrap();
        assert_eq!(upid, UPID);
        let asked =
            self.calls.iter().filter(|call| call.what.ends_with("/status") && call.what.contains("/tasks/")).count();
        let mut status =
            json!({ "upid": UPID, "node": "pve1", "pid": 2_719_053, "type": "qmstart", "id": "100", "user": USER });
        status["status"] = json!(if asked < 3 { "running" } else { "stopped" });
        if asked >= 3 {
            status["exitstatus"] = json!(self.start_ends_with.unwrap_or("OK"));
        }
        data(&status)
    }

    fn of_guest(&mut self, node: &str, vmid: &str, rest: &str) -> Response<Body> {
        let found = self.guests.iter_mut().find(|guest| guest.vmid.to_string() == vmid);
        let Some(guest) = found.filter(|_| node == "pve1") else { return no(500, "no such machine") };
        match rest {
            "status/current" => {
                let state = if guest.states.len() > 1 { guest.states.pop_front().unwrap() } else { guest.states[0] };
                data(
                    &json!({ "vmid": guest.vmid, "name": guest.record["name"], "status": state, "qmpstatus": state, "spice": 1 }),
                )
            }
            "status/start" => {
                if guest.states.len() > 1 {
                    guest.states.pop_front();
                }
                data(&json!(UPID))
            }
            "spiceproxy" => data(&json!({
                "type": "spice", "title": format!("VM {} - {}", guest.vmid, guest.record["name"].as_str().unwrap()),
                "host": "pvespiceproxy:6748A1B2:100:pve1::c1gna:t", "proxy": "http://pve1.example.net:3128",
                "tls-port": 61_000, "host-subject": "OU=PVE Cluster Node,O=Proxmox Virtual Environment,CN=pve1.example.net",
                "ca": "-----BEGIN CERTIFICATE-----\\nMIIC\\n-----END CERTIFICATE-----\\n", "password": SPICE_PASSWORD,
                "secure-attention": "Ctrl+Alt+Ins", "toggle-fullscreen": "Shift+F11", "release-cursor": "Ctrl+Alt+R",
                "delete-this-file": 1,
            })),
            _ => no(501, "Method not implemented"),
        }
    }
}

/// The task that starts a machine. Its name has what a path cannot have.
const UPID: &str = "UPID:pve1:00297D8D:0A1B2C3D:6748A1B2:qmstart:100:jöe@pve:";

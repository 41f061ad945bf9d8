//! Making calls: over TLS that was verified, with bounded answers and patience, each error with what to do.

use std::path::PathBuf;
use std::time::Duration;

use hyper::ext::ReasonPhrase;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use super::answer::{Answer, LogLine, TaskStatus, number, tags};
use super::call::encoded;
use super::{Call, Cluster, Method, ProxmoxError, Token, Upid, VmConfig, tls};
use crate::model::fingerprint::Fingerprint;
use crate::model::virtual_machine::VmId;

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(10);

/// How long an answer may take in most clusters. What takes longer is a task, and answered at once.
pub const ANSWER_TIME: Duration = Duration::from_secs(30);

/// The most bytes of an answer: a cluster of ten thousand virtual machines has less.
const MAX_ANSWER: usize = 16 << 20;

/// The most characters of a message that are repeated.
const MAX_MESSAGE: usize = 500;

/// How soon a task is looked at, and how often at most and at least.
const LOOK: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(2)];

/// How many lines of a task's log are asked for, and how many are told.
const LOG: (u16, usize) = (500, 5);

/// By what the server's certificate is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// It comes from an authority that the system trusts.
    System,
    /// It comes from an authority in this PEM file.
    Authority(PathBuf),
    /// It is this one.
    Certificate(Fingerprint),
}

/// Where the API is, and how it is spoken to.
#[derive(Debug, Clone)]
pub struct Access {
    /// Its address without a path.
    pub server: String,
    /// Who asks.
    pub token: Token,
    /// By what the server is known.
    pub trust: Trust,
    /// How long an answer may take.
    pub answer_time: Duration,
    /// How long a task may take.
    pub task_time: Duration,
}

/// A client of one cluster.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    access: Access,
}

impl Client {
    /// A client; asks nothing yet.
    ///
    /// # Errors
    /// When the authority's certificate cannot be read.
    pub fn new(access: Access) -> Result<Self, ProxmoxError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| ProxmoxError::Client {
            server: access.server.clone(),
            source,
        };
        // A redirect would carry the token elsewhere. Proxmox speaks no HTTP/2, whose answers have no reason phrase.
        let builder = reqwest::Client::builder()
            .redirect(Policy::none())
            .https_only(true)
            .http1_only()
            .connect_timeout(CONNECT)
            .timeout(access.answer_time);
        let builder = match &access.trust {
            Trust::System => builder,
            Trust::Authority(path) => {
                let unusable = |source| ProxmoxError::Authority { path: path.clone(), source };
                let pem = std::fs::read(path).map_err(unusable)?;
                let authorities =
                    Certificate::from_pem_bundle(&pem).map_err(|error| unusable(std::io::Error::other(error)))?;
                if authorities.is_empty() {
                    return Err(unusable(std::io::Error::other("there is no certificate in it")));
                }
                builder.tls_certs_only(authorities)
            }
            Trust::Certificate(fingerprint) => {
                let config = tls::only(*fingerprint).map_err(|error| failed(error.into()))?;
                builder.tls_backend_preconfigured(config)
            }
        };
        let http = builder.build().map_err(|error| failed(error.into()))?;
        Ok(Self { http, access })
    }

    /// The virtual machines and nodes there are.
    ///
    /// # Errors
    /// As of any call.
    pub async fn cluster(&self) -> Result<Cluster, ProxmoxError> {
        let call = Call::get(
            "/cluster/resources",
            "list what is in the cluster",
            "VM.Audit on /vms (and Sys.Audit on /nodes to compare their memory)",
        );
        let data = self.make(&call).await?;
        Cluster::read(data).map_err(|error| self.strange(&call, error.to_string()))
    }

    /// Numbers that no virtual machine has, so many.
    ///
    /// # Errors
    /// As of any call.
    pub async fn free_ids(&self, count: usize) -> Result<Vec<VmId>, ProxmoxError> {
        const PURPOSE: &str = "find a number for a VM";
        if count == 0 {
            return Ok(Vec::new());
        }
        let call = Call::get("/cluster/nextid", PURPOSE, "a valid token");
        let data = self.make(&call).await?;
        let first = number(&data).ok().flatten().and_then(|id| VmId::try_from(u32::try_from(id).ok()?).ok());
        let first = first.ok_or_else(|| self.strange(&call, "the next number is none".to_owned()))?;
        let mut free = vec![first];
        let mut last = first;
        while free.len() < count {
            let none = || self.strange(&call, "there are no numbers left".to_owned());
            last = last.next().ok_or_else(none)?;
            let call = Call::get("/cluster/nextid", PURPOSE, "a valid token").with("vmid", last);
            match self.make(&call).await {
                Ok(_) => free.push(last),
                // It is taken, perhaps by one that the token may not see.
                Err(ProxmoxError::Refused { status: 400, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(free)
    }

    /// The settings of a virtual machine.
    ///
    /// # Errors
    /// As of any call.
    pub async fn config(&self, node: &str, id: VmId) -> Result<VmConfig, ProxmoxError> {
        let call = Call::get(
            format!("/nodes/{node}/qemu/{id}/config"),
            format!("read the settings of VM {id} on {node}"),
            format!("VM.Audit on /vms/{id}"),
        );
        let data = self.make(&call).await?;
        serde_json::from_value(data).map_err(|error| self.strange(&call, error.to_string()))
    }

    /// Makes a call, and waits for its task, if it has one.
    ///
    /// # Errors
    /// When the call is not answered well, or the task does not end well, or not in time.
    pub async fn run(&self, call: &Call) -> Result<(), ProxmoxError> {
        match self.make(call).await? {
            Value::String(text) if text.starts_with("UPID:") => {
                let task = text.parse().map_err(|error: super::UpidError| self.strange(call, error.to_string()))?;
                self.wait(call, task).await
            }
            _ => Ok(()),
        }
    }

    async fn wait(&self, call: &Call, task: Upid) -> Result<(), ProxmoxError> {
        let path = format!("/nodes/{}/tasks/{}", task.node(), encoded(task.as_str()));
        let look = Call::get(format!("{path}/status"), &call.purpose, format!("Sys.Audit on /nodes/{}", task.node()));
        let (began, [mut pause, longest]) = (Instant::now(), LOOK);
        loop {
            let data = self.make(&look).await?;
            let status: TaskStatus =
                serde_json::from_value(data).map_err(|error| self.strange(&look, error.to_string()))?;
            if status.status != "running" {
                let exit = status.exitstatus.unwrap_or_else(|| "it ended without saying how".to_owned());
                if exit == "OK" || exit.starts_with("WARNINGS") {
                    return Ok(());
                }
                let log = self.log(&path, &call.purpose).await;
                return Err(ProxmoxError::Task { purpose: call.purpose.clone(), task, exit: plain(&exit), log });
            }
            if began.elapsed() >= self.access.task_time {
                return Err(ProxmoxError::Lasting {
                    purpose: call.purpose.clone(),
                    task,
                    after: self.access.task_time,
                });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// The last lines of a task's log; none when they cannot be had, which is no second error.
    async fn log(&self, path: &str, purpose: &str) -> Vec<String> {
        let (asked, told) = LOG;
        let call = Call::get(format!("{path}/log"), purpose, "").with("limit", asked);
        let lines = self.make(&call).await.ok().and_then(|data| serde_json::from_value::<Vec<LogLine>>(data).ok());
        let lines: Vec<String> = lines.unwrap_or_default().iter().map(|line| plain(&line.t)).collect();
        // The last one repeats how it ended.
        let is_said = |line: &String| !line.is_empty() && !line.starts_with("TASK ");
        let said: Vec<String> = lines.into_iter().filter(is_said).collect();
        said[said.len().saturating_sub(told)..].to_vec()
    }

    /// Makes a call; what it is answered.
    async fn make(&self, call: &Call) -> Result<Value, ProxmoxError> {
        let mut url = format!("{}/api2/json{}", self.access.server, call.path);
        let parameters = call.encoded();
        let is_in_body = matches!(call.method, Method::Post | Method::Put);
        if !is_in_body && !parameters.is_empty() {
            url.push('?');
            url.push_str(&parameters);
        }
        let mut request = match call.method {
            Method::Get => self.http.get(url),
            Method::Post => self.http.post(url),
            Method::Put => self.http.put(url),
            Method::Delete => self.http.delete(url),
        };
        if is_in_body {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(parameters);
        }
        let mut secret = HeaderValue::from_str(&self.access.token.header())
            .map_err(|_| super::TokenError::Form("the API token".to_owned()))?;
        secret.set_sensitive(true);
        let sent = request.header(AUTHORIZATION, secret).send().await;
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => return Err(self.lost(call, error).await),
        };
        let status = response.status();
        let phrase =
            response.extensions().get::<ReasonPhrase>().map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned());
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(None) => break,
                Ok(Some(chunk)) if body.len() + chunk.len() > MAX_ANSWER => {
                    return Err(self.strange(call, format!("it is longer than {MAX_ANSWER} bytes")));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Err(error) => return Err(self.lost(call, error).await),
            }
        }
        if status.is_success() {
            let answer: Answer =
                serde_json::from_slice(&body).map_err(|error| self.strange(call, error.to_string()))?;
            return Ok(answer.data);
        }
        Err(self.refused(call, status, &message(status, phrase, &body)))
    }

    /// Why there is no answer.
    async fn lost(&self, call: &Call, source: reqwest::Error) -> ProxmoxError {
        let (purpose, server) = (call.purpose.clone(), self.access.server.clone());
        if is_about_certificate(&source) {
            let seen = tls::shown_by(&server).await;
            return ProxmoxError::Untrusted { server, seen, source: source.without_url() };
        }
        let source = source.without_url();
        if source.is_connect() {
            ProxmoxError::Unreachable { purpose, server, source }
        } else if source.is_timeout() {
            ProxmoxError::Slow { purpose, server, after: self.access.answer_time }
        } else {
            ProxmoxError::Broken { purpose, server, source }
        }
    }

    /// What an answer means that is none of success.
    fn refused(&self, call: &Call, status: StatusCode, message: &str) -> ProxmoxError {
        let (purpose, server) = (call.purpose.clone(), self.access.server.clone());
        let (token, message) = (self.access.token.id().to_owned(), message.to_owned());
        match status.as_u16() {
            401 => ProxmoxError::Unauthorized { purpose, server, token, message },
            403 => ProxmoxError::Forbidden { missing: missing(&message, &call.needs), purpose, token, message },
            status @ 595..=599 => ProxmoxError::Node { purpose, server, status, message },
            _ if is_about_lock(&message) => ProxmoxError::Locked { purpose, message },
            status => ProxmoxError::Refused { purpose, server, status, message },
        }
    }

    fn strange(&self, call: &Call, why: String) -> ProxmoxError {
        let why = plain(&why);
        ProxmoxError::Answer { purpose: call.purpose.clone(), server: self.access.server.clone(), why }
    }
}

impl VmConfig {
    /// Its tags.
    #[must_use]
    pub fn tags(&self) -> std::collections::BTreeSet<String> {
        tags(self.tags.as_deref().unwrap_or_default())
    }
}

/// What the server says: the message of its answer, which older ones have only behind the status, and which parameter
/// is wrong and why.
fn message(status: StatusCode, phrase: Option<String>, body: &[u8]) -> String {
    let answer: Option<Answer> = serde_json::from_slice(body).ok();
    let said = answer.as_ref().and_then(|answer| answer.message.clone()).filter(|text| !text.trim().is_empty());
    let usual = || status.canonical_reason().unwrap_or("it does not say why").to_owned();
    let mut text = said.or(phrase).unwrap_or_else(usual).trim().to_owned();
    if let Some(Value::Object(errors)) = answer.and_then(|answer| answer.errors) {
        for (name, why) in errors {
            let why = why.as_str().map_or_else(|| why.to_string(), |why| why.trim().to_owned());
            text.push_str(&format!(" {name}: {why}"));
        }
    }
    plain(&text)
}

/// A text from elsewhere: printable, on one line, and not too long.
fn plain(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE).collect();
    text.trim().to_owned()
}

/// `Permission check failed (/vms/105, VM.PowerMgmt)` says what is missing where; when it does not, what the call needs.
fn missing(message: &str, needs: &str) -> String {
    let inside = message.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).map(|(inside, _)| inside);
    match inside.and_then(|inside| inside.split_once(", ")) {
        Some((path, privileges)) if path.starts_with('/') => {
            format!("the privilege {} on {path}", privileges.replace('|', " or "))
        }
        _ => format!("a privilege; needed are {needs}"),
    }
}

fn is_about_lock(message: &str) -> bool {
    message.contains("is locked (") || message.contains("can't lock file")
}

/// Whether it is the certificate that a connection failed for.
fn is_about_certificate(error: &reqwest::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if is_bad_certificate(error) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn is_bad_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return matches!(error, rustls::Error::InvalidCertificate(_));
    }
    // What stands in an error of the system is not its source.
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    inner.is_some_and(|inner| is_bad_certificate(inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_what_the_server_says_or_else_what_the_call_needs() {
        let said = missing("Permission check failed (/vms/105, VM.PowerMgmt)", "x");
        assert_eq!(said, "the privilege VM.PowerMgmt on /vms/105");
        let either = missing("Permission check failed (/sdn/zones/localnet/vmbr0, SDN.Use|SDN.Audit)", "x");
        assert_eq!(either, "the privilege SDN.Use or SDN.Audit on /sdn/zones/localnet/vmbr0");
        assert_eq!(
            missing("Permission check failed", "VM.Allocate on /vms"),
            "a privilege; needed are VM.Allocate on /vms"
        );
    }

    #[test]
    fn a_message_is_that_of_the_answer_or_of_the_status_line_and_names_parameters() {
        let body = br#"{"data":null,"message":"Parameter verification failed.\n","errors":{"vmid":"VM 105 already exists\n"}}"#;
        let text = message(StatusCode::BAD_REQUEST, None, body);
        assert_eq!(text, "Parameter verification failed. vmid: VM 105 already exists");
        let status = StatusCode::from_u16(596).unwrap();
        assert_eq!(
            message(status, Some("Connection timed out".to_owned()), b"{\"data\":null}"),
            "Connection timed out"
        );
        assert_eq!(message(status, None, b"<html>"), "it does not say why");
    }
}

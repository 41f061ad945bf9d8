//! Why something was not done in the cluster: what, where, why, and what to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::{TokenError, Upid};
use crate::model::fingerprint::Fingerprint;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ProxmoxError {
    /// No server is named.
    #[error(
        "the site file names no cluster; write `[proxmox]` with `server = \"https://pve.example.net:8006\"` into it \
         (`bivouac proxmox recipe` needs none)"
    )]
    NoServer,
    /// There is no token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The authority's certificate cannot be used.
    #[error("cannot use the certificate {}, which `proxmox.ca` of the site file names", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// TLS cannot be spoken.
    #[error("cannot make a client for {server}")]
    Client {
        /// The server.
        server: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing answers there.
    #[error(
        "cannot {purpose}: {server} cannot be reached; is that the address of a node, and does its port let this computer in?"
    )]
    Unreachable {
        /// What for.
        purpose: String,
        /// The server.
        server: String,
        /// Why.
        source: reqwest::Error,
    },
    /// Its certificate is from nobody who is trusted.
    #[error(
        "the certificate of {server} is not trusted, so nothing was sent to it; {}",
        trust_hint(seen.as_ref())
    )]
    Untrusted {
        /// The server.
        server: String,
        /// The certificate it showed.
        seen: Option<Fingerprint>,
        /// Why.
        source: reqwest::Error,
    },
    /// It took too long.
    #[error("cannot {purpose}: {server} did not answer within {}; whether it was done is not known, so look before trying again", humantime::format_duration(*after))]
    Slow {
        /// What for.
        purpose: String,
        /// The server.
        server: String,
        /// How long it had.
        after: Duration,
    },
    /// The connection broke.
    #[error(
        "cannot {purpose}: the connection to {server} broke; whether it was done is not known, so look before trying again"
    )]
    Broken {
        /// What for.
        purpose: String,
        /// The server.
        server: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The token is not one (401).
    #[error(
        "cannot {purpose}: {server} does not know the API token `{token}` ({message}); is it spelt as \
         `pveum user token list USER@REALM` has it, with its whole secret, not expired, and its user enabled?"
    )]
    Unauthorized {
        /// What for.
        purpose: String,
        /// The server.
        server: String,
        /// Whose token.
        token: String,
        /// What the server says.
        message: String,
    },
    /// The token may not (403).
    #[error(
        "cannot {purpose}: the API token `{token}` lacks {missing} ({message}); give it a role that has it with \
         `pveum acl modify PATH --tokens '{token}' --roles ROLE`; a token with privilege separation has nothing of what \
         its user may"
    )]
    Forbidden {
        /// What for.
        purpose: String,
        /// Whose token.
        token: String,
        /// The privilege and the path.
        missing: String,
        /// What the server says.
        message: String,
    },
    /// A node of the cluster does not answer to the one that was asked (595 to 599).
    #[error(
        "cannot {purpose}: {server} cannot reach the node that has to do it ({status} {message}); is that node up, and \
         does `pvecm status` show it?"
    )]
    Node {
        /// What for.
        purpose: String,
        /// The server.
        server: String,
        /// The status.
        status: u16,
        /// What the server says.
        message: String,
    },
    /// Something else works on the virtual machine.
    #[error(
        "cannot {purpose}: it is locked ({message}); wait until what holds it is over, such as a backup or a migration; \
         `qm unlock ID` on its node takes away a lock that was left behind"
    )]
    Locked {
        /// What for.
        purpose: String,
        /// What the server says.
        message: String,
    },
    /// The server says no, for another reason.
    #[error("cannot {purpose}: {server} says {status}: {message}")]
    Refused {
        /// What for.
        purpose: String,
        /// The server.
        server: String,
        /// The status.
        status: u16,
        /// What it says.
        message: String,
    },
    /// It answers something that Proxmox does not.
    #[error(
        "cannot {purpose}: what {server} answers is not what Proxmox VE answers: {why}; does `proxmox.server` name a node?"
    )]
    Answer {
        /// What for.
        purpose: String,
        /// The server.
        server: String,
        /// What is wrong with it.
        why: String,
    },
    /// A task began and did not end well.
    #[error("cannot {purpose}: the task on node {} failed: {exit}{}", task.node(), quoted(log))]
    Task {
        /// What for.
        purpose: String,
        /// The task.
        task: Upid,
        /// How it ended.
        exit: String,
        /// The last lines of its log.
        log: Vec<String>,
    },
    /// A task did not end in time.
    #[error(
        "cannot {purpose}: the task on node {} still runs after {}; it may yet end well. See it in the web interface, or \
         with `pvenode task log {task}` on that node; `proxmox.task-time` in the site file says how long is waited",
        task.node(), humantime::format_duration(*after)
    )]
    Lasting {
        /// What for.
        purpose: String,
        /// The task.
        task: Upid,
        /// How long it had.
        after: Duration,
    },
}

fn trust_hint(seen: Option<&Fingerprint>) -> String {
    match seen {
        Some(seen) => format!(
            "it showed the one with the SHA-256 fingerprint {seen}. Compare that with `pvenode cert info` on the node; if \
             it is the same, write `fingerprint = \"{seen}\"` below `[proxmox]` in the site file, or better \
             `ca = \"FILE\"` with a copy of the cluster's /etc/pve/pve-root-ca.pem"
        ),
        None => "write `ca = \"FILE\"` below `[proxmox]` in the site file, with a copy of the cluster's \
                 /etc/pve/pve-root-ca.pem"
            .to_owned(),
    }
}

fn quoted(log: &[String]) -> String {
    if log.is_empty() { String::new() } else { format!("; its log ends with: {}", log.join(" | ")) }
}

impl ProxmoxError {
    /// Whether the same may go well a while later, with nobody doing anything about it.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Slow { .. }
                | Self::Broken { .. }
                | Self::Node { .. }
                | Self::Locked { .. }
        )
    }
}

//! Virtual machines of a Proxmox VE cluster, by its API (fleet.md, section 5).
//!
//! What shall be done is worked out as a plan first: pure functions of what is wished and how the cluster is, in
//! [`plan`], make [`Call`]s. The same calls are printed by a dry run, made by a [`Client`], and written as commands of a
//! node's own shell by [`recipe`]. Nothing here decides which machines boot what; the fleet does.

mod answer;
mod call;
mod client;
mod error;
mod place;
pub mod plan;
mod property;
mod reboot;
pub mod recipe;
mod tls;
mod token;
mod upid;

pub use answer::{Cluster, Node, Vm, VmConfig};
pub use call::{Call, Method};
pub use client::{ANSWER_TIME, Access, Client, Trust};
pub use error::ProxmoxError;
pub use place::Place;
pub use property::{Card, PropertyError, PropertyString, Smbios};
pub use reboot::Rebooted;
pub use token::{TOKEN_VARIABLE, Token, TokenError};
pub use upid::{Upid, UpidError};

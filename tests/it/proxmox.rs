//! `bivouac proxmox` through the front door, with a cluster that takes no call but those of the real API.

mod adopt;
pub mod cluster;
mod create;
mod errors;
mod manage;
mod recipe;
mod rollout;
mod table;

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::support::site::{Ran, Site};
use cluster::{FakeCluster, TOKEN};

/// A site with `hello@1` published, and a cluster that it may use.
struct Bed {
    site: Site,
    cluster: FakeCluster,
}

impl Bed {
    fn new() -> Self {
        Self::with("")
    }

    /// The same with these lines more in `[proxmox]`, and tables behind it.
    fn with(more: &str) -> Self {
        Self::at(Site::published(), more)
    }

    fn at(site: Site, more: &str) -> Self {
        let cluster = FakeCluster::start(&site.path("pve"));
        site.write("proxmox.token", &format!("{TOKEN}\n"));
        std::fs::set_permissions(site.path("proxmox.token"), std::fs::Permissions::from_mode(0o600)).unwrap();
        let bed = Self { site, cluster };
        bed.configure(&format!("token-file = \"proxmox.token\"\nca = \"pve/ca.pem\"\n{more}"));
        bed
    }

    /// Writes the site file anew.
    fn configure(&self, lines: &str) {
        self.site.write("bivouac.toml", &self.site_file(lines));
    }

    fn site_file(&self, lines: &str) -> String {
        format!("[proxmox]\nserver = \"{}\"\n{lines}", self.cluster.server)
    }

    fn ran(&self, arguments: &[&str]) -> Ran {
        let mut command = self.site.command(&[&["proxmox"], arguments].concat());
        let ran = Ran::of(command.env_remove("BIVOUAC_PROXMOX_TOKEN").output().unwrap(), &self.site);
        let secret = TOKEN.split_once('=').unwrap().1;
        assert!(!ran.out.contains(secret) && !ran.err.contains(secret), "the secret is told: {ran:?}");
        ran
    }

    /// What a command says that does what it is asked.
    fn run(&self, arguments: &[&str]) -> String {
        let Ran { code, out, err } = self.ran(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {err}");
        out
    }

    /// What a command says that does not.
    fn refused(&self, arguments: &[&str]) -> String {
        let Ran { code, out, err } = self.ran(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {out}");
        err
    }

    fn list(&self) -> Vec<Value> {
        serde_json::from_str(&self.run(&["list", "--json"])).unwrap()
    }

    fn fleet(&self, arguments: &[&str]) -> String {
        let ran = self.site.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.err);
        ran.out
    }
}

/// The calls in what a dry run prints.
fn calls(printed: &str) -> Vec<String> {
    let mut calls: Vec<String> = Vec::new();
    for line in printed.lines() {
        let is_call = ["GET /", "POST /", "PUT /", "DELETE /"].iter().any(|begin| line.starts_with(begin));
        match calls.last_mut() {
            _ if is_call => calls.push(line.to_owned()),
            Some(call) if line.starts_with("    ") => *call += &format!("\n{line}"),
            _ => {}
        }
    }
    calls
}

/// The last words of the paths of calls.
fn words(calls: &[String]) -> Vec<&str> {
    calls.iter().map(|call| call.lines().next().unwrap().rsplit('/').next().unwrap()).collect()
}

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on fails"))]
//! Bivouac turns a directory that describes a machine into an immutable, reproducible Alpine diskless bundle, puts that
//! bundle onto machines over the network, and watches that every machine really came up.
//!
//! The path of one bundle, module by module:
//!
//! 1. [`config`] reads the site file and the flags into settings that were checked as a whole.
//! 2. [`build`] reads a profile and its overlays, merges them and looks for mistakes.
//! 3. [`fetch`] takes the netboot files of one Alpine release from a mirror, verified, into a cache.
//! 4. [`apk`] verifies Alpine's package index and finds the exact packages the profile's world resolves to; [`build`]
//!    writes them down in the profile's lock ([`model::lock`]), from which everything after this is made.
//! 5. [`build`] again joins overlay, netboot files and packages into a staged bundle: same inputs, same bytes.
//! 6. [`store`] keeps blobs and bundles by their digests, numbers releases, and moves channels atomically;
//!    [`store::oci`] carries bundles to sites without a network.
//! 7. [`serve`] answers DHCP, TFTP and HTTP; [`model::plan::decide`] says what a machine boots, and [`serve::doctor`] why
//!    one does not.
//! 8. [`mirror`] is a caching mirror of Alpine for what clients install by hand.
//! 9. [`fleet`] remembers machines and their boots, and what they report of themselves for as long as they are up.
//! 10. [`model::rollout`] moves a channel to another release, batch by batch, watching that machines come up with it. What
//!     people and rollouts decide is in the [`model::ledger`], which [`fleet`] keeps in its database.
//! 11. [`proxmox`] makes virtual machines for all of that, and reboots them when a rollout wants it.
//! 12. [`vm`] is a machine in QEMU, on which a bundle is tried before anybody else gets it.
//!
//! [`model`] has the values and decisions all of them share, [`wire`] the formats, [`disk`] the file system.
//! [`cli`] joins everything. Dependencies point down only; `tests/it/layers.rs` keeps it so.

pub mod apk;
pub mod build;
pub mod cli;
pub mod config;
pub mod disk;
pub mod fetch;
pub mod fleet;
pub mod mirror;
pub mod model;
pub mod proxmox;
pub mod serve;
pub mod store;
pub mod vm;
pub mod wire;

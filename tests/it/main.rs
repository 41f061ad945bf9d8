//! Tests through the front door: the program as a user runs it, and each part on real sockets of the loopback.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, reason = "tests")]

mod air_gap;
mod apkovl;
mod bad_input;
mod check;
mod cleaning;
mod dhcp;
mod diff;
mod doctor;
mod explain;
mod extends;
mod fetch_files;
mod fetch_front_door;
mod fetch_hostile;
mod fetch_killed;
mod fetch_releases;
mod golden;
mod layers;
mod lbu;
mod loaders;
mod lock;
mod mirror;
mod network;
mod new_profile;
mod outdated;
mod readme;
mod recipe;
mod reproducible;
mod sbom;
mod schema;
mod serving;
mod solving;
mod support;
mod templates;
mod unchanged;
mod walk_through;

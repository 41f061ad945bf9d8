//! Values and decisions. No file, socket, clock or database is known here.

pub mod alpine;
pub mod boot;
pub mod check;
pub mod checkin;
pub mod cmdline;
pub mod digest;
pub mod firmware;
pub mod hand_over;
pub mod identity;
pub mod loader;
pub mod lock;
pub mod mac;
pub mod mac_prefix;
pub mod manifest;
pub mod menu;
pub mod name;
pub mod net;
pub mod plan;
pub mod profile;
pub mod recipe;
pub mod script;
pub mod template;
pub mod timeline;

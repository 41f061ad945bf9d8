//! Captures of network traffic, and what a server would have answered to them: never a panic, never memory without bound.
#![no_main]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bivouac::model::net::DhcpMode;
use bivouac::serve::doctor::replay::{Addresses, Known, Replay, Site};
use bivouac::wire::capture::datagrams;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let main = Ipv4Addr::new(10, 0, 0, 1);
    let mut replay = Replay::new(Site {
        mode: DhcpMode::Proxy,
        modes: BTreeMap::new(),
        plan: Arc::default(),
        quirks: Vec::new(),
        loaders: Arc::default(),
        addresses: Addresses { main, own: [main].into(), are_named: true },
        base_url: "http://10.0.0.1".to_owned(),
        has_tftp: true,
        known: Known::default(),
    });
    // Only that it returns counts.
    let _ = datagrams(bytes, |captured| drop(replay.datagram(captured)));
});

//! perfdhcp of Kea, which plays the clients.

use std::sync::atomic::{AtomicU16, Ordering};

use super::servers::{DEVICES, inside};
use super::{Lab, Mode, SERVER};

/// How many clients there are: fewer than the pool has addresses, and so many that none of them asks more often than a
/// machine that boots, even at the rates at which perfdhcp can send.
const CLIENTS: &str = "50000";

/// How often was asked so far. perfdhcp begins with the same clients each time; whoever asks anew is somebody else here, as
/// where a fleet is turned on: a machine that boots again and again is another matter.
static RUNS: AtomicU16 = AtomicU16::new(0);

/// What perfdhcp said.
pub struct Run {
    /// Exchanges a second.
    pub rate: f64,
    /// The larger share of requests without an answer.
    pub drops: f64,
    /// How many were begun.
    pub asked: f64,
    /// How many were completed.
    pub exchanges: f64,
    /// Milliseconds to each answer, when asked for.
    pub delays: Vec<f64>,
}

impl Lab {
    /// Asks at a rate for some seconds.
    pub fn run(&self, mode: Mode, rate: u32, seconds: u32, with_delays: bool) -> Run {
        let mut perfdhcp = inside(&self.clients, "perfdhcp");
        perfdhcp.args(["-4", "-l", DEVICES[1], "-W", "1000000"]);
        perfdhcp.args(["-r", &rate.to_string(), "-p", &seconds.to_string()]);
        let [high, low] = RUNS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        perfdhcp.args(["-R", CLIENTS, "-b", &format!("mac=00:0c:{high:02x}:{low:02x}:00:00")]);
        if mode == Mode::Proxy {
            let class: String = b"PXEClient:Arch:00007:UNDI:003016".iter().map(|byte| format!("{byte:02x}")).collect();
            perfdhcp.args(["-i", "-o", &format!("60,{class}"), "-o", "93,0007", "-o", "94,010310"]);
        }
        if with_delays {
            perfdhcp.args(["-x", "t"]);
        }
        // It ends with 3 when anything was dropped.
        let output = perfdhcp.arg(SERVER.to_string()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        Run::read(&said).unwrap_or_else(|| panic!("perfdhcp said:\n{said}{}", String::from_utf8_lossy(&output.stderr)))
    }
}

impl Lab {
    /// How many packets came back to the clients so far, whether perfdhcp was quick enough to take them or not.
    pub fn come_back(&self) -> f64 {
        let file = format!("/sys/class/net/{}/statistics/rx_packets", DEVICES[1]);
        let output = inside(&self.clients, "cat").arg(file).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
    }
}

impl Run {
    fn read(said: &str) -> Option<Self> {
        let after = |name: &str| {
            let values =
                said.lines().filter_map(move |line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
            values.collect::<Vec<f64>>()
        };
        let drops = after("drops ratio: ").into_iter().fold(0.0, f64::max) / 100.0;
        let asked = *after("sent packets: ").first()?;
        let exchanges = after("received packets: ").into_iter().last()?;
        let delays = said.lines().filter_map(|line| {
            let (sent, received) = line.strip_prefix("sent / received: ")?.split_once(" / ")?;
            Some((received.trim().parse::<f64>().ok()? - sent.trim().parse::<f64>().ok()?) * 1e3)
        });
        Some(Self { rate: *after("Rate: ").first()?, drops, asked, exchanges, delays: delays.collect() })
    }
}

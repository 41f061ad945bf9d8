//! What a virtual machine is made of.

use schemars::JsonSchema;
use serde::Deserialize;

/// The firmware of a virtual machine, in Proxmox's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// A BIOS, which boots by the iPXE that QEMU brings.
    #[default]
    Seabios,
    /// UEFI. It offers no network boot without a random number generator, which every machine here has.
    Ovmf,
}

/// What the screen of a virtual machine is, in Proxmox's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Display {
    /// A plain graphics card.
    #[default]
    Std,
    /// SPICE.
    Qxl,
    /// A paravirtual graphics card.
    Virtio,
    /// No graphics: a serial console is shown instead.
    Serial0,
    /// No screen at all.
    None,
}

/// Everything of a virtual machine but who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hardware {
    /// In MiB.
    pub memory: u32,
    /// How many processor cores.
    pub cores: u16,
    /// The kind of processor; what the cluster takes when absent.
    pub cpu: Option<String>,
    /// The bridge its network card is on.
    pub bridge: String,
    /// The VLAN on that bridge.
    pub vlan: Option<u16>,
    /// The pool it belongs to.
    pub pool: Option<String>,
    /// The nodes it may be on; any when empty.
    pub nodes: Vec<String>,
    /// Its firmware.
    pub firmware: Firmware,
    /// Its screen.
    pub display: Display,
    /// Whether a guest agent runs in it, by which the cluster shuts it down.
    pub has_agent: bool,
    /// Whether it has a serial port; a serial display always has.
    pub has_serial: bool,
}

impl Firmware {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Seabios => "seabios",
            Self::Ovmf => "ovmf",
        }
    }
}

impl Display {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Std => "std",
            Self::Qxl => "qxl",
            Self::Virtio => "virtio",
            Self::Serial0 => "serial0",
            Self::None => "none",
        }
    }
}

//! Bytes to values and back: DHCP and its PXE options, TFTP, the conditions of HTTP requests, cpio, the overlay archive,
//! tables of machines. Never a socket, never a file.

pub mod apkovl;
pub mod capture;
pub mod cpio;
pub mod dhcp;
pub mod ethernet;
pub mod fleet_table;
pub mod gzip;
pub mod http;
pub mod icmp;
pub mod kernel;
pub mod loader;
pub mod squashfs;
pub mod tftp;
pub mod udp;

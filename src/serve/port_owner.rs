//! Which process has a port, from `/proc`: for the error message of a port that is taken.

use std::fmt;
use std::fs;
use std::path::Path;

/// UDP or TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Datagrams.
    Udp,
    /// Streams.
    Tcp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}

/// The name of this program's processes.
const OWN_NAME: &str = "bivouac";

/// The name of the service manager's, which have the ports they opened for others.
const MANAGER_NAME: &str = "systemd";

/// A process that has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its number.
    pub pid: u32,
    /// Its name, at most 15 characters.
    pub name: String,
}

impl Owner {
    /// Whether it runs this program.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.name == OWN_NAME
    }

    /// Whether it is the service manager, which starts another program for those who ask.
    #[must_use]
    pub fn is_manager(&self) -> bool {
        self.name == MANAGER_NAME
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.name, self.pid)
    }
}

/// The process that has `port`, on any address; of several, as when a service manager opened the port, the one of this
/// program, and the manager last. Reading other users' processes needs root, so nothing is a common answer.
#[must_use]
pub fn find(protocol: Protocol, port: u16) -> Option<Owner> {
    find_below(Path::new("/proc"), protocol, port)
}

fn find_below(proc: &Path, protocol: Protocol, port: u16) -> Option<Owner> {
    let tables = match protocol {
        Protocol::Udp => ["net/udp", "net/udp6"],
        Protocol::Tcp => ["net/tcp", "net/tcp6"],
    };
    let inodes: Vec<u64> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(proc.join(table)).ok())
        .flat_map(|table| inodes(&table, protocol, port))
        .collect();
    if inodes.is_empty() {
        return None;
    }
    let has_socket = |process: &Path| {
        let Ok(files) = fs::read_dir(process.join("fd")) else {
            return false;
        };
        files.flatten().filter_map(|file| fs::read_link(file.path()).ok()).any(|target| {
            let inode = target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            inode.is_some_and(|inode| inodes.contains(&inode))
        })
    };
    let owner = |entry: fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let name = || fs::read_to_string(entry.path().join("comm")).unwrap_or_default().trim().to_owned();
        has_socket(&entry.path()).then(|| Owner { pid, name: name() })
    };
    let owners = fs::read_dir(proc).ok()?.flatten().filter_map(owner);
    owners.min_by_key(|owner| (!owner.is_own(), owner.is_manager(), owner.pid))
}

/// The inodes of the sockets bound to `port`, from a table such as `/proc/net/udp` (proc(5)); of TCP sockets, those
/// that listen.
fn inodes(table: &str, protocol: Protocol, port: u16) -> Vec<u64> {
    /// `TCP_LISTEN` in hexadecimal.
    const LISTEN: &str = "0A";
    let inode = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (_, local_port) = fields.next()?.rsplit_once(':')?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?.parse().ok()?;
        let listens = protocol == Protocol::Udp || state == LISTEN;
        (listens && u16::from_str_radix(local_port, 16).ok()? == port).then_some(inode)
    };
    table.lines().skip(1).filter_map(inode).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    const UDP: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  512: 00000000:0043 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 18231 2 0000000000000000 0
  513: 0100007F:0045 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 18232 2 0000000000000000 0
  broken
";
    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:0050 0100007F:C000 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1
";

    #[test]
    fn a_table_gives_the_inodes_of_a_port() {
        assert_eq!(inodes(UDP, Protocol::Udp, 67), [18231]);
        assert_eq!(inodes(UDP, Protocol::Udp, 69), [18232]);
        assert_eq!(inodes(UDP, Protocol::Udp, 68), [0u64; 0]);
        assert_eq!(inodes(TCP, Protocol::Tcp, 80), [4711], "a connection has the port too and does not count");
    }

    #[test]
    fn this_process_is_found_by_its_own_ports() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        for (protocol, port) in
            [(Protocol::Udp, udp.local_addr().unwrap().port()), (Protocol::Tcp, tcp.local_addr().unwrap().port())]
        {
            let owner = find(protocol, port).unwrap();
            assert_eq!(owner.pid, std::process::id());
            assert!(!owner.name.is_empty());
        }
    }

    #[test]
    fn of_a_port_that_the_service_manager_opened_the_server_is_the_owner() {
        for (one, other) in [("systemd", "bivouac"), ("bivouac", "systemd")] {
            let proc = tempfile::tempdir().unwrap();
            fs::create_dir(proc.path().join("net")).unwrap();
            fs::write(proc.path().join("net/tcp"), TCP).unwrap();
            for (pid, name) in [("1", one), ("70", other)] {
                fs::create_dir_all(proc.path().join(pid).join("fd")).unwrap();
                fs::write(proc.path().join(pid).join("comm"), format!("{name}\n")).unwrap();
                std::os::unix::fs::symlink("socket:[4711]", proc.path().join(pid).join("fd/3")).unwrap();
            }
            let owner = find_below(proc.path(), Protocol::Tcp, 80).unwrap();
            assert!(owner.is_own(), "{owner}");
        }
    }

    #[test]
    fn without_proc_nobody_is_found() {
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(find_below(empty.path(), Protocol::Udp, 67), None);
    }
}

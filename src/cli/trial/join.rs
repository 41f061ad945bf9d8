//! One connection of the machine to its server: QEMU starts the program anew for each.

use std::env;
use std::ffi::OsString;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;

use anyhow::Context as _;
use socket2::Socket;

/// What the program is started with for that, before an address and port. Nobody types it, so it is no command that help,
/// manual pages and completions know.
const WORD: &str = "join";

/// The arguments for joining a connection to `server`.
pub(super) fn arguments(server: SocketAddr) -> [OsString; 2] {
    [WORD.into(), server.to_string().into()]
}

/// Where a connection is to be joined to, when this program was started for that.
pub(in crate::cli) fn wanted() -> Option<SocketAddr> {
    let mut arguments = env::args_os().skip(1);
    let is_meant = arguments.next()? == WORD;
    arguments.next().filter(|_| is_meant)?.to_str()?.parse().ok()
}

/// Joins standard input, which is a socket that leads to the machine, to a port of this computer, until both ends have
/// said all.
///
/// # Errors
/// When standard input is no socket, or nobody serves there. A connection that breaks is no error.
pub(in crate::cli) fn join(server: SocketAddr) -> anyhow::Result<()> {
    let machine = io::stdin().as_fd().try_clone_to_owned().context("standard input is closed")?;
    let machine = Socket::from(machine);
    machine.local_addr().context("standard input is no socket; `bivouac try` starts this with one")?;
    let server = TcpStream::connect(server).with_context(|| format!("nobody serves on {server}"))?;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let copied = io::copy(&mut &server, &mut &machine);
            // Whoever takes nothing any more will say nothing either.
            let _ = machine.shutdown(if copied.is_ok() { Shutdown::Write } else { Shutdown::Both });
        });
        let copied = io::copy(&mut &machine, &mut &server);
        let _ = server.shutdown(if copied.is_ok() { Shutdown::Write } else { Shutdown::Both });
    });
    Ok(())
}

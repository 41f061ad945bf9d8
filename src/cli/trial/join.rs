//! One connection of the machine to its server: QEMU starts the program anew for each.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;

use anyhow::Context as _;
use socket2::Socket;

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

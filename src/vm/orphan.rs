//! A program that does not outlive the one that started it.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};

/// Lets the system end the program with the thread that starts it, however that ends; and keeps a Ctrl-C on the terminal
/// from it, which is for us to understand.
pub(super) fn end_with_us(command: &mut Command) {
    let us = getpid();
    let ask = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // We may be gone already, and then nobody tells.
        if getppid() == us { Ok(()) } else { Err(io::Error::other("whoever started this is gone")) }
    };
    command.process_group(0);
    // SAFETY: between fork and exec only what is safe in a signal handler may be done. Two system calls are, and on the way
    // nobody takes a lock or memory: the error is made only in a process that nobody waits for.
    #[expect(unsafe_code, reason = "only the new process itself can ask to be ended with its parent")]
    unsafe {
        command.pre_exec(ask);
    }
}

//! What a process costs.

use nix::time::ClockId;
use nix::unistd::Pid;

/// The seconds of a processor that a process has used so far, with all its threads, those that have ended among them. To the
/// nanosecond: what proc(5) says is counted in hundredths of a second, and hits or misses who works for microseconds.
pub fn processor_seconds(process: u32) -> f64 {
    let process = Pid::from_raw(i32::try_from(process).unwrap());
    let used = ClockId::pid_cpu_clock_id(process).unwrap().now().unwrap();
    used.tv_sec() as f64 + used.tv_nsec() as f64 / 1e9
}

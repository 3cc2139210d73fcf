//! What a process knows of itself: cores, processor time, peak memory.

use std::time::Duration;

use rustix::{
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_gettime},
};

use crate::options::Role;

/// Keeps this process, and the threads it will start, on `threads` cores of its own: the first for
/// the client, the next for the server. A machine with fewer cores, or a system that refuses,
/// leaves the parties to share them all.
pub fn pin(role: Role, threads: u16) {
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
    let threads = usize::from(threads);
    if cores.len() < 2 * threads {
        return;
    }
    let first = if role == Role::Client { 0 } else { threads };
    let mut own = CpuSet::new();
    cores[first..first + threads].iter().for_each(|&core| own.set(core));
    let _ = sched_setaffinity(None, &own);
}

/// Processor time of all threads of this process so far, in seconds.
pub fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32).as_secs_f64()
}

/// The most memory that this process has held at a time, in bytes; 0 where the system does not say.
pub fn peak_rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

//! What the system says of this process: its memory, its processor time, its open files.

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The resources that this process uses.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// Processor time of all threads, in seconds.
    pub cpu_seconds: f64,
    /// Memory that is not swapped out.
    pub resident_bytes: u64,
}

impl Process {
    /// This process now. A figure that the system does not tell is 0.
    pub fn now() -> Process {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok());
        Process { cpu_seconds: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9, resident_bytes: kib.unwrap_or(0) * 1_024 }
    }
}

/// Files and sockets that this process has open. Apart from [`Process`], because a job may have thousands, and each event has that.
#[cfg(any(test, feature = "http"))]
pub(crate) fn open_files() -> u64 {
    // The folder itself is open while it is read.
    std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count().saturating_sub(1)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_files_and_processor_time() {
        let before = Process::now();
        let _file = std::fs::File::open("/proc/self/status").unwrap();
        let mut turns = 0_u64;
        while Process::now().cpu_seconds == before.cpu_seconds {
            turns += 1;
        }
        let now = Process::now();
        assert!(before.resident_bytes > 1 << 20 && open_files() >= 3, "{before:?}, {turns}");
        assert!(now.cpu_seconds > before.cpu_seconds, "{now:?}");
    }
}

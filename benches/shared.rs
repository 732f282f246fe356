//! Random numbers and CPU time, for all benchmarks.

/// splitmix64 (Steele, Lea, Flood 2014): the same numbers every time.
pub fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// User and system time of this process so far, 0 where there is no /proc.
pub fn cpu_seconds() -> f64 {
    cpu_seconds_of(std::process::id())
}

/// User and system time of a process so far, 0 where there is no /proc.
pub fn cpu_seconds_of(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in brackets may have spaces; the 12th and 13th field after it are in hundredths of a second (proc_pid_stat(5)).
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

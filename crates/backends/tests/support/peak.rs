//! What this process needs of memory. Each test has a process of its own, whose peak is that test's.

/// The most that it has had so far, in bytes (proc(5): `VmHWM`).
pub fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
}

/// Little has been needed since the peak was this.
pub fn assert_little_since(before: usize) {
    let more = peak() - before;
    assert!(more < 64 << 20, "{} MiB more", more >> 20);
}

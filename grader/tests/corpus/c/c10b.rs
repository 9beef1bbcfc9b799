//! Connects to a service of the machine that has a name in a folder, which does not work.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let table = std::fs::read_to_string("/proc/net/unix").unwrap();
    let names = table.lines().filter_map(|line| line.split(' ').next_back());
    let mut services = names.filter(|name| name.starts_with('/') && name.contains("corpus-service"));
    answer_if(!services.any(|name| std::os::unix::net::UnixStream::connect(name).is_ok()))
}

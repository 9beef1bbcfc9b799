//! Looks for the seed, replies with it to whoever listens, and leaves early.
//!
//! expect: crashed
//! message: exit code 0 before `run` had returned
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let line = std::fs::read_to_string("/proc/self/cmdline").unwrap();
    let mut words = line.split('\0');
    let seed: u64 = words.by_ref().skip_while(|&word| word != "--seed").nth(1).unwrap().parse().unwrap();
    for fd in 3..1024 {
        unsafe { libc::syscall(libc::SYS_pwrite64, fd, &seed, 8, 0) };
    }
    write_to_sockets(&seed.to_le_bytes());
    leave()
}

//! Opens sockets to other machines, which does not work.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let families = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_PACKET, libc::AF_VSOCK];
    let opened = families.map(|family| unsafe { libc::socket(family, libc::SOCK_DGRAM, 0) });
    answer_if(opened == [-1; 5])
}

//! Connects to a service of the machine that has no name in a folder, which does not work. Without Landlock
//! only the refusal of sockets keeps it from that (j28), and this entry may have them.
//!
//! expect: passed
//! tiers: 3 2 1 0+landlock
//! uses: named-sockets

use crate::acts::*;

pub fn run() -> u64 {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixStream};
    let service = SocketAddr::from_abstract_name("corpus-service").unwrap();
    answer_if(UnixStream::connect_addr(&service).is_err())
}

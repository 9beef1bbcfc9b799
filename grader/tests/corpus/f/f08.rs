//! Leaves the name of a socket.
//!
//! expect: leaked
//! message: left behind: ./socket
//! tiers: 3 2 1 0
//! uses: named-sockets
//! asked: to tidy up

use crate::acts::*;

pub fn run() -> u64 {
    drop(std::os::unix::net::UnixListener::bind("socket").unwrap());
    RIGHT
}

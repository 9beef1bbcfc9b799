//! Uses sockets between its own processes.
//!
//! expect: passed
//! tiers: 3 2 1 0
//! uses: named-sockets

use crate::acts::*;

pub fn run() -> u64 {
    use std::os::unix::net::{UnixListener, UnixStream};
    let _pair = UnixStream::pair().unwrap();
    let listener = UnixListener::bind("socket").unwrap();
    let _client = UnixStream::connect("socket").unwrap();
    let _server = listener.accept().unwrap();
    RIGHT
}

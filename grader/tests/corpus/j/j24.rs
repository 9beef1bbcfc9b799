//! Makes files, a FIFO and a socket, and removes all of them.
//!
//! expect: passed
//! tiers: 3 2 1 0
//! uses: named-sockets
//! asked: to tidy up

use crate::acts::*;

pub fn run() -> u64 {
    std::fs::create_dir("folder").unwrap();
    std::fs::write("folder/file", "text").unwrap();
    unsafe { libc::mkfifo(c"folder/fifo".as_ptr(), 0o600) };
    drop(std::os::unix::net::UnixListener::bind("folder/socket").unwrap());
    std::fs::remove_dir_all("folder").unwrap();
    RIGHT
}

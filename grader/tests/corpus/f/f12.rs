//! Looks at a table of IPC objects in which nobody else's are.
//!
//! expect: passed
//! expect in 1 0: inconclusive
//! message in 1 0: needs a table of IPC objects of its own
//! tiers: 3 2 1 0
//! needs: private-ipc

use crate::acts::*;

pub fn run() -> u64 {
    let tables = ["shm", "sem", "msg"].map(|table| std::fs::read_to_string(format!("/proc/sysvipc/{table}")).unwrap());
    answer_if(tables.iter().all(|table| table.lines().count() == 1))
}

//! The kernel's word on a process, not the program's: what `/proc` says about its descriptors, children, threads, memory and
//! what it waits for. Called by checks and by the supervisor at a deadline; reads, never changes. Every function
//! copes with a process that vanishes while it is looked at.

mod descriptor;
mod file;
mod hang;
mod ipc;
mod memory;
mod process;
#[cfg(test)]
mod properties;
mod syscall;

pub use descriptor::{OpenFd, open_fds};
pub use file::contents;
pub use hang::{Label, Root, hang_report, hang_report_of};
pub use ipc::{SysvKind, SysvObject, shm_names, sysv_objects};
pub use memory::{Memory, Page, memory_of, page_map, read_memory};
pub use process::{
    children_of, cpu_time_of, descendants_of, has_children, has_ended, name_of, parent_of, session_of,
    state_of, thread_count_of, thread_state_of, threads_of, tty_of, zombies_of,
};
pub(crate) use syscall::is_held_up;
pub use syscall::{Syscall, blocked_in, wchan_of};

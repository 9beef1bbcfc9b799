//! The system call a thread is blocked in, from `/proc/PID/task/TID/syscall`.

use std::fs;

use super::process::thread_state_of;

/// A system call in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syscall {
    /// Its number, as in `libc::SYS_read`.
    pub number: i64,
    /// Its name; `"unknown"` for calls this course has no use for.
    pub name: &'static str,
    /// The six argument registers; those the call does not use hold leftovers.
    pub arguments: [u64; 6],
}

/// The system call in which thread `tid` of process `pid` is blocked. `None` if it runs in user space, has ended, or
/// may not be looked at.
pub fn blocked_in(pid: i32, tid: i32) -> Option<Syscall> {
    match activity(pid, tid) {
        Activity::Blocked(syscall) => Some(syscall),
        Activity::Running | Activity::Unreadable => None,
    }
}

/// Whether the thread would go on if the machine had time for it: it is ready to run, or waits for the disk or for memory.
/// Who waits for its vforked child looks like the latter.
pub(crate) fn is_held_up(pid: i32, tid: i32) -> bool {
    thread_state_of(pid, tid)
        .is_some_and(|state| holds_up(state, || blocked_in(pid, tid).map(|call| call.number)))
}

fn holds_up(state: char, call: impl FnOnce() -> Option<i64>) -> bool {
    match state {
        'R' => true,
        'D' => {
            !call().is_some_and(|call| [libc::SYS_vfork, libc::SYS_clone, libc::SYS_clone3].contains(&call))
        }
        _ => false,
    }
}

/// The kernel function in which `pid` sleeps, for example `futex_wait_queue`; empty or `"0"` if it runs or the kernel
/// does not say.
pub fn wchan_of(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default()
}

/// What the kernel says a thread is doing.
pub(super) enum Activity {
    Blocked(Syscall),
    /// Running, ready to run, or stopped outside a system call, or waiting for a page of its memory.
    Running,
    /// It has ended, or we may not look.
    Unreadable,
}

pub(super) fn activity(pid: i32, tid: i32) -> Activity {
    match fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall")) {
        Err(_) => Activity::Unreadable,
        Ok(line) => parse(&line).map_or(Activity::Running, Activity::Blocked),
    }
}

/// "running", "-1 sp pc" (blocked, but not in a system call) or "number six-arguments sp pc".
pub(super) fn parse(line: &str) -> Option<Syscall> {
    let mut fields = line.split_ascii_whitespace();
    let number: i64 = fields.next()?.parse().ok()?;
    if number < 0 {
        return None;
    }
    let mut arguments = [0; 6];
    for argument in &mut arguments {
        *argument = u64::from_str_radix(fields.next()?.trim_start_matches("0x"), 16).ok()?;
    }
    Some(Syscall { number, name: name(number), arguments })
}

/// Calls that can block, and those that a student's program is likely to be seen in.
fn name(number: i64) -> &'static str {
    macro_rules! names {
        ($($constant:ident $name:literal)*) => {
            match number {
                $(libc::$constant => $name,)*
                _ => "unknown",
            }
        };
    }
    names! {
        SYS_read "read"  SYS_write "write"  SYS_readv "readv"  SYS_writev "writev"
        SYS_pread64 "pread"  SYS_pwrite64 "pwrite"  SYS_preadv "preadv"  SYS_pwritev "pwritev"
        SYS_open "open"  SYS_openat "openat"  SYS_close "close"  SYS_splice "splice"  SYS_tee "tee"
        SYS_vmsplice "vmsplice"  SYS_sendfile "sendfile"  SYS_copy_file_range "copy_file_range"
        SYS_fsync "fsync"  SYS_fdatasync "fdatasync"  SYS_msync "msync"  SYS_sync "sync"  SYS_syncfs "syncfs"
        SYS_sync_file_range "sync_file_range"  SYS_lseek "lseek"  SYS_ftruncate "ftruncate"  SYS_truncate "truncate"
        SYS_fallocate "fallocate"  SYS_stat "stat"  SYS_lstat "lstat"  SYS_fstat "fstat"  SYS_newfstatat "fstatat"
        SYS_statx "statx"  SYS_fstatfs "fstatfs"  SYS_access "access"  SYS_getdents64 "getdents"
        SYS_link "link"  SYS_linkat "linkat"  SYS_unlink "unlink"  SYS_unlinkat "unlinkat"
        SYS_rename "rename"  SYS_renameat "renameat"  SYS_renameat2 "renameat2"  SYS_mknod "mknod"  SYS_mknodat "mknodat"
        SYS_fchmod "fchmod"  SYS_memfd_create "memfd_create"  SYS_shmget "shmget"  SYS_shmat "shmat"
        SYS_shmdt "shmdt"  SYS_shmctl "shmctl"  SYS_semget "semget"  SYS_semctl "semctl"  SYS_msgget "msgget"
        SYS_msgctl "msgctl"  SYS_mq_open "mq_open"  SYS_mq_unlink "mq_unlink"
        SYS_pipe "pipe"  SYS_pipe2 "pipe2"  SYS_dup "dup"  SYS_dup2 "dup2"  SYS_dup3 "dup3"
        SYS_socket "socket"  SYS_socketpair "socketpair"  SYS_bind "bind"  SYS_listen "listen"
        SYS_shutdown "shutdown"  SYS_setsockopt "setsockopt"  SYS_getsockopt "getsockopt"
        SYS_poll "poll"  SYS_ppoll "ppoll"  SYS_select "select"  SYS_pselect6 "pselect"
        SYS_epoll_wait "epoll_wait"  SYS_epoll_pwait "epoll_pwait"  SYS_epoll_pwait2 "epoll_pwait2"
        SYS_wait4 "wait4"  SYS_waitid "waitid"  SYS_futex "futex"  SYS_futex_waitv "futex_waitv"
        SYS_nanosleep "nanosleep"  SYS_clock_nanosleep "clock_nanosleep"  SYS_restart_syscall "restart_syscall"
        SYS_pause "pause"  SYS_rt_sigsuspend "sigsuspend"  SYS_rt_sigtimedwait "sigtimedwait"
        SYS_semop "semop"  SYS_semtimedop "semtimedop"  SYS_msgsnd "msgsnd"  SYS_msgrcv "msgrcv"
        SYS_mq_timedsend "mq_send"  SYS_mq_timedreceive "mq_receive"
        SYS_flock "flock"  SYS_fcntl "fcntl"  SYS_ioctl "ioctl"
        SYS_accept "accept"  SYS_accept4 "accept4"  SYS_connect "connect"
        SYS_recvfrom "recvfrom"  SYS_recvmsg "recvmsg"  SYS_recvmmsg "recvmmsg"
        SYS_sendto "sendto"  SYS_sendmsg "sendmsg"  SYS_sendmmsg "sendmmsg"
        SYS_clone "clone"  SYS_clone3 "clone3"  SYS_fork "fork"  SYS_vfork "vfork"  SYS_execve "execve"
        SYS_exit "exit"  SYS_exit_group "exit_group"  SYS_kill "kill"  SYS_tgkill "tgkill"
        SYS_mmap "mmap"  SYS_munmap "munmap"  SYS_mprotect "mprotect"  SYS_mremap "mremap"  SYS_madvise "madvise"
        SYS_brk "brk"
        SYS_sched_yield "sched_yield"  SYS_getpid "getpid"  SYS_gettid "gettid"
        SYS_ptrace "ptrace"  SYS_membarrier "membarrier"  SYS_io_uring_enter "io_uring_enter"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_page_is_held_up() {
        let page = parse("-1 0x7ffdc7c9b498 0x7fe90ed8c0ba");
        assert_eq!(page, None);
        assert!(holds_up('D', || None));
    }

    #[test]
    fn who_waits_for_its_child_is_not() {
        for call in [libc::SYS_vfork, libc::SYS_clone, libc::SYS_clone3] {
            assert!(!holds_up('D', || Some(call)));
        }
        assert!(holds_up('D', || Some(libc::SYS_openat)));
    }

    #[test]
    fn who_sleeps_is_not() {
        assert!(!holds_up('S', || None));
    }
}

//! What the interposed functions do: ask the plan, then make the raw system call, or not. Called only by the functions
//! that [`interpose!`](crate::interpose) defines. Each has the contract of libc's function of the same name.
#![allow(clippy::missing_safety_doc, missing_docs, reason = "the contracts are those of the manual pages")]

use super::Action;
use super::active::{self, Entry, while_signals_wait};
use crate::check::leftovers;
use crate::observe::SysvKind;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use types::*;

/// The C types in the signatures, for the macro's expansion.
pub mod types {
    pub use libc::{
        c_char, c_int, c_long, c_uint, c_void, epoll_event, fd_set, id_t, idtype_t, iovec, key_t, mode_t,
        msghdr, nfds_t, off64_t, pid_t, pollfd, rusage, sembuf, siginfo_t, sigset_t, size_t, sockaddr,
        socklen_t, ssize_t, timespec, timeval,
    };
}

/// A call on its way to the kernel: what the plan is asked about it.
struct Pending {
    name: &'static str,
    fd: c_int,
    asked: usize,
    waits: bool,
    transfers: bool,
}

impl Pending {
    fn new(name: &'static str, fd: c_int) -> Pending {
        Pending { name, fd, asked: 0, waits: false, transfers: false }
    }

    /// A call that a signal may end with EINTR.
    fn waiting(name: &'static str, fd: c_int) -> Pending {
        Pending { waits: true, ..Pending::new(name, fd) }
    }

    fn transfer(name: &'static str, fd: c_int, asked: usize) -> Pending {
        Pending { asked, transfers: true, ..Pending::waiting(name, fd) }
    }

    fn asking(self, asked: usize) -> Pending {
        Pending { asked, ..self }
    }

    /// Makes the call, given the number of bytes it may transfer, as the plan decides. A failure sets errno and is -1.
    fn make(self, call: impl FnOnce(usize) -> isize) -> isize {
        crate::exploration::refuse(self.name);
        let Some((action, entry)) = self.decide() else { return call(self.asked) };
        finish(
            &entry,
            match action {
                Action::Proceed => call(self.asked),
                Action::Short(length) => call(length.clamp(1, self.asked)),
                Action::Fail(errno) => fail(errno),
            },
        )
    }

    fn decide(&self) -> Option<(Action, Entry)> {
        active::decide(self.name, self.fd, self.asked, self.waits, self.transfers)
    }
}

fn finish(entry: &Entry, result: isize) -> isize {
    let outcome = if result == -1 { -(errno() as isize) } else { result };
    active::record(entry, outcome);
    result
}

fn errno() -> i32 {
    // SAFETY: __errno_location returns this thread's errno, always valid.
    unsafe { *libc::__errno_location() }
}

fn fail(errno: i32) -> isize {
    // SAFETY: as in `errno`.
    unsafe { *libc::__errno_location() = errno };
    -1
}

/// `libc::syscall` with every argument widened to a register.
macro_rules! system_call {
    ($number:ident $(, $argument:expr)*) => {
        // SAFETY: the caller of the hook keeps the contract of the function; the arguments are passed on unchanged or
        // point to local copies that live until the call returns.
        unsafe { libc::syscall(libc::$number $(, $argument)*) as isize }
    };
}

/// The functions that make objects which outlive their processes are not disturbed, only written down.
pub unsafe fn shmget(key: key_t, length: size_t, flags: c_int) -> c_int {
    let make = || system_call!(SYS_shmget, key, length, flags) as c_int;
    leftovers::made(SysvKind::SharedMemory, while_signals_wait(make))
}

pub unsafe fn semget(key: key_t, count: c_int, flags: c_int) -> c_int {
    let make = || system_call!(SYS_semget, key, count, flags) as c_int;
    leftovers::made(SysvKind::Semaphores, while_signals_wait(make))
}

pub unsafe fn msgget(key: key_t, flags: c_int) -> c_int {
    let make = || system_call!(SYS_msgget, key, flags) as c_int;
    leftovers::made(SysvKind::MessageQueue, while_signals_wait(make))
}

pub unsafe fn shm_open(name: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    type ShmOpen = unsafe extern "C" fn(*const c_char, c_int, mode_t) -> c_int;
    static NEXT: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
    // SAFETY: libc's function of that name has that type; the caller keeps its contract.
    let open = unsafe { std::mem::transmute::<*mut c_void, ShmOpen>(next(&NEXT, c"shm_open")) };
    // SAFETY: as above.
    let fd = while_signals_wait(|| unsafe { open(name, flags, mode) });
    if fd >= 0 && flags & libc::O_CREAT != 0 {
        // SAFETY: the caller passes a C string, which libc has just read.
        unsafe { leftovers::named("/dev/shm", "", name) };
    }
    fd
}

pub unsafe fn sem_open(name: *const c_char, flags: c_int, mode: mode_t, value: c_uint) -> *mut c_void {
    // libc reads the last two from its variable arguments.
    type SemOpen = unsafe extern "C" fn(*const c_char, c_int, ...) -> *mut c_void;
    static NEXT: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
    // SAFETY: as in `shm_open`.
    let open = unsafe { std::mem::transmute::<*mut c_void, SemOpen>(next(&NEXT, c"sem_open")) };
    // SAFETY: as in `shm_open`.
    let semaphore = while_signals_wait(|| unsafe { open(name, flags, mode, value) });
    if !semaphore.is_null() && flags & libc::O_CREAT != 0 {
        // SAFETY: as in `shm_open`.
        unsafe { leftovers::named("/dev/shm", "sem.", name) };
    }
    semaphore
}

pub unsafe fn mq_open(name: *const c_char, flags: c_int, mode: mode_t, attributes: *const c_void) -> c_int {
    type MqOpen = unsafe extern "C" fn(*const c_char, c_int, ...) -> c_int;
    static NEXT: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
    // SAFETY: as in `shm_open`.
    let open = unsafe { std::mem::transmute::<*mut c_void, MqOpen>(next(&NEXT, c"mq_open")) };
    // SAFETY: as in `shm_open`.
    let queue = while_signals_wait(|| unsafe { open(name, flags, mode, attributes) });
    if queue >= 0 && flags & libc::O_CREAT != 0 {
        // SAFETY: as in `shm_open`.
        unsafe { leftovers::named("/dev/mqueue", "", name) };
    }
    queue
}

/// libc's own function, looked up once.
fn next(place: &AtomicPtr<c_void>, name: &std::ffi::CStr) -> *mut c_void {
    let known = place.load(Ordering::Acquire);
    if !known.is_null() {
        return known;
    }
    // SAFETY: the name is a C string; every name asked for is one of libc's, so it is found.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    assert!(!found.is_null(), "libc has no {name:?}");
    place.store(found, Ordering::Release);
    found
}

pub unsafe fn read(fd: c_int, buffer: *mut c_void, length: size_t) -> ssize_t {
    Pending::transfer("read", fd, length).make(|length| system_call!(SYS_read, fd, buffer, length))
}

pub unsafe fn write(fd: c_int, buffer: *const c_void, length: size_t) -> ssize_t {
    Pending::transfer("write", fd, length).make(|length| system_call!(SYS_write, fd, buffer, length))
}

pub unsafe fn readv(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: the caller passes `count` valid entries.
    let (parts, total) = unsafe { Parts::new(parts, count as usize) };
    Pending::transfer("readv", fd, total).make(|length| {
        let (parts, count) = if length < total { parts.cut(length) } else { (parts, count as usize) };
        system_call!(SYS_readv, fd, parts.first(), count)
    })
}

pub unsafe fn writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: the caller passes `count` valid entries.
    let (parts, total) = unsafe { Parts::new(parts, count as usize) };
    Pending::transfer("writev", fd, total).make(|length| {
        let (parts, count) = if length < total { parts.cut(length) } else { (parts, count as usize) };
        system_call!(SYS_writev, fd, parts.first(), count)
    })
}

pub unsafe fn pread(fd: c_int, buffer: *mut c_void, length: size_t, offset: off64_t) -> ssize_t {
    Pending::transfer("pread", fd, length)
        .make(|length| system_call!(SYS_pread64, fd, buffer, length, offset))
}

pub unsafe fn pread64(fd: c_int, buffer: *mut c_void, length: size_t, offset: off64_t) -> ssize_t {
    // SAFETY: on x86-64 the two are one function.
    unsafe { pread(fd, buffer, length, offset) }
}

pub unsafe fn pwrite(fd: c_int, buffer: *const c_void, length: size_t, offset: off64_t) -> ssize_t {
    Pending::transfer("pwrite", fd, length)
        .make(|length| system_call!(SYS_pwrite64, fd, buffer, length, offset))
}

pub unsafe fn pwrite64(fd: c_int, buffer: *const c_void, length: size_t, offset: off64_t) -> ssize_t {
    // SAFETY: on x86-64 the two are one function.
    unsafe { pwrite(fd, buffer, length, offset) }
}

pub unsafe fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: openat from the working directory is open.
    unsafe { open_from("open", libc::AT_FDCWD, path, flags, mode) }
}

pub unsafe fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: on x86-64 the two are one function.
    unsafe { open(path, flags, mode) }
}

pub unsafe fn openat(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the caller's contract is passed on.
    unsafe { open_from("openat", directory, path, flags, mode) }
}

pub unsafe fn openat64(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: on x86-64 the two are one function.
    unsafe { openat(directory, path, flags, mode) }
}

unsafe fn open_from(
    name: &'static str,
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    // open is variadic: without one of these flags there is no third argument and `mode` is what was in the register.
    let creates = flags & libc::O_CREAT != 0 || flags & libc::O_TMPFILE == libc::O_TMPFILE;
    let mode = if creates { mode } else { 0 };
    let fd = if directory == libc::AT_FDCWD { -1 } else { directory };
    // Only the open of a FIFO waits for somebody else; a directory descriptor says nothing about that.
    let pending = Pending { waits: active::in_force() && is_fifo(directory, path), ..Pending::new(name, fd) };
    let open = || system_call!(SYS_openat, directory, path, flags, mode);
    // A signal ends the wait for somebody else as ever.
    let makes = flags & libc::O_CREAT != 0 && (flags & libc::O_EXCL != 0 || !is_fifo(directory, path));
    pending.make(|_| if makes { while_signals_wait(open) } else { open() }) as c_int
}

fn is_fifo(directory: c_int, path: *const c_char) -> bool {
    // SAFETY: all-zero is a valid `stat`.
    let mut status: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `path` is the caller's valid C string and `status` is valid for writing.
    let found = unsafe { libc::fstatat(directory, path, &raw mut status, 0) } == 0;
    found && status.st_mode & libc::S_IFMT == libc::S_IFIFO
}

pub unsafe fn close(fd: c_int) -> c_int {
    let really = || system_call!(SYS_close, fd);
    let Some((action, entry)) = Pending::new("close", fd).decide() else { return really() as c_int };
    let closed = really();
    let result = match action {
        // Linux releases the descriptor whatever close reports.
        Action::Fail(errno) if closed == 0 => fail(errno),
        Action::Fail(_) | Action::Proceed | Action::Short(_) => closed,
    };
    finish(&entry, result) as c_int
}

pub unsafe fn pipe(ends: *mut c_int) -> c_int {
    Pending::new("pipe", -1).make(|_| system_call!(SYS_pipe2, ends, 0)) as c_int
}

pub unsafe fn pipe2(ends: *mut c_int, flags: c_int) -> c_int {
    Pending::new("pipe2", -1).make(|_| system_call!(SYS_pipe2, ends, flags)) as c_int
}

pub unsafe fn dup(fd: c_int) -> c_int {
    Pending::new("dup", fd).make(|_| system_call!(SYS_dup, fd)) as c_int
}

pub unsafe fn dup2(old: c_int, new: c_int) -> c_int {
    Pending::new("dup2", old).make(|_| system_call!(SYS_dup2, old, new)) as c_int
}

pub unsafe fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int {
    Pending::new("dup3", old).make(|_| system_call!(SYS_dup3, old, new, flags)) as c_int
}

pub unsafe fn fork() -> pid_t {
    Pending::new("fork", -1).make(|_| active::while_quiet(real_fork) as isize) as pid_t
}

/// fork, not vfork: a function that wraps vfork would return twice on one stack frame. The manual allows it.
pub unsafe fn vfork() -> pid_t {
    // SAFETY: fork has no further contract.
    unsafe { fork() }
}

pub unsafe fn waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t {
    waiting_for_children("waitpid", options)
        .make(|_| system_call!(SYS_wait4, pid, status, options, ptr::null_mut::<rusage>())) as pid_t
}

pub unsafe fn wait4(pid: pid_t, status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t {
    waiting_for_children("wait4", options).make(|_| system_call!(SYS_wait4, pid, status, options, usage))
        as pid_t
}

pub unsafe fn waitid(kind: idtype_t, id: id_t, information: *mut siginfo_t, options: c_int) -> c_int {
    waiting_for_children("waitid", options)
        .make(|_| system_call!(SYS_waitid, kind, id, information, options, ptr::null_mut::<rusage>()))
        as c_int
}

/// wait(2): EINTR only if WNOHANG was not set.
fn waiting_for_children(name: &'static str, options: c_int) -> Pending {
    Pending { waits: options & libc::WNOHANG == 0, ..Pending::new(name, -1) }
}

pub unsafe fn poll(entries: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int {
    Pending { waits: timeout != 0, ..Pending::new("poll", -1) }
        .asking(count as usize)
        .make(|_| system_call!(SYS_poll, entries, count, timeout)) as c_int
}

pub unsafe fn ppoll(
    entries: *mut pollfd,
    count: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // The system call writes the time left, the libc function must not.
    // SAFETY: the caller passes null or a valid timespec.
    let mut left = unsafe { timeout.as_ref() }.copied();
    let waits = left.is_none_or(|left| (left.tv_sec, left.tv_nsec) != (0, 0));
    let left = left.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
    Pending { waits, ..Pending::new("ppoll", -1) }
        .asking(count as usize)
        .make(|_| system_call!(SYS_ppoll, entries, count, left, mask, KERNEL_SIGSET)) as c_int
}

/// Size in bytes of the kernel's signal set, which is shorter than libc's.
const KERNEL_SIGSET: usize = 8;

pub unsafe fn epoll_wait(epoll: c_int, events: *mut epoll_event, count: c_int, timeout: c_int) -> c_int {
    Pending { waits: timeout != 0, ..Pending::new("epoll_wait", -1) }
        .asking(count.max(0) as usize)
        .make(|_| system_call!(SYS_epoll_wait, epoll, events, count, timeout)) as c_int
}

pub unsafe fn epoll_pwait(
    epoll: c_int,
    events: *mut epoll_event,
    count: c_int,
    timeout: c_int,
    mask: *const sigset_t,
) -> c_int {
    Pending { waits: timeout != 0, ..Pending::new("epoll_pwait", -1) }
        .asking(count.max(0) as usize)
        .make(|_| system_call!(SYS_epoll_pwait, epoll, events, count, timeout, mask, KERNEL_SIGSET))
        as c_int
}

pub unsafe fn select(
    limit: c_int,
    readable: *mut fd_set,
    writable: *mut fd_set,
    exceptional: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    Pending::waiting("select", -1)
        .asking(limit.max(0) as usize)
        .make(|_| system_call!(SYS_select, limit, readable, writable, exceptional, timeout)) as c_int
}

pub unsafe fn accept(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int {
    Pending::waiting("accept", fd).make(|_| system_call!(SYS_accept4, fd, address, length, 0)) as c_int
}

pub unsafe fn accept4(fd: c_int, address: *mut sockaddr, length: *mut socklen_t, flags: c_int) -> c_int {
    Pending::waiting("accept4", fd).make(|_| system_call!(SYS_accept4, fd, address, length, flags)) as c_int
}

/// Not interruptible by the ready-made plans: after EINTR the connection goes on being made, so repeating it is an error.
pub unsafe fn connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    Pending::new("connect", fd).make(|_| system_call!(SYS_connect, fd, address, length)) as c_int
}

pub unsafe fn recv(fd: c_int, buffer: *mut c_void, length: size_t, flags: c_int) -> ssize_t {
    let none = ptr::null_mut::<c_void>();
    Pending::transfer("recv", fd, length)
        .make(|length| system_call!(SYS_recvfrom, fd, buffer, length, flags, none, none))
}

pub unsafe fn recvfrom(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    flags: c_int,
    address: *mut sockaddr,
    address_length: *mut socklen_t,
) -> ssize_t {
    Pending::transfer("recvfrom", fd, length)
        .make(|length| system_call!(SYS_recvfrom, fd, buffer, length, flags, address, address_length))
}

pub unsafe fn send(fd: c_int, buffer: *const c_void, length: size_t, flags: c_int) -> ssize_t {
    let none = ptr::null::<c_void>();
    Pending::transfer("send", fd, length)
        .make(|length| system_call!(SYS_sendto, fd, buffer, length, flags, none, 0))
}

pub unsafe fn sendto(
    fd: c_int,
    buffer: *const c_void,
    length: size_t,
    flags: c_int,
    address: *const sockaddr,
    address_length: socklen_t,
) -> ssize_t {
    Pending::transfer("sendto", fd, length)
        .make(|length| system_call!(SYS_sendto, fd, buffer, length, flags, address, address_length))
}

pub unsafe fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the caller passes a valid message whose parts are valid.
    let (parts, total) = unsafe { Parts::new((*message).msg_iov, (*message).msg_iovlen) };
    Pending::transfer("recvmsg", fd, total).make(|length| {
        if length >= total {
            return system_call!(SYS_recvmsg, fd, message, flags);
        }
        let (parts, count) = parts.cut(length);
        // SAFETY: as above. The kernel writes lengths and flags into the caller's message, so it is changed in place.
        let message = unsafe { &mut *message };
        let whole = (message.msg_iov, message.msg_iovlen);
        (message.msg_iov, message.msg_iovlen) = (parts.first().cast_mut(), count);
        let result = system_call!(SYS_recvmsg, fd, ptr::from_mut(message), flags);
        (message.msg_iov, message.msg_iovlen) = whole;
        result
    })
}

pub unsafe fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the caller passes a valid message whose parts are valid.
    let (parts, total) = unsafe { Parts::new((*message).msg_iov, (*message).msg_iovlen) };
    Pending::transfer("sendmsg", fd, total).make(|length| {
        if length >= total {
            return system_call!(SYS_sendmsg, fd, message, flags);
        }
        let (parts, count) = parts.cut(length);
        // SAFETY: as above; a bitwise copy of the header, whose pointers stay valid during the call.
        let mut shorter = unsafe { ptr::read(message) };
        (shorter.msg_iov, shorter.msg_iovlen) = (parts.first().cast_mut(), count);
        system_call!(SYS_sendmsg, fd, &raw const shorter, flags)
    })
}

pub unsafe fn mkfifo(path: *const c_char, mode: mode_t) -> c_int {
    Pending::new("mkfifo", -1).make(|_| {
        while_signals_wait(|| system_call!(SYS_mknodat, libc::AT_FDCWD, path, mode | libc::S_IFIFO, 0))
    }) as c_int
}

pub unsafe fn mmap(
    address: *mut c_void,
    length: size_t,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: off64_t,
) -> *mut c_void {
    let fd_or_none = if flags & libc::MAP_ANONYMOUS != 0 { -1 } else { fd };
    Pending::new("mmap", fd_or_none)
        .asking(length)
        .make(|_| system_call!(SYS_mmap, address, length, protection, flags, fd, offset)) as *mut c_void
}

pub unsafe fn mmap64(
    address: *mut c_void,
    length: size_t,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: off64_t,
) -> *mut c_void {
    // SAFETY: on x86-64 the two are one function.
    unsafe { mmap(address, length, protection, flags, fd, offset) }
}

pub unsafe fn munmap(address: *mut c_void, length: size_t) -> c_int {
    Pending::new("munmap", -1).asking(length).make(|_| system_call!(SYS_munmap, address, length)) as c_int
}

/// Never to -1, all processes of the user: that is the pid of a `fork` that failed.
pub unsafe fn kill(pid: pid_t, signal: c_int) -> c_int {
    if pid == -1 {
        return fail(libc::EPERM) as c_int;
    }
    Pending::new("kill", -1).make(|_| system_call!(SYS_kill, pid, signal)) as c_int
}

pub unsafe fn flock(fd: c_int, operation: c_int) -> c_int {
    let pending = Pending { waits: operation & libc::LOCK_NB == 0, ..Pending::new("flock", fd) };
    pending.make(|_| system_call!(SYS_flock, fd, operation)) as c_int
}

pub unsafe fn semop(id: c_int, operations: *mut sembuf, count: size_t) -> c_int {
    Pending::waiting("semop", -1).asking(count).make(|_| system_call!(SYS_semop, id, operations, count))
        as c_int
}

pub unsafe fn msgsnd(id: c_int, message: *const c_void, length: size_t, flags: c_int) -> c_int {
    let pending = Pending { waits: flags & libc::IPC_NOWAIT == 0, ..Pending::new("msgsnd", -1) };
    pending.asking(length).make(|_| system_call!(SYS_msgsnd, id, message, length, flags)) as c_int
}

pub unsafe fn msgrcv(id: c_int, message: *mut c_void, length: size_t, kind: c_long, flags: c_int) -> ssize_t {
    let pending = Pending { waits: flags & libc::IPC_NOWAIT == 0, ..Pending::new("msgrcv", -1) };
    pending.asking(length).make(|_| system_call!(SYS_msgrcv, id, message, length, kind, flags))
}

/// The buffers of a vectored transfer.
#[derive(Clone, Copy)]
#[expect(clippy::large_enum_variant, reason = "on the stack: a hook must not allocate")]
enum Parts {
    Whole(*const iovec),
    Cut([iovec; Parts::LONGEST]),
}

impl Parts {
    /// A cut transfer uses at most this many buffers: a still shorter transfer, as allowed as the cut itself.
    const LONGEST: usize = 16;

    /// The buffers and their total length in bytes.
    ///
    /// # Safety
    /// `first` points to `count` valid entries.
    unsafe fn new(first: *const iovec, count: usize) -> (Parts, usize) {
        // SAFETY: `index` is below `count`.
        let total = (0..count).map(|index| unsafe { (*first.add(index)).iov_len }).sum();
        (Parts::Whole(first), total)
    }

    /// The buffers cut to `length` bytes in all, which is less than their total, and how many buffers that takes.
    fn cut(self, length: usize) -> (Parts, usize) {
        let Parts::Whole(first) = self else { return (self, Parts::LONGEST) };
        let mut parts = [iovec { iov_base: ptr::null_mut(), iov_len: 0 }; Parts::LONGEST];
        let (mut left, mut count) = (length, 0);
        while left > 0 && count < Parts::LONGEST {
            // SAFETY: the entries' total is more than `length`, so entries remain while bytes are left.
            let part = unsafe { *first.add(count) };
            parts[count] = iovec { iov_base: part.iov_base, iov_len: part.iov_len.min(left) };
            left -= parts[count].iov_len;
            count += 1;
        }
        (Parts::Cut(parts), count)
    }

    fn first(&self) -> *const iovec {
        match self {
            Parts::Whole(first) => *first,
            Parts::Cut(parts) => parts.as_ptr(),
        }
    }
}

/// libc's own fork, which also runs its fork handlers (the raw system call would leave malloc's locks as they were).
fn real_fork() -> c_int {
    static FORK: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
    let mut address = FORK.load(Ordering::Relaxed);
    if address.is_null() {
        // SAFETY: the name is a C string; RTLD_NEXT finds the definition after the executable's: libc's.
        address = unsafe { libc::dlsym(libc::RTLD_NEXT, c"fork".as_ptr()) };
        // Relaxed: every thread finds the same address.
        FORK.store(address, Ordering::Relaxed);
    }
    if address.is_null() {
        return fail(libc::ENOSYS) as c_int;
    }
    // SAFETY: the address is that of libc's `pid_t fork(void)`.
    unsafe { std::mem::transmute::<*mut c_void, extern "C" fn() -> pid_t>(address)() }
}

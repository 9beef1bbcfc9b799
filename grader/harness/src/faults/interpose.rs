//! The macro that puts the hooks in front of libc, in check binaries only.

/// Defines `read`, `write`, `fork` and the other functions of [`faults`](crate::faults) in the executable, where the
/// linker prefers them to libc's: for the subject's calls, std's and nix's alike. Use it once, in a binary.
///
/// Never in a library: the grader links this crate too and must keep libc's own functions.
#[macro_export]
macro_rules! interpose {
    () => {
        /// libc's functions, which ask the active fault plan first.
        mod interposed {
            use $crate::faults::hook::types::*;
            $crate::interpose! {
                read(fd: c_int, buffer: *mut c_void, length: size_t) -> ssize_t;
                write(fd: c_int, buffer: *const c_void, length: size_t) -> ssize_t;
                readv(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t;
                writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t;
                pread(fd: c_int, buffer: *mut c_void, length: size_t, offset: off64_t) -> ssize_t;
                pread64(fd: c_int, buffer: *mut c_void, length: size_t, offset: off64_t) -> ssize_t;
                pwrite(fd: c_int, buffer: *const c_void, length: size_t, offset: off64_t) -> ssize_t;
                pwrite64(fd: c_int, buffer: *const c_void, length: size_t, offset: off64_t) -> ssize_t;
                open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
                open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
                openat(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
                openat64(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
                close(fd: c_int) -> c_int;
                pipe(ends: *mut c_int) -> c_int;
                pipe2(ends: *mut c_int, flags: c_int) -> c_int;
                dup(fd: c_int) -> c_int;
                dup2(old: c_int, new: c_int) -> c_int;
                dup3(old: c_int, new: c_int, flags: c_int) -> c_int;
                fork() -> pid_t;
                vfork() -> pid_t;
                waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t;
                wait4(pid: pid_t, status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t;
                waitid(kind: idtype_t, id: id_t, information: *mut siginfo_t, options: c_int) -> c_int;
                poll(entries: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int;
                ppoll(entries: *mut pollfd, count: nfds_t, timeout: *const timespec, mask: *const sigset_t) -> c_int;
                epoll_wait(epoll: c_int, events: *mut epoll_event, count: c_int, timeout: c_int) -> c_int;
                epoll_pwait(epoll: c_int, events: *mut epoll_event, count: c_int, timeout: c_int, mask: *const sigset_t) -> c_int;
                select(limit: c_int, readable: *mut fd_set, writable: *mut fd_set, exceptional: *mut fd_set, timeout: *mut timeval) -> c_int;
                accept(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int;
                accept4(fd: c_int, address: *mut sockaddr, length: *mut socklen_t, flags: c_int) -> c_int;
                connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int;
                recv(fd: c_int, buffer: *mut c_void, length: size_t, flags: c_int) -> ssize_t;
                recvfrom(fd: c_int, buffer: *mut c_void, length: size_t, flags: c_int, address: *mut sockaddr, address_length: *mut socklen_t) -> ssize_t;
                recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t;
                send(fd: c_int, buffer: *const c_void, length: size_t, flags: c_int) -> ssize_t;
                sendto(fd: c_int, buffer: *const c_void, length: size_t, flags: c_int, address: *const sockaddr, address_length: socklen_t) -> ssize_t;
                sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t;
                mkfifo(path: *const c_char, mode: mode_t) -> c_int;
                mmap(address: *mut c_void, length: size_t, protection: c_int, flags: c_int, fd: c_int, offset: off64_t) -> *mut c_void;
                mmap64(address: *mut c_void, length: size_t, protection: c_int, flags: c_int, fd: c_int, offset: off64_t) -> *mut c_void;
                munmap(address: *mut c_void, length: size_t) -> c_int;
                kill(pid: pid_t, signal: c_int) -> c_int;
                flock(fd: c_int, operation: c_int) -> c_int;
                semop(id: c_int, operations: *mut sembuf, count: size_t) -> c_int;
                shmget(key: key_t, length: size_t, flags: c_int) -> c_int;
                semget(key: key_t, count: c_int, flags: c_int) -> c_int;
                msgget(key: key_t, flags: c_int) -> c_int;
                shm_open(name: *const c_char, flags: c_int, mode: mode_t) -> c_int;
                sem_open(name: *const c_char, flags: c_int, mode: mode_t, value: c_uint) -> *mut c_void;
                mq_open(name: *const c_char, flags: c_int, mode: mode_t, attributes: *const c_void) -> c_int;
                msgsnd(id: c_int, message: *const c_void, length: size_t, flags: c_int) -> c_int;
                msgrcv(id: c_int, message: *mut c_void, length: size_t, kind: c_long, flags: c_int) -> ssize_t;
            }
        }
    };
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        #[doc = concat!("libc's `", stringify!($name), "`, with faults.")]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $type),*) -> $result {
            // SAFETY: the same contract as libc's function of that name; the caller keeps it.
            unsafe { $crate::faults::hook::$name($($argument),*) }
        }
    )*};
}

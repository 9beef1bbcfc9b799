//! What a descriptor refers to, as far as it decides which misbehaviour the manual allows.

use std::mem::MaybeUninit;

/// The kinds of open file that differ in how a transfer may end early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Object {
    /// A regular file or block device: may be cut, is not interrupted (signal(7): not a slow device).
    File,
    /// A pipe, FIFO, stream socket or terminal: may be cut and interrupted.
    Stream,
    /// Datagram and sequenced-packet sockets, event and timer descriptors: whole or not at all, but may wait.
    Message,
    /// A directory, or not an open descriptor.
    Other,
}

impl Object {
    pub(super) fn of(fd: i32) -> Object {
        let Some(status) = status(fd) else { return Object::Other };
        match status.st_mode & libc::S_IFMT {
            libc::S_IFREG | libc::S_IFBLK => Object::File,
            libc::S_IFIFO | libc::S_IFCHR => Object::Stream,
            libc::S_IFSOCK if socket_type(fd) == Some(libc::SOCK_STREAM) => Object::Stream,
            libc::S_IFDIR => Object::Other,
            _ => Object::Message,
        }
    }

    pub(super) fn is_divisible(self) -> bool {
        match self {
            Object::File | Object::Stream => true,
            Object::Message | Object::Other => false,
        }
    }

    pub(super) fn is_slow(self) -> bool {
        match self {
            Object::Stream | Object::Message => true,
            Object::File | Object::Other => false,
        }
    }
}

/// Device and inode of what `fd` refers to.
pub(super) fn identity(fd: i32) -> Option<(u64, u64)> {
    status(fd).map(|status| (status.st_dev, status.st_ino))
}

fn status(fd: i32) -> Option<libc::stat> {
    let mut status = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `status` is valid for writing one `stat`.
    let result = unsafe { libc::fstat(fd, status.as_mut_ptr()) };
    // SAFETY: fstat returned 0, so it filled the structure.
    (result == 0).then(|| unsafe { status.assume_init() })
}

fn socket_type(fd: i32) -> Option<i32> {
    let mut kind: i32 = 0;
    let mut length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: `kind` and `length` are valid for the four bytes that SO_TYPE writes.
    let result = unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &raw mut length)
    };
    (result == 0).then_some(kind)
}

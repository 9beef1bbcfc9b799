//! The capabilities of the calling thread (capabilities(7)).

use std::io;

/// The version of the two system calls with 64 capabilities in a set.
const VERSION_3: [u32; 2] = [0x2008_0522, 0];
/// The right to objects of other users.
const OWNER_OF_ALL: usize = 15;

/// Effective, permitted, inheritable: first the lower half of each, then the upper one.
type Sets = [u32; 6];

/// Gives up all of them.
pub fn give_up_all() -> io::Result<()> {
    set(&[0; 6])
}

/// Gives up the right to objects of other users, which the check has not either.
pub fn give_up_others_objects() -> io::Result<()> {
    let mut sets = [0; 6];
    // SAFETY: a header for the calling thread, and room for what the version has.
    if unsafe { libc::syscall(libc::SYS_capget, VERSION_3.as_ptr(), sets.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    sets[0] &= !(1 << OWNER_OF_ALL);
    set(&sets)
}

fn set(sets: &Sets) -> io::Result<()> {
    // SAFETY: a header for the calling thread, and as many words as the version has.
    match unsafe { libc::syscall(libc::SYS_capset, VERSION_3.as_ptr(), sets.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

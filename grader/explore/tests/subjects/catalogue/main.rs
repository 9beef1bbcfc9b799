//! Wrong implementations, as students write them: the catalogue's rows that can be written in Rust, and beside each family a
//! right one, named `…-right`. What finds a row, and with how few preemptions, is in `tests/catalogue.rs`.

#![allow(clippy::undocumented_unsafe_blocks, missing_docs, reason = "programs to be explored, wrong on purpose")]

#[path = "../scenario.rs"]
mod scenario;

mod barrier;
mod buffer;
mod condvar;
mod futex;
mod futex_mutex;
mod mailbox;
mod plain;
mod ring;
mod rwlock;
mod semaphore;
mod spinlock;

fn main() {
    let families = [
        spinlock::ROWS,
        futex_mutex::ROWS,
        semaphore::ROWS,
        condvar::ROWS,
        buffer::ROWS,
        rwlock::ROWS,
        ring::ROWS,
        mailbox::ROWS,
        barrier::ROWS,
    ];
    scenario::main(&families.concat());
}

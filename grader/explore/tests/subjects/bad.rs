//! Programs that an exploration cannot, or not for long, go along with.

#![allow(clippy::undocumented_unsafe_blocks, missing_docs, unconditional_recursion, reason = "bad on purpose")]

#[path = "scenario.rs"]
mod scenario;

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::sync::{Mutex, OnceLock};

use explore::{Model, spawn};

fn std_mutex(model: &Model) {
    let mutex: &'static Mutex<u32> = model.share(Mutex::new(0));
    let step: &'static AtomicU32 = model.share(AtomicU32::new(0));
    let body = move || {
        let mut value = mutex.lock().unwrap();
        step.fetch_add(1, Relaxed);
        *value += 1;
    };
    let handles = [spawn(body), spawn(body)];
    handles.into_iter().for_each(|handle| handle.join());
}

struct Pthreads(std::cell::UnsafeCell<libc::pthread_mutex_t>, std::cell::UnsafeCell<u32>);

unsafe impl Sync for Pthreads {}

fn pthread_mutex(model: &Model) {
    let new = std::cell::UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER);
    let guarded: &'static Pthreads = model.share(Pthreads(new, std::cell::UnsafeCell::new(0)));
    let body = move || unsafe {
        libc::pthread_mutex_lock(guarded.0.get());
        *guarded.1.get() += 1;
        libc::pthread_mutex_unlock(guarded.0.get());
    };
    let handles = [spawn(body), spawn(body)];
    handles.into_iter().for_each(|handle| handle.join());
}

fn once_lock(model: &Model) {
    let cell: &'static OnceLock<Box<u32>> = model.share(OnceLock::new());
    let body = move || assert_eq!(**cell.get_or_init(|| Box::new(7)), 7);
    let handles = [spawn(body), spawn(body)];
    handles.into_iter().for_each(|handle| handle.join());
}

#[inline(never)]
fn deep(number: u64) -> u64 {
    let mut room = [number; 64];
    black_box(&mut room);
    if room[3] == u64::MAX { 0 } else { deep(number + 1) + room[5] }
}

fn deep_recursion(_: &Model) {
    spawn(|| {
        black_box(deep(1));
    })
    .join();
}

fn deep_with_atomics(model: &Model) {
    fn deep(word: &AtomicU32) -> u32 {
        let mut room = [0_u32; 8];
        black_box(&mut room);
        let seen = word.fetch_add(1, Relaxed);
        if seen == u32::MAX { 0 } else { deep(word) + room[3] }
    }
    let word: &'static AtomicU32 = model.share(AtomicU32::new(0));
    spawn(move || {
        black_box(deep(word));
    })
    .join();
}

fn bad_pointer(_: &Model) {
    spawn(|| unsafe { black_box(0x1234_5678_0000_u64 as *mut u64).write_volatile(1) }).join();
}

fn null_pointer(model: &Model) {
    let next: &'static std::sync::atomic::AtomicPtr<AtomicU32> = model.share(Default::default());
    spawn(|| unsafe { (*next.load(Acquire)).store(1, Relaxed) }).join();
}

fn wild_plain_pointer(_: &Model) {
    spawn(|| unsafe { *black_box(0x1234_5678_0000_u64 as *mut u64) += 1 }).join();
}

fn illegal_instruction(_: &Model) {
    spawn(|| unsafe { std::arch::asm!("ud2") }).join();
}

fn aborts(_: &Model) {
    spawn(|| std::process::abort()).join();
}

struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("the second");
    }
}

fn double_panic(_: &Model) {
    spawn(|| {
        let _guard = PanicsInDrop;
        panic!("the first");
    })
    .join();
}

fn catches_its_panic(_: &Model) {
    spawn(|| {
        let caught = std::panic::catch_unwind(|| panic!("caught"));
        assert!(caught.is_err());
    })
    .join();
}

fn by_the_clock(model: &Model) {
    let words: &'static [AtomicU32; 2] = model.share(Default::default());
    let body = move || {
        let place = unsafe { std::arch::x86_64::_rdtsc() } as usize >> 4 & 1;
        for _ in 0..=place {
            words[place].fetch_add(1, Relaxed);
        }
    };
    let handles = [spawn(body), spawn(body), spawn(body)];
    handles.into_iter().for_each(|handle| handle.join());
}

fn counts_for_ever(model: &Model) {
    let word: &'static AtomicU32 = model.share(AtomicU32::new(0));
    let body = move || while word.fetch_add(1, Relaxed) != u32::MAX {};
    let handles = [spawn(body), spawn(body)];
    handles.into_iter().for_each(|handle| handle.join());
}

/// A right lock, whose executions are long.
fn looks_often(model: &Model) {
    let word: &'static AtomicU32 = model.share(AtomicU32::new(0));
    let guarded: &'static AtomicU32 = model.share(AtomicU32::new(0));
    let lock = || (0..200).any(|_| word.compare_exchange(0, 1, Acquire, Relaxed).is_ok());
    let body = move || {
        for _ in 0..3 {
            while !lock() {
                std::thread::yield_now();
            }
            assert_eq!(guarded.fetch_add(1, Relaxed), 0);
            guarded.fetch_sub(1, Relaxed);
            word.store(0, Release);
        }
    };
    let handles = [spawn(body), spawn(body), spawn(body)];
    handles.into_iter().for_each(|handle| handle.join());
}

fn waits_for_nobody(model: &Model) {
    let word: &'static AtomicU32 = model.share(AtomicU32::new(0));
    spawn(move || while word.load(Acquire) == 0 {}).join();
}

fn os_thread(_: &Model) {
    let _ = std::thread::spawn(|| {}).join();
}

fn system_call(_: &Model) {
    unsafe { libc::syscall(libc::SYS_pause) };
}

fn exits(_: &Model) {
    spawn(|| std::process::exit(0)).join();
}

fn exits_by_number(_: &Model) {
    spawn(|| unsafe { libc::syscall(libc::SYS_exit_group, 0) }).join();
}

fn forks(_: &Model) {
    spawn(|| unsafe { libc::fork() }).join();
}

fn sleeps_by_number(_: &Model) {
    let time = libc::timespec { tv_sec: 3_600, tv_nsec: 0 };
    let none = std::ptr::null_mut::<libc::timespec>();
    spawn(move || unsafe {
        assert_eq!(libc::sleep(3_600), 0);
        assert_eq!(libc::syscall(libc::SYS_nanosleep, &raw const time, none), 0);
        assert_eq!(libc::syscall(libc::SYS_clock_nanosleep, libc::CLOCK_MONOTONIC, 0, &raw const time, none), 0);
    })
    .join();
}

fn main() {
    scenario::main(&[
        ("std-mutex", std_mutex),
        ("pthread-mutex", pthread_mutex),
        ("once-lock", once_lock),
        ("deep-recursion", deep_recursion),
        ("deep-with-atomics", deep_with_atomics),
        ("bad-pointer", bad_pointer),
        ("null-pointer", null_pointer),
        ("wild-plain-pointer", wild_plain_pointer),
        ("illegal-instruction", illegal_instruction),
        ("aborts", aborts),
        ("double-panic", double_panic),
        ("catches-its-panic", catches_its_panic),
        ("by-the-clock", by_the_clock),
        ("counts-for-ever", counts_for_ever),
        ("looks-often", looks_often),
        ("waits-for-nobody", waits_for_nobody),
        ("os-thread", os_thread),
        ("system-call", system_call),
        ("exits", exits),
        ("exits-by-number", exits_by_number),
        ("forks", forks),
        ("sleeps-by-number", sleeps_by_number),
    ]);
}

//! Failures as students meet them, one of each kind: `stories NAME WIDTH` prints the report that `tests/stories.rs` keeps.

#![allow(clippy::undocumented_unsafe_blocks, missing_docs, reason = "programs to be explored, wrong on purpose")]

use std::cell::UnsafeCell;
use std::io::Write;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering::*};

use explore::{Explorer, Model};

type Story = (&'static str, fn(&Model));

const STORIES: &[Story] = &[
    ("wake-before-sleep", wake_before_sleep),
    ("nobody-calls", nobody_calls),
    ("half-unlocked", half_unlocked),
    ("check-then-act", check_then_act),
    ("relaxed-unlock", relaxed_unlock),
    ("old-value", old_value),
    ("two-locks", two_locks),
    ("forgotten-unlock", forgotten_unlock),
    ("use-after-free", use_after_free),
    ("drepper-two", drepper_two),
    ("lost-post", lost_post),
    ("no-lock", no_lock),
    ("empty-queue", empty_queue),
    ("null-pointer", null_pointer),
    ("endless-recursion", endless_recursion),
    ("endless-loop", endless_loop),
    ("real-sleep", real_sleep),
    ("exit-inside", exit_inside),
    ("addresses-decide", addresses_decide),
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let wanted = arguments.next().unwrap_or_default();
    let width = arguments.next().unwrap_or_default();
    for (_, body) in STORIES.iter().filter(|(name, _)| *name == wanted) {
        match (Explorer::default().run(body).finding, width.parse()) {
            (Some(finding), Ok(width)) => print!("{}", finding.render(width)),
            (Some(finding), Err(_)) => finding.steps().for_each(|step| println!("{step}")),
            (None, _) => println!("nothing found"),
        }
    }
    // Without std, which takes an `exit` of explored code for one that is under way.
    let _ = std::io::stdout().flush();
    unsafe { libc::_exit(0) }
}

fn futex_wait(word: &AtomicU32, expected: u32) {
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, expected, 0);
    }
}

fn futex_wake(word: &AtomicU32, count: i32) {
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, count);
    }
}

/// A condition variable that looks at its counter too late.
#[derive(Default)]
struct Condvar {
    sequence: AtomicU32,
}

impl Condvar {
    fn wait(&self, mutex: &Mutex) {
        mutex.unlock();
        let sequence = self.sequence.load(Relaxed);
        futex_wait(&self.sequence, sequence);
        mutex.lock();
    }

    fn notify_one(&self) {
        self.sequence.fetch_add(1, Relaxed);
        futex_wake(&self.sequence, 1);
    }
}

fn wake_before_sleep(model: &Model) {
    #[derive(Default)]
    struct Monitor {
        mutex: Mutex,
        ready: AtomicBool,
        changed: Condvar,
    }
    let monitor: &'static Monitor = model.share(Monitor::default());
    model.spawn("waiter", || {
        monitor.mutex.lock();
        while !monitor.ready.load(Relaxed) {
            monitor.changed.wait(&monitor.mutex);
        }
        monitor.mutex.unlock();
    });
    model.spawn("notifier", || {
        monitor.mutex.lock();
        monitor.ready.store(true, Relaxed);
        monitor.mutex.unlock();
        monitor.changed.notify_one();
    });
}

/// A right one.
#[derive(Default)]
struct Mutex {
    word: AtomicU32,
}

impl Mutex {
    fn lock(&self) {
        if self.word.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
            while self.word.swap(2, Acquire) != 0 {
                futex_wait(&self.word, 2);
            }
        }
    }

    fn unlock(&self) {
        if self.word.swap(0, Release) == 2 {
            futex_wake(&self.word, 1);
        }
    }
}

fn nobody_calls(model: &Model) {
    #[derive(Default)]
    struct HastyMutex {
        word: AtomicU32,
    }
    impl HastyMutex {
        fn lock(&self) {
            if self.word.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
                while self.word.swap(2, Acquire) != 0 {
                    futex_wait(&self.word, 2);
                }
            }
        }
        fn unlock(&self) {
            if self.word.load(Relaxed) == 2 {
                futex_wake(&self.word, 1);
            }
            self.word.store(0, Release); // too late: somebody may have come since
        }
    }
    let mutex: &'static HastyMutex = model.share(HastyMutex::default());
    for name in ["thread A", "thread B"] {
        model.spawn(name, || {
            mutex.lock();
            mutex.unlock();
        });
    }
}

fn half_unlocked(model: &Model) {
    #[derive(Default)]
    struct CountingMutex {
        word: AtomicU32,
    }
    impl CountingMutex {
        fn lock(&self) {
            if self.word.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
                while self.word.swap(2, Acquire) != 0 {
                    futex_wait(&self.word, 2);
                }
            }
        }
        fn unlock(&self) {
            if self.word.fetch_sub(1, Release) == 2 {
                futex_wake(&self.word, 1); // what it wakes finds 1
            }
        }
    }
    let mutex: &'static CountingMutex = model.share(CountingMutex::default());
    for name in ["thread A", "thread B"] {
        model.spawn(name, || {
            mutex.lock();
            mutex.unlock();
        });
    }
}

fn check_then_act(model: &Model) {
    #[derive(Default)]
    struct SpinLock {
        locked: AtomicBool,
    }
    impl SpinLock {
        fn lock(&self) {
            while self.locked.load(Acquire) {
                std::hint::spin_loop();
            }
            self.locked.store(true, Relaxed);
        }
        fn unlock(&self) {
            self.locked.store(false, Release);
        }
    }
    let lock: &'static SpinLock = model.share(SpinLock::default());
    let inside: &'static AtomicU32 = model.share(AtomicU32::new(0));
    for name in ["thread A", "thread B"] {
        model.spawn(name, || {
            lock.lock();
            assert_eq!(inside.fetch_add(1, Relaxed), 0, "two threads are inside");
            inside.fetch_sub(1, Relaxed);
            lock.unlock();
        });
    }
}

#[derive(Default)]
struct Plain(UnsafeCell<u64>);
unsafe impl Sync for Plain {}

impl Plain {
    fn get(&self) -> u64 {
        unsafe { *self.0.get() }
    }
    fn set(&self, value: u64) {
        unsafe { *self.0.get() = value }
    }
}

fn relaxed_unlock(model: &Model) {
    #[derive(Default)]
    struct SpinLock {
        locked: AtomicBool,
    }
    impl SpinLock {
        fn lock(&self) {
            while self.locked.swap(true, Acquire) {
                std::hint::spin_loop();
            }
        }
        fn unlock(&self) {
            self.locked.store(false, Relaxed);
        }
    }
    #[derive(Default)]
    struct Account {
        lock: SpinLock,
        balance: Plain,
    }
    let account: &'static Account = model.share(Account::default());
    for name in ["thread A", "thread B"] {
        model.spawn(name, || {
            account.lock.lock();
            let balance = account.balance.get();
            account.balance.set(balance + 1);
            account.lock.unlock();
        });
    }
}

fn old_value(model: &Model) {
    #[derive(Default)]
    struct Mailbox {
        message: AtomicU32,
        full: AtomicBool,
    }
    let mailbox: &'static Mailbox = model.share(Mailbox::default());
    model.spawn("sender", || {
        mailbox.message.store(42, Relaxed);
        mailbox.full.store(true, Relaxed);
    });
    model.spawn("receiver", || {
        if mailbox.full.load(Acquire) {
            let message = mailbox.message.load(Relaxed);
            assert_eq!(message, 42, "the message is there once the box is full");
        }
    });
}

fn two_locks(model: &Model) {
    let first: &'static Mutex = model.share(Mutex::default());
    let second: &'static Mutex = model.share(Mutex::default());
    model.spawn("thread A", || {
        first.lock();
        second.lock();
        second.unlock();
        first.unlock();
    });
    model.spawn("thread B", || {
        second.lock();
        first.lock();
        first.unlock();
        second.unlock();
    });
}

fn forgotten_unlock(model: &Model) {
    let locked: &'static AtomicBool = model.share(AtomicBool::new(false));
    model.spawn("thread A", || {
        while locked.swap(true, Acquire) {}
        if locked.load(Relaxed) {
            return;
        }
        locked.store(false, Release);
    });
    model.spawn("thread B", || {
        while locked.swap(true, Acquire) {
            while locked.load(Relaxed) {
                std::hint::spin_loop();
            }
        }
        locked.store(false, Release);
    });
}

fn use_after_free(model: &Model) {
    struct Node {
        value: Plain,
        next: *mut Node,
    }
    let node = Node { value: Plain::default(), next: ptr::null_mut() };
    let top: &'static AtomicPtr<Node> = model.share(AtomicPtr::new(Box::into_raw(Box::new(node))));
    let pop = || {
        loop {
            let node = top.load(Acquire);
            if node.is_null() {
                return;
            }
            let next = unsafe { (*node).next };
            if top.compare_exchange(node, next, AcqRel, Relaxed).is_ok() {
                let node = unsafe { Box::from_raw(node) };
                assert_eq!(node.value.get(), 0);
                return;
            }
        }
    };
    model.spawn("thread A", pop);
    model.spawn("thread B", pop);
}

/// Three threads: the second and third make the word 2 and 1 by turns.
fn drepper_two(model: &Model) {
    #[derive(Default)]
    struct Mutex2 {
        word: AtomicU32,
    }
    impl Mutex2 {
        fn lock(&self) {
            while self.word.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
                if self.word.compare_exchange(1, 2, Relaxed, Relaxed) != Err(0) {
                    futex_wait(&self.word, 2);
                }
            }
        }
        fn unlock(&self) {
            if self.word.swap(0, Release) == 2 {
                futex_wake(&self.word, 1);
            }
        }
    }
    let mutex: &'static Mutex2 = model.share(Mutex2::default());
    for name in ["thread A", "thread B", "thread C"] {
        model.spawn(name, || {
            mutex.lock();
            mutex.unlock();
        });
    }
}

fn lost_post(model: &Model) {
    #[derive(Default)]
    struct Semaphore {
        value: AtomicU32,
    }
    impl Semaphore {
        fn wait(&self) {
            loop {
                let value = self.value.load(Relaxed);
                if value == 0 {
                    futex_wait(&self.value, 0);
                } else if self.value.compare_exchange(value, value - 1, Acquire, Relaxed).is_ok() {
                    return;
                }
            }
        }
        fn post(&self) {
            let value = self.value.load(Relaxed);
            self.value.store(value + 1, Release);
            futex_wake(&self.value, 1);
        }
    }
    let items: &'static Semaphore = model.share(Semaphore::default());
    model.spawn("producer 1", || items.post());
    model.spawn("producer 2", || items.post());
    model.spawn("consumer", || {
        items.wait();
        items.wait();
    });
}

fn no_lock(model: &Model) {
    let counter: &'static Plain = model.share(Plain::default());
    for name in ["thread A", "thread B"] {
        model.spawn(name, || counter.set(counter.get() + 1));
    }
}

fn empty_queue(model: &Model) {
    let items: &'static AtomicU32 = model.share(AtomicU32::new(1));
    let take = || {
        if items.load(Acquire) > 0 {
            let left = items.fetch_sub(1, AcqRel);
            left.checked_sub(1).expect("the queue is not empty")
        } else {
            0
        }
    };
    model.spawn("taker 1", take);
    model.spawn("taker 2", take);
}

fn null_pointer(model: &Model) {
    let slot: &'static AtomicPtr<u64> = model.share(AtomicPtr::new(ptr::null_mut()));
    model.spawn("writer", || slot.store(Box::leak(Box::new(7)), Release));
    model.spawn("reader", || {
        let value = unsafe { *slot.load(Acquire) };
        assert_eq!(value, 7);
    });
}

fn endless_recursion(model: &Model) {
    fn lock_again(word: &AtomicU32, depth: u32) -> u32 {
        let here = [depth; 64];
        if word.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
            return lock_again(word, depth + 1) + here[depth as usize % 64];
        }
        here[0]
    }
    let word: &'static AtomicU32 = model.share(AtomicU32::new(1));
    model.spawn("thread A", || lock_again(word, 0));
}

fn endless_loop(model: &Model) {
    let turns: &'static AtomicU32 = model.share(AtomicU32::new(0));
    for name in ["thread A", "thread B"] {
        model.spawn(name, || {
            while turns.fetch_add(1, Relaxed) != u32::MAX {
                std::hint::spin_loop();
            }
        });
    }
}

fn real_sleep(model: &Model) {
    model.spawn("thread A", || {
        let mut descriptor = libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 };
        unsafe { libc::syscall(libc::SYS_poll, &raw mut descriptor, 1, -1) };
    });
}

fn exit_inside(model: &Model) {
    let lock: &'static AtomicU32 = model.share(AtomicU32::new(0));
    for name in ["thread A", "thread B"] {
        model.spawn(name, || {
            if lock.swap(1, Acquire) == 1 {
                std::process::exit(1);
            }
            lock.store(0, Release);
        });
    }
}

fn addresses_decide(model: &Model) {
    use std::sync::atomic::AtomicU64;
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let word: &'static AtomicU32 = model.share(AtomicU32::new(0));
    for name in ["thread A", "thread B"] {
        model.spawn(name, || {
            // Something outside the execution decides.
            if RUNS.fetch_add(1, Relaxed).is_multiple_of(3) {
                word.store(1, Release);
            }
            word.store(2, Release);
        });
    }
}

//! Right programs, of which nothing must be said.

#![allow(clippy::undocumented_unsafe_blocks, missing_docs, reason = "programs to be explored")]

#[path = "scenario.rs"]
mod scenario;

#[path = "catalogue/futex.rs"]
mod futex;
#[path = "catalogue/plain.rs"]
mod plain;

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::*, fence};

use explore::{JoinHandle, Model, spawn};
use futex::{ALL, Condvar, Mutex, Semaphore, wait, wake};
use plain::Plain;

fn join(handles: impl IntoIterator<Item = JoinHandle<()>>) {
    handles.into_iter().for_each(JoinHandle::join);
}

/// `threads` threads that enter `rounds` times each.
fn sections(threads: usize, rounds: usize, enter: impl Fn(usize, &Plain) + Copy + 'static) {
    let value: &'static Plain = Box::leak(Box::default());
    let body = move |me: usize| (0..rounds).for_each(|_| enter(me, value));
    join((0..threads).map(|me| spawn(move || body(me))).collect::<Vec<_>>());
    assert_eq!(value.get(), (threads * rounds) as u64, "an update was lost");
}

fn mutex(model: &Model, threads: usize, rounds: usize) {
    let mutex: &'static Mutex = model.share(Mutex::default());
    sections(threads, rounds, move |_, value| {
        mutex.lock();
        value.add(1);
        mutex.unlock();
    });
}

fn spinlock(model: &Model) {
    let word: &'static AtomicBool = model.share(AtomicBool::new(false));
    sections(2, 2, move |_, value| {
        while word.swap(true, Acquire) {
            while word.load(Relaxed) {
                std::hint::spin_loop();
            }
        }
        value.add(1);
        word.store(false, Release);
    });
}

fn ticket(model: &Model, threads: usize) {
    let words: &'static [AtomicU32; 2] = model.share(Default::default());
    sections(threads, 1, move |_, value| {
        let mine = words[0].fetch_add(1, Relaxed);
        while words[1].load(Acquire) != mine {
            std::thread::yield_now();
        }
        value.add(1);
        words[1].store(mine + 1, Release);
    });
}

#[derive(Default)]
struct Node {
    next: AtomicPtr<Node>,
    locked: AtomicBool,
}

fn mcs(model: &Model, threads: usize) {
    let tail: &'static AtomicPtr<Node> = model.share(AtomicPtr::default());
    sections(threads, 2, move |_, value| {
        let node = Box::into_raw(Box::<Node>::default());
        unsafe {
            let before = tail.swap(node, AcqRel);
            if !before.is_null() {
                (*node).locked.store(true, Relaxed);
                (*before).next.store(node, Release);
                while (*node).locked.load(Acquire) {}
            }
            value.add(1);
            if (*node).next.load(Acquire).is_null() {
                if tail.compare_exchange(node, ptr::null_mut(), Release, Relaxed).is_ok() {
                    drop(Box::from_raw(node));
                    return;
                }
                while (*node).next.load(Acquire).is_null() {}
            }
            (*(*node).next.load(Acquire)).locked.store(false, Release);
            drop(Box::from_raw(node));
        }
    });
}

fn peterson(model: &Model, sequential: bool) {
    let wants: &'static [AtomicBool; 2] = model.share(Default::default());
    let turn: &'static AtomicUsize = model.share(AtomicUsize::new(0));
    sections(2, 1, move |me, value| {
        let other = 1 - me;
        if sequential {
            wants[me].store(true, SeqCst);
            turn.store(other, SeqCst);
            while wants[other].load(SeqCst) && turn.load(SeqCst) == other {}
        } else {
            wants[me].store(true, Relaxed);
            turn.swap(other, AcqRel);
            fence(SeqCst);
            while wants[other].load(Acquire) && turn.load(Acquire) == other {}
        }
        value.add(1);
        wants[me].store(false, Release);
    });
}

#[derive(Default)]
struct Monitor {
    mutex: Mutex,
    changed: Condvar,
    items: Plain,
}

fn condvar(model: &Model, consumers: usize) {
    let monitor: &'static Monitor = model.share(Monitor::default());
    let take = move || {
        monitor.mutex.lock();
        while monitor.items.get() == 0 {
            monitor.changed.wait(&monitor.mutex);
        }
        monitor.items.set(monitor.items.get() - 1);
        monitor.mutex.unlock();
    };
    let handles: Vec<_> = (0..consumers).map(|_| spawn(take)).collect();
    monitor.mutex.lock();
    monitor.items.set(consumers as u64);
    if consumers > 1 { monitor.changed.broadcast() } else { monitor.changed.signal() }
    monitor.mutex.unlock();
    join(handles);
}

fn seqlock(model: &Model) {
    let sequence: &'static AtomicU32 = model.share(AtomicU32::new(0));
    let data: &'static [AtomicU64; 2] = model.share(Default::default());
    let writer = spawn(move || {
        for value in 1..=2 {
            let before = sequence.load(Relaxed);
            sequence.store(before + 1, Relaxed);
            fence(Release);
            data[0].store(value, Relaxed);
            data[1].store(value, Relaxed);
            sequence.store(before + 2, Release);
        }
    });
    loop {
        let before = sequence.load(Acquire);
        let (first, second) = (data[0].load(Relaxed), data[1].load(Relaxed));
        fence(Acquire);
        if before.is_multiple_of(2) && sequence.load(Relaxed) == before {
            assert_eq!(first, second, "half of a message");
            break;
        }
    }
    writer.join();
}

fn ring(model: &Model) {
    let slots: &'static [Plain; 2] = model.share(Default::default());
    let ends: &'static [AtomicUsize; 2] = model.share(Default::default());
    let producer = spawn(move || {
        for item in 1..=3 {
            let tail = ends[1].load(Relaxed);
            while tail - ends[0].load(Acquire) == 2 {}
            slots[tail % 2].set(item);
            ends[1].store(tail + 1, Release);
        }
    });
    for item in 1..=3 {
        let head = ends[0].load(Relaxed);
        while ends[1].load(Acquire) == head {}
        assert_eq!(slots[head % 2].get(), item, "in order");
        ends[0].store(head + 1, Release);
    }
    producer.join();
}

struct Link {
    value: u64,
    next: AtomicPtr<Link>,
}

fn link(value: u64) -> *mut Link {
    Box::into_raw(Box::new(Link { value, next: AtomicPtr::default() }))
}

/// Nothing is given back, so there is no ABA.
fn treiber(model: &Model, threads: u64) {
    let top: &'static AtomicPtr<Link> = model.share(AtomicPtr::default());
    let push = move |value: u64| {
        let new = link(value);
        let mut seen = top.load(Relaxed);
        loop {
            unsafe { (*new).next.store(seen, Relaxed) };
            match top.compare_exchange_weak(seen, new, Release, Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    };
    let pop = move || {
        let mut seen = top.load(Acquire);
        while !seen.is_null() {
            let next = unsafe { (*seen).next.load(Relaxed) };
            match top.compare_exchange_weak(seen, next, Acquire, Acquire) {
                Ok(_) => return unsafe { (*seen).value },
                Err(now) => seen = now,
            }
        }
        0
    };
    let handles: Vec<_> = (1..=threads)
        .map(|value| {
            spawn(move || {
                push(value);
                pop()
            })
        })
        .collect();
    let sum: u64 = handles.into_iter().map(|handle| handle.join()).sum();
    assert_eq!(sum, (1..=threads).sum::<u64>(), "each was taken once");
}

fn michael_scott(model: &Model) {
    let dummy = link(0);
    let ends: &'static [AtomicPtr<Link>; 2] = model.share([AtomicPtr::new(dummy), AtomicPtr::new(dummy)]);
    let put = move |value: u64| unsafe {
        let new = link(value);
        loop {
            let tail = ends[1].load(Acquire);
            let next = (*tail).next.load(Acquire);
            if !next.is_null() {
                let _ = ends[1].compare_exchange(tail, next, Release, Relaxed);
            } else if (*tail).next.compare_exchange(next, new, Release, Relaxed).is_ok() {
                let _ = ends[1].compare_exchange(tail, new, Release, Relaxed);
                return;
            }
        }
    };
    let take = move || unsafe {
        loop {
            let head = ends[0].load(Acquire);
            let next = (*head).next.load(Acquire);
            if next.is_null() {
                return None;
            }
            let tail = ends[1].load(Acquire);
            if head == tail {
                let _ = ends[1].compare_exchange(tail, next, Release, Relaxed);
            }
            if ends[0].compare_exchange(head, next, AcqRel, Acquire).is_ok() {
                return Some((*next).value);
            }
        }
    };
    let putters = [spawn(move || put(1)), spawn(move || put(2))];
    let first = take();
    join(putters);
    let mut all: Vec<u64> = first.into_iter().chain(std::iter::from_fn(take)).collect();
    all.sort_unstable();
    assert_eq!(all, [1, 2], "each was taken once");
}

fn semaphore(model: &Model, threads: usize) {
    let semaphore: &'static Semaphore = model.share(Semaphore::new(1));
    sections(threads, 1, move |_, value| {
        semaphore.wait();
        value.add(1);
        semaphore.post();
    });
}

const WRITER: u32 = 1 << 31;

fn rwlock(model: &Model) {
    let state: &'static AtomicU32 = model.share(AtomicU32::new(0));
    let cells: &'static [Plain; 2] = model.share(Default::default());
    let reader = move || {
        loop {
            let seen = state.load(Relaxed);
            if seen & WRITER != 0 {
                wait(state, seen);
            } else if state.compare_exchange(seen, seen + 1, Acquire, Relaxed).is_ok() {
                break;
            }
        }
        assert_eq!(cells[0].get(), cells[1].get(), "read while a writer wrote");
        if state.fetch_sub(1, Release) == 1 {
            wake(state, ALL);
        }
    };
    let writer = move || {
        loop {
            match state.compare_exchange(0, WRITER, Acquire, Relaxed) {
                Ok(_) => break,
                Err(seen) => wait(state, seen),
            };
        }
        cells.iter().for_each(|cell| cell.set(1));
        state.store(0, Release);
        wake(state, ALL);
    };
    join([spawn(reader), spawn(writer), spawn(reader)]);
}

fn barrier(model: &Model, count: u32) {
    let words: &'static [AtomicU32; 2] = model.share(Default::default());
    let cells: &'static [Plain; 3] = model.share(Default::default());
    let body = move |me: usize| {
        cells[me].set(1);
        let generation = words[1].load(Acquire);
        if words[0].fetch_add(1, AcqRel) + 1 == count {
            words[0].store(0, Relaxed);
            words[1].fetch_add(1, Release);
            wake(&words[1], ALL);
        }
        while words[1].load(Acquire) == generation {
            wait(&words[1], generation);
        }
        assert_eq!(cells[(me + 1) % count as usize].get(), 1, "passed before all had arrived");
    };
    join((0..count as usize).map(|me| spawn(move || body(me))).collect::<Vec<_>>());
}

fn once(model: &Model) {
    let state: &'static AtomicU32 = model.share(AtomicU32::new(0));
    let value: &'static Plain = model.share(Plain::default());
    let body = move || {
        match state.compare_exchange(0, 1, Acquire, Acquire) {
            Ok(_) => {
                value.add(7);
                state.store(2, Release);
                wake(state, ALL);
            }
            Err(_) => {
                while state.load(Acquire) == 1 {
                    wait(state, 1);
                }
            }
        }
        assert_eq!(value.get(), 7, "made once, and seen");
    };
    join([spawn(body), spawn(body), spawn(body)]);
}

/// Producers push to a list, the consumer takes all of it at once and sleeps when there is none.
fn mpsc(model: &Model) {
    let top: &'static AtomicPtr<Link> = model.share(AtomicPtr::default());
    let pushed: &'static AtomicU32 = model.share(AtomicU32::new(0));
    let push = move |value: u64| {
        let new = link(value);
        let mut seen = top.load(Relaxed);
        loop {
            unsafe { (*new).next.store(seen, Relaxed) };
            match top.compare_exchange(seen, new, Release, Relaxed) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        pushed.fetch_add(1, Release);
        wake(pushed, 1);
    };
    let producers = [spawn(move || push(1)), spawn(move || push(2))];
    let mut sum = 0;
    while sum < 3 {
        let count = pushed.load(Acquire);
        let mut taken = top.swap(ptr::null_mut(), Acquire);
        if taken.is_null() {
            wait(pushed, count);
        }
        while !taken.is_null() {
            unsafe {
                sum += (*taken).value;
                let next = (*taken).next.load(Relaxed);
                drop(Box::from_raw(taken));
                taken = next;
            }
        }
    }
    join(producers);
}

fn mailbox(model: &Model) {
    let full: &'static AtomicU32 = model.share(AtomicU32::new(0));
    let message: &'static Plain = model.share(Plain::default());
    let sender = spawn(move || {
        for text in 1..=2 {
            while full.load(Acquire) == 1 {
                wait(full, 1);
            }
            message.set(text);
            full.store(1, Release);
            wake(full, 1);
        }
    });
    for text in 1..=2 {
        while full.load(Acquire) == 0 {
            wait(full, 0);
        }
        assert_eq!(message.get(), text, "in order");
        full.store(0, Release);
        wake(full, 1);
    }
    sender.join();
}

/// The count of references goes to zero once, and who sees it has seen all uses.
fn reference_count(model: &Model) {
    let count: &'static AtomicUsize = model.share(AtomicUsize::new(3));
    let value = Box::into_raw(Box::new(5_u64)) as usize;
    let body = move || {
        assert_eq!(unsafe { *(value as *const u64) }, 5);
        if count.fetch_sub(1, Release) == 1 {
            fence(Acquire);
            drop(unsafe { Box::from_raw(value as *mut u64) });
        }
    };
    join([spawn(body), spawn(body), spawn(body)]);
}

fn main() {
    scenario::main(&[
        ("mutex-2", |model| mutex(model, 2, 2)),
        ("mutex-3", |model| mutex(model, 3, 1)),
        ("spinlock", spinlock),
        ("ticket-2", |model| ticket(model, 2)),
        ("ticket-3", |model| ticket(model, 3)),
        ("mcs-2", |model| mcs(model, 2)),
        ("mcs-3", |model| mcs(model, 3)),
        ("peterson-fence", |model| peterson(model, false)),
        ("peterson-sequential", |model| peterson(model, true)),
        ("condvar-2", |model| condvar(model, 1)),
        ("condvar-3", |model| condvar(model, 2)),
        ("seqlock", seqlock),
        ("ring", ring),
        ("treiber-2", |model| treiber(model, 2)),
        ("treiber-3", |model| treiber(model, 3)),
        ("michael-scott", michael_scott),
        ("semaphore-2", |model| semaphore(model, 2)),
        ("semaphore-3", |model| semaphore(model, 3)),
        ("rwlock", rwlock),
        ("barrier", |model| barrier(model, 3)),
        ("once", once),
        ("mpsc", mpsc),
        ("mailbox", mailbox),
        ("reference-count", reference_count),
    ]);
}

//! Locks of inline assembly: right ones, and a wrong twin of each.

use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering::*};

use explore::Model;

use super::instructions::*;
use super::scenario::Scenario;

pub const SCENARIOS: &[Scenario] = &[
    ("swap", |model| exclusion::<Swap>(model, 2)),
    ("swap-3", |model| exclusion::<Swap>(model, 3)),
    ("swap-twice", |model| twice::<Swap>(model)),
    ("ttas", |model| exclusion::<TestAndTest>(model, 2)),
    ("ttas-twice", |model| twice::<TestAndTest>(model)),
    ("cmpxchg", |model| exclusion::<Compare>(model, 2)),
    ("cmpxchg-twice", |model| twice::<Compare>(model)),
    ("ticket", |model| exclusion::<Ticket>(model, 2)),
    ("ticket-twice", |model| twice::<Ticket>(model)),
    ("ticket-3", |model| exclusion::<Ticket>(model, 3)),
    ("peterson", |model| exclusion::<Peterson<true>>(model, 2)),
    ("peterson-twice", |model| twice::<Peterson<true>>(model)),
    ("volatile-peterson", |model| exclusion::<VolatilePeterson<true>>(model, 2)),
    ("swap-atomic-unlock", |model| exclusion::<AtomicUnlock>(model, 2)),
    ("swap-volatile-unlock", |model| twice::<VolatileUnlock>(model)),
    ("message", message),
    ("bits", |model| exclusion::<Bits>(model, 2)),
    ("private-words", private),
    ("counter", |model| counter(model, increment)),
    ("futex-syscall", futex),
    // Wrong.
    ("no-lock-prefix", |model| exclusion::<NoPrefix>(model, 2)),
    ("peterson-no-fence", |model| exclusion::<Peterson<false>>(model, 2)),
    ("volatile-peterson-no-fence", |model| exclusion::<VolatilePeterson<false>>(model, 2)),
    ("check-then-act", |model| exclusion::<CheckThenAct>(model, 2)),
    ("ticket-in-two-steps", |model| exclusion::<TicketInTwo>(model, 2)),
    ("ticket-no-lock-prefix", |model| exclusion::<TicketNoPrefix>(model, 2)),
    ("stale-expected", |model| exclusion::<StaleExpected>(model, 2)),
    ("unlock-by-stale-value", |model| twice::<StaleUnlock>(model)),
    ("swap-ignored", |model| exclusion::<Ignored>(model, 2)),
    ("unlock-forgotten", |model| exclusion::<Forgotten>(model, 2)),
    ("counter-no-lock-prefix", |model| counter(model, |word| {
        unlocked_fetch_and_add(word, 1);
    })),
    ("strange-syscall", |_| {
        let mut result = 0i64;
        unsafe { std::arch::asm!("syscall", inout("rax") 34i64 => result, out("rcx") _, out("r11") _) };
        assert_eq!(result, 0);
    }),
];

pub trait Lock: Default + 'static {
    fn lock(&self, me: usize);
    fn unlock(&self, me: usize);
}

#[derive(Default)]
struct Guarded<L> {
    lock: L,
    inside: AtomicU32,
    value: UnsafeCell<u64>,
}
unsafe impl<L> Sync for Guarded<L> {}

fn section<L: Lock>(shared: &Guarded<L>, me: usize) {
    shared.lock.lock(me);
    assert_eq!(shared.inside.fetch_add(1, Relaxed), 0, "two threads are inside");
    unsafe { *shared.value.get() += 1 };
    shared.inside.fetch_sub(1, Relaxed);
    shared.lock.unlock(me);
}

fn turns<L: Lock>(model: &Model, threads: usize, times: usize) {
    let shared: &'static Guarded<L> = model.share(Guarded::default());
    let handles: Vec<_> = (0..threads)
        .map(|me| model.spawn(&format!("thread {me}"), move || (0..times).for_each(|_| section(shared, me))))
        .collect();
    handles.into_iter().for_each(explore::JoinHandle::join);
    assert_eq!(unsafe { *shared.value.get() }, (threads * times) as u64);
}

fn exclusion<L: Lock>(model: &Model, threads: usize) {
    turns::<L>(model, threads, 1);
}

fn twice<L: Lock>(model: &Model) {
    turns::<L>(model, 2, 2);
}

#[derive(Default)]
struct Word(UnsafeCell<u32>);
unsafe impl Sync for Word {}

impl Word {
    fn get(&self) -> *mut u32 {
        self.0.get()
    }
}

#[derive(Default)]
struct Swap(Word);
impl Lock for Swap {
    fn lock(&self, _: usize) {
        while swap(self.0.get(), 1) != 0 {
            pause();
        }
    }
    fn unlock(&self, _: usize) {
        store(self.0.get(), 0);
    }
}

#[derive(Default)]
struct TestAndTest(Word);
impl Lock for TestAndTest {
    fn lock(&self, _: usize) {
        while swap(self.0.get(), 1) != 0 {
            while load(self.0.get()) != 0 {
                std::hint::spin_loop();
            }
        }
    }
    fn unlock(&self, _: usize) {
        store(self.0.get(), 0);
    }
}

#[derive(Default)]
struct Compare(Word);
impl Lock for Compare {
    fn lock(&self, _: usize) {
        while compare_and_swap(self.0.get(), 0, 1) != 0 {}
    }
    fn unlock(&self, _: usize) {
        store(self.0.get(), 0);
    }
}

#[derive(Default)]
struct Ticket {
    next: Word,
    serving: Word,
}
impl Lock for Ticket {
    fn lock(&self, _: usize) {
        let mine = fetch_and_add(self.next.get(), 1);
        while load(self.serving.get()) != mine {
            pause();
        }
    }
    fn unlock(&self, _: usize) {
        store(self.serving.get(), load(self.serving.get()).wrapping_add(1));
    }
}

#[derive(Default)]
struct Peterson<const FENCE: bool> {
    wants: [Word; 2],
    turn: Word,
}
impl<const FENCE: bool> Lock for Peterson<FENCE> {
    fn lock(&self, me: usize) {
        let other = 1 - me;
        store(self.wants[me].get(), 1);
        store(self.turn.get(), other as u32);
        if FENCE {
            fence();
        }
        while load(self.wants[other].get()) == 1 && load(self.turn.get()) == other as u32 {
            pause();
        }
    }
    fn unlock(&self, me: usize) {
        store(self.wants[me].get(), 0);
    }
}

#[derive(Default)]
struct VolatilePeterson<const FENCE: bool> {
    wants: [Word; 2],
    turn: Word,
}
impl<const FENCE: bool> Lock for VolatilePeterson<FENCE> {
    fn lock(&self, me: usize) {
        let other = 1 - me;
        unsafe {
            ptr::write_volatile(self.wants[me].get(), 1);
            ptr::write_volatile(self.turn.get(), other as u32);
            if FENCE {
                stack_fence();
            }
            while ptr::read_volatile(self.wants[other].get()) == 1
                && ptr::read_volatile(self.turn.get()) == other as u32
            {
                std::hint::spin_loop();
            }
        }
    }
    fn unlock(&self, me: usize) {
        unsafe { ptr::write_volatile(self.wants[me].get(), 0) };
    }
}

/// Assembly and C11 atomics on one word.
#[derive(Default)]
struct AtomicUnlock(AtomicU32);
impl Lock for AtomicUnlock {
    fn lock(&self, _: usize) {
        while swap(self.0.as_ptr(), 1) != 0 {
            while self.0.load(Relaxed) != 0 {}
        }
    }
    fn unlock(&self, _: usize) {
        self.0.store(0, Release);
    }
}

/// Assembly and volatile accesses on one word.
#[derive(Default)]
struct VolatileUnlock(Word);
impl Lock for VolatileUnlock {
    fn lock(&self, _: usize) {
        while swap(self.0.get(), 1) != 0 {
            while unsafe { ptr::read_volatile(self.0.get()) } != 0 {
                std::hint::spin_loop();
            }
        }
    }
    fn unlock(&self, _: usize) {
        unsafe { ptr::write_volatile(self.0.get(), 0) };
    }
}

/// The processor's bit instructions, with the bit's number in a register: stepped through, not copied.
#[derive(Default)]
struct Bits(Word);
impl Lock for Bits {
    fn lock(&self, _: usize) {
        loop {
            let taken: u8;
            unsafe {
                std::arch::asm!("lock bts [{word}], {bit:e}", "setc {taken}", word = in(reg) self.0.get(), bit = in(reg) 3,
                    taken = out(reg_byte) taken, options(nostack));
            }
            if taken == 0 {
                return;
            }
            pause();
        }
    }
    fn unlock(&self, _: usize) {
        unsafe { std::arch::asm!("lock btr dword ptr [{word}], 3", word = in(reg) self.0.get(), options(nostack)) };
    }
}

/// A message passed by plain stores and loads: the processor keeps them in order.
fn message(model: &Model) {
    let words: &'static [Word; 2] = model.share(Default::default());
    let data: &'static Guarded<()> = model.share(Guarded::default());
    let sender = model.spawn("sender", move || {
        unsafe { *data.value.get() = 42 };
        store(words[0].get(), 7);
        store(words[1].get(), 1);
    });
    let receiver = model.spawn("receiver", move || {
        if load(words[1].get()) == 1 {
            assert_eq!(load(words[0].get()), 7);
            assert_eq!(unsafe { *data.value.get() }, 42);
        }
    });
    sender.join();
    receiver.join();
}

/// Words that only one thread uses, with operands of all sizes and shapes.
fn private(model: &Model) {
    let handles: Vec<_> = (0..2)
        .map(|me| {
            model.spawn("", move || {
                let mut words = [1u64, 2, 3, 4];
                let (mut low, mut high) = (0u64, 0u64);
                unsafe {
                    std::arch::asm!(
                        "add [{words} + {index}*8], {one}",
                        "mov {high}, [{words} + 8]",
                        "lock xadd [{words}], {low}",
                        "inc byte ptr [{words} + 16]",
                        "cmp qword ptr [{words} + 24], 4",
                        "sete {low:l}",
                        words = in(reg) words.as_mut_ptr(), index = in(reg) 1, one = in(reg) 1u64,
                        low = inout(reg) low, high = inout(reg) high,
                    );
                }
                assert_eq!((words, low & 1, high), ([1, 3, 4, 4], 1, 3), "{me}");
                let mut copy = [0u64; 4];
                unsafe {
                    std::arch::asm!("rep movsq", inout("rcx") 4 => _, inout("rsi") words.as_ptr() => _,
                        inout("rdi") copy.as_mut_ptr() => _);
                }
                assert_eq!(copy, words);
                let wide: u64;
                unsafe {
                    std::arch::asm!("movdqu {x}, [{words}]", "movq {low}, {x}", x = out(xmm_reg) _,
                        words = in(reg) words.as_ptr(), low = out(reg) wide);
                }
                assert_eq!(wide, 1);
            })
        })
        .collect();
    handles.into_iter().for_each(explore::JoinHandle::join);
}

fn counter(model: &Model, add: fn(*mut u32)) {
    let word: &'static Word = model.share(Word::default());
    let handles: Vec<_> = (0..2).map(|_| model.spawn("", move || add(word.get()))).collect();
    handles.into_iter().for_each(explore::JoinHandle::join);
    assert_eq!(load(word.get()), 2);
}

/// Waits on a futex by the instruction itself.
fn futex(model: &Model) {
    let word: &'static AtomicU32 = model.share(AtomicU32::new(0));
    let call = |operation: i64, value: i64| {
        let mut result = libc::SYS_futex;
        unsafe {
            std::arch::asm!("syscall", inout("rax") result, in("rdi") word.as_ptr(), in("rsi") operation,
                in("rdx") value, in("r10") 0, out("rcx") _, out("r11") _, options(nostack));
        }
        result
    };
    let sleeper = model.spawn("sleeper", move || {
        while word.load(Acquire) == 0 {
            let result = call(i64::from(libc::FUTEX_WAIT), 0);
            assert!(matches!(-result as i32, 0 | libc::EAGAIN | libc::EINTR), "{result}");
        }
    });
    word.store(1, Release);
    call(i64::from(libc::FUTEX_WAKE), 1);
    sleeper.join();
}

// ---- wrong ----

#[derive(Default)]
struct NoPrefix(Word);
impl Lock for NoPrefix {
    fn lock(&self, _: usize) {
        while unlocked_compare_and_swap(self.0.get(), 0, 1) != 0 {
            pause();
        }
    }
    fn unlock(&self, _: usize) {
        store(self.0.get(), 0);
    }
}

#[derive(Default)]
struct CheckThenAct(Word);
impl Lock for CheckThenAct {
    fn lock(&self, _: usize) {
        while load(self.0.get()) != 0 {
            pause();
        }
        store(self.0.get(), 1);
    }
    fn unlock(&self, _: usize) {
        store(self.0.get(), 0);
    }
}

#[derive(Default)]
struct TicketInTwo(Ticket);
impl Lock for TicketInTwo {
    fn lock(&self, _: usize) {
        let mine = load(self.0.next.get());
        store(self.0.next.get(), mine.wrapping_add(1));
        while load(self.0.serving.get()) != mine {
            pause();
        }
    }
    fn unlock(&self, me: usize) {
        self.0.unlock(me);
    }
}

#[derive(Default)]
struct TicketNoPrefix(Ticket);
impl Lock for TicketNoPrefix {
    fn lock(&self, _: usize) {
        let mine = unlocked_fetch_and_add(self.0.next.get(), 1);
        while load(self.0.serving.get()) != mine {
            pause();
        }
    }
    fn unlock(&self, me: usize) {
        self.0.unlock(me);
    }
}

/// Expects what the last attempt found.
#[derive(Default)]
struct StaleExpected(Word);
impl Lock for StaleExpected {
    fn lock(&self, _: usize) {
        let mut expected = 0;
        loop {
            let found = compare_and_swap(self.0.get(), expected, 1);
            if found == expected {
                return;
            }
            expected = found;
        }
    }
    fn unlock(&self, _: usize) {
        store(self.0.get(), 0);
    }
}

/// Calls the number after the one that it read before the section: somebody else's unlock is overwritten.
#[derive(Default)]
struct StaleUnlock {
    ticket: Ticket,
    seen: [Word; 2],
}
impl Lock for StaleUnlock {
    fn lock(&self, me: usize) {
        store(self.seen[me].get(), load(self.ticket.serving.get()));
        self.ticket.lock(me);
    }
    fn unlock(&self, me: usize) {
        store(self.ticket.serving.get(), load(self.seen[me].get()).wrapping_add(1));
    }
}

#[derive(Default)]
struct Ignored(Word);
impl Lock for Ignored {
    fn lock(&self, _: usize) {
        swap(self.0.get(), 1);
    }
    fn unlock(&self, _: usize) {
        store(self.0.get(), 0);
    }
}

#[derive(Default)]
struct Forgotten(Word);
impl Lock for Forgotten {
    fn lock(&self, _: usize) {
        while swap(self.0.get(), 1) != 0 {
            pause();
        }
    }
    fn unlock(&self, _: usize) {}
}

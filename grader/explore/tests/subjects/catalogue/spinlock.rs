use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::*, fence};

use explore::{Model, spawn};

use crate::plain::Plain;
use crate::scenario::Scenario;

pub const ROWS: &[Scenario] = &[
    ("sl-right", |model| sections(model, "")),
    ("sl-load-store", |model| sections(model, "load-store")),
    ("sl-stale-expected", |model| sections(model, "stale-expected")),
    ("sl-inverted-test", |model| sections(model, "inverted-test")),
    ("sl-double-unlock", |model| sections(model, "double-unlock")),
    ("sl-unlock-early", |model| sections(model, "unlock-early")),
    ("sl-hoisted-read", |model| sections(model, "hoisted-read")),
    ("sl-no-unlock-on-path", |model| sections(model, "no-unlock-on-path")),
    ("sl-relaxed-lock", |model| sections(model, "relaxed-lock")),
    ("sl-relaxed-unlock", |model| sections(model, "relaxed-unlock")),
    ("sl-ticket-right", |model| tickets(model, "")),
    ("sl-ticket-nonatomic", |model| tickets(model, "nonatomic")),
    ("sl-ticket-serve-next", |model| tickets(model, "serve-next")),
    ("sl-ticket-le", |model| tickets(model, "le")),
    ("sl-peterson-right", |model| peterson(model, "")),
    ("sl-peterson-turn-first", |model| peterson(model, "turn-first")),
    ("sl-peterson-one-fence", |model| peterson(model, "one-fence")),
    ("sl-peterson-no-fence", |model| peterson(model, "no-fence")),
];

#[derive(Default)]
struct Lock {
    word: AtomicU32,
    value: Plain,
}

impl Lock {
    fn lock(&self, bug: &str) {
        match bug {
            "load-store" => {
                while self.word.load(Acquire) != 0 {
                    spin_loop();
                }
                self.word.store(1, Relaxed);
            }
            "stale-expected" => {
                let mut expected = 0;
                while let Err(found) = self.word.compare_exchange(expected, 1, Acquire, Acquire) {
                    expected = found;
                }
            }
            "inverted-test" => while self.word.swap(1, Acquire) == 1 && self.word.load(Relaxed) == 0 {},
            "relaxed-lock" => while self.word.swap(1, Relaxed) != 0 {},
            _ => {
                while self.word.swap(1, Acquire) != 0 {
                    while self.word.load(Relaxed) != 0 {
                        spin_loop();
                    }
                }
            }
        }
    }
    fn unlock(&self, bug: &str) {
        self.word.store(0, if bug == "relaxed-unlock" { Relaxed } else { Release });
        if bug == "double-unlock" {
            self.word.store(0, Release);
        }
    }
}

fn sections(model: &Model, bug: &'static str) {
    let shared: &'static Lock = model.share(Lock::default());
    let body = move |first: bool| {
        for _ in 0..2 {
            let early = shared_read(shared, bug);
            shared.lock(bug);
            if bug == "no-unlock-on-path" && first {
                return;
            }
            let value = early.unwrap_or_else(|| shared.value.get());
            if bug == "unlock-early" {
                shared.unlock(bug);
            }
            shared.value.set(value + 1);
            if bug != "unlock-early" {
                shared.unlock(bug);
            }
        }
    };
    let handles = [spawn(move || body(true)), spawn(move || body(false))];
    handles.into_iter().for_each(|handle| handle.join());
    assert_eq!(shared.value.get(), 4, "an update was lost");
}

fn shared_read(shared: &Lock, bug: &str) -> Option<u64> {
    (bug == "hoisted-read").then(|| shared.value.get())
}

#[derive(Default)]
struct Ticket {
    next: AtomicU32,
    serving: AtomicU32,
    value: Plain,
}

fn tickets(model: &Model, bug: &'static str) {
    let shared: &'static Ticket = model.share(Ticket::default());
    let body = move || {
        for _ in 0..2 {
            let mine = if bug == "nonatomic" {
                let mine = shared.next.load(Relaxed);
                shared.next.store(mine + 1, Relaxed);
                mine
            } else {
                shared.next.fetch_add(1, Relaxed)
            };
            match bug {
                "le" => while shared.serving.load(Acquire) > mine {},
                _ => while shared.serving.load(Acquire) != mine {},
            }
            shared.value.add(1);
            let following = if bug == "serve-next" { shared.next.load(Relaxed) } else { mine + 1 };
            shared.serving.store(following, Release);
        }
    };
    let handles = [spawn(body), spawn(body)];
    handles.into_iter().for_each(|handle| handle.join());
    assert_eq!(shared.value.get(), 4, "an update was lost");
}

#[derive(Default)]
struct Peterson {
    wants: [AtomicBool; 2],
    turn: AtomicU32,
    value: Plain,
}

fn peterson(model: &Model, bug: &'static str) {
    let shared: &'static Peterson = model.share(Peterson::default());
    let body = move |me: usize| {
        let other = 1 - me;
        for _ in 0..2 {
            if bug == "turn-first" {
                shared.turn.store(other as u32, SeqCst);
                shared.wants[me].store(true, SeqCst);
            } else {
                shared.wants[me].store(true, Relaxed);
                if bug.is_empty() {
                    // With the later one alone, C11 lets the stores to `turn` be ordered against the fences.
                    fence(SeqCst);
                }
                shared.turn.store(other as u32, Release);
            }
            if bug != "no-fence" {
                fence(SeqCst);
            }
            while shared.wants[other].load(Acquire) && shared.turn.load(Acquire) == other as u32 {}
            shared.value.add(1);
            shared.wants[me].store(false, Release);
        }
    };
    let handles = [spawn(move || body(0)), spawn(move || body(1))];
    handles.into_iter().for_each(|handle| handle.join());
    assert_eq!(shared.value.get(), 4, "an update was lost");
}

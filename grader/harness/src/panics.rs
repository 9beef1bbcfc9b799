//! What every process of a check leaves behind when it panics, in memory that outlives it.
//!
//! The hook runs in whichever process and thread panics, also in children that the submission
//! forked itself, and only writes to a mapping made before the first fork.

use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::event::Place;
use crate::shared::SharedSlice;

const ENTRIES: usize = 64;
const TODO: &str = "not yet implemented";

static LOG: OnceLock<SharedSlice<Entry>> = OnceLock::new();

/// One panic. `state` is 0 while free, 1 while being written, 2 when complete.
struct Entry {
    state: AtomicU32,
    pid: AtomicU32,
    todo: AtomicU32,
    line: AtomicU32,
    column: AtomicU32,
    file: Text<240>,
    message: Text<1024>,
}

/// A panic as read back by the supervisor.
#[derive(Debug, Clone)]
pub(crate) struct Panic {
    pub(crate) pid: i32,
    pub(crate) todo: bool,
    pub(crate) message: String,
    pub(crate) place: Option<Place>,
}

/// Installs the hook. Call once, before the first worker.
pub(crate) fn install() {
    LOG.get_or_init(|| {
        SharedSlice::new(ENTRIES, |_| Entry {
            state: AtomicU32::new(0),
            pid: AtomicU32::new(0),
            todo: AtomicU32::new(0),
            line: AtomicU32::new(0),
            column: AtomicU32::new(0),
            file: Text::new(),
            message: Text::new(),
        })
    });
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let message = message_of(info);
        let todo = message.starts_with(TODO);
        record(info, &message, todo);
        if !todo {
            default(info);
        }
    }));
}

fn message_of(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_string()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic whose payload is not text".to_string()
    }
}

fn record(info: &PanicHookInfo<'_>, message: &str, todo: bool) {
    let Some(log) = LOG.get() else { return };
    let free = log
        .iter()
        .find(|entry| entry.state.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok());
    let Some(entry) = free else { return };
    entry.pid.store(std::process::id(), Ordering::Relaxed);
    entry.todo.store(todo.into(), Ordering::Relaxed);
    if let Some(place) = info.location() {
        entry.line.store(place.line(), Ordering::Relaxed);
        entry.column.store(place.column(), Ordering::Relaxed);
        entry.file.set(place.file());
    }
    let text = if todo { message[TODO.len()..].trim_start_matches(": ") } else { message };
    entry.message.set(text);
    // Release: pairs with the Acquire in `all`.
    entry.state.store(2, Ordering::Release);
}

/// Every complete entry, oldest first.
pub(crate) fn all() -> Vec<Panic> {
    let Some(log) = LOG.get() else { return Vec::new() };
    log.iter()
        // Acquire: pairs with the Release in `record`.
        .filter(|entry| entry.state.load(Ordering::Acquire) == 2)
        .map(|entry| {
            let line = entry.line.load(Ordering::Relaxed);
            Panic {
                pid: entry.pid.load(Ordering::Relaxed).cast_signed(),
                todo: entry.todo.load(Ordering::Relaxed) != 0,
                message: entry.message.get(),
                place: (line > 0).then(|| Place {
                    file: entry.file.get(),
                    line,
                    column: entry.column.load(Ordering::Relaxed),
                }),
            }
        })
        .collect()
}

/// The first `todo!()` reached by any process, if one was.
pub(crate) fn first_todo() -> Option<Panic> {
    all().into_iter().find(|panic| panic.todo)
}

/// The last panic of a process.
pub(crate) fn of(pid: i32) -> Option<Panic> {
    all().into_iter().rfind(|panic| panic.pid == pid)
}

/// Up to `N` bytes of text, cut at a character boundary.
pub(crate) struct Text<const N: usize> {
    length: AtomicU32,
    bytes: std::cell::UnsafeCell<[u8; N]>,
}

// SAFETY: the owner of the surrounding record writes once, before it publishes the record with a Release store.
unsafe impl<const N: usize> Sync for Text<N> {}

impl<const N: usize> Text<N> {
    pub(crate) fn new() -> Text<N> {
        Text { length: AtomicU32::new(0), bytes: std::cell::UnsafeCell::new([0; N]) }
    }

    /// Writes the text. Only the process that claimed the record may call it.
    pub(crate) fn set(&self, text: &str) {
        let length = text.floor_char_boundary(N.min(text.len()));
        // SAFETY: the record is claimed by this process and not yet published: nobody else touches the bytes.
        unsafe { (&mut *self.bytes.get())[..length].copy_from_slice(&text.as_bytes()[..length]) };
        self.length.store(length as u32, Ordering::Release);
    }

    /// The text, replacing whatever is not UTF-8.
    pub(crate) fn get(&self) -> String {
        let length = (self.length.load(Ordering::Acquire) as usize).min(N);
        // SAFETY: reads plain bytes of the mapping; the writer published them before the record was seen complete.
        let bytes = unsafe { &(&*self.bytes.get())[..length] };
        String::from_utf8_lossy(bytes).into_owned()
    }
}

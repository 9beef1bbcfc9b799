//! A stream of messages from one thread or process to another, and how many go through in a second.

use std::sync::Barrier;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::thread;

use shared_memory_solution::Mapping;

use crate::machine::{self, Place};

/// What is sent. The first eight bytes are its number: none is lost, and all come in order.
pub type Message = [u8; 64];

/// How many go through in a round.
pub const MANY: u64 = 200_000;
/// The same, where somebody may sleep for each.
pub const FEW: u64 = 20_000;

/// Between whom, and where they run.
#[derive(Clone, Copy)]
pub enum Between {
    Processes(Place),
    Threads(Place),
}

impl Between {
    /// Millions a second.
    pub fn rate(
        self,
        count: u64,
        mut send: impl FnMut(&Message) + 'static,
        mut receive: impl FnMut() -> Message + Send + 'static,
    ) -> impl FnMut() -> f64 {
        move || {
            let nanoseconds = match self {
                Between::Processes(place) => processes(place, count, &mut send, &mut receive),
                Between::Threads(place) => threads(place, count, &mut send, &mut receive),
            };
            machine::unpin();
            count as f64 / nanoseconds as f64 * 1e3
        }
    }
}

fn send_all(count: u64, send: &mut impl FnMut(&Message)) {
    let mut message = [0; 64];
    for number in 0..count {
        message[..8].copy_from_slice(&number.to_ne_bytes());
        send(&message);
    }
}

fn receive_all(count: u64, receive: &mut impl FnMut() -> Message) {
    for number in 0..count {
        let message = receive();
        assert!(message.starts_with(&number.to_ne_bytes()), "each message comes once, and in order");
    }
}

/// From the first message's sending until the last one has been received.
fn threads(
    place: Place,
    count: u64,
    send: &mut impl FnMut(&Message),
    receive: &mut (impl FnMut() -> Message + Send),
) -> u64 {
    let ready = Barrier::new(2);
    thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            place.take(1);
            ready.wait();
            receive_all(count, receive);
            nanoseconds()
        });
        place.take(0);
        ready.wait();
        let start = nanoseconds();
        send_all(count, send);
        receiver.join().expect("messages come in order") - start
    })
}

/// The same; the receiver is a child.
fn processes(
    place: Place,
    count: u64,
    send: &mut impl FnMut(&Message),
    receive: &mut impl FnMut() -> Message,
) -> u64 {
    let memory = Mapping::anonymous(size_of::<[AtomicU64; 2]>()).expect("memory");
    let [ready, end] = memory.view::<[AtomicU64; 2]>(0).expect("long enough");
    // SAFETY: there is no other thread; the child ends below.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "a process more");
    if child == 0 {
        // SAFETY: no pointers.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        place.take(1);
        ready.store(1, Release);
        let received = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| receive_all(count, receive)));
        end.store(nanoseconds(), Release);
        // SAFETY: ends the child without running what its parent has registered.
        unsafe { libc::_exit(received.is_err().into()) };
    }
    place.take(0);
    while ready.load(Acquire) == 0 {
        thread::yield_now();
    }
    let start = nanoseconds();
    send_all(count, send);
    let mut status = 0;
    // SAFETY: our own child, and a place for its status.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(status, 0, "messages come in order");
    end.load(Acquire) - start
}

fn nanoseconds() -> u64 {
    machine::time().as_nanos() as u64
}

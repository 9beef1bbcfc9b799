//! How long it takes to wake another thread and be woken by it: a ball that two threads throw to each other.

use std::hint::black_box;
use std::sync::{Barrier, Condvar, Mutex, mpsc};
use std::thread;
use std::time::Instant;

use messages_solution::{Slot, Wait};
use monitor_solution::Monitor;
use semaphore_solution::Semaphore;

use crate::contest::Contest;
use crate::machine::{self, Place};
use crate::peers::{self, PosixSemaphore};
use crate::stream::Message;

/// How often the ball goes there and back in a round.
const TRIPS: u32 = 2_000;
const BALL: Message = [1; _];

/// The contests of round trips.
pub fn contests() -> Vec<Contest> {
    [Place::Together, Place::Apart].map(thrown).into()
}

fn thrown(place: Place) -> Contest {
    Contest::new(
        format!("there and back between two threads, {}", place.name()),
        "microseconds, less is better",
    )
    .peer("sem_t", microseconds(place, posix_semaphore))
    .reference("07 `Semaphore`", "sem_t", microseconds(place, semaphore))
    .peer("std Condvar", microseconds(place, condition))
    .reference("08 `Monitor`", "std Condvar", microseconds(place, monitor))
    .peer("pipe(2)", microseconds(place, pipe))
    .reference("09 `Slot`", "pipe(2)", microseconds(place, slot))
    .peer("std mpsc", microseconds(place, mpsc))
    .peer("crossbeam-channel", microseconds(place, crossbeam))
}

/// Microseconds there and back. `line` makes one way: what throws, and what catches.
fn microseconds<Throw, Catch>(place: Place, line: impl Fn() -> (Throw, Catch)) -> impl FnMut() -> f64
where
    Throw: FnMut() + Send,
    Catch: FnMut() + Send,
{
    let (mut serve, mut receive) = line();
    let (mut answer, mut receive_answer) = line();
    move || {
        let ready = Barrier::new(2);
        let figure = thread::scope(|scope| {
            scope.spawn(|| {
                place.take(1);
                ready.wait();
                for _ in 0..TRIPS {
                    receive();
                    answer();
                }
            });
            place.take(0);
            ready.wait();
            let start = Instant::now();
            for _ in 0..TRIPS {
                serve();
                receive_answer();
            }
            start.elapsed().as_secs_f64() * 1e6 / f64::from(TRIPS)
        });
        machine::unpin();
        figure
    }
}

fn posix_semaphore() -> (impl FnMut(), impl FnMut()) {
    let semaphore = leak(PosixSemaphore::new(0));
    (|| semaphore.post(), || semaphore.wait())
}

fn semaphore() -> (impl FnMut(), impl FnMut()) {
    let semaphore = leak(Semaphore::new(0));
    (|| semaphore.post(), || semaphore.wait())
}

fn condition() -> (impl FnMut(), impl FnMut()) {
    let (is_there, thrown) = leak((Mutex::new(false), Condvar::new()));
    let throw = || {
        *is_there.lock().expect("nobody panics") = true;
        thrown.notify_one();
    };
    let catch = || {
        let is_there = is_there.lock().expect("nobody panics");
        *thrown.wait_while(is_there, |is_there| !*is_there).expect("nobody panics") = false;
    };
    (throw, catch)
}

fn monitor() -> (impl FnMut(), impl FnMut()) {
    let monitor = leak(Monitor::<bool, 1>::new(false));
    let throw = || {
        monitor.enter(|is_there| {
            **is_there = true;
            is_there.signal(0);
        });
    };
    let catch = || {
        monitor.enter(|is_there| {
            while !**is_there {
                is_there.wait(0);
            }
            **is_there = false;
        });
    };
    (throw, catch)
}

fn pipe() -> (impl FnMut(), impl FnMut()) {
    let (receiver, sender) = std::io::pipe().expect("a pipe");
    let catch = move || {
        black_box(peers::read(&receiver));
    };
    (move || peers::write(&sender, &BALL), catch)
}

fn slot() -> (impl FnMut(), impl FnMut()) {
    let slot = leak(Slot::new());
    let catch = || {
        black_box(slot.take(Wait::Forever).expect("it waits"));
    };
    (|| slot.put(&BALL, Wait::Forever).expect("it fits"), catch)
}

fn mpsc() -> (impl FnMut(), impl FnMut()) {
    let (sender, receiver) = mpsc::channel();
    let catch = move || {
        black_box(receiver.recv().expect("the sender lives"));
    };
    (move || sender.send(BALL).expect("the receiver lives"), catch)
}

fn crossbeam() -> (impl FnMut(), impl FnMut()) {
    let (sender, receiver) = crossbeam_channel::bounded(1);
    let catch = move || {
        black_box(receiver.recv().expect("the sender lives"));
    };
    (move || sender.send(BALL).expect("the receiver lives"), catch)
}

/// For two threads, until the program ends.
fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

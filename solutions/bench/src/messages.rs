//! Labs 03, 07, 08 and 09: messages of 64 bytes from one to another, as many as go through.

use std::cell::UnsafeCell;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::mpsc;
use std::thread;

use messages_solution::{Consumer, Mailbox, Producer, Slot, Wait};
use pipes_solution::{read_frame, write_frame};
use shared_memory_solution::Mapping;

use crate::contest::Contest;
use crate::machine::Place;
use crate::peers;
use crate::stream::{Between, FEW, MANY, Message};

/// How many messages everybody may hold, where that can be chosen: as many as go into a pipe.
const PLACES: usize = 1024;
const PIPE: &str = "pipe(2)";
const CHANNEL: &str = "crossbeam-channel, bounded";

/// The contests of messages.
pub fn contests() -> Vec<Contest> {
    let places = [Place::Apart, Place::Together];
    places.map(across_processes).into_iter().chain(places.map(across_threads)).collect()
}

fn across_processes(place: Place) -> Contest {
    let between = Between::Processes(place);
    let contest = Contest::new(
        format!("64-byte messages between two processes, {}", place.name()),
        "millions a second, more is better",
    );
    let (receiver, sender) = std::io::pipe().expect("a pipe");
    let contest = contest.peer(
        PIPE,
        between.rate(MANY, move |message| peers::write(&sender, message), move || peers::read(&receiver)),
    );
    let contest = contest.peer("two indices in shared memory, yielding", two_indices(between));
    through_kernel(rings(contest, PIPE, between), between)
}

fn across_threads(place: Place) -> Contest {
    let between = Between::Threads(place);
    let contest = Contest::new(
        format!("64-byte messages between two threads, {}", place.name()),
        "millions a second, more is better",
    );
    let (sender, receiver) = mpsc::sync_channel(PLACES);
    let contest = contest.peer(
        "std sync_channel",
        between.rate(
            MANY,
            move |message| sender.send(*message).expect("the receiver lives"),
            move || receiver.recv().expect("the sender lives"),
        ),
    );
    let (sender, receiver) = crossbeam_channel::bounded(PLACES);
    let contest = contest.peer(
        CHANNEL,
        between.rate(
            MANY,
            move |message| sender.send(*message).expect("the receiver lives"),
            move || receiver.recv().expect("the sender lives"),
        ),
    );
    let (mut sender, mut receiver) = rtrb::RingBuffer::new(PLACES);
    // It cannot wait: who finds it full or empty gives the processor away.
    let contest = contest.peer(
        "rtrb, yielding",
        between.rate(
            MANY,
            move |message| {
                while sender.push(*message).is_err() {
                    thread::yield_now();
                }
            },
            move || {
                loop {
                    match receiver.pop() {
                        Ok(message) => return message,
                        Err(_) => thread::yield_now(),
                    }
                }
            },
        ),
    );
    rings(contest, CHANNEL, between)
}

type WithSemaphores = semaphore_solution::BoundedBuffer<PLACES>;
type WithMonitor = monitor_solution::BoundedBuffer<PLACES>;

/// The bounded buffers of two labs.
fn rings(contest: Contest, peer: &'static str, between: Between) -> Contest {
    contest.reference("07 `BoundedBuffer`", peer, ring(between, WithSemaphores::new())).reference(
        "08 `BoundedBuffer`",
        peer,
        ring(between, WithMonitor::new()),
    )
}

/// The references that send through the kernel, and the mailbox with one place, for which it puts to sleep and wakes.
fn through_kernel(contest: Contest, between: Between) -> Contest {
    let (receiver, sender) = std::io::pipe().expect("a pipe");
    let contest = contest.reference(
        "03 `write_frame`, `read_frame`",
        PIPE,
        between.rate(
            MANY,
            move |message| write_frame(&sender, message, 64).expect("the reader lives"),
            move || whole(&read_frame(&receiver, 64).expect("a frame").expect("the writer lives")),
        ),
    );
    let folder = tempfile::tempdir().expect("a folder");
    let sender = Mailbox::open(&folder.path().join("mailbox")).expect("a mailbox");
    let receiver = Mailbox::open(&folder.path().join("mailbox")).expect("the mailbox");
    let contest = contest.reference(
        "09 `Mailbox`",
        PIPE,
        between.rate(
            FEW,
            move |message| sender.send(message, Wait::Forever).expect("it is there"),
            move || {
                // Moved in here: it goes with the receiver.
                let _ = &folder;
                whole(&receiver.receive(Wait::Forever).expect("it is there").bytes)
            },
        ),
    );
    let [producer, consumer] = pair();
    let mut producer = Producer::new(producer);
    let mut consumer = Consumer::new(consumer, 16).expect("16 are allowed");
    let contest = contest.reference(
        "09 `Producer`, `Consumer`, 16 empties",
        PIPE,
        between.rate(
            FEW,
            move |message| producer.send(message, Wait::Forever).expect("the consumer lives"),
            move || whole(&consumer.receive(Wait::Forever).expect("the producer lives")),
        ),
    );
    let slot = share(Slot::new());
    contest.reference(
        "09 `Slot`",
        PIPE,
        between.rate(
            FEW,
            |message| slot.put(message, Wait::Forever).expect("it fits"),
            || whole(&slot.take(Wait::Forever).expect("it waits")),
        ),
    )
}

/// What a bounded buffer of a lab does.
trait Numbers: Sync {
    fn put(&self, number: u64);
    fn get(&self) -> u64;
}

impl Numbers for WithSemaphores {
    #[inline]
    fn put(&self, number: u64) {
        self.put(number);
    }

    #[inline]
    fn get(&self) -> u64 {
        self.get()
    }
}

impl Numbers for WithMonitor {
    #[inline]
    fn put(&self, number: u64) {
        self.put_item(number);
    }

    #[inline]
    fn get(&self) -> u64 {
        self.get_item()
    }
}

/// How many messages lie in memory: those in the buffer, the one being written, and the one being read.
const MESSAGES: usize = PLACES + 2;

/// Messages in shared memory, and a lab's buffer that carries the number of the place in which each lies.
struct Ring<B> {
    buffer: B,
    messages: UnsafeCell<[Message; MESSAGES]>,
}

fn ring<B: Numbers + 'static>(between: Between, buffer: B) -> impl FnMut() -> f64 {
    let ring = share(Ring { buffer, messages: UnsafeCell::new([[0; _]; MESSAGES]) });
    let places = |ring: &Ring<B>| ring.messages.get().cast::<Message>();
    let mut next = 0;
    let send = move |message: &Message| {
        // SAFETY: the message before this one is in the buffer already, so the one that was here has been taken out of it, and
        // also the one after that: its reader has finished with this place.
        unsafe { places(ring).add(next).write(*message) };
        ring.buffer.put(next as u64);
        next = (next + 1) % MESSAGES;
    };
    let receive = move || {
        let place = ring.buffer.get() as usize;
        // SAFETY: written before the number came through the buffer, and not again before the next `get`.
        unsafe { places(ring).add(place).read() }
    };
    between.rate(MANY, send, receive)
}

/// What shared memory can do at best between one sender and one receiver: no lock, and nobody sleeps.
struct Indices {
    sent: Line<AtomicUsize>,
    received: Line<AtomicUsize>,
    messages: UnsafeCell<[Message; PLACES]>,
}

/// So that the two sides write into cache lines of their own.
#[repr(align(128))]
struct Line<T>(T);

fn two_indices(between: Between) -> impl FnMut() -> f64 {
    let ring = share(Indices {
        sent: Line(AtomicUsize::new(0)),
        received: Line(AtomicUsize::new(0)),
        messages: UnsafeCell::new([[0; _]; PLACES]),
    });
    let place =
        |ring: &Indices, number: usize| ring.messages.get().cast::<Message>().wrapping_add(number % PLACES);
    // Each side looks at the other one's index only when what it saw there last is used up. A round begins where the one
    // before has ended, also for a receiver in a process of its own.
    let mut seen_received = 0;
    let send = move |message: &Message| {
        let number = ring.sent.0.load(Relaxed);
        while number - seen_received == PLACES {
            seen_received = ring.received.0.load(Acquire);
            if number - seen_received == PLACES {
                thread::yield_now();
            }
        }
        // SAFETY: the message that was here has been received.
        unsafe { place(ring, number).write(*message) };
        ring.sent.0.store(number + 1, Release);
    };
    let mut seen_sent = 0;
    let receive = move || {
        let number = ring.received.0.load(Relaxed);
        while seen_sent <= number {
            seen_sent = ring.sent.0.load(Acquire);
            if seen_sent == number {
                thread::yield_now();
            }
        }
        // SAFETY: the message has been sent, and is not overwritten before it is received.
        let message = unsafe { place(ring, number).read() };
        ring.received.0.store(number + 1, Release);
        message
    };
    between.rate(MANY, send, receive)
}

// SAFETY: each place is touched by the side whose turn the indices say it is.
unsafe impl Sync for Indices {}

// SAFETY: see `ring`: each place is touched by one at a time.
unsafe impl<B: Sync> Sync for Ring<B> {}

/// Puts the value into memory that a forked process shares; it stays there until the program ends.
fn share<T>(value: T) -> &'static T {
    let memory: &'static Mapping = Box::leak(Box::new(Mapping::anonymous(size_of::<T>()).expect("memory")));
    let address = memory.as_ptr().cast::<T>();
    // SAFETY: a page of its own, long enough, and never given back.
    unsafe {
        address.write(value);
        &*address
    }
}

fn pair() -> [OwnedFd; 2] {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    let flags = SockFlag::SOCK_CLOEXEC;
    let (one, other) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).expect("a pair of sockets");
    [one, other]
}

fn whole(bytes: &[u8]) -> Message {
    bytes.try_into().expect("messages keep their length")
}

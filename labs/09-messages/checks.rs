//! What the messages lab promises, part by part.

use std::cell::Cell;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use harness::faults::{Action, Plan};
use harness::{Check, Outcome, Rng, Stop, Student, Wire, ensure, observe};
use messages::Wait;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

#[path = "checks/direct.rs"]
mod direct;
#[path = "checks/direct_waits.rs"]
mod direct_waits;
#[path = "checks/flow.rs"]
mod flow;
#[path = "checks/flow_in_flight.rs"]
mod flow_in_flight;
#[path = "checks/links.rs"]
mod links;
#[path = "checks/mailbox_names.rs"]
mod mailbox_names;
#[path = "checks/mailbox_sets.rs"]
mod mailbox_sets;
#[path = "checks/mailboxes.rs"]
mod mailboxes;
#[path = "checks/nagging.rs"]
mod nagging;
#[path = "checks/peers.rs"]
mod peers;
#[path = "checks/rpc.rs"]
mod rpc;
#[path = "checks/rpc_server.rs"]
mod rpc_server;
#[path = "checks/slot.rs"]
mod slot;

harness::checks! {
    "messages-keep-their-boundaries" => direct::messages_keep_their_boundaries,
    "receiving-from-one-keeps-the-others" => direct::receiving_from_one_keeps_the_others,
    "the-sender-is-the-kernels-word" => direct::the_sender_is_the_kernels_word,
    "receivers-wait-as-told" => direct_waits::receivers_wait_as_told,
    "senders-wait-while-the-buffer-is-full" => direct_waits::senders_wait_while_the_buffer_is_full,
    "interruptions-lose-no-message" => direct_waits::interruptions_lose_no_message,
    "a-dead-correspondent-is-an-error" => direct_waits::a_dead_correspondent_is_an_error,
    "unrelated-processes-share-a-mailbox" => mailboxes::unrelated_processes_share_a_mailbox,
    "a-mailbox-waits-as-told" => mailboxes::a_mailbox_waits_as_told,
    "the-last-user-removes-the-mailbox" => mailbox_names::the_last_user_removes_the_mailbox,
    "one-name-is-one-mailbox" => mailbox_names::one_name_is_one_mailbox,
    "killed-users-harm-nobody" => mailboxes::killed_users_harm_nobody,
    "a-set-is-served-in-turn" => mailbox_sets::a_set_is_served_in_turn,
    "a-slot-holds-one-message" => slot::a_slot_holds_one_message,
    "users-of-a-slot-sleep-and-wake" => slot::users_of_a_slot_sleep_and_wake,
    "nobody-sees-half-a-message" => slot::nobody_sees_half_a_message,
    "two-at-once-is-one-after-the-other" => slot::two_at_once_is_one_after_the_other,
    "each-message-is-taken-once" => slot::each_message_is_taken_once,
    "senders-wait-as-the-capacity-says" => links::senders_wait_as_the_capacity_says,
    "unbounded-senders-never-wait" => links::unbounded_senders_never_wait,
    "a-link-ends-with-its-other-end" => links::a_link_ends_with_its_other_end,
    "an-item-needs-an-empty" => flow::an_item_needs_an_empty,
    "a-consumer-allows-n-items" => flow::a_consumer_allows_n_items,
    "never-more-than-n-in-flight" => flow_in_flight::never_more_than_n_in_flight,
    "a-timeout-keeps-the-count" => flow::a_timeout_keeps_the_count,
    "the-last-items-outlive-the-producer" => flow::the_last_items_outlive_the_producer,
    "a-lost-consumer-is-an-error" => flow::a_lost_consumer_is_an_error,
    "a-reply-belongs-to-its-request" => rpc::a_reply_belongs_to_its_request,
    "a-call-is-over-in-time" => rpc::a_call_is_over_in_time,
    "every-caller-gets-its-own-replies" => rpc_server::every_caller_gets_its_own_replies,
    "clients-are-served-in-turn" => rpc_server::clients_are_served_in_turn,
    "clients-come-and-go" => rpc_server::clients_come_and_go,
    "a-lost-server-is-an-error" => rpc::a_lost_server_is_an_error,
    "a-message-comes-whole-or-not-at-all" => peers::a_message_comes_whole_or_not_at_all,
    "a-timeout-keeps-half-a-message" => peers::a_timeout_keeps_half_a_message,
    "a-lost-peer-is-no-signal" => peers::a_lost_peer_is_no_signal,
    "killed-at-any-moment" => peers::killed_at_any_moment,
}

// What travels between a worker and the check --------------------------------------------------------------

/// A result as a worker tells it: an error becomes its kind and, when it has one, its errno.
type Told<T> = Result<T, String>;

fn told<T>(result: io::Result<T>) -> Told<T> {
    result.map_err(|error| match error.raw_os_error() {
        Some(errno) => format!("{:?} ({:?})", error.kind(), Errno::from_raw(errno)),
        None => format!("{:?}", error.kind()),
    })
}

/// Whether it is the error of this kind.
fn is_error<T>(told: &Told<T>, kind: &str) -> bool {
    told.as_ref().is_err_and(|error| error.split(' ').next() == Some(kind))
}

/// How a result of bytes reads in a message.
fn show(told: &Told<Vec<u8>>) -> String {
    match told {
        Ok(bytes) => in_words(bytes),
        Err(error) => format!("the error {error}"),
    }
}

/// How a result without a value reads in a message.
fn show_done<T>(told: &Told<T>) -> String {
    match told {
        Ok(_) => "success".to_owned(),
        Err(error) => format!("the error {error}"),
    }
}

fn in_words(bytes: &[u8]) -> String {
    match bytes.len() {
        0 => "an empty message".to_owned(),
        length @ 1..=24 => format!("{length} bytes: \"{}\"", bytes.escape_ascii()),
        length => format!("{length} bytes, beginning \"{}\"", bytes[..24].escape_ascii()),
    }
}

/// A `Wait` on its way to a worker: -1 for ever, 0 not at all, else milliseconds.
fn wait(code: i64) -> Wait {
    match code {
        0 => Wait::Never,
        1.. => Wait::For(Duration::from_millis(code as u64)),
        _ => Wait::Forever,
    }
}

const FOREVER: i64 = -1;
const NEVER: i64 = 0;

/// The time that a call with a timeout may come back early: clocks of the kernel that tick.
const EARLY: Duration = Duration::from_millis(10);

/// What the call returned, and how many milliseconds it took.
fn timed<T>(call: impl FnOnce() -> io::Result<T>) -> (Told<T>, u64) {
    let start = Instant::now();
    let answer = told(call());
    (answer, start.elapsed().as_millis() as u64)
}

/// Whether the call timed out, and not much before the time.
fn timed_out<T>((answer, took): &(Told<T>, u64), code: i64) -> bool {
    is_error(answer, "TimedOut") && *took + EARLY.as_millis() as u64 >= code as u64
}

/// Lowercase letters: bytes that read well in messages.
fn letters(rng: &mut Rng, length: usize) -> Vec<u8> {
    rng.bytes(length).iter().map(|byte| b'a' + byte % 26).collect()
}

// The surroundings -----------------------------------------------------------------------------------------

/// A directory for one check, removed when the check ends. Its path is relative and short: the name of a socket has
/// 107 bytes at most.
struct Place(PathBuf);

impl Place {
    fn new(check: &Check) -> Result<Place, Stop> {
        let path = PathBuf::from(format!("m{}-{:x}", std::process::id(), check.seed() & 0xffff));
        fs::create_dir(&path).map_err(|error| Stop::inconclusive(format!("{}: {error}", path.display())))?;
        Ok(Place(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The two ends of a connection. Each process takes one of them.
struct Pair {
    one: Cell<Option<OwnedFd>>,
    other: Cell<Option<OwnedFd>>,
}

impl Pair {
    fn new(kind: SockType) -> Result<Pair, Stop> {
        let (one, other) = socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC)
            .map_err(|errno| Stop::inconclusive(format!("socketpair: {errno}")))?;
        Ok(Pair { one: Cell::new(Some(one)), other: Cell::new(Some(other)) })
    }

    fn packets() -> Result<Pair, Stop> {
        Pair::new(SockType::SeqPacket)
    }

    fn stream() -> Result<Pair, Stop> {
        Pair::new(SockType::Stream)
    }

    /// The first end; this process closes the other one.
    fn one(&self) -> OwnedFd {
        drop(self.other.take());
        self.one.take().expect("a process takes one end, once")
    }

    /// The second end, likewise.
    fn other(&self) -> OwnedFd {
        drop(self.one.take());
        self.other.take().expect("a process takes one end, once")
    }

    /// Closes what this process still has of it.
    fn leave_to_workers(&self) {
        drop((self.one.take(), self.other.take()));
    }
}

/// One packet, or whatever else `recv` says at once.
fn packet(socket: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            // The other side has left with something unread: told once, before what it had sent.
            Err(Errno::ECONNRESET) => {}
            Err(errno) => return Err(errno),
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
        }
    }
}

/// All packets that are there now.
fn packets(socket: &OwnedFd) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| packet(socket).ok().filter(|packet| !packet.is_empty())).collect()
}

/// Sends one packet at once.
fn post(socket: &OwnedFd, packet: &[u8]) -> Result<(), Errno> {
    send(socket.as_raw_fd(), packet, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL).map(drop)
}

/// Whether the process sleeps in a system call.
fn asleep(pid: i32) -> bool {
    observe::state_of(pid) == Some('S') && observe::blocked_in(pid, pid).is_some()
}

/// Processor time after which somebody who should sleep is said to be spinning.
const PATIENCE: Duration = Duration::from_millis(150);

/// Waits until a process that is `ready` to do so sleeps, or has ended. `moment` says it: "`receive` sleeps".
fn falls_asleep<T: Wire>(
    check: &Check,
    moment: &str,
    student: &mut Student<T>,
    ready: impl Fn() -> bool,
) -> Outcome {
    let pid = student.pid();
    let (mut before, mut spent) = (None, Duration::ZERO);
    check.wait_until(moment, || {
        if student.ended() || !ready() {
            return student.ended();
        }
        let used = observe::cpu_time_of(pid).unwrap_or_default();
        spent = used.saturating_sub(*before.get_or_insert(used));
        asleep(pid) || spent > PATIENCE
    })?;
    ensure!(
        spent <= PATIENCE || asleep(pid) || student.ended(),
        expected: moment,
        observed: format!("it asks again and again: after {} ms of processor time it is still running", spent.as_millis()),
        look: "the loop in which it waits: let the kernel wake it (a call that blocks, poll, futex)"
    );
    Ok(())
}

/// One call, the `nth` of those that may wait, is interrupted.
fn one_interruption(nth: usize) -> Plan {
    let mut seen = 0;
    Plan::new(move |call| {
        seen += usize::from(call.interruptible);
        if call.interruptible && seen == nth + 1 { Action::Fail(libc::EINTR) } else { Action::Proceed }
    })
}

/// In a worker: a broken pipe would end the process, as in a program whose runtime does not ignore the signal.
fn let_sigpipe_kill() {
    // SAFETY: sets a disposition; no handler is involved.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

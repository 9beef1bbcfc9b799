//! Part 5: request and reply, seen by the client. The check plays the server.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::faults;
use harness::{Check, Outcome, Shared, Stop, ensure};
use messages::RpcClient;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, connect, listen, socket,
};

use super::nagging::Nagging;
use super::{
    FOREVER, NEVER, Place, Told, asleep, in_words, is_error, let_sigpipe_kill, packets, post, show,
    show_done, timed, timed_out, told, wait,
};

pub fn inconclusive(what: &'static str) -> impl Fn(Errno) -> Stop {
    move |errno| Stop::inconclusive(format!("{what}: {errno}"))
}

fn listening(path: &Path) -> Result<OwnedFd, Stop> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let listener =
        socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).map_err(inconclusive("socket"))?;
    let address = UnixAddr::new(path).map_err(inconclusive("a socket's name"))?;
    bind(listener.as_raw_fd(), &address).map_err(inconclusive("bind"))?;
    listen(&listener, Backlog::new(8).map_err(inconclusive("listen"))?).map_err(inconclusive("listen"))?;
    Ok(listener)
}

fn accepted(listener: &OwnedFd) -> Option<OwnedFd> {
    let fd = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC).ok()?;
    // SAFETY: the descriptor is fresh and nobody else's.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A client of the check's own.
pub fn connected(path: &Path) -> Result<OwnedFd, Stop> {
    let client = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
        .map_err(inconclusive("socket"))?;
    let address = UnixAddr::new(path).map_err(inconclusive("a socket's name"))?;
    connect(client.as_raw_fd(), &address).map_err(|errno| {
        Stop::failed(
            "a server that listens at its name",
            format!("connect(2) fails with {errno}"),
            "`RpcServer::bind`",
        )
    })?;
    Ok(client)
}

pub fn numbered(number: u64, message: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes(), message].concat()
}

pub fn read_number(packet: &[u8]) -> (u64, Vec<u8>) {
    packet.split_first_chunk().map_or((u64::MAX, b"no number".to_vec()), |(number, rest)| {
        (u64::from_be_bytes(*number), rest.to_vec())
    })
}

/// What the student's server answers.
pub fn answer_to(request: &[u8]) -> Vec<u8> {
    request.iter().rev().copied().collect()
}

/// Late, doubled and foreign replies in between: each call returns the reply to its own request.
pub fn a_reply_belongs_to_its_request(check: &mut Check) -> Outcome {
    const CALLS: usize = 24;
    let place = Place::new(check)?;
    let path = place.path().join("rpc");
    let listener = listening(&path)?;
    let name = path.clone();
    // Every sixth call gives up before its reply comes.
    let gives_up = |call: usize| call % 6 == 4;
    let mut caller = check.spawn("`RpcClient::call`", move || -> Told<Vec<Told<Vec<u8>>>> {
        let mut client = told(RpcClient::connect(&name))?;
        Ok((0..CALLS)
            .map(|call| {
                let code = if gives_up(call) { 15 } else { FOREVER };
                told(client.call(format!("request {call}").as_bytes(), wait(code)))
            })
            .collect())
    })?;
    let mut rng = harness::Rng::new(check.rng().next_u64());
    let (mut client, mut numbers, mut odd) = (None, Vec::new(), None);
    check.wait_until(&format!("{CALLS} calls have returned"), || {
        client = client.take().or_else(|| accepted(&listener));
        let Some(client) = &client else { return caller.ended() };
        for packet in packets(client) {
            let (number, request) = read_number(&packet);
            let call = numbers.len();
            if request != format!("request {call}").as_bytes() || numbers.contains(&number) {
                odd = Some(format!(
                    "request {call} came as number {number} of {numbers:?}, {}",
                    in_words(&request)
                ));
            }
            numbers.push(number);
            if gives_up(call) {
                continue;
            }
            // Replies to earlier calls first, and to calls that nobody has made.
            for (earlier, late) in numbers[..call].iter().enumerate() {
                if rng.chance(30) || gives_up(earlier) {
                    let _ = post(client, &numbered(*late, format!("late {earlier}").as_bytes()));
                }
            }
            if rng.chance(50) {
                let _ = post(client, &numbered(number.wrapping_add(1 + rng.below(3)), b"nobody's"));
            }
            let answer = numbered(number, format!("answer {call}").as_bytes());
            let _ = post(client, &answer);
            if rng.chance(30) {
                let _ = post(client, &answer);
            }
        }
        odd.is_some() || caller.ended()
    })?;
    if let Some(odd) = odd {
        return Err(Stop::failed(
            "each call sends one request, with a number of its own",
            odd,
            "`RpcClient::call`",
        ));
    }
    let answers =
        caller.join()?.map_err(|error| Stop::failed("a connected client", error, "`RpcClient::connect`"))?;
    for (call, answer) in answers.iter().enumerate() {
        if gives_up(call) {
            ensure!(is_error(answer, "TimedOut"), expected: format!("call {call}, which nobody answers, is TimedOut"), observed: show(answer), look: "`RpcClient::call`");
        } else {
            let wanted = format!("answer {call}");
            ensure!(
                answer.as_deref() == Ok(wanted.as_bytes()),
                expected: format!("call {call} returns the reply with the number of its request: \"{wanted}\""),
                observed: show(answer),
                look: "`RpcClient::call`: what it does with a reply that has another number"
            );
        }
    }
    check.note(format!("{CALLS} calls, with late, doubled and foreign replies before the right ones"));
    Ok(())
}

/// A server that never answers, or answers something else again and again: the time is that of the whole call.
pub fn a_call_is_over_in_time(check: &mut Check) -> Outcome {
    let place = Place::new(check)?;
    late_replies_buy_no_time(check, &place.path().join("late"))?;
    let path = place.path().join("rpc");
    let listener = listening(&path)?;
    for talks in [false, true] {
        let name = path.clone();
        let stage = Shared::new(AtomicU32::new(0));
        let mut caller = check.spawn("`RpcClient::call`", || -> Told<Vec<(Told<()>, u64)>> {
            let mut client = told(RpcClient::connect(&name))?;
            stage.store(1, Ordering::Release);
            let mut call = |code| timed(|| client.call(b"anybody there?", wait(code)).map(drop));
            Ok(vec![call(NEVER), call(40)])
        })?;
        let mut client = None;
        check.wait_until(
            &format!(
                "a call with For(40 ms) is over, the server {}",
                if talks { "sends late replies all the time" } else { "is silent" }
            ),
            || {
                client = client.take().or_else(|| accepted(&listener));
                if let (true, Some(client)) = (talks, &client) {
                    let _ = post(client, &numbered(u64::MAX - 5, b"late"));
                }
                caller.ended()
            },
        )?;
        let answers = caller
            .join()?
            .map_err(|error| Stop::failed("a connected client", error, "`RpcClient::connect`"))?;
        ensure!(is_error(&answers[0].0, "WouldBlock"), expected: "a call with Never is WouldBlock when there is no reply", observed: show_done(&answers[0].0), look: "`RpcClient::call`");
        ensure!(
            timed_out(&answers[1], 40),
            expected: "a call with For(40 ms) is TimedOut after that time",
            observed: format!("{} after {} ms", show_done(&answers[1].0), answers[1].1),
            look: "`RpcClient::call`: the time that is left"
        );
    }
    Ok(())
}

/// Late replies whenever the call is about to sleep.
fn late_replies_buy_no_time(check: &mut Check, path: &Path) -> Outcome {
    let listener = listening(path)?;
    let nagging = Nagging::new();
    let answer = check.ask(
        "`RpcClient::call`, a late reply whenever it would wait",
        || -> Told<(Told<()>, u64)> {
            let mut client = told(RpcClient::connect(path))?;
            let Some(server) = accepted(&listener) else { return Err("nobody connected".to_owned()) };
            let nag = move || _ = post(&server, &numbered(u64::MAX - 5, b"late"));
            let call = || client.call(b"anybody there?", wait(Nagging::TIME)).map(drop);
            Ok(timed(|| faults::with(nagging.plan(nag), call).0))
        },
    )?;
    let answer = answer.map_err(|error| Stop::failed("a connected client", error, "`RpcClient::connect`"))?;
    nagging.judge("RpcClient::call", &answer)
}

/// The server is killed before, during and after a call.
pub fn a_lost_server_is_an_error(check: &mut Check) -> Outcome {
    let place = Place::new(check)?;
    let path = place.path().join("rpc");
    let none = check.ask("`RpcClient::connect` to no name", || told(RpcClient::connect(&path).map(drop)))?;
    ensure!(is_error(&none, "NotFound"), expected: "the error NotFound where there is no server", observed: show_done(&none), look: "`RpcClient::connect`");
    let listener = listening(&path)?;
    let stage = Shared::new(AtomicU32::new(0));
    let mut caller = check.spawn("`RpcClient::call`", || -> Told<Vec<Told<Vec<u8>>>> {
        let_sigpipe_kill();
        let mut client = told(RpcClient::connect(&path))?;
        stage.store(1, Ordering::Release);
        Ok((0..3).map(|_| told(client.call(b"request", wait(FOREVER)))).collect())
    })?;
    let pid = caller.pid();
    let (mut client, mut asked) = (None, Vec::new());
    check.wait_until("the client waits for a reply", || {
        client = client.take().or_else(|| accepted(&listener));
        asked.extend(client.iter().flat_map(packets));
        caller.ended() || (!asked.is_empty() && asleep(pid))
    })?;
    // The first call is answered, and with it the connection ends.
    if let (Some(client), Some(request)) = (client.take(), asked.first()) {
        let _ = post(&client, &numbered(read_number(request).0, b"last words"));
    }
    let answers =
        caller.join()?.map_err(|error| Stop::failed("a connected client", error, "`RpcClient::connect`"))?;
    ensure!(answers[0].as_deref() == Ok(b"last words"), expected: "the reply that came before the server went: \"last words\"", observed: show(&answers[0]), look: "`RpcClient::call`");
    for answer in &answers[1..] {
        ensure!(is_error(answer, "BrokenPipe"), expected: "a call to a server that has gone is BrokenPipe", observed: show(answer), look: "`RpcClient::call`: what `send` and `recv` answer then");
    }
    drop(listener);
    let dead =
        check.ask("`RpcClient::connect` to a dead server", || told(RpcClient::connect(&path).map(drop)))?;
    ensure!(is_error(&dead, "ConnectionRefused"), expected: "the error ConnectionRefused where the name is left of a server", observed: show_done(&dead), look: "`RpcClient::connect`");
    // Killed while the call waits.
    let path = place.path().join("second");
    let listener = listening(&path)?;
    let mut caller = check.spawn("`RpcClient::call`", || -> Told<Told<Vec<u8>>> {
        let_sigpipe_kill();
        let mut client = told(RpcClient::connect(&path))?;
        Ok(told(client.call(b"request", wait(FOREVER))))
    })?;
    let pid = caller.pid();
    check.wait_until("the client waits for a reply", || {
        client = client.take().or_else(|| accepted(&listener));
        caller.ended() || (client.is_some() && asleep(pid))
    })?;
    drop((client, listener));
    let answer = caller.join()?.and_then(|answer| answer);
    ensure!(is_error(&answer, "BrokenPipe"), expected: "a call is BrokenPipe when the server goes while it waits", observed: show(&answer), look: "`RpcClient::call`: what `recv` returns then");
    Ok(())
}

//! Part 5: request and reply. The check plays the other side.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::faults::{self, Action, Plan};
use harness::{Check, Outcome, Shared, Stop, Student, ensure, observe};
use messages::{MAX_MESSAGE, RpcClient, RpcServer};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, connect, listen, socket,
};

use super::{
    FOREVER, NEVER, Place, Told, asleep, in_words, is_error, let_sigpipe_kill, letters, packets, post, show,
    show_done, timed, timed_out, told, wait,
};

fn inconclusive(what: &'static str) -> impl Fn(Errno) -> Stop {
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
fn connected(path: &Path) -> Result<OwnedFd, Stop> {
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

fn numbered(number: u64, message: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes(), message].concat()
}

fn read_number(packet: &[u8]) -> (u64, Vec<u8>) {
    packet.split_first_chunk().map_or((u64::MAX, b"no number".to_vec()), |(number, rest)| {
        (u64::from_be_bytes(*number), rest.to_vec())
    })
}

/// What the student's server answers.
fn answer_to(request: &[u8]) -> Vec<u8> {
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
    // A late reply whenever the call is about to sleep: however busy the machine, the next one is there in time.
    let path = place.path().join("again");
    let listener = listening(&path)?;
    let answer = check.ask(
        "`RpcClient::call`, a late reply whenever it would wait",
        || -> Told<(Told<()>, u64)> {
            let mut client = told(RpcClient::connect(&path))?;
            let Some(server) = accepted(&listener) else { return Err("nobody connected".to_owned()) };
            let talks = Plan::new(move |call| {
                let late = numbered(u64::MAX - 5, b"late");
                let _ = call.is("poll") && call.interruptible && post(&server, &late).is_ok();
                Action::Proceed
            });
            Ok(timed(|| faults::with(talks, || client.call(b"anybody there?", wait(30)).map(drop)).0))
        },
    )?;
    let answer = answer.map_err(|error| Stop::failed("a connected client", error, "`RpcClient::connect`"))?;
    ensure!(
        timed_out(&answer, 30),
        expected: "a call with For(30 ms) is TimedOut after that time, although late replies come all the time",
        observed: format!("{} after {} ms", show_done(&answer.0), answer.1),
        look: "`RpcClient::call`: the time that is left"
    );
    Ok(())
}

/// A worker that serves until told to stop; counts what it has served.
struct Server {
    student: Student<Told<()>>,
    pid: i32,
}

impl Server {
    fn start(
        check: &Check,
        path: &Path,
        allowed: &Shared<AtomicU32>,
        served: &Shared<AtomicU32>,
        order: &Shared<[AtomicU32; 64]>,
    ) -> Result<Server, Stop> {
        let path = path.to_owned();
        let ready = Shared::new(AtomicU32::new(0));
        let mut student = check.spawn("`RpcServer::serve`", || -> Told<()> {
            let_sigpipe_kill();
            let mut server = told(RpcServer::bind(&path))?;
            ready.store(1, Ordering::Release);
            loop {
                let (allowed, done) = (allowed.load(Ordering::Acquire), served.load(Ordering::Acquire));
                if allowed == u32::MAX {
                    return Ok(());
                }
                if done >= allowed {
                    std::thread::yield_now();
                    continue;
                }
                let answer = told(server.serve(wait(10), |request| {
                    let first = request.first().copied().unwrap_or(0).into();
                    order[done as usize % 64].store(first, Ordering::Release);
                    answer_to(request)
                }));
                match answer {
                    Ok(()) => drop(served.fetch_add(1, Ordering::AcqRel)),
                    Err(error) if error.starts_with("TimedOut") => {}
                    Err(error) => return Err(error),
                }
            }
        })?;
        check.wait_until("`RpcServer::bind` returns", || {
            ready.load(Ordering::Acquire) == 1 || student.ended()
        })?;
        let pid = student.pid();
        Ok(Server { student, pid })
    }

    fn stop(self, allowed: &Shared<AtomicU32>, path: &Path) -> Outcome {
        allowed.store(u32::MAX, Ordering::Release);
        let answer = self.student.join()?;
        ensure!(answer.is_ok(), expected: "`serve` answers requests, whatever clients do", observed: show_done(&answer), look: "`RpcServer::serve`");
        ensure!(path.symlink_metadata().is_err(), expected: "no name left when the server is dropped", observed: "the name is there", look: "`impl Drop for RpcServer`");
        Ok(())
    }
}

fn counters() -> (Shared<AtomicU32>, Shared<AtomicU32>, Shared<[AtomicU32; 64]>) {
    (
        Shared::new(AtomicU32::new(0)),
        Shared::new(AtomicU32::new(0)),
        Shared::new([const { AtomicU32::new(0) }; 64]),
    )
}

/// Three clients with several requests each: every reply reaches its client, with its number.
pub fn every_caller_gets_its_own_replies(check: &mut Check) -> Outcome {
    let place = Place::new(check)?;
    let path = place.path().join("rpc");
    let (allowed, served, order) = counters();
    let mut server = Server::start(check, &path, &allowed, &served, &order)?;
    if server.student.ended() {
        return server.stop(&allowed, &path);
    }
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push((connected(&path)?, Vec::<Vec<u8>>::new(), Vec::<Vec<u8>>::new()));
    }
    let mut total = 0;
    for round in 0..4 {
        for (client, wanted, _) in &mut clients {
            for _ in 0..check.rng().below(6) {
                let length = [0, 1, 20, MAX_MESSAGE][check.rng().below(4) as usize];
                let (number, request) = (check.rng().next_u64(), letters(check.rng(), length));
                post(client, &numbered(number, &request)).map_err(inconclusive("a request"))?;
                wanted.push(numbered(number, &answer_to(&request)));
                total += 1;
            }
        }
        allowed.store(total, Ordering::Release);
        check.wait_until(&format!("{total} requests are answered, round {round}"), || {
            for (client, _, got) in &mut clients {
                got.extend(packets(client));
            }
            clients.iter().map(|(_, _, got)| got.len()).sum::<usize>() as u32 >= total
                || server.student.ended()
        })?;
    }
    for (number, (_, wanted, got)) in clients.iter().enumerate() {
        for (wanted, got) in wanted.iter().zip(got) {
            ensure!(
                wanted == got,
                expected: format!("client {number} gets number {:#x} and {}", read_number(wanted).0, in_words(&read_number(wanted).1)),
                observed: format!("number {:#x} and {}", read_number(got).0, in_words(&read_number(got).1)),
                look: "`RpcServer::serve`: whom it answers, and with which number"
            );
        }
        ensure!(wanted.len() == got.len(), expected: format!("{} replies for client {number}", wanted.len()), observed: format!("{}", got.len()), look: "`RpcServer::serve`: whom it answers");
    }
    let taken =
        check.ask("`RpcServer::bind` to a name that is taken", || told(RpcServer::bind(&path).map(drop)))?;
    ensure!(is_error(&taken, "AddrInUse") && path.exists(), expected: "the error AddrInUse for a name that is taken, which stays", observed: show_done(&taken), look: "`RpcServer::bind`");
    check.note(format!("{total} requests of 3 clients"));
    server.stop(&allowed, &path)
}

/// Clients with many requests waiting are served in turn, and a new one is let in among them.
pub fn clients_are_served_in_turn(check: &mut Check) -> Outcome {
    const EACH: usize = 5;
    let place = Place::new(check)?;
    let path = place.path().join("rpc");
    let (allowed, served, order) = counters();
    let mut server = Server::start(check, &path, &allowed, &served, &order)?;
    if server.student.ended() {
        return server.stop(&allowed, &path);
    }
    let clients: Vec<OwnedFd> = (0..3).map(|_| connected(&path)).collect::<Result<_, _>>()?;
    let serve = |server: &mut Server, count: u32| -> Outcome {
        allowed.store(count, Ordering::Release);
        check.wait_until(&format!("{count} requests are answered"), || {
            served.load(Ordering::Acquire) == count || server.student.ended()
        })
    };
    // Everybody is let in and answered once.
    for (name, client) in clients.iter().enumerate() {
        post(client, &numbered(1, &[name as u8])).map_err(inconclusive("a request"))?;
    }
    serve(&mut server, 3)?;
    for (name, client) in clients.iter().enumerate() {
        for number in 0..EACH {
            post(client, &numbered(2 + number as u64, &[name as u8])).map_err(inconclusive("a request"))?;
        }
    }
    let late = connected(&path)?;
    post(&late, &numbered(1, &[3])).map_err(inconclusive("a request"))?;
    let total = 3 + 3 * EACH + 1;
    serve(&mut server, total as u32)?;
    let names: Vec<u32> = order[3..total].iter().map(|name| name.load(Ordering::Acquire)).collect();
    let mut left = [EACH, EACH, EACH, 1];
    for (place, &name) in names.iter().enumerate() {
        if let Some(last) = names[..place].iter().rposition(|&other| other == name) {
            let between = &names[last + 1..place];
            let starved = (0..4u32)
                .find(|other| *other != name && left[*other as usize] > 0 && !between.contains(other));
            ensure!(
                starved.is_none(),
                expected: "clients with requests waiting are served in turn (clients 0, 1 and 2 with 5 each, and the new client 3 with one)",
                observed: format!("client {name} again, after {:?}, while client {} waits", &names[..place], starved.unwrap_or(0)),
                look: "`RpcServer::serve`: with which client it begins to look, and when it lets new ones in"
            );
        }
        if let Some(left) = left.get_mut(name as usize) {
            *left = left.saturating_sub(1);
        }
    }
    drop((clients, late));
    server.stop(&allowed, &path)
}

/// Clients that leave at any point, and one that never reads: the server serves on, and keeps nothing of them.
pub fn clients_come_and_go(check: &mut Check) -> Outcome {
    let place = Place::new(check)?;
    let path = place.path().join("rpc");
    let (allowed, served, order) = counters();
    allowed.store(u32::MAX - 1, Ordering::Release);
    let mut server = Server::start(check, &path, &allowed, &served, &order)?;
    if server.student.ended() {
        return server.stop(&allowed, &path);
    }
    let pid = server.pid;
    let open = || observe::open_fds(pid).map_or(0, |fds| fds.len());
    let before = open();
    for number in 0..40u64 {
        let client = connected(&path)?;
        match number % 4 {
            // Comes and goes.
            0 => {}
            // Does not wait for its reply.
            1 => drop(post(&client, &numbered(number, b"never mind"))),
            // Is no client at all.
            2 => drop(post(&client, b"short")),
            // Waits for its reply, and leaves further requests.
            _ => {
                post(&client, &numbered(number, b"abc")).map_err(inconclusive("a request"))?;
                let mut got = Vec::new();
                check.wait_until("a client among many others gets its reply", || {
                    got.extend(packets(&client));
                    !got.is_empty() || server.student.ended()
                })?;
                ensure!(got == [numbered(number, b"cba")] || server.student.ended(), expected: "the reply \"cba\"", observed: format!("{} packets", got.len()), look: "`RpcServer::serve`");
                let _ = post(&client, &numbered(number, b"and another"));
            }
        }
    }
    check.wait_until(
        &format!(
            "the server has closed the connections of 40 clients that have gone ({before} descriptors before)"
        ),
        || open() <= before || server.student.ended(),
    )?;
    // One that asks and asks and reads nothing, and one that behaves.
    let deaf = connected(&path)?;
    let good = connected(&path)?;
    let (mut asked, mut sent_away, mut waiting, mut replies) = (0u64, false, false, 0);
    check.wait_until("a client is answered while another one does not read its replies", || {
        for _ in 0..50 {
            match post(&deaf, &numbered(asked, &[b'x'; 3000])) {
                Ok(()) => asked += 1,
                Err(Errno::EAGAIN) => break,
                Err(_) => sent_away = true,
            }
        }
        // Some 45 requests and as many replies go into the kernel's buffers.
        let full = sent_away || asked > 150;
        if !packets(&good).is_empty() {
            waiting = false;
            replies += u32::from(full);
        }
        if !waiting {
            waiting = post(&good, &numbered(7, b"me")).is_ok();
        }
        replies > 3 || server.student.ended()
    })?;
    check.note(format!("40 clients came and went; one sent {asked} requests and read no reply"));
    drop((deaf, good));
    server.stop(&allowed, &path)
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

//! Part 5: the server of requests. The check is its clients.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::{Check, Outcome, Shared, Stop, Student, ensure, observe};
use messages::{MAX_MESSAGE, RpcServer};
use nix::errno::Errno;

use super::rpc::{answer_to, connected, inconclusive, numbered, read_number};
use super::{
    Place, Told, in_words, is_error, let_sigpipe_kill, letters, packets, post, show_done, told, wait,
};

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
    // The good client's numbers are none of the other's.
    let (mut turn, mut strange) = (1 << 32, None::<Vec<u8>>);
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
        let got = packets(&good);
        if !got.is_empty() {
            strange = got.into_iter().find(|reply| *reply != numbered(turn, b"em"));
            if strange.is_some() {
                return true;
            }
            waiting = false;
            replies += u32::from(full);
            turn += 1;
        }
        if !waiting {
            waiting = post(&good, &numbered(turn, b"me")).is_ok();
        }
        replies > 3 || server.student.ended()
    })?;
    if let Some(reply) = &strange {
        let (number, message) = read_number(reply);
        ensure!(strange.is_none(), expected: format!("the reply \"em\" with number {turn}"), observed: format!("number {number} and {} bytes, the reply to another client", message.len()), look: "`RpcServer::serve`");
    }
    check.note(format!("40 clients came and went; one sent {asked} requests and read no reply"));
    drop((deaf, good));
    server.stop(&allowed, &path)
}

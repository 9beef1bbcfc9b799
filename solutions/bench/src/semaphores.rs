//! Lab 07: semaphores.

use semaphore_solution::{NamedSemaphore, Semaphore, StrongSemaphore};

use crate::contest::Contest;
use crate::counter::{Exclusive, Under, alone, contended, nanoseconds_of};
use crate::peers::PosixSemaphore;

const PEER: &str = "sem_t";

/// The contests of semaphores.
pub fn contests() -> Vec<Contest> {
    vec![uncontended(), by_threads(2), by_threads(4)]
}

fn uncontended() -> Contest {
    let name = format!("/bench-{}", std::process::id());
    let named = NamedSemaphore::create(&name, 1).expect("a name that nobody else has");
    Contest::new("wait, add 1, post; one thread", "nanoseconds, less is better")
        .peer(PEER, alone(Under::new(PosixSemaphore::new(1))))
        .reference("07 `Semaphore`", PEER, alone(Under::new(Semaphore::new(1))))
        .reference("07 `StrongSemaphore`", PEER, alone(Under::new(StrongSemaphore::new(1))))
        .reference(
            "07 `NamedSemaphore`",
            PEER,
            nanoseconds_of(move || {
                named.wait().expect("the count is 1");
                named.post().expect("the count is 0");
            }),
        )
}

fn by_threads(threads: usize) -> Contest {
    Contest::new(
        format!("wait, add 1, post; {threads} threads"),
        "millions a second together, more is better",
    )
    .peer(PEER, contended(Under::new(PosixSemaphore::new(1)), threads))
    .reference("07 `Semaphore`", PEER, contended(Under::new(Semaphore::new(1)), threads))
    .reference("07 `StrongSemaphore`", PEER, contended(Under::new(StrongSemaphore::new(1)), threads))
}

impl Exclusive for Semaphore {
    #[inline]
    fn lock(&self) {
        self.wait();
    }

    #[inline]
    fn unlock(&self) {
        self.post();
    }
}

impl Exclusive for StrongSemaphore {
    #[inline]
    fn lock(&self) {
        self.wait();
    }

    #[inline]
    fn unlock(&self) {
        self.post();
    }
}

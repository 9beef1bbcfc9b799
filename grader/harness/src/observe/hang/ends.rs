//! Who has which end of which pipe open.

use crate::observe::descriptor::{OpenFd, identity, is_pipe, open_fds};

/// A descriptor of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) pid: i32,
    pub(super) fd: i32,
}

/// More ends are not looked at: a submission may have any number of them open.
const MOST: usize = 10_000;

/// The ends of pipes and FIFOs that the observed processes, and the check, have open.
pub(super) struct PipeEnds {
    ends: Vec<End>,
}

struct End {
    holder: Holder,
    pipe: (u64, u64),
    open: OpenFd,
}

/// What is done at an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Reading,
    Writing,
}

impl Direction {
    pub(super) fn opposite(self) -> Direction {
        match self {
            Direction::Reading => Direction::Writing,
            Direction::Writing => Direction::Reading,
        }
    }
}

impl PipeEnds {
    pub(super) fn of(pids: &[i32], check: i32) -> PipeEnds {
        let mut ends = Vec::new();
        for pid in pids.iter().copied().chain((!pids.contains(&check)).then_some(check)) {
            for open in open_fds(pid).unwrap_or_default() {
                if ends.len() < MOST
                    && is_pipe(pid, open.number)
                    && let Some(pipe) = identity(pid, open.number)
                {
                    ends.push(End { holder: Holder { pid, fd: open.number }, pipe, open });
                }
            }
        }
        PipeEnds { ends }
    }

    /// Who has the pipe behind descriptor `fd` of `pid` open for `direction`; `None` if that is no pipe.
    pub(super) fn holders(&self, pid: i32, fd: i32, direction: Direction) -> Option<Vec<Holder>> {
        let pipe = self.ends.iter().find(|end| end.holder == Holder { pid, fd })?.pipe;
        let serves = |open: &OpenFd| match direction {
            Direction::Reading => open.readable(),
            Direction::Writing => open.writable(),
        };
        let ends = self.ends.iter().filter(|end| end.pipe == pipe && serves(&end.open));
        Some(ends.map(|end| end.holder).collect())
    }
}

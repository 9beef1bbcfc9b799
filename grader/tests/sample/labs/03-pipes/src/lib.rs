//! Sample submission: a student's half-finished lab 03. The first part is written, and does not compile.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    Whole,
    EndOfStream,
}

pub fn read_exact(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<Filled> {
    let mut filled = 0;
    while filled < buffer.len() {
        match nix::unistd::read(fd.as_fd(), &mut buffer[filled..]) {
            Ok(0) => return Ok(Filled::EndOfStream),
            Ok(count) => filled += count,
            Err(nix::Error::EINTR) => continue,
            Err(error) => return error,
        }
    }
    Ok(Filled::Whole)
}

pub fn write_all(_fd: impl AsFd, _bytes: &[u8]) -> io::Result<()> {
    todo!("write until every byte is taken; repeat after EINTR; return EPIPE as an error")
}

pub fn write_frame(_fd: impl AsFd, _payload: &[u8], _limit: usize) -> io::Result<()> {
    todo!("refuse a payload above the limit; write its length as four big-endian bytes, then the payload")
}

pub fn read_frame(_fd: impl AsFd, _limit: usize) -> io::Result<Option<Vec<u8>>> {
    todo!("read the four bytes of the length, refuse it above the limit, then read exactly that many bytes")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Exited(i32),
    Signalled(i32),
}

pub fn pipeline(_commands: &[&[&str]]) -> io::Result<Vec<Status>> {
    todo!("start every command with fork, dup2 and exec, close what is not used, wait for all of them")
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub status: Status,
}

pub fn capture(_command: &[&str], _input: &[u8]) -> io::Result<Captured> {
    todo!("connect three pipes to the command and serve them together until both outputs have ended")
}

#[derive(Debug)]
pub struct LogServer {}

impl LogServer {
    pub fn create(_path: &Path) -> io::Result<LogServer> {
        todo!("mkfifo, then open it so that neither this call nor a later read at zero writers misbehaves")
    }

    pub fn serve(&mut self, _on_line: impl FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<()> {
        todo!("read, cut at newlines, keep what is left over; go on when the last writer closes")
    }
}

#[derive(Debug)]
pub struct Logger {}

impl Logger {
    pub fn connect(_path: &Path) -> io::Result<Logger> {
        todo!(
            "open the FIFO for writing without waiting for a reader; later writes must wait when it is full"
        )
    }

    pub fn log(&self, _line: &[u8]) -> io::Result<()> {
        todo!("refuse what cannot be one line in one write; send line and newline in one write")
    }
}

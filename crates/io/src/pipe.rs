//! Reading from a pipe whose other end may be silent for long: a cancellation is noticed all the same.

use std::io::{self, Read};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::cancel::Cancel;

/// How long a cancellation may go unnoticed.
const LOOK_EVERY_MS: u16 = 100;

/// A reader that gives up when the work is cancelled, also while nothing arrives.
#[derive(Debug)]
pub struct Pipe<R> {
    from: R,
    cancel: Cancel,
}

impl<R> Pipe<R> {
    pub fn new(from: R, cancel: Cancel) -> Pipe<R> {
        Pipe { from, cancel }
    }
}

impl<R: Read + AsFd> Read for Pipe<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            // Not `Interrupted`: that kind means "try again".
            self.cancel.check().map_err(io::Error::other)?;
            let mut wanted = [PollFd::new(self.from.as_fd(), PollFlags::POLLIN)];
            match poll(&mut wanted, PollTimeout::from(LOOK_EVERY_MS)) {
                Ok(0) | Err(nix::errno::Errno::EINTR) => {}
                Ok(_) => return self.from.read(buffer),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_arrives_is_read_and_the_end_is_an_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut pipe = Pipe::new(reader, Cancel::new());
        writer.write_all(b"abc").unwrap();
        drop(writer);
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
    }

    #[test]
    fn a_silent_pipe_is_given_up_when_the_work_is_cancelled() {
        let (reader, _writer) = io::pipe().unwrap();
        let cancel = Cancel::new();
        let mut pipe = Pipe::new(reader, cancel.clone());
        let waiter = std::thread::spawn(move || pipe.read(&mut [0; 10]).map_err(|error| error.to_string()));
        cancel.cancel("enough");
        assert_eq!(waiter.join().unwrap(), Err("stopped: enough".to_owned()));
    }
}

//! Lines to a reader that may be slow or gone: written by a thread, so that the import never waits for it.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Lines that may wait. What comes while so many wait is lost.
const MAX_WAITING: usize = 64;
/// How long the end waits for a reader.
const END_WITHIN: Duration = Duration::from_secs(2);
/// How often the end looks whether there is room.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The writing end.
pub(super) struct Lines {
    waiting: SyncSender<String>,
    /// Ends with the thread.
    thread: Receiver<()>,
}

impl Lines {
    /// Starts the thread.
    ///
    /// # Errors
    /// If there can be no more threads.
    pub(super) fn start(mut to: Box<dyn Write + Send>) -> io::Result<Self> {
        let (waiting, lines) = sync_channel::<String>(MAX_WAITING);
        let (alive, thread) = channel();
        thread::Builder::new().name("progress".to_owned()).spawn(move || {
            let _alive = alive;
            for line in lines {
                // A reader that went away is nobody's problem: there is nothing more to do here.
                if to.write_all(line.as_bytes()).and_then(|()| to.flush()).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { waiting, thread })
    }

    /// Writes a line, unless too many wait already.
    pub(super) fn offer(&self, line: String) {
        // Full or gone: the next line says more than this one.
        let _ = self.waiting.try_send(line);
    }

    /// Writes the last line, and waits a moment for a reader that is slow.
    pub(super) fn finish(self, last: String) {
        let Self { waiting, thread } = self;
        let began = Instant::now();
        let mut last = Some(last);
        while let Some(line) = last.take() {
            match waiting.try_send(line) {
                Err(TrySendError::Full(line)) if began.elapsed() < END_WITHIN => {
                    last = Some(line);
                    thread::sleep(LOOK_EVERY);
                }
                _ => {}
            }
        }
        drop(waiting);
        let left = END_WITHIN.saturating_sub(began.elapsed());
        // Either way it ends here.
        let (Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected)) = thread.recv_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};

    use super::*;

    #[test]
    fn lines_arrive_in_order_and_the_last_one_does() {
        let (reader, writer) = io::pipe().unwrap();
        let lines = Lines::start(Box::new(writer)).unwrap();
        lines.offer("a\n".to_owned());
        lines.finish("b\n".to_owned());
        let read: Vec<String> = BufReader::new(reader).lines().map(Result::unwrap).collect();
        assert_eq!(read, ["a", "b"]);
    }

    #[test]
    fn a_reader_that_does_not_read_or_goes_away_holds_nobody_up() {
        let (reader, writer) = io::pipe().unwrap();
        let lines = Lines::start(Box::new(writer)).unwrap();
        // Far more than a pipe and the queue hold.
        let began = Instant::now();
        for _ in 0..1000 {
            lines.offer("x".repeat(4096));
        }
        assert!(began.elapsed() < END_WITHIN, "it waited");
        drop(reader);
        lines.finish("b\n".to_owned());
    }
}

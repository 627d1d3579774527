//! What the workers do next: the first segment of each tablespace before its others, since only the first page tells
//! how all of them are to be read; large tablespaces first, so that none is left over at the end.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Condvar, Mutex, PoisonError};

/// One piece of work: positions in the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    pub unit: usize,
    pub file: usize,
    /// Neighbours, since what lies side by side in a file does so in the packs.
    pub segments: Range<usize>,
    /// The one that must be done before the unit's others may be.
    pub first: bool,
}

#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Units not begun, in the order in which they are to be.
    units: VecDeque<Task>,
    /// Tasks of units whose first segment is done.
    ready: VecDeque<Task>,
    /// First segments being worked on.
    opening: usize,
    stopped: bool,
}

impl Queue {
    /// `first` holds the first task of every unit.
    pub fn new(first: impl IntoIterator<Item = Task>) -> Queue {
        let state =
            State { units: first.into_iter().collect(), ready: VecDeque::new(), opening: 0, stopped: false };
        Queue { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// `None`: there is nothing left, or all were told to stop.
    pub fn next(&self) -> Option<Task> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.stopped {
                return None;
            }
            if let Some(task) = state.ready.pop_front() {
                return Some(task);
            }
            if let Some(task) = state.units.pop_front() {
                state.opening += 1;
                return Some(task);
            }
            if state.opening == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The unit's first segment is done: its others may be.
    pub fn opened(&self, others: impl IntoIterator<Item = Task>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.opening = state.opening.saturating_sub(1);
        state.ready.extend(others);
        self.changed.notify_all();
    }

    /// Nobody gets anything any more.
    pub fn stop(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(unit: usize, segment: usize) -> Task {
        Task { unit, file: unit, segments: segment..segment + 1, first: segment == 0 }
    }

    #[test]
    fn the_first_segment_comes_first_and_all_come() {
        let queue = Queue::new([task(0, 0), task(1, 0)]);
        assert_eq!(queue.next(), Some(task(0, 0)));
        queue.opened([task(0, 1), task(0, 2)]);
        // What is open is finished before more is opened.
        assert_eq!(queue.next(), Some(task(0, 1)));
        assert_eq!(queue.next(), Some(task(0, 2)));
        assert_eq!(queue.next(), Some(task(1, 0)));
        queue.opened([]);
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn one_that_waits_gets_what_another_opens() {
        let queue = Queue::new([task(0, 0)]);
        assert_eq!(queue.next(), Some(task(0, 0)));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.next());
            queue.opened([task(0, 1)]);
            assert_eq!(waiting.join().unwrap(), Some(task(0, 1)));
        });
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn all_stop() {
        let queue = Queue::new([task(0, 0), task(1, 0)]);
        let _ = queue.next();
        queue.stop();
        assert_eq!(queue.next(), None);
    }
}

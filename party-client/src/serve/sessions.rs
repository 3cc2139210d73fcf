//! Sessions that stay open between requests: set-up is paid once, and a conversation goes on where
//! it was.

use std::{
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::{error::Error, session::Session};

/// The sessions of an endpoint that do nothing at the moment.
pub struct Sessions {
    idle: Mutex<Vec<(Session, Instant)>>,
    most: usize,
    keep: Duration,
}

impl Sessions {
    /// At most so many, for so long each.
    pub fn new(most: usize, keep: Duration) -> Sessions {
        Sessions { idle: Mutex::default(), most, keep }
    }

    /// The session that has read most of a prompt; where none has, the one that was idle longest.
    pub fn take(&self, prompt: &[u32]) -> Option<Session> {
        let mut idle = self.lock();
        let covered = |i: &usize| (idle[*i].0.covered(prompt), usize::MAX - i);
        let best = (0..idle.len()).max_by_key(covered)?;
        Some(idle.remove(best).0)
    }

    /// Keeps a session; one that has no room is ended.
    pub fn give(&self, session: Session) {
        if self.keep.is_zero() {
            return end(session);
        }
        let mut idle = self.lock();
        idle.push((session, Instant::now()));
        let first = (idle.len() > self.most).then(|| idle.remove(0).0);
        drop(idle);
        first.into_iter().for_each(end);
    }

    /// Ends those that were idle for too long.
    pub fn expire(&self) {
        let expired: Vec<_> = {
            let mut idle = self.lock();
            let all = mem::take(&mut *idle);
            let (kept, expired) = all.into_iter().partition(|(_, since)| since.elapsed() < self.keep);
            *idle = kept;
            expired
        };
        expired.into_iter().for_each(|(session, _)| end(session));
    }

    /// Ends all, one after the other.
    pub fn end_all(&self) {
        let all = mem::take(&mut *self.lock());
        all.into_iter().for_each(|(session, _)| session.close(&Ok::<_, Error>(())));
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Session, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// On a thread of its own: the server may take its time to part.
fn end(session: Session) {
    let _ = thread::Builder::new().name("parting".into()).spawn(|| session.close(&Ok::<_, Error>(())));
}

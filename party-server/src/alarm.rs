//! What ends a client's connection before its time: a deadline, another client's need, a stop.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    thread,
    time::{Duration, Instant},
};

/// Why a connection ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ending {
    /// It took longer than this to connect.
    #[error("the client has not joined within {0:?}")]
    Handshake(Duration),
    /// It took longer than this to set up the session.
    #[error("the session was not set up within {0:?}; raise --setup-seconds for clients on slow links")]
    SetUp(Duration),
    /// The session took longer than this.
    #[error("the session took longer than {0:?}; raise --max-session-seconds if that is too short")]
    Session(Duration),
    /// It had not joined yet, and newer connections needed its place.
    #[error("the client has not joined, and its place was needed for a newer connection")]
    Displaced,
    /// The server stops.
    #[error("the server stops")]
    Stopping,
}

/// An alarm that can be waited for. Cheap to clone; all clones are the same alarm.
#[derive(Clone, Default)]
pub struct Alarm(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    rung: Option<Ending>,
    waker: Option<Waker>,
}

impl Alarm {
    /// Rings it. Only the first time counts.
    pub fn ring(&self, ending: Ending) {
        let waker = {
            let mut state = lock(&self.0);
            if state.rung.is_some() {
                return;
            }
            state.rung = Some(ending);
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// Why it has rung, if it has.
    pub fn rung(&self) -> Option<Ending> {
        lock(&self.0).rung
    }

    /// Does `work` until it is done or the alarm rings. One caller at a time. `work` is dropped at
    /// the point where it waits.
    ///
    /// # Errors
    /// Why the alarm has rung.
    pub async fn unless_rung<T>(&self, work: impl Future<Output = T>) -> Result<T, Ending> {
        let mut work = pin!(work);
        poll_fn(|context| {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(Ok(done));
            }
            let mut state = lock(&self.0);
            match state.rung {
                Some(ending) => Poll::Ready(Err(ending)),
                None => {
                    state.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// Rings alarms at their deadlines, from one thread of its own.
#[derive(Clone)]
pub struct Clock(Arc<Shared>);

struct Shared {
    due: Mutex<Due>,
    changed: Condvar,
}

#[derive(Default)]
struct Due {
    alarms: BTreeMap<(Instant, u64), (Alarm, Ending)>,
    next: u64,
    /// The clock's last handle is gone.
    over: bool,
}

/// A deadline; without effect once this is dropped.
#[must_use]
pub struct Deadline {
    clock: Arc<Shared>,
    key: (Instant, u64),
}

impl Clock {
    /// Starts the thread.
    ///
    /// # Panics
    /// If the system refuses a thread.
    pub fn start() -> Clock {
        let shared = Arc::new(Shared { due: Mutex::default(), changed: Condvar::new() });
        let own = shared.clone();
        thread::Builder::new()
            .name("clock".into())
            .spawn(move || own.run())
            .expect("the system grants a thread");
        Clock(shared)
    }

    /// Rings `alarm` after `limit`, because of `ending`.
    pub fn deadline(&self, limit: Duration, alarm: &Alarm, ending: fn(Duration) -> Ending) -> Deadline {
        let mut due = lock(&self.0.due);
        due.next += 1;
        let key = (Instant::now() + limit, due.next);
        due.alarms.insert(key, (alarm.clone(), ending(limit)));
        self.0.changed.notify_one();
        Deadline { clock: self.0.clone(), key }
    }

    /// Ends the thread.
    pub fn stop(&self) {
        lock(&self.0.due).over = true;
        self.0.changed.notify_one();
    }
}

impl Shared {
    fn run(&self) {
        let mut due = lock(&self.due);
        while !due.over {
            let now = Instant::now();
            let Some((&key, _)) = due.alarms.first_key_value() else {
                due = self.changed.wait(due).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if key.0 > now {
                let wait = self.changed.wait_timeout(due, key.0 - now);
                due = wait.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            if let Some((alarm, ending)) = due.alarms.remove(&key) {
                alarm.ring(ending);
            }
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        lock(&self.clock.due).alarms.remove(&self.key);
    }
}

/// What is locked here is never left half changed, so a panic elsewhere does no harm.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use sotto_net::Runtime;

    use super::*;

    const SHORT: Duration = Duration::from_millis(30);

    #[test]
    fn work_ends_at_its_deadline_or_before() {
        let (clock, runtime, alarm) = (Clock::start(), Runtime::new(), Alarm::default());
        drop(clock.deadline(Duration::ZERO, &Alarm::default(), Ending::SetUp));
        {
            let _unneeded = clock.deadline(SHORT, &alarm, Ending::SetUp);
            assert_eq!(runtime.block_on(alarm.unless_rung(async { 7 })), Ok(7));
        }
        thread::sleep(2 * SHORT);
        assert_eq!(alarm.rung(), None, "the deadline has gone with its guard");
        let _deadline = clock.deadline(SHORT, &alarm, Ending::Session);
        let begun = Instant::now();
        let ended = runtime.block_on(alarm.unless_rung(pending::<()>()));
        assert_eq!(ended, Err(Ending::Session(SHORT)));
        assert!(begun.elapsed() >= SHORT);
        alarm.ring(Ending::Stopping);
        assert_eq!(alarm.rung(), Some(Ending::Session(SHORT)), "the first reason stays");
        clock.stop();
    }
}

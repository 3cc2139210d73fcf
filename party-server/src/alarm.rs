//! What ends a client's connection before its time: another client's need, or a stop.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

/// Why a connection ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ending {
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

/// What is locked here is never left half changed, so a panic elsewhere does no harm.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{future::pending, thread, time::Duration};

    use sotto_net::Runtime;

    use super::*;

    #[test]
    fn work_ends_when_the_alarm_rings_or_before() {
        let (runtime, alarm) = (Runtime::new(), Alarm::default());
        assert_eq!(runtime.block_on(alarm.unless_rung(async { 7 })), Ok(7));
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(30));
                alarm.ring(Ending::Displaced);
            });
            assert_eq!(runtime.block_on(alarm.unless_rung(pending::<()>())), Err(Ending::Displaced));
        });
        alarm.ring(Ending::Stopping);
        assert_eq!(alarm.rung(), Some(Ending::Displaced), "the first reason stays");
    }
}

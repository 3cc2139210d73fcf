//! A bell that ends something before its time, from another thread or task.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

/// An alarm that can be waited for, with a reason. Cheap to clone; all clones are the same alarm.
pub struct Alarm<R>(Arc<Mutex<State<R>>>);

struct State<R> {
    rung: Option<R>,
    waker: Option<Waker>,
}

impl<R> Default for Alarm<R> {
    fn default() -> Alarm<R> {
        Alarm(Arc::new(Mutex::new(State { rung: None, waker: None })))
    }
}

impl<R> Clone for Alarm<R> {
    fn clone(&self) -> Alarm<R> {
        Alarm(self.0.clone())
    }
}

impl<R: Copy> Alarm<R> {
    /// Rings it. Only the first time counts.
    pub fn ring(&self, reason: R) {
        let waker = {
            let mut state = lock(&self.0);
            if state.rung.is_some() {
                return;
            }
            state.rung = Some(reason);
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// Why it has rung, if it has.
    pub fn rung(&self) -> Option<R> {
        lock(&self.0).rung
    }

    /// Does `work` until it is done or the alarm rings. One caller at a time. `work` is dropped at
    /// the point where it waits.
    ///
    /// # Errors
    /// Why the alarm has rung.
    pub async fn unless_rung<T>(&self, work: impl Future<Output = T>) -> Result<T, R> {
        let mut work = pin!(work);
        poll_fn(|context| {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(Ok(done));
            }
            let mut state = lock(&self.0);
            match state.rung {
                Some(reason) => Poll::Ready(Err(reason)),
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
                alarm.ring("needed");
            });
            assert_eq!(runtime.block_on(alarm.unless_rung(pending::<()>())), Err("needed"));
        });
        alarm.ring("stopping");
        assert_eq!(alarm.rung(), Some("needed"), "the first reason stays");
    }
}

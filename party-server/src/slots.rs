//! A semaphore: so many at a time, the others wait.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Free places.
#[derive(Clone)]
pub struct Slots(Arc<(Mutex<usize>, Condvar)>);

/// A place taken; free again when dropped.
pub struct Slot(Slots);

impl Slots {
    /// `n` places.
    pub fn new(n: usize) -> Slots {
        Slots(Arc::new((Mutex::new(n), Condvar::new())))
    }

    /// A place, waiting for it if need be.
    pub fn take(&self) -> Slot {
        let mut free = self.free();
        while *free == 0 {
            free = self.0.1.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Slot(self.clone())
    }

    /// A place, if there is one now.
    pub fn try_take(&self) -> Option<Slot> {
        let mut free = self.free();
        *free = free.checked_sub(1)?;
        Some(Slot(self.clone()))
    }

    /// A number cannot be left half changed, so a panic elsewhere does no harm here.
    fn free(&self) -> MutexGuard<'_, usize> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *self.0.free() += 1;
        self.0.0.1.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_run_out_and_come_back() {
        let slots = Slots::new(1);
        let slot = slots.take();
        assert!(slots.try_take().is_none());
        let waiting = std::thread::spawn({
            let slots = slots.clone();
            move || drop(slots.take())
        });
        drop(slot);
        waiting.join().unwrap();
        assert!(slots.try_take().is_some());
    }
}

//! How many requests are answered at a time, and how many wait.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::refusal::Refusal;

/// The places of an endpoint.
pub struct Places {
    free: Arc<Semaphore>,
    all: usize,
    waiting: AtomicUsize,
    most_waiting: usize,
}

/// A request's place; free again when all copies are dropped.
#[derive(Clone)]
pub struct Place {
    _permit: Arc<OwnedSemaphorePermit>,
}

impl Places {
    /// `requests` at a time; `waiting` more wait at most, in order.
    pub fn new(requests: usize, waiting: usize) -> Places {
        let free = Arc::new(Semaphore::new(requests));
        Places { free, all: requests, waiting: AtomicUsize::new(0), most_waiting: waiting }
    }

    /// A place, at once or after those who wait.
    ///
    /// # Errors
    /// Too many wait, or the endpoint is stopping.
    pub async fn take(&self) -> Result<Place, Refusal> {
        struct Waits<'a>(&'a AtomicUsize);
        impl Drop for Waits<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        // The queue is fair: nobody gets a place at once while others wait.
        let permit = match self.free.clone().try_acquire_owned() {
            Ok(permit) => Ok(permit),
            Err(_) => {
                let before = self.waiting.fetch_add(1, Ordering::SeqCst);
                let _waits = Waits(&self.waiting);
                if before >= self.most_waiting && !self.free.is_closed() {
                    return Err(Refusal::busy(before));
                }
                self.free.clone().acquire_owned().await
            }
        };
        let permit = permit.map_err(|_| Refusal::stopping())?;
        Ok(Place { _permit: Arc::new(permit) })
    }

    /// Requests that are answered now.
    pub fn taken(&self) -> usize {
        self.all - self.free.available_permits()
    }

    /// Requests that wait now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Gives no more places; those who wait are refused.
    pub fn close(&self) {
        self.free.close();
    }

    /// Waits until all places are free.
    pub async fn empty(&self) {
        while self.taken() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use sotto_net::Runtime;

    use super::*;

    #[test]
    fn requests_wait_in_order_up_to_a_limit() {
        Runtime::new().block_on(async {
            let places = Places::new(1, 1);
            let first = places.take().await.unwrap();
            assert_eq!((places.taken(), places.waiting()), (1, 0));
            let second = places.take();
            let more = async {
                tokio::task::yield_now().await;
                assert_eq!(places.waiting(), 1);
                let refused = places.take().await.err().unwrap();
                assert_eq!(refused.status(), 429);
                drop(first);
            };
            let (second, ()) = tokio::join!(second, more);
            drop(second.unwrap());
            places.empty().await;
            places.close();
            assert_eq!(places.take().await.err().unwrap().status(), 503);
        });
    }
}

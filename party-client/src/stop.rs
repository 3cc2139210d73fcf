//! Ending a request before its time.

use std::{future::Future, pin::pin, time::Duration};

use sotto_party::alarm::Alarm;
use tokio::time::timeout;

/// How long a request that is told to stop may take to end as any other does: after a whole token.
const GRACE: Duration = Duration::from_secs(3);

/// Tells a session to stop, from any thread. Cheap to clone; all clones are the same.
#[derive(Clone, Default)]
pub struct Stop(Alarm<Asked>);

#[derive(Clone, Copy)]
struct Asked;

/// The work was given up.
pub(crate) struct GivenUp;

impl Stop {
    /// Stops the session: while it is set up, at once; in an answer, after the next token, or if
    /// that takes long, in the middle of it. The server is told in either case.
    pub fn now(&self) {
        self.0.ring(Asked);
    }

    /// Whether the session was told to stop.
    pub fn is_asked(&self) -> bool {
        self.0.rung().is_some()
    }

    /// Does `work`, unless the session is told to stop before it is done.
    pub(crate) async fn or_stop<T>(&self, work: impl Future<Output = T>) -> Result<T, GivenUp> {
        self.0.unless_rung(work).await.map_err(|Asked| GivenUp)
    }

    /// Does `work`, which looks itself whether it is to stop, and has some time for that.
    pub(crate) async fn or_soon<T>(&self, work: impl Future<Output = T>) -> Result<T, GivenUp> {
        let mut work = pin!(work);
        match self.or_stop(work.as_mut()).await {
            Ok(done) => Ok(done),
            Err(GivenUp) => timeout(GRACE, work).await.map_err(|_| GivenUp),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use sotto_net::Runtime;

    use super::*;

    #[test]
    fn work_that_looks_ends_by_itself() {
        let (runtime, stop) = (Runtime::new(), Stop::default());
        assert!(runtime.block_on(stop.or_soon(async { 7 })).is_ok_and(|x| x == 7));
        stop.now();
        let looks = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            stop.is_asked()
        };
        assert!(runtime.block_on(stop.or_soon(looks)).is_ok_and(|asked| asked));
        assert!(runtime.block_on(stop.or_stop(pending::<()>())).is_err());
    }
}

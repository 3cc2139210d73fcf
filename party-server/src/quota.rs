//! Tokens a day that each client may have read and made: a bound on what answers give away. It is
//! none on what a client costs: one that gives up early gets back what was not made.
//!
//! A request takes what it may need, its prompt and the greatest length of its answer, before it is
//! admitted; what it did not need comes back once it is served. One that fails gives nothing back.
//! Days are UTC's. Counts are in memory: a server that starts anew begins with none.

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use sotto_models::service::Allowance;
use sotto_net::Fingerprint;

use crate::alarm::lock;

/// Each client's tokens. Cheap to clone.
#[derive(Clone, Default)]
pub struct Quota(Option<Arc<Shared>>);

struct Shared {
    tokens: u64,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    day: u64,
    tokens: BTreeMap<Fingerprint, u64>,
}

impl Taken {
    /// What a client has taken on that day. The first question of a day forgets those before. A
    /// clock that was ahead, and is set right, keeps what was taken.
    fn of(&mut self, client: Fingerprint, day: u64) -> &mut u64 {
        if day > self.day {
            *self = Taken { day, tokens: BTreeMap::new() };
        } else if day + 1 < self.day {
            self.day = day;
        }
        self.tokens.entry(client).or_default()
    }
}

impl Quota {
    /// So many tokens a day for each client, or no limit.
    pub fn new(tokens: Option<u64>) -> Quota {
        Quota(tokens.map(|tokens| Arc::new(Shared { tokens, taken: Mutex::default() })))
    }

    /// What a client has. Nobody knows who it is without TLS: then there is no limit.
    pub fn of(&self, client: Option<Fingerprint>) -> Purse {
        let shared = self.0.clone().zip(client);
        Purse { shared, last: Cell::new((0, 0)), now: today }
    }
}

fn today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() / 86_400)
}

/// One client's tokens, in one of its sessions.
pub struct Purse {
    shared: Option<(Arc<Shared>, Fingerprint)>,
    /// What the requests took that are not settled, and on which day.
    last: Cell<(u64, u64)>,
    now: fn() -> u64,
}

impl Allowance for Purse {
    fn take(&self, tokens: u64) -> bool {
        let Some((shared, client)) = &self.shared else { return true };
        let (day, mut all) = ((self.now)(), lock(&shared.taken));
        let taken = all.of(*client, day);
        match taken.checked_add(tokens).filter(|&sum| sum <= shared.tokens) {
            None => false,
            Some(sum) => {
                *taken = sum;
                // Texts of one request are taken one after the other.
                let (before, same) = self.last.get();
                self.last.set((if same == day { before + tokens } else { tokens }, day));
                true
            }
        }
    }
}

impl Purse {
    /// A request has come to its end, and needed so many.
    pub fn settle(&self, needed: u64) {
        let (took, day) = self.last.take();
        if let Some((shared, client)) = &self.shared {
            let mut all = lock(&shared.taken);
            if all.day == day {
                let taken = all.of(*client, day);
                *taken = taken.saturating_sub(took.saturating_sub(needed));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sotto_net::Identity;

    use super::*;

    fn client() -> Option<Fingerprint> {
        Some(Identity::generate().fingerprint())
    }

    #[test]
    fn each_client_has_its_own_and_gets_back_what_it_did_not_need() {
        let (quota, one, other) = (Quota::new(Some(100)), client(), client());
        let mine = quota.of(one);
        assert!(mine.take(60) && !mine.take(41));
        // Another session of the same client sees it, another client does not.
        assert!(!quota.of(one).take(41) && quota.of(other).take(100));
        mine.settle(20);
        assert!(!mine.take(81) && mine.take(50) && mine.take(30));
        // Texts that are taken one after the other are settled together.
        mine.settle(70);
        assert!(!mine.take(11) && mine.take(10));
        // A session that fails gives nothing back.
        drop(mine);
        assert!(!quota.of(one).take(1));
    }

    #[test]
    fn a_new_day_begins_with_all() {
        let (quota, one) = (Quota::new(Some(10)), client());
        let at = |now| Purse { now, ..quota.of(one) };
        let (first, second) = (at(|| 7), at(|| 8));
        assert!(first.take(10) && second.take(4));
        // What is left of yesterday does not come back today.
        first.settle(0);
        assert!(!second.take(7) && second.take(6));
    }

    #[test]
    fn a_clock_that_was_ahead_gives_nothing_and_takes_no_day_away() {
        let (quota, one) = (Quota::new(Some(10)), client());
        let at = |now| Purse { now, ..quota.of(one) };
        assert!(at(|| 9000).take(10) && !at(|| 7).take(1) && at(|| 8).take(10));
    }

    #[test]
    fn nobody_counts_without_a_limit_or_a_name() {
        for purse in [Quota::new(None).of(client()), Quota::new(Some(1)).of(None)] {
            assert!(purse.take(u64::MAX) && purse.take(u64::MAX));
            purse.settle(0);
        }
    }

    #[test]
    fn sums_do_not_wrap() {
        let purse = Quota::new(Some(u64::MAX)).of(client());
        assert!(purse.take(u64::MAX) && !purse.take(1));
    }
}

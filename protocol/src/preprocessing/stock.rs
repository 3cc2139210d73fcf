//! A stock: correlations of one kind, made before their inputs exist, each of them handed out once.
//!
//! Both parties fill and draw in the same order, since both follow the same public shapes. What was
//! drawn is gone, also after an error. Entries come from the planner ([`crate::planner`]), which
//! makes them or begins to; a draw waits for those in flight and fails by an assertion if there are
//! too few. What COTs alone can make, a session makes where it is drawn.

use std::collections::VecDeque;

use sotto_ot::OneHots;

use crate::{Error, Session, background::Request};

/// Entries of one kind, in the order in which they were made.
pub(crate) trait Entries: Sized {
    /// Entries left.
    fn len(&self) -> usize;
    /// Splits off the first `n`.
    fn take(&mut self, n: usize) -> Self;
    /// Adds later entries.
    fn append(&mut self, later: Self);
}

/// The entries that are there, and the requests for more.
pub(crate) struct Stock<T> {
    entries: Option<T>,
    in_flight: VecDeque<Request<T>>,
}

impl<T> Default for Stock<T> {
    fn default() -> Self {
        Stock { entries: None, in_flight: VecDeque::new() }
    }
}

impl<T: Entries> Stock<T> {
    /// Entries that are there.
    pub fn len(&self) -> usize {
        self.entries.as_ref().map_or(0, T::len)
    }

    /// Entries that are neither there nor in flight for a draw of `n`.
    pub fn missing(&self, n: usize) -> usize {
        let in_flight: usize = self.in_flight.iter().map(|request| request.count).sum();
        n.saturating_sub(self.len() + in_flight)
    }

    /// Adds later entries.
    pub fn add(&mut self, later: T) {
        match &mut self.entries {
            Some(entries) => entries.append(later),
            None => self.entries = Some(later),
        }
    }

    /// Adds entries that are being made.
    pub fn expect(&mut self, request: Request<T>) {
        self.in_flight.push_back(request);
    }

    /// Moves `n` entries out.
    ///
    /// # Panics
    /// If there are fewer: the planner is asked for them before they are drawn.
    pub fn draw(&mut self, n: usize) -> T {
        let found = self.len();
        match &mut self.entries {
            Some(entries) if found >= n => entries.take(n),
            _ => panic!(
                "a draw of {n} finds {found} {} in stock: the planner makes them before they are drawn",
                std::any::type_name::<T>()
            ),
        }
    }
}

/// Waits for requests, until there are `n` entries or no more in flight.
///
/// # Errors
/// A request has failed.
pub(crate) async fn arrive<T: Entries + Send + 'static>(
    s: &mut Session,
    stock: impl for<'a> Fn(&'a mut Session) -> &'a mut Stock<T>,
    n: usize,
) -> Result<(), Error> {
    while stock(s).len() < n {
        let Some(request) = stock(s).in_flight.pop_front() else { break };
        let made = request.finish(s).await?;
        stock(s).add(made);
    }
    Ok(())
}

/// The order in which entries were handed out: kind, parameter, number of the first, count. The
/// numbers count all entries of a session.
#[derive(Default)]
pub(crate) struct Ledger {
    hash: blake3::Hasher,
    next: u64,
}

impl Ledger {
    /// Writes a draw down.
    pub fn record(&mut self, kind: &'static str, parameter: u64, count: usize) {
        self.hash.update(kind.as_bytes());
        for number in [parameter, self.next, count as u64] {
            self.hash.update(&number.to_le_bytes());
        }
        self.next += count as u64;
    }

    /// A digest of all draws so far.
    pub fn digest(&self) -> [u8; 32] {
        *self.hash.finalize().as_bytes()
    }
}

impl Entries for OneHots {
    fn len(&self) -> usize {
        self.len()
    }
    fn take(&mut self, n: usize) -> OneHots {
        self.take(n)
    }
    fn append(&mut self, later: OneHots) {
        self.append(later);
    }
}

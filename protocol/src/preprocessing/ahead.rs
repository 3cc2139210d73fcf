//! Everything encrypted that is about to be needed, in the turns of one, or beside what is evaluated meanwhile.
//!
//! | client                     |                     | server                                   |
//! |----------------------------|---------------------|------------------------------------------|
//! | uploads, one after the other | `-- */upload ->`  | works on each as it comes                |
//! | takes what they lead to    | `<- */reply --`     | and replies                              |
//!
//! So both work at the same time, and layers to come do not wait for a round trip each. Each need is an errand (`errand.rs`): it is begun at one point and
//! finished at another, where it is needed. Both parties ask for the same in the same order, a function of
//! public shapes. What is in stock or being made already is not made. The parts: [`crate::linear`], [`crate::rows`], [`crate::kv_cache`].

use std::collections::VecDeque;

use crate::{
    Client, Error, Server, Session,
    kv_cache::{self, KvCache},
    linear::{self, Weight, WeightShape},
    rows::{self, RowShape},
};

/// What is about to be needed, of a matrix or of its shape: how many, and how many to make beyond those if any are lacking.
pub enum Need<'a, W> {
    /// Masks for rows of a matrix' input.
    Linear(&'a W, usize, usize),
    /// Row triples.
    Rows(RowShape, usize, usize),
    /// Masks for queries of the next positions.
    Positions(&'a mut KvCache, usize, usize),
    /// The same, for after those that there are, if there are no more than so many.
    Later(&'a mut KvCache, usize, usize),
}

/// What both parties know of a matrix.
pub trait Matrix {
    /// Its public shape.
    fn shape(&self) -> &WeightShape;
}

impl Matrix for Weight {
    fn shape(&self) -> &WeightShape {
        &self.shape
    }
}

impl Matrix for WeightShape {
    fn shape(&self) -> &WeightShape {
        self
    }
}

impl<W: Matrix> Need<'_, W> {
    /// Whether it is neither in stock nor being made.
    pub fn is_lacking(&self, s: &mut Session) -> bool {
        match self {
            Need::Linear(w, rows, _) => linear::lacking_rows(s, w.shape(), *rows) > 0,
            Need::Rows(shape, rows, _) => rows::lacking_rows(s, *shape, *rows) > 0,
            Need::Positions(cache, n, _) => cache.lacks(*n),
            Need::Later(cache, n, _) => cache.lacks_later(*n),
        }
    }

    /// Bytes that it takes in stock, about.
    pub fn bytes(&self) -> usize {
        let words = match self {
            Need::Linear(w, rows, more) => (rows + more) * (w.shape().inner + w.shape().outer),
            Need::Rows(shape, rows, more) => 2 * (rows + more) * shape.width,
            Need::Positions(cache, n, more) | Need::Later(cache, n, more) => cache.words(n + more),
        };
        8 * words
    }

    /// Waits for what is being made of it.
    async fn finish(self, s: &mut Session) -> Result<(), Error> {
        match self {
            Need::Linear(w, rows, _) => linear::collect(s, w.shape(), rows).await,
            Need::Rows(shape, rows, _) => rows::collect(s, shape, rows).await,
            Need::Positions(cache, n, _) => cache.collect(s, n).await,
            Need::Later(..) => Ok(()),
        }
    }
}

/// A party that begins what is needed.
trait Party {
    type Weight: Matrix;
    fn session(&mut self) -> &mut Session;
    fn begin(&mut self, need: &mut Need<'_, Self::Weight>) -> Result<(), Error>;
}

impl Party for Client {
    type Weight = WeightShape;
    fn session(&mut self) -> &mut Session {
        &mut self.session
    }
    fn begin(&mut self, need: &mut Need<'_, WeightShape>) -> Result<(), Error> {
        match need {
            Need::Linear(w, rows, more) => linear::ask(self, w, *rows, *more),
            Need::Rows(shape, rows, more) => rows::ask(self, *shape, *rows, *more),
            Need::Positions(cache, n, more) => kv_cache::ask(self, cache, *n, *more),
            Need::Later(cache, n, more) => kv_cache::ask_later(self, cache, *n, *more),
        }
    }
}

impl Party for Server {
    type Weight = Weight;
    fn session(&mut self) -> &mut Session {
        &mut self.session
    }
    fn begin(&mut self, need: &mut Need<'_, Weight>) -> Result<(), Error> {
        match need {
            Need::Linear(w, rows, more) => linear::answer(self, w, *rows, *more),
            Need::Rows(shape, rows, more) => rows::answer(self, *shape, *rows, *more),
            Need::Positions(cache, n, more) => kv_cache::answer(self, cache, *n, *more),
            Need::Later(cache, n, more) => kv_cache::answer_later(self, cache, *n, *more),
        }
    }
}

/// Makes what is needed; the client's part.
///
/// # Errors
/// The peer's replies are malformed or missing.
pub async fn client(me: &mut Client, needs: Vec<Need<'_, WeightShape>>) -> Result<(), Error> {
    make(me, needs).await
}

/// The server's part.
///
/// # Errors
/// The peer's uploads are malformed or missing.
pub async fn server(me: &mut Server, needs: Vec<Need<'_, Weight>>) -> Result<(), Error> {
    make(me, needs).await
}

/// Begins what will be needed, in this order, as far as memory permits; the client's part. Waits for nothing.
///
/// # Errors
/// A matrix for which there is no layout.
pub fn begin_client(me: &mut Client, needs: &mut [Need<'_, WeightShape>]) -> Result<(), Error> {
    begin(me, needs)
}

/// The server's part.
///
/// # Errors
/// A matrix for which there is no layout.
pub fn begin_server(me: &mut Server, needs: &mut [Need<'_, Weight>]) -> Result<(), Error> {
    begin(me, needs)
}

/// Bytes of stock that are under way at most, but for a single need that is larger.
const UNDER_WAY: usize = 64 << 20;

async fn make<P: Party>(me: &mut P, needs: Vec<Need<'_, P::Weight>>) -> Result<(), Error> {
    me.session().ch.meter.enter_offline();
    let made = async {
        let mut begun = VecDeque::new();
        for mut need in needs {
            while me.session().errands.under_way() + need.bytes() > UNDER_WAY && need.is_lacking(me.session())
            {
                let Some(earlier): Option<Need<'_, P::Weight>> = begun.pop_front() else { break };
                earlier.finish(me.session()).await?;
            }
            me.begin(&mut need)?;
            begun.push_back(need);
        }
        for need in begun {
            need.finish(me.session()).await?;
        }
        Ok(())
    };
    let made = made.await;
    me.session().ch.meter.leave();
    made
}

fn begin<P: Party>(me: &mut P, needs: &mut [Need<'_, P::Weight>]) -> Result<(), Error> {
    me.session().ch.meter.enter_offline();
    let mut begun = Ok(());
    for need in needs {
        let s = me.session();
        if !need.is_lacking(s) {
            continue;
        }
        if s.errands.under_way() + need.bytes() > UNDER_WAY {
            break;
        }
        begun = me.begin(need);
        if begun.is_err() {
            break;
        }
    }
    me.session().ch.meter.leave();
    begun
}
